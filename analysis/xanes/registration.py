"""The displacement between two images of one thing whose contrast differs, and its uncertainty.

The coarse peak is a phase correlation (C. D. Kuglin and D. C. Hines, Proc. IEEE Int. Conf. Cybern. Soc., 163
(1975)) in float32. A change of contrast moves the phases of the spectrum at random, strong frequencies as much as
weak ones; so a frequency counts by the inverse of ``mismatch^2 + noise / signal``: all that stand out of the noise
count nearly alike, and the randomness averages out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

from exitwave.analysis.errors import FitError
from exitwave.analysis.xanes import _stack_kernels as kernels

__all__ = ["Registration", "Spectrum"]

Array = npt.NDArray[np.float64]
Spectrum = tuple[npt.NDArray[np.complex64], float]
"""Of an image on the band, and the amplitude of the noise."""
HANN_SHARE = 35.0 / 18.0
"""Per axis: neighbours in the spectrum made alike by the Hann window."""


class Registration:
    """Spectra on a common band, and the displacement between two of them."""

    def __init__(self, shape: tuple[int, int], highest: float, mismatch: float, reach_px: float):
        self.window = (np.hanning(shape[0] + 2)[1:-1, None] * np.hanning(shape[1] + 2)[None, 1:-1]).astype(np.float32)
        fy, fx = fft.fftfreq(shape[0]), fft.rfftfreq(shape[1])
        # the band is kept as a smaller transform: rows and columns up to the highest frequency
        self.rows = np.flatnonzero(np.abs(fy) <= highest)
        self.columns = int((fx <= highest).sum())
        self.fy, self.fx = fy[self.rows], fx[: self.columns]
        radius = np.hypot(self.fy[:, None], self.fx[None, :])
        inside = (radius > 0) & (radius <= highest)
        soft = np.exp(-0.5 * (radius / (0.5 * highest)) ** 2)
        # columns beyond the first stand for two frequencies each
        self.inside = inside.astype(np.float32) * np.where(np.arange(self.columns) > 0, 2.0, 1.0).astype(np.float32)
        self.white = np.where(inside, soft, 0.0).astype(np.float32)
        self.empty = np.hypot(fy[:, None], fx[None, :]) > 0.45
        self.shape, self.reach_px, self.mismatch = shape, reach_px, mismatch

    def spectrum(self, image: npt.NDArray[np.float32]) -> Spectrum:
        """Return the spectrum on the band, and the amplitude of the noise: that beyond the optics' reach."""
        known = np.isfinite(image)
        level = np.float32(image[known].mean()) if known.any() else np.float32(0.0)
        filled = np.where(known, image - level, np.float32(0.0)) * self.window
        whole = fft.rfft2(filled, workers=-1)
        noise = float(np.sqrt(np.mean(np.abs(whole[self.empty]) ** 2, dtype=np.float64)))
        return np.asarray(whole[self.rows, : self.columns], dtype=np.complex64), noise

    def coarse(self, cross: npt.NDArray[np.complex64]) -> Array:
        """Return the peak of the phase correlation, to a pixel of the band's own grid."""
        size = np.abs(cross)
        white = cross / (size + 1e-3 * float(size.mean()) + 1e-30) * self.white
        small = (len(self.rows), 2 * (self.columns - 1) + (len(self.rows) % 2))
        surface = fft.irfft2(white, s=small, workers=-1)
        step = np.array([self.shape[0] / small[0], self.shape[1] / small[1]])
        iy, ix = (fft.fftfreq(n, 1.0 / n) * s for n, s in zip(small, step, strict=True))
        allowed = np.hypot(iy[:, None], ix[None, :]) <= self.reach_px
        held = np.where(allowed, surface, -np.inf)
        best = np.unravel_index(int(np.argmax(held)), small)
        if held[best] < 5.0 * surface.std():
            raise FitError(
                f"alignment: no peak within {self.reach_px:g} px stands out of the correlation; "
                "take a region with the sample in it, or more exposure"
            )
        return np.array([iy[best[0]], ix[best[1]]])

    def between(
        self,
        first: Spectrum,
        second: Spectrum,
        start: bool,
    ) -> tuple[Array, Array]:
        """Return how far the second stands displaced against the first, (dy, dx), and the covariance (2, 2)."""
        cross = first[0].conj() * second[0]
        size = np.abs(cross)
        scale = float(size.mean())
        scale = scale if scale > 0.0 else 1.0
        cross, size = cross / np.float32(scale), size / np.float32(scale)
        floor = max(first[1] * second[1] / scale, 1e-6)
        weight = self.inside / (np.float32(self.mismatch**2) * size + np.float32(floor))
        shift = self.coarse(cross) if start else np.zeros(2)
        sums = np.empty(8)
        for _ in range(20):
            kernels.phase_sums(cross, self.fy, self.fx, weight, shift, sums)
            hessian = np.array([[sums[2], sums[3]], [sums[3], sums[4]]])
            if not (np.linalg.det(hessian) > 0.0 and hessian[0, 0] > 0.0):
                raise FitError("alignment: the phases of two energies do not agree on a displacement")
            move = np.linalg.solve(hessian, sums[:2])
            length = float(np.hypot(*move))
            move *= min(1.0, 1.0 / max(length, 1e-30))
            shift = shift - move
            if length < 1e-4:
                break
        inverse = np.linalg.inv(hessian)
        scatter = np.array([[sums[5], sums[6]], [sums[6], sums[7]]])
        return shift, inverse @ scatter @ inverse * HANN_SHARE**2
