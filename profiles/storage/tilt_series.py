"""A tilt series: the runs that belong together, and what is missing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exitwave.profiles.storage.errors import StorageError
from exitwave.profiles.storage.history import Run, find_run, runs
from exitwave.profiles.storage.paths import DataFolder

if TYPE_CHECKING:
    from exitwave.plans.instrument import SeriesProgress

__all__ = ["NoSeriesError", "TiltSeriesFinder", "series_runs"]


class NoSeriesError(StorageError):
    """A run that is part of no tilt series."""


def series_runs(data: DataFolder, key: str | int) -> list[Run]:
    """Return the runs of the tilt series that a run belongs to, in the order in which they were taken.

    Raises
    ------
    NoSeriesError, RunNotFoundError
    """
    one = find_run(data.journal, key)
    series = one.start.get("tilt_series", {}).get("id")
    if series is None:
        raise NoSeriesError(
            f"run {one.uid[:8]} ({one.start.get('plan_name', '?')}): is part of no tilt series; `exitwave runs` lists "
            "what there is"
        )
    found = []
    for run in runs(data.journal):
        about = run.start.get("tilt_series", {})
        if about.get("id") == series:
            found.append(run)
            if about.get("first"):
                break
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
        """Return how far the series that this run belongs to has come: a run counts that ended well."""
        from exitwave.plans.instrument import SeriesProgress

        members = series_runs(self._data, uid)
        taken: dict[int, str] = {}
        places = []
        for run in members:
            about, stop = run.start["tilt_series"], run.stop
            if stop is not None and stop["exit_status"] == "success":
                taken.setdefault(int(about["index"]), run.uid)
                places.append((float(about["alpha_deg"]), float(about["shift_nm"][0]), float(about["shift_nm"][1])))
        return SeriesProgress(members[0].start, taken, tuple(places))
