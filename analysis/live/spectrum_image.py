"""Spectrum images while the photons arrive: spectrum, window maps, count rates, and how well widths are known.

The detector's file is read as it grows, photon by photon once, also within a frame: a slow frame does not hold up the
display. The precision is that of fits to all counts so far; it says when there are enough of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from exitwave.analysis.columns import find_columns, fit_columns
from exitwave.analysis.eds import Accumulator, ChannelIndex, EnergyAxis, EnergyWindow
from exitwave.analysis.errors import AnalysisError, FileFormatError, OutOfRangeError

__all__ = ["LiveSpectrumImage", "SpectrumImageState"]

_AT_ONCE = 2_000_000
_COLUMNS = ("pixel", "channel", "segment")


@dataclass(frozen=True)
class SpectrumImageState:
    """What is known after some photons.

    Attributes
    ----------
    events, frames : int
        Photons, and complete frames.
    input_cps, output_cps : float
        All segments, of the last complete frame, while the beam was on pixels; NaN before.
    fwhm_se_pm : tuple of float
        Median standard error of a single column's FWHM, window by window; NaN where columns do not show yet.
    columns : int
        That show.
    """

    events: int
    frames: int
    input_cps: float
    output_cps: float
    fwhm_se_pm: tuple[float, ...]
    columns: int


class LiveSpectrumImage:
    """A growing event file.

    Parameters
    ----------
    path : str or Path
    windows : sequence of EnergyWindow
        To map; without overlap.
    locking : bool, optional
        Of the file; None, as HDF5 does by itself, where this very process writes it.
    indexed : bool
        Keep the photons ordered by channel, 4 bytes each: `window_maps` then maps any windows at once.

    Attributes
    ----------
    sums : Accumulator
        Spectra, maps and total map as of the last `update`.
    pixel_pm : float
    about : mapping
        Attributes of the file's entry: ``mode``, ``specimen``.

    Raises
    ------
    FileFormatError
        There is no such file yet, or it is none of events.
    """

    def __init__(
        self,
        path: str | Path,
        windows: Sequence[EnergyWindow],
        *,
        locking: bool | None = False,
        indexed: bool = False,
    ) -> None:
        self.windows = tuple(windows)
        try:
            self._file = h5py.File(path, "r", swmr=True, locking=locking)
        except OSError as error:
            raise FileFormatError(f"{Path(path).name}: can't be read yet ({error})") from error
        try:
            entry = self._file["entry"]
            scan, detector = dict(entry["scan"].attrs), dict(entry["detector"].attrs)
            self.about: dict[str, Any] = dict(entry.attrs)
            width_kev = 1e-3 * float(detector["channel_width_ev"])
            axis = EnergyAxis(int(detector["channels"]), width_kev, 0.5 * width_kev)
            self._events = [entry["events"][name] for name in _COLUMNS]
            self._frames = entry["frames"]
            segments = int(self._frames["input_counts"].shape[1])
            self.sums = Accumulator((int(scan["rows"]), int(scan["columns"])), axis, self.windows, segments)
            self._index = ChannelIndex(self.sums.shape, axis) if indexed else None
        except KeyError as error:
            self._file.close()
            raise FileFormatError(f"{Path(path).name}: not a file of events ({error})") from error
        self.pixel_pm = 1e3 * float(scan["pixel_nm"])
        self.frames = 0
        self._rates = (math.nan, math.nan)

    def update(self) -> int:
        """Take the photons that came since the last call; return how many."""
        for dataset in self._events:
            dataset.refresh()
        before = self.sums.n_events
        # the columns grow one after the other
        stop = min(int(dataset.shape[0]) for dataset in self._events)
        for low in range(before, stop, _AT_ONCE):
            pixel, channel, segment = (dataset[low : min(low + _AT_ONCE, stop)] for dataset in self._events)
            self.sums.add(pixel, channel, segment)
            if self._index is not None:
                self._index.add(pixel, channel)
        names = ("input_counts", "output_counts", "real_time_s")
        for name in names:
            self._frames[name].refresh()
        frames = min(int(self._frames[name].shape[0]) for name in names)
        if frames > self.frames:
            self.frames = frames
            came, went, real_s = (self._frames[name][frames - 1] for name in names)
            self._rates = (float(np.sum(came) / real_s), float(np.sum(went) / real_s))
        return stop - before

    def state(self) -> SpectrumImageState:
        """Return figures as of the last `update`; fits the columns."""
        errors, found = self._precision()
        return SpectrumImageState(self.sums.n_events, self.frames, *self._rates, errors, found)

    def _precision(self) -> tuple[tuple[float, ...], int]:
        unknown = (math.nan,) * len(self.windows)
        if not self.sums.maps.any():
            return unknown, 0
        try:
            where = find_columns(self.sums.maps.sum(axis=0))
        except AnalysisError:
            return unknown, 0
        errors = []
        for counts in self.sums.maps:
            try:
                fit = fit_columns(counts, where)
            except AnalysisError:
                errors.append(math.nan)
                continue
            errors.append(self.pixel_pm * float(np.median(fit.fwhm_se[fit.ok])))
        return tuple(errors), len(where)

    def window_maps(self, windows: Sequence[EnergyWindow]) -> npt.NDArray[np.uint32]:
        """Return counts per window and pixel as of the last `update`, uint32 (windows, rows, columns).

        Any windows, also such that overlap; in a fraction of a millisecond, whatever came before.

        Raises
        ------
        OutOfRangeError
            A window outside of the detector's range, or the photons are not `indexed`.
        """
        if self._index is None:
            raise OutOfRangeError("window_maps: the photons are not kept ordered; open the file with indexed=True")
        return self._index.window_maps(windows)

    def spectrum(self) -> npt.NDArray[np.int64]:
        """Return the spectrum of all segments, counts, int64 (n_channels,)."""
        return np.asarray(self.sums.spectra.sum(axis=0), np.int64)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
