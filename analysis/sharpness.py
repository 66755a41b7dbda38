"""How sharp an image is, as one number that peaks in focus, and where that peak is.

For absorbing specimens every measure here peaks in focus and falls off alike on both sides. Mind phase
contrast: a specimen that mostly shifts the phase shows its strongest contrast on either side of focus, and
gold structures at 8 keV do (0.7 um of gold: 1.3 rad, with 25 % absorption). Their curves have two peaks of
unlike height one to two depths of focus away from focus. `fit_focus` therefore looks for the point of
symmetry and not for the highest value. Beyond a phase shift of about 2 rad the two halves differ too much
for that: check `FocusFit.symmetry` and `double_peaked`, and the sign of the contrast in the rings of a
Siemens star. Symmetry is off by up to a quarter of the depth of focus where phase and absorption are mixed;
`exitwave.analysis.through_focus` knows the lens and is not.

Photon noise adds a constant to `normalised_variance`, `brenner` and `tenengrad`, which flattens the curve
but does not move it. `band_power` subtracts it: the mean power at the highest spatial frequencies, where a
lens passes nothing. It is a power spectrum, so sideways drift between the images does not matter either.

J. F. Brenner et al., J. Histochem. Cytochem. 24, 100 (1976); E. Krotkov, Int. J. Comput. Vision 1, 223
(1988) for the Tenenbaum gradient; F. C. A. Groen et al., Cytometry 6, 81 (1985) for normalised variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import interpolate, ndimage, optimize

from exitwave.analysis.errors import FitError, FocusRangeError, OutOfRangeError, ShapeError
from exitwave.analysis.resolution.rings import fill_dead, make_rings, windowed_transform

__all__ = ["FocusFit", "band_power", "brenner", "fit_focus", "normalised_variance", "tenengrad"]

Array = npt.NDArray[np.float64]


def _positive_mean(data: Array) -> float:
    mean = float(data.mean())
    if not (math.isfinite(mean) and mean > 0.0):
        raise OutOfRangeError(f"image: mean = {mean:g}, sharpness needs a mean > 0 (is the beam on?)")
    return mean


def normalised_variance(image: npt.NDArray[Any]) -> float:
    """Return var / mean^2 of an image (y, x); NaN pixels are filled from their surroundings."""
    data = fill_dead(image)
    return float(data.var()) / _positive_mean(data) ** 2


def brenner(image: npt.NDArray[Any], *, step_px: int = 2) -> float:
    """Return the mean squared difference of pixels `step_px` apart, both ways, over mean^2."""
    data = fill_dead(image)
    dy = data[step_px:] - data[:-step_px]
    dx = data[:, step_px:] - data[:, :-step_px]
    return (float((dy * dy).mean()) + float((dx * dx).mean())) / _positive_mean(data) ** 2


def tenengrad(image: npt.NDArray[Any]) -> float:
    """Return the mean squared Sobel gradient over mean^2."""
    data = fill_dead(image)
    gy, gx = ndimage.sobel(data, axis=0), ndimage.sobel(data, axis=1)
    return float((gy * gy + gx * gx).mean()) / 64.0 / _positive_mean(data) ** 2


def band_power(image: npt.NDArray[Any], *, band: tuple[float, float] = (0.12, 0.3), noise_from: float = 0.45) -> float:
    """Return the power between two spatial frequencies without the noise, over mean^2.

    Parameters
    ----------
    image : array (y, x), any real dtype
        Counts or transmission; NaN pixels are filled from their surroundings.
    band : (low, high)
        Cycles per pixel. Frequencies between a third and three quarters of the lens's cut-off fall off
        fastest with defocus and hold the least phase contrast (the default suits a cut-off of 0.4, four
        tenths of the sampling); the lowest hold shading and the beam profile, which know nothing of focus.
    noise_from : float
        Frequencies above this (cycles per pixel), corners included, tell the noise.

    Raises
    ------
    OutOfRangeError
        Unless 0 < low < high <= `noise_from` < 0.7, and the mean is > 0.
    """
    low, high = band
    if not 0.0 < low < high <= noise_from < 0.7:
        raise OutOfRangeError(f"band = ({low:g}, {high:g}): needs 0 < low < high <= {noise_from:g} cycles per pixel")
    data = fill_dead(image)
    mean = _positive_mean(data)
    transform, _ = windowed_transform(data, "hann")
    power = transform.real**2 + transform.imag**2
    rings = make_rings((data.shape[0], data.shape[1]), 2)
    usable = rings.index >= 0
    floor = float(np.median(power[(rings.radius >= noise_from)])) / math.log(2.0)
    inside = usable & (rings.radius >= low) & (rings.radius < high)
    weight = rings.weight[inside]
    signal = float((power[inside] * weight).sum()) - floor * float(weight.sum())
    return signal / data.size / mean**2


@dataclass(frozen=True)
class FocusFit:
    """Where a through-focus series is in focus, in the unit of `z`.

    `highest` is where the curve has its highest value, which phase contrast may shift away from `best`;
    `width` is the standard deviation of a Gaussian fitted to that peak; `symmetry` is the likeness of the
    curve and its mirror image about `best` (1 = the same shape); `double_peaked` tells of two maxima (phase
    contrast). `model` is what was fitted, at the given z, NaN outside the range of the fit.
    """

    best: float
    best_sd: float
    highest: float
    width: float
    symmetry: float
    double_peaked: bool
    model: Array


def fit_focus(
    z: Sequence[float] | Array,
    sharpness: Sequence[float] | Array,
    *,
    method: Literal["symmetry", "peak"] = "symmetry",
    within: float | None = None,
    seed: int = 0,
) -> FocusFit:
    """Find the focus in a sharpness curve.

    "symmetry" takes the point about which the curve is most like its mirror image. Transfer of absorption
    is even in defocus and transfer of phase is odd, so the power of either is even: one peak in focus, or
    two on either side of it. A specimen that does both has two peaks of unlike height at like distances,
    and the highest place lies up to two depths of focus away from focus. The series must reach beyond both
    peaks. "peak" fits a Gaussian to the highest peak: the choice for purely absorbing specimens, and for
    short ranges.

    Parameters
    ----------
    z, sharpness : (n >= 5,), for "symmetry" n >= 9 is advised
        Any order, spacing may vary; the unit of z is that of the result.
    within : float, optional
        For "symmetry": how far from the middle of the range focus may lie, where an earlier scan has told. A
        peak beside focus is symmetric in itself, and in a short range as good as the true centre.
    seed : int
        Of the noise that the uncertainty is estimated with.

    Raises
    ------
    FitError
        There is no peak above the scatter, or the fit does not settle; `FocusRangeError` when the curve is highest
        at an end of the range ("move the range that way"), or focus lies in its outer fifth.
    ShapeError, OutOfRangeError
    """
    positions, values = np.asarray(z, np.float64), np.asarray(sharpness, np.float64)
    if positions.ndim != 1 or positions.shape != values.shape or len(positions) < 5:
        raise ShapeError(f"focus: needs at least five pairs, got {positions.shape} and {values.shape}")
    if not (np.isfinite(positions).all() and np.isfinite(values).all()):
        raise OutOfRangeError("focus: positions and sharpness must be finite")
    order = np.argsort(positions)
    x, y = positions[order], values[order]
    smooth = np.convolve(np.pad(y, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    top = int(np.argmax(smooth))
    if within is None and (top in (0, len(x) - 1) or int(np.argmax(y)) in (0, len(x) - 1)):
        end = "low" if top < len(x) / 2 else "high"
        towards = float(x[0] if end == "low" else x[-1])
        raise FocusRangeError(
            f"focus: sharpest at the {end} end of [{x[0]:g}, {x[-1]:g}]; move the range that way", towards
        )
    base, height = float(y.min()), float(smooth[top] - y.min())
    # the lower quartile of second differences: the upper ones are the curvature of the peak itself
    scatter = float(np.percentile(np.abs(np.diff(y, 2)), 25)) / 0.3186 / math.sqrt(6.0)
    if height <= 5.0 * scatter:
        raise FitError(f"focus: the peak ({height:.3g}) does not rise above the scatter ({scatter:.3g})")
    highest, highest_sd, width, model = _fit_peak(x, y, smooth, top, base)
    best, best_sd, likeness = highest, highest_sd, 1.0
    if method == "symmetry":
        best, likeness = _mirror(x, y, base, within=within)
        margin = 0.2 * float(x[-1] - x[0])
        if not x[0] + margin < best < x[-1] - margin:
            raise FocusRangeError(
                f"focus: near {best:.6g}, in the outer fifth of [{x[0]:g}, {x[-1]:g}]; move the range there", best
            )
        noise = _residual(x, y, scatter)
        random = np.random.default_rng(seed)
        again = [_mirror(x, y + random.normal(0.0, noise, len(y)), base, near=best)[0] for _ in range(24)]
        best_sd = float(np.std(again))
        model = np.asarray(np.interp(2.0 * best - x, x, y, left=np.nan, right=np.nan))
    restored = np.empty_like(model)
    restored[order] = model
    return FocusFit(best, best_sd, highest, width, likeness, _double(smooth, base, height, scatter), restored)


def _residual(x: Array, y: Array, scatter: float) -> float:
    """Return the noise of the points: the smaller of two estimates that curvature inflates."""
    fourth = np.diff(y, 4) if len(y) > 8 else np.diff(y, 2)
    norm = math.sqrt(70.0) if len(y) > 8 else math.sqrt(6.0)
    return min(scatter, 1.4826 / norm * float(np.median(np.abs(fourth))))


def _mirror(
    x: Array, y: Array, base: float, *, near: float | None = None, within: float | None = None
) -> tuple[float, float]:
    """Return the centre of symmetry of sqrt(y - base) and the likeness there.

    Candidates are the summits of the curve's convolution with itself: each peak, and the middle between
    two. Among them the highest cosine similarity of the whole curve's halves decides, which does not mind that
    one half is higher; the place itself is the one where the halves within the range are most alike.
    """
    amplitude = np.sqrt(np.maximum(y - base, 0.0))
    curve = interpolate.PchipInterpolator(x, amplitude, extrapolate=False)
    if near is not None:
        return _likeness(curve, x, near)
    t = np.linspace(x[0], x[-1], 16 * len(x) + 1)
    fine = np.asarray(curve(t), dtype=np.float64)
    whole = np.convolve(fine, fine)
    place = np.linspace(x[0], x[-1], len(whole))
    summit = np.flatnonzero((whole[1:-1] >= whole[:-2]) & (whole[1:-1] > whole[2:])) + 1
    candidates = [k for k in summit if whole[k] > 0.3 * whole.max()]
    if within is not None:
        middle = 0.5 * float(x[0] + x[-1])
        candidates = [k for k in summit if abs(float(place[k]) - middle) <= within]
        if not candidates:
            raise FitError(f"focus: no centre of symmetry within {within:.3g} of {middle:.6g}; scan a wider range")
    found = [_likeness(curve, x, float(place[k]), whole=True) for k in candidates]
    centre, _ = max(found, key=lambda one: one[1])
    return _likeness(curve, x, centre)


def _likeness(
    curve: interpolate.PchipInterpolator, x: Array, near: float, *, whole: bool = False
) -> tuple[float, float]:
    """Return the place near `near` about which the curve is most like its mirror image, and the cosine similarity.

    Compared is what has both sides in the range, which does not shift the centre of a wide peak; or the `whole`
    curve, flat beyond the range, in which a peak that is symmetric in itself has to answer for the other one.
    """
    step = float(np.diff(x).mean())
    window = min(1.5 * step, 0.1 * float(x[-1] - x[0]))
    sides = (near - float(x[0]), float(x[-1]) - near)
    reach = max(sides) + window if whole else min(sides) - window
    if reach < 2.0 * step:
        return near, 0.0
    distance = np.linspace(0.0, reach, 12 * len(x))
    candidates = near + np.linspace(-window, window, 61)
    floor = float(np.percentile(np.asarray(curve(x), dtype=np.float64), 20))

    def side(sign: float) -> Array:
        values = np.asarray(curve(candidates[:, None] + sign * distance), dtype=np.float64)
        return np.where(np.isnan(values), floor, values)

    right, left = side(1.0), side(-1.0)
    size = np.sqrt((right**2).sum(axis=1) * (left**2).sum(axis=1))
    likeness = (right * left).sum(axis=1) / np.maximum(size, np.finfo(np.float64).tiny)
    k = int(np.argmax(likeness))
    centre = float(candidates[k])
    if 0 < k < len(candidates) - 1:
        bend = likeness[k - 1] - 2.0 * likeness[k] + likeness[k + 1]
        if bend < 0.0:
            shift = 0.5 * (likeness[k - 1] - likeness[k + 1]) / bend
            centre += float(shift * (candidates[1] - candidates[0]))
    return centre, float(likeness[k])


def _fit_peak(x: Array, y: Array, smooth: Array, top: int, base: float) -> tuple[float, float, float, Array]:
    """Fit a Gaussian on a constant to the highest peak; return centre, its deviation, width and the curve.

    Points within about one and a half half-widths of the maximum take part, at least five: the far wings
    hold ringing of the transfer function, not focus. The uncertainty comes from the scatter of the points
    about the fit.
    """
    height = float(smooth[top] - base)
    low, high = _half_width(smooth, top, base + 0.5 * height)
    reach = 1.5 * max(x[high] - x[top], x[top] - x[low])
    near = np.abs(x - x[top]) <= reach
    near[max(0, top - 2) : top + 3] = True

    def curve(t: Array, amplitude: float, centre: float, width: float, constant: float) -> Array:
        return np.asarray(constant + amplitude * np.exp(-0.5 * ((t - centre) / width) ** 2))

    start = (height, x[top], max(reach / 1.8, 0.5 * float(np.diff(x).mean())), base)
    span = float(x[-1] - x[0])
    # the constant is held near the data: with few points it would run off with the width
    lowest, largest = base - 2.0 * height, float(y.max())
    bounds = ([0.0, x[0], 0.1 * span / len(x), lowest], [10.0 * height, x[-1], 4.0 * span, largest])
    try:
        found, covariance = optimize.curve_fit(curve, x[near], y[near], start, bounds=bounds, maxfev=4000)
    except RuntimeError as error:
        raise FitError(f"focus: the fit did not settle: {error}") from error
    centre, sd = float(found[1]), math.sqrt(max(float(covariance[1, 1]), 0.0))
    if not (x[0] < centre < x[-1]) or not math.isfinite(sd):
        raise FitError(f"focus: the best position is not determined within [{x[0]:g}, {x[-1]:g}]")
    model = np.full(len(x), np.nan)
    model[near] = curve(x[near], *found)
    return centre, sd, float(found[2]), model


def _half_width(y: Array, top: int, level: float) -> tuple[int, int]:
    low = high = top
    while low > 0 and y[low] > level:
        low -= 1
    while high < len(y) - 1 and y[high] > level:
        high += 1
    return low, high


def _double(y: Array, base: float, height: float, scatter: float) -> bool:
    """Tell whether a second maximum of over half the height stands apart from the first by a real dip."""
    peaks = [i for i in range(1, len(y) - 1) if y[i] > y[i - 1] and y[i] >= y[i + 1] and y[i] - base > 0.5 * height]
    return any(
        min(y[a], y[b]) - float(y[a : b + 1].min()) > max(0.1 * height, 4.0 * scatter) for a, b in pairwise(peaks)
    )
