"""Camera timing, the frame file, the file plugin: without Channel Access."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from exitwave.simulators.clock import SimClock
from exitwave.simulators.records.acquisition import Acquisition, Recipe
from exitwave.simulators.records.board import Board, Choice, ro, rw
from exitwave.simulators.records.camera_driver import CameraDriver
from exitwave.simulators.records.detector_tables import COMPRESSIONS
from exitwave.simulators.records.hdf_file import Attribute, Compression, CompressionUnavailableError, Frame, FrameFile
from exitwave.simulators.records.hdf_plugin import Hdf5Plugin, WriteFaults
from exitwave.simulators.records.timeline import Timeline

SHAPE = (32, 48)
ATTRIBUTES = [Attribute("AcquireTime", "s"), Attribute("SAM_Theta", "deg")]


class Source:
    sensor_shape = SHAPE
    dtype = np.dtype(np.uint16)
    readout_time_s = 0.01
    min_exposure_s = 1e-5
    model = "a model"
    manufacturer = "a maker"

    def __init__(self):
        self.starts = []
        self.lock = threading.Lock()

    def expose(self, t0, exposure_s, *, roi, binning, gain):
        with self.lock:
            self.starts.append(t0)
        rows, columns = roi
        shape = ((rows.stop - rows.start) // binning[0], (columns.stop - columns.start) // binning[1])
        return np.full(shape, 1000 + len(self.starts), np.uint16)


def recipe(**changes):
    settings = {
        "exposure_s": 0.1,
        "period_s": 0.1,
        "images": 5,
        "exposures": 1,
        "triggered": False,
        "roi": (slice(0, SHAPE[0]), slice(0, SHAPE[1])),
        "binning": (1, 1),
        "gain": "a",
    }
    return Recipe(**{**settings, **changes})


def acquire(given, source=None, *, version=lambda: 0, speed=50.0, trigger=()):
    source = source or Source()
    delivered = []
    with ThreadPoolExecutor(2) as pool:
        acquisition = Acquisition(given, source, SimClock(speed), pool, version)
        for t in trigger:
            acquisition.trigger(t)
        ended = acquisition.run(lambda image, start: delivered.append((image, start)), lambda left: None)
    return ended, delivered, source


@pytest.mark.parametrize(
    ("exposure_s", "period_s", "spacing_s"), [(0.1, 0.05, 0.1), (0.1, 0.3, 0.3), (0.001, 0.0, 0.01)]
)
def test_period_is_no_shorter_than_exposure_and_readout(exposure_s, period_s, spacing_s):
    ended, delivered, _ = acquire(recipe(exposure_s=exposure_s, period_s=period_s), speed=5.0)
    assert ended
    assert np.diff([start for _, start in delivered]) == pytest.approx(spacing_s, abs=1e-9)


def test_exposures_are_summed_and_saturate():
    _, delivered, _ = acquire(recipe(exposures=3, images=2))
    assert delivered[0][0].dtype == np.uint16
    assert delivered[0][0].max() > 3000
    assert delivered[1][1] - delivered[0][1] == pytest.approx(0.3)


def test_images_are_made_again_when_the_world_was_commanded():
    numbers = iter(range(1000))
    _, delivered, source = acquire(recipe(images=3), version=lambda: next(numbers))
    assert len(delivered) == 3
    assert len(source.starts) == 6


def test_triggers_give_the_start_and_early_ones_are_lost():
    ended, delivered, _ = acquire(
        recipe(images=3, triggered=True, exposure_s=0.1, period_s=0.0), trigger=(1.0, 1.05, 1.2, 1.25, 1.4)
    )
    assert ended
    assert [start for _, start in delivered] == [1.0, 1.2, 1.4]


def test_abort_ends_an_endless_acquisition():
    with ThreadPoolExecutor(2) as pool:
        acquisition = Acquisition(recipe(images=None), Source(), SimClock(50.0), pool, lambda: 0)
        seen = []

        def deliver(image, start):
            seen.append(start)
            if len(seen) == 3:
                acquisition.abort()

        assert acquisition.run(deliver, lambda left: None) is False
    assert len(seen) == 3


def frames(count, start=1, shape=SHAPE):
    rng = np.random.default_rng(start)
    for index in range(start, start + count):
        image = rng.integers(0, 65535, shape, np.uint16)
        yield Frame(index, image, 1.7e9 + index, {"AcquireTime": 0.1, "SAM_Theta": 2.0 * index})


@pytest.mark.parametrize("kind", ["None", "zlib", "BSLZ4", "LZ4", "Blosc"])
def test_file_reads_back_what_was_written(tmp_path, kind):
    path = tmp_path / "frames.h5"
    file = FrameFile(
        path,
        SHAPE,
        np.dtype(np.uint16),
        attributes=ATTRIBUTES,
        compression=Compression(kind=kind),
        swmr=False,
    )
    written = list(frames(7))
    file.append(written[:3])
    file.append(written[3:])
    file.close()
    with h5py.File(path) as read:
        assert np.array_equal(read["entry/data/data"], [frame.array for frame in written])
        assert read["entry/instrument/detector/data"] == read["entry/data/data"]
        numbers = read["entry/instrument/NDAttributes"]
        assert list(numbers["NDArrayUniqueId"]) == list(range(1, 8))
        assert list(numbers["SAM_Theta"]) == [2.0 * index for index in range(1, 8)]
        assert numbers["NDArrayTimeStamp"][0] == pytest.approx(1.7e9 + 1 - 631152000)
        assert read[read.attrs["default"]].attrs["default"] == "data"
        assert read["entry/data"].attrs["signal"] == "data"


def test_unavailable_compression_is_named(tmp_path):
    with pytest.raises(CompressionUnavailableError, match="JPEG"):
        FrameFile(
            tmp_path / "x.h5",
            SHAPE,
            np.dtype(np.uint16),
            attributes=[],
            compression=Compression(kind="JPEG"),
            swmr=False,
        )


def test_a_frame_of_another_shape_is_refused_and_the_rest_kept(tmp_path):
    path = tmp_path / "frames.h5"
    file = FrameFile(path, SHAPE, np.dtype(np.uint16), attributes=[], compression=Compression(), swmr=False)
    file.append(list(frames(2)))
    with pytest.raises(ValueError, match="does not fit"):
        file.append(list(frames(1, shape=(8, 8))))
    file.close()
    with h5py.File(path) as read:
        assert read["entry/data/data"].shape[0] == 2


def test_a_disk_that_fills_up_leaves_a_file_that_opens(tmp_path, monkeypatch):
    path = tmp_path / "frames.h5"
    file = FrameFile(path, SHAPE, np.dtype(np.uint16), attributes=ATTRIBUTES, compression=Compression(), swmr=True)
    file.append(list(frames(3)))
    full = os.statvfs_result((4096, 4096, 1000, 100, 100, 10, 10, 10, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        file.append(list(frames(2)))
    assert raised.value.errno == errno.ENOSPC
    file.close()
    with h5py.File(path) as read:
        assert read["entry/data/data"].shape[0] == 3
        assert list(read["entry/instrument/NDAttributes/NDArrayUniqueId"]) == [1, 2, 3]


def test_board_keeps_the_setpoint_and_shows_what_was_taken():
    board = Board([rw("Size", 5), ro("State_RBV", Choice(("Off", "On")))])
    board.check(["Size"], lambda value: min(value, 10))
    board.set("Size", 50)
    assert board.value("Size") == 50
    assert board.value("Size_RBV") == 10
    assert board.text("State_RBV") == "Off"


def test_timeline_forgets_the_future_it_replaces():
    line = Timeline("closed")
    line.set(2.0, "open")
    line.set(5.0, "closed")
    line.set(3.0, "stuck")
    assert [line.at(t) for t in (-1.0, 1.9, 2.0, 4.0, 9.0)] == ["closed", "closed", "open", "stuck", "stuck"]


class Bench:
    """Camera and plugin in a running event loop."""

    def __init__(self, folder, speed=50.0):
        self.clock = SimClock(speed)
        self.pool = ThreadPoolExecutor(2)
        self.faults = WriteFaults()
        self.plugin = Hdf5Plugin("HDF", "CAM", SHAPE, np.dtype(np.uint16), attributes=ATTRIBUTES, faults=self.faults)
        self.camera = CameraDriver(
            "CAM",
            Source(),
            self.clock,
            self.pool,
            self.plugin,
            attributes=lambda t: {"SAM_Theta": t},
            version=lambda: 0,
            gain_modes=("a", "b", "c"),
            exposure_s=0.1,
            setpoint_c=-10.0,
        )
        loop = asyncio.get_running_loop()
        self.plugin.start(loop)
        self.camera.start(loop)
        for name, value in (("EnableCallbacks", 1), ("FilePath", str(folder)), ("FileWriteMode", 2)):
            self.plugin.board.set(name, value)
        self.camera.board.set("ImageMode", 1)

    async def put(self, part, name, value):
        await asyncio.wait_for(getattr(self, part).board.channels[name].write(value), 10.0)

    async def until(self, condition):
        async with asyncio.timeout(10.0):
            while not condition():
                await asyncio.sleep(0.002)

    async def capture(self, count, images):
        self.plugin.board.set("NumCapture", count)
        self.camera.board.set("NumImages", images)
        capturing = asyncio.ensure_future(self.put("plugin", "Capture", 1))
        await self.until(lambda: self.plugin.board.value("Capture_RBV"))
        await self.put("camera", "Acquire", 1)
        return capturing

    def close(self):
        self.camera.close()
        self.plugin.close()
        self.pool.shutdown()


def run(folder, scenario):
    async def with_bench():
        bench = Bench(folder)
        try:
            await scenario(bench)
        finally:
            await asyncio.to_thread(bench.close)

    asyncio.run(with_bench())


def test_stream_ends_at_num_capture(tmp_path):
    async def scenario(bench):
        await (await bench.capture(4, 6))
        board = bench.plugin.board
        assert board.value("NumCaptured_RBV") == 4
        assert board.value("FileNumber_RBV") == 1
        assert board.value("WriteStatus") == 0
        assert bench.camera.board.value("ArrayCounter_RBV") == 6
        await bench.until(lambda: board.value("ArrayCounter_RBV") == 6)
        with h5py.File(board.value("FullFileName_RBV")) as file:
            assert file["entry/data/data"].shape == (4, *SHAPE)

    run(tmp_path, scenario)


def test_capture_mode_writes_at_the_end(tmp_path):
    async def scenario(bench):
        bench.plugin.board.set("FileWriteMode", 1)
        bench.plugin.board.set("AutoSave", 1)
        await (await bench.capture(3, 3))
        with h5py.File(bench.plugin.board.value("FullFileName_RBV")) as file:
            assert file["entry/data/data"].shape == (3, *SHAPE)

    run(tmp_path, scenario)


def test_single_mode_writes_one_file_each(tmp_path):
    async def scenario(bench):
        board = bench.plugin.board
        board.set("FileWriteMode", 0)
        board.set("AutoSave", 1)
        bench.camera.board.set("NumImages", 3)
        bench.camera.board.set("WaitForPlugins", 1)
        await bench.put("camera", "Acquire", 1)
        await bench.until(lambda: board.value("FileNumber_RBV") == 3)
        assert sorted(path.name for path in tmp_path.iterdir()) == [f"frames_{i:06d}.h5" for i in range(3)]
        board.set("AutoSave", 0)
        await bench.put("plugin", "WriteFile", 1)
        assert board.value("FileNumber_RBV") == 4

    run(tmp_path, scenario)


def test_lazy_open_takes_its_name_with_the_first_frame(tmp_path):
    async def scenario(bench):
        board = bench.plugin.board
        board.set("LazyOpen", 1)
        capturing = asyncio.ensure_future(bench.put("plugin", "Capture", 1))
        await bench.until(lambda: board.value("Capture_RBV"))
        assert board.value("FileNumber_RBV") == 0
        await bench.put("camera", "Acquire", 1)
        await capturing
        assert board.value("FileNumber_RBV") == 1

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"FileTemplate": "%s%s%s%s%d"}, "FileTemplate"),
        ({"FilePath": "/not/there"}, "does not exist"),
    ],
)
def test_a_file_that_cannot_be_opened_is_told_at_once(tmp_path, settings, said):
    async def scenario(bench):
        board = bench.plugin.board
        for name, value in settings.items():
            board.set(name, value)
        await bench.put("plugin", "Capture", 1)
        assert board.value("WriteStatus") == 1
        assert said in board.value("WriteMessage")
        assert board.value("Capture_RBV") == 0

    run(tmp_path, scenario)


def test_a_template_without_a_number_makes_one_name_for_all(tmp_path):
    async def scenario(bench):
        bench.plugin.board.set("FileTemplate", "%s%s.h5")
        await (await bench.capture(2, 2))
        assert bench.plugin.board.value("WriteStatus") == 0
        assert [path.name for path in tmp_path.iterdir()] == ["frames.h5"]

    run(tmp_path, scenario)


def test_compression_that_cannot_be_written_is_told(tmp_path):
    async def scenario(bench):
        bench.plugin.board.set("Compression", COMPRESSIONS.index("JPEG"))
        await (await bench.capture(2, 2))
        assert "JPEG" in bench.plugin.board.value("WriteMessage")

    run(tmp_path, scenario)


def test_full_queue_drops_and_counts(tmp_path):
    async def scenario(bench):
        board = bench.plugin.board
        board.set("QueueSize", 2)
        gate = threading.Event()
        bench.plugin._queue.submit(gate.wait)
        bench.camera.board.set("NumImages", 5)
        await bench.put("camera", "Acquire", 1)
        gate.set()
        await bench.until(lambda: board.value("ArrayCounter_RBV") == 2)
        assert board.value("DroppedArrays_RBV") == 3

    run(tmp_path, scenario)


def test_an_image_that_cannot_be_made_ends_the_acquisition_in_error(tmp_path):
    async def scenario(bench):
        def broken(*_, **__):
            raise ValueError("the lens fell off")

        bench.camera._source.expose = broken
        await bench.put("camera", "Acquire", 1)
        assert bench.camera.board.value("DetectorState_RBV") == 6
        assert "the lens fell off" in bench.camera.board.value("StatusMessage_RBV")
        assert bench.camera.board.value("Acquire_RBV") == 0

    run(tmp_path, scenario)


def test_temperature_drifts_to_its_setpoint(tmp_path):
    async def scenario(bench):
        await bench.put("camera", "Temperature", -20.0)
        bench.camera._show_temperature()
        between = bench.camera.board.value("TemperatureActual")
        assert -20.0 <= between <= -10.0

    run(tmp_path, scenario)
