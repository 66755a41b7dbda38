"""Recorded series through the camera, bit for bit."""

import os
from pathlib import Path

import h5py
import numpy as np
import olefile
import pytest

from exitwave.simulators.bl18b.camera import CameraRequestError
from exitwave.simulators.bl18b.rest import GAIN, Rest
from exitwave.simulators.bl18b.series import SeriesError, open_series
from exitwave.simulators.bl18b.truth import Truth
from exitwave.simulators.bl18b.world import World

DATA = Path(os.environ.get("EXITWAVE_REALDATA", "../shared/data"))
TOOTH = DATA / "tomography" / "tooth.h5"
CHIP = DATA / "txm-xradia" / "txrm_test_chip_tomo.txrm"


def real(path):
    return pytest.param(
        path,
        marks=[pytest.mark.realdata, pytest.mark.skipif(not path.is_file(), reason=f"{path.name} is not there")],
        id=path.name,
    )


def camera_of(path, rest):
    return World(rest, Truth.nominal(), replay=path).camera("HR1")


def serve(camera):
    rows, cols = camera.sensor_shape
    return camera.expose(0.0, 1.0, roi=(slice(0, rows), slice(0, cols)), binning=(1, 1), gain=GAIN)


@pytest.fixture
def exchange(tmp_path):
    path = tmp_path / "series.h5"
    rng = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        file["exchange/data"] = rng.integers(0, 60000, (7, 5, 6), np.uint16)
        file["exchange/data_white"] = rng.integers(0, 60000, (3, 5, 6), np.uint16)
        file["exchange/data_dark"] = rng.integers(0, 600, (2, 5, 6), np.uint16)
        file["exchange/theta"] = np.arange(7) * 30.0
    return path


def test_projection_nearest_to_theta(exchange):
    rest = Rest(SAM_Theta=62.0)
    camera = camera_of(exchange, rest)
    with h5py.File(exchange) as file:
        np.testing.assert_array_equal(serve(camera), file["exchange/data"][2])
        assert camera.dtype == np.uint16
        rest.axes["SAM:Theta"] = -179.0  # 181 deg
        np.testing.assert_array_equal(serve(camera), file["exchange/data"][6])
        part = camera.expose(0.0, 1.0, roi=(slice(1, 4), slice(2, 5)), binning=(1, 1), gain=GAIN)
        np.testing.assert_array_equal(part, file["exchange/data"][6, 1:4, 2:5])


def test_darks_with_a_shutter_closed_and_flats_with_the_specimen_out(exchange):
    rest = Rest(SAM_Y=-50.0)
    camera = camera_of(exchange, rest)
    with h5py.File(exchange) as file:
        for n in range(5):
            np.testing.assert_array_equal(serve(camera), file["exchange/data_white"][n % 3])
        rest.switches["FSH"] = False
        for n in range(3):
            np.testing.assert_array_equal(serve(camera), file["exchange/data_dark"][n % 2])


def test_missing_darks_and_flats_are_said_in_the_log(tmp_path, caplog):
    path = tmp_path / "bare.h5"
    with h5py.File(path, "w") as file:
        file["exchange/data"] = np.full((3, 4, 4), 17, np.uint16)
    rest = Rest()
    camera = camera_of(path, rest)
    assert "no darks: zeros" in caplog.text
    assert "no flats: 17 everywhere" in caplog.text
    rest.switches["PSH"] = False
    assert serve(camera).max() == 0


def test_binning_of_recorded_frames_is_refused(exchange):
    with pytest.raises(CameraRequestError, match="unbinned"):
        camera_of(exchange, Rest()).expose(0.0, 1.0, roi=(slice(0, 4), slice(0, 4)), binning=(2, 2), gain=GAIN)


def test_nxtomo_sorts_by_image_key(tmp_path):
    path = tmp_path / "scan.nxs"
    data = np.arange(6 * 3 * 4, dtype=np.uint16).reshape(6, 3, 4)
    with h5py.File(path, "w") as file:
        file["entry/definition"] = "NXtomo"
        file["entry/instrument/detector/data"] = data
        file["entry/instrument/detector/image_key"] = [2, 1, 0, 0, 3, 0]
        file["entry/sample/rotation_angle"] = [0.0, 0.0, 0.0, 45.0, 50.0, 90.0]
        pixel = file.create_dataset("entry/instrument/detector/x_pixel_size", data=0.1)
        pixel.attrs["units"] = "um"
    series = open_series(path)
    assert [series.count(k) for k in ("projection", "flat", "dark")] == [3, 1, 1]
    np.testing.assert_array_equal(series.theta_deg, [0.0, 45.0, 90.0])
    np.testing.assert_array_equal(series.frame("projection", 2), data[5])
    assert series.pixel_um == pytest.approx(0.1)


def test_files_that_are_no_series(tmp_path):
    with pytest.raises(SeriesError, match="no such file"):
        open_series(tmp_path / "gone.h5")
    text = tmp_path / "note.txrm"
    text.write_text("not a series")
    with pytest.raises(SeriesError, match="neither HDF5"):
        open_series(text)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = 1
    with pytest.raises(SeriesError, match="NXtomo"):
        open_series(other)


@pytest.mark.parametrize("path", [real(TOOTH)])
def test_tooth_is_served_as_recorded(path):
    rest = Rest()
    camera = camera_of(path, rest)
    with h5py.File(path) as file:
        theta = file["exchange/theta"][()]
        for n in (0, 37, 180):
            rest.axes["SAM:Theta"] = float(theta[n])
            np.testing.assert_array_equal(serve(camera), file["exchange/data"][n])
        assert serve(camera).dtype == file["exchange/data"].dtype
        rest.axes["SAM:X"] = 500.0
        np.testing.assert_array_equal(serve(camera), file["exchange/data_white"][0])


@pytest.mark.parametrize("path", [real(CHIP)])
def test_chip_is_served_as_recorded(path):
    rest = Rest(SAM_Theta=15.0)
    camera = camera_of(path, rest)
    assert camera.sensor_shape == (256, 256)
    ole = olefile.OleFileIO(str(path))
    raw = np.frombuffer(ole.openstream("ImageData1/Image5").read(), "<u2").reshape(256, 256)
    np.testing.assert_array_equal(serve(camera), raw)
