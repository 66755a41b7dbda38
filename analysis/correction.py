"""From camera counts to transmission and optical depth: darks, flats, beam intensity, zingers, -log.

Everything works frame by frame on ``uint16`` or ``float32`` data into preallocated ``float32``; nothing the
size of a stack is ever made but the result.

Dead pixels have one policy: where flat - dark is not greater than `min_signal` the transmission is unknown,
and the result there is `fill`, NaN unless told otherwise. `dead_pixels` gives the same pixels as a mask. A
negative transmission (dark noise in an opaque place) is kept: clipping would bias every average. Only
`minus_log`, which must, puts a floor under it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis import _correction_kernels as kernels
from exitwave.analysis.compiled import over_blocks
from exitwave.analysis.errors import OutOfRangeError, ShapeError, require_positive

__all__ = [
    "FlatField",
    "dead_pixels",
    "flat_field",
    "mean_frames",
    "minus_log",
    "region_beam",
    "remove_zingers",
    "remove_zingers_temporal",
]

FloatArray = npt.NDArray[np.float32]
AnyArray = npt.NDArray[Any]

_ROWS = 64
"""Rows per task: 64 rows of 2048 float32 are 0.5 MB, which stays in the second-level cache."""


def _kernel_input(data: AnyArray) -> AnyArray:
    """Return data as the kernels take it: C-contiguous uint16 or float32."""
    data = np.asarray(data)
    dtype = np.uint16 if data.dtype == np.uint16 else np.float32
    return np.ascontiguousarray(data, dtype=dtype)


def _reference(name: str, data: AnyArray | float, shape: tuple[int, int] | None) -> AnyArray:
    """Return a reference as one frame; uint16 and float32 frames are not converted, all else is float64."""
    array = np.asarray(data)
    if array.ndim == 3:
        array = array.mean(axis=0, dtype=np.float64)
    if array.dtype not in (np.uint16, np.float32):
        array = array.astype(np.float64, copy=False)
    if array.ndim == 0 and shape is not None:
        array = np.full(shape, array)
    if array.ndim != 2 or (shape is not None and array.shape != shape):
        raise ShapeError(f"{name}: shape {np.shape(data)} does not fit frames of {shape}")
    return array


def dead_pixels(flat: AnyArray, dark: AnyArray | float, *, min_signal: float = 0.0) -> npt.NDArray[np.bool_]:
    """Return the mask (y, x) of the pixels whose flat - dark is not a finite number > `min_signal` counts."""
    return FlatField(flat, dark, min_signal=min_signal).dead


class FlatField:
    """Dark and flat correction with the references prepared once, for frames that come one by one.

    Parameters
    ----------
    flat, dark : array (y, x), or stack (n, y, x) of which the plain mean is taken; `dark` may be a number
        Counts, any real dtype.
    beam_flat : float, optional
        Beam monitor (ion chamber, ring current, region) while the flats were taken. With it every frame
        needs its own.
    min_signal : float
        Smallest flat - dark, in counts, that counts as light.
    fill : float
        Transmission given to pixels without light.

    Raises
    ------
    ShapeError
        When flat and dark do not fit each other.
    """

    def __init__(
        self,
        flat: AnyArray,
        dark: AnyArray | float,
        *,
        beam_flat: float | None = None,
        min_signal: float = 0.0,
        fill: float = math.nan,
    ) -> None:
        flat2 = _reference("flat", flat, None)
        self.shape: tuple[int, int] = (flat2.shape[0], flat2.shape[1])
        dark2 = _reference("dark", dark, self.shape)
        self._gain = np.empty(self.shape, np.float32)
        self._dark = np.empty(self.shape, np.float32)

        def rows(start: int, stop: int) -> None:
            kernels.prepare_rows(flat2, dark2, float(min_signal), self._dark, self._gain, start, stop)

        over_blocks(rows, self.shape[0], _ROWS)
        self._fill = np.float32(fill)
        self._beam_flat = None if beam_flat is None else require_positive("beam at the flats", beam_flat, "(1)")

    @property
    def dead(self) -> npt.NDArray[np.bool_]:
        """Mask (y, x) of the pixels without light."""
        return np.isnan(self._gain)

    def __call__(
        self, raw: AnyArray, out: FloatArray | None = None, *, beam: AnyArray | float | None = None
    ) -> FloatArray:
        """Return the transmission (raw - dark) / (flat - dark) * beam_flat / beam, float32, shape of `raw`.

        `raw` is a frame (y, x) or a stack (n, y, x), `beam` its monitor value, one number or one per frame.
        `out` may be `raw` itself when that is float32.
        """
        raw = _kernel_input(raw)
        if raw.ndim not in (2, 3) or raw.shape[-2:] != self.shape:
            raise ShapeError(f"raw: shape {raw.shape} does not fit flat and dark of {self.shape}")
        if out is None:
            out = np.empty(raw.shape, np.float32)
        elif out.shape != raw.shape or out.dtype != np.float32 or not out.flags.c_contiguous:
            raise ShapeError(f"out: must be C-contiguous float32 of shape {raw.shape}")
        stack = raw.reshape(-1, *self.shape)
        result = out.reshape(stack.shape)
        scale = self._scale(beam, len(stack))

        def rows(start: int, stop: int) -> None:
            kernels.flat_rows(stack, self._dark, self._gain, scale, self._fill, result, start, stop)

        over_blocks(rows, self.shape[0], _ROWS)
        return out

    def _scale(self, beam: AnyArray | float | None, n: int) -> FloatArray:
        if (beam is None) != (self._beam_flat is None):
            raise ShapeError("beam: give the monitor for raw and flat, or for neither")
        if beam is None or self._beam_flat is None:
            return np.ones(n, np.float32)
        values = np.asarray(beam, dtype=np.float64)
        if values.ndim > 1 or (values.ndim == 1 and len(values) != n):
            raise ShapeError(f"beam: shape {values.shape} does not fit {n} frames")
        values = np.broadcast_to(values, (n,))
        if not np.all(np.isfinite(values) & (values > 0)):
            bad = values[~(np.isfinite(values) & (values > 0))][0]
            raise OutOfRangeError(f"beam = {bad:g}: must be finite and > 0 for every frame")
        return (self._beam_flat / values).astype(np.float32)


def flat_field(
    raw: AnyArray,
    flat: AnyArray,
    dark: AnyArray | float,
    out: FloatArray | None = None,
    *,
    beam_raw: AnyArray | float | None = None,
    beam_flat: AnyArray | float | None = None,
    min_signal: float = 0.0,
    fill: float = math.nan,
) -> FloatArray:
    """Return the transmission (raw - dark) / (flat - dark), times beam_flat / beam_raw if given.

    Parameters
    ----------
    raw : array (y, x) or (n, y, x)
        Counts; uint16 and float32 are taken as they are, other dtypes are converted to float32.
    flat, dark : array (y, x) or (m, y, x)
        References; stacks are averaged (see `mean_frames` for a robust mean). `dark` may be a number.
    out : float32 array like `raw`, optional
        Written in place; may be `raw` itself when that is float32.
    beam_raw, beam_flat : float or one per frame, optional
        Beam monitor during raw and flat, in the same unit. Of several for the flats the mean is taken.
    min_signal, fill : float
        Pixels with flat - dark <= `min_signal` counts become `fill` (NaN by default).

    Returns
    -------
    float32 array of the shape of `raw`, 1 = no sample. Within 2e-7 relative of float64.

    Raises
    ------
    ShapeError, OutOfRangeError
        For arrays that do not fit and beam values that are not finite and > 0.
    """
    beam = None if beam_flat is None else float(np.mean(beam_flat))
    correct = FlatField(flat, dark, beam_flat=beam, min_signal=min_signal, fill=fill)
    return correct(raw, out, beam=beam_raw)


def minus_log(transmission: AnyArray, out: FloatArray | None = None, *, floor: float = 1e-4) -> FloatArray:
    """Return the optical depth -ln(transmission), float32; below `floor` counts as `floor`, NaN stays.

    `out` may be the input itself. The floor bounds the result at -ln(floor), 9.2 by default: a pixel with
    no light left says "at least this thick" and not infinity.
    """
    floor = require_positive("floor of the transmission", floor, "(1)")
    data = np.ascontiguousarray(transmission, dtype=np.float32)
    if out is None:
        out = np.empty_like(data)
    elif out.shape != data.shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise ShapeError(f"out: must be C-contiguous float32 of shape {data.shape}")
    source, target = data.reshape(-1), out.reshape(-1)

    def part(start: int, stop: int) -> None:
        kernels.minus_log(source, target, np.float32(floor), start, stop)

    over_blocks(part, source.size, 1 << 18)
    return out


def mean_frames(frames: Iterable[AnyArray], *, reject_sigma: float | None = 6.0) -> FloatArray:
    """Return the mean of frames (y, x) that may come one by one, without the outliers; float32 (y, x).

    Of each pixel's values the highest and the lowest are compared with the mean of the others and left out
    if they are more than `reject_sigma` standard deviations away; with the standard deviation of the
    others, but at least the median of that over the frame, so that a quiet pixel is no reason to reject. The others
    scatter less than all of them, because the ends are cut off: by how much in normal noise is taken into account.
    One high and one low outlier per pixel are found in a single pass at constant memory; fewer than four
    frames, or ``reject_sigma=None``, give the plain mean. Sums are in float64, about the first frame.

    Raises
    ------
    ShapeError
        For no frames at all, or frames of different shapes.
    """
    iterator = iter(frames)
    head = next(iterator, None)
    if head is None:
        raise ShapeError("frames: none given")
    first = np.array(head, dtype=np.float32, order="C")
    if first.ndim != 2:
        raise ShapeError(f"frames: expected (y, x), got shape {first.shape}")
    total, square = np.zeros(first.shape), np.zeros(first.shape)
    low, high = np.zeros_like(first), np.zeros_like(first)
    n = 1
    for frame in iterator:
        array = np.ascontiguousarray(frame, dtype=np.float32)
        if array.shape != first.shape:
            raise ShapeError(f"frames: shape {array.shape} after {first.shape}")
        n += 1
        kernels.accumulate(array, first, total, square, low, high)
    if reject_sigma is None or n < 4:
        return np.asarray(first + total / n, dtype=np.float32)
    rest = n - 2
    spread = (square - low.astype(np.float64) ** 2 - high.astype(np.float64) ** 2) / rest
    middle = (total - low - high) / rest
    variance = np.maximum(spread - middle**2, 0.0)
    limit = reject_sigma / _inner_deviation(n) * np.sqrt(np.maximum(variance, np.median(variance)))
    drop_high = high - middle > limit
    drop_low = middle - low > limit
    kept = n - drop_high.astype(int) - drop_low.astype(int)
    mean = (total - np.where(drop_high, high, 0.0) - np.where(drop_low, low, 0.0)) / kept
    return np.asarray(first + mean, dtype=np.float32)


@cache
def _inner_deviation(n: int) -> float:
    """Return the root of the median variance of n normal numbers without their extremes, of deviation 1."""
    draws = np.sort(np.random.default_rng(n).standard_normal((max(500, 200_000 // n), n)), axis=1)[:, 1:-1]
    return float(np.sqrt(np.median(draws.var(axis=1))))


def region_beam(raw: AnyArray, dark: AnyArray | float, region: tuple[slice, slice]) -> npt.NDArray[np.float64]:
    """Return the mean of raw - dark, counts, in a sample-free `region` (rows, columns): a beam monitor.

    Shape (n,) for a stack, (1,) for a frame. Use it for the raw frames and for the flats alike.

    Raises
    ------
    ShapeError, OutOfRangeError
        For an empty region, and when there is no light in it.
    """
    raw = np.asarray(raw)
    stack = raw.reshape(-1, *raw.shape[-2:])
    part = stack[(slice(None), *region)]
    if part.size == 0:
        raise ShapeError(f"region {region}: empty in frames of {raw.shape[-2:]}")
    dark64 = np.asarray(dark, dtype=np.float64)
    level = dark64[region].mean() if dark64.ndim == 2 else dark64.mean()
    beam = part.mean(axis=(1, 2), dtype=np.float64) - level
    if not np.all(beam > 0):
        raise OutOfRangeError(f"beam in the region = {beam.min():g} counts: must be > 0")
    return np.asarray(beam)


def remove_zingers(
    frame: AnyArray, out: FloatArray | None = None, *, n_sigma: float = 8.0, sigma: float | None = None
) -> tuple[FloatArray, int]:
    """Replace bright spots of up to three pixels by the median of their eight neighbours.

    A pixel is a zinger when it exceeds the third highest of its neighbours by more than `n_sigma` * sigma,
    where sigma is `sigma` counts or, if not given, estimated: 1.4826 times the median absolute difference
    from the neighbours' median. Comparing with high neighbours instead of the median keeps edges and thin
    lines; an image whose point spread covers two pixels or more holds no single-pixel structure. Border
    pixels are compared with what neighbours they have.

    Parameters
    ----------
    frame : array (y, x)
        Counts, at least 3 x 3.

    Returns
    -------
    float32 array (y, x) and the number of pixels replaced.
    """
    data = np.ascontiguousarray(frame, dtype=np.float32)
    if data.ndim != 2 or min(data.shape) < 3:
        raise ShapeError(f"frame: expected (y, x) of at least 3 x 3, got {data.shape}")
    if out is None:
        out = np.empty_like(data)
    elif out is frame or np.shares_memory(out, data):
        data = data.copy()
    high, middle = np.empty_like(data), np.empty_like(data)

    def rows(start: int, stop: int) -> None:
        kernels.neighbours(data, high, middle, start, stop)

    over_blocks(rows, data.shape[0], _ROWS)
    if sigma is None:
        sigma = 1.4826 * float(np.nanmedian(np.abs(data - middle)))
    bad = data > high + np.float32(n_sigma * sigma)
    np.copyto(out, data)
    out[bad] = middle[bad]
    return out, int(bad.sum())


def remove_zingers_temporal(stack: FloatArray, *, n_sigma: float = 8.0, sigma: float | None = None) -> int:
    """Replace, in place, values that exceed both the frame before and the frame after; return how many.

    `stack` is float32 (n, y, x) with n >= 3 of frames of the same view (a burst, flats, fine angular
    steps). A value is a zinger when it is more than `n_sigma` * sigma above the higher of its two
    neighbours in time; it becomes their mean. sigma: counts, or estimated as 1.4826 / sqrt(2) times the
    median absolute difference of successive frames.
    """
    if stack.ndim != 3 or len(stack) < 3 or stack.dtype != np.float32:
        raise ShapeError(f"stack: expected float32 (n >= 3, y, x), got {stack.dtype} {stack.shape}")
    if sigma is None:
        sample = np.abs(np.diff(stack[: min(8, len(stack))], axis=0))
        sigma = 1.4826 / math.sqrt(2.0) * float(np.nanmedian(sample))
    limit = np.float32(n_sigma * sigma)
    found = 0
    before = stack[1].copy()
    for i in range(len(stack)):
        here = stack[i].copy()
        after = stack[i + 1] if i + 1 < len(stack) else stack[i - 1]
        bad = here > np.maximum(before, after) + limit
        stack[i][bad] = (0.5 * (before + after))[bad]
        found += int(bad.sum())
        before = here
    return found
