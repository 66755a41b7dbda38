"""What was true when each frame was taken, for comparison with what a client found; no client reads it."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Lock
from typing import Any

__all__ = ["PlaceLog"]


class PlaceLog:
    """One JSON line a frame, in a file.

    Parameters
    ----------
    path
        The file; it is begun anew.
    epoch_s
        Wall time (UNIX epoch) of simulated time 0, for the first line.
    speed
        Simulated seconds per second, for the first line.
    """

    def __init__(self, path: Path, epoch_s: float, speed: float) -> None:
        self._lock = Lock()
        self._file = path.open("w", encoding="utf-8")
        self.write({"epoch_s": epoch_s, "speed": speed})

    def write(self, values: dict[str, Any]) -> None:
        """Append a line; from any thread."""
        line = json.dumps(values)
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()
