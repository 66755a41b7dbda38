"""Compiled loops of the projector: several slices side by side, lane by lane, so that a weight serves all of them.

Slices are packed (z, x, lane) and sinograms (angle, column, lane), both flat. Only rays that run mostly along z are
dealt with; for the others the caller turns the slice over. A voxel's shadow is a triangle of unit area whose half
width is m = |cos(theta)|, which is Joseph's projector (P. M. Joseph, IEEE Trans. Med. Imaging 1, 192 (1982)); with
m = 1 the same loop is back-projection with linear interpolation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel
from exitwave.analysis.tomography._lanes import add_two

__all__ = ["LANES", "MARGIN", "back_kernel", "forward_kernel", "pack", "unpack"]

Array32 = npt.NDArray[np.float32]
Array64 = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

LANES = (4, 16)
"""Numbers of slices that a compiled loop takes at once."""
MARGIN = (1, 2)
"""Empty columns before and after each row of a packed sinogram, so that no ray needs to be looked at twice."""
TILE = 8
ROWS, COLUMNS = 4, 64


@kernel
def pack(stack: Array32, packed: Array32, margin: int, start: int, stop: int) -> None:
    """Put planes (lane, a, b) side by side into packed (a, margin + b, lane), for a from start to stop."""
    lanes, _, nb = stack.shape
    for a in range(start, stop):
        for b in range(nb):
            for q in range(lanes):
                packed[a, margin + b, q] = stack[q, a, b]


@kernel
def unpack(packed: Array32, turned: Array32, stack: Array32, start: int, stop: int) -> None:
    """Write the sum of packed (a, b, lane) and turned (b, a, lane) to planes (lane, a, b), for a from start to stop."""
    lanes, _, nb = stack.shape
    for b0 in range(0, nb, TILE):
        for a in range(start, stop):
            for b in range(b0, min(b0 + TILE, nb)):
                for q in range(lanes):
                    stack[q, a, b] = packed[a, b, q] + turned[b, a, q]


@cache
def back_kernel(lanes: int) -> Callable[..., Any]:
    """Return the loop that smears sinograms over rows start..stop of slices of so many lanes."""
    add = add_two(lanes)

    @kernel
    def back(
        sino: Array32, width: int, volume: Array32, nx: int, which: Indices, cosines: Array64, sines: Array64,
        offsets: Array64, half: Array64, x0: float, z0: float, start: int, stop: int,
    ) -> None:  # fmt: skip
        last = float(width)
        zero = np.float32(0.0)
        for block in range(-(-(stop - start) // ROWS) * -(-nx // COLUMNS)):  # of voxels that stay in the first cache
            tile = start + ROWS * (block // -(-nx // COLUMNS))
            left = COLUMNS * (block % -(-nx // COLUMNS))
            for k in which:
                cos = cosines[k]
                inverse = np.float32(1.0 / half[k])
                slope = inverse * inverse
                line = k * (width + 3) * lanes
                for j in range(tile, min(tile + ROWS, stop)):
                    base = offsets[k] + (z0 + j) * sines[k] + x0 * cos
                    for i in range(left, min(left + COLUMNS, nx)):
                        u = min(max(base + i * cos, -1.0), last) + 1.0
                        iu = int(u)
                        f = np.float32(u - iu)
                        a = max(zero, inverse - f * slope)
                        b = max(zero, inverse - (np.float32(1.0) - f) * slope)
                        at = line + iu * lanes
                        add(volume, (j * nx + i) * lanes, sino, a, at, b, at + lanes)

    return back


@cache
def forward_kernel(lanes: int) -> Callable[..., Any]:
    """Return the loop that adds up slices of so many lanes along the rays of projections which[start:stop]."""
    add = add_two(lanes)

    @kernel
    def forward(
        volume: Array32, nz: int, nx: int, sino: Array32, width: int, which: Indices, cosines: Array64,
        sines: Array64, offsets: Array64, x0: float, z0: float, start: int, stop: int,
    ) -> None:  # fmt: skip
        for tile in range(0, nz, TILE):
            for n in range(start, stop):
                k = which[n]
                cos = cosines[k]
                step = 1.0 / cos
                scale = np.float32(abs(step))
                for j in range(tile, min(tile + TILE, nz)):
                    origin = offsets[k] + (z0 + j) * sines[k] + x0 * cos  # column that sees the row's first voxel
                    end = origin + (nx - 1) * cos
                    first = max(0, int(np.ceil(min(origin, end) - abs(cos))))
                    past = min(width, int(np.floor(max(origin, end) + abs(cos))) + 1)
                    for c in range(first, past):
                        xi = max((c - origin) * step + 1.0, 0.0)
                        i = int(xi) - 1
                        b = np.float32(xi - 1.0 - i) * scale
                        a = scale - b
                        if i < 0:  # before the first voxel, and after the last
                            i, a, b = 0, b, np.float32(0.0)
                        second = i + 1
                        if second >= nx:
                            second, b = 0, np.float32(0.0)
                            if i >= nx:
                                i, a = 0, b
                        to = (k * (width + 3) + c + 1) * lanes
                        add(sino, to, volume, a, (j * nx + i) * lanes, b, (j * nx + second) * lanes)

    return forward
