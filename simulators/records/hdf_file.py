"""The HDF5 file of an areaDetector file plugin: one chunk per frame, per-frame attributes, readable as it grows."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

__all__ = ["Attribute", "Compression", "CompressionUnavailableError", "Frame", "FrameFile"]

_ATTRIBUTE_CHUNK = 1024
_RESERVE_BYTES = 32 * 1024**2


class CompressionUnavailableError(ValueError):
    """The filter asked for cannot be written here."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a camera hands to its plugins.

    Attributes
    ----------
    unique_id : int
        Number of the frame since the camera's start.
    array : ndarray, shape (y, x)
        C-contiguous counts; never written to again.
    timestamp_s : float
        UNIX time of the start of the exposure.
    attributes : mapping of str to float
        What was true at mid-exposure, by name.
    """

    unique_id: int
    array: NDArray[Any]
    timestamp_s: float
    attributes: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Attribute:
    """A number kept for every frame."""

    name: str
    units: str = ""
    description: str = ""
    dtype: str = "<f8"


BloscCodec = Literal["blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd"]
BLOSC_CODECS: tuple[BloscCodec, ...] = ("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd")


@dataclass(frozen=True, slots=True)
class Compression:
    """How frames are compressed.

    Attributes
    ----------
    kind : str
        One of areaDetector's names: None, N-bit, szip, zlib, Blosc, BSLZ4, LZ4.
    level : int
        For zlib and Blosc.
    blosc_codec : str
        One of BLOSC_CODECS.
    blosc_shuffle : int
        0 none, 1 bytes, 2 bits.
    szip_pixels : int
        Pixels per block.
    """

    kind: str = "None"
    level: int = 6
    blosc_codec: BloscCodec = "lz4"
    blosc_shuffle: int = 1
    szip_pixels: int = 16

    def dataset_options(self) -> dict[str, Any]:
        """Return the keyword arguments of h5py's `create_dataset`.

        Raises
        ------
        CompressionUnavailableError
            If this build cannot write it.
        """
        if self.kind == "None":
            return {}
        if self.kind == "zlib":
            return {"compression": "gzip", "compression_opts": self.level}
        if self.kind == "N-bit":
            return {"compression": h5py.h5z.FILTER_NBIT, "compression_opts": ()}
        if self.kind == "szip" and h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
            return {"compression": "szip", "compression_opts": ("nn", self.szip_pixels)}
        if self.kind in {"Blosc", "BSLZ4", "LZ4"}:
            # Loading the filters takes a tenth of a second; most files need none.
            import hdf5plugin

            if self.kind == "BSLZ4":
                return dict(hdf5plugin.Bitshuffle(cname="lz4"))
            if self.kind == "LZ4":
                return dict(hdf5plugin.LZ4())
            return dict(hdf5plugin.Blosc(cname=self.blosc_codec, clevel=self.level, shuffle=self.blosc_shuffle))
        raise CompressionUnavailableError(f"Compression: {self.kind} cannot be written here; choose None or BSLZ4")


_STANDARD = (
    Attribute("NDArrayUniqueId", "", "Number of the frame", "<i4"),
    Attribute("NDArrayTimeStamp", "s", "Start of the exposure, seconds since 1990-01-01 UTC"),
    Attribute("NDArrayEpicsTSSec", "s", "Start of the exposure, whole seconds since 1990-01-01 UTC", "<u4"),
    Attribute("NDArrayEpicsTSnSec", "ns", "Start of the exposure, nanoseconds", "<u4"),
)
EPICS_EPOCH_S = 631152000.0
"""1990-01-01 UTC in UNIX time."""


class FrameFile:
    """An open file; one thread at a time.

    Frames are in `/entry/data/data` (and, the same dataset, `/entry/instrument/detector/data`), what belongs to
    each in `/entry/instrument/NDAttributes`; both have one entry per frame after each `flush` and in the end.

    Parameters
    ----------
    path : Path
        Where to create it; an existing file is replaced, as areaDetector does.
    shape : tuple of int
        (y, x) of a frame.
    dtype : dtype
        Of a frame.
    attributes : sequence of Attribute
        Numbers kept per frame, besides frame number and times.
    compression : Compression
        Uncompressed frames go to the file as chunks, without a copy.
    swmr : bool
        Whether readers may follow while it grows.

    Raises
    ------
    OSError
        If the file cannot be created.
    CompressionUnavailableError
        If the compression cannot be written.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        *,
        attributes: Sequence[Attribute],
        compression: Compression,
        swmr: bool,
    ) -> None:
        options = compression.dataset_options()
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.swmr = swmr
        self.written = 0
        self._rows: list[tuple[int, float, Mapping[str, float]]] = []
        self._direct = not options
        self._folder = path.parent
        self._columns = {attribute.name: attribute for attribute in (*_STANDARD, *attributes)}
        self._file = h5py.File(path, "w", libver="latest")
        with contextlib.ExitStack() as undo:
            undo.callback(self._file.close)
            self._data, self._values = self._lay_out(options)
            if swmr:
                self._file.swmr_mode = True
            undo.pop_all()

    def _lay_out(self, options: Mapping[str, Any]) -> tuple[h5py.Dataset, dict[str, h5py.Dataset]]:
        entry = self._file.create_group("entry")
        data = entry.create_group("data")
        instrument = entry.create_group("instrument")
        detector = instrument.create_group("detector")
        numbers = instrument.create_group("NDAttributes")
        self._file.attrs["default"] = "entry"
        for group, nx_class in (
            (entry, "NXentry"),
            (data, "NXdata"),
            (instrument, "NXinstrument"),
            (detector, "NXdetector"),
            (numbers, "NXcollection"),
        ):
            group.attrs["NX_class"] = nx_class
        entry.attrs["default"] = "data"
        data.attrs["signal"] = "data"
        frames = data.create_dataset(
            "data",
            shape=(0, *self.shape),
            maxshape=(None, *self.shape),
            chunks=(1, *self.shape),
            dtype=self.dtype,
            fill_time="never",
            **options,
        )
        frames.attrs["units"] = "counts"
        detector["data"] = frames
        values = {}
        for column in self._columns.values():
            values[column.name] = numbers.create_dataset(
                column.name, shape=(0,), maxshape=(None,), chunks=(_ATTRIBUTE_CHUNK,), dtype=column.dtype
            )
            values[column.name].attrs["units"] = column.units
            values[column.name].attrs["NDAttrDescription"] = column.description
        return frames, values

    def append(self, frames: Sequence[Frame]) -> None:
        """Write frames and what belongs to them.

        Parameters
        ----------
        frames : sequence of Frame
            Of this file's shape and dtype.

        Raises
        ------
        ValueError
            If a frame's shape or dtype differ from the file's.
        OSError, RuntimeError
            If the disk refuses.
        """
        for frame in frames:
            if frame.array.shape != self.shape or frame.array.dtype != self.dtype:
                raise ValueError(
                    f"frame {frame.unique_id}: {frame.array.shape} {frame.array.dtype} does not fit the file's "
                    f"{self.shape} {self.dtype}; stop the capture before changing the region or the binning"
                )
        self._check_space(sum(frame.array.nbytes for frame in frames))
        start, stop = self.written, self.written + len(frames)
        self._data.resize(stop, axis=0)
        for index, frame in enumerate(frames, start):
            if self._direct:
                self._data.id.write_direct_chunk((index, 0, 0), frame.array)
            else:
                self._data[index] = frame.array
            self.written = index + 1
            self._rows.append((frame.unique_id, frame.timestamp_s - EPICS_EPOCH_S, frame.attributes))
        if len(self._rows) >= _ATTRIBUTE_CHUNK:
            self._write_rows()

    def _check_space(self, wanted: int) -> None:
        # A file whose index no longer fits on the disk cannot be opened again: stop while it can be closed.
        disk = os.statvfs(self._folder)
        free = disk.f_bavail * disk.f_frsize
        needed = wanted + _RESERVE_BYTES
        if free < needed:
            message = f"{os.strerror(errno.ENOSPC)}: {free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB needed"
            raise OSError(errno.ENOSPC, message, str(self._folder))

    def _write_rows(self) -> None:
        """Write the numbers kept back: a dozen small writes cost as much as a frame."""
        if not self._rows:
            return
        start, stop = self.written - len(self._rows), self.written
        stamps_s = np.array([row[1] for row in self._rows])
        table: dict[str, NDArray[Any]] = {
            "NDArrayUniqueId": np.array([row[0] for row in self._rows]),
            "NDArrayTimeStamp": stamps_s,
            "NDArrayEpicsTSSec": stamps_s.astype(np.uint32),
            "NDArrayEpicsTSnSec": (stamps_s % 1.0 * 1e9).astype(np.uint32),
        }
        for name, dataset in self._values.items():
            numbers = table.get(name)
            if numbers is None:
                numbers = np.array([row[2].get(name, np.nan) for row in self._rows])
            dataset.resize(stop, axis=0)
            dataset[start:stop] = numbers
        self._rows.clear()

    def flush(self) -> None:
        """Let readers see what was written."""
        self._write_rows()
        if self.swmr:
            self._data.flush()
            for dataset in self._values.values():
                dataset.flush()
        else:
            self._file.flush()

    def close(self) -> None:
        """Cut the file to the frames that were written whole, and close it."""
        if not self._file:
            return
        self._write_rows()
        for dataset in (self._data, *self._values.values()):
            if dataset.shape[0] > self.written:
                dataset.resize(self.written, axis=0)
        self._file.close()
