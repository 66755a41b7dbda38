"""Radial power spectrum and the frequency at which its signal sinks into the noise.

The method of the beamline paper: 2-D Fourier transform, power integrated over the azimuth, cut-off where
signal meets noise; a cut-off of 25 /um is a period of 40 nm, "a resolution of 20 nm". What it leaves to the
eye is stated here, and there are two ways to know the noise:

``noise="halves"``
    From two independent halves of the exposures, each corrected with darks and flats of its own. With M their
    mean and D half their difference, the structure is in M alone and the noise, whatever its colour (point
    spread of the detector, noise of the flats), is the same in both. Ring by ring the signal's power is
    P(M) - P(D), its ratio to noise r = P(M) / P(D) - 1, and sd(r) = sqrt((r^2 + 4 r + 2) / n) for n
    independent coefficients (complex Gaussian noise, both spectra's scatter and their common part).

``noise="floor"``
    From one image: white noise as strong as the median of the coefficients above `noise_from` of the Nyquist
    frequency, corners included, over ln 2 (power of noise is exponentially distributed), which lines and stray
    signal do not move. Coloured noise passes for signal here: use it only when there is nothing but one image.

The cut-off is where the power stops standing out of the noise by `n_sigma` standard deviations of a ring that
holds noise alone: with halves, where ln(P(M) / P(D)), symmetric about zero without signal, falls through
`n_sigma` sqrt(2 / n). As n counts the coefficients, a larger image of the same kind detects fainter signal.
Besides, a ratio `snr` of signal to noise may be demanded, which does not depend on the size: sqrt(2) - 1 is half
a bit a coefficient, and then the figure is that of `fourier_ring_correlation` by another name.

Photons leave a shallow spectrum near its end: over a fifth of the frequencies the signal stands between one and six
deviations, and a rule that asks single rings would report their chance. So the curve is averaged over a twentieth of
the rings first (what towers over the criterion cut to twice of it, so that a steep end stays where it is), and the
outermost place where the average crosses the criterion is the cut-off. Its uncertainty is how far that place moves
when the rings' known scatter is drawn anew on the averaged curve, with the ring width in quadrature. Nothing is tuned.

The cut-off asks only whether there is power, not whether it is where it belongs: it is blind to defocus, to
contrast reversal and to phase contrast. Judge focus by `siemens_star`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from exitwave.analysis.errors import FitError, ShapeError, require_positive, require_within
from exitwave.analysis.resolution.rings import (
    NYQUIST,
    default_bins,
    fill_dead,
    make_rings,
    windowed_transform,
)

__all__ = ["PowerSpectrum", "power_spectrum"]

Array = npt.NDArray[np.float64]
Noise = Literal["floor", "halves"]


@dataclass(frozen=True)
class PowerSpectrum:
    """Radial power spectrum with its cut-off.

    Attributes
    ----------
    frequency_per_um, power, power_sd : float64 (rings,)
        Mean frequency of each ring, mean power (variance per pixel that white noise of this power would
        have), and the standard deviation that the ring would have if it held noise alone.
    noise_power : float64 (rings,)
        Mean power of the noise, same unit.
    signal_to_noise, signal_to_noise_sd : float64 (rings,)
        Power of the signal over that of the noise, and its standard deviation.
    noise : str
        "halves" or "floor": how the noise is known.
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
    noise_power: Array
    signal_to_noise: Array
    signal_to_noise_sd: Array
    noise: Noise
    cutoff_per_um: float
    cutoff_sd_per_um: float
    half_period_nm: float
    half_period_sd_nm: float
    limited_by: str
    limit_nm: float | None
    beyond_limit: bool
    criterion: str


@dataclass(frozen=True)
class _Spectrum:
    """Ring means: frequency (cycles per pixel), power, noise, effective number of coefficients; and the criterion.

    `excess` is that of the signal over what the criterion demands: it crosses 1 at the cut-off; `excess_sd` is its
    scatter.
    """

    frequency: Array
    power: Array
    noise: Array
    coefficients: Array
    excess: Array
    excess_sd: Array
    criterion: str


def power_spectrum(
    image: npt.NDArray[Any] | tuple[npt.NDArray[Any], npt.NDArray[Any]],
    pixel_nm: float,
    *,
    noise: Noise = "floor",
    limit_nm: float | None = None,
    snr: float | None = None,
    n_sigma: float = 3.0,
    noise_from: float = 0.9,
    noise_floor: float | None = None,
    window: str = "hann",
    n_rings: int | None = None,
) -> PowerSpectrum:
    """Return the radial power spectrum and its cut-off.

    Parameters
    ----------
    image : array (y, x), any real dtype; a pair of them for ``noise="halves"``
        Transmission or optical depth; NaN pixels are filled from their surroundings. The spectrum of a pair is
        that of its mean.
    pixel_nm : float
        Pixel at the sample.
    noise : {"floor", "halves"}
        How the noise is known, see the module.
    limit_nm : float, optional
        Finest half period that the lens passes (half the outermost zone width); finer results are flagged.
    n_sigma : float
        Significance that a ring needs.
    snr : float, optional
        Signal power over noise power that it needs besides; with halves only.
    noise_from, noise_floor
        Where the floor is looked for, as a part of the Nyquist frequency; or the floor itself.
    window : {"hann", "none"}
    n_rings : int, optional
        Rings between 0 and Nyquist; 100, or fewer for small images.

    Raises
    ------
    FitError
        If nothing rises above the noise.
    ShapeError, OutOfRangeError
    """
    pixel = require_positive("pixel", pixel_nm, "nm")
    require_within("noise_from", noise_from, 0.3, 1.0, "of the Nyquist frequency")
    if isinstance(image, tuple) != (noise == "halves"):
        raise ShapeError(f"power spectrum: noise={noise!r} takes {'two images' if noise == 'halves' else 'one image'}")
    if snr is not None:
        require_positive("snr", snr, "(1)")
        if noise != "halves":
            raise ShapeError("power spectrum: a ratio of signal to noise needs noise='halves'")
    if isinstance(image, tuple):
        found = _from_halves(image, snr, n_sigma, window, n_rings)
    else:
        found = _from_floor(image, n_sigma, noise_from, noise_floor, window, n_rings)
    cutoff, spread, limited_by = _cutoff(found, noise_from)
    ratio = found.power / found.noise - 1.0
    half_period = pixel / (2.0 * cutoff)
    half_sd = half_period * spread / cutoff
    return PowerSpectrum(
        frequency_per_um=found.frequency / pixel * 1e3,
        power=found.power,
        power_sd=found.noise / np.sqrt(found.coefficients),
        noise_power=found.noise,
        signal_to_noise=ratio,
        signal_to_noise_sd=_ratio_sd(ratio, found.coefficients, known=noise == "floor"),
        noise=noise,
        cutoff_per_um=cutoff / pixel * 1e3,
        cutoff_sd_per_um=spread / pixel * 1e3,
        half_period_nm=half_period,
        half_period_sd_nm=half_sd,
        limited_by=limited_by,
        limit_nm=limit_nm,
        beyond_limit=limit_nm is not None and half_period + 2.0 * half_sd < limit_nm,
        criterion=found.criterion,
    )


def _ratio_sd(ratio: Array, n: Array, *, known: bool) -> Array:
    """Return the standard deviation of signal over noise; `known`: the noise itself is without error."""
    r = np.maximum(ratio, 0.0)
    return np.sqrt((2.0 * r + 1.0 if known else r * r + 4.0 * r + 2.0) / n)


def _from_halves(
    halves: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    snr: float | None,
    n_sigma: float,
    window: str,
    n_rings: int | None,
) -> _Spectrum:
    first, second = (fill_dead(half) for half in halves)
    if first.shape != second.shape:
        raise ShapeError(f"halves: shapes {first.shape} and {second.shape} differ")
    shape = (first.shape[0], first.shape[1])
    rings = make_rings(shape, n_rings or default_bins(shape))
    (a, factor), (b, _) = windowed_transform(first, window), windowed_transform(second, window)
    count = 2.0 * np.maximum(rings.independent, 0.5)
    n = np.maximum(rings.independent, 0.5) / factor
    power, noise = (rings.power((a + sign * b) * 0.5) / count for sign in (1.0, -1.0))
    # two equal images (no noise at all) still have a ratio
    noise = np.maximum(noise, 1e-12 * power + np.finfo(np.float64).tiny)
    ratio = power / noise - 1.0
    sd = _ratio_sd(ratio, n, known=False)
    # in units of the criterion, so that two criteria make one curve; both rise with the ratio, so they scatter together
    excess = np.log1p(ratio) / np.sqrt(2.0 / n) / n_sigma
    excess_sd = sd / (1.0 + ratio) / np.sqrt(2.0 / n) / n_sigma
    criterion = f"{n_sigma:g} standard deviations of a ring of noise, noise from the difference of two halves"
    if snr is not None:
        by_ratio = ratio / snr < excess
        excess_sd = np.where(by_ratio, sd / snr, excess_sd)
        excess = np.where(by_ratio, ratio / snr, excess)
        criterion = f"signal / noise power of {snr:.3g}, noise from the difference of two halves"
    return _Spectrum(rings.frequency, power, noise, n, excess, excess_sd, criterion)


def _from_floor(
    image: npt.NDArray[Any],
    n_sigma: float,
    noise_from: float,
    noise_floor: float | None,
    window: str,
    n_rings: int | None,
) -> _Spectrum:
    data = fill_dead(image)
    shape = (data.shape[0], data.shape[1])
    transform, factor = windowed_transform(data, window)
    rings = make_rings(shape, n_rings or default_bins(shape))
    power = rings.power(transform) / (2.0 * np.maximum(rings.independent, 0.5))
    if noise_floor is None:
        high = transform[rings.radius >= noise_from * NYQUIST]
        noise_floor = float(np.median(high.real**2 + high.imag**2) / math.log(2.0))
    floor = require_positive("noise floor", noise_floor, "(power)")
    n = np.maximum(rings.independent, 0.5) / factor
    excess = (power / floor - 1.0) * np.sqrt(n) / n_sigma
    criterion = f"excess over a white noise floor of {n_sigma:g} standard deviations of a ring of noise"
    noise, scatter = np.full(len(power), floor), np.full(len(power), 1.0 / n_sigma)
    return _Spectrum(rings.frequency, power, noise, n, excess, scatter, criterion)


DRAWS = 200


def _averaged(values: Array) -> Array:
    """Return an excess (..., rings), cut to 2, averaged over a twentieth of its rings with triangular weights."""
    half = max(1, round(values.shape[-1] / 40))
    weight = np.concatenate((np.arange(1, half + 2), np.arange(half, 0, -1))).astype(np.float64)
    cut = np.minimum(values, 2.0)
    return np.asarray(ndimage.correlate1d(cut, weight / weight.sum(), axis=-1, mode="nearest"), dtype=np.float64)


def _crossing(curve: Array, frequency: Array) -> float:
    """Return the outermost frequency (cycles per pixel) where a curve falls through 1; 0 if it is never above.

    A curve still above in the last ring gives the Nyquist frequency.
    """
    first = max(1, int(0.02 * len(curve)))
    inside = np.flatnonzero(curve[first:] > 1.0)
    if inside.size == 0:
        return 0.0
    last = first + int(inside[-1])
    if last >= len(curve) - 2:
        return NYQUIST
    share = (curve[last] - 1.0) / (curve[last] - curve[last + 1])
    return float(frequency[last] + share * (frequency[last + 1] - frequency[last]))


def _cutoff(found: _Spectrum, noise_from: float) -> tuple[float, float, str]:
    """Return cut-off and its standard deviation, cycles per pixel, and what limits it."""
    ring_width = NYQUIST / len(found.frequency)
    curve = _averaged(found.excess)
    cutoff = _crossing(curve, found.frequency)
    if cutoff == 0.0:
        raise FitError(f"power spectrum: no signal above the noise ({found.criterion})")
    # drawn on the averaged curve where it was cut, on the curve itself where it towers
    smooth = np.where(found.excess > 2.0, found.excess, curve)
    noise = np.random.default_rng(0).normal(size=(DRAWS, len(curve))) * found.excess_sd
    again = np.array([_crossing(row, found.frequency) for row in _averaged(smooth + noise)])
    spread = math.hypot(float(again[again > 0.0].std()), ring_width / math.sqrt(12.0))
    return cutoff, spread, "pixel" if cutoff >= noise_from * NYQUIST else "noise"
