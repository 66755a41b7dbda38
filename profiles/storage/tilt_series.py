"""A tilt series: the runs that belong together, and what is missing of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from exitwave.profiles.storage.errors import StorageError
from exitwave.profiles.storage.history import Run, find_run, runs
from exitwave.profiles.storage.paths import DataFolder

if TYPE_CHECKING:
    from exitwave.plans.instrument import SeriesProgress, TrackReference

__all__ = ["NoSeriesError", "TiltSeriesFinder", "series_runs"]


class NoSeriesError(StorageError):
    """A run that is part of no tilt series."""


def series_runs(data: DataFolder, key: str | int) -> list[Run]:
    """Return the runs of the tilts of the series that a run belongs to, in the order in which they were taken.

    Raises
    ------
    NoSeriesError, RunNotFoundError
    """
    return [run for run in _members(data, find_run(data.journal, key)) if "tilt_series" in run.start]


def _series_of(start: Mapping[str, Any]) -> str | None:
    found = start.get("tilt_series", {}).get("id") or start.get("tilt_series_id")
    return None if found is None else str(found)


def _members(data: DataFolder, one: Run) -> list[Run]:
    """Return all runs of a run's series, those of tracking and focus too, in the order in which they were taken."""
    series = _series_of(one.start)
    if series is None:
        raise NoSeriesError(
            f"run {one.uid[:8]} ({one.start.get('plan_name', '?')}): is part of no tilt series; `exitwave runs` lists "
            "what there is"
        )
    found: list[Run] = []
    begun = False
    for run in runs(data.journal):
        if _series_of(run.start) == series:
            found.append(run)
            begun = begun or bool(run.start.get("tilt_series", {}).get("first"))
        elif begun:
            break  # what led to the first tilt lies right before it
    return found[::-1]


class TiltSeriesFinder:
    """Tells plans how far a tilt series has come.

    Parameters
    ----------
    data : DataFolder
    """

    def __init__(self, data: DataFolder) -> None:
        self._data = data

    def progress(self, uid: str | int) -> SeriesProgress:
        """Return how far the series that this run belongs to has come: a run counts that ended well and whole."""
        from exitwave.plans.instrument import SeriesProgress

        members = _members(self._data, find_run(self._data.journal, uid))
        taken: dict[int, str] = {}
        places, tracks = [], []
        for run in members:
            about = run.start.get("tilt_series")
            if not _ended_well(run):
                continue
            if about is not None and _is_whole(run):
                taken.setdefault(int(about["index"]), run.uid)
                places.append((float(about["alpha_deg"]), float(about["shift_nm"][0]), float(about["shift_nm"][1])))
            elif run.start.get("plan_name") == "stem_track":
                tracks.append((run, _last(run, "track")))
        found = [(run, place) for run, place in tracks if place]
        start = members[0].start
        about = start.get("tilt_series") or start["tilt_series_about"]
        return SeriesProgress(
            start,
            {key: about[key] for key in ("id", "num", "work", "stage") if key in about},
            taken,
            tuple(_place(one) for _, one in found) or tuple(places),
            self._reference(*found[-1]) if found else None,
        )

    def _reference(self, run: Run, place: Mapping[str, Any]) -> TrackReference:
        from exitwave.plans.instrument import TrackReference
        from exitwave.profiles.storage.reader import open_run

        frames = open_run(run.uid, data=self._data, source="journal").to_xarray("primary")
        (name,) = (str(key) for key, one in frames.items() if one.ndim == 3)
        image = np.asarray(frames[name].values[-1], np.float32)
        values = {key.rsplit("_", 1)[-1]: float(value) for key, value in place.items()}
        return TrackReference(*_place(place), values["dy"], values["dx"], image)


def _place(record: Mapping[str, Any]) -> tuple[float, float, float]:
    values = {key.rsplit("_", 1)[-1]: float(value) for key, value in record.items()}
    return values["alpha"], values["x"], values["y"]


def _ended_well(run: Run) -> bool:
    return run.stop is not None and run.stop["exit_status"] == "success"


def _is_whole(run: Run) -> bool:
    """Whether a tilt has all its frames: one that a limit ended lacks some, though its run ended well."""
    summary = {key.rsplit("_", 1)[-1]: value for key, value in _last(run, "summary").items()}
    return bool(not summary or summary["taken"] >= summary["asked"])


def _last(run: Run, stream: str) -> dict[str, Any]:
    """Return the data of the last event of a stream, nothing without one."""
    streams: set[str] = set()
    found: dict[str, Any] = {}
    for name, doc in run.documents():
        if name == "descriptor" and doc["name"] == stream:
            streams.add(doc["uid"])
        elif name == "event" and doc["descriptor"] in streams:
            found = doc["data"]
    return found
