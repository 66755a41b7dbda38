"""Readers of recorded tomographic series: Data Exchange and NXtomo (HDF5), Xradia .txrm/.xrm (OLE).

Frames stay in the file and are read one by one, in their own dtype.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import h5py
import numpy as np
import numpy.typing as npt
import olefile

Frame = npt.NDArray[Any]
XRADIA_DTYPES: dict[int, np.dtype[Any]] = {3: np.dtype("<i1"), 5: np.dtype("<u2"), 10: np.dtype("<f4")}


class SeriesError(ValueError):
    """A recorded series can't be read."""


class Series(Protocol):
    """Projections with their angles, darks and flats.

    ``kind`` is ``projection``, ``flat`` or ``dark``.
    """

    theta_deg: npt.NDArray[np.float64]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    pixel_um: float | None
    description: str

    def count(self, kind: str) -> int:
        """Return the number of frames of a kind."""
        ...

    def frame(self, kind: str, index: int) -> Frame:
        """Return one frame as stored."""
        ...


@dataclass(eq=False)
class Hdf5Series:
    """Frames in one or several datasets of an HDF5 file; ``where[kind]`` lists (dataset, index)."""

    path: Path
    where: dict[str, list[tuple[str, int]]]
    theta_deg: npt.NDArray[np.float64]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    pixel_um: float | None
    description: str

    def __post_init__(self) -> None:
        self._lock = Lock()
        self._file = h5py.File(self.path, "r")

    def count(self, kind: str) -> int:
        """Return the number of frames of a kind."""
        return len(self.where[kind])

    def frame(self, kind: str, index: int) -> Frame:
        """Return one frame as stored."""
        dataset, place = self.where[kind][index]
        with self._lock:
            return np.ascontiguousarray(self._file[dataset][place])


def read_data_exchange(path: Path, file: h5py.File) -> Hdf5Series:
    """Read ``/exchange`` (F. De Carlo et al., J. Synchrotron Rad. 21 (2014) 1224).

    Angles come from ``theta`` (degrees, or radians if its ``units`` say so); without it they are spread evenly over
    180 degrees, which the description says.
    """
    group = file["exchange"]
    data = group["data"]
    if data.ndim != 3:
        raise SeriesError(f"{path}: exchange/data has {data.ndim} dimensions; (angle, row, column) is needed")
    where = {"projection": [("exchange/data", n) for n in range(data.shape[0])]}
    for kind, name in (("flat", "data_white"), ("dark", "data_dark")):
        n_frames = group[name].shape[0] if name in group and group[name].ndim == 3 else 0
        where[kind] = [(f"exchange/{name}", n) for n in range(n_frames)]
    description = "Data Exchange"
    if "theta" in group and group["theta"].shape[0] == data.shape[0]:
        theta = np.asarray(group["theta"][()], np.float64)
        if "rad" in str(group["theta"].attrs.get("units", "deg")).lower():
            theta = np.rad2deg(theta)
    else:
        theta = np.linspace(0.0, 180.0, data.shape[0], endpoint=False)
        description += ", angles not in the file: spread over 180 deg"
    return Hdf5Series(path, where, theta, data.shape[1:], data.dtype, None, description)


def read_nxtomo(path: Path, file: h5py.File) -> Hdf5Series:
    """Read the first ``NXtomo`` entry: ``image_key`` 0 projection, 1 flat, 2 dark; other frames are left out."""
    entry = next((e for e in file.values() if isinstance(e, h5py.Group) and _is_nxtomo(e)), None)
    if entry is None:
        raise SeriesError(f"{path}: neither /exchange (Data Exchange) nor an NXtomo entry")
    detectors = [g for g in entry["instrument"].values() if isinstance(g, h5py.Group) and "image_key" in g]
    detector = detectors[0]
    data = detector["data"]
    key = np.asarray(detector["image_key"][()])
    angles = np.asarray(entry["sample/rotation_angle"][()], np.float64)
    places = {kind: np.flatnonzero(key == value) for kind, value in (("projection", 0), ("flat", 1), ("dark", 2))}
    where = {kind: [(str(data.name), int(n)) for n in found] for kind, found in places.items()}
    pixel = detector.get("x_pixel_size")
    pixel_um = None if pixel is None else float(np.ravel(pixel[()])[0]) * _to_um(str(pixel.attrs.get("units", "m")))
    return Hdf5Series(path, where, angles[places["projection"]], data.shape[1:], data.dtype, pixel_um, "NXtomo")


def _is_nxtomo(entry: h5py.Group) -> bool:
    definition = entry.get("definition")
    if definition is None or "instrument" not in entry:
        return False
    text = definition[()]
    return (text.decode() if isinstance(text, bytes) else str(text)) == "NXtomo"


def _to_um(unit: str) -> float:
    return {"m": 1e6, "mm": 1e3, "um": 1.0, "micron": 1.0, "nm": 1e-3}.get(unit, 1e6)


@dataclass(eq=False)
class XradiaSeries:
    """Frames of an Xradia file: stream ``ImageData{(n - 1) // 100 + 1}/Image{n}`` each."""

    path: Path

    def __post_init__(self) -> None:
        self._lock = Lock()
        self._ole = olefile.OleFileIO(str(self.path))
        width, height = self._integer("ImageInfo/ImageWidth"), self._integer("ImageInfo/ImageHeight")
        kind = self._integer("ImageInfo/DataType")
        if kind not in XRADIA_DTYPES:
            raise SeriesError(f"{self.path}: data type {kind} is unknown; known are {sorted(XRADIA_DTYPES)}")
        self.shape = (height, width)
        self.dtype: np.dtype[Any] = XRADIA_DTYPES[kind]
        taken = self._integer("ImageInfo/NoOfImages")
        self._frames = [n for n in range(1, taken + 1) if self._ole.exists(self._stream(n))]
        angles = self._floats("ImageInfo/Angles")
        self.theta_deg = np.asarray([angles[n - 1] if n <= angles.size else 0.0 for n in self._frames], np.float64)
        pixel = self._floats("ImageInfo/PixelSize")
        self.pixel_um = float(pixel[0]) if pixel.size else None
        self._flat = self._ole.exists("ReferenceData/Image")
        self.description = "Xradia"

    @staticmethod
    def _stream(n: int) -> str:
        return f"ImageData{(n - 1) // 100 + 1}/Image{n}"

    def _integer(self, stream: str) -> int:
        if not self._ole.exists(stream):
            raise SeriesError(f"{self.path}: no stream {stream}; is it an Xradia file?")
        return int(struct.unpack("<I", self._ole.openstream(stream).read()[:4])[0])

    def _floats(self, stream: str) -> npt.NDArray[np.float32]:
        if not self._ole.exists(stream):
            return np.empty(0, np.float32)
        raw = self._ole.openstream(stream).read()
        return np.frombuffer(raw[: len(raw) // 4 * 4], "<f4")

    def count(self, kind: str) -> int:
        """Return the number of frames of a kind; Xradia files hold one flat at most, and no darks."""
        return {"projection": len(self._frames), "flat": int(self._flat), "dark": 0}[kind]

    def frame(self, kind: str, index: int) -> Frame:
        """Return one frame as stored."""
        stream = "ReferenceData/Image" if kind == "flat" else self._stream(self._frames[index])
        with self._lock:
            raw = self._ole.openstream(stream).read()
        n = self.shape[0] * self.shape[1]
        if kind == "flat" and len(raw) == 4 * n:  # references are often stored as floats
            return np.frombuffer(raw, "<f4").reshape(self.shape)
        return np.frombuffer(raw, self.dtype, n).reshape(self.shape)


def open_series(path: Path) -> Series:
    """Open a recorded series by what it is.

    Raises
    ------
    SeriesError
        If the file is missing, is of no known kind, or holds no projection.
    """
    if not path.is_file():
        raise SeriesError(f"{path}: no such file to replay")
    series: Series
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            series = read_data_exchange(path, file) if "exchange" in file else read_nxtomo(path, file)
    elif olefile.isOleFile(str(path)):
        series = XradiaSeries(path)
    else:
        raise SeriesError(f"{path}: neither HDF5 (Data Exchange, NXtomo) nor Xradia .txrm/.xrm")
    if series.count("projection") == 0:
        raise SeriesError(f"{path}: no projections in it")
    return series
