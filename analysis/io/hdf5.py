"""What the HDF5 formats share."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import FileFormatError
from exitwave.analysis.io.series import Frames

__all__ = ["create", "frames_of", "number", "open_file", "text", "write_frames"]

_TO_NM = {"m": 1e9, "mm": 1e6, "um": 1e3, "µm": 1e3, "micron": 1e3, "microns": 1e3, "nm": 1.0}
_TO_KEV = {"kev": 1.0, "ev": 1e-3, "j": 1.0 / 1.602176634e-16}
_TO_S = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6}
UNITS = {"length": _TO_NM, "energy": _TO_KEV, "time": _TO_S}


def open_file(path: str | Path) -> h5py.File:
    """Open an HDF5 file for reading; one that is none raises `FileFormatError`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        importlib.import_module("hdf5plugin")  # registers the compressors of areaDetector files
        return h5py.File(path, "r")
    except OSError as error:
        raise FileFormatError(f"{path.name}: cannot be read as HDF5: {error}") from error


def frames_of(data: h5py.Dataset, index: npt.NDArray[np.intp] | None = None) -> Frames:
    """Wrap a dataset (n, y, x), or some of its frames."""
    if data.ndim != 3:
        raise FileFormatError(f"{data.name}: expected (n, y, x), got {data.shape}")
    chosen = np.arange(data.shape[0]) if index is None else index

    def read(i: int) -> npt.NDArray[Any]:
        if not data:
            raise FileFormatError("the file is closed: read frames before closing the series")
        try:
            return np.asarray(data[i])
        except OSError as error:
            raise FileFormatError(f"{data.file.filename}: frame {i} of {data.name} cannot be read: {error}") from error

    return Frames(read, chosen, (data.shape[1], data.shape[2]), data.dtype)


def number(file: h5py.Group, path: str, kind: str) -> float | None:
    """Read a number with its unit as nm, keV or s; the mean if there are several; None if absent.

    Raises
    ------
    FileFormatError
        For a unit that is not known.
    """
    node = file.get(path)
    if not isinstance(node, h5py.Dataset) or node.size == 0:
        return None
    unit = node.attrs.get("units", {"length": "m", "energy": "keV", "time": "s"}[kind])
    unit = unit.decode() if isinstance(unit, bytes) else str(unit)
    factor = UNITS[kind].get(unit.lower() if kind == "energy" else unit)
    if factor is None:
        raise FileFormatError(f"{path}: unit {unit!r} is not a {kind} known here")
    values = np.asarray(node[()], dtype=np.float64).reshape(-1)
    mean = values[0] if np.all(values == values[0]) else values.mean()  # a mean of equal numbers may round
    return float(mean) * factor


def text(file: h5py.Group, path: str) -> str:
    """Read a string, empty if absent."""
    node = file.get(path)
    if not isinstance(node, h5py.Dataset):
        return ""
    value: Any = node[()]
    if isinstance(value, np.ndarray):
        value = value.flat[0] if value.size else b""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


@contextmanager
def create(path: str | Path) -> Iterator[h5py.File]:
    """Write an HDF5 file beside its final name and move it there once it is whole."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        with h5py.File(part, "w", libver="latest") as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_frames(group: h5py.Group, name: str, parts: list[Frames]) -> h5py.Dataset:
    """Write parts one after the other into one dataset, one chunk per frame, one frame in memory."""
    shape, dtype = parts[0].frame_shape, parts[0].dtype
    for part in parts:
        if part.frame_shape != shape or part.dtype != dtype:
            raise FileFormatError(
                f"{name}: frames of {part.frame_shape} {part.dtype} beside {shape} {dtype} cannot share a dataset"
            )
    total = sum(len(part) for part in parts)
    data = group.create_dataset(name, (total, *shape), dtype, chunks=(1, *shape) if total else None)
    row = 0
    for part in parts:
        for frame in part:
            data[row] = frame
            row += 1
    return data
