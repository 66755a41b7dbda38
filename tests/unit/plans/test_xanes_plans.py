"""Plans of energy scans by the messages they send: order of motion, light and frames; refusals before the first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bluesky.utils import Msg

from exitwave.analysis import optics
from exitwave.devices import FocusCalibration, FocusCalibrationError, FocusPoint, MotionLimitError, SettingError
from exitwave.devices.microscope import EnergyMove
from exitwave.devices.monochromator import PitchCalibration
from exitwave.plans import ct
from exitwave.plans.instrument import Progress
from exitwave.plans.pure.positions import PlanInputError
from exitwave.plans.pure.xanes_estimates import Exposed, absorbed_dose_gy
from exitwave.plans.stubs import FrameLossError
from exitwave.plans.xanes import (
    Adaptive,
    Feedback,
    calibrate_tracking,
    dual_energy,
    imaging,
    point,
    resume,
    tomography,
)
from exitwave.plans.xanes.calibration import lens_offset_um
from exitwave.plans.xanes.feedback import parabola_top
from exitwave.plans.xanes.point import _check_velocity

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


@pytest.fixture
def instrument() -> Any:
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


def test_the_camera_is_armed_once_and_light_is_on_for_frames_only(instrument: Any) -> None:
    sent = told(messages(imaging(instrument, ENERGIES, None, num_frames=2, num_flats=3, num_darks=0)))
    assert sent.count("kickoff camera") == 1
    assert sent.count("trigger camera") == 4 * (2 + 3)
    lit = False
    for what in sent:
        if what.startswith("fast="):
            lit = what == "fast=open"
        if what == "trigger camera":
            assert lit, "a frame without light"
        if what.startswith(("dcm_energy=", "zpa_z=")) or what == "x=200":
            assert not lit, f"light on the sample during {what}"
    energies = [what for what in sent if what.startswith("dcm_energy=")]
    # One step below the first, so that all are approached from one side; and back where it was at the end.
    assert energies[:5] == [
        "dcm_energy=8.31",
        "dcm_energy=8.32",
        "dcm_energy=8.333",
        "dcm_energy=8.34",
        "dcm_energy=8.35",
    ]
    assert sent[-1] == "close_run"


def test_axes_leave_before_frames_are_looked_after(instrument: Any) -> None:
    sent = told(messages(imaging(instrument, ENERGIES, None, num_flats=1, num_darks=0)))
    first = sent.index("collect primary")
    assert sent.index("dcm_energy=8.333") < first
    assert [w for w in sent[:first] if w == "x=200"] == ["x=200"] * 2, "the sample leaves for the next flats meanwhile"


def test_what_was_lost_is_taken_again_and_then_named(instrument: Any) -> None:
    instrument.microscope.camera.per_look = 1
    sent: list[Msg] = []
    with pytest.raises(FrameLossError, match="4 of 4 shots lack frames after 3 retakes, the first is number 0"):
        sent.extend(imaging(instrument, ENERGIES, None, flats="none", num_frames=2, num_darks=0))


def test_a_second_pass_takes_flats_without_the_sample_in_between(instrument: Any) -> None:
    sent = told(messages(imaging(instrument, ENERGIES, None, flats="pass", num_flats=1, num_darks=0)))
    collected = [w for w in sent if w.startswith("collect")]
    assert collected == ["collect primary"] * 4 + ["collect flat"] * 4


def test_flats_of_a_second_pass_are_noted_with_their_repeat(instrument: Any) -> None:
    sent = told(messages(imaging(instrument, ENERGIES, None, flats="pass", repeats=2, num_flats=1, num_darks=0)))
    noted = [what for what in sent if what.startswith("energy_record_repeat_number=")]
    assert noted == [f"energy_record_repeat_number={repeat}" for repeat in (0, 1) for _ in range(8)]


def test_the_detector_follows_where_the_magnification_is_kept(instrument: Any) -> None:
    microscope = instrument.microscope
    sent = told(messages(imaging(instrument, ENERGIES, None, num_flats=1, num_darks=0, keep="magnification")))
    tracks = [float(what.removeprefix("track=")) for what in sent if what.startswith("track=")]
    # at each energy, in step with monochromator and lens, and back to where it was at the end (8 keV without an engine)
    expected = [150.0 * ev * 1e-3 for ev in ENERGIES]
    assert tracks[:4] == pytest.approx(expected, rel=1e-5)
    assert len(tracks) == 5
    lit = False
    for what in sent:
        if what.startswith("fast="):
            lit = what == "fast=open"
        assert not (lit and what.startswith("track=")), "the detector moves while frames are taken"
    for energy_ev, track in zip(ENERGIES, expected, strict=True):
        at = sent.index(f"track={track:g}")
        # the last energy that was commanded before is its own
        before = [what for what in sent[:at] if what.startswith("dcm_energy=")]
        assert before[-1] == f"dcm_energy={1e-3 * energy_ev:g}"
    # one magnification for all of the scan, so that no move's remainder adds up; and the microscope is as it was
    assert set(microscope.asked_magnifications) == {60.0}
    assert microscope.keep == "detector"
    # with the detector left alone nothing of it moves
    assert not [w for w in told(messages(imaging(instrument, ENERGIES, None, num_darks=0))) if w.startswith("track=")]


def test_a_detector_that_can_not_follow_is_told_before_anything_moves(instrument: Any) -> None:
    instrument.microscope.detector.z.limits = (0.0, 1251.0)
    for plan in (imaging, tomography):
        seen: list[Msg] = []
        with pytest.raises(MotionLimitError, match=r"track: 1252\.5 is outside"):
            seen.extend(plan(instrument, ENERGIES, None, keep="magnification"))
        assert not [m for m in seen if m.command == "set"]
        assert instrument.microscope.keep == "detector"


def test_the_pitch_is_looked_for_at_every_second_energy(instrument: Any) -> None:
    sent = told(messages(imaging(instrument, ENERGIES, None, flats="none", num_darks=0, feedback=Feedback(every=2))))
    assert sum(w.startswith("pitch=") for w in sent) == 2 * 6
    looks = sum(a.startswith("pitch=") and b == "trigger i0" for a, b in itertools.pairwise(sent))
    assert looks == 2 * 5


@pytest.mark.parametrize(
    ("energies", "more", "message"),
    [
        ([8340.0, 8330.0], {}, "out of order"),
        ([8330.0, 8330.0], {}, "again"),
        ([4000.0, 4100.0], {}, r"4 keV is outside \[5, 14\]"),
        (ENERGIES, {"exposure_s": 0.0}, "exposure"),
        (ENERGIES, {"num_frames": 5000}, "do not fit"),
        (ENERGIES, {"positions_um": [(2e4, 0.0)]}, "x: 20000 is outside"),
        (ENERGIES, {"flats": "sometimes"}, "flats: 'sometimes'"),
        (ENERGIES, {"keep": "nothing"}, "keep"),
        (ENERGIES, {"exposed": Exposed("NiO", 1.3e10, 400.0, limit_gy=1.0)}, "exceeds the limit"),
        (41, {"element": "Xx"}, "Xx"),
        ([8400.0, 8500.0, 8600.0], {"element": "Ni"}, "edge at 8333"),
    ],
)
def test_refused_before_anything_moves(instrument: Any, energies: Any, more: dict[str, Any], message: str) -> None:
    seen: list[Msg] = []
    with pytest.raises((ValueError, OSError), match=message) as caught:
        seen.extend(imaging(instrument, energies, **{"element": None, **more}))
    assert not [m for m in seen if m.command in ("set", "open_run", "stage")]
    assert "\n" not in str(caught.value)


def test_an_energy_outside_of_the_calibration_is_refused(instrument: Any) -> None:
    focus = instrument.microscope.zone_plate.focus
    focus.add(FocusPoint(8.2, 0.1, zone_plate="zpa"))
    focus.add(FocusPoint(8.345, 0.1, zone_plate="zpa"))
    with pytest.raises(FocusCalibrationError, match=r"8.35 keV lies outside .*8.2 keV, 8.345 keV"):
        list(imaging(instrument, ENERGIES, None))
    with pytest.raises(FocusCalibrationError, match="comes from zone plate zpb, not from zpa"):
        focus.add(FocusPoint(8.4, 0.1, zone_plate="zpb"))


def test_a_pair_straddles_its_edge(instrument: Any) -> None:
    sent = told(messages(dual_energy(instrument, "Ni", below_ev=30.0, above_ev=50.0, num_darks=0)))
    assert [w for w in sent if w.startswith("dcm_energy=")][1:3] == ["dcm_energy=8.303", "dcm_energy=8.383"]
    with pytest.raises(PlanInputError, match="below_ev"):
        list(dual_energy(instrument, "Ni", below_ev=-1.0))


STEP: dict[str, Any] = {"mode": "step", "stop_deg": 180.0, "num_projections": 4, "num_flats": 1, "num_darks": 1}


@pytest.mark.parametrize("mode", ["step", "fly"])
@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"stop_deg": 400.0}, "theta: .* is (outside|beyond|over)"),
        ({"exposure_s": -1.0}, "exposure"),
        ({"velocity": 3.0}, "velocity means nothing to a .* scan; it takes "),
        ({"num_projections": 3000}, "do not fit"),
        ({"keep": "nothing"}, "keep: 'nothing'"),
        ({"only": [7]}, "only: energy 7 of 4"),
        ({"only": []}, "only: no energy"),
        ({"output": "all.nxs"}, "output: one file for 4 tomograms"),
        ({"exposed": Exposed("NiO", 1.3e10, 400.0, limit_gy=0.1)}, r"dose: .* Gy on NiO exceeds the limit of 0\.1 Gy"),
        ({"exposed": Exposed("NiO", 1.3e10, 400.0)} | {"feedback": Feedback(steady=0.01), "stop_deg": 1e3}, "theta: "),
    ],
)
def test_a_series_of_tomograms_is_refused_before_anything_moves(
    instrument: Any, mode: str, more: dict[str, Any], message: str
) -> None:
    instrument.position_compare = Thing(name="compare", check_window=lambda window: None)
    seen: list[Msg] = []
    with pytest.raises((ValueError, OSError), match=message) as caught:
        seen.extend(tomography(instrument, ENERGIES, None, **{**STEP, "mode": mode, "exposure_s": 60.0, **more}))
    assert {m.command for m in seen} <= {"read", "locate", "null"}
    assert "\n" not in str(caught.value)
    assert instrument.microscope.keep == "detector"


def test_an_energy_out_of_range_is_refused_with_the_axes_where_they_are(instrument: Any) -> None:
    instrument.microscope.zone_plate.focus.add(FocusPoint(8.2, 0.1, zone_plate="zpa"))
    instrument.microscope.zone_plate.focus.add(FocusPoint(8.345, 0.1, zone_plate="zpa"))
    seen: list[Msg] = []
    with pytest.raises(FocusCalibrationError, match=r"8\.35 keV lies outside"):
        seen.extend(tomography(instrument, ENERGIES, None, **STEP))
    assert not [m for m in seen if m.command == "set"]


@pytest.fixture
def short_tomograms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tomograms that open their run and close it."""

    def step_tomography(
        instrument: Any, start_deg: float, stop_deg: float, num_projections: int, *, md: Any = None, **_: Any
    ) -> Iterator[Msg]:
        yield Msg("open_run", None, **(md or {}))
        yield Msg("close_run")

    monkeypatch.setattr(ct, "step_tomography", step_tomography)


def starts(sent: list[Msg]) -> list[dict[str, Any]]:
    return [dict(msg.kwargs) for msg in sent if msg.command == "open_run"]


@pytest.mark.usefixtures("short_tomograms")
def test_each_tomogram_waits_for_the_intensity_and_says_its_dose(instrument: Any) -> None:
    exposed = Exposed("NiO", 1e9, 400.0, limit_gy=1e12)
    sent = messages(
        tomography(instrument, ENERGIES, None, **STEP, feedback=Feedback(every=1, steady=0.1), exposed=exposed)
    )
    opened = starts(sent)
    assert [run["xanes_series"]["energy_ev"] for run in opened] == ENERGIES
    # Between the move to an energy and the next run: five points for the pitch, then two readings that agree.
    before, looks = 0, []
    for msg in sent:
        if msg.command == "open_run":
            looks.append(before)
            before = 0
        before += msg.command == "trigger" and msg.obj.name == "i0"
    assert looks[0] == 7
    for run, energy_ev in zip(opened, ENERGIES, strict=True):
        told = run["exposed"]
        assert told["dose_gy"] == pytest.approx(4 * told["per_frame_gy"])
        # exposure, a little of the program's, and three turns by 45 deg at 1 deg/s, which is read without an engine
        assert told["per_frame_s"] == pytest.approx((4 * 1.03 + 3 * 45.1) / 4, rel=0.001)
        expected = absorbed_dose_gy("NiO", energy_ev, 1e9, 400.0, told["per_frame_s"])
        assert told["per_frame_gy"] == pytest.approx(expected)


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


@pytest.mark.usefixtures("short_tomograms")
def test_what_a_series_gave_already_counts(instrument: Any) -> None:
    whole = starts(messages(tomography(instrument, ENERGIES, None, **STEP, exposed=Exposed("NiO", 1e9, 400.0))))
    doses = [run["exposed"]["dose_gy"] for run in whole]
    exposed = Exposed("NiO", 1e9, 400.0, limit_gy=1.01 * sum(doses))
    instrument.spectra = Ledger(sum(doses[:2]))
    rest = tomography(instrument, ENERGIES, None, **STEP, exposed=exposed, only=[2, 3], series="s")
    assert len(starts(messages(rest))) == 2
    instrument.spectra = Ledger(sum(doses[:3]))
    with pytest.raises(PlanInputError, match="Gy from earlier runs of the scan on NiO exceeds the limit"):
        list(tomography(instrument, ENERGIES, None, **STEP, exposed=exposed, only=[2, 3], series="s"))


def test_what_a_scan_gave_already_counts_when_it_is_resumed(instrument: Any) -> None:
    instrument.microscope.sample.theta.motor_is_moving = signal("moving", 0)
    some: dict[str, Any] = {"flats": "none", "num_darks": 0}
    (first,) = starts(messages(imaging(instrument, ENERGIES, None, **some, exposed=Exposed("NiO", 1e9, 400.0))))
    whole_gy = first["estimate"]["dose_gy"]
    first |= {"uid": "u", "exposed": {**first["exposed"], "limit_gy": 1.01 * whole_gy}}
    progress = Progress(first, (2, 3), has_flats=False, has_darks=True)
    # above the edge, nine tenths of the whole are missing
    for part, enough in ((0.1, True), (0.2, False)):
        instrument.spectra = Ledger(part * whole_gy, progress)
        if enough:
            assert len(starts(messages(resume(instrument, "u")))) == 1
            continue
        with pytest.raises(PlanInputError, match="Gy from earlier runs of the scan on NiO exceeds the limit"):
            list(resume(instrument, "u"))
        higher = Exposed("NiO", 1e9, 400.0, limit_gy=2 * whole_gy)
        assert len(starts(messages(resume(instrument, "u", exposed=higher)))) == 1


def test_added_energies_stay_within_the_limit(instrument: Any, caplog: pytest.LogCaptureFixture) -> None:
    spectrum = {8300.0: 1.0, 8320.0: 1.0, 8340.0: 0.2, 8360.0: 0.2}
    at = [0.0]
    camera = instrument.microscope.camera

    def shots(limit_gy: float | None) -> tuple[int, float]:
        """Return how many shots are recorded, and the dose that is told at the end."""
        exposed = Exposed("NiO", 1e9, 400.0, limit_gy=limit_gy)
        adaptive = Adaptive(0.3, 1.0, rounds=2, most_energies=8)
        plan = imaging(instrument, list(spectrum), None, flats="none", num_darks=0, adaptive=adaptive, exposed=exposed)
        shots, dose, answer = 0, 0.0, None
        while True:
            try:
                msg = plan.send(answer)
            except StopIteration:
                return shots, dose
            answer = None
            name = getattr(msg.obj, "name", "")
            if msg.command == "set" and name == "dcm_energy":
                at[0] = 1e3 * msg.args[0]
            if msg.command == "trigger" and msg.obj is camera:
                lit = at[0]
            if msg.command == "read" and name == "camera_latest_frame":
                level = np.interp(lit, list(spectrum), list(spectrum.values()))
                answer = {"camera_latest_frame": {"value": np.full((2, 2), level), "timestamp": 0.0}}
            shots += msg.command == "set" and name == "energy_record_shot"
            if msg.command == "set" and name == "dose_record_dose":
                dose = msg.args[0]

    number, whole_gy = shots(None)
    assert number > 6
    few, dose_gy = shots(0.7 * whole_gy)
    assert 4 <= few < number
    assert dose_gy <= 0.7 * whole_gy
    assert "added energies are left out" in caplog.text


@pytest.mark.usefixtures("short_tomograms")
def test_it_is_said_how_the_focus_follows(instrument: Any, caplog: pytest.LogCaptureFixture) -> None:
    focus = instrument.microscope.zone_plate.focus
    for points, kind in ((0, "nominal"), (1, "constant"), (2, "calibrated")):
        caplog.clear()
        for energy_kev in (8.2, 8.4)[:points]:
            focus.add(FocusPoint(energy_kev, 0.1, zone_plate="zpa"))
        runs = starts(messages(imaging(instrument, ENERGIES, None, flats="none", num_darks=0)))
        runs += starts(messages(dual_energy(instrument, "Ni", below_ev=30.0, above_ev=50.0, num_darks=0)))
        assert [run["focus_tracking"] for run in runs] == [{"points": points, "kind": kind}] * 2
        series = starts(messages(tomography(instrument, ENERGIES, None, **STEP)))
        assert all(run["xanes_series"]["focus_tracking"]["kind"] == kind for run in series)
        warned = [r.message for r in caplog.records if r.levelname == "WARNING"]
        assert len(warned) == (3 if points < 2 else 0)
        assert all("zpa" in text and "run xanes.calibrate_tracking first" in text for text in warned)


def test_a_point_spectrum_reads_both_chambers_at_every_energy(instrument: Any) -> None:
    sent = told(messages(point(instrument, ENERGIES, None, foil="Ni")))
    assert sent.count("trigger i0") == sent.count("trigger i1") == 4
    assert sent.index("foil=Ni") < sent.index("trigger i0")
    assert "foil=None" in sent
    with pytest.raises(SettingError, match="no foil 'Xx'"):
        list(point(instrument, ENERGIES, None, foil="Xx"))
    with pytest.raises(PlanInputError, match=r"bragg: a sweep at 2 um/s is faster than its 0\.5"):
        _check_velocity(instrument.microscope.mono.bragg, 2.0, 0.5)
    with pytest.raises(PlanInputError, match="continuous"):
        list(point(instrument, ENERGIES, None, mode="continuous", feedback=Feedback(every=1)))


def test_tracking_needs_two_energies_that_rise(instrument: Any) -> None:
    for energies in ([8.2], [8.4, 8.2], [8.2, 8.2]):
        with pytest.raises(PlanInputError, match="energies_kev"):
            list(calibrate_tracking(instrument, energies))


def test_the_top_of_a_parabola() -> None:
    places = np.linspace(-16.0, 16.0, 5)
    assert parabola_top(places, np.exp(-0.5 * ((places - 3.3) / 15.0) ** 2)) == pytest.approx(3.3, abs=1e-6)
    # No top in the range: the side on which it rises, half a step beyond at most.
    assert parabola_top(places, np.exp(-0.5 * ((places - 90.0) / 15.0) ** 2)) == pytest.approx(20.0)
    assert parabola_top(places, np.exp(places / 10.0) ** 2 + np.exp(-places)) in (-16.0, 16.0)


def test_a_lens_is_found_where_its_image_says() -> None:
    # A thin lens at height L, an object on the axis at distance p, M = q/p: the ray through the lens' centre meets the
    # detector at L (1 + M); an upright picture has it at -L (1 + M), that is -L (1 + 1/M) in units of the object.
    lens, magnification = 0.3, 60.0
    seen = -lens * (1 + magnification) / magnification
    assert lens_offset_um((seen, -seen), magnification) == pytest.approx((lens, -lens))
