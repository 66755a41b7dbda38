"""Slanted edge: edge spread, line spread and the widths that are quoted for them.

All pixels of a region across one straight edge are ordered by their distance from the edge (found by a
straight-line fit to the gradient), which samples the edge far finer than the pixel (ISO 12233). The widths
come from a fit of an error function, i.e. of a Gaussian line spread; `chi2_per_dof` says how well that
describes the edge: fringes of phase contrast make it large, and the widths then mean little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize, special

from exitwave.analysis.errors import FitError, ShapeError, require_positive

__all__ = ["EdgeResponse", "edge_response"]

Array = npt.NDArray[np.float64]
_FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))
_RISE = 2.0 * 1.2815515655446004  # 10 % to 90 % of a Gaussian's integral, in standard deviations


@dataclass(frozen=True)
class EdgeResponse:
    """Edge spread (binned) with fitted widths; distances in nm, `angle_deg` from the nearer pixel axis."""

    distance_nm: Array
    edge_spread: Array
    line_spread: Array
    fwhm_nm: float
    fwhm_sd_nm: float
    rise_10_90_nm: float
    rise_10_90_sd_nm: float
    angle_deg: float
    contrast: float
    chi2_per_dof: float


def edge_response(image: npt.NDArray[Any], pixel_nm: float, *, oversampling: int = 4) -> EdgeResponse:
    """Measure the response of a region (y, x) that one straight edge crosses, at any small angle to an axis.

    Parameters
    ----------
    image : array (y, x), at least 16 x 16
        Transmission or counts; NaN pixels are left out.
    pixel_nm : float
    oversampling : int
        Bins per pixel of the edge spread.

    Raises
    ------
    FitError
        When there is no edge, or its width is not determined by the data.
    ShapeError, OutOfRangeError
    """
    pixel = require_positive("pixel", pixel_nm, "nm")
    data = np.array(image, dtype=np.float64)
    if data.ndim != 2 or min(data.shape) < 16:
        raise ShapeError(f"edge region: expected (y, x) of at least 16 x 16 pixels, got {data.shape}")
    good = np.isfinite(data)
    if good.mean() < 0.8:
        raise ShapeError(f"edge region: {100 * (1 - good.mean()):.3g} % of the pixels are not finite, limit 20 %")
    filled = np.where(good, data, np.median(data[good]))
    smooth = ndimage.gaussian_filter(filled, 1.5)
    if np.abs(np.diff(smooth, axis=0)).sum() > np.abs(np.diff(smooth, axis=1)).sum():
        data, good, smooth = data.T, good.T, smooth.T
    slope, offset = _edge_line(smooth)
    y, x = np.mgrid[: data.shape[0], : data.shape[1]]
    distance = (x - offset - slope * y) / math.hypot(1.0, slope)
    reach = float(min(np.abs(distance[:, 0]).min(), np.abs(distance[:, -1]).min()))
    inside = good & (np.abs(distance) <= reach)
    if reach < 4.0:
        raise FitError(f"edge: only {reach:.3g} pixels from the border of the region, needs 4")
    bins = np.round(distance[inside] * oversampling).astype(int)
    low = int(bins.min())
    count = np.bincount(bins - low)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bins - low, weights=data[inside]) / count
    position = (np.arange(len(count)) + low) / oversampling
    used = count > 0
    position, mean, count = position[used], mean[used], count[used]

    noise = _pixel_noise(data[inside], bins - low, np.bincount(bins - low))
    parameters, covariance = _fit(position, mean, noise / np.sqrt(count))
    step, sigma = float(parameters[1]), abs(float(parameters[3]))
    residual = (mean - _model(position, *parameters)) / (noise / np.sqrt(count))
    chi2 = float((residual**2).sum() / max(len(mean) - 4, 1))
    sigma_sd = math.sqrt(float(covariance[3, 3]) * max(chi2, 1.0))
    if not (math.isfinite(sigma_sd) and sigma_sd < sigma):
        raise FitError(f"edge: width {sigma * pixel:.3g} nm is not determined (+- {sigma_sd * pixel:.3g} nm)")
    return EdgeResponse(
        distance_nm=position * pixel,
        edge_spread=mean,
        line_spread=np.gradient(ndimage.gaussian_filter1d(mean, 1.0), position * pixel) / step,
        fwhm_nm=_FWHM * sigma * pixel,
        fwhm_sd_nm=_FWHM * sigma_sd * pixel,
        rise_10_90_nm=_RISE * sigma * pixel,
        rise_10_90_sd_nm=_RISE * sigma_sd * pixel,
        angle_deg=math.degrees(math.atan(slope)),
        contrast=abs(step),
        chi2_per_dof=chi2,
    )


def _edge_line(smooth: Array) -> tuple[float, float]:
    """Fit x = offset + slope y to the centroids of the squared gradient of each row, nearer each time."""
    gradient = np.gradient(smooth, axis=1) ** 2
    rows = np.arange(smooth.shape[0], dtype=np.float64)
    x = np.arange(smooth.shape[1], dtype=np.float64)
    gradient -= np.median(gradient, axis=1, keepdims=True)
    np.maximum(gradient, 0.0, out=gradient)
    line = np.polyfit(rows, x[np.argmax(ndimage.uniform_filter1d(gradient, 5, axis=1), axis=1)], 1)
    for reach in (12.0, 6.0, 6.0):
        near = gradient * (np.abs(x[None, :] - np.polyval(line, rows)[:, None]) < reach)
        weight = near.sum(axis=1)
        if np.count_nonzero(weight) < 0.7 * len(rows):
            raise FitError("edge: no straight edge found in the region")
        used = weight > 0
        centroid = (near @ x)[used] / weight[used]
        line = np.polyfit(rows[used], centroid, 1, w=np.sqrt(weight[used]))
    return float(line[0]), float(line[1])


def _pixel_noise(values: Array, bins: npt.NDArray[np.intp], count: npt.NDArray[np.intp]) -> float:
    """Return the standard deviation of a pixel about its bin's mean, by the median of the bins."""
    total = np.bincount(bins, weights=values)
    square = np.bincount(bins, weights=values**2)
    full = count >= 4
    if not full.any():
        raise FitError("edge: too few pixels along the edge")
    variance = (square[full] - total[full] ** 2 / count[full]) / (count[full] - 1)
    return max(math.sqrt(max(float(np.median(variance)), 0.0)), 1e-9 * float(np.ptp(values)) + 1e-300)


def _model(x: Array, low: float, step: float, centre: float, sigma: float) -> Array:
    return np.asarray(low + step * 0.5 * (1.0 + special.erf((x - centre) / (math.sqrt(2.0) * sigma))))


def _fit(x: Array, y: Array, sd: Array) -> tuple[Array, Array]:
    quarter = max(1, len(x) // 5)
    low, high = float(y[:quarter].mean()), float(y[-quarter:].mean())
    if abs(high - low) < 3.0 * float(sd[:quarter].mean()):
        raise FitError(f"edge: step {abs(high - low):.3g} is not above the noise")
    start = (low, high - low, 0.0, 1.0)
    bounds = ([-np.inf, -np.inf, x[0], 0.05], [np.inf, np.inf, x[-1], x[-1] - x[0]])
    try:
        found, covariance = optimize.curve_fit(_model, x, y, start, sd, absolute_sigma=True, bounds=bounds)
    except RuntimeError as error:
        raise FitError(f"edge: {error}") from error
    return np.asarray(found), np.asarray(covariance)
