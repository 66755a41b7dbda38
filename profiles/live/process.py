"""``python -m exitwave.profiles.live.process KIND``: follow runs, analyse, leave pictures and figures in a folder."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from exitwave.analysis.errors import AnalysisError
from exitwave.profiles.live.documents import follow_journal
from exitwave.profiles.storage.errors import ServiceError, StorageError
from exitwave.profiles.storage.history import find_run, read_journal, runs
from exitwave.profiles.storage.paths import DataFolder
from exitwave.profiles.storage.process import follow_parent, write_json

__all__ = ["View", "follow_runs", "main"]

REFRESH_S = 1.0
"""From the beginning of a picture to that of the next one, where drawing takes no more than half of it."""
POLL_S = 0.1
"""Between two looks for something new where there was nothing."""
LONGEST_REFRESH_S = 1.3
"""The same where drawing takes longer: as long again is left to others, but no more than this passes."""


class View(Protocol):
    """One kind of live analysis: takes documents, draws what it knows."""

    def accepts(self, start: Mapping[str, Any]) -> bool:
        """Whether a run is of this kind."""

    def needs(self, start: Mapping[str, Any]) -> str | None:
        """Return the uid of an earlier run that has to be heard before this one; None for none."""

    def take(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take one document of a run that was accepted."""

    def show(self, folder: Path, uid: str) -> dict[str, Any] | None:
        """Draw, and return figures for the status file; None if there is nothing new."""

    def idle(self, folder: Path, uid: str) -> dict[str, Any] | None:
        """Do what takes longer while there is nothing new, and return figures; None if there is nothing to do."""

    def finish(self, folder: Path, uid: str) -> dict[str, Any]:
        """Do what is left when the run has ended, and return figures."""


class _Run:
    """A run that is followed: its view, its status file, and when its picture was drawn."""

    def __init__(self, view: View, start: Mapping[str, Any], folder: Path) -> None:
        self._view, self._uid, self._folder = view, str(start["uid"]), folder
        self._status: dict[str, Any] = {"uid": self._uid, "finished": False}
        self._looked_at = self._due = time.monotonic()
        self._drawn = False

    def refresh(self) -> None:
        """Draw what is new, if it is time.

        ``refresh_s`` is the longest time between two pictures, without that in which there was nothing new.
        """
        begin = time.monotonic()
        if begin < self._due:
            return
        figures = self._view.show(self._folder, self._uid)
        end = time.monotonic()
        if figures is not None:
            if self._drawn:
                figures = figures | {"refresh_s": max(self._status.get("refresh_s", 0.0), end - self._looked_at)}
            self._drawn, self._looked_at = True, end
            self._due = begin + min(max(REFRESH_S, 2.0 * (end - begin)), LONGEST_REFRESH_S)
        else:
            figures = self._view.idle(self._folder, self._uid)
            self._looked_at = begin if figures is None else time.monotonic()
            self._due = end + POLL_S
        if figures is not None:
            self._write(figures)

    def finish(self) -> None:
        """Do what is left at the end of the run."""
        self._write(self._view.finish(self._folder, self._uid) | {"finished": True})

    def _write(self, figures: Mapping[str, Any]) -> None:
        self._status |= figures
        write_json(self._folder / f"{self._uid[:8]}-live.json", self._status)


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


def follow_runs(kind: str, data: DataFolder, folder: Path, *, since_s: float = math.inf) -> None:
    """Analyse the runs of a data folder as they are taken, for ever.

    Parameters
    ----------
    kind : str
        ``tomography``, ``spectrum-image`` or ``xanes``.
    data : DataFolder
    folder : Path
        Where pictures and figures go.
    since_s : float
        ``time.time()``: runs that ended after it are analysed too.

    Raises
    ------
    ServiceError
        There is no such kind.
    """
    view = _make(kind)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{kind}.json", {"pid": os.getpid()})
    run: _Run | None = None
    for documents in follow_journal(data.journal, since_s=since_s):
        for name, doc in documents:
            if name == "start":
                run = None
                if view.accepts(doc):
                    _catch_up(view, doc, data.journal)
                    run = _Run(view, doc, folder)
            if run is not None:
                view.take(name, doc)
                run.refresh()
            if name == "stop" and run is not None:
                run.finish()
                run = None
        if run is not None:
            run.refresh()


def _catch_up(view: View, start: Mapping[str, Any], journal: Path) -> None:
    """Tell the view of the runs before this one that it goes on with, where it did not follow them itself."""
    uid = view.needs(start)
    if uid is None:
        return
    try:
        earlier = [find_run(journal, uid)]
        for run in runs(journal):
            if run.start["time"] < earlier[0].start["time"]:
                break
            if run.start.get("resumes") == uid == start.get("resumes") and run.uid != start["uid"]:
                earlier.insert(1, run)
        for run in earlier:
            for name, doc in read_journal(run.path):
                view.take(name, doc)
    except (StorageError, AnalysisError) as error:
        # what comes now is followed all the same
        sys.stderr.write(f"live analysis: run {uid[:8]}, which {str(start['uid'])[:8]} goes on with: {error}\n")


def main() -> int:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--since", type=float, default=math.inf, help="take runs too that ended after this time")
    parser.add_argument("--child", action="store_true", help="end when standard input ends")
    chosen = parser.parse_args()

    def leave(_: int, __: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    if chosen.child:
        follow_parent()
    os.nice(10)  # the scan comes first
    follow_runs(chosen.kind, DataFolder(chosen.data), chosen.out, since_s=chosen.since)
    return 0


if __name__ == "__main__":
    sys.exit(main())
