"""Documents of a run, sorted for analysis: what was said at the start, frames as they arrive, events, the end.

Documents carry references; frames are read from the file that the detector's server still writes (single
writer, multiple readers). A kernel that wants to run live subclasses `LiveRouter` and hears of frames by stream.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import h5py
import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import FrameTimeoutError

__all__ = ["FrameFile", "LiveRouter"]

_POLL_S = 0.02


class FrameFile:
    """A dataset of a growing HDF5 file, (n, ...): opened at the first read, kept open.

    Parameters
    ----------
    path : Path
    dataset : str
    timeout_s : float
        Longest wait for rows that were announced, s.
    """

    def __init__(self, path: Path, dataset: str, *, timeout_s: float = 10.0) -> None:
        self.path = path
        self.dataset = dataset
        self._timeout_s = timeout_s
        self._file: h5py.File | None = None

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``start`` to ``stop``.

        Raises
        ------
        FrameTimeoutError
            When they are not in the file in time.
        """
        deadline = time.monotonic() + self._timeout_s
        while True:
            data = self._open()
            if data is not None:
                data.refresh()
                if data.shape[0] >= stop:
                    return np.asarray(data[start:stop])
            if time.monotonic() > deadline:
                there = 0 if data is None else int(data.shape[0])
                raise FrameTimeoutError(
                    f"{self.path.name}: {there} rows of {self.dataset} after {self._timeout_s:g} s, {stop} were told"
                )
            time.sleep(_POLL_S)

    def _open(self) -> h5py.Dataset | None:
        if self._file is None:
            importlib.import_module("hdf5plugin")  # registers the compressors of areaDetector files
            try:
                self._file = h5py.File(self.path, "r", libver="latest", swmr=True, locking=False)
            except OSError:
                return None  # still being created
        if self.dataset not in self._file:
            self.close()
            return None
        return self._file[self.dataset]

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass
class _Stream:
    name: str
    keys: Mapping[str, Any]
    files: dict[str, FrameFile] = field(default_factory=dict)


class LiveRouter:
    """Callable for documents; subclasses say what to do with them.

    Attributes
    ----------
    start : dict
        Start document of the run that is followed, empty before the first.
    finished : bool
        Whether its stop document was seen.
    """

    def __init__(self) -> None:
        self.start: dict[str, Any] = {}
        self.finished = False
        self._streams: dict[str, _Stream] = {}
        self._by_resource: dict[str, tuple[_Stream, str]] = {}
        self._pending: dict[str, tuple[str, FrameFile]] = {}

    # -- for subclasses ---------------------------------------------------------------------------------------

    def run_started(self, start: Mapping[str, Any]) -> None:
        """Do what has to be done when a run begins."""

    def frames_arrived(
        self, stream: str, key: str, frames: npt.NDArray[Any], attributes: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        """Frames (n, y, x) of a data key are there, and what was written with them, (n,) each, by its data key."""

    def event_arrived(self, stream: str, data: Mapping[str, Any]) -> None:
        """Take an event."""

    def run_stopped(self, stop: Mapping[str, Any]) -> None:
        """Do what has to be done when a run ends."""

    # -- documents --------------------------------------------------------------------------------------------

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take one document, in the order of the run."""
        match name:
            case "start":
                self._close()
                self._streams, self._by_resource, self._pending = {}, {}, {}
                self.start, self.finished = dict(doc), False
                self.run_started(doc)
            case "descriptor":
                self._streams[doc["uid"]] = _Stream(doc["name"], doc["data_keys"])
            case "stream_resource":
                if doc["mimetype"] == "application/x-hdf5":
                    path = Path(unquote(urlsplit(doc["uri"]).path))
                    self._pending[doc["uid"]] = (doc["data_key"], FrameFile(path, doc["parameters"]["dataset"]))
            case "stream_datum":
                self._datum(doc)
            case "event":
                if doc["descriptor"] in self._streams:
                    self.event_arrived(self._streams[doc["descriptor"]].name, doc["data"])
            case "event_page":
                if doc["descriptor"] in self._streams:
                    for row in _rows(doc["data"]):
                        self.event_arrived(self._streams[doc["descriptor"]].name, row)
            case "stop":
                self.finished = True
                self.run_stopped(doc)
                self._close()

    def _datum(self, doc: Mapping[str, Any]) -> None:
        if doc["stream_resource"] in self._pending:
            stream = self._streams[doc["descriptor"]]
            # A stream's resources come together, before the first datum of any: a new file replaces all of them.
            for uid, (key, file) in self._pending.items():
                if key in stream.keys:
                    stream.files[key] = file
                    self._by_resource[uid] = (stream, key)
            self._pending = {uid: entry for uid, entry in self._pending.items() if uid not in self._by_resource}
        found = self._by_resource.get(doc["stream_resource"])
        if found is None:
            return
        stream, key = found
        if len(stream.keys[key]["shape"]) < 2:
            return  # read with the frames
        start, stop = doc["indices"]["start"], doc["indices"]["stop"]
        beside = [k for k in stream.files if k != key and k.startswith(f"{key}_")]
        for low, high in _pieces(start, stop, self._at_once(stream.keys[key]["shape"])):
            attributes = {k: stream.files[k].read(low, high) for k in beside}
            self.frames_arrived(stream.name, key, stream.files[key].read(low, high), attributes)

    @staticmethod
    def _at_once(shape: Sequence[int]) -> int:
        """How many frames to read at once: 64 MB of them."""
        return int(max(1, 64_000_000 // (2 * int(np.prod(shape)))))

    def _close(self) -> None:
        for stream in self._streams.values():
            for file in stream.files.values():
                file.close()


def _pieces(start: int, stop: int, length: int) -> Iterator[tuple[int, int]]:
    for low in range(start, stop, length):
        yield low, min(low + length, stop)


def _rows(columns: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))
