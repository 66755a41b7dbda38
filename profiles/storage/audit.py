"""Frames asked for, triggered, acquired and written: every run ends with the four numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from exitwave.profiles.storage.errors import AuditError
from exitwave.profiles.storage.frames import FrameBlock, FramesMissingError, count_frames
from exitwave.profiles.storage.history import find_run
from exitwave.profiles.storage.layout import FileLocation
from exitwave.profiles.storage.paths import DataFolder, data_folder
from exitwave.profiles.storage.stream import Stream, streams_from_documents

__all__ = ["RunAudit", "StreamAudit", "audit_documents", "audit_run"]


@dataclass(frozen=True)
class StreamAudit:
    """Numbers of frames of one camera in one stream.

    Attributes
    ----------
    stream, data_key : str
        Which.
    asked : int or None
        Frames the plan announced (``num_points`` of the start document for the primary stream,
        ``num_frames`` by stream if the plan gives it), None if it did not say.
    triggered : int
        Frames that the points of the stream should have: events times frames per point.
    acquired : int
        Frames that documents refer to.
    written : int
        Of these, the frames that are in the files.
    missing_files : tuple of str
        Files that cannot be read.
    """

    stream: str
    data_key: str
    asked: int | None
    triggered: int
    acquired: int
    written: int
    missing_files: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all four agree."""
        asked = self.triggered if self.asked is None else self.asked
        return asked == self.triggered == self.acquired == self.written

    def __str__(self) -> str:
        asked = "not told" if self.asked is None else str(self.asked)
        text = (
            f"{self.stream}/{self.data_key}: asked {asked}, triggered {self.triggered}, "
            f"acquired {self.acquired}, written {self.written} frames"
        )
        return text + "".join(f"; cannot read {path}" for path in self.missing_files)


@dataclass(frozen=True)
class RunAudit:
    """The audit of a run."""

    uid: str
    exit_status: str
    streams: tuple[StreamAudit, ...]

    @property
    def ok(self) -> bool:
        """Whether every stream is whole."""
        return all(stream.ok for stream in self.streams)

    def check(self) -> RunAudit:
        """Return this audit if it is good.

        Raises
        ------
        AuditError
            Naming the streams whose numbers differ.
        """
        bad = [str(stream) for stream in self.streams if not stream.ok]
        if bad:
            raise AuditError(f"run {self.uid[:8]}: " + "; ".join(bad) + "; measure the missing frames again")
        return self


def _asked(start: Mapping[str, Any], stream: str, per_point: int) -> int | None:
    frames = start.get("num_frames")
    if isinstance(frames, Mapping) and stream in frames:
        return int(frames[stream])
    points = start.get("num_points")
    if stream == "primary" and isinstance(points, int) and not isinstance(points, bool):
        return points * per_point
    return None


def _audit_key(start: Mapping[str, Any], stream: Stream, key: str, blocks: list[FrameBlock]) -> StreamAudit:
    shape = stream.data_keys[key]["shape"]
    per_point = int(shape[0]) if len(shape) > 2 else 1
    points = len(stream.time) or stream.rows
    acquired = written = 0
    missing: list[str] = []
    in_file: dict[FileLocation, int] = {}
    for block in blocks:
        frames = block.rows * per_point
        acquired += frames
        if block.location not in in_file:
            try:
                in_file[block.location] = count_frames(block.location)
            except FramesMissingError:
                in_file[block.location] = 0
                missing.append(str(block.location.path))
        written += max(0, min(frames, in_file[block.location] - block.first))
    asked = _asked(start, stream.name, per_point)
    return StreamAudit(stream.name, key, asked, points * per_point, acquired, written, tuple(missing))


def audit_documents(documents: Iterable[tuple[str, Mapping[str, Any]]]) -> RunAudit:
    """Compare the documents of a run with the files they name.

    Parameters
    ----------
    documents : iterable of (str, dict)
        From start to stop (or to where the run was broken off).
    """
    everything = list(documents)
    start = everything[0][1]
    stop = everything[-1][1] if everything[-1][0] == "stop" else {"exit_status": "broken off"}
    audits = [
        _audit_key(start, stream, key, stream.blocks.get(key, []))
        for stream in streams_from_documents(everything).values()
        for key, spec in stream.data_keys.items()
        if "external" in spec
    ]
    return RunAudit(start["uid"], stop["exit_status"], tuple(audits))


def audit_run(key: str | int = -1, *, data: DataFolder | None = None) -> RunAudit:
    """Audit a run of the journal, found as by `find_run`.

    Raises
    ------
    RunNotFoundError
        If there is no such run.
    """
    return audit_documents(find_run((data or data_folder()).journal, key).documents())
