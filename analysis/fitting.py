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
from scipy import optimize, special

from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError

__all__ = [
    "EdgePosition",
    "PeakFit",
    "absorbance",
    "edge_by_derivative",
    "edge_by_model",
    "fit_peak",
]

Array = npt.NDArray[np.float64]
Numbers = Sequence[float] | Array
SIGNIFICANT = 20.0
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
    """Position of an absorption edge in the unit of the scan, with its standard deviation.

    `step` is the height of the edge, `method` how it was found, `definition` what it means; `x` and
    `derivative` are the curve on which it was found.
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


def _top(x: Array, y: Array, k: int, level: float = 0.92) -> float:
    """Return the middle between the places where the peak at index k has fallen to `level` of its height.

    The middle averages over the ripple that smoothing between scan points leaves on the very top. Where the
    curve does not fall that far before it rises again, the place of the highest value stands.
    """
    limit = level * float(y[k])
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
    200 repetitions with noise like the scan's, as its third differences show it.

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


def _edge_model(x: Array, p: Array, centre: float, kind: str) -> Array:
    """Line below, another slope above, a rise at p[0] of width p[1], and a white line of share p[6]."""
    t = (x - p[0]) / p[1]
    rise = 0.5 + np.arctan(t) / math.pi if kind == "arctan" else 0.5 * (1.0 + special.erf(t))
    u = (x - p[7]) / p[8]
    peak = p[6] / (1.0 + u * u)
    d = x - centre
    return np.asarray(p[2] + p[3] * d + (p[4] + p[5] * d) * rise + peak)


def edge_by_model(x: Numbers, mu: Numbers, *, first_share: float = 0.5) -> EdgePosition:
    """Find an absorption edge by fitting a rise (arctan or erf, whichever fits better) between two lines.

    A Lorentzian white line above the edge is part of the model where it lowers the residual significantly
    (F > 10). The position is the first inflection of the fitted curve, not the parameter: with a white line
    the two differ.

    Parameters and errors are those of `edge_by_derivative`; at least 20 points.
    """
    xs, ys = _pairs(x, mu, 20, "edge scan")
    rough = edge_by_derivative(xs, ys, first_share=first_share)
    mid, span = rough.position, float(xs[-1] - xs[0])
    scale = max(float(np.ptp(ys)), 1e-12)
    width = max(3.0 * float(np.median(np.diff(xs))), span / 100.0)

    def residual(free: Array, kind: str, white: bool) -> Array:
        p = np.concatenate([free, [0.0, mid, 1.0]]) if not white else free
        return np.asarray((_edge_model(xs, p, mid, kind) - ys) / scale)

    low = [xs[0], 0.02 * width, -np.inf, -np.inf, 0.0, -np.inf]
    high = [xs[-1], span, np.inf, np.inf, np.inf, np.inf]
    start = [mid, width, float(ys[0]), 0.0, scale, 0.0]
    best = None
    for kind in ("arctan", "erf"):
        plain = optimize.least_squares(residual, start, bounds=(low, high), args=(kind, False), x_scale="jac")
        tries = [(plain, False)]
        if len(xs) >= 30:
            begin = [*plain.x, 0.1 * scale, min(mid + 2.0 * width, xs[-1]), width]
            begin[1] = min(max(begin[1], 0.05 * width), 0.5 * span)
            peak_low, peak_high = [*low, 0.0, mid - width, 0.1 * width], [*high, 5.0 * scale, xs[-1], 0.5 * span]
            begin = [min(max(b, lo), hi) for b, lo, hi in zip(begin, peak_low, peak_high, strict=True)]
            peaked = optimize.least_squares(
                residual, begin, bounds=(peak_low, peak_high), args=(kind, True), x_scale="jac"
            )
            f_value = (plain.cost - peaked.cost) / 3.0 / max(peaked.cost / (len(xs) - 9.0), 1e-30)
            if f_value > 10.0:
                tries.append((peaked, True))
        candidate = (tries[-1][0], kind, tries[-1][1])
        if best is None or candidate[0].cost < best[0].cost:
            best = candidate
    if best is None or not best[0].success:
        raise FitError("edge: the model fit did not settle")
    fit, kind, white = best

    grid = np.linspace(mid - 4.0 * width, mid + 4.0 * width, 4001)

    def inflection(free: Array) -> tuple[float, Array]:
        p = np.concatenate([free, [0.0, mid, 1.0]]) if not white else free
        slope = np.gradient(_edge_model(grid, p, mid, kind), grid)
        return _top(grid, slope, _first_maximum(slope, first_share), 0.9999), slope

    position, slope = inflection(fit.x)
    # propagate through the inflection numerically: gradient of the position in each parameter
    variance = 2.0 * fit.cost / max(len(xs) - len(fit.x), 1)
    jacobian = np.array(fit.jac, dtype=np.float64)
    covariance = np.linalg.pinv(jacobian.T @ jacobian) * variance
    gradient = np.zeros(len(fit.x))
    for i, sd in enumerate(np.sqrt(np.maximum(np.diag(covariance), 0.0))):
        if sd > 0.0:
            shifted = fit.x.copy()
            shifted[i] += 0.1 * sd
            gradient[i] = (inflection(shifted)[0] - position) / (0.1 * sd)
    sd = math.sqrt(max(float(gradient @ covariance @ gradient), 0.0))
    return EdgePosition(
        position, sd, float(fit.x[4]), f"{kind} model" + (" with white line" if white else ""), grid, slope
    )
