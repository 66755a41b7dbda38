"""What scans that go on in later runs have in common: the runs, and the frames of their streams with what is beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from exitwave.analysis.io import Frames
from exitwave.profiles.storage.frames import FrameBlock, FramesMissingError, open_file
from exitwave.profiles.storage.history import find_run, runs
from exitwave.profiles.storage.paths import DataFolder
from exitwave.profiles.storage.reader import RunReader, open_run

__all__ = [
    "EPICS_EPOCH_S",
    "LEAST_BEAM",
    "ChainFinder",
    "FrameFiles",
    "StreamRows",
    "ring_at_start",
    "run_chain",
    "stream_rows",
]

EPICS_EPOCH_S = 631152000.0
"""1990-01-01 UTC in UNIX time: what areaDetector's timestamps count from."""
LEAST_BEAM = 0.5
"""Part of the ring current at the run's start below which a frame counts as taken without beam."""


@dataclass(frozen=True)
class StreamRows:
    """Rows of one stream of one run: where the frames lie and what stands beside them."""

    run: RunReader
    blocks: tuple[FrameBlock, ...]
    angles_deg: NDArray[np.float64]
    times_s: NDArray[np.float64]
    ring_ma: NDArray[np.float64]
    heights_um: NDArray[np.float64]

    @property
    def num(self) -> int:
        """Frames of the stream."""
        return len(self.angles_deg)


class FrameFiles:
    """Frames by (path, dataset, row), each file opened once."""

    def __init__(self) -> None:
        self.places: list[tuple[FrameBlock, int]] = []
        self._open: dict[Path, h5py.File] = {}

    def add(self, rows: StreamRows) -> None:
        """Append the frames of a stream to `places`."""
        for block in rows.blocks:
            self.places += [(block, block.first + i) for i in range(block.rows)]

    def dataset(self, block: FrameBlock) -> h5py.Dataset:
        """Return the data set that holds a block; its file stays open."""
        path = block.location.path
        if path not in self._open:
            self._open[path] = open_file(path)
        return self._open[path][block.location.dataset]

    def read(self, i: int) -> NDArray[Any]:
        """Read the frame at a place."""
        block, row = self.places[i]
        return np.asarray(self.dataset(block)[row])

    def frames(self, index: NDArray[np.intp]) -> Frames | None:
        """Return the frames at some places, read when asked for; None for none."""
        if not len(index):
            return None
        first = self.dataset(self.places[int(index[0])][0])
        return Frames(self.read, index, (first.shape[1], first.shape[2]), first.dtype)

    def close(self) -> None:
        """Let go of the files."""
        for file in self._open.values():
            file.close()
        self._open.clear()


def stream_rows(run: RunReader, stream_name: str) -> StreamRows:
    """Collect the rows of a stream; none where the run does not have it."""
    empty = np.empty(0)
    camera = str(run.start.get("camera", ""))
    if stream_name not in run.streams:
        return StreamRows(run, (), empty, empty, empty, empty)
    stream = run.stream(stream_name)
    blocks = tuple(stream.blocks.get(camera, ()))
    num = sum(block.rows for block in blocks)
    times_s = _column(stream.blocks.get(f"{camera}_timestamp", ()), num) + EPICS_EPOCH_S
    return StreamRows(
        run,
        blocks,
        _column(stream.blocks.get(f"{camera}_theta", ()), num),
        times_s,
        _column(stream.blocks.get(f"{camera}_ring_current", ()), num),
        _column(stream.blocks.get(f"{camera}_sample_y", ()), num),
    )


def _column(blocks: Sequence[FrameBlock], num: int) -> NDArray[np.float64]:
    """Read what stands beside the frames, NaN where the file does not say."""
    out = np.full(num, np.nan)
    at = 0
    for block in blocks:
        try:
            with open_file(block.location.path) as file:
                values = np.asarray(file[block.location.dataset][block.first : block.first + block.rows], np.float64)
        except (OSError, KeyError) as error:
            raise FramesMissingError(f"{block.location.path}: {block.location.dataset} cannot be read") from error
        out[at : at + len(values)] = values
        at += block.rows
    return out


def ring_at_start(run: RunReader) -> float:
    """Return the ring current (mA) when the run began; 0 where nobody read it."""
    key = run.start.get("beam_monitor", {}).get("ring")
    values = run.stream("beam").columns.get(key, []) if key and "beam" in run.streams else []
    return float(values[0]) if values else 0.0


def run_chain(key: str | int, data: DataFolder) -> Iterator[RunReader]:
    """Yield the first run of a scan and those that resume it, by time."""
    first = find_run(data.journal, key)
    if "resumes" in first.start:
        first = find_run(data.journal, str(first.start["resumes"]))
    later = []
    for run in runs(data.journal):
        if run.start["time"] < first.start["time"]:
            break
        if run.start.get("resumes") == first.uid:
            later.append(run)
    for run in [first, *reversed(later)]:
        yield open_run(run.uid, data=data, source="journal")


class ChainFinder:
    """Tells plans of scans that go on in later runs.

    Parameters
    ----------
    data : DataFolder
    """

    def __init__(self, data: DataFolder) -> None:
        self._data = data
