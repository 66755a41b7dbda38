"""The shift of a lattice, or of anything else, that is known to be small: where the cross-correlation is highest.

Phase correlation (`exitwave.analysis.registration`) gives every frequency the same say, which in a picture of a
lattice is noise but for a few. The plain cross-correlation weighs them by their power; its many peaks, a lattice
spacing apart, are told apart by how far the shift may be.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

from exitwave.analysis.errors import FitError, ShapeError, require_positive
from exitwave.analysis.registration import Shift

__all__ = ["small_shift"]

_LEAST_CORRELATION = 0.05


def small_shift(reference: npt.NDArray[Any], moving: npt.NDArray[Any], *, reach_px: float) -> Shift:
    """Return the shift (dy, dx) of features from the reference to the moving image, at most `reach_px`.

    The maximum of the cross-correlation of both under a Hann window, found by Newton's method on its Fourier series;
    standard deviations from the scatter of the phases of the cross-spectrum. `peak` is the correlation coefficient.
    The window pulls the result towards zero by about the square of (column's width / image's width): it is meant to
    be measured again after the shift was followed.

    Parameters
    ----------
    reference, moving : array (rows, columns) of one shape, at least 16 x 16
    reach_px : float
        In a lattice less than half of its spacing.

    Raises
    ------
    FitError
        The images have nothing in common, or are shifted farther than that.
    ShapeError, OutOfRangeError
    """
    a, b = np.asarray(reference, np.float64), np.asarray(moving, np.float64)
    if a.shape != b.shape or a.ndim != 2 or min(a.shape) < 16:
        raise ShapeError(f"drift: expected two images of one shape, at least 16 x 16, got {a.shape} and {b.shape}")
    reach = require_positive("reach_px", reach_px, "px")
    rows, columns = a.shape
    window = np.outer(np.hanning(rows + 2)[1:-1], np.hanning(columns + 2)[1:-1])
    spectra = []
    for image in (a, b):
        centred = (image - np.average(image, weights=window)) * window
        spectra.append(fft.rfft2(centred, workers=-1))
    cross = spectra[0].conj() * spectra[1]
    power = math.sqrt(math.prod(float(np.sum(_double(np.abs(s) ** 2, columns))) for s in spectra))
    surface = fft.irfft2(cross, s=a.shape, workers=-1)
    iy, ix = fft.fftfreq(rows, 1.0 / rows), fft.fftfreq(columns, 1.0 / columns)
    allowed = np.hypot(iy[:, None], ix[None, :]) <= reach
    best = np.unravel_index(int(np.argmax(np.where(allowed, surface, -np.inf))), surface.shape)
    peak = float(surface[best]) * rows * columns / power if power > 0.0 else 0.0
    if not peak > _LEAST_CORRELATION:
        raise FitError(f"drift: images correlate by {peak:.2g} only within {reach:.3g} pixels")
    shift, sd = _refine(cross, np.array([iy[best[0]], ix[best[1]]]), a.shape)
    if not np.hypot(*shift) <= reach + 1.0:
        raise FitError(f"drift: no maximum of the correlation within {reach:.3g} pixels; the images are farther apart")
    return Shift(float(shift[0]), float(shift[1]), float(sd[0]), float(sd[1]), min(peak, 1.0))


def _double(values: npt.NDArray[np.float64], columns: int) -> npt.NDArray[np.float64]:
    """Count the frequencies that the half spectrum of a real image leaves out."""
    doubled = 2.0 * values
    doubled[:, 0] = values[:, 0]
    if columns % 2 == 0:
        doubled[:, -1] = values[:, -1]
    return doubled


def _refine(
    cross: npt.NDArray[np.complex128], start: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    fy, fx = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None, :]
    weight = _double(np.abs(cross), shape[1]).ravel()
    g = 2.0 * math.pi * np.stack([np.broadcast_to(f, cross.shape).ravel() for f in (fy, fx)])
    phase0, shift = np.angle(cross).ravel(), start.copy()
    for _ in range(20):
        phase = phase0 + g.T @ shift
        score = g @ (weight * np.sin(phase))
        hessian = (g * (weight * np.cos(phase))) @ g.T
        if np.linalg.det(hessian) <= 0.0 or np.trace(hessian) <= 0.0:
            raise FitError("drift: the correlation has no maximum there")
        step = np.linalg.solve(hessian, score)
        shift -= step
        if np.hypot(*step) < 1e-5:
            break
    inverse = np.linalg.inv(hessian)
    scatter = g * (weight * np.sin(phase0 + g.T @ shift))
    # 35/18 for each axis: neighbours that the Hann window made alike; twice the same for mirrored frequencies.
    covariance = inverse @ (scatter @ scatter.T) @ inverse * (35.0 / 18.0) ** 2
    return shift, np.sqrt(np.diag(covariance))
