"""Photons ordered by channel: a window is a slice, and costs what is in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel, over_blocks
from exitwave.analysis.eds.axis import EnergyAxis, EnergyWindow
from exitwave.analysis.eds.events import Events

__all__ = ["ChannelIndex"]


@kernel
def _sort_by_channel(
    pixel: npt.NDArray[np.uint32],
    channel: npt.NDArray[np.uint16],
    starts: npt.NDArray[np.int64],
    ordered: npt.NDArray[np.uint32],
) -> None:
    n_channels: int = starts.size - 1
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
def _count(pixel: npt.NDArray[np.uint32], image: npt.NDArray[np.uint32]) -> None:
    for i in range(pixel.size):
        image[pixel[i]] += np.uint32(1)


class ChannelIndex:
    """The pixels of a list of events, ordered by channel: 4 bytes a photon.

    Made once by a counting sort, it answers any window by counting only the photons that are in it, which is
    what moving a window's limits by hand, or trying many of them, asks for. It forgets frames and segments:
    correct for drift with `window_maps`.

    Parameters
    ----------
    events : Events
    """

    def __init__(self, events: Events):
        self.axis: EnergyAxis = events.axis
        self.shape = events.shape
        self.starts = np.zeros(events.axis.n_channels + 1, np.int64)
        self.pixel = np.empty(len(events), np.uint32)
        _sort_by_channel(events.pixel, events.channel, self.starts, self.pixel)

    @property
    def nbytes(self) -> int:
        """Memory, bytes."""
        return self.starts.nbytes + self.pixel.nbytes

    def window_maps(self, windows: Sequence[EnergyWindow]) -> npt.NDArray[np.uint32]:
        """Return counts per window and pixel, uint32 (windows, rows, columns); windows may overlap.

        Raises
        ------
        OutOfRangeError
        """
        bounds = [self.axis.channels(window) for window in windows]
        maps = np.zeros((len(windows), self.shape[0] * self.shape[1]), np.uint32)

        def work(first: int, last: int) -> None:
            for number in range(first, last):
                start, stop = bounds[number]
                _count(self.pixel[self.starts[start] : self.starts[stop]], maps[number])

        over_blocks(work, len(windows), 1)
        return maps.reshape(-1, *self.shape)
