"""Radial power spectrum of one image and the frequency at which it sinks into the noise.

The method of the beamline paper: 2-D Fourier transform, power integrated over the azimuth, cut-off where
signal meets noise; a cut-off of 25 /um is a period of 40 nm, "a resolution of 20 nm". What it leaves to the
eye is stated here:

* noise floor: the mean power above `noise_from` of the Nyquist frequency, corners included, estimated by
the median of
  the coefficients over ln 2 (power of noise is exponentially distributed), which lines and stray signal do
  not move;
* cut-off: the outer end of the outermost pair of neighbouring rings that both exceed the floor by `n_sigma`
standard
  deviations of a ring of pure noise, interpolated to where the excess equals that limit. The standard
  deviation follows from the number of coefficients in the ring: nothing is tuned;
* uncertainty: that standard deviation over the slope of the spectrum at the cut-off, with the ring width in
quadrature.

The cut-off asks only whether there is power, not whether it is where it belongs: it is blind to defocus, to
contrast reversal and to phase contrast. Judge focus by `siemens_star` or `fourier_ring_correlation`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import FitError, require_positive, require_within
from exitwave.analysis.resolution.rings import (
    NYQUIST,
    default_bins,
    fill_dead,
    make_rings,
    windowed_transform,
)

__all__ = ["PowerSpectrum", "power_spectrum"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PowerSpectrum:
    """Radial power spectrum with its cut-off.

    Attributes
    ----------
    frequency_per_um, power, power_sd : float64 (rings,)
        Mean frequency of each ring, mean power (variance per pixel that white noise of this power would
        have), and the standard deviation that the ring would have if it held noise alone.
    noise_floor : float
        Mean power of the noise, same unit.
    cutoff_per_um, cutoff_sd_per_um : float
        Where signal meets noise.
    half_period_nm, half_period_sd_nm : float
        1 / (2 cutoff): the resolution in the sense of the paper.
    limited_by : str
        "noise"; "pixel" when the signal reaches the Nyquist band, so that the true cut-off may be finer.
    limit_nm : float or None
        Finest half period the optics can pass, as given.
    beyond_limit : bool
        The cut-off is finer than `limit_nm` by more than two standard deviations: what is there is not image.
    criterion : str
        In words.
    """

    frequency_per_um: Array
    power: Array
    power_sd: Array
    noise_floor: float
    cutoff_per_um: float
    cutoff_sd_per_um: float
    half_period_nm: float
    half_period_sd_nm: float
    limited_by: str
    limit_nm: float | None
    beyond_limit: bool
    criterion: str


def power_spectrum(
    image: npt.NDArray[Any],
    pixel_nm: float,
    *,
    limit_nm: float | None = None,
    n_sigma: float = 3.0,
    noise_from: float = 0.9,
    noise_floor: float | None = None,
    window: str = "hann",
    n_rings: int | None = None,
) -> PowerSpectrum:
    """Return the radial power spectrum of an image and its cut-off.

    Parameters
    ----------
    image : array (y, x), any real dtype
        Transmission or optical depth; NaN pixels are filled from their surroundings.
    pixel_nm : float
        Pixel at the sample.
    limit_nm : float, optional
        Finest half period that the lens passes (half the outermost zone width); finer results are flagged.
    n_sigma, noise_from, noise_floor
        The criterion, see the module. A floor known otherwise (from the difference of two exposures) may be
        given.
    window : {"hann", "none"}
    n_rings : int, optional
        Rings between 0 and Nyquist; 100, or fewer for small images.

    Raises
    ------
    FitError
        If no two neighbouring rings rise above the noise.
    ShapeError, OutOfRangeError
    """
    pixel = require_positive("pixel", pixel_nm, "nm")
    require_within("noise_from", noise_from, 0.3, 1.0, "of the Nyquist frequency")
    data = fill_dead(image)
    shape = (data.shape[0], data.shape[1])
    transform, factor = windowed_transform(data, window)
    intensity = transform.real**2 + transform.imag**2
    n_bins = n_rings or default_bins(shape)
    rings = make_rings(shape, n_bins)
    counts = np.maximum(rings.independent, 0.5)
    power = rings.sum(intensity) / (2.0 * counts)
    if noise_floor is None:
        noise_floor = float(np.median(intensity[rings.radius >= noise_from * NYQUIST]) / math.log(2.0))
    floor = require_positive("noise floor", noise_floor, "(power)")
    sd = floor * np.sqrt(factor / counts)

    excess = (power - floor) / sd
    first = max(1, int(0.02 * n_bins))
    above = excess > n_sigma
    above[:first] = False
    pairs = np.flatnonzero(above[:-1] & above[1:])
    if pairs.size == 0:
        raise FitError(f"power spectrum: no signal {n_sigma:g} standard deviations above the noise floor {floor:g}")
    last = int(pairs[-1]) + 1
    ring_width = NYQUIST / n_bins
    if last >= n_bins - 1:
        cutoff, spread, limited_by = NYQUIST, ring_width, "pixel"
    else:
        cutoff, slope = _crossing(rings.frequency, excess, last, n_sigma)
        spread = math.hypot(1.0 / slope, ring_width / math.sqrt(12.0))
        cutoff = min(cutoff, NYQUIST)
        limited_by = "pixel" if cutoff >= noise_from * NYQUIST else "noise"
    half_period = pixel / (2.0 * cutoff)
    half_sd = half_period * spread / cutoff
    return PowerSpectrum(
        frequency_per_um=rings.frequency / pixel * 1e3,
        power=power,
        power_sd=sd,
        noise_floor=floor,
        cutoff_per_um=cutoff / pixel * 1e3,
        cutoff_sd_per_um=spread / pixel * 1e3,
        half_period_nm=half_period,
        half_period_sd_nm=half_sd,
        limited_by=limited_by,
        limit_nm=limit_nm,
        beyond_limit=limit_nm is not None and half_period + 2.0 * half_sd < limit_nm,
        criterion=(
            f"outermost two neighbouring rings that exceed the noise floor by {n_sigma:g} standard "
            "deviations "
            "of a ring of noise"
        ),
    )


def _crossing(frequency: Array, excess: Array, last: int, level: float) -> tuple[float, float]:
    """Interpolate where the excess falls through `level` between rings last and last + 1.

    The slope, in standard deviations per frequency, is taken over up to three rings to each side.
    """
    e0, e1 = float(excess[last]), float(excess[last + 1])
    f0, f1 = float(frequency[last]), float(frequency[last + 1])
    cutoff = f0 + (f1 - f0) * min(1.0, (e0 - level) / max(e0 - e1, 1e-12))
    near = slice(max(0, last - 2), min(len(excess), last + 4))
    slope = -float(np.polyfit(frequency[near], np.minimum(excess[near], 10 * level), 1)[0])
    return cutoff, max(slope, 1.0 / float(frequency[last]))
