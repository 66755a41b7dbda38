"""The process of live tomography follows a journal and a file that grow: how soon it shows what, and what it says."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from exitwave.profiles.live import LiveAnalysis, start_live
from exitwave.profiles.storage import DataFolder, Journal

SIZE, NUM, PERIOD_S = 256, 120, 0.05
CENTRE = 131.4
UID = "0f0e0d0c-live"
FLAT, DARK = 900.0, 100.0


def _frame(theta_deg: float) -> np.ndarray[Any, Any]:
    """Return counts behind a ball that goes round the axis."""
    row, col = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    turn = math.radians(theta_deg)
    u, v = col - (CENTRE + 30.0 * math.cos(turn) - 12.0 * math.sin(turn)), row - 120.0
    chord = 2.0 * np.sqrt(np.maximum(60.0**2 - u**2 - v**2, 0.0))
    return np.asarray(np.round(DARK + FLAT * np.exp(-0.008 * chord)), np.uint16)


class _GrowingRun:
    """Writes a run as detector and journal do: frames into a file open to readers, references into the journal."""

    def __init__(self, data: DataFolder) -> None:
        self._journal = Journal(data.journal)
        self._folder = data.root
        self._datum = 0
        self._taken = 0
        start = {"uid": UID, "scan_id": 1, "plan_name": "fly_tomography", "camera": "camera", "num_points": NUM}
        self._journal("start", {**start, "time": time.time(), "pixel_size_nm": 30.0})

    def take(self, stream: str, frames: Iterator[tuple[float, np.ndarray[Any, Any]]]) -> None:
        """Write the frames of a stream one by one, at the pace in which they are made."""
        path = self._folder / f"{stream}.h5"
        self._journal("descriptor", {
            "uid": stream, "run_start": UID, "name": stream, "time": time.time(),
            "data_keys": {
                "camera": {"source": "", "dtype": "array", "shape": [SIZE, SIZE], "external": "STREAM:"},
                "camera_theta": {"source": "", "dtype": "number", "shape": [], "external": "STREAM:"},
                "camera_timestamp": {"source": "", "dtype": "number", "shape": [], "external": "STREAM:"},
            },
        })  # fmt: skip
        with h5py.File(path, "w", libver="latest") as file:
            images = file.create_dataset("data", (0, SIZE, SIZE), np.uint16, maxshape=(None, SIZE, SIZE))
            numbers = {
                "camera_theta": file.create_dataset("theta", (0,), np.float64, maxshape=(None,), chunks=(64,)),
                "camera_timestamp": file.create_dataset("stamp", (0,), np.float64, maxshape=(None,), chunks=(64,)),
            }
            file.swmr_mode = True
            for key, dataset in (("camera", "data"), ("camera_theta", "theta"), ("camera_timestamp", "stamp")):
                self._journal("stream_resource", {
                    "uid": f"{stream}-{key}", "run_start": UID, "data_key": key, "mimetype": "application/x-hdf5",
                    "uri": f"file://localhost{path}", "parameters": {"dataset": dataset},
                })  # fmt: skip
            for n, (angle, image) in enumerate(frames):
                for data in (images, *numbers.values()):
                    data.resize(n + 1, axis=0)
                images[n] = image
                numbers["camera_theta"][n], numbers["camera_timestamp"][n] = angle, time.time()
                for data in (images, *numbers.values()):
                    data.flush()
                for key in ("camera", *numbers):
                    self._datum += 1
                    self._journal("stream_datum", {
                        "uid": str(self._datum), "descriptor": stream, "stream_resource": f"{stream}-{key}",
                        "indices": {"start": n, "stop": n + 1}, "seq_nums": {"start": n + 1, "stop": n + 2},
                    })  # fmt: skip

    def stop(self) -> None:
        """End the run."""
        self._journal("stop", {"uid": "stop", "run_start": UID, "time": time.time(), "exit_status": "success"})
        self._journal.close()


def _paced(frames: list[np.ndarray[Any, Any]], angles: np.ndarray[Any, Any]) -> Iterator[tuple[float, Any]]:
    """One frame every period, however long writing the last one took."""
    begin = time.monotonic()
    for n, (angle, frame) in enumerate(zip(angles, frames, strict=True)):
        while time.monotonic() < begin + n * PERIOD_S:
            time.sleep(0.002)
        yield float(angle), frame


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[LiveAnalysis, DataFolder]]:
    data = DataFolder(tmp_path)
    analysis = start_live("tomography", data)
    try:
        analysis.wait_ready()
        yield analysis, data
    finally:
        analysis.stop()


def test_slices_and_axis_are_refreshed_while_frames_arrive(live: tuple[LiveAnalysis, DataFolder]) -> None:
    analysis, data = live
    angles = np.arange(NUM) * 180.0 / NUM
    frames = [_frame(angle) for angle in angles]
    run = _GrowingRun(data)
    run.take("dark", iter([(0.0, np.full((SIZE, SIZE), DARK, np.uint16))] * 2))
    run.take("flat", iter([(0.0, np.full((SIZE, SIZE), DARK + FLAT, np.uint16))] * 2))
    run.take("primary", _paced(frames, angles))
    during = analysis.status(UID)
    # the references after the projections take their time, and the preview does not wait for them
    deadline = time.monotonic() + 30.0
    while "preview" not in analysis.status(UID):
        assert time.monotonic() < deadline, "no preview before the end of the run"
        time.sleep(0.05)
    run.stop()
    said = analysis.wait_finished(UID)
    assert during["projections"] > 0.5 * NUM, "the pictures lag behind"
    assert during["refresh_s"] < 2.0
    assert said["refresh_s"] < 2.0
    assert said["first_slices_s"] < 5.0
    assert said["projections"] == NUM
    assert said["last_frame_to_volume_s"] < 10.0
    assert said["axis_source"] == "centre of mass"
    assert abs(said["axis_px"] - CENTRE) < 0.05
    assert analysis.picture(UID).stat().st_size > 20_000
    with h5py.File(said["preview"]) as file:
        volume = file["entry/volume"]
        assert volume.shape == (SIZE, SIZE, SIZE)
        middle = 0.5 * (SIZE - 1)
        # 0.008 a pixel of 30 nm is 0.267 per um
        assert float(volume[120, round(middle - 12.0), round(middle + 30.0)]) == pytest.approx(0.267, rel=0.05)
