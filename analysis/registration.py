"""How far one image is shifted against another, to a small part of a pixel, with an uncertainty.

The coarse shift is the peak of the phase correlation (C. D. Kuglin and D. C. Hines, Proc. IEEE Int. Conf.
Cybern. Soc., 163 (1975)), in float32. It is then removed, and the slope of what remains of the
cross-spectrum's phase gives the rest by weighted least squares (H. S. Stone et al., IEEE Trans. Geosci.
Remote Sens. 39, 2235 (2001)).

A change of contrast between the images (across an absorption edge, say) does not matter as long as it keeps
its sign; reversed contrast turns all phases by pi and is refused as a low peak.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

from exitwave.analysis.errors import FitError, ShapeError
from exitwave.analysis.resolution.rings import fill_dead

__all__ = ["Shift", "register", "shift_image"]

Complex = npt.NDArray[np.complex64]


@dataclass(frozen=True)
class Shift:
    """Shift of features from the reference to the moving image, pixels; `peak` is the phase correlation, 0 to 1."""

    dy: float
    dx: float
    dy_sd: float
    dx_sd: float
    peak: float


def _spectrum(image: npt.NDArray[np.float32]) -> Complex:
    wy, wx = (np.hanning(n + 2)[1:-1].astype(np.float32) for n in image.shape)
    return np.asarray(fft.rfft2((image - image.mean()) * wy[:, None] * wx[None, :], workers=-1), dtype=np.complex64)


def register(
    reference: npt.NDArray[Any],
    moving: npt.NDArray[Any],
    *,
    max_shift_px: float | None = None,
    highest_frequency: float = 0.25,
) -> Shift:
    """Return the shift (dy, dx) with ``moving(y, x) = reference(y - dy, x - dx)``.

    Parameters
    ----------
    reference, moving : array (y, x) of one shape, at least 32 x 32
        NaN pixels are filled from their surroundings.
    max_shift_px : float, optional
        Largest shift to look for; a quarter of the image if not given (the rest has too little in common).
    highest_frequency : float
        Cycles per pixel, at most 0.5: leave out what holds only noise.

    Raises
    ------
    FitError
        When no peak stands out of the correlation.
    ShapeError
    """
    a = fill_dead(reference).astype(np.float32)
    b = fill_dead(moving).astype(np.float32)
    if a.shape != b.shape:
        raise ShapeError(f"images: shapes {a.shape} and {b.shape} differ")
    reach = min(a.shape) / 4.0 if max_shift_px is None else float(max_shift_px)
    fy = fft.fftfreq(a.shape[0]).astype(np.float32)[:, None]
    fx = fft.rfftfreq(a.shape[1]).astype(np.float32)[None, :]
    radius = np.hypot(fy, fx)
    window = np.exp(-0.5 * (radius / (0.5 * highest_frequency)) ** 2) * (radius > 0)

    cross = _spectrum(a).conj() * _spectrum(b)
    size = np.abs(cross)
    white = cross / (size + 1e-3 * float(size.mean()) + 1e-30)
    surface = fft.irfft2(white * window, s=a.shape, workers=-1) / (window.sum() * 2.0 / a.size)
    iy, ix = fft.fftfreq(a.shape[0], 1.0 / a.shape[0]), fft.fftfreq(a.shape[1], 1.0 / a.shape[1])
    allowed = np.hypot(iy[:, None], ix[None, :]) <= reach
    surface = np.where(allowed, surface, -np.inf)
    best = np.unravel_index(int(np.argmax(surface)), surface.shape)
    peak = float(surface[best])
    spread = float(surface[allowed].std())
    if peak < 6.0 * spread:
        raise FitError(f"registration: peak {peak:.3g} does not stand out of the correlation ({spread:.3g})")
    y0, x0 = round(iy[best[0]]), round(ix[best[1]])

    # two rounds on the overlap: the second starts from the whole shift, rounded again
    for _ in range(2):
        part_a, part_b = _overlap(a, b, y0, x0)
        dy, dx, dy_sd, dx_sd = _slope(part_a, part_b, highest_frequency)
        if abs(dy) <= 0.75 and abs(dx) <= 0.75:
            break
        y0, x0 = y0 + round(dy), x0 + round(dx)
    return Shift(y0 + dy, x0 + dx, dy_sd, dx_sd, min(peak, 1.0))


def _overlap(
    a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], dy: int, dx: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Cut both images to what they share after an integer shift."""
    ny, nx = a.shape
    part_b = b[max(dy, 0) : ny + min(dy, 0), max(dx, 0) : nx + min(dx, 0)]
    part_a = a[max(-dy, 0) : ny + min(-dy, 0), max(-dx, 0) : nx + min(-dx, 0)]
    if min(part_a.shape) < 16:
        raise FitError(f"registration: a shift of ({dy}, {dx}) pixels leaves no overlap")
    return part_a, part_b


def _slope(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], highest: float) -> tuple[float, float, float, float]:
    """Fit the phase -2 pi (fy dy + fx dx) of the cross-spectrum; return dy, dx and their deviations."""
    cross = _spectrum(a).conj() * _spectrum(b)
    fy = fft.fftfreq(a.shape[0])[:, None]
    fx = fft.rfftfreq(a.shape[1])[None, :]
    radius = np.hypot(fy, fx)
    use = (radius > 0) & (radius <= highest)
    c = cross[use].astype(np.complex128)
    gy = np.broadcast_to(fy, cross.shape)[use] * 2.0 * math.pi
    gx = np.broadcast_to(fx, cross.shape)[use] * 2.0 * math.pi
    # amplitude weights, tamed so that the few lowest frequencies do not decide alone
    w = np.sqrt(np.abs(c))
    w /= w.sum()
    # Newton steps to the maximum of sum w cos(phase), the weighted cross-correlation: noise, whose phase is anything,
    # contributes sines that cancel and cosines that do not count
    g = np.stack([gy, gx])
    shift = np.zeros(2)
    for _ in range(12):
        phase = np.angle(c) + g.T @ shift
        score = w * np.sin(phase)
        hessian = (g * (w * np.cos(phase))) @ g.T
        if np.linalg.det(hessian) <= 0.0 or np.trace(hessian) <= 0.0:
            raise FitError("registration: the phases do not agree on a shift")
        step = np.linalg.solve(hessian, g @ score)
        shift -= step
        if np.hypot(*step) < 1e-5:
            break
    # sandwich covariance from the scatter of the sines; 35/18 per axis: neighbours made alike by the Hann window
    inverse = np.linalg.inv(hessian)
    scatter = g * score
    covariance = inverse @ (scatter @ scatter.T) @ inverse * (35.0 / 18.0) ** 2
    dy, dx = shift
    return float(dy), float(dx), math.sqrt(covariance[0, 0]), math.sqrt(covariance[1, 1])


def shift_image(image: npt.NDArray[Any], dy: float, dx: float) -> npt.NDArray[np.float32]:
    """Return the image (y, x) with its features moved by (dy, dx) pixels: Fourier interpolation, periodic, float32."""
    data = np.asarray(image, dtype=np.float32)
    fy = fft.fftfreq(data.shape[0])[:, None]
    fx = fft.rfftfreq(data.shape[1])[None, :]
    turned = fft.rfft2(data) * np.exp(-2j * math.pi * (fy * dy + fx * dx)).astype(np.complex64)
    return np.asarray(fft.irfft2(turned, s=data.shape), dtype=np.float32)
