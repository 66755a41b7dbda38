"""Rows of projections along slices: the axis' lean and the pictures' displacements taken out, or put in."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel, over_blocks
from exitwave.analysis.tomography.geometry import Geometry

__all__ = ["displace", "displace_back", "sort_rows", "straighten"]

Array32 = npt.NDArray[np.float32]


def _columns(geometry: Geometry) -> npt.NDArray[np.float64]:
    """Horizontal displacement that the resampling deals with: all of it with a tilt, none of it without."""
    return geometry.dx if geometry.tilt_deg != 0.0 else np.zeros(len(geometry))


@kernel
def _cubic(f: float, w: npt.NDArray[np.float64]) -> None:
    """Weights of the four neighbours (R. Keys, IEEE Trans. ASSP 29, 1153 (1981), eq. 15, a = -1/2)."""
    w[0] = ((-0.5 * f + 1.0) * f - 0.5) * f
    w[1] = (1.5 * f - 2.5) * f * f + 1.0
    w[2] = ((-1.5 * f + 2.0) * f + 0.5) * f
    w[3] = (0.5 * f - 0.5) * f * f


@kernel
def _sort(window: Array32, out: Array32, bad: npt.NDArray[np.int64], start: int, stop: int) -> None:
    for k in range(start, stop):
        count = 0
        for r in range(window.shape[1]):
            for c in range(window.shape[2]):
                value = window[k, r, c]
                count += value - value != 0.0
                out[r, k, c] = value
        bad[k] = count


def sort_rows(window: Array32) -> tuple[Array32, npt.NDArray[np.int64]]:
    """Return pictures (angle, row, column) as sinograms (row, angle, column), and each one's non-finite values."""
    n, rows, width = window.shape
    out = np.empty((rows, n, width), np.float32)
    bad = np.empty(n, np.int64)
    over_blocks(lambda a, b: _sort(window, out, bad, a, b), n, 16)
    return out, bad


@kernel
def _straighten(
    source: Array32, out: Array32, k: int, cos: float, sin: float, centre: float, h0: float, r0: float, dy: float,
    dx: float,
) -> None:  # fmt: skip
    rows, width = source.shape
    wy, wx = np.empty(4), np.empty(4)
    flat = sin == 0.0 and dx == 0.0
    for n in range(out.shape[0]):
        for c in range(width):
            h, s = h0 + n, c - centre
            row = h * cos - s * sin + dy - r0
            iy = math.floor(row)
            if c == 0 or not flat:
                _cubic(row - iy, wy)
            total = 0.0
            if flat:
                for a in range(4):
                    total += wy[a] * source[min(max(iy + a - 1, 0), rows - 1), c]
            else:
                col = centre + h * sin + s * cos + dx
                ix = math.floor(col)
                _cubic(col - ix, wx)
                for a in range(4):
                    y = min(max(iy + a - 1, 0), rows - 1)
                    line = 0.0
                    for b in range(4):
                        line += wx[b] * source[y, min(max(ix + b - 1, 0), width - 1)]
                    total += wy[a] * line
            out[n, k, c] = total


def straighten(window: Array32, geometry: Geometry, first: float, count: int, window_first: float) -> Array32:
    """Return sinograms (slice, angle, column) along `count` slices, by cubic convolution; edges go on as they are.

    `first` and `window_first`: where the first slice and the first row of `window` (row, angle, column) are, in rows
    from the middle row of the detector.
    """
    _, n, width = window.shape
    out = np.empty((count, n, width), np.float32)
    tilt = math.radians(geometry.tilt_deg)
    cos, sin = math.cos(tilt), math.sin(tilt)
    dy, dx = geometry.dy, _columns(geometry)

    def some(start: int, stop: int) -> None:
        for k in range(start, stop):
            _straighten(window[:, k], out, k, cos, sin, geometry.centre, first, window_first, dy[k], dx[k])

    over_blocks(some, n, 4)
    return out


@kernel
def _displace(
    ideal: Array32, picture: Array32, k: int, cos: float, sin: float, centre: float, middle: float, dy: float,
    dx: float, back: bool,
) -> None:  # fmt: skip
    rows, width = picture.shape
    for r in range(rows):
        for c in range(width):
            v, u = r - dy - middle, c - dx - centre
            y, x = v * cos + u * sin + middle, u * cos - v * sin + centre
            iy, ix = math.floor(y), math.floor(x)
            fy, fx = y - iy, x - ix
            total = 0.0
            for a in range(2):
                for b in range(2):
                    yy, xx = iy + a, ix + b
                    if yy < 0 or yy >= rows or xx < 0 or xx >= width:
                        continue
                    weight = (fy if a else 1.0 - fy) * (fx if b else 1.0 - fx)
                    if back:
                        ideal[yy, k, xx] += weight * picture[r, c]
                    else:
                        total += weight * ideal[yy, k, xx]
            if not back:
                picture[r, c] = total


def displace(ideal: Array32, pictures: Array32, geometry: Geometry, middle: float) -> None:
    """Fill pictures (angle, row, column) from sinograms along slices (slice, angle, column), bilinearly."""
    _walk(ideal, pictures, geometry, middle, False)


def displace_back(ideal: Array32, pictures: Array32, geometry: Geometry, middle: float) -> None:
    """Add pictures to sinograms along slices with the weights of `displace`: its transpose."""
    _walk(ideal, pictures, geometry, middle, True)


def _walk(ideal: Array32, pictures: Array32, geometry: Geometry, middle: float, back: bool) -> None:
    tilt = math.radians(geometry.tilt_deg)
    cos, sin = math.cos(tilt), math.sin(tilt)
    dy, dx = geometry.dy, _columns(geometry)

    def some(start: int, stop: int) -> None:
        for k in range(start, stop):
            _displace(ideal, pictures[k], k, cos, sin, geometry.centre, middle, dy[k], dx[k], back)

    over_blocks(some, len(geometry), 4)
