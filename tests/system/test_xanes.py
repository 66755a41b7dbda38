"""Scans of energies against the simulator: whole, broken off, resumed, refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exitwave.analysis import optics
from exitwave.analysis.fitting import edge_by_derivative
from exitwave.devices import ExitwaveError, FocusCalibrationError
from exitwave.devices.microscope import PITCH_URAD
from exitwave.plans.alignment import FocusPass
from exitwave.plans.pure.positions import PlanInputError
from exitwave.plans.stubs import BeamLostError
from exitwave.plans.xanes import Adaptive, Exposed, Feedback
from exitwave.plans.xanes.calibration import image_shifts_um
from exitwave.profiles.storage import audit_run

from .conftest import Beamline

SIZE = 256
ENERGIES = [8320.0, 8333.0, 8340.0, 8350.0, 8400.0]
SHORT: dict[str, Any] = {"exposure_s": 0.4, "num_flats": 2, "num_darks": 2}


@pytest.fixture(autouse=True)
def small_frames(beamline: Beamline):
    """Frames of 256 x 256 pixels from the middle of the sensor; no calibration from another test."""
    corner = (2048 - SIZE) // 2
    beamline.hr_camera.set_region(corner, corner, SIZE, SIZE)
    beamline.zone_plate_a.focus.clear()
    yield
    beamline.hr_camera.set_region()
    beamline.zone_plate_a.focus.clear()
    for axis in (beamline.zone_plate_a.x, beamline.zone_plate_a.y):
        axis.set(0.0).wait(30)


@pytest.mark.timeout(180)
def test_five_energies_read_back(beamline: Beamline) -> None:
    home_um = beamline.sample.x.user_setpoint.get()
    energy_kev = beamline.dcm.energy.position
    (uid,) = beamline.RE(
        beamline.xanes.imaging(
            ENERGIES, None, num_frames=2, feedback=Feedback(every=2), md={"sample": "particle"}, **SHORT
        )
    )
    audit_run(uid, data=beamline.session.data).check()
    with beamline.open_xanes(uid) as stack:
        assert stack.complete
        assert len(stack) == 5
        np.testing.assert_allclose(1e3 * stack.energies_kev, ENERGIES, atol=0.05)
        # A pixel at the sample is the scintillator's over the magnification, which falls with the energy.
        assert np.all(np.diff(stack.pixel_nm) > 0)
        for k, point in enumerate(stack.points):
            frames, flats, darks = stack.frames(k), stack.flats(k), stack.darks(k)
            assert flats is not None
            assert darks is not None
            assert (frames.shape, len(flats), len(darks)) == ((2, SIZE, SIZE), 2, 2)
            assert point.beam_intensity > 0
            focal_mm = beamline.zone_plate_a.focal_length_mm(point.setpoint_kev)
            expected_mm = optics.zone_plate_position_mm(focal_mm, 1300.0)
            assert point.zone_plate_mm == pytest.approx(expected_mm, abs=0.01)
            image, flat, dark = stack.image(k), stack.flat(k), stack.dark(k)
            assert flat is not None
            assert dark is not None
            transmission = (image - dark) / np.maximum(flat - dark, 1.0)
            assert 0.2 < float(np.median(transmission)) < 1.2
    assert beamline.sample.x.user_setpoint.get() == pytest.approx(home_um, abs=1e-6)
    assert beamline.dcm.energy.position == pytest.approx(energy_kev, abs=1e-4)
    (entry,) = [line for line in beamline.session.dose.entries("particle") if line["uid"] == uid]
    assert entry["exposed_s"] == pytest.approx(10 * 0.41)
    assert beamline.open_run(uid).start["estimate"]["frames"] == 5 * 4 + 2


@pytest.mark.timeout(180)
def test_the_detector_follows_and_the_pixel_stays(beamline: Beamline) -> None:
    microscope, track = beamline.session.instrument.microscope, beamline.session.instrument.microscope.detector.z
    energies = [8200.0, 8400.0, 8600.0]
    before_mm, energy_kev = float(track.user_setpoint.get()), beamline.dcm.energy.position
    kept, sample_mm = microscope.magnification_now(), 1e-3 * float(beamline.sample.z.user_readback.get())
    told: list[float] = []
    token = track.user_setpoint.subscribe(lambda value, **_: told.append(float(value)), run=False)
    try:
        (uid,) = beamline.RE(beamline.xanes.imaging(energies, None, keep="magnification", **SHORT))
    finally:
        track.user_setpoint.unsubscribe(token)
    with beamline.open_xanes(uid) as stack:
        pixel_nm, lens_mm = stack.pixel_nm, np.array([point.zone_plate_mm for point in stack.points])
    # f grows with the energy, and so do both distances: 200 eV of 8200 are 2.4 %, of the pixel nothing is left
    np.testing.assert_allclose(pixel_nm, pixel_nm[0], rtol=2e-4)
    np.testing.assert_allclose(lens_mm / lens_mm[0], np.array(energies) / energies[0], rtol=1e-3)
    for energy_ev in energies:
        focal_mm = beamline.zone_plate_a.focal_length_mm(1e-3 * energy_ev)
        place_mm = microscope.detector.track_for_distance_mm(focal_mm * (kept + 1.0) ** 2 / kept + sample_mm)
        assert min(abs(mm - place_mm) for mm in told) < 0.02
    assert beamline.open_run(uid).start["keep"] == "magnification"
    assert microscope.keep == "detector"
    assert beamline.dcm.energy.position == pytest.approx(energy_kev, abs=1e-4)
    # back at the first energy by the same magnification
    assert float(track.user_setpoint.get()) == pytest.approx(before_mm, abs=0.05)


@pytest.mark.timeout(180)
def test_a_beam_dump_in_the_middle_is_resumed(beamline: Beamline) -> None:
    stops = 0

    def dump(name: str, doc: Any) -> None:
        nonlocal stops
        if name == "event" and any(key.endswith("energy_record_shot") for key in doc["data"]):
            stops += 1
            if stops == 2:
                beamline.put("Sim:BeamDump", "Dump")

    token = beamline.RE.subscribe(dump)
    try:
        with pytest.raises(BeamLostError, match="beam lost"):
            beamline.RE(beamline.xanes.imaging(ENERGIES, None, **SHORT))
    finally:
        beamline.RE.unsubscribe(token)
        beamline.put("Sim:BeamDump", "No")
    with beamline.open_xanes() as stack:
        first = stack.uid
        assert 2 <= len(stack) < 5
        assert len(stack.missing) == 5 - len(stack)
    (uid,) = beamline.RE(beamline.xanes.resume(first))
    assert uid != first
    with beamline.open_xanes(uid) as stack:
        assert stack.uid == first
        assert stack.complete
        np.testing.assert_allclose(1e3 * stack.energies_kev, ENERGIES, atol=0.05)
    assert beamline.RE(beamline.xanes.resume(first)) == (first,) or len(beamline.open_xanes(first).runs) == 2


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("energies", "more", "message"),
    [
        ([8340.0, 8330.0], {}, "out of order"),
        ([8330.0, 8330.0], {}, "again"),
        ([8.33, 8.34], {}, "keV"),
        ([3900.0, 4000.0], {}, "3.9 keV"),
        ([8000.0, 8100.0], {"element": "Ni"}, "edge at 8333"),
        (41, {"element": "Nq"}, "Nq"),
        (ENERGIES, {"exposure_s": -1.0}, "exposure"),
        (ENERGIES, {"num_frames": 10**9}, "GB"),
    ],
)
def test_bad_input_is_refused_before_motion(beamline: Beamline, energies: Any, more: Any, message: str) -> None:
    before = beamline.dcm.bragg.user_setpoint.get(), beamline.zone_plate_a.z.user_setpoint.get()
    with pytest.raises((ExitwaveError, ValueError), match=message):
        beamline.RE(beamline.xanes.imaging(energies, **{"element": None, **SHORT, **more}))
    assert (beamline.dcm.bragg.user_setpoint.get(), beamline.zone_plate_a.z.user_setpoint.get()) == before


@pytest.mark.timeout(180)
def test_places_repeats_and_a_second_pass_of_flats(beamline: Beamline) -> None:
    (uid,) = beamline.RE(
        beamline.xanes.imaging(
            ENERGIES[:3],
            None,
            positions_um=[(0.0, 0.0), (10.0, 5.0)],
            repeats=2,
            flats="pass",
            exposure_s=0.2,
            num_flats=2,
            num_darks=2,
        )
    )
    audit_run(uid, data=beamline.session.data).check()
    with beamline.open_xanes(uid) as stack:
        assert stack.complete
        assert len(stack) == 12
        second = stack.select(repeat=1, position=1)
        np.testing.assert_allclose(1e3 * stack.energies_kev[second], ENERGIES[:3], atol=0.05)
        assert all(stack.points[k].x_um == pytest.approx(10.0, abs=0.05) for k in second)
        assert all(len(stack.flats(k) or ()) == 2 for k in range(12))
    # Two files for each repeat, samples and flats, beside one of darks: the camera is armed once.
    assert len(beamline.open_run(uid).stream("audit").time) == 5


@pytest.mark.timeout(180)
def test_an_adaptive_scan_adds_energies_where_the_field_changes(beamline: Beamline) -> None:
    coarse = [8300.0, 8350.0, 8400.0, 8450.0]
    (uid,) = beamline.RE(
        beamline.xanes.imaging(
            coarse,
            None,
            adaptive=Adaptive(0.3, 10.0, rounds=2, most_energies=4),
            exposure_s=0.2,
            num_flats=1,
            num_darks=1,
        )
    )
    with beamline.open_xanes(uid) as stack:
        added = [p for p in stack.points if p.shot >= 4]
        assert 1 <= len(added) <= 4
        assert len({p.shot for p in stack.points}) == len(stack)
        assert np.all(np.diff([p.setpoint_kev for p in stack.points]) > 0)


@pytest.mark.timeout(180)
def test_step_and_sweep_find_the_same_edge_of_a_foil(beamline: Beamline) -> None:
    edges = []
    energies = [(8280.0, 8400.0, 2.0)]
    # With the clock twenty times as fast the way to the ion chambers and back takes seconds: a slower sweep.
    for mode, integration_s in (("step", 0.4), ("continuous", 4.0)):
        (uid,) = beamline.RE(beamline.xanes.point(energies, None, foil="Ni", mode=mode, integration_s=integration_s))
        spectrum = beamline.open_run(uid).to_xarray()
        energy_kev = spectrum["microscope_spectrum_record_energy"].values
        absorbance = spectrum["microscope_spectrum_record_absorbance"].values
        assert len(energy_kev) > 30
        order = np.argsort(energy_kev)
        edges.append(1e3 * edge_by_derivative(energy_kev[order], absorbance[order]).position)
    # The Bragg axis has its hidden offset, up to 0.02 deg, 12 eV; both see the same.
    assert abs(edges[0] - 8333.0) < 13.0
    assert abs(edges[1] - edges[0]) < 2.0
    assert beamline.dcm.bragg.velocity.get(use_monitor=False) == pytest.approx(0.5)
    assert beamline.foil.select.get() == "None"
    with pytest.raises(ExitwaveError, match="no foil 'Xx'"):
        beamline.RE(beamline.xanes.point(energies, None, foil="Xx"))


@pytest.mark.timeout(180)
def test_all_energies_at_every_angle_and_a_tomogram_at_every_energy(beamline: Beamline) -> None:
    some: dict[str, Any] = {"exposure_s": 0.2, "num_flats": 1, "num_darks": 1}
    ((uid,),) = (beamline.RE(beamline.xanes.tomography(ENERGIES[:2], None, 0, 180, 4, mode="energies", **some)),)
    with beamline.open_xanes(uid) as stack:
        assert stack.complete
        assert len(stack) == 8
        assert len(stack.select(theta_deg=45.0)) == 2
    exposed = Exposed("NiO", 1e9, 400.0, limit_gy=1e12)
    pair: dict[str, Any] = {"num_projections": 12, "mode": "step", "md": {"sample": "pair"}, **some}
    with pytest.raises(PlanInputError, match="exceeds the limit of 1 Gy"):
        beamline.RE(beamline.xanes.dual_energy_tomography("Ni", exposed=Exposed("NiO", limit_gy=1.0), **pair))
    uids = beamline.RE(beamline.xanes.dual_energy_tomography("Ni", exposed=exposed, **pair))
    energies = [beamline.open_run(u).start["xanes_series"]["energy_ev"] for u in uids]
    assert energies == pytest.approx([8303.0, 8383.0])
    for u, energy_ev in zip(uids, energies, strict=True):
        with beamline.open_tomogram(u) as tomogram:
            assert tomogram.complete
            assert tomogram.energy_kev == pytest.approx(1e-3 * energy_ev, abs=1e-4)
    starts = [beamline.open_run(u).start for u in uids]
    entered = beamline.session.dose.entries("pair")
    assert [line["uid"] for line in entered] == list(uids)
    for line, start in zip(entered, starts, strict=True):
        # twelve projections, and again those that were lost
        assert line["dose_gy"] >= start["exposed"]["dose_gy"] * (1 - 1e-9)
        assert line["series"] == start["xanes_series"]["uid"]
    estimate = starts[0]["xanes_series"]["estimate"]
    assert estimate["frames"] == 2 * (12 + 2 + 1)
    assert estimate["dose_gy"] == pytest.approx(sum(start["exposed"]["dose_gy"] for start in starts))


@pytest.mark.timeout(120)
def test_pitch_is_found_at_two_energies_and_follows_between(beamline: Beamline) -> None:
    truth, dcm = beamline.truth, beamline.dcm
    try:
        uids = beamline.RE(beamline.xanes.calibrate_pitch([8.2, 8.6]))
        points = list(dcm.pitch_calibration.points)
        assert len(points) == len(uids) == 2
        width = float(beamline.open_run(uids[-1]).to_xarray("rocking")["microscope_peak_result_width"].values[-1])
        hidden = truth["bragg_offset_deg"] - dcm.bragg.user_offset.get()
        for bragg_deg, pitch_urad in points:
            turned = bragg_deg + hidden - optics.bragg_angle_deg(8.0)
            cold = truth["pitch_optimum_urad"] + truth["pitch_per_deg_urad"] * turned
            # cold or warm: between the two, to a thirtieth of the curve's width
            assert cold - 0.03 * width < pitch_urad < cold + truth["heat_pitch_urad"] + 0.03 * width
        beamline.RE(beamline.set_energy(8.4))
        here = optics.bragg_angle_deg(8.4)
        expected = np.interp(here, *np.transpose(points))
        assert min(p for _, p in points) < expected < max(p for _, p in points)
        # what is not worth a move is left
        assert dcm.pitch.user_setpoint.get(use_monitor=False) == pytest.approx(expected, abs=PITCH_URAD)
    finally:
        dcm.pitch_calibration.set_points([])


@pytest.mark.timeout(240)
def test_tracking_finds_focus_and_runout_and_takes_them_out(beamline: Beamline) -> None:
    # The star has to face the beam: edge on, its depth moves with the lens, and there is little to register.
    beamline.sample.theta.set(0.0).wait(timeout=60)
    beamline.hr_camera.set_region(768, 768, 512, 512)
    energies = [8.2, 8.6]
    fine = FocusPass(160.0, 33, 512, "transfer")
    uids = beamline.RE(beamline.xanes.calibrate_tracking(energies, (fine,), num_frames=2))
    points = beamline.zone_plate_a.focus.points
    assert [point.zone_plate for point in points] == ["zone_plate_a"] * 2
    assert {point.run for point in points} == {uids[-1]}
    # The lens runs out by what the stage has to go back; what is hidden is known as a function of its z.
    plate = beamline.truth["zone_plate_a"]
    with beamline.open_xanes(uids[-1]) as stack:
        places_mm = np.array([point.zone_plate_mm for point in stack.points[:2]])
    wave = np.sin(2 * np.pi * places_mm / plate["runout_period_mm"])
    for axis, name in enumerate(("x_um", "y_um")):
        runout_um = plate["runout_slope_um_mm"][axis] * (places_mm - 20.0) + plate["runout_amplitude_um"][axis] * wave
        found_um = getattr(points[1], name) - getattr(points[0], name)
        assert found_um == pytest.approx(-np.diff(runout_um)[0], abs=0.01)
    # Images then stand still: a pixel is 10 nm, and the stage's jitter stays what it is while theta rests.
    (uid,) = beamline.RE(
        beamline.xanes.imaging([8200.0, 8400.0, 8600.0], None, exposure_s=1.0, num_flats=2, num_darks=2)
    )
    with beamline.open_xanes(uid) as stack:
        pictures = []
        for k in range(3):
            flat, dark = stack.flat(k), stack.dark(k)
            assert flat is not None
            assert dark is not None
            pictures.append(-np.log(np.maximum(stack.image(k) - dark, 1.0) / np.maximum(flat - dark, 1.0)))
        moved = image_shifts_um(pictures, list(stack.pixel_nm))
        for (x_um, y_um), time_s in zip(moved, stack.times_s, strict=True):
            # the stage drifts meanwhile, by a rate and a slow swing; the clock runs twenty times as fast
            hours = 20.0 * (time_s - stack.times_s[0]) / 3600.0
            rate, swing = np.asarray(beamline.truth["drift_um_h"]), np.asarray(beamline.truth["drift_swing_um"])
            drift_um = np.hypot(*(np.abs(rate) * hours + 2.0 * np.abs(swing)))
            assert np.hypot(x_um, y_um) < 0.02 + drift_um
    with pytest.raises(FocusCalibrationError, match="outside"):
        beamline.RE(beamline.xanes.imaging([8200.0, 8650.0], None))
    before = list(points)
    beamline.zone_plate_a.focus.clear()
    beamline.RE(beamline.xanes.restore_tracking())
    for old, new in zip(before, beamline.zone_plate_a.focus.points, strict=True):
        assert (new.correction_mm, new.x_um, new.y_um) == pytest.approx((old.correction_mm, old.x_um, old.y_um))
