"""The tomograms of one scan of energies, out of the runs that took them."""

from __future__ import annotations

from exitwave.profiles.storage.history import find_run, runs
from exitwave.profiles.storage.paths import DataFolder, data_folder
from exitwave.profiles.storage.tomogram import Tomogram, open_tomogram
from exitwave.profiles.storage.xanes_stack import NoXanesError

__all__ = ["open_xanes_series"]


def open_xanes_series(
    key: str | int = -1, *, data: DataFolder | None = None, partial: bool = False
) -> tuple[Tomogram, ...]:
    """Open the tomograms that a plan took at every energy, in the order of the energies.

    A tomogram that was resumed is one; of an energy that was taken twice the newest taking counts.

    Parameters
    ----------
    key : str or int
        Any run of the series, found as by `open_run`.
    data : DataFolder, optional
    partial : bool
        Also a series of which energies are missing.

    Raises
    ------
    NoXanesError
        The run belongs to no series, or energies are missing: those are named, for ``only`` of `xanes.tomography`.
    RunNotFoundError, FramesMissingError
    """
    data = data or data_folder()
    first = find_run(data.journal, key)
    about = first.start.get("xanes_series")
    if about is None:
        raise NoXanesError(
            f"run {first.uid[:8]}: belongs to no series of tomograms; open_tomogram or open_xanes read it"
        )
    newest: dict[int, str] = {}
    for run in runs(data.journal):
        own = run.start.get("xanes_series")
        if own is not None and own["uid"] == about["uid"] and "resumes" not in run.start:
            newest.setdefault(int(own["number"]), run.uid)
    missing = [k for k in range(len(about["energies_ev"])) if k not in newest]
    if missing and not partial:
        raise NoXanesError(
            f"series {about['uid'][:8]}: {len(missing)} of {len(about['energies_ev'])} energies are missing; take them "
            f"by xanes.tomography(..., series={about['uid']!r}, only={missing}), or open it with partial=True"
        )
    return tuple(open_tomogram(newest[k], data=data) for k in sorted(newest))
