"""Compiled loops of `correction`; shapes and dtypes as named, no checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel

__all__ = ["accumulate", "flat_rows", "minus_log", "neighbours", "prepare_rows"]

Array32 = npt.NDArray[np.float32]
Array64 = npt.NDArray[np.float64]


@kernel
def flat_rows(
    raw: npt.NDArray[Any],
    dark: Array32,
    gain: Array32,
    scale: Array32,
    fill: np.float32,
    out: Array32,
    start: int,
    stop: int,
) -> None:
    """Correct rows start..stop of every frame, frame after frame: the block's references stay in cache."""
    for i in range(raw.shape[0]):
        s = scale[i]
        for y in range(start, stop):
            for x in range(raw.shape[2]):
                g = gain[y, x]
                value = (np.float32(raw[i, y, x]) - dark[y, x]) * (g * s)
                out[i, y, x] = value if g == g else fill


@kernel
def prepare_rows(
    flat: npt.NDArray[Any],
    dark: npt.NDArray[Any],
    min_signal: float,
    dark32: Array32,
    gain: Array32,
    start: int,
    stop: int,
) -> None:
    """Dark as float32 and 1 / (flat - dark), worked out in float64; NaN where there is no light."""
    for y in range(start, stop):
        for x in range(flat.shape[1]):
            d = np.float64(dark[y, x])
            light = np.float64(flat[y, x]) - d
            dark32[y, x] = np.float32(d)
            gain[y, x] = np.float32(1.0 / light if light > min_signal and light < np.inf else np.nan)


@kernel
def minus_log(source: Array32, target: Array32, floor: np.float32, start: int, stop: int) -> None:
    """-ln with a floor; NaN fails the comparison and passes through."""
    for k in range(start, stop):
        value = source[k]
        if value < floor:
            value = floor
        target[k] = -np.log(value)


@kernel
def accumulate(frame: Array32, first: Array32, total: Array64, square: Array64, low: Array32, high: Array32) -> None:
    """Add a frame's difference from the first to sums, squares, minimum and maximum."""
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            d = frame[y, x] - first[y, x]
            wide = np.float64(d)
            total[y, x] += wide
            square[y, x] += wide * wide
            low[y, x] = min(low[y, x], d)
            high[y, x] = max(high[y, x], d)


@kernel
def neighbours(frame: Array32, high: Array32, middle: Array32, start: int, stop: int) -> None:
    """Third highest and median of the (up to eight) neighbours of each pixel in rows start..stop."""
    ny, nx = frame.shape
    values = np.empty(8, np.float32)
    for y in range(start, stop):
        for x in range(nx):
            n = 0
            for yy in range(max(0, y - 1), min(ny, y + 2)):
                for xx in range(max(0, x - 1), min(nx, x + 2)):
                    if yy != y or xx != x:
                        value = frame[yy, xx]
                        k = n
                        while k > 0 and values[k - 1] > value:
                            values[k] = values[k - 1]
                            k -= 1
                        values[k] = value
                        n += 1
            high[y, x] = values[n - 3]
            middle[y, x] = np.float32(0.5) * (values[(n - 1) // 2] + values[n // 2])
