"""How sharp an image is, as one number that peaks in focus, and where that peak is.

For absorbing specimens every measure here peaks in focus and falls off alike on both sides. Mind phase
contrast: a purely phase-shifting specimen is invisible in focus and shows its strongest fringes on either
side, so that all these measures have a *minimum* in focus between two maxima. `fit_focus` marks curves with
two peaks (`double_peaked`); for such specimens focus on a test object, or take the middle between the two.

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
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize

from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError
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


def band_power(image: npt.NDArray[Any], *, band: tuple[float, float] = (0.04, 0.25), noise_from: float = 0.45) -> float:
    """Return the power between two spatial frequencies without the noise, over mean^2.

    Parameters
    ----------
    image : array (y, x), any real dtype
        Counts or transmission; NaN pixels are filled from their surroundings.
    band : (low, high)
        Cycles per pixel. Frequencies around a third of the lens's cut-off are the most sensitive to
        defocus; the lowest hold shading and the beam profile, which know nothing of focus.
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
    """Where a through-focus series is sharpest, in the unit of `z`.

    `width` is the standard deviation of the fitted Gaussian; `double_peaked` warns of two maxima (phase
    contrast, astigmatism); `model` is the fitted curve at the given z, NaN outside the range of the fit.
    """

    best: float
    best_sd: float
    width: float
    double_peaked: bool
    model: Array


def fit_focus(z: Sequence[float] | Array, sharpness: Sequence[float] | Array) -> FocusFit:
    """Fit a Gaussian on a constant to the peak of a sharpness curve.

    Points within about one and a half half-widths of the maximum take part, at least five: the far wings
    hold ringing of the transfer function, not focus. The uncertainty comes from the scatter of the points
    about the fit.

    Parameters
    ----------
    z, sharpness : (n >= 5,)
        Any order; the unit of z is that of the result.

    Raises
    ------
    FitError
        When the maximum is at an end of the range ("move the range that way"), there is no peak above the
        scatter, or the fit does not settle.
    ShapeError
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
    if top in (0, len(x) - 1) or int(np.argmax(y)) in (0, len(x) - 1):
        end = "low" if np.argmax(smooth) < len(x) / 2 else "high"
        raise FitError(f"focus: sharpest at the {end} end of [{x[0]:g}, {x[-1]:g}]; move the range that way")
    base, height = float(y.min()), float(smooth[top] - y.min())
    scatter = float(np.median(np.abs(np.diff(y, 2)))) * 1.4826 / math.sqrt(6.0)
    if height <= 5.0 * scatter:
        raise FitError(f"focus: the peak ({height:.3g}) does not rise above the scatter ({scatter:.3g})")
    low, high = _half_width(smooth, top, base + 0.5 * height)
    reach = 1.5 * max(x[high] - x[top], x[top] - x[low])
    near = np.abs(x - x[top]) <= reach
    near[max(0, top - 2) : top + 3] = True

    def curve(t: Array, amplitude: float, centre: float, width: float, constant: float) -> Array:
        return np.asarray(constant + amplitude * np.exp(-0.5 * ((t - centre) / width) ** 2))

    start = (height, x[top], max(reach / 1.8, 0.5 * float(np.diff(x).mean())), base)
    span = float(x[-1] - x[0])
    # the constant is held between zero-ish and the data: with few points it would run off with the width
    bounds = ([0.0, x[0], 0.1 * span / len(x), base - 2.0 * height], [10.0 * height, x[-1], 4.0 * span, float(y.max())])
    try:
        found, covariance = optimize.curve_fit(curve, x[near], y[near], start, bounds=bounds, maxfev=4000)
    except RuntimeError as error:
        raise FitError(f"focus: the fit did not settle: {error}") from error
    centre, sd = float(found[1]), math.sqrt(max(float(covariance[1, 1]), 0.0))
    if not (x[0] < centre < x[-1]) or not math.isfinite(sd):
        raise FitError(f"focus: the best position is not determined within [{x[0]:g}, {x[-1]:g}]")
    model = np.full(len(x), np.nan)
    model[near] = curve(x[near], *found)
    restored = np.empty_like(model)
    restored[order] = model
    return FocusFit(centre, sd, float(found[2]), _double(smooth, base, height, scatter), restored)


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
