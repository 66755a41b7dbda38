"""Alignment of a stack whose contrast changes with energy.

Each energy is registered against several of its neighbours, where the contrast is nearly the same, and all
displacements between pairs together give the displacements of the frames by least squares.

Where a phase with the element lies beside one without, the centre of what is seen moves as the edge rises,
and steps of energy, however small, add up to the whole of it; `registration` weighs frequencies accordingly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import FitError, ShapeError
from exitwave.analysis.xanes.registration import Registration
from exitwave.analysis.xanes.stack import FrameSource, StackOperator

__all__ = ["Alignment", "align", "fit_drift", "solve_pairs"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Alignment:
    """What alignment found.

    Attributes
    ----------
    operator : StackOperator
        The one given, with the displacements taken in.
    displacement_px, displacement_sd_px : float64 (n, 2)
        (dy, dx) of each frame against the reference, pixels of the result.
    pair_residual_px : float
        Root mean square by which pairs disagree with the solution.
    """

    operator: StackOperator
    displacement_px: Array
    displacement_sd_px: Array
    pair_residual_px: float


def solve_pairs(
    n: int, pairs: Sequence[tuple[int, int]], differences: npt.ArrayLike, sd: npt.ArrayLike, *, reference: int = 0
) -> tuple[Array, Array, float]:
    """Return positions (n,) from differences position[j] - position[i], their deviations, and the residual.

    Weighted least squares, with weights lowered for pairs that stand more than three robust deviations off
    (P. J. Huber, Ann. Math. Stat. 35, 73 (1964)), begun at the least absolute deviations; the reference stays
    at zero.

    Raises
    ------
    FitError
        When a frame hangs on no pair.
    """
    index = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    d = np.asarray(differences, np.float64)
    w0 = 1.0 / np.maximum(np.asarray(sd, np.float64), 1e-4) ** 2
    design = np.zeros((len(index), n))
    design[np.arange(len(index)), index[:, 1]] = 1.0
    design[np.arange(len(index)), index[:, 0]] = -1.0
    keep = np.arange(n) != reference
    a = design[:, keep]
    if np.linalg.matrix_rank(a) < n - 1:
        raise FitError(f"alignment: the {len(index)} pairs do not tie {n} energies together")
    weight, root, spread = w0.copy(), np.sqrt(w0), 1.0
    absolute = 150
    for turn in range(absolute + 10):
        inverse = np.linalg.inv(a.T @ (weight[:, None] * a))
        found = inverse @ (a.T @ (weight * d))
        residual = (d - a @ found) * root
        size = np.abs(residual)
        if turn < absolute:
            # least absolute deviations first: a wrong pair must not set the scale of what is wrong
            weight = w0 / np.maximum(size, 1e-4 * max(float(size.max()), 1e-9))
            spread = max(1.4826 * float(np.median(size)), 1.0)
        else:
            weight = w0 * np.minimum(1.0, 3.0 * spread / np.maximum(size, 1e-300))
    freedom = max(1, len(index) - (n - 1))
    # pairs that agree better than their own deviations say (they share frames) earn no smaller errors
    excess = max(1.0, float((weight / w0 * residual**2).sum()) / freedom)
    position, position_sd = np.zeros(n), np.zeros(n)
    position[keep] = found
    position_sd[keep] = np.sqrt(np.diag(inverse) * excess)
    return position, position_sd, math.sqrt(float(np.mean((d - a @ found) ** 2)))


def fit_drift(
    along: npt.ArrayLike, displacement_px: npt.ArrayLike, sd_px: npt.ArrayLike, order: int | Sequence[int]
) -> Array:
    """Return a smooth drift (n, 2) fitted to displacements with weights: a polynomial, or a sum of them.

    Single registrations are noisy, and what moves is smooth: a sample in time, a lens on its rail in energy.
    The energies of a scan are far apart before the edge and dense on it, so that neither is a polynomial of
    the other: give both.

    Parameters
    ----------
    along : (n,) or (variables, n)
        Times of the frames, or energies, or both.
    displacement_px, sd_px : (n, 2)
    order : int, or one for each variable

    Raises
    ------
    FitError
        When there are not more displacements than coefficients, or variables that are no different.
    ShapeError
    """
    t, d = np.atleast_2d(np.asarray(along, np.float64)), np.asarray(displacement_px, np.float64)
    sd, orders = np.asarray(sd_px, np.float64), (order,) if isinstance(order, int) else tuple(order)
    if len(orders) != len(t) or d.shape != (t.shape[1], 2) or sd.shape != d.shape:
        raise ShapeError(
            f"drift: variables {t.shape}, orders {orders}, displacements {d.shape} and deviations {sd.shape}; "
            "expected (variables, n), one order for each, (n, 2) twice"
        )
    basis = _polynomials(t, orders)
    if len(d) <= basis.shape[1]:
        raise FitError(f"drift of orders {orders}: {len(d)} frames, must be more than {basis.shape[1]}")
    drift = np.empty_like(d)
    for i in range(2):
        known = sd[:, i] > 0
        w = 1.0 / np.where(known, sd[:, i], sd[known, i].min() if known.any() else 1.0)
        coefficients, _, rank, _ = np.linalg.lstsq(basis * w[:, None], d[:, i] * w, rcond=1e-9)
        if rank < basis.shape[1]:
            raise FitError(f"drift of orders {orders}: one variable is a polynomial of the other; give one of them")
        drift[:, i] = basis @ coefficients
    return drift


def _polynomials(variables: Array, orders: Sequence[int]) -> Array:
    """Return Chebyshev polynomials (n, 1 + sum of orders) of the variables, with one constant."""
    columns = [np.ones((variables.shape[1], 1))]
    for t, order in zip(variables, orders, strict=True):
        u = 2.0 * (t - t.min()) / max(float(np.ptp(t)), 1e-30) - 1.0
        columns.append(np.polynomial.chebyshev.chebvander(u, order)[:, 1:])
    return np.concatenate(columns, axis=1)


def align(
    images: FrameSource,
    operator: StackOperator,
    *,
    region: tuple[slice, slice] | None = None,
    spans: Sequence[int] = (1, 2, 4),
    reference: int = 0,
    rounds: int = 2,
    max_shift_px: float | None = None,
    highest_frequency: float = 0.25,
    mismatch_rad: float = 0.2,
    drift_order: int | Sequence[int] | None = None,
    drift_along: npt.ArrayLike | None = None,
) -> Alignment:
    """Find how the frames of an energy scan are displaced and return the operator that takes it out.

    Parameters
    ----------
    images : indexed by energy, ascending
        ``images[k]`` is the optical depth (y, x) *before* resampling; read once per round.
    operator : StackOperator
        What is known already: magnification, runout.
    region : (rows, columns), optional
        Part of the result that holds the sample.
    spans : sequence of int
        Frame k is registered against k + span; longer spans hold back the error that a chain adds up.
    reference : int
        The frame that stays where it is.
    rounds : int
        The second round works on resampled frames, where the window no longer cuts at different places.
    max_shift_px : float, optional
        Largest displacement of a pair; a quarter of the region if not given.
    highest_frequency : float
        Cycles per pixel; leave out what holds only noise.
    mismatch_rad : float
        By how much a change of contrast turns the phases of the spectrum; 0 for images that differ by noise
        alone.
    drift_order : int or sequence of int, optional
        Take polynomials (`fit_drift`) in place of the displacements themselves.
    drift_along : (n,) or (variables, n), optional
        Of what: times of the frames, energies, or both; the frames' numbers if not given.

    Raises
    ------
    FitError
        When two energies have nothing in common.
    ShapeError
    """
    n = len(operator)
    if len(images) != n or n < 2:
        raise ShapeError(f"alignment: {len(images)} frames, operator for {n}, at least 2")
    if not 0 <= reference < n:
        raise ShapeError(f"alignment: reference {reference}, must be in 0...{n - 1}")
    pairs = [(k, k + span) for span in sorted(set(spans)) for k in range(n - span)]
    along = np.arange(n) if drift_along is None else drift_along
    total, sd, residual = np.zeros((n, 2)), np.zeros((n, 2)), 0.0
    for turn in range(max(1, rounds)):
        found = _round(
            images, operator.refined(total), region, pairs, max_shift_px, highest_frequency, mismatch_rad, turn == 0
        )
        parts = [solve_pairs(n, pairs, found[:, i], found[:, 2 + i], reference=reference) for i in range(2)]
        total = total + np.stack([parts[0][0], parts[1][0]], axis=1)
        sd = np.stack([parts[0][1], parts[1][1]], axis=1)
        residual = math.hypot(parts[0][2], parts[1][2]) / math.sqrt(2.0)
    if drift_order is not None:
        total = fit_drift(along, total, sd, drift_order)
        total -= total[reference]
    return Alignment(operator.refined(total), total, sd, residual)


def _round(
    images: FrameSource,
    operator: StackOperator,
    region: tuple[slice, slice] | None,
    pairs: list[tuple[int, int]],
    max_shift_px: float | None,
    highest: float,
    mismatch_rad: float,
    coarse: bool,
) -> Array:
    """Register all pairs of the frames as the operator leaves them: dy, dx, sd of dy, sd of dx per pair."""
    waiting: dict[int, Any] = {}
    last = {k: max(j for i, j in pairs if i == k or j == k) for k in range(len(operator))}
    registration: Registration | None = None
    found = np.zeros((len(pairs), 4))
    for k in range(len(operator)):
        frame, _ = operator.resample(k, np.asarray(images[k], dtype=np.float32))
        part = frame if region is None else frame[region]
        if registration is None:
            if min(part.shape) < 32:
                raise ShapeError(f"alignment: region of {part.shape} pixels, at least 32 x 32")
            reach = min(part.shape) / 4.0 if max_shift_px is None else float(max_shift_px)
            registration = Registration((part.shape[0], part.shape[1]), highest, mismatch_rad, reach)
        waiting[k] = registration.spectrum(part)
        for number, (i, j) in enumerate(pairs):
            if j == k:
                shift, covariance = registration.between(waiting[i], waiting[j], coarse)
                found[number] = (*shift, math.sqrt(covariance[0, 0]), math.sqrt(covariance[1, 1]))
        # spectra that no later pair needs are let go
        for i in [i for i in waiting if last[i] <= k]:
            del waiting[i]
    return found
