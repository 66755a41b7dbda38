"""A radiograph through Channel Access, from the request to the array."""

from __future__ import annotations

import numpy as np
import pytest

from exitwave.analysis import correction
from exitwave.devices import CameraError, ExitwaveError
from exitwave.plans.stubs import BeamLostError

from .conftest import Beamline


@pytest.mark.timeout(120)
def test_a_radiograph_is_whole_and_lazy(beamline: Beamline) -> None:
    (uid,) = beamline.RE(beamline.txm.radiograph(0.5, 4, num_flats=3, num_darks=2, md={"sample": "star"}))
    run = beamline.open_run(uid)
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    assert run.start["sample"] == "star"
    assert run.start["energy_kev"] == pytest.approx(8.0, abs=2e-3)
    for stream, count in (("dark", 2), ("flat", 3), ("primary", 4)):
        frames = run.to_xarray(stream)["hr_camera"]
        assert frames.shape == (count, 2048, 2048)
        assert frames.dtype == np.uint16
        assert not isinstance(frames.variable._data, np.ndarray), "frames must not be loaded on opening"
    audit = run.to_xarray("audit")
    assert list(audit["hr_camera_audit_written"].values) == [2, 3, 4]
    assert list(audit["hr_camera_audit_dropped"].values) == [0, 0, 0]

    dark = run.to_xarray("dark")["hr_camera"].values.mean(0)
    flat = run.to_xarray("flat")["hr_camera"].values.mean(0)
    raw = run.to_xarray("primary")["hr_camera"].values
    image = np.mean([correction.flat_field(frame, flat, dark) for frame in raw], axis=0)
    centre = image[924:1124, 924:1124]
    # A gold star absorbs: some of the field is open, some is not.
    assert np.nanpercentile(image, 99) > 0.9
    assert np.nanpercentile(centre, 10) < 0.9


@pytest.mark.timeout(120)
def test_the_sample_returns_and_the_shaker_stops(beamline: Beamline) -> None:
    x = beamline.sample.x
    beamline.RE(beamline.txm.radiograph(0.1, 1, num_flats=1, num_darks=1))
    before = x.user_readback.get(use_monitor=False)
    beamline.RE(beamline.txm.radiograph(0.1, 1, num_flats=1, num_darks=1))
    assert x.user_readback.get(use_monitor=False) == pytest.approx(before, abs=0.02)
    assert beamline.condenser.shaker.enable.get(use_monitor=False) in ("Off", "0", 0)


@pytest.mark.timeout(120)
def test_a_full_disk_fails_the_run_and_closes_the_shutters(beamline: Beamline) -> None:
    beamline.put("Sim:DiskFull", 1)
    try:
        with pytest.raises(CameraError, match=r"hr_camera: frames can't be written: .*No space left"):
            beamline.RE(beamline.txm.radiograph(0.1, 3, num_flats=1, num_darks=1))
    finally:
        beamline.put("Sim:DiskFull", 0)
    run = beamline.open_run(-1)
    assert run.stop is not None
    assert run.stop["exit_status"] == "fail"
    assert "No space left" in run.stop["reason"]
    beamline.RE(beamline.txm.radiograph(0.1, 1, num_flats=1, num_darks=1))


@pytest.mark.timeout(120)
def test_lost_frames_are_reported_not_filled(beamline: Beamline) -> None:
    beamline.put("Sim:DropFrames", 2)
    with pytest.raises(ExitwaveError, match=r"5 frames asked for .* 3 written"):
        beamline.RE(beamline.txm.radiograph(0.1, 5, num_flats=0, num_darks=0))
    run = beamline.open_run(-1)
    assert run.to_xarray("audit")["hr_camera_audit_dropped"].values[-1] == 2
    assert run.stop is not None
    assert run.stop["exit_status"] == "fail"


@pytest.mark.timeout(120)
def test_a_shutter_that_sticks_is_named(beamline: Beamline) -> None:
    beamline.put("Sim:ShutterFault", "PSH")
    try:
        with pytest.raises(ExitwaveError, match="photon_shutter"):
            beamline.RE(beamline.txm.radiograph(0.1, 1, num_flats=1, num_darks=1))
    finally:
        beamline.put("Sim:ShutterFault", "None")
        beamline.photon_shutter.reset()
        beamline.RE(_close(beamline))


@pytest.mark.timeout(120)
def test_a_beam_dump_ends_the_run_with_closed_shutters(beamline: Beamline) -> None:
    def dump(name: str, doc: dict[str, object]) -> None:
        if name == "descriptor" and doc["name"] == "primary":
            beamline.put("Sim:BeamDump", 1)

    token = beamline.RE.subscribe(dump)
    try:
        with pytest.raises(BeamLostError, match="ring: beam lost"):
            beamline.RE(beamline.txm.radiograph(2.0, 10, num_flats=1, num_darks=1))
        assert beamline.front_end_shutter.status.get(use_monitor=False) == "Closed"
    finally:
        beamline.RE.unsubscribe(token)
        beamline.put("Sim:BeamDump", 0)
    run = beamline.open_run(-1)
    assert run.stop is not None
    assert "beam lost" in run.stop["reason"]
    assert run.to_xarray()["hr_camera"].shape[0] == 10, "what was taken is there, and readable"
    # Refilled, the next run opens everything by itself.
    beamline.RE(beamline.txm.radiograph(0.1, 1, num_flats=1, num_darks=1))


def _close(beamline: Beamline):
    from exitwave.plans import stubs

    yield from stubs.close_shutter(beamline.photon_shutter)
