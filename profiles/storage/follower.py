"""One run on its way from the journal into Tiled."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exitwave.profiles.storage.history import JournalReader, broken_off_stop, is_open

if TYPE_CHECKING:
    from exitwave.profiles.storage.sink import TiledSink

__all__ = ["RunFollower"]

_EMPTY_S = 60.0


class RunFollower:
    """Writes a journal file into Tiled as the file grows.

    Parameters
    ----------
    path : Path
        The journal's file of the run.
    sink : TiledSink
        Where to.
    batch_size : int
        Events, or frames, written in one request.
    strict : bool
        See `sink.RunWriter`.
    """

    def __init__(self, path: Path, sink: TiledSink, *, batch_size: int, strict: bool = True) -> None:
        self.path = path
        self.documents = 0
        self._sink = sink
        self._reader = JournalReader(path)
        self._events: Counter[str] = Counter()
        self._streams: dict[str, str] = {}
        self._uid = ""
        # What is there without having been noted is looked through, not written again, if it is whole.
        self._writer = None if sink.has(path.stem) else sink.writer(batch_size=batch_size, strict=strict)

    @property
    def has_more(self) -> bool:
        """Whether the file has bytes that were not read, or will get no more while it lacks its stop."""
        size = self.path.stat().st_size
        return size > self._reader.offset + self._reader.torn_bytes or not is_open(self.path)

    def pump(self) -> bool:
        """Write what the file has by now; True when the run is in Tiled from start to stop, verified.

        Raises
        ------
        JournalCorruptError
            From the file.
        FAILURES
            From Tiled, see `sink`. This object is then of no more use: take a new one.
        """
        open_before = is_open(self.path)  # asked first: nothing can follow what is read after
        while documents := self._reader.read(limit=500):
            for name, doc in documents:
                self._take(name, doc)
                if name == "stop":
                    return True
        if open_before:
            return False
        if not self.documents:
            # Just made and not locked yet, or nothing of it ever became durable.
            return time.time() - self.path.stat().st_mtime > _EMPTY_S
        self._take(*broken_off_stop(self.path, self._uid, self._events))
        return True

    def _take(self, name: str, doc: dict[str, Any]) -> None:
        self.documents += 1
        if name == "start":
            self._uid = doc["uid"]
        elif name == "descriptor":
            self._streams[doc["uid"]] = doc["name"]
        elif name == "event":
            self._events[self._streams[doc["descriptor"]]] += 1
        if self._writer is not None:
            self._writer(name, doc)
        if name == "stop":
            self._sink.verify(self._uid, self._events)
