"""Frames in HDF5 files as lazy arrays."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from exitwave.profiles.storage.errors import StorageError
from exitwave.profiles.storage.layout import FileLocation

_FILTERS = hdf5plugin.FILTERS  # its import teaches HDF5 the compressions of detectors

__all__ = ["FrameBlock", "FramesMissingError", "count_frames", "lazy_frames", "open_file"]


class FramesMissingError(StorageError):
    """A file of frames is not there, or has fewer frames than the documents say."""


@dataclass(frozen=True)
class FrameBlock:
    """Points of a stream whose frames lie one after the other in one file.

    Point ``row`` (0-based) of the stream has the frames
    ``[first + i * n, first + (i + 1) * n)`` of the dataset, where ``i`` counts from the block's
    first row and n is the number of frames of a point.
    """

    location: FileLocation
    row: int
    rows: int
    first: int


def open_file(path: Path) -> h5py.File:
    """Open a file of frames to read, while it is written too: without locks, for the camera's server may hold one.

    All of this program opens files so: HDF5 refuses to open one again in a process with another way of locking.

    Raises
    ------
    FramesMissingError
        It cannot be read.
    """
    try:
        return h5py.File(path, "r", libver="latest", swmr=True, locking=False)
    except OSError as error:
        raise FramesMissingError(
            f"{path}: cannot be read ({error}); was it moved, or is it still being written without SWMR?"
        ) from error


def _dataset(file: h5py.File, location: FileLocation) -> h5py.Dataset:
    if location.dataset not in file:
        raise FramesMissingError(f"{location.path}: has no dataset {location.dataset}")
    return file[location.dataset]


def count_frames(location: FileLocation) -> int:
    """Count the frames in a file now.

    Raises
    ------
    FramesMissingError
        If it cannot be read.
    """
    with open_file(location.path) as file:
        return int(_dataset(file, location).shape[0])


def _read(location: FileLocation, first: int, count: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Read the frames of one point as an array of shape ``(1, *shape)``."""
    with open_file(location.path) as file:
        dataset = _dataset(file, location)
        if dataset.shape[0] < first + count:
            raise FramesMissingError(
                f"{location.path}: {dataset.shape[0]} frames, but frame {first + count} belongs to the run"
            )
        return np.asarray(dataset[first : first + count]).reshape(1, *shape)


def lazy_frames(blocks: Sequence[FrameBlock], shape: tuple[int, ...], rows: int) -> Any:
    """Array of all points' frames that reads a point when it is asked for.

    Parameters
    ----------
    blocks : sequence of FrameBlock
        Where the points are.
    shape : tuple of int
        Shape of one point: ``(n, y, x)`` or ``(y, x)``.
    rows : int
        Number of points of the stream.

    Returns
    -------
    dask.array.Array
        Shape ``(rows, *shape)``, one chunk per point, dtype of the file. No frame is in memory
        until it is computed; a point without frames raises `FramesMissingError` when it is read.
    """
    import dask.array as da
    from dask.base import tokenize

    with open_file(blocks[0].location.path) as file:
        dataset = _dataset(file, blocks[0].location)
        dtype = dataset.dtype
        per_point = shape[0] if len(shape) == len(dataset.shape) else 1
    name = "frames-" + tokenize([(b.location, b.row, b.rows, b.first) for b in blocks], shape, rows)
    zeros = (0,) * len(shape)
    graph: dict[Any, Any] = {
        (name, row, *zeros): (_missing, row, [block.location.path for block in blocks[:1]]) for row in range(rows)
    }
    for block in blocks:
        for i, row in zip(range(block.rows), itertools.count(block.row), strict=False):
            if row < rows:
                first = block.first + i * per_point
                graph[(name, row, *zeros)] = (_read, block.location, first, per_point, shape)
    chunks = ((1,) * rows, *((size,) for size in shape))
    make: Any = da.Array
    return make(graph, name, chunks=chunks, dtype=dtype)


def _missing(row: int, paths: Sequence[Any]) -> np.ndarray[Any, Any]:
    raise FramesMissingError(f"{paths[0]}: no frame was recorded for point {row}")
