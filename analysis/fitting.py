"""Peaks and absorption edges in scans of a few dozen points.

Edge position is defined throughout as the first inflection of the rising edge: the lowest-energy maximum of
the derivative that reaches `first_share` of the highest, which is how tabulated edges of metal foils are
defined (J. A. Bearden and A. F. Burr, Rev. Mod. Phys. 39, 125 (1967); S. Kraft et al., Rev. Sci. Instrum.
67, 681 (1996)).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize

from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError

__all__ = [
    "EdgePosition",
    "PeakFit",
    "absorbance",
    "edge_by_derivative",
    "fit_peak",
]

Array = npt.NDArray[np.float64]
Numbers = Sequence[float] | Array
SIGNIFICANT = 20.0
TOP_LEVEL = 0.92
EDGE_DEFINITION = "first inflection of the rising edge"


def _pairs(x: Numbers, y: Numbers, least: int, what: str) -> tuple[Array, Array]:
    """Return finite x (ascending) and y; repeated x are averaged."""
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if xs.ndim != 1 or xs.shape != ys.shape:
        raise ShapeError(f"{what}: shapes {xs.shape} and {ys.shape} differ")
    if not (np.isfinite(xs).all() and np.isfinite(ys).all()):
        raise OutOfRangeError(f"{what}: all numbers must be finite")
    unique, where, count = np.unique(xs, return_inverse=True, return_counts=True)
    if len(unique) < least:
        raise ShapeError(f"{what}: needs at least {least} different positions, got {len(unique)}")
    return unique, np.bincount(where, weights=ys) / count


@dataclass(frozen=True)
class PeakFit:
    """A peak on a constant: everything in the units of the scan; `*_sd` are standard deviations."""

    centre: float
    centre_sd: float
    fwhm: float
    fwhm_sd: float
    height: float
    background: float
    lorentz_share: float


def _pseudo_voigt(x: Array, centre: float, fwhm: float, height: float, base: float, share: float) -> Array:
    t = 2.0 * (x - centre) / fwhm
    return np.asarray(base + height * (share / (1.0 + t * t) + (1.0 - share) * np.exp(-math.log(2.0) * t * t)))


def fit_peak(x: Numbers, y: Numbers) -> PeakFit:
    """Fit a pseudo-Voigt peak on a constant, e.g. a rocking curve: intensity against crystal pitch.

    Parameters
    ----------
    x, y : (n >= 6,)
        Position and intensity, any order and unit.

    Raises
    ------
    FitError
        When the maximum is at an end of the range, or no peak rises above the scatter.
    ShapeError, OutOfRangeError
    """
    xs, ys = _pairs(x, y, 6, "peak")
    smooth = np.convolve(np.pad(ys, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    top = int(np.argmax(smooth))
    base, height = float(ys.min()), float(smooth[top] - ys.min())
    scatter = 1.4826 / math.sqrt(6.0) * float(np.median(np.abs(np.diff(ys, 2))))
    if top in (0, len(xs) - 1):
        raise FitError(f"peak: highest at the end of [{xs[0]:g}, {xs[-1]:g}], x = {xs[top]:g}; move the range that way")
    if height <= 4.0 * scatter:
        raise FitError(f"peak: height {height:.3g} is not above the scatter {scatter:.3g}")
    above = smooth > base + 0.5 * height
    low = high = top
    while low > 0 and above[low - 1]:
        low -= 1
    while high < len(xs) - 1 and above[high + 1]:
        high += 1
    span = float(xs[-1] - xs[0])
    step = span / (len(xs) - 1)
    width = max(float(xs[high] - xs[low]), step)
    # In units of the peak: the solver's tolerances know nothing of nanoamperes.
    scaled = (ys - base) / height
    bounds = ([xs[0], 0.3 * step, 0.0, -1.0, 0.0], [xs[-1], 3.0 * span, 5.0, 1.0, 1.0])
    start = (float(xs[low : high + 1].mean()), width, 1.0, 0.0, 0.3)
    try:
        found, covariance = optimize.curve_fit(
            _pseudo_voigt, xs, scaled, start, bounds=bounds, x_scale=(width, width, 1.0, 1.0, 1.0), maxfev=5000
        )
    except RuntimeError as error:
        raise FitError(f"peak: the fit did not settle: {error}") from error
    found[2], found[3] = found[2] * height, base + found[3] * height
    sd = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    if not np.isfinite(sd[0]) or sd[0] > found[1]:
        raise FitError(f"peak: centre {found[0]:.6g} is not determined (+- {sd[0]:.3g})")
    return PeakFit(
        float(found[0]), float(sd[0]), float(found[1]), float(sd[1]), float(found[2]), float(found[3]), float(found[4])
    )


def absorbance(before: Numbers, after: Numbers) -> Array:
    """Return mu t = ln(I0 / I1) of two ion chambers, float64, up to a constant of their gains.

    Raises
    ------
    OutOfRangeError
        Where a current is not finite and > 0 (beam lost, overload, or zero offset too large).
    """
    i0, i1 = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if i0.shape != i1.shape:
        raise ShapeError(f"ion chambers: shapes {i0.shape} and {i1.shape} differ")
    for name, values in (("before", i0), ("after", i1)):
        wrong = ~(np.isfinite(values) & (values > 0))
        if wrong.any():
            where = int(np.flatnonzero(wrong)[0])
            raise OutOfRangeError(
                f"ion chamber {name} the foil: {values.flat[where]:g} A at point {where}, must be > 0"
            )
    return np.asarray(np.log(i0 / i1))


@dataclass(frozen=True)
class EdgePosition:
    """Position of an absorption edge in the unit of the scan.

    `position_sd` is statistical only: how far the noise of the scan moves the position. What smoothing shifts,
    and what the energy scale is off, come on top of it. `step` is the height of the edge, `method` how it was
    found, `definition` what it means; `x` and `derivative` are the curve on which it was found.
    """

    position: float
    position_sd: float
    step: float
    method: str
    x: Array
    derivative: Array
    definition: str = EDGE_DEFINITION


def _first_maximum(curve: Array, share: float) -> int:
    """Return the index of the first local maximum that reaches `share` of the highest value, ends excluded."""
    limit = share * float(curve[1:-1].max())
    peak = (curve[1:-1] >= curve[:-2]) & (curve[1:-1] > curve[2:]) & (curve[1:-1] >= limit)
    hits = np.flatnonzero(peak)
    return int(hits[0]) + 1 if hits.size else int(np.argmax(curve))


def _top(x: Array, y: Array, k: int) -> float:
    """Return the middle between the places where the peak at index k has fallen to `TOP_LEVEL` of its height.

    The middle averages over the ripple that smoothing between scan points leaves on the very top. Where the
    curve does not fall that far before it rises again, the place of the highest value stands.
    """
    limit = TOP_LEVEL * float(y[k])
    low = high = k
    while low > 0 and y[low] > limit:
        low -= 1
    while high < len(y) - 1 and y[high] > limit:
        high += 1
    if y[low] > limit or y[high] > limit or high - low < 2:
        return float(x[k])
    left = x[low] + (x[low + 1] - x[low]) * (limit - y[low]) / (y[low + 1] - y[low])
    right = x[high - 1] + (x[high] - x[high - 1]) * (y[high - 1] - limit) / (y[high - 1] - y[high])
    return float(0.5 * (left + right))


def _derivative_operator(x: Array, grid: Array, bandwidth: float) -> tuple[Array, Array]:
    """Matrices that give smoothed value (at x) and slope (on grid): local cubic fits with Gaussian weights."""

    def local(points: Array, order: int) -> Array:
        rows = np.empty((len(points), len(x)))
        for i, p in enumerate(points):
            t = (x - p) / bandwidth
            # wide enough to hold the six nearest points even where the scan is coarse
            reach = max(1.0, float(np.sort(np.abs(t))[5]) / 2.0)
            w = np.exp(-0.25 * (t / reach) ** 2)
            basis = np.stack([np.ones_like(t), t, t * t, t**3], axis=1) * w[:, None]
            rows[i] = np.linalg.pinv(basis)[order] * w
        return rows

    return local(x, 0), local(grid, 1) / bandwidth


def edge_by_derivative(
    x: Numbers,
    mu: Numbers,
    *,
    smoothing: float | None = None,
    first_share: float = 0.5,
    seed: int = 0,
) -> EdgePosition:
    """Find an absorption edge as the first maximum of the smoothed derivative.

    The scan (n >= 12 points, spacing may vary) is smoothed by local cubic fits with Gaussian weights of
    standard deviation `smoothing`, which keep a symmetric edge where it is. By default that is the
    narrowest of 1.5 to 4.5 times the spacing around the steepest place for which the slope stands 20
    standard deviations above its noise: wider smoothing pulls the inflection towards a white line. The
    position is the middle of the derivative's peak at 92 % of its height. Its standard deviation is that of
    200 repetitions with noise like the scan's, as its third differences show it: statistical only, without
    the shift that smoothing gives an edge that is not symmetric.

    Parameters
    ----------
    x : energies (eV, say), ascending or not; the edge must rise with x
    mu : absorbance ln(I0/I1), see `absorbance`
    first_share : share of the highest derivative that the first maximum must reach

    Raises
    ------
    FitError
        When the derivative is highest at an end of the range, or the edge is not above the noise.
    ShapeError, OutOfRangeError
    """
    xs, ys = _pairs(x, mu, 12, "edge scan")
    k = int(np.argmax(np.convolve(np.gradient(ys, xs), np.ones(3) / 3.0, mode="same")))
    spacing = float(np.median(np.diff(xs[max(0, k - 8) : k + 9])))
    # third differences see noise and hardly anything else; their median does not see the edge
    noise = 1.4826 / math.sqrt(20.0) * float(np.median(np.abs(np.diff(ys, 3))))
    grid = np.linspace(xs[0], xs[-1], max(400, 4 * len(xs)))
    tries = [smoothing] if smoothing is not None else [factor * spacing for factor in (1.5, 2.0, 3.0, 4.5)]
    for width in tries:
        value, slope = _derivative_operator(xs, grid, width)
        derivative = slope @ ys
        k = _first_maximum(derivative, first_share)
        slope_sd = noise * float(np.sqrt((slope[k] ** 2).sum()))
        if derivative[k] > SIGNIFICANT * slope_sd:
            break
    if k < 4 or k > len(grid) - 5:
        raise FitError(f"edge: steepest at the end of [{xs[0]:g}, {xs[-1]:g}]; the range does not hold the edge")
    if derivative[k] < 5.0 * slope_sd:
        raise FitError(f"edge: slope {derivative[k]:.3g} is not above its noise {slope_sd:.3g}")
    position = _top(grid, derivative, k)
    # repetitions about the smoothed curve, looking only near the maximum that was found
    near = np.abs(grid - position) < 2.5 * width
    random = np.random.default_rng(seed)
    again = derivative[near, None] + slope[near] @ random.normal(0.0, noise, (len(xs), 200))
    found = [_top(grid[near], column, int(np.argmax(column))) for column in again.T]
    step = float(value[-1] @ ys - value[0] @ ys)
    return EdgePosition(position, float(np.std(found)), step, "derivative", grid, derivative)
