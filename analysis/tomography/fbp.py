"""Filtered back-projection in space, with linear interpolation: the reference."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

from exitwave.analysis.compiled import n_threads
from exitwave.analysis.tomography._rays import MARGIN
from exitwave.analysis.tomography.filters import filter_response, padded_length
from exitwave.analysis.tomography.geometry import Geometry, angular_weights
from exitwave.analysis.tomography.projector import Rays, lanes_for, pack, unpack

__all__ = ["FbpPlan", "filter_rows"]

Array32 = npt.NDArray[np.float32]


def filter_rows(sinograms: Array32, response: Array32, *, edge: bool = False) -> Array32:
    """Return sinograms (..., column) filtered by `response` (length // 2 + 1), padded with nothing or their edges."""
    width = sinograms.shape[-1]
    length = 2 * (response.shape[-1] - 1)
    if edge:
        right = (length - width) // 2
        pad = [(0, 0)] * (sinograms.ndim - 1) + [(length - width - right, right)]
        rows, left = np.pad(sinograms, pad, mode="edge"), length - width - right
    else:
        rows, left = sinograms, 0
    spectrum = fft.rfft(rows, length, axis=-1, workers=n_threads())
    spectrum *= response
    return np.asarray(fft.irfft(spectrum, length, axis=-1, workers=n_threads())[..., left : left + width])


class FbpPlan:
    """What the slices of one geometry share; parameters as those of `FourierPlan`."""

    def __init__(
        self,
        geometry: Geometry,
        size: int,
        *,
        filter_name: str = "ramp",
        cutoff: float = 1.0,
        edge: bool = False,
    ) -> None:
        self._rays = Rays(geometry, (size, size))
        self._edge = edge
        response = filter_response(padded_length(geometry.width), filter_name, cutoff)
        weights = angular_weights(geometry.angles_deg)
        self._response = (weights[:, None] * response[None, :]).astype(np.float32)

    def __call__(self, sinograms: Array32, out: Array32) -> None:
        """Reconstruct sinograms (slice, angle, column) into `out` (slice, z, x)."""
        lanes = lanes_for(len(sinograms))
        sino = self._rays.sinogram(lanes)
        for start in range(0, len(sinograms), lanes):
            part = filter_rows(sinograms[start : start + lanes], self._response, edge=self._edge)
            pack(part, sino, MARGIN[0])
            unpack(self._rays.back(sino, joseph=False), out[start : start + lanes])
