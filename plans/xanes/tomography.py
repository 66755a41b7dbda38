"""Spectra of voxels: a tomogram at every energy, or all energies at every angle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from bluesky.utils import MsgGenerator

from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.angles import projection_angles
from exitwave.plans.pure.positions import PlanInputError, require_count
from exitwave.plans.pure.xanes import EnergySpec, XanesScan, choose_energies
from exitwave.plans.pure.xanes_estimates import Exposed
from exitwave.plans.xanes._run import Keep, run_scan
from exitwave.plans.xanes._series import TomogramsByEnergy, take_series
from exitwave.plans.xanes.feedback import Feedback

__all__ = ["tomography"]


def tomography(
    instrument: Instrument,
    energies: EnergySpec = 21,
    element: str | None = "Ni",
    start_deg: float = 0.0,
    stop_deg: float = 180.0,
    num_projections: int = 180,
    *,
    edge: str = "K",
    exposure_s: float = 1.0,
    mode: Literal["fly", "step", "energies"] = "fly",
    num_flats: int = 10,
    num_darks: int = 10,
    keep: Keep | None = None,
    feedback: Feedback | None = None,
    exposed: Exposed | None = None,
    only: Sequence[int] | None = None,
    series: str | None = None,
    md: Mapping[str, Any] | None = None,
    **scan: Any,
) -> MsgGenerator[list[str]]:
    """Take projections over angles and energies.

    Parameters
    ----------
    instrument : Instrument
    energies, element, edge, exposure_s
        As for `exitwave.plans.xanes.imaging`.
    start_deg, stop_deg, num_projections
        As for `exitwave.plans.ct.step_tomography`.
    mode : {"fly", "step", "energies"}
        A tomogram at every energy, flown or step by step, each a run of its own whose start document has the series
        under ``xanes_series``; or all energies at every angle, in one run laid out as by `imaging`, with flats at the
        first angle.
    num_flats, num_darks : int
        At each place of flats of each tomogram, and once for each.
    keep, feedback, exposed
        As for `exitwave.plans.xanes.imaging`. Before each tomogram of "fly" and "step" the intensity is waited for, not
        before each frame. The dose is that of all tomograms, reckoned with the fast shutter open for whole passes.
    only : sequence of int, optional
        Numbers of the energies to take, to go on with a series; a tomogram that was broken off itself is resumed by
        `exitwave.plans.ct.resume`.
    series : str, optional
        Uid of the series to go on with; what its earlier tomograms gave the sample counts against ``limit_gy``.
    **scan
        Further arguments of the tomography plan.

    Returns
    -------
    list of str
        Uids, by energy; one for "energies".

    Raises
    ------
    PlanInputError, EnergyListError, OutOfRangeError, SettingError, StorageSpaceError, MotionLimitError,
    FocusCalibrationError
        Before anything moves, for all energies: what the tomography plan itself would refuse, too.
    """
    chosen, edges_ev = choose_energies(
        energies, None if isinstance(energies, Mapping) else element, edge, exposure_s=exposure_s
    )
    energies_ev = tuple(float(e) for e in chosen.energies_ev)
    exposures_s = tuple(float(t) for t in chosen.exposures_s)
    if mode not in ("fly", "step", "energies"):
        raise PlanInputError(f"mode: {mode!r} is not one of fly, step, energies")
    if mode == "energies":
        if only is not None or series is not None:
            raise PlanInputError("mode 'energies' is one run: go on with it by resume, and leave `only`, `series` out")
        if scan:
            raise PlanInputError(
                f"tomography: {', '.join(sorted(scan))} means nothing to mode 'energies'; leave it out"
            )
        angles = projection_angles(start_deg, stop_deg, num_projections)
        work = XanesScan(
            energies_ev,
            exposures_s,
            num_flats=num_flats,
            num_darks=num_darks,
            angles_deg=tuple(float(a) for a in angles),
            inner="energy",
            edges_ev=edges_ev,
        )
        uid = yield from run_scan(
            instrument,
            work,
            plan_name="xanes_tomography",
            plan_args={"element": element, "num_energies": len(energies_ev), "num_projections": num_projections},
            keep=keep,
            feedback=feedback,
            exposed=exposed,
            md=md,
        )
        return [uid]
    numbers = list(range(len(energies_ev))) if only is None else [require_count("only", k, at_least=0) for k in only]
    if any(k >= len(energies_ev) for k in numbers):
        raise PlanInputError(f"only: energy {max(numbers)} of {len(energies_ev)}, counted from 0; there is none")
    if not numbers:
        raise PlanInputError("only: no energy is named; give numbers of energies, counted from 0")
    series_of = TomogramsByEnergy(
        energies_ev,
        exposures_s,
        tuple(float(ev) for ev in edges_ev),
        tuple(numbers),
        mode,
        start_deg,
        stop_deg,
        num_projections,
        num_flats,
        num_darks,
        scan,
    )
    return (
        yield from take_series(
            instrument,
            series_of,
            keep=keep,
            feedback=feedback or Feedback(),
            exposed=exposed,
            series=series,
            md=md,
        )
    )
