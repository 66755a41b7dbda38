"""Stripes in sinograms, the rings of the slices: found and removed.

The methods of N. T. Vo, R. C. Atwood and M. Drakopoulos, Opt. Express 26, 28396 (2018), by the paper's numbers:
sorting (algorithm 3), filtering (2), large stripes (5, stripes found by 4), dead or fluctuating columns (6), and all
of them in a row. A column of a sinogram, sorted by value, varies slowly from column to column; what does not is the
detector's. A median across columns takes it out, and the values go back to the angles they came from.

Every function takes one sinogram (angle, col) or projections (angle, row, col), each detector row being a sinogram of
its own, and returns a new float32 array of the same shape. Work goes row by row: beyond its result a call holds a
few sinograms.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from exitwave.analysis.compiled import over_blocks
from exitwave.analysis.errors import OutOfRangeError, ShapeError, require_positive, require_within
from exitwave.analysis.tomography import _stripe_kernels as loops

__all__ = [
    "remove_all_stripes",
    "remove_dead_stripes",
    "remove_large_stripes",
    "remove_stripes_filtering",
    "remove_stripes_sorting",
]

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
_COLUMNS = 16  # of float32 in a cache line


class _Sorted:
    """Buffers of one sinogram: sorted columns, where each value came from, and a second image."""

    def __init__(self, shape: tuple[int, int]):
        self.n_angles, self.n_columns = shape
        self.keys = np.empty((self.n_columns, self.n_angles), np.uint64)
        self.origin = np.empty((self.n_columns, self.n_angles), np.int32)
        self.ordered = np.empty(shape, np.float32)
        self.smooth = np.empty(shape, np.float32)

    def sort(self, sinogram: Floats) -> None:
        """Fill `ordered` and `origin`."""

        def block(first: int, last: int) -> None:
            for start in range(first, last, _COLUMNS):
                stop = min(start + _COLUMNS, last)
                loops.pack(sinogram, self.keys, start, stop)
                self.keys[start:stop].sort(axis=1)
                loops.unpack(self.keys, self.ordered, self.origin, start, stop)

        over_blocks(block, self.n_columns, 8 * _COLUMNS)

    def median(self, image: Floats, size: int, out: Floats) -> None:
        """Write the median over `size` columns to `out`."""
        over_blocks(lambda a, b: loops.median_rows(image, size, out, a, b), self.n_angles, 16)

    def put_back(self, image: Floats, out: Floats) -> None:
        """Write the sorted image to the angles that its values came from."""

        def block(first: int, last: int) -> None:
            for start in range(first, last, _COLUMNS):
                loops.put_back(image, self.origin, out, start, min(start + _COLUMNS, last))

        over_blocks(block, self.n_columns, 8 * _COLUMNS)


def _each_row(sinograms: npt.NDArray[Any], work: Callable[[Floats, _Sorted], None]) -> Floats:
    """Return a copy on which `work` has been done, sinogram by sinogram, in place."""
    out = np.array(sinograms, dtype=np.float32, order="C", copy=True)
    if out.ndim not in (2, 3) or 0 in out.shape:
        raise ShapeError(f"sinograms: shape {out.shape}; (angle, col) or (angle, row, col) is needed")
    if out.shape[0] < 2 or out.shape[-1] < 8:
        raise ShapeError(f"sinograms: shape {out.shape}; at least 2 angles and 8 columns are needed")
    if not np.isfinite(out).all():
        raise OutOfRangeError("sinograms: NaN or infinity; correct or fill these pixels first")
    buffers = _Sorted((out.shape[0], out.shape[-1]))
    if out.ndim == 2:
        work(out, buffers)
        return out
    one = np.empty((out.shape[0], out.shape[2]), np.float32)
    for row in range(out.shape[1]):
        one[...] = out[:, row]
        work(one, buffers)
        out[:, row] = one
    return out


def _window(name: str, size: int, n_columns: int) -> int:
    if int(size) != size or not 1 <= size <= 2 * n_columns:
        raise OutOfRangeError(f"{name} = {size} columns: must be a whole number from 1 to {2 * n_columns}")
    return int(size)


def remove_stripes_sorting(sinograms: npt.NDArray[Any], *, size: int = 21) -> Floats:
    """Remove small and middle stripes by sorting (algorithm 3).

    Parameters
    ----------
    sinograms : array (angle, col) or (angle, row, col)
    size : int
        Width of the median, columns; wider than the widest stripe by a factor of two or more.

    Returns
    -------
    float32 array of the same shape

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    size = _window("size", size, np.shape(sinograms)[-1])

    def work(one: Floats, buffers: _Sorted) -> None:
        buffers.sort(one)
        buffers.median(buffers.ordered, size, buffers.smooth)
        buffers.put_back(buffers.smooth, one)

    return _each_row(sinograms, work)


@cache
def _low_pass(n_angles: int, sigma: float) -> tuple[Floats, Floats]:
    """Two thin matrices whose product is the paper's Gaussian low-pass along the angles, mirrored at the ends.

    Of the window only some 6 sigma frequencies on either side count, so that two products with a few dozen rows
    replace the Fourier transforms. The window stands on half a frequency (the centre of an even number of samples),
    as in the authors' program: the real part of what it lets through is taken.
    """
    pad = min(150, int(0.1 * n_angles))
    length = n_angles + 2 * pad
    offset = np.arange(length) - 0.5 * (length - 1)
    weight = np.exp(-0.5 * (offset / sigma) ** 2)
    frequency = np.arange(length) - 0.5 * length
    near = weight > 1e-9
    angle = 2.0 * np.pi * frequency[near, None] * np.arange(length)[None, :] / length
    forward = np.concatenate([np.cos(angle), np.sin(angle)])
    where = np.pad(np.arange(n_angles), pad, mode="reflect")
    folded = np.zeros((n_angles, forward.shape[0]))
    np.add.at(folded, where, forward.T)
    scale = np.tile(weight[near], 2) / length
    back = (forward[:, pad : pad + n_angles] * scale[:, None]).T
    return np.ascontiguousarray(back, np.float32), np.ascontiguousarray(folded.T, np.float32)


def remove_stripes_filtering(
    sinograms: npt.NDArray[Any], *, sigma: float = 3.0, size: int = 21, sort: bool = True
) -> Floats:
    """Remove stripes from the slow part of each column only, which leaves sharp features alone (algorithm 2).

    Parameters
    ----------
    sinograms : array (angle, col) or (angle, row, col)
    sigma : float
        Width of the Gaussian window along the angles, in steps of the discrete frequency.
    size : int
        Width of the median, columns.
    sort : bool
        Sort the slow part before the median.

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    size = _window("size", size, np.shape(sinograms)[-1])
    back, forward = _low_pass(len(sinograms), require_positive("sigma", sigma, "frequency steps"))

    def work(one: Floats, buffers: _Sorted) -> None:
        slow = back @ (forward @ one)
        one -= slow
        if sort:
            buffers.sort(slow)
            buffers.median(buffers.ordered, size, buffers.smooth)
            buffers.put_back(buffers.smooth, slow)
            one += slow
        else:
            buffers.median(slow, size, buffers.smooth)
            one += buffers.smooth

    return _each_row(sinograms, work)


def _stand_out(profile: Doubles, snr: float) -> Flags:
    """Columns of a normalised profile beyond the line through its sorted middle half (algorithm 4), and neighbours.

    The line, continued to both ends, is how far values go by chance. A profile without spread has no stripes.
    """
    n = len(profile)
    order = np.sort(profile)
    drop = int(0.25 * n)
    slope, low = np.polyfit(np.arange(n)[drop : -drop - 1], order[drop : -drop - 1], 1)
    high = low + slope * (n - 1)
    noise = abs(high - low)
    found = np.zeros(n, bool)
    if noise < 1e-5:
        return found
    if abs(order[-1] - high) / noise >= snr:
        found |= profile > high + 0.5 * snr * noise
    if abs(low - order[0]) / noise >= snr:
        found |= profile <= low - 0.5 * snr * noise
    return np.asarray(ndimage.binary_dilation(found), bool)


def _large(one: Floats, buffers: _Sorted, snr: float, size: int, drop_ratio: float, norm: bool) -> tuple[Flags, Floats]:
    """Sort, smooth; return the bad columns and the factor by which to divide each column."""
    buffers.sort(one)
    buffers.median(buffers.ordered, size, buffers.smooth)
    n_angles, n_columns = one.shape
    drop = int(0.5 * drop_ratio * n_angles)
    means = np.empty((2, n_columns))
    for image, out in zip((buffers.ordered, buffers.smooth), means, strict=True):
        loops.column_means(image, drop, n_angles - drop, out, 0, n_columns)
    factor = np.divide(means[0], means[1], out=np.ones(n_columns), where=means[1] != 0.0)
    bad = _stand_out(factor, snr)
    return bad, factor.astype(np.float32) if norm else np.ones(n_columns, np.float32)


def _remove_large(one: Floats, buffers: _Sorted, snr: float, size: int, drop_ratio: float, norm: bool) -> None:
    bad, factor = _large(one, buffers, snr, size, drop_ratio, norm)
    buffers.put_back(buffers.smooth, buffers.ordered)
    one /= factor
    one[:, bad] = buffers.ordered[:, bad]


def remove_large_stripes(
    sinograms: npt.NDArray[Any], *, snr: float = 3.0, size: int = 51, drop_ratio: float = 0.1, norm: bool = True
) -> Floats:
    """Remove large stripes: find the columns that stand out, take them from the sorted, smoothed sinogram (5).

    Parameters
    ----------
    sinograms : array (angle, col) or (angle, row, col)
    snr : float
        How far a column stands out, in spreads of the others; higher finds fewer.
    size : int
        Width of the median, columns.
    drop_ratio : float
        Part of each sorted column, 0 to 0.8, half at each end, that does not count in finding stripes.
    norm : bool
        Divide each column by its mean against the smoothed one first.

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    size = _window("size", size, np.shape(sinograms)[-1])
    snr = require_positive("snr", snr, "spreads")
    drop_ratio = require_within("drop_ratio", drop_ratio, 0.0, 0.8, "of the angles")
    return _each_row(sinograms, lambda one, buffers: _remove_large(one, buffers, snr, size, drop_ratio, norm))


def _remove_dead(one: Floats, snr: float, size: int, smooth_strength: int) -> None:
    n_columns = one.shape[1]
    rough = np.empty(n_columns)
    over_blocks(lambda a, b: loops.roughness(one, smooth_strength, rough, a, b), n_columns, 8 * _COLUMNS)
    around = np.asarray(ndimage.median_filter(rough, size))
    around[around == 0.0] = np.mean(np.abs(around))
    if not around.all():
        return
    bad = _stand_out(rough / around, snr)
    bad[:2] = bad[-2:] = False
    # with a third of the columns bad nothing is left to interpolate from
    if not 0 < bad.sum() < n_columns // 3:
        return
    good = np.flatnonzero(~bad)
    for col in np.flatnonzero(bad):
        right = int(np.searchsorted(good, col))
        a, b = good[right - 1], good[right]
        part = np.float32((col - a) / (b - a))
        one[:, col] = (1.0 - part) * one[:, a] + part * one[:, b]


def remove_dead_stripes(
    sinograms: npt.NDArray[Any],
    *,
    snr: float = 3.0,
    size: int = 51,
    residual: bool = True,
    smooth_strength: int = 10,
) -> Floats:
    """Remove columns that do not respond or fluctuate: interpolate them from their neighbours (algorithm 6).

    Parameters
    ----------
    sinograms : array (angle, col) or (angle, row, col)
    snr : float
        How far a column's roughness stands out; higher finds fewer.
    size : int
        Width of the median against which roughness is measured, columns.
    residual : bool
        Remove large stripes afterwards.
    smooth_strength : int
        Angles of the running mean from which roughness is measured.

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    size = _window("size", size, np.shape(sinograms)[-1])
    snr = require_positive("snr", snr, "spreads")
    strength = int(require_within("smooth_strength", smooth_strength, 1, len(sinograms), "angles"))

    def work(one: Floats, buffers: _Sorted) -> None:
        _remove_dead(one, snr, size, strength)
        if residual:
            _remove_large(one, buffers, snr, size, 0.1, True)

    return _each_row(sinograms, work)


def remove_all_stripes(
    sinograms: npt.NDArray[Any],
    *,
    snr: float = 3.0,
    large_size: int = 51,
    small_size: int = 21,
    drop_ratio: float = 0.1,
) -> Floats:
    """Remove dead, large and small stripes, in this order (algorithms 6, 5, 4 and 3).

    The columns are sorted once: dividing a column by its factor, or taking it from the smoothed image, keeps its
    order. (A column whose factor is not positive has no order to keep; it is left as it is.)

    Parameters
    ----------
    sinograms : array (angle, col) or (angle, row, col)
    snr : float
        How far a column stands out; higher finds fewer.
    large_size, small_size : int
        Width of the medians for large and for small stripes, columns.
    drop_ratio : float
        Part of each sorted column that does not count in finding large stripes, 0 to 0.8.

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    n_columns = np.shape(sinograms)[-1]
    large_size = _window("large_size", large_size, n_columns)
    small_size = _window("small_size", small_size, n_columns)
    snr = require_positive("snr", snr, "spreads")
    drop_ratio = require_within("drop_ratio", drop_ratio, 0.0, 0.8, "of the angles")

    def work(one: Floats, buffers: _Sorted) -> None:
        _remove_dead(one, snr, large_size, min(10, len(one)))
        bad, factor = _large(one, buffers, snr, large_size, drop_ratio, True)
        factor[factor <= 0.0] = 1.0
        buffers.ordered /= factor
        buffers.ordered[:, bad] = buffers.smooth[:, bad]
        buffers.median(buffers.ordered, small_size, buffers.smooth)
        buffers.put_back(buffers.smooth, one)

    return _each_row(sinograms, work)
