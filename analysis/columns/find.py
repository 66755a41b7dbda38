"""Columns found in a map, to start fits from, and split by how bright they are."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from exitwave.analysis.errors import FitError, ShapeError, require_positive

__all__ = ["estimate_spacing", "find_columns", "split_by_intensity"]

Array = npt.NDArray[np.float64]


def estimate_spacing(counts: npt.ArrayLike) -> float:
    """Return the distance between neighbouring columns, pixels: the first ring of the autocorrelation.

    Raises
    ------
    FitError
        If nothing repeats.
    """
    image = np.asarray(counts, np.float64)
    if not np.ptp(image) > 0:
        raise FitError("estimate_spacing: the map is the same everywhere; there is no specimen in it")
    window = np.outer(np.hanning(image.shape[0]), np.hanning(image.shape[1]))
    data = (image - image.mean()) * window
    shape = tuple(2 * n for n in image.shape)
    correlation = fft.irfft2(np.abs(fft.rfft2(data, shape, workers=-1)) ** 2, shape)
    correlation = fft.fftshift(correlation / correlation[0, 0])
    smooth = ndimage.gaussian_filter(correlation, 1.5)
    cy, cx = (n // 2 for n in shape)
    y, x = np.indices(shape)
    radius = np.hypot(y - cy, x - cx)
    # beyond the central peak, i.e. after the first minimum of the radial mean
    rings = np.bincount(radius.astype(int).ravel(), smooth.ravel()) / np.bincount(radius.astype(int).ravel())
    rings = rings[: min(image.shape) // 2]
    falling = np.nonzero(np.diff(rings) > 0)[0]
    if not falling.size:
        raise FitError("estimate_spacing: nothing repeats in the map; pass spacing_px")
    first = max(int(falling[0]), 2)
    peaks = (smooth == ndimage.maximum_filter(smooth, size=5)) & (radius > first) & (radius < min(image.shape) / 2)
    height = np.where(peaks, smooth, 0.0)
    # the nearest of the peaks that are nearly as high as the highest
    strong = height > 0.35 * height.max()
    if not height.max() > 0.02:
        raise FitError("estimate_spacing: nothing repeats in the map; pass spacing_px")
    return float(radius[strong].min())


def find_columns(
    counts: npt.ArrayLike,
    *,
    spacing_px: float | None = None,
    significance: float = 4.0,
    noise: Literal["poisson", "estimate"] = "poisson",
    border_px: float | None = None,
) -> Array:
    """Find columns: maxima of the map seen through a column's size, that stand out of the noise.

    Parameters
    ----------
    counts : array (rows, cols)
        Raw counts, or another picture with ``noise="estimate"``.
    spacing_px : float, optional
        Between nearest columns; estimated without.
    significance : float
        Least height over the noise of the filtered map, in standard deviations.
    noise : {"poisson", "estimate"}
        Variance = mean, or from the finest details of the map.
    border_px : float, optional
        Leave out columns nearer to the edge than this; 0.35 of the spacing without.

    Returns
    -------
    float64 array (n, 2)
        (y, x), pixels, to some tenths of a pixel, row by row.

    Raises
    ------
    ShapeError, OutOfRangeError
    FitError
        If there is none.
    """
    image = np.asarray(counts, np.float64)
    if image.ndim != 2 or min(image.shape) < 8 or not np.isfinite(image).all():
        raise ShapeError(f"find_columns: expected a finite map of at least 8 x 8 pixels, got shape {image.shape}")
    spacing = require_positive("spacing_px", estimate_spacing(image) if spacing_px is None else spacing_px, "px")
    narrow, wide = 0.18 * spacing, 0.42 * spacing
    response = ndimage.gaussian_filter(image, narrow) - ndimage.gaussian_filter(image, wide)
    # variance of the response to white noise of unit variance
    gain = (1.0 / narrow**2 + 1.0 / wide**2 - 4.0 / (narrow**2 + wide**2)) / (4.0 * math.pi)
    if noise == "poisson":
        variance = np.maximum(ndimage.gaussian_filter(image, wide), image.mean() * 0.05)
    else:
        fine = image - ndimage.uniform_filter(image, 3)
        variance = np.full_like(image, (1.4826 * np.median(np.abs(fine - np.median(fine)))) ** 2 * 9 / 8)
    strength = response / np.sqrt(np.maximum(gain * variance, 1e-30))
    size = 2 * round(0.35 * spacing) + 1
    top = (response == ndimage.maximum_filter(response, size=max(size, 3))) & (strength > significance)
    where = np.argwhere(top).astype(np.float64)
    margin = 0.35 * spacing if border_px is None else border_px
    inside = ((where >= margin) & (where <= np.array(image.shape) - 1 - margin)).all(axis=1)
    where = where[inside]
    if not len(where):
        raise FitError(f"find_columns: nothing stands {significance:g} standard deviations out of the noise")
    return _parabolic(response, where)


def _parabolic(response: Array, where: Array) -> Array:
    """Move maxima to the top of a parabola through their neighbours."""
    out = where.copy()
    y, x = where.astype(int).T
    for axis, (dy, dx) in enumerate(((1, 0), (0, 1))):
        inside = (y >= dy) & (x >= dx) & (y + dy < response.shape[0]) & (x + dx < response.shape[1])
        yy, xx = y[inside], x[inside]
        low, mid, high = response[yy - dy, xx - dx], response[yy, xx], response[yy + dy, xx + dx]
        bend = np.minimum(low - 2 * mid + high, -1e-12)
        out[inside, axis] += np.clip(0.5 * (low - high) / bend, -0.5, 0.5)
    return out


def split_by_intensity(intensity: npt.ArrayLike, *, least_gap: float = 3.2) -> npt.NDArray[np.int64]:
    """Return 0 for the brighter and 1 for the darker of two kinds of columns; 0 for all if there is but one.

    The split that leaves the least variance within the kinds (N. Otsu, IEEE Trans. SMC 9, 62 (1979)) is kept if
    their means are `least_gap` standard deviations (within kinds) apart. One normal distribution cut at its mean
    shows 2.65.
    """
    values = np.asarray(intensity, np.float64)
    ordered = np.sort(values[np.isfinite(values)])
    n = ordered.size
    labels = np.zeros(values.shape, np.int64)
    if n < 4:
        return labels
    total, squares = np.cumsum(ordered), np.cumsum(ordered**2)
    k = np.arange(1, n)
    within = squares[-1] - total[:-1] ** 2 / k - (total[-1] - total[:-1]) ** 2 / (n - k)
    best = int(np.argmin(within))
    gap = (total[-1] - total[best]) / (n - best - 1) - total[best] / (best + 1)
    spread = math.sqrt(max(float(within[best]), 0.0) / max(n - 2, 1))
    if spread > 0 and gap / spread < least_gap:
        return labels
    labels[values < 0.5 * (ordered[best] + ordered[best + 1])] = 1
    return labels
