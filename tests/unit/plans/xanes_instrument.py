"""A TXM's instrument for plans of energy scans, without a server: messages are looked at, nothing moves."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from bluesky.utils import Msg

from exitwave.analysis import optics
from exitwave.devices import FocusCalibration, MotionLimitError, SettingError
from exitwave.devices.microscope import EnergyMove
from exitwave.devices.monochromator import PitchCalibration

ENERGIES = [8320.0, 8333.0, 8340.0, 8350.0]


class Thing:
    """Something with a name that messages can speak of."""

    parent = None

    def __init__(self, **attributes: Any):
        vars(self).update(attributes)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def signal(name: str, value: Any = 0.0) -> Thing:
    return Thing(name=name, get=lambda: value)


class Axis(Thing):
    def __init__(self, name: str, low: float = -1e4, high: float = 1e4, at: float = 0.0):
        super().__init__(name=name, limits=(low, high), egu="um", user_setpoint=signal(f"{name}_setpoint", at))
        self.velocity, self.acceleration = signal(f"{name}_velocity", 1.0), signal(f"{name}_acceleration", 0.1)
        self.max_velocity = signal(f"{name}_max_velocity", 10.0)

    def dotted_name_of(self) -> str:
        return self.name

    def check_value(self, value: float) -> None:
        if not self.limits[0] <= value <= self.limits[1]:
            raise MotionLimitError(f"{self.name}: {value:g} is outside {self.limits}")


class Record(Thing):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        made = signal(f"{self.name}_{name}")
        object.__setattr__(self, name, made)
        return made


class Camera(Record):
    cam = Record(name="cam")
    run_audit = Record(name="run_audit")
    per_look = 100
    readout_s = 0.01
    frame_bytes = 2 * 2048**2
    room_frames = 10_000

    @property
    def frames_emitted(self) -> int:
        """Return more each time: every collect brings frames, and enough of them."""
        object.__setattr__(self, "_emitted", self.__dict__.get("_emitted", 0) + self.per_look)
        return int(self.__dict__["_emitted"])

    def check_acquisition(self, acquisition: Any) -> None:
        if acquisition.exposure_s <= 0:
            raise SettingError("camera: exposure is not positive")

    def check_storage(self, num: int) -> None:
        if num > self.room_frames:
            raise OSError(f"camera: {num} frames do not fit")


class Mono(Thing):
    energy_range_kev = (5.0, 14.0)

    def __init__(self) -> None:
        super().__init__(name="dcm", energy=Axis("dcm_energy"), bragg=Axis("bragg"), gap=Axis("gap"))
        self.pitch, self.pitch_calibration = Axis("pitch"), PitchCalibration()

    def PseudoPosition(self, energy: float) -> Any:
        return SimpleNamespace(energy=energy)

    def forward(self, position: Any) -> Any:
        return SimpleNamespace(
            bragg=optics.bragg_angle_deg(position.energy), gap=optics.crystal_gap_mm(position.energy)
        )

    def check_energy(self, energy_kev: float) -> None:
        if not 5.0 <= energy_kev <= 14.0:
            raise MotionLimitError(f"dcm.energy: {energy_kev:g} keV is outside [5, 14] keV")

    def pitch_at(self, energy_kev: float) -> float | None:
        return self.pitch_calibration.at(optics.bragg_angle_deg(energy_kev))


class Microscope(Record):
    keep = "detector"

    def __init__(self) -> None:
        super().__init__(name="microscope", mono=Mono(), camera=Camera(name="camera"))
        self.energy_record, self.dose_record = Record(name="energy_record"), Record(name="dose_record")
        self.spectrum_record = Record(name="spectrum_record")
        self.sample = Thing(
            name="sample",
            x=Axis("x"),
            y=Axis("y"),
            z=Axis("z"),
            theta=Axis("theta", -100.0, 190.0),
            axis_result=Record(name="axis_result"),
            out_axis="x",
            out_distance_um=200.0,
        )
        vars(self.sample)["out_motor"] = self.sample.x
        self.zone_plate = Thing(
            name="zpa", z=Axis("zpa_z"), x=Axis("zpa_x"), y=Axis("zpa_y"), focus=FocusCalibration("zpa")
        )
        self.pixel_size, self.energy = signal("pixel_size", 30.0), Thing(name="energy")
        self.zone_plate_name = signal("zone_plate_name", "A")
        self.detector = Thing(name="hr", z=Axis("track", 0.0, 1300.0))
        self.asked_magnifications: list[Any] = []

    def magnification_now(self) -> float:
        return 60.0

    def energy_move(self, energy_kev: float, *, beyond: bool = False, magnification: float | None = None) -> EnergyMove:
        self.mono.check_energy(energy_kev)
        track_mm = None
        if self.keep == "magnification":
            self.asked_magnifications.append(magnification)
            track_mm = 150.0 * energy_kev
            self.detector.z.check_value(track_mm)
        plate_mm = 20.0 + self.zone_plate.focus.correction_mm(energy_kev, beyond=beyond)
        return EnergyMove(energy_kev, plate_mm, track_mm, 60.0)

    def energy_targets(self, move: EnergyMove) -> list[tuple[Any, float]]:
        targets = [(self.mono.energy, move.energy_kev), (self.zone_plate.z, move.zone_plate_mm)]
        return targets if move.track_mm is None else [*targets, (self.detector.z, move.track_mm)]

    def describe_optics(self) -> dict[str, Any]:
        return {"zone_plate": "A"}


def txm() -> Any:
    """Return the instrument."""
    shutters = {
        f"{n}_shutter": Thing(name=n, status=signal(f"{n}_status", "Open")) for n in ("front_end", "photon", "fast")
    }
    enable = signal("shaker_enable")
    return SimpleNamespace(
        microscope=Microscope(),
        ring=Record(name="ring"),
        i0=Record(name="i0"),
        i1=Record(name="i1"),
        foil=Thing(name="foil", select=Thing(name="select", enum_strs=("None", "Ni"))),
        condenser=SimpleNamespace(shaker=SimpleNamespace(enable=enable)),
        spectra=None,
        position_compare=None,
        **shutters,
    )


def messages(plan: Iterator[Msg]) -> list[Msg]:
    """Run a plan without an engine: every message is answered with None."""
    sent = []
    try:
        while True:
            sent.append(next(plan))
    except StopIteration:
        return sent


def told(sent: list[Msg]) -> list[str]:
    """Return what matters, in order: moves, shutter, triggers, documents."""
    out = []
    for msg in sent:
        name = getattr(msg.obj, "name", "")
        if msg.command == "set":
            value = msg.args[0]
            out.append(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}")
        elif msg.command in ("trigger", "kickoff", "prepare"):
            out.append(f"{msg.command} {name}")
        elif msg.command == "collect":
            out.append(f"collect {msg.kwargs.get('name')}")
        elif msg.command in ("open_run", "close_run"):
            out.append(msg.command)
    return out


def starts(sent: list[Msg]) -> list[dict[str, Any]]:
    return [dict(msg.kwargs) for msg in sent if msg.command == "open_run"]


class Ledger:
    """What earlier runs gave."""

    def __init__(self, gy: float, progress: Any = None):
        self.gy, self._progress = gy, progress

    def dose_gy(self, uid: Any) -> float:
        return self.gy

    def series_dose_gy(self, series: str) -> float:
        return self.gy

    def newest(self, plan_name: str) -> None:
        return None

    def progress(self, uid: Any) -> Any:
        return self._progress
