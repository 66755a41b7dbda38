"""Compiled passes over event lists. All of them add to what is in the output, so that blocks may follow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel

Ints = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
NOWHERE = 255


@kernel
def add_windows(pixel: Ints, channel: Ints, which: npt.NDArray[np.uint8], maps: npt.NDArray[np.uint32]) -> None:
    """Count events into maps[window, pixel]; which[channel] is the window, 255 for none.

    Hits are gathered first without a branch: with a branch, the predictor misses once per hit.
    """
    size = 2048
    hits = np.empty(size, np.uint32)
    n = pixel.size
    for start in range(0, n, size):
        stop = min(start + size, n)
        m = 0
        for i in range(start, stop):
            hits[m] = np.uint32(i - start)
            m += int(which[channel[i]] != NOWHERE)
        for j in range(m):
            at = start + int(hits[j])
            maps[which[channel[at]], pixel[at]] += np.uint32(1)


@kernel
def add_weights(pixel: Ints, channel: Ints, table: Floats, maps: Floats) -> None:
    """Add table[line, channel] of each event to maps[line, pixel]."""
    for line in range(table.shape[0]):
        weights, image = table[line], maps[line]
        for i in range(pixel.size):
            w = weights[channel[i]]
            if w != 0.0:
                image[pixel[i]] += w


@kernel
def add_weights_shifted(
    pixel: Ints,
    channel: Ints,
    table: Floats,
    rows: int,
    cols: int,
    dy: float,
    dx: float,
    bilinear: bool,
    maps: Floats,
) -> int:
    """As add_weights, each event moved by (-dy, -dx) pixels; return how many left the field."""
    lost = 0
    for i in range(pixel.size):
        c = channel[i]
        hit = False
        for line in range(table.shape[0]):
            if table[line, c] != 0.0:
                hit = True
        if not hit:
            continue
        y = np.float64(pixel[i] // np.uint32(cols)) - dy
        x = np.float64(pixel[i] % np.uint32(cols)) - dx
        if bilinear:
            y0, x0 = int(np.floor(y)), int(np.floor(x))
            fy, fx = np.float32(y - y0), np.float32(x - x0)
            inside = False
            for ky in range(2):
                for kx in range(2):
                    yy, xx = y0 + ky, x0 + kx
                    share = (fy if ky else np.float32(1) - fy) * (fx if kx else np.float32(1) - fx)
                    if 0 <= yy < rows and 0 <= xx < cols and share > 0.0:
                        inside = True
                        for line in range(table.shape[0]):
                            maps[line, yy * cols + xx] += share * table[line, c]
            if not inside:
                lost += 1
        else:
            yy, xx = int(np.floor(y + 0.5)), int(np.floor(x + 0.5))
            if 0 <= yy < rows and 0 <= xx < cols:
                for line in range(table.shape[0]):
                    maps[line, yy * cols + xx] += table[line, c]
            else:
                lost += 1
    return lost


@kernel
def add_spectra(channel: Ints, segment: npt.NDArray[np.uint8], spectra: npt.NDArray[np.int64]) -> None:
    """Count events into spectra[segment, channel]."""
    for i in range(channel.size):
        spectra[segment[i], channel[i]] += 1


@kernel
def add_regions(pixel: Ints, channel: Ints, labels: npt.NDArray[np.int32], spectra: npt.NDArray[np.int64]) -> None:
    """Count events into spectra[label of pixel, channel]; labels below 0 are left out."""
    for i in range(channel.size):
        label = labels[pixel[i]]
        if label >= 0:
            spectra[label, channel[i]] += 1


@kernel
def add_cube(pixel: Ints, channel: Ints, first: int, binning: int, cube: npt.NDArray[np.uint16]) -> int:
    """Count events into cube[channel, pixel]; return how many found their cell full."""
    full = 0
    for i in range(channel.size):
        c = np.int64(channel[i]) - first
        if c < 0:
            continue
        c //= binning
        if c >= cube.shape[0]:
            continue
        if cube[c, pixel[i]] == np.uint16(65535):
            full += 1
        else:
            cube[c, pixel[i]] += np.uint16(1)
    return full


@kernel
def add_live(
    pixel: Ints,
    channel: Ints,
    segment: npt.NDArray[np.uint8],
    which: npt.NDArray[np.uint8],
    maps: npt.NDArray[np.uint32],
    total: npt.NDArray[np.uint32],
    spectra: npt.NDArray[np.int64],
) -> None:
    """Spectra, window maps and the map of all counts in one pass."""
    for i in range(channel.size):
        c, p = channel[i], pixel[i]
        spectra[segment[i], c] += 1
        total[p] += np.uint32(1)
        w = which[c]
        if w != NOWHERE:
            maps[w, p] += np.uint32(1)


@kernel
def count_outside(pixel: Ints, channel: Ints, segment: Ints, n_pixels: int, n_channels: int, n_segments: int) -> int:
    """Return the number of events outside of the map, the spectrum or the segments."""
    bad = 0
    for i in range(channel.size):
        bad += int((pixel[i] >= n_pixels) | (channel[i] >= n_channels) | (segment[i] >= n_segments))
    return bad
