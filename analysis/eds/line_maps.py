"""Maps of lines with the continuum taken out, and compositions from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xraydb

from exitwave.analysis.eds.axis import EnergyWindow
from exitwave.analysis.eds.continuum import detector_efficiency
from exitwave.analysis.eds.events import Events
from exitwave.analysis.eds.lines import element_families
from exitwave.analysis.eds.maps import weighted_maps
from exitwave.analysis.eds.model import SpectrumFit
from exitwave.analysis.errors import OutOfRangeError, ShapeError

__all__ = ["Composition", "LineMap", "cliff_lorimer", "k_factors", "modelled_line_maps", "two_window_map"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LineMap:
    """Net counts of a line per pixel and their variance, float32 (rows, columns) each."""

    name: str
    counts: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32]


def two_window_map(
    events: Events,
    line: EnergyWindow,
    below: EnergyWindow,
    above: EnergyWindow,
    *,
    shifts_px: npt.ArrayLike | None = None,
    bilinear: bool = False,
) -> LineMap:
    """Map a line with the continuum interpolated from a window on each side.

    The continuum under the line is that of the sides per keV, interpolated linearly between their middles.
    Photons are counted once, so the variance is the sum of squared weights.

    Raises
    ------
    OutOfRangeError
        If the sides do not lie below and above the line.
    """
    if not below.high_kev <= line.low_kev < line.high_kev <= above.low_kev:
        raise OutOfRangeError(f"continuum windows {below} and {above} must lie below and above {line}")
    axis = events.axis
    bounds = [axis.channels(window) for window in (line, below, above)]
    middles = [0.5 * (a + b - 1) for a, b in bounds]
    share = (middles[0] - middles[1]) / (middles[2] - middles[1])
    width = bounds[0][1] - bounds[0][0]
    table = np.zeros((2, axis.n_channels), np.float32)
    table[0, slice(*bounds[0])] = 1.0
    table[0, slice(*bounds[1])] = -(1.0 - share) * width / (bounds[1][1] - bounds[1][0])
    table[0, slice(*bounds[2])] = -share * width / (bounds[2][1] - bounds[2][0])
    table[1] = table[0] ** 2
    net, variance = weighted_maps(events, table, shifts_px=shifts_px, bilinear=bilinear)
    return LineMap(line.name or str(line), net, variance)


def modelled_line_maps(
    events: Events, fit: SpectrumFit, *, shifts_px: npt.ArrayLike | None = None, bilinear: bool = False
) -> dict[str, LineMap]:
    """Map every family of a fitted spectrum, overlaps and the modelled continuum taken apart pixel by pixel.

    With the weights of the sum spectrum the fit of a pixel is linear in its counts: each photon adds a number
    that depends on its channel alone. The maps add up to the fitted counts.

    Raises
    ------
    ShapeError
        If the fit was made on another energy axis.
    """
    if fit.axis.n_channels != events.axis.n_channels:
        raise ShapeError(f"the fit has {fit.axis.n_channels} channels, the events {events.axis.n_channels}")
    start, stop = events.axis.channels(fit.window)
    model = fit.model[start:stop]
    weight = 1.0 / np.maximum(model, 0.02 * max(float(model.mean()), 1e-3))
    scale = np.abs(fit.shapes).max(axis=1, keepdims=True)
    design = fit.shapes / scale
    rows = np.linalg.pinv((design * weight) @ design.T, rcond=1e-12, hermitian=True) @ (design * weight) / scale
    n = len(fit.families)
    table = np.zeros((2 * n, events.axis.n_channels), np.float32)
    table[:n, start:stop] = rows[:n]
    table[n:] = table[:n] ** 2
    maps = weighted_maps(events, table, shifts_px=shifts_px, bilinear=bilinear)
    return {f.name: LineMap(f.name, maps[k], maps[n + k]) for k, f in enumerate(fit.families)}


def k_factors(names: Sequence[str], *, beam_kev: float) -> dict[str, float]:
    """Return Cliff-Lorimer factors by mass, relative to the first family, from cross-sections.

    k = A / (sigma omega efficiency), efficiency that of a windowless detector. Good to 20 % for K lines, worse
    for L and M: measure them on a standard where it matters (D. B. Williams, C. B. Carter, Transmission Electron
    Microscopy, chapter 35).

    Raises
    ------
    OutOfRangeError
        For a family that is not known.
    """
    raw: dict[str, float] = {}
    for name in names:
        element, _, shell = name.partition("_")
        family = next((f for f in element_families([element], beam_kev=beam_kev) if f.shell == shell), None)
        if family is None:
            raise OutOfRangeError(f"family {name!r} is not known; write such as 'Fe_K'")
        energies = np.array([max(line.energy_kev, 0.1) for line in family.lines])
        seen = float((detector_efficiency(energies) * [line.weight for line in family.lines]).sum())
        raw[name] = float(xraydb.atomic_mass(element)) / (family.photons_barn * seen)
    first = next(iter(raw.values()), 1.0)
    return {name: value / first for name, value in raw.items()}


@dataclass(frozen=True)
class Composition:
    """Shares by mass and by atoms, per element; standard deviations from counts alone, not from the factors."""

    mass: dict[str, Array]
    atoms: dict[str, Array]
    atoms_sd: dict[str, Array]


def cliff_lorimer(
    counts: Mapping[str, npt.ArrayLike],
    factors: Mapping[str, float],
    *,
    counts_sd: Mapping[str, npt.ArrayLike] | None = None,
) -> Composition:
    """Return the composition of a thin film, C_A / C_B = k_AB I_A / I_B.

    G. Cliff, G. W. Lorimer, J. Microsc. 103, 203 (1975).

    Parameters
    ----------
    counts : mapping of element to counts, numbers or maps of one shape
        One line, or family of lines, per element.
    factors : mapping of element to k, by mass
    counts_sd : the same for standard deviations; those of Poisson without

    Returns
    -------
    Composition
        NaN where no element has counts.

    Raises
    ------
    ShapeError
        If counts and factors have not the same elements.
    """
    if set(counts) != set(factors) or not counts:
        raise ShapeError(f"cliff_lorimer: counts of {sorted(counts)}, factors of {sorted(factors)}")
    elements = list(counts)
    intensity = np.stack(np.broadcast_arrays(*(np.asarray(counts[e], np.float64) for e in elements)))
    k = np.array([factors[e] for e in elements]).reshape(-1, *[1] * (intensity.ndim - 1))
    weight = np.array([float(xraydb.atomic_mass(e)) for e in elements]).reshape(k.shape)
    if counts_sd is None:
        sd = np.sqrt(np.maximum(intensity, 1.0))
    else:
        sd = np.stack(np.broadcast_arrays(*(np.asarray(counts_sd[e], np.float64) for e in elements)))
    with np.errstate(invalid="ignore", divide="ignore"):
        mass = k * intensity / (k * intensity).sum(axis=0)
        per_atom = k / weight
        total = (per_atom * intensity).sum(axis=0)
        atoms = per_atom * intensity / total
        # d a_i / d I_j = p_j (delta_ij - a_i) / total
        own = (1.0 - atoms) ** 2 * (per_atom * sd) ** 2
        others = atoms**2 * (((per_atom * sd) ** 2).sum(axis=0) - (per_atom * sd) ** 2)
        atoms_sd = np.sqrt(own + others) / np.abs(total)
    return Composition(
        dict(zip(elements, mass, strict=True)),
        dict(zip(elements, atoms, strict=True)),
        dict(zip(elements, atoms_sd, strict=True)),
    )
