"""``python -m exitwave.profiles.live.process KIND``: follow runs, analyse, leave pictures and figures in a folder."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from exitwave.profiles.live.documents import follow_journal
from exitwave.profiles.storage.errors import ServiceError
from exitwave.profiles.storage.paths import DataFolder
from exitwave.profiles.storage.process import follow_parent, write_json

__all__ = ["View", "follow_runs", "main"]

REFRESH_S = 1.5
"""Pause between two pictures; with what drawing takes that makes less than 2 s."""


class View(Protocol):
    """One kind of live analysis: takes documents, draws what it knows."""

    def accepts(self, start: Mapping[str, Any]) -> bool:
        """Whether a run is of this kind."""

    def take(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take one document of a run that was accepted."""

    def show(self, folder: Path, uid: str) -> dict[str, Any] | None:
        """Draw, and return figures for the status file; None if there is nothing new."""

    def finish(self, folder: Path, uid: str) -> dict[str, Any]:
        """Do what is left when the run has ended, and return figures."""


def _make(kind: str) -> View:
    if kind == "tomography":
        from exitwave.profiles.live.tomography import TomographyView

        return TomographyView()
    if kind == "spectrum-image":
        from exitwave.profiles.live.spectrum_image import SpectrumImageView

        return SpectrumImageView()
    if kind == "xanes":
        from exitwave.profiles.live.xanes import XanesView

        return XanesView()
    raise ServiceError(f"live analysis {kind!r} is unknown; there are tomography, spectrum-image and xanes")


def follow_runs(kind: str, data: DataFolder, folder: Path) -> None:
    """Analyse the runs of a data folder as they are taken, for ever.

    Parameters
    ----------
    kind : str
        ``tomography``, ``spectrum-image`` or ``xanes``.
    data : DataFolder
    folder : Path
        Where pictures and figures go.

    Raises
    ------
    ServiceError
        There is no such kind.
    """
    view = _make(kind)
    folder.mkdir(parents=True, exist_ok=True)
    start: Mapping[str, Any] | None = None
    status: dict[str, Any] = {}
    shown_at = 0.0
    for documents in follow_journal(data.journal):
        for name, doc in documents:
            if name == "start":
                start = doc if view.accepts(doc) else None
                status = {"uid": doc["uid"], "finished": False}
            if start is not None:
                view.take(name, doc)
            if name == "stop" and start is not None:
                status |= view.finish(folder, start["uid"]) | {"finished": True}
                write_json(folder / f"{start['uid'][:8]}-live.json", status)
                start = None
        now = time.monotonic()
        if start is not None and now - shown_at >= REFRESH_S:
            figures = view.show(folder, start["uid"])
            if figures is not None:
                pause_s = now - shown_at if shown_at else 0.0
                status |= figures | {"refresh_s": max(status.get("refresh_s", 0.0), pause_s)}
                write_json(folder / f"{start['uid'][:8]}-live.json", status)
                shown_at = now


def main() -> int:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--child", action="store_true", help="end when standard input ends")
    chosen = parser.parse_args()

    def leave(_: int, __: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    if chosen.child:
        follow_parent()
    os.nice(10)  # the scan comes first
    follow_runs(chosen.kind, DataFolder(chosen.data), chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
