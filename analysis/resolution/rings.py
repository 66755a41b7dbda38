"""Windowed Fourier transforms and their rings, shared by the spectral measures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from exitwave.analysis.errors import ShapeError

__all__ = ["NYQUIST", "Rings", "default_bins", "fill_dead", "make_rings", "windowed_transform"]

NYQUIST = 0.5
"""Highest frequency of a pixel grid along an axis, cycles per pixel."""

Array = npt.NDArray[np.float64]


def fill_dead(image: npt.NDArray[Any], *, largest_share: float = 0.2) -> Array:
    """Return the image as float64 with non-finite pixels filled from their surroundings (Gaussian mean).

    Raises
    ------
    ShapeError
        If it is not (y, x) of at least 32 x 32, or more than `largest_share` of it is dead: too little to
        judge.
    """
    data = np.array(image, dtype=np.float64)
    if data.ndim != 2 or min(data.shape) < 32:
        raise ShapeError(f"image: expected (y, x) of at least 32 x 32 pixels, got {data.shape}")
    good = np.isfinite(data)
    dead = 1.0 - good.mean()
    if dead > largest_share:
        raise ShapeError(f"image: {100 * dead:.3g} % of the pixels are not finite, limit {100 * largest_share:g} %")
    if dead == 0.0:
        return data
    data[~good] = 0.0
    weight = ndimage.gaussian_filter(good.astype(np.float64), 1.5)
    local = ndimage.gaussian_filter(data, 1.5)
    mean = data.sum() / good.sum()
    filled = np.where(weight > 1e-3, local / np.maximum(weight, 1e-3), mean)
    data[~good] = filled[~good]
    return data


def windowed_transform(image: Array, window: str) -> tuple[npt.NDArray[np.complex128], float]:
    """Return the half-plane FFT of the image times a window, and the variance factor of ring means.

    The transform is scaled so that white noise of variance v has a mean power of v. `window` is "hann"
    (edges that do not match leak nowhere) or "none" (for periodic images). A window makes neighbouring
    coefficients alike, so a mean over n of them has ``factor`` = N sum(w^4) / sum(w^2)^2 times the variance
    of n independent ones.
    """
    if window == "hann":
        wy, wx = (np.hanning(n + 2)[1:-1] for n in image.shape)
        w = wy[:, None] * wx[None, :]
    elif window == "none":
        w = np.ones_like(image)
    else:
        raise ShapeError(f"window {window!r}: must be 'hann' or 'none'")
    energy = float((w * w).sum())
    mean = float((image * w).sum() / w.sum())
    transform = fft.rfft2((image - mean) * w, workers=-1) / np.sqrt(energy)
    return transform, float(image.size * (w**4).sum() / energy**2)


@dataclass(frozen=True)
class Rings:
    """Which ring each Fourier coefficient of an ``rfft2`` half plane belongs to.

    Rings beyond `n_bins` (the corners, above Nyquist) and the cross of axes (which collects row and column
    artefacts of cameras) have the index -1; `slot` is the index plus one. `weight`: how often a coefficient of the
    half plane stands in the full one.
    """

    slot: npt.NDArray[np.intp]
    radius: Array
    frequency: Array
    independent: Array
    weight: Array

    @property
    def index(self) -> npt.NDArray[np.intp]:
        """Ring of each coefficient, -1 for none."""
        return self.slot - 1

    def sum(self, values: npt.NDArray[Any]) -> Array:
        """Sum real `values` of the half plane over the full rings."""
        weighted = (values * self.weight).ravel()
        total = np.bincount(self.slot.ravel(), weights=weighted, minlength=len(self.frequency) + 1)
        return np.asarray(total[1:], dtype=np.float64)

    def power(self, transform: npt.NDArray[np.complex128]) -> Array:
        """Sum the squared magnitude of a half-plane transform over the full rings."""
        return self.sum(transform.real**2 + transform.imag**2)


@lru_cache(maxsize=2)
def make_rings(shape: tuple[int, int], n_bins: int) -> Rings:
    """Divide 0..Nyquist (cycles per pixel) into `n_bins` rings of one width; remembered, not to be changed."""
    fy = fft.fftfreq(shape[0])[:, None]
    fx = fft.rfftfreq(shape[1])[None, :]
    radius = np.hypot(fy, fx)
    slot = (radius / NYQUIST * n_bins).astype(np.intp) + 1
    on_axis = np.abs(fy) < 0.5 / shape[0]
    on_axis = on_axis | (np.abs(fx) < 0.5 / shape[1])
    slot[(slot > n_bins) | on_axis] = 0
    column = np.full(radius.shape[1], 2.0)
    column[0] = 1.0
    if shape[1] % 2 == 0:
        column[-1] = 1.0
    weight = np.broadcast_to(column, radius.shape)
    empty = np.zeros(n_bins)
    rings = Rings(slot, radius, empty, empty, weight)
    full = rings.sum(np.ones_like(radius))
    grid = (np.arange(n_bins) + 0.5) / n_bins * NYQUIST
    frequency = np.where(full > 0, rings.sum(radius) / np.maximum(full, 1.0), grid)
    return Rings(slot, radius, frequency, full / 2.0, weight)


def default_bins(shape: tuple[int, int]) -> int:
    """Return a number of rings that leaves every one at least two coefficients wide, and at most 100."""
    return int(min(100, min(shape) // 4))
