"""Filters for pictures of columns, to look at. Widths are measured on raw counts (`fit_columns`)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import fft

from exitwave.analysis.errors import ShapeError, require_positive

__all__ = ["radial_median", "wiener"]

Array = npt.NDArray[np.float64]


def _radius(shape: tuple[int, ...]) -> Array:
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    return np.asarray(np.hypot(fy, fx))


def radial_median(power: Array, radius: Array, bins: int) -> Array:
    """Return the background of a power spectrum: the median of each ring as a mean of exponential noise."""
    ring = np.minimum((radius * 2.0 * bins).astype(int), bins - 1)
    order = np.argsort(ring, axis=None, kind="stable")
    edges = np.searchsorted(ring.ravel()[order], np.arange(bins + 1))
    values = power.ravel()[order]
    centres, medians = [], []
    for k in range(bins):
        part = values[edges[k] : edges[k + 1]]
        if part.size >= 4:
            centres.append((k + 0.5) / (2.0 * bins))
            medians.append(float(np.median(part)) / np.log(2.0))
    if not centres:
        return np.full_like(power, float(np.median(power)))
    return np.asarray(np.interp(radius, centres, medians))


def wiener(
    counts: npt.ArrayLike, noise: Literal["poisson", "flat", "radial", "paper"] | float = "poisson"
) -> npt.NDArray[np.float32]:
    """Return a Wiener-filtered picture: each frequency weighed by signal power / (signal + noise power).

    Parameters
    ----------
    counts : array (rows, cols)
    noise : {"poisson", "flat", "radial", "paper"} or float
        What is known of the noise. ``"poisson"``: variance = mean, for raw counts. ``"flat"``: white, estimated
        beyond half of the Nyquist frequency. ``"radial"``: the median of each ring of the power spectrum, so
        that only what stands out of it, lattice spots, is kept (R. Kilaas, J. Microsc. 190, 45 (1998)).
        ``"paper"``: as ANXRI was published (Sci. China Mater. 63, 1788 (2020)): the paper names the filter and not its
        noise; ``"radial"`` is what the usual program for such pictures does, and is taken. A number: variance
        per pixel.

    Returns
    -------
    float32 array (rows, cols)
        A picture. It is smoother than its counts, and its columns have another width.

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    image = np.asarray(counts, np.float64)
    if image.ndim != 2 or min(image.shape) < 8 or not np.isfinite(image).all():
        raise ShapeError(f"wiener: expected a finite map of at least 8 x 8 pixels, got shape {image.shape}")
    mean = image.mean()
    spectrum = fft.rfft2(image - mean, workers=-1)
    power = np.abs(spectrum) ** 2 / image.size
    radius = _radius(image.shape)
    if noise == "poisson":
        level: Array = np.full_like(power, mean)
    elif noise == "flat":
        level = np.full_like(power, np.median(power[radius > 0.25]) / np.log(2.0))
    elif noise in ("radial", "paper"):
        level = radial_median(power, radius, max(8, min(image.shape) // 4))
    else:
        level = np.full_like(power, require_positive("noise", float(noise), "counts^2"))
    # the signal's power is that of a few neighbouring frequencies: one alone is noise itself
    weight = np.maximum(1.0 - level / np.maximum(power, 1e-30), 0.0)
    return np.asarray(fft.irfft2(spectrum * weight, image.shape, workers=-1) + mean, np.float32)
