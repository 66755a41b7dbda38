"""The HDF5 file of X-ray events: appended while the scan runs, readable as it grows (SWMR).

``/entry`` carries what holds for all of it as attributes: ``instrument``, ``mode`` (of the simulated physics),
``specimen``, ``yield_scale`` and so on. Below it:

- ``events/pixel`` (uint32, row x columns + column of the scanned part), ``events/frame`` (uint32, from 0),
  ``events/segment`` (uint8, from 0), ``events/channel`` (uint16): one entry per event, in the order of time in a frame.
- ``frames/event_stop`` (uint64): number of events up to each frame's end; ``frames/start_time_s`` (UNIX),
  ``real_time_s``, ``live_time_s``, ``input_counts`` and ``output_counts`` (frames, segments), and what belongs to a
  frame by the names of the dark-field detector's file (``ShiftX``, ``Dose`` ...). A frame that was not completed has
  events but no entry here.
- ``scan``: attributes ``columns``, ``rows``, ``field_of_view_nm``, ``pixel_nm``, ``dwell_s``, ``rotation_deg`` ...
- ``detector``: attributes ``channel_width_ev``, ``channels``, ``dead_time_s``, ``dead_time_model``; datasets by
  segment: ``solid_angle_sr``, ``take_off_deg``, ``azimuth_deg``, ``area_mm2``. Channel c holds energies from c to
  c + 1 channel widths.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

__all__ = ["EventFile", "Events", "FrameEnd", "Heading"]

_CHUNK = 65536
_FRAME_CHUNK = 256
_RESERVE_BYTES = 32 * 1024**2
_COLUMNS = {"pixel": np.uint32, "frame": np.uint32, "segment": np.uint8, "channel": np.uint16}


@dataclass(frozen=True)
class Heading:
    """What a file starts with.

    Attributes
    ----------
    entry, scan, detector : mapping
        Attributes of these groups.
    segments : mapping of str to ndarray
        Datasets by segment.
    segment_count : int
        Number of segments.
    numbers : tuple of (str, str)
        Name and unit of every number that a frame carries.
    """

    entry: Mapping[str, Any]
    scan: Mapping[str, Any]
    detector: Mapping[str, Any]
    segments: Mapping[str, NDArray[Any]]
    segment_count: int
    numbers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Events:
    """Some events of one frame; arrays (n,)."""

    frame: int
    pixel: NDArray[np.uint32]
    segment: NDArray[np.uint8]
    channel: NDArray[np.uint16]


@dataclass(frozen=True)
class FrameEnd:
    """The end of a frame: its times and counters (by segment), and the numbers it carries."""

    start_time_s: float
    real_time_s: float
    live_time_s: NDArray[np.float64]
    input_counts: NDArray[np.int64]
    output_counts: NDArray[np.int64]
    numbers: Mapping[str, float]


class EventFile:
    """An open file; one thread at a time.

    Parameters
    ----------
    path : Path
        Where to create it; an existing file is replaced, as areaDetector does.
    heading : Heading
        What it starts with.

    Raises
    ------
    OSError
        If the file can't be created.
    """

    def __init__(self, path: Path, heading: Heading) -> None:
        self.written = 0
        self.frames = 0
        self._folder = path.parent
        self._file = h5py.File(path, "w", libver="latest")
        with contextlib.ExitStack() as undo:
            undo.callback(self._file.close)
            self._lay_out(heading)
            self._file.swmr_mode = True
            undo.pop_all()

    def _lay_out(self, heading: Heading) -> None:
        entry = self._file.create_group("entry")
        events, frames = entry.create_group("events"), entry.create_group("frames")
        scan, detector = entry.create_group("scan"), entry.create_group("detector")
        for group, attributes in ((entry, heading.entry), (scan, heading.scan), (detector, heading.detector)):
            for name, value in attributes.items():
                group.attrs[name] = value
        self._file.attrs["default"] = "entry"
        for group, nx_class in ((entry, "NXentry"), (events, "NXevent_data"), (detector, "NXdetector")):
            group.attrs["NX_class"] = nx_class
        for name, values in heading.segments.items():
            detector[name] = values
        self._events = {
            name: events.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(_CHUNK,))
            for name, dtype in _COLUMNS.items()
        }
        n = heading.segment_count
        single = (("start_time_s", "f8", "s"), ("real_time_s", "f8", "s"), ("event_stop", "u8", ""))
        self._frames: dict[str, h5py.Dataset] = {}
        for name, dtype, unit in (*single, *((name, "f8", unit) for name, unit in heading.numbers)):
            self._frames[name] = frames.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(_FRAME_CHUNK,))
            self._frames[name].attrs["units"] = unit
        for name, dtype in (("live_time_s", "f8"), ("input_counts", "i8"), ("output_counts", "i8")):
            self._frames[name] = frames.create_dataset(
                name, (0, n), dtype, maxshape=(None, n), chunks=(_FRAME_CHUNK, n)
            )

    def append(self, events: Events) -> None:
        """Write events.

        Raises
        ------
        OSError
            If the disk is about to be full.
        """
        count = len(events.pixel)
        if not count:
            return
        disk = os.statvfs(self._folder)
        free, needed = disk.f_bavail * disk.f_frsize, 11 * count + _RESERVE_BYTES
        if free < needed:
            message = f"{os.strerror(errno.ENOSPC)}: {free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB needed"
            raise OSError(errno.ENOSPC, message, str(self._folder))
        start, stop = self.written, self.written + count
        columns = {
            "pixel": events.pixel,
            "frame": np.full(count, events.frame, np.uint32),
            "segment": events.segment,
            "channel": events.channel,
        }
        for name, dataset in self._events.items():
            dataset.resize(stop, axis=0)
            dataset[start:stop] = columns[name]
        self.written = stop

    def end_frame(self, end: FrameEnd) -> None:
        """Write what belongs to a completed frame; its events are in the file."""
        index = self.frames
        values: dict[str, Any] = {
            "start_time_s": end.start_time_s,
            "real_time_s": end.real_time_s,
            "event_stop": self.written,
            "live_time_s": end.live_time_s,
            "input_counts": end.input_counts,
            "output_counts": end.output_counts,
        }
        for name, dataset in self._frames.items():
            dataset.resize(index + 1, axis=0)
            dataset[index] = values[name] if name in values else end.numbers.get(name, np.nan)
        self.frames = index + 1

    def flush(self) -> None:
        """Let readers see what was written: the events first, then what counts them."""
        for dataset in (*self._events.values(), *self._frames.values()):
            dataset.flush()

    def close(self) -> None:
        """Close it."""
        if self._file:
            self._file.close()
