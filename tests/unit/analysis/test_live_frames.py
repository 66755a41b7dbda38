"""Following a file that a thread writes."""

from __future__ import annotations

import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from exitwave.analysis.errors import FileFormatError, FrameTimeoutError
from exitwave.analysis.live import follow_frames

SHAPE = (16, 12)


def writer(path: Path, n: int, seen: threading.Semaphore, closed: threading.Event) -> None:
    """Write frame i full of i + 1; after the first two, each only once the reader has taken one more."""
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset("entry/data/data", (0, *SHAPE), "u2", maxshape=(None, *SHAPE), chunks=(1, *SHAPE))
        ids = file.create_dataset("entry/ids", (0,), "i4", maxshape=(None,), chunks=(64,))
        file.swmr_mode = True
        for i in range(n):
            if i >= 2:
                assert seen.acquire(timeout=10)
            data.resize(i + 1, axis=0)
            data[i] = i + 1
            data.flush()
            ids.resize(i + 1, axis=0)
            ids[i] = i
            ids.flush()
        closed.wait(10)


@pytest.mark.parametrize("counter", [None, "entry/ids"])
def test_frames_come_as_they_are_written(tmp_path: Path, counter: str | None) -> None:
    path, n = tmp_path / "grow.h5", 9
    seen, closed = threading.Semaphore(0), threading.Event()
    thread = threading.Thread(target=writer, args=(path, n, seen, closed))
    following = follow_frames(path, expected=n, timeout_s=10, poll_s=0.001, counter=counter)
    thread.start()
    got = []
    try:
        for index, frame in following:
            got.append(index)
            np.testing.assert_array_equal(frame, np.full(SHAPE, index + 1))
            seen.release()
    finally:
        closed.set()
        thread.join(10)
    assert got == list(range(n))


def test_missing_frames_are_an_error_with_a_number(tmp_path: Path) -> None:
    path = tmp_path / "short.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["entry/data/data"] = np.zeros((3, *SHAPE), np.uint16)
    following = follow_frames(path, expected=5, timeout_s=0.05, poll_s=0.005)
    assert [next(following)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(FrameTimeoutError, match=r"frame 3 of 5 did not come within 0\.05 s"):
        next(following)
    assert [i for i, _ in follow_frames(path, expected=3, start=1)] == [1, 2]
    assert list(follow_frames(path, expected=3, start=3)) == []


def test_absent_and_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(FrameTimeoutError, match="does not exist"):
        next(follow_frames(tmp_path / "never.h5", timeout_s=0.02, poll_s=0.005))
    with h5py.File(tmp_path / "flat.h5", "w", libver="latest") as file:
        file["entry/data/data"] = np.zeros(4)
    with pytest.raises(FileFormatError, match="expected"):
        next(follow_frames(tmp_path / "flat.h5", timeout_s=1))
    with pytest.raises(FrameTimeoutError, match="has no other"):
        next(follow_frames(tmp_path / "flat.h5", "other", timeout_s=0.02, poll_s=0.005))
