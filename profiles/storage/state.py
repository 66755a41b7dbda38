"""What the forwarder has done, kept in a small SQLite file."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

__all__ = ["ForwarderState", "is_done"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS done (
    catalog TEXT NOT NULL, uid TEXT NOT NULL, documents INTEGER NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (catalog, uid)
) WITHOUT ROWID
"""


class ForwarderState:
    """The runs that are whole in a catalog.

    A run is noted only after it was written and verified; what is not noted is written anew. Losing
    the file therefore costs time and nothing else.

    Parameters
    ----------
    path : Path
        The SQLite file.
    catalog : str
        Name of the catalog, so that another server receives all runs again.
    """

    def __init__(self, path: Path, catalog: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._catalog = catalog
        self._db = sqlite3.connect(path)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(_SCHEMA)
        self._db.commit()
        self._done = {row[0] for row in self._db.execute("SELECT uid FROM done WHERE catalog = ?", (catalog,))}

    def __contains__(self, uid: str) -> bool:
        return uid in self._done

    def __len__(self) -> int:
        return len(self._done)

    def finish(self, uid: str, documents: int) -> None:
        """Note that a run with this many documents is whole in the catalog."""
        with self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?)",
                (self._catalog, uid, documents, time.time()),
            )
        self._done.add(uid)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def is_done(path: Path, catalog: str, uid: str) -> bool:
    """Whether a run is noted as whole in a catalog; asked from any process."""
    if not path.exists():
        return False
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        try:
            row = db.execute("SELECT 1 FROM done WHERE catalog = ? AND uid = ?", (catalog, uid)).fetchone()
        except sqlite3.OperationalError:
            return False  # the forwarder is just making the file
    return row is not None
