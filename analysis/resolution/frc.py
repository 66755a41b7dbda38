"""Fourier ring correlation of two independent exposures of the same view.

Unlike the power spectrum it asks whether two exposures agree, so camera noise cannot pass for structure;
like it, it does not mind reversed contrast, which is the same in both. Both exposures must have their own
noise: two images divided by the same noisy flat correlate through it.

M. van Heel and M. Schatz, J. Struct. Biol. 151, 250 (2005): half-bit curve, eq. 17;
P. B. Rosenthal and R. Henderson, J. Mol. Biol. 333, 721 (2003): 0.143 = 1/7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import ShapeError, require_positive
from exitwave.analysis.resolution.rings import (
    NYQUIST,
    default_bins,
    fill_dead,
    make_rings,
    windowed_transform,
)

__all__ = ["Correlation", "RingCorrelation", "crossing", "fourier_ring_correlation", "half_bit_threshold"]

Array = npt.NDArray[np.float64]
ONE_SEVENTH = 1.0 / 7.0


@dataclass(frozen=True)
class Correlation:
    """Correlation of Fourier coefficients by frequency, with the half periods at which it crosses two thresholds.

    `correlation_sd` is (1 - F^2) / sqrt(2 n) with n independent complex coefficients per ring or shell. A half
    period equal to the pixel means that no crossing was found below Nyquist (`limited_by_pixel_*`); its
    standard deviation is then that of a ring.
    """

    frequency_per_um: Array
    correlation: Array
    correlation_sd: Array
    half_bit: Array
    half_bit_nm: float
    half_bit_sd_nm: float
    limited_by_pixel_half_bit: bool
    one_seventh_nm: float
    one_seventh_sd_nm: float
    limited_by_pixel_one_seventh: bool

    @classmethod
    def of_curve(cls, frequency: Array, correlation: Array, independent: Array, pixel_nm: float) -> Self:
        """Find the crossings of a curve: frequencies in cycles per pixel, independent coefficients of each point."""
        sd = (1.0 - correlation**2) / np.sqrt(2.0 * independent)
        half_bit = half_bit_threshold(independent)
        bit = crossing(frequency, correlation, sd, half_bit)
        seventh = crossing(frequency, correlation, sd, np.full(len(independent), ONE_SEVENTH))
        return cls(
            frequency_per_um=frequency / pixel_nm * 1e3,
            correlation=correlation,
            correlation_sd=sd,
            half_bit=half_bit,
            half_bit_nm=pixel_nm / (2.0 * bit[0]),
            half_bit_sd_nm=pixel_nm / (2.0 * bit[0]) * bit[1] / bit[0],
            limited_by_pixel_half_bit=bit[0] >= NYQUIST,
            one_seventh_nm=pixel_nm / (2.0 * seventh[0]),
            one_seventh_sd_nm=pixel_nm / (2.0 * seventh[0]) * seventh[1] / seventh[0],
            limited_by_pixel_one_seventh=seventh[0] >= NYQUIST,
        )


class RingCorrelation(Correlation):
    """Fourier ring correlation of two images."""


def fourier_ring_correlation(
    first: npt.NDArray[Any],
    second: npt.NDArray[Any],
    pixel_nm: float,
    *,
    window: str = "hann",
    n_rings: int | None = None,
) -> RingCorrelation:
    """Return the Fourier ring correlation of two images (y, x) of one shape, registered to each other.

    The crossing is where the curve, once it has been above the threshold for two rings running, is below it
    for two rings running. A curve that never rises above it gives the coarsest half period there is.

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    pixel = require_positive("pixel", pixel_nm, "nm")
    a, b = fill_dead(first), fill_dead(second)
    if a.shape != b.shape:
        raise ShapeError(f"images: shapes {a.shape} and {b.shape} differ")
    shape = (a.shape[0], a.shape[1])
    fa, factor = windowed_transform(a, window)
    fb, _ = windowed_transform(b, window)
    rings = make_rings(shape, n_rings or default_bins(shape))
    cross = rings.sum((fa * fb.conj()).real)
    norm = np.sqrt(rings.sum(np.abs(fa) ** 2) * rings.sum(np.abs(fb) ** 2))
    correlation = cross / np.maximum(norm, np.finfo(np.float64).tiny)
    n = np.maximum(rings.independent / factor, 1.0)
    return RingCorrelation.of_curve(rings.frequency, correlation, n, pixel)


def half_bit_threshold(independent: Array) -> Array:
    """Return the half-bit curve for rings or shells of so many independent coefficients."""
    root = np.sqrt(independent)
    return (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)


def crossing(frequency: Array, correlation: Array, sd: Array, threshold: Array) -> tuple[float, float]:
    """Return where the curve first falls below the threshold to stay, and its sd, cycles per pixel."""
    width = NYQUIST / len(frequency)
    gap = correlation - threshold
    below = gap < 0
    # a specimen need not have anything coarse: the curve counts from where it first rises above the threshold;
    # the two innermost rings have only a handful of coefficients
    above = ~below
    rises = np.flatnonzero(above[2:-1] & above[3:]) + 2
    if rises.size == 0:
        return float(frequency[0]), width
    start = int(rises[0])
    hits = np.flatnonzero(below[start:-1] & below[start + 1 :]) + start
    if hits.size == 0:
        return NYQUIST, width
    k = int(hits[0])
    f0, f1, g0, g1 = frequency[k - 1], frequency[k], gap[k - 1], gap[k]
    crossing = float(f0 + (f1 - f0) * g0 / (g0 - g1)) if g0 > 0 else float(f1)
    near = slice(max(0, k - 3), min(len(gap), k + 3))
    slope = -float(np.polyfit(frequency[near], gap[near], 1)[0])
    return crossing, math.hypot(float(sd[k]) / max(slope, 1e-6), width / math.sqrt(12.0))
