"""Plans of energy scans by the messages they send: order of motion, light and frames; refusals before the first."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from bluesky.utils import Msg

from exitwave.devices import FocusCalibrationError, FocusPoint, MotionLimitError, SettingError
from exitwave.plans.pure.positions import PlanInputError
from exitwave.plans.pure.xanes_estimates import Exposed
from exitwave.plans.stubs import FrameLossError
from exitwave.plans.xanes import (
    Feedback,
    calibrate_tracking,
    dual_energy,
    imaging,
    point,
    tomography,
)
from exitwave.plans.xanes.calibration import lens_offset_um
from exitwave.plans.xanes.feedback import parabola_top
from exitwave.plans.xanes.point import _check_velocity

from .xanes_instrument import ENERGIES, messages, told


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
