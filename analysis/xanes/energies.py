"""The energies of a scan across an absorption edge, as data: regions, ready-made lists, files, checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import EnergyListError, OutOfRangeError
from exitwave.analysis.io.columns import read_columns
from exitwave.analysis.optics import edge_energy_kev

__all__ = [
    "PRESETS",
    "EnergyList",
    "EnergyRegion",
    "check_energies",
    "edge_energy_ev",
    "preset_regions",
    "read_energies",
    "regions_to_energies",
]

Array = npt.NDArray[np.float64]

SAME_EV = 1e-3
"""Energies nearer than this are one energy: no monochromator tells them apart."""

PRESETS: dict[int, tuple[tuple[float, float, float], ...]] = {
    21: ((-80, -20, 30), (-20, -8, 6), (-8, 8, 2), (8, 20, 4), (20, 220, 40)),
    41: ((-90, -30, 15), (-30, -10, 5), (-10, 10, 1), (10, 30, 4), (30, 240, 30)),
    63: ((-100, -20, 10), (-20, -10, 2), (-10, 20, 1), (20, 40, 2), (40, 220, 20)),
    101: ((-120, -20, 10), (-20, 40, 1), (40, 250, 7)),
}
"""Ready-made lists, number of points -> (start, stop, step) in eV from the edge: coarse, fine, coarse."""


@dataclass(frozen=True)
class EnergyRegion:
    """Evenly spaced energies from `start_ev` to `stop_ev` (included where the step meets it), eV.

    Relative to an edge or absolute: `regions_to_energies` is told which. `exposure_s` holds per energy.
    """

    start_ev: float
    stop_ev: float
    step_ev: float
    exposure_s: float = 1.0


@dataclass(frozen=True)
class EnergyList:
    """Energies (n,) in eV, ascending, with the exposure (n,) in s of each."""

    energies_ev: Array
    exposures_s: Array

    def __len__(self) -> int:
        return len(self.energies_ev)


def edge_energy_ev(element: str, edge: str = "K") -> float:
    """Return the tabulated edge in eV (Elam, Ravel & Sieber 2002, through xraydb).

    Raises
    ------
    OutOfRangeError
        If the tables know no such element or edge.
    """
    return 1e3 * edge_energy_kev(element, edge)


def preset_regions(points: int, exposure_s: float = 1.0) -> tuple[EnergyRegion, ...]:
    """Return the regions, relative to the edge, of the ready-made list with 21, 41, 63 or 101 points.

    Raises
    ------
    EnergyListError
        For another number.
    """
    if points not in PRESETS:
        raise EnergyListError(f"energy list of {points} points: there are {', '.join(map(str, PRESETS))}; give regions")
    return tuple(EnergyRegion(*region, exposure_s) for region in PRESETS[points])


def _region(number: int, region: EnergyRegion) -> Array:
    what = f"energy region {number}"
    for name, value, unit in (
        ("start", region.start_ev, "eV"),
        ("stop", region.stop_ev, "eV"),
        ("step", region.step_ev, "eV"),
        ("exposure", region.exposure_s, "s"),
    ):
        if not math.isfinite(value):
            raise EnergyListError(f"{what}: {name} = {value:g} {unit} is not finite")
    if region.step_ev < 2 * SAME_EV:
        raise EnergyListError(f"{what}: step = {region.step_ev:g} eV, must be at least {2 * SAME_EV:g} eV")
    if region.exposure_s <= 0:
        raise EnergyListError(f"{what}: exposure = {region.exposure_s:g} s, must be > 0 s")
    if region.stop_ev < region.start_ev:
        raise EnergyListError(f"{what}: from {region.start_ev:g} down to {region.stop_ev:g} eV; exchange the ends")
    count = math.floor((region.stop_ev - region.start_ev) / region.step_ev + 1e-6) + 1
    if count > 100_000:
        raise EnergyListError(f"{what}: {count} energies of {region.step_ev:g} eV; at most 100000, take a wider step")
    return region.start_ev + region.step_ev * np.arange(count, dtype=np.float64)


def regions_to_energies(
    regions: Sequence[EnergyRegion | tuple[float, float, float] | tuple[float, float, float, float]],
    *,
    edge_ev: float | None = None,
) -> EnergyList:
    """Return the energies of regions that follow one another; an energy where two meet is taken once.

    Parameters
    ----------
    regions : sequence of `EnergyRegion` or (start_ev, stop_ev, step_ev[, exposure_s])
    edge_ev : float, optional
        With it the regions are relative to this energy; without, they are absolute.

    Raises
    ------
    EnergyListError
        For no region, one that runs down or has no step, regions that overlap, and energies <= 0.
    """
    if not regions:
        raise EnergyListError("energy regions: none given")
    energies: list[float] = []
    exposures: list[float] = []
    for number, given in enumerate(regions, start=1):
        region = given if isinstance(given, EnergyRegion) else EnergyRegion(*given)
        for energy in _region(number, region):
            if energies and energy <= energies[-1] + SAME_EV:
                if energy >= energies[-1] - SAME_EV:
                    exposures[-1] = max(exposures[-1], region.exposure_s)
                    continue
                raise EnergyListError(
                    f"energy region {number}: {energy:g} eV after {energies[-1]:g} eV; sort them, no overlap"
                )
            energies.append(float(energy))
            exposures.append(region.exposure_s)
    absolute = np.asarray(energies) + (0.0 if edge_ev is None else edge_ev)
    result = EnergyList(absolute, np.asarray(exposures, dtype=np.float64))
    check_energies(result.energies_ev)
    return result


def check_energies(
    energies_ev: npt.ArrayLike,
    *,
    allow_unsorted: bool = False,
    low_ev: float = 0.0,
    high_ev: float = math.inf,
    edge_ev: float | None = None,
    around_edge: int = 2,
) -> Array:
    """Return the energies as float64 (n,), or refuse them.

    Parameters
    ----------
    energies_ev : (n,)
    allow_unsorted : bool
        Take them in any order and more than once (a second pass, an alternating scan).
    low_ev, high_ev : float
        What the monochromator reaches.
    edge_ev : float, optional
        With it at least `around_edge` energies must lie on either side.

    Raises
    ------
    EnergyListError
        Out of order, repeated, or without the edge.
    OutOfRangeError
        Not finite, or outside ``(low_ev, high_ev]``.
    """
    energies = np.asarray(energies_ev, dtype=np.float64)
    if energies.ndim != 1 or energies.size == 0:
        raise EnergyListError(f"energies: shape {energies.shape}, expected a list of at least one")
    wrong = ~(np.isfinite(energies) & (energies > low_ev) & (energies <= high_ev))
    if wrong.any():
        where = int(np.flatnonzero(wrong)[0])
        raise OutOfRangeError(f"energy {where + 1} = {energies[where]:g} eV is outside ({low_ev:g}, {high_ev:g}] eV")
    if not allow_unsorted:
        step = np.diff(energies)
        if (step <= SAME_EV).any():
            where = int(np.flatnonzero(step <= SAME_EV)[0])
            word = "again" if step[where] > -SAME_EV else "out of order"
            raise EnergyListError(
                f"energy {where + 2} = {energies[where + 1]:.10g} eV after {energies[where]:.10g} eV: {word}; "
                "sort the list and take each energy once"
            )
    if edge_ev is not None:
        below, above = int((energies < edge_ev).sum()), int((energies > edge_ev).sum())
        if min(below, above) < around_edge:
            raise EnergyListError(
                f"edge at {edge_ev:g} eV: {below} energies below and {above} above it in "
                f"[{energies.min():g}, {energies.max():g}] eV; each side needs {around_edge}"
            )
    return energies


def read_energies(path: str | Path, *, exposure_s: float = 1.0) -> EnergyList:
    """Read energies (eV) from column text: first column the energy, a second one, if there, the exposure in s.

    Raises
    ------
    EnergyListError
        Out of order or repeated, exposures that are not > 0, or energies that look like keV.
    OutOfRangeError, FileFormatError, FileNotFoundError
    """
    values = read_columns(path).values
    name = Path(path).name
    try:
        energies = check_energies(values[:, 0])
    except (EnergyListError, OutOfRangeError) as error:
        raise type(error)(f"{name}: {error}") from error
    if energies.max() < 100.0:
        raise EnergyListError(f"{name}: highest energy {energies.max():g} eV; the file must be in eV, not in keV")
    exposures = values[:, 1].copy() if values.shape[1] > 1 else np.full(len(energies), float(exposure_s))
    if not (np.isfinite(exposures) & (exposures > 0)).all():
        bad = exposures[~(np.isfinite(exposures) & (exposures > 0))][0]
        raise EnergyListError(f"{name}: exposure {bad:g} s, must be > 0 s")
    return EnergyList(energies, exposures)
