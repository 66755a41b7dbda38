"""One spectrum image: events, dark-field frames and drift of a run, put together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitwave.analysis.eds import EnergyWindow, Events, coverage, window_maps
from exitwave.analysis.errors import FitError
from exitwave.analysis.io.eds_files import EdsMeasurement, read_acquisition
from exitwave.plans.pure.stem import DriftTracker
from exitwave.profiles.storage.errors import StorageError
from exitwave.profiles.storage.paths import DataFolder
from exitwave.profiles.storage.reader import RunReader, open_run

__all__ = ["NoSpectrumImageError", "SpectrumImage", "open_spectrum_image"]

Array = NDArray[np.float64]

_LEAST_SIDE = 32
"""Fewer rows or columns than that show no drift, as the plans have it."""


class NoSpectrumImageError(StorageError):
    """A run without X-ray events, or without a single complete frame."""


class SpectrumImage:
    """A spectrum image, opened by `open_spectrum_image`: `n` complete frames of (rows, columns) pixels.

    Attributes
    ----------
    run : RunReader
    path : Path
        The file of events.
    measurement : EdsMeasurement
        Events of the frames that the documents hold, what each segment reported, and the file's own attributes.
    live_s : float64 array (n, segments)
        Live time of each segment, frame by frame.
    shift_nm : float64 array (n, 2)
        (y, x) beam shift with which each frame was scanned.
    dose_e_a2 : float64 array (n,)
        Accumulated at each frame's end.
    seen_drift_nm : float64 array (m, 3)
        (frame, y, x): where the plan saw the specimen against the first frame; none where drift was ignored.
    """

    def __init__(self, run: RunReader) -> None:
        self.run = run
        primary = run.stream("primary") if "primary" in run.streams else None
        eds = next((key[: -len("_event_stop")] for key in (primary.blocks if primary else {}) if _is_stop(key)), None)
        if primary is None or eds is None or not primary.rows:
            raise NoSpectrumImageError(
                f"run {run.uid[:8]} ({run.start.get('plan_name', '?')}): holds no frames with X-ray events; "
                "RE(anxri.map(...)) takes them"
            )
        table = primary.to_xarray()
        # A dark-field camera writes its shifts; its images are what has rows and columns.
        self._camera = next(str(key) for key, one in table.items() if one.ndim == 3)
        self._images = table[self._camera]
        self.path = Path(primary.blocks[f"{eds}_event_stop"][0].location.path)
        whole = read_acquisition(self.path)
        self.measurement = _first_frames(whole, primary.rows)
        self.live_s = np.asarray(table[f"{eds}_live_time_s"].values, np.float64)
        self.shift_nm = np.stack([self._column(table, f"shift_{axis}") for axis in "yx"], axis=1)
        self.dose_e_a2 = self._column(table, "dose")
        self.seen_drift_nm = _seen_drift(run)

    def _column(self, table: Any, key: str) -> Array:
        name = f"{self._camera}_{key}"
        if name not in table:
            return np.zeros(self.n_frames)
        return np.asarray(table[name].values, np.float64).reshape(-1)

    def __repr__(self) -> str:
        rows, columns = self.events.shape
        return (
            f"<spectrum image {self.run.uid[:8]}: {self.n_frames} frames of {rows} x {columns} pixels of "
            f"{1e3 * self.pixel_nm:.3g} pm, {len(self.events)} events>"
        )

    @property
    def events(self) -> Events:
        """The events of all frames."""
        return self.measurement.events

    @property
    def n_frames(self) -> int:
        """Complete frames."""
        return self.measurement.events.n_frames

    @property
    def pixel_nm(self) -> float:
        """Side of a pixel, as the deflectors have it."""
        return float(self.run.start["pixel_size_nm"])

    @property
    def scan(self) -> dict[str, Any]:
        """Settings of the scan, as the file has them: ``dwell_s``, ``rotation_deg``, ``flyback_s`` ..."""
        return dict(self.measurement.metadata["scan"])

    @cached_property
    def frames(self) -> NDArray[np.float32]:
        """Dark-field frames, float32 (n, rows, columns)."""
        return np.asarray(self._images.values, np.float32)

    @property
    def drift_nm(self) -> Array | None:
        """(y, x) of the specimen against the first frame, one for each frame; None where the plan saw none.

        Between the frames that the plan looked at it is interpolated: a specimen drifts smoothly.
        """
        seen = self.seen_drift_nm
        if not len(seen):
            return None
        numbers = np.arange(self.n_frames)
        return np.stack([np.interp(numbers, seen[:, 0], seen[:, axis]) for axis in (1, 2)], axis=1)

    def measured_drift_nm(self) -> Array:
        """Follow the specimen through the dark-field frames anew, every one of them; (y, x), (n, 2).

        Frames that show nothing are interpolated.

        Raises
        ------
        FitError
            None of them shows anything.
        """
        if min(self.events.shape) < _LEAST_SIDE:
            return np.zeros((self.n_frames, 2))
        tracker, found = DriftTracker(self.pixel_nm), []
        for number, image in enumerate(self.frames):
            y, x = self.shift_nm[number]
            try:
                drift = tracker.follow(image, (float(x), float(y)))
            except FitError:
                continue
            found.append((number, drift.y_nm, drift.x_nm))
        if not found:
            raise FitError(f"run {self.run.uid[:8]}: no dark-field frame shows where the specimen is")
        table, numbers = np.asarray(found, np.float64), np.arange(self.n_frames)
        return np.stack([np.interp(numbers, table[:, 0], table[:, axis]) for axis in (1, 2)], axis=1)

    def shifts_px(self, drift_nm: Array | None = None) -> Array:
        """Return by how much the picture of each frame stands displaced, (dy, dx) in pixels, (n, 2).

        That is what `exitwave.analysis.eds.window_maps` takes out: drift less what the beam shift followed of it.

        Parameters
        ----------
        drift_nm : array (n, 2), optional
            (y, x); what the plan saw without it, or zero where it saw none.
        """
        drift = self.drift_nm if drift_nm is None else np.asarray(drift_nm, np.float64)
        if drift is None:
            drift = np.zeros((self.n_frames, 2))
        return np.asarray((drift - (self.shift_nm - self.shift_nm[0])) / self.pixel_nm)

    def window_maps(self, windows: Sequence[EnergyWindow], *, drift_nm: Array | None = None) -> NDArray[Any]:
        """Return counts per window and pixel with the drift taken out, uint32 (windows, rows, columns)."""
        return np.asarray(window_maps(self.events, windows, shifts_px=self.shifts_px(drift_nm)))

    def exposure(self, *, drift_nm: Array | None = None) -> NDArray[np.float32]:
        """Return the share of the frames that saw each pixel of `window_maps`, float32 (rows, columns)."""
        seen = coverage(self.events.shape, self.n_frames, self.shifts_px(drift_nm))
        return np.asarray(seen / np.float32(self.n_frames), np.float32)


def _is_stop(key: str) -> bool:
    return key.endswith("_event_stop")


def _first_frames(measurement: EdsMeasurement, count: int) -> EdsMeasurement:
    """Leave out frames that the file has and the documents do not: the last of a run that failed."""
    if measurement.events.n_frames <= count:
        return measurement
    return EdsMeasurement(
        measurement.events.frames(0, count),
        measurement.segments,
        measurement.beam_kev,
        measurement.pixel_nm,
        measurement.current_a,
        measurement.angles_deg,
        measurement.metadata,
    )


def _seen_drift(run: RunReader) -> Array:
    if "frames" not in run.streams:
        return np.zeros((0, 3))
    table = run.to_xarray("frames")
    names = {str(key).rsplit("_record_", 1)[-1]: str(key) for key in table}
    if not {"frame", "drift_y", "drift_x"} <= set(names):
        return np.zeros((0, 3))
    columns = [np.asarray(table[names[key]].values, np.float64) for key in ("frame", "drift_y", "drift_x")]
    seen = np.stack(columns, axis=1)
    return np.asarray(seen[np.isfinite(seen).all(axis=1)])


def open_spectrum_image(key: str | int = -1, *, data: DataFolder | None = None) -> SpectrumImage:
    """Open the spectrum image that a run took: all that ANXRI needs of it.

    Parameters
    ----------
    key : str or int
        Of the run, as for `open_run`.
    data : DataFolder, optional

    Raises
    ------
    NoSpectrumImageError
        The run holds no X-ray events.
    FileFormatError, FramesMissingError
        Its files can't be read.
    RunNotFoundError
    """
    return SpectrumImage(open_run(key, data=data))
