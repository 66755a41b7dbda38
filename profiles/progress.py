"""A progress bar that follows a run's documents."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["RunProgress", "RunReport", "progress_bar", "step_bar"]


class RunProgress:
    """Callable for ``RE.subscribe``: one bar a run, a step for every event and every frame.

    The total comes from the start document: ``num_points``, ``num_flats`` and ``num_darks``.
    """

    _COUNTED = frozenset({"primary", "flat", "dark", "pitch", "yaw"})

    def __init__(self, progress: Progress):
        self._progress = progress
        self._task: Any = None
        self._title = ""
        self._streams: dict[str, str] = {}
        self._by_datum: set[str] = set()

    def say(self, words: str) -> None:
        """Put words behind the run's name."""
        self._progress.update(self._task, description=f"{self._title}, {words}")

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Move the bar."""
        if name == "start":
            total = sum(int(doc.get(key) or 0) for key in ("num_points", "num_flats", "num_darks"))
            self._title = _title(doc)
            self._task = self._progress.add_task(self._title, total=total)
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


_ESTIMATES = (("gigabytes", "GB"), ("dose_gy", "Gy"))


class RunReport:
    """Callable for ``RE.subscribe``: tells somebody at a prompt what a run does and what came of it.

    A line with the plan's estimates when a run begins, a bar while it goes on, and a line with the frame audit, the
    dose and the reason of its end. Bars are taken away while the RunEngine is paused (see `state_changed`).

    Parameters
    ----------
    console : Console, optional
        Standard error without it.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True, highlight=False)
        self._progress: Progress | None = None
        self._bar: RunProgress | None = None
        self._start: Mapping[str, Any] = {}
        self._names: dict[str, str] = {}
        self._last: dict[str, Mapping[str, Any]] = {}

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document."""
        if name == "start":
            self._begin(doc)
        elif name == "descriptor":
            self._names[doc["uid"]] = doc["name"]
        elif name == "event":
            self._last[self._names.get(doc["descriptor"], "")] = doc["data"]
        if self._bar is not None:
            self._bar(name, doc)
            if name == "event" and (words := _dose_words(self._last.get("frames", {}))):
                self._bar.say(", ".join(words))
        if name == "stop":
            self._end(doc)

    def state_changed(self, new: str, old: str) -> None:
        """Take the bar away while nothing runs: as ``RE.state_hook``."""
        if self._progress is not None:
            if new == "running":
                self._progress.start()
            else:
                self._progress.stop()

    def _begin(self, start: Mapping[str, Any]) -> None:
        self._start, self._names, self._last = start, {}, {}
        told = [f"{_title(start)} ({str(start['uid'])[:8]})"]
        if start.get("resumes"):
            told.append(f"goes on with {str(start['resumes'])[:8]}")
        estimate = start.get("estimate")
        if isinstance(estimate, Mapping):
            told += [f"{estimate[key]:.3g} {unit}" for key, unit in _ESTIMATES if estimate.get(key) is not None]
        self._console.print(", ".join(told))
        self._progress = _bars(self._console)
        self._progress.start()
        self._bar = RunProgress(self._progress)

    def _end(self, stop: Mapping[str, Any]) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress = self._bar = None
        seconds = max(0.0, float(stop["time"]) - float(self._start.get("time", stop["time"])))
        told = [
            stop["exit_status"],
            *_audit_words(self._last.get("frame_audit", {})),
            *_dose_words(self._last.get("summary", {})),
        ]
        told.append(f"{int(seconds) // 60}:{int(seconds) % 60:02d} min")
        if stop.get("reason"):
            told.append(str(stop["reason"]))
        style = "" if stop["exit_status"] == "success" else "red"
        self._console.print(f"{self._start.get('plan_name', 'run')}: {', '.join(told)}", style=style)


def _audit_words(audit: Mapping[str, Any]) -> list[str]:
    """Return what a frame audit says: frames asked, written, dropped, missing."""
    found = {key.rpartition("_")[2]: value for key, value in audit.items()}
    if "asked" not in found or "written" not in found:
        return []
    words = [f"{int(found['written'])} of {int(found['asked'])} frames"]
    words += [f"{int(found[name])} {name}" for name in ("dropped", "missing") if found.get(name)]
    return words


def _dose_words(data: Mapping[str, Any]) -> list[str]:
    """Return what a scan of an electron microscope says of its dose and of the precision that it reached."""
    words = []
    for ending, unit in (("_dose", "e/A2"), ("_fwhm_se", "pm of a column's width"), ("_precision", "pm of a width")):
        for key, value in data.items():
            if key.endswith(ending) and isinstance(value, int | float) and value == value:
                words.append(f"{value:.4g} {unit}" if unit == "e/A2" else f"+- {value:.3g} {unit}")
    return words


@contextlib.contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show bars with the time that is left, on standard error."""
    from rich.console import Console

    with _bars(Console(stderr=True)) as progress:
        yield progress


def _bars(console: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    return Progress(*columns, console=console)


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
