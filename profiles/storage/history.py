"""Reading the journal back: one run, or what runs there are."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from exitwave.profiles.storage.encoding import decode_line
from exitwave.profiles.storage.errors import JournalCorruptError, RunNotFoundError

__all__ = ["JournalReader", "Run", "broken_off_stop", "find_run", "is_open", "read_journal", "runs"]

Document = tuple[str, dict[str, Any]]

_TAIL_BYTES = 1 << 16


def is_open(path: Path) -> bool:
    """Whether a process still writes this file: the journal holds a lock on it from start to stop."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def broken_off_stop(path: Path, run_start: str, events: Mapping[str, int]) -> Document:
    """Stop document for a run whose process ended before the run did.

    It is made from the file alone (same uid every time), and never written into the journal.
    """
    return "stop", {
        "uid": str(uuid.uuid5(uuid.NAMESPACE_OID, f"exitwave stop of {run_start}")),
        "run_start": run_start,
        "time": path.stat().st_mtime,
        "exit_status": "fail",
        "reason": "broken off: the process that measured ended before the run did",
        "num_events": dict(events),
    }


class JournalReader:
    """Follows one file: each call of `read` gives the whole documents added since the last.

    Parameters
    ----------
    path : Path
        A journal file; it may still grow.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.torn_bytes = 0
        self._line = 0

    def read(self, limit: int | None = None) -> list[Document]:
        """Return whole new documents, at most `limit`; a last line that is not whole stays for later.

        After the call `torn_bytes` tells how many bytes of an unfinished line follow.

        Raises
        ------
        JournalCorruptError
            If a line that is followed by another one cannot be read.
        """
        documents: list[Document] = []
        self.torn_bytes = 0
        with self.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(self.offset)
            while (limit is None or len(documents) < limit) and (line := file.readline()):
                try:
                    documents.append(decode_line(line))
                except ValueError as error:
                    if self.offset + len(line) < size:
                        raise JournalCorruptError(
                            f"{self.path}: line {self._line + 1} cannot be read ({error}); the lines before it are good"
                        ) from error
                    self.torn_bytes = len(line)
                    break
                self.offset += len(line)
                self._line += 1
        return documents


@dataclass(frozen=True)
class Run:
    """One run as the journal has it."""

    path: Path

    @property
    def uid(self) -> str:
        """The run's uid."""
        return self.path.stem

    @cached_property
    def start(self) -> dict[str, Any]:
        """The start document; reads one line."""
        with self.path.open("rb") as file:
            try:
                name, doc = decode_line(file.readline())
            except ValueError as error:
                raise JournalCorruptError(f"{self.path}: no start document ({error})") from error
        if name != "start":
            raise JournalCorruptError(f"{self.path}: begins with a {name} document, not with start")
        return doc

    @property
    def stop(self) -> dict[str, Any] | None:
        """The stop document, None while the run goes on or if it was broken off; reads the file's end."""
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            length = min(size, _TAIL_BYTES)
            while True:
                file.seek(size - length)
                tail = file.read(length)
                # The last whole line lies between the last two newlines (or the file's beginning).
                end = tail.rfind(b"\n")
                begin = tail.rfind(b"\n", 0, end) if end > 0 else -1
                if begin >= 0 or length == size:
                    break
                length = min(size, length * 8)
        try:
            name, doc = decode_line(tail[begin + 1 : end + 1])
        except ValueError:
            return None
        return doc if name == "stop" else None

    @property
    def torn_bytes(self) -> int:
        """Length of an unfinished last line: what a crash cut off, 0 in a sound file."""
        reader = JournalReader(self.path)
        reader.read()
        return reader.torn_bytes

    def documents(self) -> Iterator[Document]:
        """Every whole document in order; a torn last line is left out."""
        reader = JournalReader(self.path)
        while batch := reader.read(limit=1000):
            yield from batch


def read_journal(path: Path) -> list[Document]:
    """Every whole document of a journal file.

    Raises
    ------
    JournalCorruptError
        If a line before the last cannot be read.
    """
    return JournalReader(path).read()


def _children(folder: Path) -> list[Path]:
    """Sub-folders named by a number (year or month), latest first."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if p.name.isdigit() and p.is_dir()), reverse=True)


def runs(folder: Path) -> Iterator[Run]:
    """List the runs of a journal's folder, newest first, month by month: cheap if only the first are taken.

    Files without a readable start document are left out: nothing of theirs is durable.
    """
    for year in _children(folder):
        for month in _children(year):
            found: list[tuple[float, Run]] = []
            for path in month.glob("*.jsonl"):
                run = Run(path)
                try:
                    found.append((run.start["time"], run))
                except JournalCorruptError:
                    continue
            yield from (run for _, run in sorted(found, key=lambda item: item[0], reverse=True))


def find_run(folder: Path, key: str | int) -> Run:
    """Find a run by uid, by the beginning of its uid, by scan_id, or by position (-1 is the newest).

    Raises
    ------
    RunNotFoundError
        If there is none, or more than one uid begins like this.
    """
    if isinstance(key, int):
        for index, run in enumerate(runs(folder)):
            if index == -key - 1 or (key > 0 and run.start.get("scan_id") == key):
                return run
        what = f"scan_id {key}" if key > 0 else f"as many as {-key} runs"
        raise RunNotFoundError(f"journal {folder}: no {what}; `exitwave runs` lists what there is")
    matches = [
        path
        for year in _children(folder)
        for month in _children(year)
        for path in month.glob(f"{key}*.jsonl")
        if key and key.replace("-", "").isalnum()
    ]
    if len(matches) == 1:
        return Run(matches[0])
    if matches:
        raise RunNotFoundError(
            f"journal {folder}: {len(matches)} runs begin with {key!r}; give more letters of the uid"
        )
    raise RunNotFoundError(f"journal {folder}: no run {key!r}; `exitwave runs` lists what there is")
