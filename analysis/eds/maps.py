"""Maps, spectra and cubes by one pass over the events."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import n_threads, over_blocks
from exitwave.analysis.eds import _kernels
from exitwave.analysis.eds.axis import EnergyAxis, EnergyWindow
from exitwave.analysis.eds.events import Events
from exitwave.analysis.errors import OutOfRangeError, ShapeError

__all__ = ["coverage", "dense_cube", "region_spectra", "spectra", "weighted_maps", "window_maps", "window_table"]

_LEAST_BLOCK = 500_000


def window_table(axis: EnergyAxis, windows: Sequence[EnergyWindow]) -> npt.NDArray[np.uint8]:
    """Return the number of the window of each channel, 255 for none, uint8 (n_channels,).

    Raises
    ------
    OutOfRangeError
        Outside of the detector's range, overlapping, or more than 254 windows.
    """
    if not 1 <= len(windows) <= 254:
        raise OutOfRangeError(f"{len(windows)} energy windows: from 1 to 254 can be mapped at once")
    table = np.full(axis.n_channels, _kernels.NOWHERE, np.uint8)
    for number, window in enumerate(windows):
        start, stop = axis.channels(window)
        if (table[start:stop] != _kernels.NOWHERE).any():
            raise OutOfRangeError(f"energy window {window} overlaps another; map them in separate calls")
        table[start:stop] = number
    return table


def _block(n: int) -> int:
    return max(_LEAST_BLOCK, -(-n // n_threads()))


def window_maps(
    events: Events,
    windows: Sequence[EnergyWindow],
    *,
    shifts_px: npt.ArrayLike | None = None,
    bilinear: bool = False,
) -> npt.NDArray[np.uint32] | npt.NDArray[np.float32]:
    """Count photons per window and probe position.

    Parameters
    ----------
    events : Events
    windows : sequence of EnergyWindow, without overlap
    shifts_px : array (frames, 2), optional
        (dy, dx) by which the picture of each frame stands displaced, pixels; taken out photon by photon.
    bilinear : bool
        Share each photon between the four nearest pixels instead of giving it to the nearest. The map is then
        smoother than Poisson noise: fits that assume it should use the nearest.

    Returns
    -------
    array (windows, rows, columns)
        uint32 counts, or float32 with `bilinear`. Where frames did not cover the field, see `coverage`.

    Raises
    ------
    OutOfRangeError, ShapeError
    """
    which = window_table(events.axis, windows)
    rows, cols = events.shape
    if shifts_px is not None:
        table = np.zeros((len(windows), events.axis.n_channels), np.float32)
        for number in range(len(windows)):
            table[number] = which == number
        moved = weighted_maps(events, table, shifts_px=shifts_px, bilinear=bilinear)
        return moved if bilinear else moved.astype(np.uint32)
    maps = np.zeros((len(windows), rows * cols), np.uint32)
    lock = threading.Lock()

    def work(start: int, stop: int) -> None:
        own = np.zeros_like(maps)
        _kernels.add_windows(events.pixel[start:stop], events.channel[start:stop], which, own)
        with lock:
            np.add(maps, own, out=maps)

    if len(events) <= _LEAST_BLOCK or n_threads() == 1:
        _kernels.add_windows(events.pixel, events.channel, which, maps)
    else:
        over_blocks(work, len(events), _block(len(events)))
    return maps.reshape(len(windows), rows, cols)


def weighted_maps(
    events: Events,
    table: npt.NDArray[np.float32],
    *,
    shifts_px: npt.ArrayLike | None = None,
    bilinear: bool = False,
) -> npt.NDArray[np.float32]:
    """Add a weight per channel at the position of each photon; a linear estimate from spectra becomes a map this way.

    Parameters
    ----------
    events : Events
    table : float32 array (lines, n_channels)
    shifts_px, bilinear : as in `window_maps`

    Returns
    -------
    float32 array (lines, rows, columns)

    Raises
    ------
    ShapeError
    """
    weights = np.ascontiguousarray(table, dtype=np.float32)
    if weights.ndim != 2 or weights.shape[1] != events.axis.n_channels:
        raise ShapeError(f"table: expected (lines, {events.axis.n_channels}), got {weights.shape}")
    rows, cols = events.shape
    maps = np.zeros((len(weights), rows * cols), np.float32)
    if shifts_px is None:
        _kernels.add_weights(events.pixel, events.channel, weights, maps)
        return maps.reshape(-1, rows, cols)
    for number, (dy, dx) in enumerate(_shifts(events.n_frames, shifts_px)):
        low, high = events.frame_starts[number], events.frame_starts[number + 1]
        _kernels.add_weights_shifted(
            events.pixel[low:high],
            events.channel[low:high],
            weights,
            rows,
            cols,
            float(dy),
            float(dx),
            bilinear,
            maps,
        )
    return maps.reshape(-1, rows, cols)


def _shifts(n_frames: int, shifts_px: npt.ArrayLike) -> npt.NDArray[np.float64]:
    shifts = np.asarray(shifts_px, np.float64)
    if shifts.shape != (n_frames, 2) or not np.isfinite(shifts).all():
        raise ShapeError(f"shifts_px: expected finite ({n_frames}, 2), one (dy, dx) per frame, got {shifts.shape}")
    return shifts


def coverage(
    shape: tuple[int, int], n_frames: int, shifts_px: npt.ArrayLike, *, bilinear: bool = False
) -> npt.NDArray[np.float32]:
    """Return how many frames saw each pixel of a drift-corrected map, float32 (rows, columns).

    Divided by the number of frames it is the `exposure` of `exitwave.analysis.columns.fit_columns`.
    """
    rows, cols = shape
    total = np.zeros(shape, np.float32)
    for dy, dx in _shifts(n_frames, shifts_px):
        lines = []
        for shift, length in ((dy, rows), (dx, cols)):
            where = np.arange(length) + (shift if bilinear else -np.floor(0.5 - shift))
            # a pixel gathers from the two source pixels about it; those outside of the field gave nothing
            base = np.floor(where)
            part = where - base
            inside = ((base >= 0) & (base < length)) * (1 - part) + ((base + 1 >= 0) & (base + 1 < length)) * part
            lines.append(inside)
        total += np.outer(lines[0], lines[1]).astype(np.float32)
    return total


def spectra(events: Events) -> npt.NDArray[np.int64]:
    """Return the spectrum of each segment, counts, int64 (segments, n_channels)."""
    total = np.zeros((events.n_segments, events.axis.n_channels), np.int64)
    lock = threading.Lock()

    def work(start: int, stop: int) -> None:
        own = np.zeros_like(total)
        _kernels.add_spectra(events.channel[start:stop], events.segment[start:stop], own)
        with lock:
            np.add(total, own, out=total)

    over_blocks(work, len(events), _block(len(events)))
    return total


def region_spectra(events: Events, labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Return the spectrum of each region, counts, int64 (regions, n_channels).

    Parameters
    ----------
    events : Events
    labels : integer array (rows, columns)
        Region of each pixel, from 0; negative pixels belong to none.

    Raises
    ------
    ShapeError
    """
    if labels.shape != events.shape:
        raise ShapeError(f"labels: shape {labels.shape}, the map has {events.shape}")
    flat = np.ascontiguousarray(labels, dtype=np.int32).ravel()
    total = np.zeros((int(flat.max(initial=-1)) + 1, events.axis.n_channels), np.int64)
    _kernels.add_regions(events.pixel, events.channel, flat, total)
    return total


def dense_cube(
    events: Events, *, window: EnergyWindow | None = None, binning: int = 1, most_bytes: float = 4e9
) -> npt.NDArray[np.uint16]:
    """Return a dense cube, channel first, uint16 (channels, rows, columns).

    Parameters
    ----------
    events : Events
    window : EnergyWindow, optional
        Only these channels.
    binning : int
        Channels added together; an incomplete last bin is left out.
    most_bytes : float
        Refuse a larger cube.

    Raises
    ------
    OutOfRangeError
        For a cube too large, or a cell over 65535 counts.
    """
    start, stop = (0, events.axis.n_channels) if window is None else events.axis.channels(window)
    if binning < 1 or stop - start < binning:
        raise OutOfRangeError(f"binning = {binning} is outside [1, {stop - start}] channels")
    rows, cols = events.shape
    n = (stop - start) // binning
    if 2.0 * n * rows * cols > most_bytes:
        raise OutOfRangeError(
            f"dense cube {n} x {rows} x {cols} needs {2e-9 * n * rows * cols:.1f} GB, over {most_bytes / 1e9:g} GB;"
            " give a window, bin, or raise most_bytes"
        )
    cube = np.zeros((n, rows * cols), np.uint16)
    full = _kernels.add_cube(events.pixel, events.channel, start, binning, cube)
    if full:
        raise OutOfRangeError(f"dense cube: {full} photons fell into cells over 65535 counts; bin less")
    return cube.reshape(n, rows, cols)
