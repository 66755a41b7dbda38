"""Reconstructed volumes, with what they were made of and how: HDF5, or OME-Zarr where a name ends in ``.zarr``.

HDF5 is NXtomoproc (https://manual.nexusformat.org/classes/applications/NXtomoproc.html): ``entry/data/data``
(slice, z, x) float32, one chunk per slice, in attenuation per voxel edge; ``x`` and ``z`` in nm from the axis of
rotation, ``y`` (down, along it) in nm from the middle slice; ``entry/reconstruction`` holds method, options and
geometry. `zarr_volumes` says what Zarr looks like.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import FileFormatError, ShapeError, require_positive
from exitwave.analysis.io.hdf5 import create, number, open_file, text

__all__ = ["VolumeInfo", "open_volume", "write_volume"]

UNITS = "1/pixel"


@dataclass(frozen=True, eq=False)
class VolumeInfo:
    """Where a volume comes from.

    Attributes
    ----------
    voxel_nm : float
        Edge of a voxel.
    method : str
    options : mapping
        Of the method; plain JSON types.
    angles_deg, centre, tilt_deg, shifts
        As in `exitwave.analysis.tomography.Geometry`.
    source_uid : str
        Of the run that holds the projections.
    first_row : int
        Row of the detector that the first slice is.
    middle_px : (float, float)
        Where the middle of the slices is, (z, x) in voxels from the axis of rotation.
    """

    voxel_nm: float
    method: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    angles_deg: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    centre: float = float("nan")
    tilt_deg: float = 0.0
    shifts: npt.NDArray[np.float64] | None = None
    source_uid: str = ""
    first_row: int = 0
    middle_px: tuple[float, float] = (0.0, 0.0)


@contextmanager
def write_volume(
    path: str | Path, shape: tuple[int, int, int], info: VolumeInfo, *, overwrite: bool = False
) -> Iterator[Any]:
    """Open a volume of `shape` (slice, z, x) for writing, slices in any order; it takes its name once it is whole.

    Yields what takes ``data[a:b] = slices``: an HDF5 dataset, or a Zarr array where the name ends in ``.zarr``.

    Raises
    ------
    FileExistsError
        Before anything is written, unless `overwrite`.
    ShapeError, OutOfRangeError
        For a shape that is none, or a voxel without size.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path}: exists already; choose another name or overwrite it")
    if len(shape) != 3 or min(shape) < 1:
        raise ShapeError(f"volume: shape {shape}, expected (slice, z, x), none of them empty")
    voxel = require_positive("voxel", info.voxel_nm, "nm")
    if path.suffix == ".zarr":
        from exitwave.analysis.io.zarr_volumes import write_zarr

        with write_zarr(path, shape, vars(info)) as array:
            yield array
        return
    with create(path) as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"], entry.attrs["default"] = "NXentry", "data"
        entry["definition"] = "NXtomoproc"
        _write_info(entry, info)
        group = entry.create_group("data")
        group.attrs.update({"NX_class": "NXdata", "signal": "data", "axes": ["y", "z", "x"]})
        for name, count, middle in zip("yzx", shape, (0.0, *info.middle_px), strict=True):
            axis = (np.arange(count) - 0.5 * (count - 1) + middle) * voxel
            group.create_dataset(name, data=axis).attrs["units"] = "nm"
        data = group.create_dataset("data", shape, np.float32, chunks=(1, *shape[1:]))
        data.attrs["units"] = UNITS
        yield data


def _write_info(entry: h5py.Group, info: VolumeInfo) -> None:
    process = entry.create_group("reconstruction")
    process.attrs["NX_class"] = "NXprocess"
    process["program"], process["method"] = "exitwave", info.method
    process["options"] = json.dumps(dict(info.options))
    process["source_uid"], process["first_row"] = info.source_uid, int(info.first_row)
    for name, value, units in (
        ("voxel_size", float(info.voxel_nm), "nm"),
        ("rotation_angle", np.asarray(info.angles_deg, np.float64), "deg"),
        ("centre", float(info.centre), "pixel"),
        ("tilt", float(info.tilt_deg), "deg"),
        ("shifts", info.shifts, "pixel"),
        ("middle", np.asarray(info.middle_px, np.float64), "pixel"),
    ):
        if value is not None:
            process.create_dataset(name, data=value).attrs["units"] = units


@contextmanager
def open_volume(path: str | Path) -> Iterator[tuple[Any, VolumeInfo]]:
    """Open a volume for reading: the HDF5 dataset or Zarr array (slice, z, x), and where it comes from.

    Raises
    ------
    FileNotFoundError
    FileFormatError
        If it is no volume that `write_volume` wrote.
    """
    if Path(path).suffix == ".zarr":
        from exitwave.analysis.io.zarr_volumes import open_zarr

        array, about = open_zarr(Path(path))
        yield array, VolumeInfo(**about)
        return
    with open_file(path) as file:
        data, process = file.get("entry/data/data"), file.get("entry/reconstruction")
        if not isinstance(data, h5py.Dataset) or data.ndim != 3 or not isinstance(process, h5py.Group):
            raise FileFormatError(f"{Path(path).name}: no volume under entry/data/data, entry/reconstruction")
        voxel = number(process, "voxel_size", "length")
        if voxel is None:
            raise FileFormatError(f"{Path(path).name}: no entry/reconstruction/voxel_size")
        shifts, middle = process.get("shifts"), process.get("middle")
        yield (
            data,
            VolumeInfo(
                voxel_nm=voxel,
                method=text(process, "method"),
                options=json.loads(text(process, "options") or "{}"),
                angles_deg=np.asarray(process["rotation_angle"][()], np.float64),
                centre=float(process["centre"][()]),
                tilt_deg=float(process["tilt"][()]),
                shifts=None if shifts is None else np.asarray(shifts[()], np.float64),
                source_uid=text(process, "source_uid"),
                first_row=int(process["first_row"][()]),
                middle_px=(0.0, 0.0) if middle is None else (float(middle[0]), float(middle[1])),
            ),
        )
