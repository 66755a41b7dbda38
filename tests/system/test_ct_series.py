"""Series of tomograms, mosaics, sample lists, the alignment of the axis, and export, against the simulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from exitwave.analysis.correction import remove_zingers
from exitwave.analysis.io import open_series, open_volume
from exitwave.analysis.resolution.rings import fill_dead
from exitwave.analysis.tomography import Recipe
from exitwave.devices import ExitwaveError
from exitwave.plans import PlanInputError
from exitwave.profiles.storage import open_mosaic
from exitwave.profiles.tomograms import reconstruct_command

from .conftest import Beamline

SENSOR = 2048
FEW: dict[str, Any] = {"num_flats": 2, "num_darks": 2}


@pytest.fixture(autouse=True)
def whole_sensor_afterwards(beamline: Beamline):
    """Leave the camera and the stage as they were."""
    yield
    beamline.hr_camera.set_region()
    beamline.sample.theta.set(0.0).wait(timeout=30)


def _region(beamline: Beamline, width: int, height: int) -> None:
    beamline.hr_camera.set_region((SENSOR - width) // 2, (SENSOR - height) // 2, width, height)


@pytest.mark.timeout(120)
def test_a_snaked_series_turns_back_and_forth_and_shares_its_references(beamline: Beamline) -> None:
    _region(beamline, 128, 128)
    uids = beamline.RE(beamline.ct.time_series(3, 0, 90, 30, exposure_s=0.4, **FEW))
    assert len(uids) == 3
    senses = []
    for place, uid in enumerate(uids):
        with beamline.open_tomogram(uid) as tomogram:
            assert tomogram.complete
            assert tomogram.flats is not None
            assert tomogram.darks is not None
            assert tomogram.start["series"]["index"] == place
            senses.append(np.sign(tomogram.times_s[-1] - tomogram.times_s[0]))
    assert senses == [1, -1, 1]


@pytest.mark.timeout(120)
def test_samples_are_taken_one_after_the_other_where_they_are(beamline: Beamline) -> None:
    _region(beamline, 128, 128)
    places: list[dict[str, Any]] = [
        {"name": "one", "x_um": 3.0, "y_um": 1.0},
        {"name": "two", "x_um": -4.0, "y_um": 0.0},
    ]
    uids = beamline.RE(beamline.ct.sample_list(places, 0, 180, 4, mode="step", exposure_s=0.2, **FEW))
    for uid, place in zip(uids, places, strict=True):
        run = beamline.open_run(uid)
        assert run.start["sample"] == place["name"]
        np.testing.assert_allclose(run.to_xarray()["hr_camera_sample_x"].values, place["x_um"], atol=0.01)
    for axis in (beamline.sample.x, beamline.sample.y):
        assert axis.user_readback.get(use_monitor=False) == pytest.approx(0.0, abs=0.01), "back where it was"


@pytest.mark.timeout(60)
def test_a_series_that_can_not_be_taken_whole_is_refused_before_anything_moves(beamline: Beamline) -> None:
    ct = beamline.ct
    moved: list[Any] = []
    started = beamline.RE.subscribe(lambda _, doc: moved.append(doc), "start")
    watched = [beamline.sample.x, beamline.sample.theta]
    shutters = (beamline.photon_shutter, beamline.fast_shutter)

    def note(value: Any, **_: Any) -> None:
        if value not in (0, "Closed"):
            moved.append(value)

    tokens = [axis.motor_is_moving.subscribe(note, run=False) for axis in watched]
    tokens_of_shutters = [one.status.subscribe(note, run=False) for one in shutters]
    place = {"name": "one", "x_um": 2.0, "y_um": 0.0}
    try:
        for plan, words in (
            (ct.time_series(3, 0, 180, 0), "num_projections: 0"),
            (ct.time_series(3, 0, 500, 10, mode="step"), r"sample.theta: angle 4\d\d deg is outside"),
            (ct.time_series(3, 0, 180, 180, velocity_deg_s=31.0), "velocity 31 deg/s is over the limit"),
            (
                ct.time_series(3, 0, 180, 10, exposure=1.0),
                "exposure: fly_tomography has no such argument; is exposure_s",
            ),
            (ct.time_series(3, 0, 180, 10, flats="none"), "flats: a series that shares"),
            (ct.mosaic_tomography(2, 1, 0, float("nan"), 10), "stop_deg: nan deg"),
            (ct.sample_list([place], 0, 0, 10), "stop_deg: 0 deg is start_deg"),
            (ct.sample_list([{"name": "two", "x_mm": 1.0}], 0, 180, 10), "'x_mm' is no part of a place"),
            (ct.sample_list([{"name": "two"}], 0, 180, 10), "two lacks x_um"),
        ):
            with pytest.raises(PlanInputError, match=words) as caught:
                beamline.RE(plan)
            assert "\n" not in str(caught.value)
        with pytest.raises(ExitwaveError, match=r"frames need .* GB"):
            # each of them would fit
            beamline.RE(ct.time_series(300, 0, 180, 20_000, mode="step", exposure_s=1.0))
    finally:
        beamline.RE.unsubscribe(started)
        for device, token in zip([*watched, *shutters], [*tokens, *tokens_of_shutters], strict=True):
            (device.status if device in shutters else device.motor_is_moving).unsubscribe(token)
    assert not moved


@pytest.mark.timeout(120)
def test_each_tomogram_of_a_series_has_a_file_of_its_own(beamline: Beamline, tmp_path: Path) -> None:
    _region(beamline, 128, 128)
    scan: dict[str, Any] = {"mode": "step", "exposure_s": 0.2, "output": tmp_path / "scan.nxs", **FEW}
    uids = beamline.RE(beamline.ct.time_series(2, 0, 90, 4, flats_each=True, **scan))
    beamline.session.exporter.close()
    for name, uid in zip(("scan-001.nxs", "scan-002.nxs"), uids, strict=True):
        with open_series(tmp_path / name) as series, beamline.open_tomogram(uid) as tomogram:
            np.testing.assert_array_equal(series.angles_deg, tomogram.angles_deg)


@pytest.mark.timeout(120)
def test_a_tomogram_with_gaps_is_exported_once_they_are_filled(beamline: Beamline, tmp_path: Path) -> None:
    _region(beamline, 128, 128)
    path = tmp_path / "whole.h5"
    beamline.put("Sim:DropFrames", 2)
    plan = beamline.ct.fly_tomography(0, 180, 30, exposure_s=0.4, output=path, num_flats=0, num_darks=0)
    (uid,) = beamline.RE(plan)
    beamline.session.exporter.close()
    with beamline.open_tomogram(uid) as tomogram:
        assert len(tomogram.missing) == 2
    assert not path.exists()
    beamline.RE(beamline.ct.resume(uid))
    beamline.session.exporter.close()
    with open_series(path) as series:
        assert len(series.frames) == 30


@pytest.mark.timeout(120)
def test_tiles_side_by_side_are_what_a_larger_field_shows(beamline: Beamline) -> None:
    overlap, tile = 0.25, 256
    _region(beamline, tile, tile)
    scan: dict[str, Any] = {"exposure_s": 10.0, "num_flats": 4, "num_darks": 2}
    plan = beamline.ct.mosaic_tomography(2, 2, 0, 180, 1, overlap=overlap, mode="step", **scan)
    uids = beamline.RE(plan)
    with open_mosaic(uids[0], data=beamline.session.data) as mosaic:
        stitched = mosaic.transmission(0)
    side = round(tile * (2 - overlap))
    assert stitched.shape == (side, side)
    _region(beamline, side, side)
    (uid,) = beamline.RE(beamline.ct.step_tomography(0, 180, 1, **scan))
    with beamline.open_tomogram(uid) as whole:
        frames: Any = whole.frames
        flats: Any = whole.flats
        darks: Any = whole.darks
        dark = darks[:].mean(0)
        direct = (frames[0] - dark) / (flats[:].mean(0) - dark)
    # A pixel is mostly noise: compare what is left of it over some pixels. A tile in a wrong place shows nothing alike.
    # In 10 s the camera is hit directly, and each time elsewhere.
    first, second = (gaussian_filter(remove_zingers(fill_dead(image))[0], 4.0) for image in (direct, stitched))
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.95


@pytest.mark.timeout(180)
def test_a_mosaic_becomes_one_volume_on_the_command_line(beamline: Beamline, tmp_path: Path) -> None:
    _region(beamline, 256, 128)
    scan: dict[str, Any] = {"exposure_s": 8.0, "num_flats": 4, "num_darks": 2}
    uids = beamline.RE(beamline.ct.mosaic_tomography(2, 1, 0, 180, 16, overlap=0.5, mode="step", **scan))
    recipe, out = Recipe(centre_px=192.0, stripes=False), tmp_path / "whole.zarr"
    options: dict[str, Any] = {"pixel_nm": None, "overwrite": False, "json_path": tmp_path / "whole.json"}
    data = beamline.session.data
    assert reconstruct_command(uids[1], recipe, out=out, mosaic=True, data=data, **options) == 0
    figures = json.loads((tmp_path / "whole.json").read_text())
    with open_mosaic(uids[0], data=data) as mosaic, open_volume(out) as (volume, info):
        assert (info.source_uid, info.voxel_nm) == (mosaic.uid, pytest.approx(mosaic.tiles[0].pixel_nm))
        assert figures["source"] == f"mosaic {mosaic.uid[:8]}"
        assert figures["projections"] == len(mosaic) == 16
        # registered tiles stand beside each other to a pixel or so
        assert volume.shape[0] == pytest.approx(128, abs=3)
        assert volume.shape[1] == volume.shape[2] == pytest.approx(384, abs=3)
        assert np.isfinite(volume[:]).all()
        assert np.std(volume[64]) > 0
    assert out.with_suffix(".png").stat().st_size > 1000


@pytest.mark.timeout(180)
def test_the_rotation_axis_comes_to_the_middle_of_the_camera(beamline: Beamline) -> None:
    _region(beamline, 1024, 1024)
    x = beamline.sample.x
    x.set(2.0).wait(timeout=30)
    (uid,) = beamline.RE(beamline.ct.align_rotation_axis(exposure_s=5.0, num_frames=2, num_flats=4, num_darks=2))
    found = beamline.open_run(uid).to_xarray("rotation_axis")
    centre = found["sample_axis_result_centre"].values
    # The stage stops elsewhere at every visit, by more than a pixel: eight visits tell the axis to a third of that.
    pixel_um = 1e-3 * beamline.open_run(uid).start["pixel_size_nm"]
    jitter_px = beamline.truth["stage_jitter_um"][0] / pixel_um
    assert abs(centre[-1] - 511.5) <= max(0.1, 2 * found["sample_axis_result_centre_sd"].values[-1])
    assert abs(centre[0] - 511.5) > 10, "it stood there before: nothing was tested"
    # as the scatter of four pairs says; its own deviation is two fifths
    assert found["sample_axis_result_centre_sd"].values[-1] < 2.5 * jitter_px / np.sqrt(8)
    _region(beamline, 512, 512)
    (uid,) = beamline.RE(beamline.ct.step_tomography(0, 180, 2, exposure_s=0.2, num_flats=0, num_darks=0))
    with beamline.open_tomogram(uid) as tomogram:
        assert tomogram.centre_px == pytest.approx(centre[-1] - 256)
        tilt_deg = tomogram.tilt_deg
    assert tilt_deg is not None
    # Where the axis is seen leaning less than its uncertainty, the truth must be near, too.
    truth_deg = np.degrees(1e-3 * beamline.truth["axis_tilt_mrad"])
    sd = float(found["sample_axis_result_tilt_sd"].values[-1])
    assert abs(abs(tilt_deg) - abs(truth_deg)) < max(0.01, 4 * sd)
    x.set(0.0).wait(timeout=30)


@pytest.mark.timeout(120)
def test_a_tomogram_is_exported_when_its_run_ends(beamline: Beamline, tmp_path: Path) -> None:
    _region(beamline, 128, 128)
    path = tmp_path / "out.nxs"
    (uid,) = beamline.RE(beamline.ct.step_tomography(0, 180, 6, exposure_s=0.2, output=path, **FEW))
    beamline.session.exporter.close()
    with open_series(path) as series, beamline.open_tomogram(uid) as tomogram:
        np.testing.assert_array_equal(series.angles_deg, tomogram.angles_deg)
        frames: Any = tomogram.frames
        np.testing.assert_array_equal(series.frames[3], frames[3])
        assert series.pixel_nm == pytest.approx(tomogram.pixel_nm)
