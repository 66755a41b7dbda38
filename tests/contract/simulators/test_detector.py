"""ophyd's areaDetector classes, unmodified, against camera and file plugin."""

from __future__ import annotations

import time
import types
from pathlib import Path

import bluesky.plans as bp
import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from ophyd import Component, EpicsSignal
from ophyd.areadetector import AndorDetectorCam, AreaDetector, CamBase, HDF5Plugin, SimDetectorCam, SingleTrigger
from ophyd.areadetector.cam import Andor3DetectorCam
from ophyd.areadetector.filestore_mixins import FileStoreHDF5IterativeWrite
from ophyd.areadetector.plugins import HDF5Plugin_V34, HDF5Plugin_V35

CAMERAS = [CamBase, SimDetectorCam, AndorDetectorCam, Andor3DetectorCam]
PLUGINS = [HDF5Plugin, HDF5Plugin_V34, HDF5Plugin_V35]


def detector_class(cam_class, plugin_class, folder):
    writer = types.new_class("Writer", (plugin_class, FileStoreHDF5IterativeWrite))

    class Detector(SingleTrigger, AreaDetector):
        cam = Component(cam_class, "cam1:")
        hdf1 = Component(writer, "HDF1:", write_path_template=str(folder), root="/")

    return Detector


@pytest.fixture
def make_detector(ioc, tmp_path):
    made = []

    def make(cam_class=SimDetectorCam, plugin_class=HDF5Plugin_V35, name="TEL1"):
        detector = detector_class(cam_class, plugin_class, tmp_path)(f"{ioc.prefix}{name}:", name="detector")
        detector.wait_for_connection(timeout=20)
        detector.cam.acquire.set(0).wait(30)
        for signal, value in (
            (detector.cam.size.size_x, 256),
            (detector.cam.size.size_y, 128),
            (detector.cam.acquire_time, 0.02),
            (detector.cam.acquire_period, 0.02),
            (detector.cam.num_images, 1),
            (detector.cam.trigger_mode, 0),
            (detector.cam.array_callbacks, 1),
            (detector.hdf1.enable, 1),
        ):
            signal.set(value).wait(30)
        detector.hdf1.ensure_nonblocking()
        made.append(detector)
        return detector

    yield make
    for detector in made:
        detector.cam.acquire.set(0).wait(30)
        detector.hdf1.capture.set(0).wait(30)
        detector.destroy()


def count(detector, points):
    documents = []
    RunEngine({})(bp.count([detector], points), lambda name, document: documents.append((name, document)))
    return documents


def resource_path(documents):
    resource = next(document for name, document in documents if name == "resource")
    return Path(resource["root"]) / resource["resource_path"]


def arm(detector, folder, *, capture=0, swmr=False, compression="None"):
    plugin = detector.hdf1
    for signal, value in (
        (plugin.create_directory, -2),
        (plugin.file_path, str(folder)),
        (plugin.file_name, "run"),
        (plugin.file_number, 0),
        (plugin.file_template, "%s%s_%6.6d.h5"),
        (plugin.file_write_mode, "Stream"),
        (plugin.compression, compression),
        (plugin.num_capture, capture),
        (plugin.swmr_mode, "On" if swmr else "Off"),
        (plugin.array_counter, 0),
        (plugin.capture, 1),
    ):
        signal.set(value).wait(30)
    return Path(plugin.full_file_name.get())


@pytest.mark.parametrize("cam_class", CAMERAS)
@pytest.mark.parametrize("plugin_class", PLUGINS)
def test_count_collects_every_frame(make_detector, cam_class, plugin_class):
    detector = make_detector(cam_class, plugin_class)
    detector.validate_asyn_ports()
    detector.stage_sigs["cam.num_images"] = 3
    documents = count(detector, 2)
    names = [name for name, _ in documents]
    assert names.count("event") == 2
    assert names.count("datum") == 2
    with h5py.File(resource_path(documents)) as file:
        frames = file["entry/data/data"]
        assert frames.shape == (6, 128, 256)
        assert frames.chunks == (1, 128, 256)
        numbers = file["entry/instrument/NDAttributes/NDArrayUniqueId"][...]
        assert list(np.diff(numbers)) == [1] * 5


def test_every_channel_of_the_classes_exists(make_detector):
    detector = make_detector(Andor3DetectorCam, HDF5Plugin_V35)
    detector.wait_for_connection(all_signals=True, timeout=30)
    assert detector.connected


def test_warm_up(make_detector):
    detector = make_detector(SimDetectorCam, HDF5Plugin)
    detector.hdf1.warmup()
    assert sum(detector.hdf1.array_size.get()) > 0


def test_positions_times_and_units_are_written_beside_the_frames(make_detector, ioc, tmp_path, wait_until):
    detector = make_detector()
    path = arm(detector, tmp_path, capture=4)
    theta = EpicsSignal(f"{ioc.prefix}SAM:Theta", name="theta")
    theta.wait_for_connection(timeout=30)
    theta.put(0.0, wait=True)
    detector.cam.num_images.set(4).wait(30)
    detector.cam.image_mode.set(1).wait(30)
    detector.cam.acquire_period.set(0.2).wait(30)
    theta.put(12.0, wait=False)
    detector.cam.acquire.put(1)
    wait_until(lambda: detector.hdf1.capture.get() == 0, what="the end of the capture")
    theta.put(0.0, wait=True)
    with h5py.File(path) as file:
        numbers = file["entry/instrument/NDAttributes"]
        angles = numbers["SAM_Theta"][...]
        assert numbers["SAM_Theta"].attrs["units"] == "deg"
        assert np.all(np.diff(angles) > 0)
        # 30 deg/s with ramps of 0.2 s: 0.2 s in full flight are 6 deg.
        assert np.diff(angles).max() <= 6.01
        assert np.diff(numbers["NDArrayTimeStamp"][...]) == pytest.approx(0.2, abs=1e-6)
        assert numbers["AcquireTime"][...] == pytest.approx(0.02)
        assert numbers["SR_Current"].attrs["units"] == "mA"
    theta.destroy()


def test_file_can_be_read_while_it_grows(make_detector, tmp_path, wait_until):
    detector = make_detector()
    path = arm(detector, tmp_path, capture=40, swmr=True)
    detector.cam.num_images.set(40).wait(30)
    detector.cam.image_mode.set(1).wait(30)
    detector.cam.acquire_period.set(0.05).wait(30)
    detector.cam.acquire.put(1)
    wait_until(lambda: detector.hdf1.swmr_active.get() == "Active", what="SWMR")
    lengths = []
    with h5py.File(path, "r", swmr=True) as file:
        frames = file["entry/data/data"]
        numbers = file["entry/instrument/NDAttributes/NDArrayUniqueId"]

        def grown():
            # The frames are flushed first: what has a number is there.
            numbers.refresh()
            frames.refresh()
            lengths.append(frames.shape[0])
            if numbers.shape[0]:
                assert frames[numbers.shape[0] - 1].any()
            return frames.shape[0] == 40

        wait_until(grown, what="forty frames")
    assert len(set(lengths)) > 5
    wait_until(lambda: detector.hdf1.capture.get() == 0)
    assert detector.hdf1.num_captured.get() == 40


def test_bitshuffle_lz4_reads_back_the_same(make_detector, tmp_path, wait_until):
    import hdf5plugin

    detector = make_detector()
    path = arm(detector, tmp_path, capture=2, compression="BSLZ4")
    detector.cam.num_images.set(2).wait(30)
    detector.cam.image_mode.set(1).wait(30)
    detector.cam.acquire.put(1)
    wait_until(lambda: detector.hdf1.capture.get() == 0)
    with h5py.File(path) as file:
        filters = file["entry/data/data"].id.get_create_plist()
        assert filters.get_filter(0)[0] == hdf5plugin.BSHUF_ID
        assert file["entry/data/data"][...].shape == (2, 128, 256)


def test_full_disk_is_told_and_the_file_stays_readable(make_detector, tmp_path, put, wait_until):
    detector = make_detector()
    path = arm(detector, tmp_path)
    detector.cam.num_images.set(2).wait(30)
    detector.cam.image_mode.set(1).wait(30)
    detector.cam.acquire.set(1).wait(30)
    wait_until(lambda: detector.hdf1.num_captured.get() == 2)
    put("Sim:DiskFull", 1)
    try:
        detector.cam.acquire.put(1)
        wait_until(lambda: detector.hdf1.write_status.get() == 1, what="a write error")
        assert "No space left" in detector.hdf1.write_message.get()
        wait_until(lambda: detector.hdf1.capture.get() == 0)
    finally:
        put("Sim:DiskFull", 0)
    with h5py.File(path) as file:
        assert file["entry/data/data"].shape[0] == 2
        assert file["entry/instrument/NDAttributes/NDArrayUniqueId"].shape[0] == 2


def test_lost_frames_are_counted(make_detector, tmp_path, put, wait_until):
    detector = make_detector()
    arm(detector, tmp_path)
    detector.hdf1.dropped_arrays.set(0).wait(30)
    put("Sim:DropFrames", 2)
    detector.cam.num_images.set(5).wait(30)
    detector.cam.image_mode.set(1).wait(30)
    detector.cam.acquire.put(1)
    wait_until(lambda: detector.hdf1.num_captured.get() == 3, what="the rest of the frames")
    assert detector.hdf1.dropped_arrays.get() == 2
    assert detector.cam.array_counter.get() >= 5


def test_missing_folder_is_told(make_detector, tmp_path, wait_until):
    detector = make_detector()
    plugin = detector.hdf1
    plugin.create_directory.set(0).wait(30)
    plugin.file_path.set(str(tmp_path / "not" / "there")).wait(30)
    plugin.file_write_mode.set("Stream").wait(30)
    assert plugin.file_path_exists.get() == 0
    plugin.capture.put(1)
    wait_until(lambda: plugin.write_status.get() == 1)
    assert "does not exist" in plugin.write_message.get()
    assert plugin.capture.get() == 0


def test_region_and_binning_stay_on_the_sensor(make_detector, wait_until):
    cam = make_detector().cam
    cam.min_x.put(900)
    cam.size.size_x.put(500)
    wait_until(lambda: cam.size.size_x.get() == 124, what="a region cut to the sensor")
    cam.min_x.put(0)
    cam.bin_x.put(2)
    wait_until(lambda: cam.array_size.array_size_x.get() == 250, what="the binned width")
    cam.bin_x.put(1)
    wait_until(lambda: cam.array_size.array_size_x.get() == 500)
    assert (cam.min_x.get(), cam.size.size_x.get(), cam.bin_x.get()) == (0, 500, 1)


def test_software_trigger_makes_one_frame_each(make_detector, ioc, wait_until):
    detector = make_detector(Andor3DetectorCam)
    cam = detector.cam
    cam.trigger_mode.set(2).wait(30)
    cam.image_mode.set(1).wait(30)
    cam.num_images.set(3).wait(30)
    cam.array_counter.set(0).wait(30)
    cam.acquire.put(1)
    wait_until(lambda: cam.detector_state.get() == 7, what="waiting for a trigger")
    for index in range(1, 4):
        cam.software_trigger.put(1)
        wait_until(lambda index=index: cam.array_counter.get() == index, what="a frame")
    wait_until(lambda: cam.acquire.get() == 0, what="the end of the acquisition")
    assert cam.array_counter.get() == 3


def test_continuous_until_stopped(make_detector, wait_until):
    cam = make_detector().cam
    cam.image_mode.set(2).wait(30)
    cam.array_counter.set(0).wait(30)
    cam.acquire.put(1)
    wait_until(lambda: cam.array_counter.get() > 3, what="frames")
    cam.acquire.set(0).wait(30)
    stopped = cam.array_counter.get()
    assert cam.detector_state.get() == 10
    wait_until(lambda: cam.array_counter.get() >= stopped)


def test_put_on_acquire_completes_with_the_last_frame(make_detector, ioc):
    detector = make_detector()
    detector.cam.image_mode.set(1).wait(30)
    detector.cam.num_images.set(5).wait(30)
    detector.cam.acquire_period.set(0.1).wait(30)
    acquire = EpicsSignal(f"{ioc.prefix}TEL1:cam1:Acquire", name="acquire")
    acquire.wait_for_connection(timeout=30)
    start = time.monotonic()
    acquire.put(1, wait=True)
    assert time.monotonic() - start >= 0.4
    assert detector.cam.num_images_counter.get() == 5
    acquire.destroy()
