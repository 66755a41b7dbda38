"""A progress bar that follows a run's documents."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["RunProgress", "progress_bar", "step_bar"]


class RunProgress:
    """Callable for ``RE.subscribe``: one bar a run, a step for every event and every frame.

    The total comes from the start document: ``num_points``, ``num_flats`` and ``num_darks``.
    """

    _COUNTED = frozenset({"primary", "flat", "dark", "pitch", "yaw"})

    def __init__(self, progress: Progress):
        self._progress = progress
        self._task: Any = None
        self._streams: dict[str, str] = {}
        self._by_datum: set[str] = set()

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Move the bar."""
        if name == "start":
            total = sum(int(doc.get(key) or 0) for key in ("num_points", "num_flats", "num_darks"))
            self._task = self._progress.add_task(_title(doc), total=total)
            self._streams, self._by_datum = {}, set()
        elif name == "descriptor":
            self._streams[doc["uid"]] = doc["name"]
        elif name == "stream_resource":
            # Frames and their attributes come as several resources; the frames alone are counted.
            if "dataset" in doc["parameters"] and doc["parameters"]["dataset"].endswith("/data"):
                self._by_datum.add(doc["uid"])
        elif name == "stream_datum" and doc["stream_resource"] in self._by_datum:
            if self._streams.get(doc["descriptor"]) in self._COUNTED:
                self._progress.advance(self._task, doc["indices"]["stop"] - doc["indices"]["start"])
        elif name == "event" and not self._by_datum and self._streams.get(doc["descriptor"]) in self._COUNTED:
            self._progress.advance(self._task)
        elif name == "stop":
            task = self._progress.tasks[self._task]
            self._progress.update(self._task, completed=task.total)


def _title(start: Mapping[str, Any]) -> str:
    """Return what a run is called, and how long its plan thinks that it takes."""
    name, estimated_s = str(start.get("plan_name", "run")), start.get("estimated_s")
    if not isinstance(estimated_s, int | float):
        return name
    minutes, seconds = divmod(round(estimated_s), 60)
    return f"{name}, about {minutes}:{seconds:02d}"


@contextlib.contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show bars with the time that is left, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield progress


@contextlib.contextmanager
def step_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each step of a work that says (what, how much of it, out of how much)."""
    with progress_bar() as progress:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            for name, task in tasks.items():
                if name != what and not progress.tasks[task].finished:
                    progress.update(task, completed=progress.tasks[task].total)
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        yield tell
        for task in progress.tasks:
            progress.update(task.id, completed=task.total)
