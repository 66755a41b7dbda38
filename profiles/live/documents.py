"""The documents of runs as they are written, from the journal.

Unlike a subscription this misses nothing, whenever it begins: the journal has every document from the start.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exitwave.profiles.storage.history import JournalReader, broken_off_stop, is_open

__all__ = ["follow_journal"]

Document = tuple[str, dict[str, Any]]


def _files(folder: Path) -> list[Path]:
    """Files of the newest two months, oldest first."""
    months = sorted(folder.glob("[0-9]*/[0-9]*"))[-2:]
    return sorted((path for month in months for path in month.glob("*.jsonl")), key=lambda path: path.stat().st_mtime)


def follow_journal(folder: Path, *, poll_s: float = 0.1, since_s: float = math.inf) -> Iterator[list[Document]]:
    """Yield what was added to the journal, one run after the other, for ever; an empty list when nothing was.

    Runs that ended before the call are left out, but for those that ended after `since_s` (``time.time()``): who asked
    for them did so before this process was ready. A run whose process died gets a stop document.
    """
    seen = {path for path in _files(folder) if not is_open(path) and path.stat().st_mtime < since_s}
    reader: JournalReader | None = None
    while True:
        if reader is None:
            fresh = [path for path in _files(folder) if path not in seen]
            if fresh:
                seen.add(fresh[0])
                reader = JournalReader(fresh[0])
        documents: list[Document] = []
        if reader is not None:
            open_before = is_open(reader.path)  # asked first: nothing can follow what is read after
            documents = reader.read(limit=500)
            if documents and documents[-1][0] == "stop":
                reader = None
            elif not documents and not open_before:
                if reader.offset:
                    documents = [broken_off_stop(reader.path, reader.path.stem, {})]
                reader = None
        yield documents
        if not documents:
            time.sleep(poll_s)
