"""Tomography against the simulator: whole, broken off, resumed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exitwave.devices import ExitwaveError
from exitwave.plans import PlanInputError
from exitwave.plans.stubs import BeamLostError

from .conftest import Beamline

SIZE = 128
REFERENCES: dict[str, Any] = {"num_flats": 2, "num_darks": 2}


@pytest.fixture(autouse=True)
def small_frames(beamline: Beamline):
    """Frames of 128 x 128 pixels from the middle of the sensor."""
    corner = (2048 - SIZE) // 2
    beamline.hr_camera.set_region(corner, corner, SIZE, SIZE)
    yield
    beamline.hr_camera.set_region()


def _audit(beamline: Beamline, uid: str) -> dict[str, Any]:
    stream = beamline.open_run(uid).stream("frame_audit")
    return {key.removeprefix("hr_camera_run_audit_"): values[0] for key, values in stream.columns.items()}


def _is_whole(beamline: Beamline, uid: str, asked: np.ndarray) -> None:
    with beamline.open_tomogram(uid) as tomogram:
        assert tomogram.complete
        assert tomogram.frames is not None
        assert tomogram.frames.shape == (len(asked), SIZE, SIZE)
        assert len(np.unique(tomogram.index)) == len(asked)
        # At rest the encoder repeats to some steps of 1e-6 deg; at a few deg/s the drive lags and leads by mdeg.
        flies = tomogram.start["tomography"]["mode"] == "fly"
        np.testing.assert_allclose(tomogram.angles_deg, asked[tomogram.index], atol=0.02 if flies else 1e-4)


@pytest.mark.timeout(120)
def test_a_fly_scan_has_a_frame_at_every_angle(beamline: Beamline) -> None:
    (uid,) = beamline.RE(beamline.ct.fly_tomography(0, 180, 60, exposure_s=0.4, **REFERENCES))
    _is_whole(beamline, uid, np.arange(60) * 3.0)
    with beamline.open_tomogram(uid) as tomogram:
        assert tomogram.flats is not None
        assert tomogram.darks is not None
        assert (len(tomogram.flats), len(tomogram.darks)) == (4, 2)
        assert tomogram.flats[0].mean() > 2 * tomogram.darks[0].mean()
        assert np.all(tomogram.beam_intensity > 0)
        assert tomogram.excluded == ()
        # Exposures are 2 % shorter than the time from frame to frame; the clock runs twenty times as fast.
        period_s = np.median(np.diff(np.sort(tomogram.times_s))) * 20
        assert period_s == pytest.approx(0.408, rel=0.01)
    audit = _audit(beamline, uid)
    assert [audit[key] for key in ("asked", "triggered", "acquired", "written", "dropped", "missing")] == [
        60, 60, 60, 60, 0, 0,
    ]  # fmt: skip
    assert beamline.sample.theta.velocity.get(use_monitor=False) == pytest.approx(30.0)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("order", ["sequential", "interlaced", "golden"])
def test_a_step_scan_takes_its_angles_in_their_order(beamline: Beamline, order: Any) -> None:
    (uid,) = beamline.RE(beamline.ct.step_tomography(10, 190, 24, exposure_s=0.5, order=order, **REFERENCES))
    asked = np.asarray(beamline.open_run(uid).start["tomography"]["angles_deg"])
    _is_whole(beamline, uid, asked)
    with beamline.open_tomogram(uid) as tomogram:
        assert np.all(np.diff(tomogram.times_s) > 0), "frames were taken in another order than was asked for"


@pytest.mark.timeout(120)
def test_a_fly_scan_backwards_over_a_whole_turn_with_a_wedge(beamline: Beamline) -> None:
    plan = beamline.ct.fly_tomography(
        0, 360, 72, exposure_s=0.4, direction="backward", exclude_deg=[(70.0, 110.0)], flats_every=30, **REFERENCES
    )
    (uid,) = beamline.RE(plan)
    asked = np.arange(72) * 5.0
    _is_whole(beamline, uid, asked[(asked <= 70) | (asked >= 110)])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mode", ["fly", "step"])
def test_a_helix_rises_with_the_angle(beamline: Beamline, mode: str) -> None:
    plan = beamline.ct.fly_tomography if mode == "fly" else beamline.ct.step_tomography
    exposure_s = 2.0 if mode == "fly" else 0.4
    (uid,) = beamline.RE(plan(0, 180, 30, exposure_s=exposure_s, pitch_um_per_turn=20.0, num_flats=0, num_darks=0))
    columns = beamline.open_run(uid).to_xarray()
    theta, y = columns["hr_camera_theta"].values, columns["hr_camera_sample_y"].values
    if theta[-1] < theta[0]:  # a fly scan begins at the nearer end; a tomogram has its projections by angle
        theta, y = theta[::-1], y[::-1]
    rise = np.polyfit(theta, y, 1)
    assert rise[0] * 360 == pytest.approx(20.0, abs=0.05)
    # evenly, whichever of a fly scan's two axes began first
    assert np.abs(y - np.polyval(rise, theta)).max() < 0.05
    with beamline.open_tomogram(uid) as tomogram:
        rises_um = 1e-3 * tomogram.pixel_nm * tomogram.rises_px
    # by its readbacks, from wherever it stood at the first angle
    np.testing.assert_allclose(rises_um - rises_um[0], y - y[0], atol=1e-6)
    assert beamline.sample.y.user_readback.get(use_monitor=False) == pytest.approx(0.0, abs=0.01)


@pytest.mark.timeout(120)
def test_a_lost_frame_is_retaken_by_a_step_scan(beamline: Beamline) -> None:
    beamline.put("Sim:DropFrames", 2)
    (uid,) = beamline.RE(beamline.ct.step_tomography(0, 180, 12, exposure_s=0.5, num_flats=0, num_darks=0))
    _is_whole(beamline, uid, np.arange(12) * 15.0)
    audit = _audit(beamline, uid)
    assert (audit["triggered"], audit["acquired"], audit["written"], audit["missing"]) == (14, 14, 12, 0)
    assert list(audit["lost_frames"]) == [0, 1]


@pytest.mark.timeout(120)
def test_a_lost_frame_is_reported_by_a_fly_scan_and_taken_by_a_resume(beamline: Beamline) -> None:
    beamline.put("Sim:DropFrames", 3)
    (uid,) = beamline.RE(beamline.ct.fly_tomography(0, 180, 30, exposure_s=0.4, num_flats=0, num_darks=0))
    audit = _audit(beamline, uid)
    assert (audit["asked"], audit["triggered"], audit["written"], audit["dropped"]) == (30, 30, 27, 3)
    assert list(audit["lost_frames"]) == [0, 1, 2]
    with beamline.open_tomogram(uid) as tomogram:
        lost = tomogram.missing
        assert len(lost) == 3
        assert sorted(audit["missing_projections"]) == list(lost)
    (again,) = beamline.RE(beamline.ct.resume(uid))
    assert beamline.open_run(again).start["resumes"] == uid
    assert beamline.open_run(again).start["num_points"] == 3
    _is_whole(beamline, uid, np.arange(30) * 6.0)
    _is_whole(beamline, again, np.arange(30) * 6.0)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mode", ["fly", "step"])
def test_a_resumed_helix_goes_on_at_the_height_of_its_angles(beamline: Beamline, mode: str) -> None:
    # lost in the middle of the scan, where the sample has risen
    plan = beamline.ct.fly_tomography if mode == "fly" else beamline.ct.step_tomography
    dropped: list[Any] = []

    def drop(name: str, doc: dict[str, Any]) -> None:
        if name == "stream_datum" and not dropped and doc["seq_nums"]["stop"] > 8:
            dropped.append(doc)
            beamline.put("Sim:BeamDump", 1)

    token = beamline.RE.subscribe(drop)
    try:
        with pytest.raises(BeamLostError):
            beamline.RE(plan(0, 360, 36, exposure_s=2.0, pitch_um_per_turn=20.0, num_flats=0, num_darks=0))
    finally:
        beamline.RE.unsubscribe(token)
        beamline.put("Sim:BeamDump", 0)
    first = beamline.open_run(-1).uid
    beamline.RE(beamline.ct.resume(first))
    with beamline.open_tomogram(first) as tomogram:
        assert tomogram.complete
        assert len(tomogram.runs) == 2
        heights = tomogram.heights_um
        risen = 1e-3 * tomogram.pixel_nm * tomogram.rises_px
        angles = tomogram.angles_deg
    # A fly scan's height is ahead of its angle by the start of two records, in each run by another bit; a resume that
    # began at the bottom again would be some 5 um off.
    ahead = 1.0 if mode == "fly" else 0.06
    assert np.abs(heights - angles / 360.0 * 20.0).max() < ahead
    np.testing.assert_allclose(np.diff(risen), np.diff(heights), atol=1e-6)


@pytest.mark.timeout(60)
def test_a_resume_with_other_optics_is_refused_before_anything_moves(beamline: Beamline) -> None:
    (uid,) = beamline.RE(beamline.ct.step_tomography(0, 180, 4, exposure_s=0.2, num_flats=0, num_darks=0))
    objective = beamline.hr_detector.objective
    before = objective.get()
    other = "4x" if before != "4x" else "10x"
    objective.set(other).wait(timeout=30)
    try:
        with pytest.raises(PlanInputError, match=r"resume: a pixel is .* nm now and was .* nm; set objective"):
            beamline.RE(beamline.ct.resume(uid))
    finally:
        objective.set(before).wait(timeout=30)
    beamline.RE(beamline.ct.resume(uid))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", ["fly", "step"])
def test_a_beam_dump_ends_the_run_and_resume_completes_it(beamline: Beamline, mode: str) -> None:
    num = 60 if mode == "fly" else 24
    dumped: list[Any] = []

    def dump(name: str, doc: dict[str, Any]) -> None:
        if name == "stream_datum" and not dumped and doc["indices"]["stop"] >= 6 and doc["seq_nums"]["stop"] > 6:
            dumped.append(doc)
            beamline.put("Sim:BeamDump", 1)

    plan = beamline.ct.fly_tomography if mode == "fly" else beamline.ct.step_tomography
    token = beamline.RE.subscribe(dump)
    try:
        with pytest.raises(BeamLostError, match="ring: beam lost"):
            beamline.RE(plan(0, 180, num, exposure_s=2.0, num_flats=0, num_darks=1))
    finally:
        beamline.RE.unsubscribe(token)
        beamline.put("Sim:BeamDump", 0)
    run = beamline.open_run(-1)
    assert run.stop is not None
    assert run.stop["exit_status"] == "fail"
    for shutter in (beamline.fast_shutter, beamline.photon_shutter):
        assert shutter.status.get(use_monitor=False) == "Closed"
    with beamline.open_tomogram(run.uid) as tomogram:
        assert 6 <= len(tomogram.angles_deg) < num
        assert tomogram.frames is not None
        assert tomogram.frames[0].shape == (SIZE, SIZE), "what was taken is there, and readable"
        audit = _audit(beamline, run.uid)
        assert audit["missing"] == len(tomogram.missing)
    (again,) = beamline.RE(beamline.ct.resume(run.uid))
    _is_whole(beamline, run.uid, np.arange(num) * 180.0 / num)
    # What was taken before is not taken again.
    assert beamline.open_run(again).start["num_points"] == num - len(tomogram.angles_deg)


@pytest.mark.timeout(60)
def test_what_cannot_be_done_is_refused_before_anything_moves(beamline: Beamline, tmp_path: Any) -> None:
    there = tmp_path / "there.nxs"
    there.touch()
    fly, step = beamline.ct.fly_tomography, beamline.ct.step_tomography
    before = beamline.open_run(-1).uid
    theta = beamline.sample.theta.user_readback.get(use_monitor=False)
    for plan, words in (
        (step(0, 180, 0), "num_projections: 0 is not"),
        (step(90, 90, 10), "stop_deg: 90 deg is start_deg"),
        (step(0, float("nan"), 10), "stop_deg: nan deg is not"),
        (step(0, 180, 10, exposure_s=0.0), "exposure_s: 0 s is not"),
        (step(0, 500, 10), r"sample.theta: angle 450 deg is outside \[-200, 380\]"),
        (fly(0, 180, 10, exposure_s=0.1), r"sample.theta: velocity .* over the limit of 30 deg/s"),
        (fly(0, 180, 180, velocity_deg_s=31.0), "velocity 31 deg/s is over the limit"),
        (fly(0, 180, 180, exposure_s=1.0, velocity_deg_s=10.0), r"exposure_s: 1 s .* does not fit into the 0.1 s"),
        (fly(-200, 160, 360, exposure_s=0.1), "to accelerate on either side"),
        (step(0, 180, 10, output=there), f"output: {there} exists"),
        (step(0, 180, 10, output=tmp_path / "a.tif"), "ends in no known format"),
    ):
        with pytest.raises(PlanInputError, match=words) as caught:
            beamline.RE(plan)
        assert "\n" not in str(caught.value)
    beamline.hr_camera.set_region()
    with pytest.raises(ExitwaveError, match=r"frames need .* GB"):
        beamline.RE(step(0, 180, 2_000_000))
    assert beamline.open_run(-1).uid == before, "no run was opened"
    assert beamline.sample.theta.user_readback.get(use_monitor=False) == pytest.approx(theta, abs=1e-4)
