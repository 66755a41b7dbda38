"""Spectra and maps that grow while photons arrive."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from exitwave.analysis.eds import _kernels
from exitwave.analysis.eds.axis import EnergyAxis, EnergyWindow
from exitwave.analysis.eds.maps import window_table
from exitwave.analysis.errors import OutOfRangeError, ShapeError

__all__ = ["Accumulator"]


class Accumulator:
    """Running sums for a live display: one pass over each batch, no allocation.

    Parameters
    ----------
    shape : (rows, columns)
    axis : EnergyAxis
    windows : sequence of EnergyWindow
    n_segments : int

    Attributes
    ----------
    spectra : int64 array (segments, n_channels)
    maps : uint32 array (windows, rows, columns)
    total : uint32 array (rows, columns)
        All photons, whatever their energy.
    n_events : int
    """

    def __init__(self, shape: tuple[int, int], axis: EnergyAxis, windows: Sequence[EnergyWindow], n_segments: int = 1):
        rows, cols = shape
        if rows < 1 or cols < 1 or not 1 <= n_segments <= 255:
            raise ShapeError(f"accumulator: shape {shape} and {n_segments} segments")
        self.axis, self.windows, self.shape = axis, tuple(windows), (rows, cols)
        self._which = window_table(axis, windows)
        self.spectra = np.zeros((n_segments, axis.n_channels), np.int64)
        self.maps = np.zeros((len(windows), rows, cols), np.uint32)
        self.total = np.zeros((rows, cols), np.uint32)
        self.n_events = 0

    def add(
        self, pixel: npt.NDArray[np.uint32], channel: npt.NDArray[np.uint16], segment: npt.NDArray[np.uint8]
    ) -> None:
        """Add a batch of photons (arrays of one length; dtypes uint32, uint16, uint8).

        Raises
        ------
        ShapeError, OutOfRangeError
            The batch is left out as a whole.
        """
        if not len(pixel) == len(channel) == len(segment):
            raise ShapeError(f"accumulator: batch of {len(pixel)}, {len(channel)} and {len(segment)} entries")
        rows, cols = self.shape
        n_segments = len(self.spectra)
        bad = _kernels.count_outside(pixel, channel, segment, rows * cols, self.axis.n_channels, n_segments)
        if bad:
            raise OutOfRangeError(
                f"accumulator: {bad} of {len(pixel)} photons lie outside of map, spectrum or segments"
            )
        flat = self.maps.reshape(len(self.maps), -1)
        _kernels.add_live(pixel, channel, segment, self._which, flat, self.total.reshape(-1), self.spectra)
        self.n_events += len(pixel)

    def clear(self) -> None:
        """Begin anew."""
        for array in (self.spectra, self.maps, self.total):
            array[...] = 0
        self.n_events = 0
