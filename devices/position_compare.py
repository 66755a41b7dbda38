"""Position compare: hardware triggers where an encoder passes equidistant positions (a Zebra's `PC_` block)."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, DeviceStatus, EpicsSignal, EpicsSignalRO

from exitwave.devices.errors import PositionCompareError, SettingError
from exitwave.devices.signals import put_setting
from exitwave.devices.status import FirstStatus

__all__ = ["CompareWindow", "PositionCompare"]

CAPACITY = 100_000
"""Points that a Zebra captures in a run."""


@dataclass(frozen=True)
class CompareWindow:
    """Pulses at equidistant positions of the encoder.

    Parameters
    ----------
    start_deg : float
        Encoder position of the first pulse, in the axis' unit. The axis has to be short of it when it is armed.
    step_deg : float
        From pulse to pulse; negative for an axis that goes down.
    num_pulses : int
        How many.
    pulse_width_s : float
        Length of a pulse at the axis' velocity of the moment, half a step at most; cameras take the edge.
    capture_delay_s : float
        From a pulse to the capture of its position: half the exposure to have the middles of the frames.
    """

    start_deg: float
    step_deg: float
    num_pulses: int
    pulse_width_s: float = 1e-3
    capture_delay_s: float = 0.0

    @property
    def last_deg(self) -> float:
        """Position of the last pulse, in the axis' unit."""
        return self.start_deg + (self.num_pulses - 1) * self.step_deg


class _PulseStatus(FirstStatus):
    """The pulses of one pass. It may fail after the pass was given up, and then stops nothing.

    ophyd stops the device of a status that fails; by then the box may be armed for the next pass.
    """

    def _handle_failure(self) -> None:
        return None


class PositionCompare(Device):
    """Position compare of a Zebra: pulses at positions of encoder 1, and the positions captured with them.

    ``prepare(CompareWindow(...))``, ``kickoff()`` (arms), move the axis through the window, ``complete()``: its
    status is done when every pulse is out and its position is in ``positions``, and fails with
    `PositionCompareError`, and the box is disarmed, when the axis comes to rest or somebody disarms before.

    Parameters
    ----------
    settle_s : float
        Time after the end of the motion in which the last pulses may still be reported.
    """

    encoder = Cpt(EpicsSignal, "PC_ENC:RBV", write_pv="PC_ENC", kind="config", string=True)
    direction = Cpt(EpicsSignal, "PC_DIR:RBV", write_pv="PC_DIR", kind="config", string=True)
    time_unit = Cpt(EpicsSignal, "PC_TSPRE:RBV", write_pv="PC_TSPRE", kind="config", string=True)
    arm_source = Cpt(EpicsSignal, "PC_ARM_SEL:RBV", write_pv="PC_ARM_SEL", kind="config", string=True)
    arm = Cpt(EpicsSignal, "PC_ARM", kind="omitted")
    disarm = Cpt(EpicsSignal, "PC_DISARM", kind="omitted")
    armed = Cpt(EpicsSignalRO, "PC_ARM_OUT", kind="omitted", auto_monitor=True)
    gate_source = Cpt(EpicsSignal, "PC_GATE_SEL:RBV", write_pv="PC_GATE_SEL", kind="config", string=True)
    gate_start = Cpt(EpicsSignal, "PC_GATE_START:RBV", write_pv="PC_GATE_START", kind="config")
    gate_width = Cpt(EpicsSignal, "PC_GATE_WID:RBV", write_pv="PC_GATE_WID", kind="config")
    gate_count = Cpt(EpicsSignal, "PC_GATE_NGATE:RBV", write_pv="PC_GATE_NGATE", kind="config")
    gate_step = Cpt(EpicsSignal, "PC_GATE_STEP:RBV", write_pv="PC_GATE_STEP", kind="config")
    gate_open = Cpt(EpicsSignalRO, "PC_GATE_OUT", kind="omitted")
    pulse_source = Cpt(EpicsSignal, "PC_PULSE_SEL:RBV", write_pv="PC_PULSE_SEL", kind="config", string=True)
    pulse_start = Cpt(EpicsSignal, "PC_PULSE_START:RBV", write_pv="PC_PULSE_START", kind="config")
    pulse_width = Cpt(EpicsSignal, "PC_PULSE_WID:RBV", write_pv="PC_PULSE_WID", kind="config")
    pulse_step = Cpt(EpicsSignal, "PC_PULSE_STEP:RBV", write_pv="PC_PULSE_STEP", kind="config")
    pulse_delay = Cpt(EpicsSignal, "PC_PULSE_DLY:RBV", write_pv="PC_PULSE_DLY", kind="config")
    pulse_max = Cpt(EpicsSignal, "PC_PULSE_MAX:RBV", write_pv="PC_PULSE_MAX", kind="config")
    num_captured = Cpt(EpicsSignalRO, "PC_NUM_CAP", kind="normal", auto_monitor=True, doc="Pulses since the arming")
    num_downloaded = Cpt(EpicsSignalRO, "PC_NUM_DOWN", kind="omitted", auto_monitor=True, doc="Points in the arrays")
    positions = Cpt(
        EpicsSignalRO, "PC_ENC1", kind="omitted", doc="Captured encoder positions, axis' unit, float64 (n,)"
    )
    times_s = Cpt(EpicsSignalRO, "PC_TIME", kind="omitted", doc="Times of the pulses since the arming, s, float64 (n,)")
    axis_record = Cpt(EpicsSignalRO, "M1", kind="config", string=True, doc="Motor record of encoder 1")
    unit = Cpt(EpicsSignalRO, "M1:EGU", kind="config", string=True)
    resolution = Cpt(EpicsSignalRO, "M1:MRES", kind="config", doc="Unit per count of encoder 1")

    def __init__(self, prefix: str = "", *, settle_s: float = 1.0, **kwargs: Any):
        super().__init__(prefix, **kwargs)
        self.settle_s = settle_s
        self.window: CompareWindow | None = None
        self._axis: dict[str, EpicsSignalRO] = {}
        self._pulses: FirstStatus | None = None

    def check_window(self, window: CompareWindow) -> None:
        """Refuse pulses that the box can't give, before anything is set.

        Raises
        ------
        SettingError
            A number that is not finite, no pulse or more than fit, a step below two counts, a width of nothing.
        """
        w = window
        for what, value in (
            ("start_deg", w.start_deg),
            ("step_deg", w.step_deg),
            ("pulse_width_s", w.pulse_width_s),
            ("capture_delay_s", w.capture_delay_s),
        ):
            if not math.isfinite(value):
                raise SettingError(f"{self.name}: {what} {value} is not a finite number; give one")
        if not 1 <= w.num_pulses <= CAPACITY:
            raise SettingError(f"{self.name}: {w.num_pulses} pulses are outside [1, {CAPACITY}]; split the scan")
        least = 2 * float(self.resolution.get())
        if abs(w.step_deg) < least:
            raise SettingError(
                f"{self.name}: step {w.step_deg:g} {self.unit.get()} is below two counts of the encoder, "
                f"{least:g} {self.unit.get()}; take a larger one"
            )
        if w.pulse_width_s <= 0 or w.capture_delay_s < 0:
            raise SettingError(
                f"{self.name}: pulse width {w.pulse_width_s:g} s and capture delay {w.capture_delay_s:g} s; "
                "give a width above 0 and a delay not below"
            )

    def _axis_signal(self, field: str) -> EpicsSignalRO:
        """Return a field of the motor record whose encoder is compared; connected once."""
        if field not in self._axis:
            record = self.axis_record.get()
            if not record:
                raise PositionCompareError(f"{self.name}: no motor record on encoder 1; set M1 in the Zebra's database")
            signal = EpicsSignalRO(f"{record}.{field}", name=f"{self.name}_axis_{field.lower()}", auto_monitor=True)
            signal.wait_for_connection()
            self._axis[field] = signal
        return self._axis[field]

    def prepare(self, window: CompareWindow) -> DeviceStatus:
        """Program the window; done at once.

        Raises
        ------
        SettingError
            See `check_window`.
        """
        self.check_window(window)
        self.stop()
        velocity = abs(float(self._axis_signal("VELO").get()))
        step = abs(window.step_deg)
        settings: tuple[tuple[EpicsSignal, Any], ...] = (
            (self.encoder, "Enc1"),
            (self.direction, "Positive" if window.step_deg > 0 else "Negative"),
            (self.time_unit, "s"),
            (self.arm_source, "Soft"),
            (self.gate_source, "Position"),
            (self.gate_start, window.start_deg),
            # It closes between the last pulse and one more, and the box disarms itself.
            (self.gate_width, (window.num_pulses - 0.5) * step),
            (self.gate_count, 1),
            (self.gate_step, 0.0),
            (self.pulse_source, "Position"),
            (self.pulse_start, 0.0),
            (self.pulse_width, min(window.pulse_width_s * velocity, 0.5 * step)),
            (self.pulse_step, step),
            (self.pulse_delay, window.capture_delay_s),
            (self.pulse_max, window.num_pulses),
        )
        for signal, value in settings:
            put_setting(signal, value)
        self.window = window
        status = DeviceStatus(self)
        status.set_finished()
        return status

    def kickoff(self) -> DeviceStatus:
        """Arm; done when the box says so. The axis may move then.

        Raises
        ------
        PositionCompareError
            Nothing was prepared.
        """
        if self.window is None:
            raise PositionCompareError(f"{self.name}: prepare(CompareWindow(...)) comes before kickoff")
        status = FirstStatus(self, timeout=10)

        def armed(value: float, **_: Any) -> None:
            if value:
                self._pulses = self._watch_pulses()
                status.finish()

        token = self.armed.subscribe(armed, run=False)
        status.add_callback(lambda _: self.armed.unsubscribe(token))
        self.arm.put(1, wait=False)
        return status

    def complete(self) -> DeviceStatus:
        """Return the status of the pulses: done when all are out and their positions can be read.

        It fails with `PositionCompareError` when the axis came to rest or the box was disarmed too early.
        """
        if self._pulses is None:
            raise PositionCompareError(f"{self.name}: kickoff() comes before complete()")
        return self._pulses

    def _watch_pulses(self) -> FirstStatus:
        window = self.window
        if window is None:
            raise PositionCompareError(f"{self.name}: prepare(CompareWindow(...)) comes before kickoff")
        status = _PulseStatus(self)
        wanted, record = window.num_pulses, self.axis_record.get()
        done_moving = self._axis_signal("DMOV")
        moved = threading.Event()
        timers: list[threading.Timer] = []

        def fell_short(reason: str) -> None:
            given = int(self.num_downloaded.get(use_monitor=False))
            if given >= wanted:
                status.finish()
                return
            status.fail(
                PositionCompareError(
                    f"{self.name}: {reason} after {given} of {wanted} pulses, the last of which is at "
                    f"{window.last_deg:g} {self.unit.get()}; start before {window.start_deg:g} "
                    f"{self.unit.get()} and go beyond the last one"
                )
            )

        def later(reason: str) -> None:
            timer = threading.Timer(self.settle_s, fell_short, (reason,))
            timer.daemon = True
            timers.append(timer)
            timer.start()

        def downloaded(value: float, **_: Any) -> None:
            if value >= wanted:
                status.finish()

        def axis_changed(value: float, **_: Any) -> None:
            if not value:
                moved.set()
            elif moved.is_set():
                moved.clear()
                later(f"{record} came to rest")

        def arm_changed(value: float, **_: Any) -> None:
            if not value:
                later("disarmed")

        tokens = [
            (self.num_downloaded, self.num_downloaded.subscribe(downloaded, run=False)),
            (done_moving, done_moving.subscribe(axis_changed, run=False)),
            (self.armed, self.armed.subscribe(arm_changed, run=False)),
        ]

        def ended(_: Any) -> None:
            for timer in timers:
                timer.cancel()
            for signal, token in tokens:
                signal.unsubscribe(token)

        status.add_callback(ended)
        return status

    def stop(self, *, success: bool = False) -> None:
        """Disarm: no pulse after this one."""
        self.disarm.put(1, wait=True)
        super().stop(success=success)

    def unstage(self) -> list[object]:
        """Disarm."""
        self.stop()
        return super().unstage()

    def destroy(self) -> None:
        """Let go of the axis' fields as well."""
        for signal in self._axis.values():
            signal.destroy()
        super().destroy()
