"""Frames of an HDF5 file that another process is still writing (single writer, multiple readers)."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import FileFormatError, FrameTimeoutError, require_positive

__all__ = ["follow_frames"]


def follow_frames(
    path: str | Path,
    dataset: str = "entry/data/data",
    *,
    expected: int | None = None,
    timeout_s: float = 30.0,
    poll_s: float = 0.02,
    counter: str | None = None,
    start: int = 0,
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield (index, frame) of a growing dataset (n, y, x) as the frames arrive.

    The file may not exist yet when this is called.

    Parameters
    ----------
    path, dataset : where
    expected : int, optional
        Stop after this many frames in all; without it, the end of the run is the time-out, which then is an
        error.
    timeout_s : float
        Longest wait for the next frame (for the file, at first), s.
    poll_s : float
        Pause between looks, s.
    counter : str, optional
        A dataset (n,) that the writer extends *after* each frame, such as the frames' unique ids: its
        length then says how many frames are whole, where the writer extends the frames before it fills
        them.
    start : int
        First frame to yield.

    Raises
    ------
    FrameTimeoutError
        When no frame came in time; says how many had.
    FileFormatError
        When the dataset is not (n, y, x).
    """
    importlib.import_module("hdf5plugin")  # registers the compressors of areaDetector files
    require_positive("timeout", timeout_s, "s")
    require_positive("poll", poll_s, "s")
    path = Path(path)
    if expected is not None and start >= expected:
        return
    file = _open(path, dataset, timeout_s, poll_s)
    with file:
        data = file[dataset]
        if data.ndim != 3:
            raise FileFormatError(f"{path.name}: {dataset} has shape {data.shape}, expected (n, y, x)")
        ids = None if counter is None else file[counter]
        index = start
        deadline = time.monotonic() + timeout_s
        while expected is None or index < expected:
            data.refresh()
            whole = int(data.shape[0])
            if ids is not None:
                ids.refresh()
                whole = min(whole, int(ids.shape[0]))
            if index < whole:
                for i in range(index, whole if expected is None else min(whole, expected)):
                    yield i, np.asarray(data[i])
                    index = i + 1
                deadline = time.monotonic() + timeout_s
            elif time.monotonic() > deadline:
                of = "" if expected is None else f" of {expected}"
                raise FrameTimeoutError(f"{path.name}: frame {index}{of} did not come within {timeout_s:g} s")
            else:
                time.sleep(poll_s)


def _open(path: Path, dataset: str, timeout_s: float, poll_s: float) -> h5py.File:
    """Open the file once it is there, readable and holds the dataset."""
    deadline = time.monotonic() + timeout_s
    reason = "it does not exist"
    while True:
        if path.is_file():
            try:
                file = h5py.File(path, "r", libver="latest", swmr=True)
            except OSError as error:
                reason = str(error)  # still being created
            else:
                if dataset in file:
                    return file
                file.close()
                reason = f"it has no {dataset}"
        if time.monotonic() > deadline:
            raise FrameTimeoutError(f"{path.name}: not readable within {timeout_s:g} s: {reason}")
        time.sleep(poll_s)
