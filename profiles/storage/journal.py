"""The journal: every document of every run on disk before anything else sees it.

The guarantee
-------------
`Journal` is the first subscriber of the RunEngine, which calls its subscribers from its message
loop and goes on only when they return. A document is written and flushed to the disk with
``fdatasync`` before the call returns; the file's entry in its folder is flushed when the run opens.
So when the next message moves or triggers anything, every document so far is durable, and what a
power cut can take is at most the document being written: a torn last line, which readers ignore
and report. There is no group commit, because a commit costs little where it matters: about 0.1 ms
on a solid-state disk against some 10 ms that the RunEngine spends on a point.

One run is one file, ``YYYY/MM/<uid>.jsonl`` (UTC month of the start), open from start to stop.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from exitwave.profiles.storage.encoding import encode_line
from exitwave.profiles.storage.errors import JournalError
from exitwave.profiles.storage.paths import check_free, check_writable

__all__ = ["Journal", "run_path"]


def run_path(folder: Path, start: Mapping[str, Any]) -> Path:
    """Path of the file of the run with this start document."""
    opened = datetime.fromtimestamp(start["time"], UTC)
    return folder / f"{opened:%Y}" / f"{opened:%m}" / f"{start['uid']}.jsonl"


def _sync_folder(folder: Path) -> None:
    """Make a new entry of a folder survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@dataclass
class _OpenRun:
    path: Path
    fd: int
    size: int


class Journal:
    """Callable that makes documents durable; subscribe it to the RunEngine before anything else.

    Parameters
    ----------
    folder : Path
        The journal's folder; created if need be.
    sync : bool
        Flush every document to the disk (default). Without, only a crash of this process is
        survived, not of the machine.
    min_free_mib : float
        A run is refused when less than this is free on the journal's disk.

    Raises
    ------
    FolderError, DiskSpaceError
        From the constructor and at the start of a run.
    JournalError
        From a call, and so from the plan: the document could not be written, or belongs to no open run.

    Examples
    --------
    >>> journal = Journal(data_folder().journal)
    >>> RE.subscribe(journal)
    """

    def __init__(self, folder: Path, *, sync: bool = True, min_free_mib: float = 64.0) -> None:
        self.folder = folder
        self._sync = sync
        self._min_free_mib = min_free_mib
        self._open: dict[str, _OpenRun] = {}
        self._owner: dict[str, str] = {}  # uid of descriptor or resource -> uid of run
        self._lock = threading.Lock()
        check_writable(folder)
        check_free(folder, min_free_mib)

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Make one document durable."""
        line = encode_line(name, doc)
        with self._lock:
            if name == "start":
                self._start(doc)
            uid = self._run_of(name, doc)
            run = self._open.get(uid)
            if run is None:
                raise JournalError(
                    f"journal: {name} document of run {uid[:8]}, which is not open here; "
                    "subscribe the journal before the run starts"
                )
            self._append(run, line)
            if name == "stop":
                self._stop(uid, run)

    def close(self) -> None:
        """Close the files of runs that never stopped; they stay readable and count as broken off."""
        with self._lock:
            for run in self._open.values():
                os.close(run.fd)
            self._open.clear()
            self._owner.clear()

    def _run_of(self, name: str, doc: Mapping[str, Any]) -> str:
        match name:
            case "start":
                return str(doc["uid"])
            case "stop":
                return str(doc["run_start"])
            case "descriptor" | "resource" | "stream_resource":
                uid = doc.get("run_start")
                if uid is None and len(self._open) == 1:
                    uid = next(iter(self._open))  # classic resources need not name their run
                self._owner[doc["uid"]] = str(uid)
                return str(uid)
            case "event" | "event_page" | "stream_datum":
                return self._owner.get(doc["descriptor"], "unknown")
            case "datum" | "datum_page":
                return self._owner.get(doc["resource"], "unknown")
        raise JournalError(f"journal: unknown kind of document {name!r}")

    def _start(self, doc: Mapping[str, Any]) -> None:
        path = run_path(self.folder, doc)
        check_writable(path.parent)
        check_free(path.parent, self._min_free_mib)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            # Held until the file is closed, by whatever: tells readers that the run goes on.
            fcntl.flock(fd, fcntl.LOCK_EX)
            if self._sync:
                for folder in (path.parent, path.parent.parent, self.folder):
                    _sync_folder(folder)
        except OSError as error:
            raise self._failure(path, error) from error
        self._open[doc["uid"]] = _OpenRun(path, fd, 0)

    def _append(self, run: _OpenRun, line: bytes) -> None:
        """Write a line as a whole, or leave the file as it was and raise."""
        try:
            view = memoryview(line)
            while view:
                view = view[os.write(run.fd, view) :]
            if self._sync:
                os.fdatasync(run.fd)
        except OSError as error:
            # No half line may stay before a later document.
            os.ftruncate(run.fd, run.size)
            os.lseek(run.fd, run.size, os.SEEK_SET)
            raise self._failure(run.path, error) from error
        run.size += len(line)

    def _stop(self, uid: str, run: _OpenRun) -> None:
        os.close(run.fd)
        del self._open[uid]
        self._owner = {key: owner for key, owner in self._owner.items() if owner != uid}

    def _failure(self, path: Path, error: OSError) -> JournalError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return JournalError(
                f"{path}: the disk is full, the document was not written and the run stops; "
                "free space, then measure again"
            )
        return JournalError(
            f"{path}: {error.strerror or error}, the document was not written and the run stops; "
            "check the disk of the journal"
        )
