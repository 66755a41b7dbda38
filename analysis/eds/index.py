"""Photons ordered by channel as they come: a window is a slice, and costs what is in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel, over_blocks
from exitwave.analysis.eds._kernels import count_outside
from exitwave.analysis.eds.axis import EnergyAxis, EnergyWindow
from exitwave.analysis.eds.events import Events
from exitwave.analysis.errors import OutOfRangeError, ShapeError

__all__ = ["ChannelIndex"]

_CHUNK = 131_072
"""Photons that are ordered together: they stay in the cache, and as many wait unordered at most."""


@kernel
def _sort_by_channel(
    pixel: npt.NDArray[np.uint32],
    channel: npt.NDArray[np.uint16],
    starts: npt.NDArray[np.int32],
    ordered: npt.NDArray[np.uint32],
) -> None:
    n_channels: int = starts.size - 1
    starts[:] = 0
    for i in range(channel.size):
        starts[np.int64(channel[i]) + 1] += 1
    for c in range(n_channels):
        starts[c + 1] += starts[c]
    place = starts[:n_channels].copy()
    for i in range(channel.size):
        own = np.int64(channel[i])
        ordered[place[own]] = pixel[i]
        place[own] += 1


@kernel
def _count(
    ordered: npt.NDArray[np.uint32],
    starts: npt.NDArray[np.int32],
    low: int,
    high: int,
    image: npt.NDArray[np.uint32],
) -> None:
    for chunk in range(starts.shape[0]):
        for i in range(starts[chunk, low], starts[chunk, high]):
            image[ordered[chunk, i]] += np.uint32(1)


@kernel
def _count_unordered(
    pixel: npt.NDArray[np.uint32],
    channel: npt.NDArray[np.uint16],
    low: int,
    high: int,
    image: npt.NDArray[np.uint32],
) -> None:
    for i in range(pixel.size):
        if low <= channel[i] < high:
            image[pixel[i]] += np.uint32(1)


class ChannelIndex:
    """The pixels of photons, ordered by channel in chunks while they come: 4 bytes a photon.

    It answers any window by counting only the photons that are in it, which is what moving a window's limits by hand,
    or trying many of them, asks for. It forgets frames and segments: correct for drift with `window_maps`.

    Parameters
    ----------
    shape : (rows, columns)
    axis : EnergyAxis
    """

    def __init__(self, shape: tuple[int, int], axis: EnergyAxis) -> None:
        self.shape, self.axis = shape, axis
        self._chunks, self._waiting = 0, 0
        self._ordered = np.empty((1, _CHUNK), np.uint32)
        self._starts = np.empty((1, axis.n_channels + 1), np.int32)
        self._pixel = np.empty(_CHUNK, np.uint32)
        self._channel = np.empty(_CHUNK, np.uint16)

    def _reserve(self, chunks: int) -> None:
        """Make room for so many ordered chunks."""
        full, ordered, starts = slice(self._chunks), self._ordered, self._starts
        self._ordered = np.empty((chunks, _CHUNK), np.uint32)
        self._starts = np.empty((chunks, self.axis.n_channels + 1), np.int32)
        self._ordered[full], self._starts[full] = ordered[full], starts[full]

    @classmethod
    def of(cls, events: Events) -> Self:
        """Return the index of a whole list, made by all cores."""
        index = cls(events.shape, events.axis)
        whole = len(events) // _CHUNK
        index._reserve(max(whole, 1))

        def work(first: int, last: int) -> None:
            for chunk in range(first, last):
                part = slice(chunk * _CHUNK, (chunk + 1) * _CHUNK)
                _sort_by_channel(events.pixel[part], events.channel[part], index._starts[chunk], index._ordered[chunk])

        over_blocks(work, whole, 8)
        index._chunks = whole
        index._take(events.pixel[whole * _CHUNK :], events.channel[whole * _CHUNK :])
        return index

    def __len__(self) -> int:
        """Return the number of photons."""
        return self._chunks * _CHUNK + self._waiting

    @property
    def nbytes(self) -> int:
        """Memory of the photons that it holds, bytes."""
        full = slice(self._chunks)
        return self._ordered[full].nbytes + self._starts[full].nbytes + self._pixel.nbytes + self._channel.nbytes

    def add(self, pixel: npt.NDArray[np.uint32], channel: npt.NDArray[np.uint16]) -> None:
        """Add photons (arrays of one length; dtypes uint32, uint16).

        Raises
        ------
        ShapeError, OutOfRangeError
            The photons are left out as a whole.
        """
        if len(pixel) != len(channel):
            raise ShapeError(f"index: {len(pixel)} pixels and {len(channel)} channels")
        rows, cols = self.shape
        bad = count_outside(pixel, channel, np.zeros(len(pixel), np.uint8), rows * cols, self.axis.n_channels, 1)
        if bad:
            raise OutOfRangeError(f"index: {bad} of {len(pixel)} photons lie outside of map or spectrum")
        self._take(pixel, channel)

    def _take(self, pixel: npt.NDArray[np.uint32], channel: npt.NDArray[np.uint16]) -> None:
        taken = 0
        while taken < len(pixel):
            n = min(_CHUNK - self._waiting, len(pixel) - taken)
            here, there = slice(self._waiting, self._waiting + n), slice(taken, taken + n)
            self._pixel[here], self._channel[here] = pixel[there], channel[there]
            self._waiting += n
            taken += n
            if self._waiting == _CHUNK:
                if self._chunks == len(self._ordered):
                    self._reserve(2 * self._chunks)
                at = self._chunks
                _sort_by_channel(self._pixel, self._channel, self._starts[at], self._ordered[at])
                self._chunks, self._waiting = at + 1, 0

    def clear(self) -> None:
        """Begin anew."""
        self._chunks = self._waiting = 0

    def window_maps(self, windows: Sequence[EnergyWindow]) -> npt.NDArray[np.uint32]:
        """Return counts per window and pixel, uint32 (windows, rows, columns); windows may overlap.

        Raises
        ------
        OutOfRangeError
        """
        bounds = [self.axis.channels(window) for window in windows]
        maps = np.zeros((len(windows), self.shape[0] * self.shape[1]), np.uint32)
        starts, waiting = self._starts[: self._chunks], slice(self._waiting)

        def work(first: int, last: int) -> None:
            for number in range(first, last):
                low, high = bounds[number]
                _count(self._ordered, starts, low, high, maps[number])
                _count_unordered(self._pixel[waiting], self._channel[waiting], low, high, maps[number])

        over_blocks(work, len(windows), 1)
        return maps.reshape(-1, *self.shape)
