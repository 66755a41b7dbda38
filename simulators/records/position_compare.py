"""Position compare: pulses where an encoder passes equidistant positions, and what was captured at each.

PV names and enumerations are those of the position compare block of the Quantum Detectors Zebra, as in its EPICS
support: `PC_*`, readbacks with `:RBV`. A gate opens where the encoder passes `PC_GATE_START` in the direction of
`PC_DIR` and closes `PC_GATE_WID` later, `PC_GATE_NGATE` times at every `PC_GATE_STEP`; in it the first pulse comes
`PC_PULSE_START` after its opening and others at every `PC_PULSE_STEP`, `PC_PULSE_MAX` at most (0: no limit). Positions
are in the encoder's unit, times in that of `PC_TSPRE`, counted from the arming. `PC_PULSE_DLY` (always a time) puts
the capture after the pulse's edge: half an exposure to have the angles of the middles of the frames.

Of the real box's sources, `External`, and `Enc1-4Av` as an encoder, give no pulse here.
"""

from __future__ import annotations

import asyncio
import functools
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from exitwave.simulators.clock import SimClock
from exitwave.simulators.records.board import Board, Choice, Row, ro, wo
from exitwave.simulators.records.channels import ArrayPv, Pv
from exitwave.simulators.records.motor_state import MotorState

__all__ = ["PositionCompare", "position_compare_rows"]

CAPACITY = 100_000
"""Points that the waveforms hold."""
_ARRAYS_S = 0.1
_UNITS_S = (1e-3, 1.0, 10.0)
_SOURCES = Choice(("Position", "Time", "External"))
_POSITION, _TIME = 0, 1
_SETTINGS: tuple[tuple[str, float | Choice], ...] = (
    ("PC_ENC", Choice(("Enc1", "Enc2", "Enc3", "Enc4", "Enc1-4Av"))),
    ("PC_DIR", Choice(("Positive", "Negative"))),
    ("PC_TSPRE", Choice(("ms", "s", "10s"), 1)),
    ("PC_ARM_SEL", Choice(("Soft", "External"))),
    ("PC_GATE_SEL", _SOURCES),
    ("PC_GATE_START", 0.0),
    ("PC_GATE_WID", 0.0),
    ("PC_GATE_NGATE", 1.0),
    ("PC_GATE_STEP", 0.0),
    ("PC_PULSE_SEL", _SOURCES),
    ("PC_PULSE_START", 0.0),
    ("PC_PULSE_WID", 0.0),
    ("PC_PULSE_STEP", 0.0),
    ("PC_PULSE_DLY", 0.0),
    ("PC_PULSE_MAX", 0.0),
)
_CHOICES = {name for name, start in _SETTINGS if isinstance(start, Choice)}


def position_compare_rows(motors: Sequence[tuple[str, MotorState]]) -> list[Row]:
    """Return the table of channels, the waveforms apart; `motors` are the encoders with their records' names."""
    rows = []
    for name, start in _SETTINGS:
        rows += [wo(name, start), ro(f"{name}:RBV", start)]
    rows += [wo("PC_ARM", 0.0), wo("PC_DISARM", 0.0), wo("SYS_RESET", 0.0)]
    rows += [ro(name, 0.0) for name in ("PC_ARM_OUT", "PC_GATE_OUT", "PC_PULSE_OUT", "PC_NUM_CAP", "PC_NUM_DOWN")]
    rows += [ro("ARRAY_ACQ", Choice(("Done", "Busy"))), ro("CONNECTED", Choice(("Disconnected", "Connected"), 1))]
    for n, (record, motor) in enumerate(motors, 1):
        rows += [
            ro(f"M{n}", record),
            ro(f"M{n}:DESC", motor.settings.description[:39]),
            ro(f"M{n}:EGU", motor.settings.units),
            ro(f"M{n}:MRES", motor.settings.step, motor.settings.units),
            wo(f"PC_BIT_CAP:B{n - 1}", Choice(("No", "Yes"), 1)),
        ]
    return rows


@dataclass(frozen=True, slots=True)
class _Program:
    """The settings as they were when it was armed."""

    motor: MotorState | None
    sign: float
    unit_s: float
    gate_by: int
    gate_start: float
    gate_width: float
    gates: int
    gate_step: float
    pulse_by: int
    pulse_start: float
    pulse_step: float
    delay_s: float
    pulses: float


class PositionCompare:
    """Position compare on the encoders of some motors.

    Pulses are placed on the trajectories themselves: the simulated time of each is the one at which the encoder
    passes its position, however late the timer that reports it. All methods belong to the event loop's thread.

    Parameters
    ----------
    motors : sequence of (str, MotorState)
        Up to four encoders, with the names of their records: Enc1 and so on.
    clock : SimClock
        Simulated time.
    outputs : sequence of callable
        Get the simulated time of each pulse.
    seed : int
        Of the noise of the encoders.
    """

    def __init__(
        self,
        motors: Sequence[tuple[str, MotorState]],
        clock: SimClock,
        outputs: Sequence[Callable[[float], None]],
        *,
        seed: int = 0,
    ) -> None:
        self._motors = [motor for _, motor in motors]
        self._clock = clock
        self._outputs = tuple(outputs)
        self._rng = random.Random(seed)
        self.board = Board(position_compare_rows(motors))
        self._arrays = {
            name: ArrayPv(length=CAPACITY, units=units, precision=6)
            for name, units in (
                ("PC_TIME", ""),
                *((f"PC_ENC{n}", motor.settings.units) for n, motor in enumerate(self._motors, 1)),
            )
        }
        self._captured: dict[str, list[float]] = {name: [] for name in self._arrays}
        self._program: _Program | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._array_timer: asyncio.TimerHandle | None = None
        self._arrays_shown_s = 0.0
        self._armed_s = self._cursor_s = self._gate_s = 0.0
        self._gate_open = False
        self._gate = self._pulse = 0
        self._offset = 0.0
        settings = [name for name, _ in _SETTINGS]
        self.board.check([name for name in settings if name not in _CHOICES], lambda v: v if math.isfinite(v) else 0.0)
        for name in settings:
            self.board.react([name], functools.partial(self._read_back, name))
        self.board.on_put("PC_ARM", self._put_arm)
        self.board.on_put("PC_DISARM", self._put_disarm)
        self.board.on_put("SYS_RESET", self._put_disarm)
        for motor in self._motors:
            motor.axis.watch(self._moved)

    def pvdb(self, prefix: str) -> dict[str, Pv]:
        """Return the channels by full name."""
        return {**self.board.pvdb(prefix), **{prefix + name: pv for name, pv in self._arrays.items()}}

    # puts -------------------------------------------------------------------------------------------------

    def _read_back(self, name: str, value: Any) -> None:
        self.board.channels[f"{name}:RBV"].post(value)

    def _put_arm(self, value: float) -> None:
        self.board.post(PC_ARM=float(bool(value)))
        if not value or self.board.value("PC_ARM_SEL"):
            return
        self._stop_timers()
        self._program = self._read_program()
        self._armed_s = self._cursor_s = self._clock.now()
        self._gate_open, self._gate, self._pulse = False, 0, 0
        for values in self._captured.values():
            values.clear()
        self._aim()
        self._show_arrays()
        self.board.post_all({"PC_NUM_CAP": 0.0, "PC_GATE_OUT": 0.0, "ARRAY_ACQ": 1, "PC_ARM_OUT": 1.0})
        self._advance()

    def _put_disarm(self, value: float) -> None:
        if value:
            self._disarm()

    def _read_program(self) -> _Program:
        value = self.board.value
        encoder = value("PC_ENC")
        unit_s = _UNITS_S[value("PC_TSPRE")]
        return _Program(
            motor=self._motors[encoder] if encoder < len(self._motors) else None,
            sign=-1.0 if value("PC_DIR") else 1.0,
            unit_s=unit_s,
            gate_by=value("PC_GATE_SEL"),
            gate_start=value("PC_GATE_START"),
            gate_width=abs(value("PC_GATE_WID")),
            gates=max(1, round(value("PC_GATE_NGATE"))),
            gate_step=abs(value("PC_GATE_STEP")),
            pulse_by=value("PC_PULSE_SEL"),
            pulse_start=max(0.0, value("PC_PULSE_START")),
            pulse_step=abs(value("PC_PULSE_STEP")),
            delay_s=max(0.0, value("PC_PULSE_DLY")) * unit_s,
            pulses=round(value("PC_PULSE_MAX")) or math.inf,
        )

    # events -----------------------------------------------------------------------------------------------

    def _aim(self) -> None:
        """Draw what the encoder's noise will add at the next comparison."""
        motor = self._program.motor if self._program is not None else None
        noise = motor.encoder_noise_rms if motor is not None else 0.0
        self._offset = self._rng.gauss(0.0, noise) if noise else 0.0

    def _passes(self, program: _Program, position: float) -> float | None:
        if program.motor is None:
            return None
        return program.motor.passes(position - self._offset, self._cursor_s, upwards=program.sign > 0)

    def _gate_position(self, program: _Program) -> float:
        return program.gate_start + program.sign * self._gate * program.gate_step

    def _opening_s(self, program: _Program) -> float | None:
        if program.gate_by == _POSITION:
            return self._passes(program, self._gate_position(program))
        if program.gate_by == _TIME:
            return self._armed_s + (program.gate_start + self._gate * program.gate_step) * program.unit_s
        return None

    def _closing_s(self, program: _Program) -> float | None:
        if program.gate_by == _POSITION:
            return self._passes(program, self._gate_position(program) + program.sign * program.gate_width)
        return self._gate_s + program.gate_width * program.unit_s

    def _pulse_s(self, program: _Program) -> float | None:
        if self._pulse >= program.pulses or (self._pulse and not program.pulse_step):
            return None
        way = program.pulse_start + self._pulse * program.pulse_step
        if way == 0.0:
            return self._gate_s
        if program.pulse_by == _TIME:
            return self._gate_s + way * program.unit_s
        if program.pulse_by != _POSITION or program.gate_by != _POSITION or program.motor is None:
            return None
        position = self._gate_position(program) + program.sign * way
        if program.sign * (program.motor.encoder(self._cursor_s) - position) > 0.0:
            return self._cursor_s  # a stop in full flight took the encoder past it at once
        return self._passes(program, position)

    def _moved(self) -> None:
        """See to it that the pulses follow a trajectory that was changed."""
        if self._program is not None:
            self._advance()  # what was due before the command
            self._cursor_s = max(self._cursor_s, self._clock.now())
            self._advance()

    def _advance(self) -> None:
        """Let everything happen that is due, and set the timer for what comes next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (program := self._program) is not None:
            if not self._gate_open:
                due_s, event = self._opening_s(program), self._open
            else:
                closing_s, pulse_s = self._closing_s(program), self._pulse_s(program)
                due_s, event = closing_s, self._close_gate
                if pulse_s is not None and (closing_s is None or pulse_s < closing_s):
                    due_s, event = pulse_s, self._give_pulse
            if due_s is None:
                return
            left_s = due_s - self._clock.now()
            if left_s > 0:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._clock.wall_delay(left_s), self._advance)
                return
            self._cursor_s = max(self._cursor_s, due_s)
            event(program, due_s)
            self._aim()

    def _open(self, program: _Program, t_s: float) -> None:
        self._gate_open, self._gate_s, self._pulse = True, t_s, 0
        self.board.post(PC_GATE_OUT=1.0)

    def _close_gate(self, program: _Program, t_s: float) -> None:
        self._gate_open = False
        self._gate += 1
        self.board.post(PC_GATE_OUT=0.0)
        if self._gate >= program.gates:
            self._disarm()

    def _give_pulse(self, program: _Program, t_s: float) -> None:
        self._pulse += 1
        for output in self._outputs:
            output(t_s)
        times = self._captured["PC_TIME"]
        if len(times) < CAPACITY:
            times.append((t_s - self._armed_s) / program.unit_s)
            for n, motor in enumerate(self._motors, 1):
                wanted = self.board.value(f"PC_BIT_CAP:B{n - 1}")
                self._captured[f"PC_ENC{n}"].append(motor.encoder(t_s + program.delay_s) if wanted else 0.0)
        self.board.post(PC_NUM_CAP=float(len(times)))
        if self._pulse >= program.pulses and self._gate + 1 >= program.gates:
            self._show_arrays()
        elif self._array_timer is None:
            wait_s = max(0.0, self._arrays_shown_s + _ARRAYS_S - time.monotonic())
            self._array_timer = asyncio.get_running_loop().call_later(wait_s, self._show_arrays)

    # ends -------------------------------------------------------------------------------------------------

    def _show_arrays(self) -> None:
        if self._array_timer is not None:
            self._array_timer.cancel()
            self._array_timer = None
        self._arrays_shown_s = time.monotonic()
        for name, values in self._captured.items():
            self._arrays[name].post(list(values))
        self.board.post(PC_NUM_DOWN=float(len(self._captured["PC_TIME"])))

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._array_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._array_timer = None

    def _disarm(self) -> None:
        if self._program is None:
            return
        self._program = None
        self._gate_open = False
        self._stop_timers()
        self._show_arrays()
        self.board.post_all({"PC_ARM": 0.0, "PC_GATE_OUT": 0.0, "PC_ARM_OUT": 0.0, "ARRAY_ACQ": 0, "PC_PULSE_OUT": 0.0})
