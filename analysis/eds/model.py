"""A spectrum as families of lines on a continuum, fitted by maximum likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from exitwave.analysis.eds import lines as line_tables
from exitwave.analysis.eds.axis import EnergyAxis, EnergyWindow
from exitwave.analysis.eds.continuum import continuum_shapes, detector_efficiency
from exitwave.analysis.eds.lines import Family, element_families, escape_lines
from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError

__all__ = ["SpectrumFit", "fit_spectrum", "identify_elements"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SpectrumFit:
    """Counts of each family of lines, with the continuum's share taken out.

    Attributes
    ----------
    families : the families, in the order of `counts`
    counts, counts_sd : float64 array (families,)
        Detected counts of all lines of a family, and their standard deviation.
    covariance : float64 array (families, families)
    axis : EnergyAxis
        As refined.
    window : EnergyWindow
        Where it was fitted.
    model, continuum : float64 array (n_channels,)
        Expected counts per channel, zero outside of the window.
    shapes : float64 array (families + continuum, channels of the window)
        What was fitted, per unit count.
    """

    families: tuple[Family, ...]
    counts: Array
    covariance: Array
    axis: EnergyAxis
    window: EnergyWindow
    model: Array
    continuum: Array
    shapes: Array
    deviance_per_channel: float

    @property
    def counts_sd(self) -> Array:
        """Standard deviations of the counts."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    def of(self, name: str) -> tuple[float, float]:
        """Return counts and standard deviation of a family such as ``Ti_K``.

        Raises
        ------
        OutOfRangeError
        """
        for number, family in enumerate(self.families):
            if family.name == name:
                return float(self.counts[number]), float(self.counts_sd[number])
        raise OutOfRangeError(f"family {name!r} was not fitted; there are {', '.join(f.name for f in self.families)}")


def _family_shape(family: Family, axis: EnergyAxis, edges: Array) -> Array:
    members = [*family.lines, *escape_lines(family)]
    energies = np.array([max(m.energy_kev, 0.1) for m in members])
    seen = np.array([m.weight for m in members]) * detector_efficiency(energies)
    total = seen[: len(family.lines)].sum()
    out = np.zeros(len(edges) - 1)
    for member, weight in zip(members, seen, strict=True):
        if weight / total > 1e-6 and member.energy_kev > 0:
            out += weight / total * line_tables.shape(member, edges, axis.sigma_kev(member.energy_kev))
    return out


def _shapes(families: Sequence[Family], axis: EnergyAxis, start: int, stop: int, beam_kev: float, order: int) -> Array:
    edges = np.asarray(axis.offset_kev + axis.gain_kev * (np.arange(start, stop + 1) - 0.5), np.float64)
    smooth = continuum_shapes(axis.energies_kev[start:stop], beam_kev, order=order)
    return np.vstack([*(_family_shape(f, axis, edges) for f in families), *smooth])


def _solve(counts: Array, shapes: Array, least: Array, jacobian: Array | None = None) -> tuple[Array, Array, Array]:
    """Return amplitudes, covariance and model of a linear Poisson fit by iterated weights (Fisher scoring)."""
    columns = shapes if jacobian is None else np.vstack([shapes, jacobian])
    weight = 1.0 / np.maximum(least, 0.5)
    scale = np.maximum(np.abs(columns).max(axis=1), 1e-300)
    design = columns / scale[:, None]
    model, covariance, amplitudes = least, np.empty((0, 0)), np.empty(0)
    for _ in range(30):
        fisher = (design * weight) @ design.T
        covariance = np.linalg.pinv(fisher, rcond=1e-12, hermitian=True)
        amplitudes = covariance @ ((design * weight) @ counts)
        new = amplitudes @ design
        if np.allclose(new, model, rtol=1e-7, atol=1e-9):
            model = new
            break
        model = new
        weight = 1.0 / np.maximum(model, 0.02 * max(float(counts.mean()), 1e-3))
    return amplitudes / scale, covariance / np.outer(scale, scale), model


def fit_spectrum(
    spectrum: npt.ArrayLike,
    axis: EnergyAxis,
    elements: Sequence[str],
    *,
    beam_kev: float,
    window: EnergyWindow | None = None,
    continuum_order: int = 2,
    calibrate: bool = True,
) -> SpectrumFit:
    """Fit families of lines and a bremsstrahlung continuum to a spectrum.

    Parameters
    ----------
    spectrum : array (n_channels,)
        Counts.
    axis : EnergyAxis
    elements : symbols
        Of the sample and of everything else that radiates.
    beam_kev : float
    window : EnergyWindow, optional
        Where to fit; from 1 keV to the end of the detector's range, without.
    continuum_order : int
        Powers of ln k that the continuum may have.
    calibrate : bool
        Refine offset, gain and resolution with it.

    Returns
    -------
    SpectrumFit

    Raises
    ------
    ShapeError, OutOfRangeError
    FitError
        With no counts, no lines, or a calibration that runs away.
    """
    counts = np.asarray(spectrum, np.float64)
    if counts.shape != (axis.n_channels,):
        raise ShapeError(f"spectrum: expected ({axis.n_channels},), got {counts.shape}")
    chosen = window or EnergyWindow(max(1.0, axis.offset_kev), axis.offset_kev + axis.gain_kev * (axis.n_channels - 1))
    start, stop = axis.channels(chosen)
    data = counts[start:stop]
    families = element_families(elements, beam_kev=beam_kev, low_kev=chosen.low_kev, high_kev=chosen.high_kev)
    if not families or data.sum() <= 0:
        raise FitError(f"fit_spectrum: no line of {', '.join(elements)}, or no counts, in {chosen}")
    refined, n = axis, len(families)
    model = np.maximum(data, 1.0)
    for _ in range(12 if calibrate else 0):
        shapes = _shapes(families, refined, start, stop, beam_kev, continuum_order)
        amplitudes, _, model = _solve(data, shapes, np.maximum(model, 0.5))
        moved = [
            replace(refined, offset_kev=refined.offset_kev + 1e-4),
            replace(refined, gain_kev=refined.gain_kev * (1 + 1e-5)),
            replace(refined, resolution_ev=refined.resolution_ev + 0.5),
        ]
        jacobian = np.stack(
            [amplitudes @ _shapes(families, m, start, stop, beam_kev, continuum_order) - model for m in moved]
        )
        steps = _solve(data, shapes, np.maximum(model, 0.5), jacobian)[0][-3:]
        steps = np.clip(steps, [-50, -200, -20], [50, 200, 20])
        refined = replace(
            refined,
            offset_kev=float(refined.offset_kev + 1e-4 * steps[0]),
            gain_kev=float(refined.gain_kev * (1 + 1e-5 * steps[1])),
            resolution_ev=float(np.clip(refined.resolution_ev + 0.5 * steps[2], 40.0, 400.0)),
        )
        if np.abs(steps * [0.1, 1e-2, 0.5]).max() < 0.02:
            break
    if abs(refined.gain_kev / axis.gain_kev - 1) > 0.02 or abs(refined.offset_kev - axis.offset_kev) > 0.1:
        raise FitError(
            f"fit_spectrum: calibration ran away to {refined.offset_kev:.3f} keV + {refined.gain_kev:.5f} keV/channel;"
            " too few lines are known: pass calibrate=False"
        )
    shapes = _shapes(families, refined, start, stop, beam_kev, continuum_order)
    amplitudes, covariance, model = _solve(data, shapes, np.maximum(model, 0.5))
    full, smooth = np.zeros(axis.n_channels), np.zeros(axis.n_channels)
    full[start:stop] = model
    smooth[start:stop] = amplitudes[n:] @ shapes[n:]
    safe = np.maximum(model, 1e-6)
    deviance = 2.0 * (np.where(data > 0, data * np.log(np.maximum(data, 1e-300) / safe), 0.0) - data + safe)
    return SpectrumFit(
        families,
        amplitudes[:n],
        covariance[:n, :n],
        refined,
        chosen,
        full,
        smooth,
        shapes,
        float(deviance.mean()),
    )


def identify_elements(
    spectrum: npt.ArrayLike,
    axis: EnergyAxis,
    *,
    beam_kev: float,
    candidates: Sequence[str],
    window: EnergyWindow | None = None,
    significance: float = 6.0,
) -> dict[str, float]:
    """Return which of the candidates the spectrum shows, with the significance of each, the surest first.

    An element counts as seen when a family of its own exceeds `significance` standard deviations in a fit with
    all candidates that are left; the least sure is dropped until all are. Overlaps are thus decided by the fit:
    an element that another explains better goes.

    Raises
    ------
    FitError, ShapeError, OutOfRangeError
    """
    left = list(dict.fromkeys(candidates))
    while left:
        fit = fit_spectrum(spectrum, axis, left, beam_kev=beam_kev, window=window, calibrate=False)
        # what the shapes do not describe is no proof of an element
        spread = max(1.0, fit.deviance_per_channel) ** 0.5
        sure: dict[str, float] = {}
        for family, counts, sd in zip(fit.families, fit.counts, fit.counts_sd, strict=True):
            z = float(counts / (sd * spread)) if sd > 0 else -np.inf
            sure[family.element] = max(sure.get(family.element, -np.inf), z)
        worst = min(left, key=lambda element: sure.get(element, -np.inf))
        if sure.get(worst, -np.inf) >= significance:
            return dict(sorted(sure.items(), key=lambda item: -item[1]))
        left.remove(worst)
    return {}
