"""Starting live analysis beside a session, and asking it what it knows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exitwave.profiles.storage.errors import ServiceError
from exitwave.profiles.storage.paths import DataFolder
from exitwave.profiles.storage.process import read_json
from exitwave.profiles.storage.services import Child, start_child

__all__ = ["LiveAnalysis", "start_live"]


@dataclass(frozen=True)
class LiveAnalysis:
    """A running live analysis; it ends with the session that started it.

    Attributes
    ----------
    folder : Path
        Where its pictures and figures appear, named by the beginning of the run's uid.
    """

    child: Child
    folder: Path
    kind: str

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until everything is imported and compiled; not needed, as no run is missed meanwhile.

        Raises
        ------
        ServiceError
            If it is not within `timeout_s`, or its process ended.
        """

        def ready() -> bool:
            return (read_json(self.folder / f"{self.kind}.json") or {}).get("pid") == self.child.process.pid

        self._wait(ready, timeout_s, "not ready")

    def status(self, uid: str) -> dict[str, Any]:
        """Return what it last said of a run; empty before it said anything."""
        return read_json(self.folder / f"{uid[:8]}-live.json") or {}

    def picture(self, uid: str) -> Path:
        """Return where the picture of a run is, or will be."""
        return self.folder / f"{uid[:8]}-live.png"

    def wait_finished(self, uid: str, timeout_s: float = 60.0) -> dict[str, Any]:
        """Wait until the analysis of a run is complete, and return what it says.

        Raises
        ------
        ServiceError
            If it is not within `timeout_s`, or its process ended.
        """
        self._wait(lambda: bool(self.status(uid).get("finished")), timeout_s, f"run {uid[:8]} not complete")
        return self.status(uid)

    def _wait(self, done: Callable[[], bool], timeout_s: float, words: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            if self.child.process.poll() is not None:
                raise ServiceError(f"live analysis: ended ({self.child.last_words()}); see {self.child.log}")
            if time.monotonic() > deadline:
                raise ServiceError(f"live analysis: {words} within {timeout_s:g} s")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        self.child.stop()


def start_live(kind: str, data: DataFolder) -> LiveAnalysis:
    """Start live analysis of the runs of a data folder that begin from now on, or go on now.

    Parameters
    ----------
    kind : str
        ``tomography``, ``spectrum-image`` or ``xanes``.
    data : DataFolder

    Raises
    ------
    ServiceError
        If its process cannot be started.
    """
    folder = data.root / "live"
    # Its imports take seconds, a short run may end meanwhile.
    since = f"{time.time():.3f}"
    arguments: list[str | Path] = [kind, "--child", "--data", data.root, "--out", folder, "--since", since]
    child = start_child("live", "exitwave.profiles.live.process", arguments, data.services / f"live-{kind}.log")
    return LiveAnalysis(child, folder, kind)
