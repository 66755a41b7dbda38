"""Scans of energies against the simulator: whole, broken off, resumed, refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exitwave.analysis import optics
from exitwave.devices import ExitwaveError
from exitwave.plans.stubs import BeamLostError
from exitwave.plans.xanes import Feedback
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
