"""Reconstructed volumes in Zarr, as OME-Zarr 0.5 (https://ngff.openmicroscopy.org/0.5/), which viewers open as it is.

A group with one array ``0`` (slice, z, x), float32, one chunk per slice, in attenuation per voxel edge. Its axes are y
(down, along the axis of rotation, from the middle slice), z (along the beam at 0 deg) and x, both from the axis of
rotation, in nm. What OME-Zarr has no word for stands under ``exitwave``: method, options and geometry.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from exitwave.analysis.errors import FileFormatError

__all__ = ["open_zarr", "write_zarr"]


@contextmanager
def write_zarr(path: Path, shape: tuple[int, int, int], about: Mapping[str, Any]) -> Iterator[zarr.Array[Any]]:
    """Open a volume for writing; its folder takes its name once it is whole, and replaces one that is there.

    Parameters
    ----------
    path : Path
    shape : (slices, z, x)
    about : mapping
        Fields of a `VolumeInfo`.
    """
    part = path.with_name(path.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        group = zarr.create_group(part, attributes={"ome": _ome(path.stem, shape, about), "exitwave": _plain(about)})
        # noise does not shrink, and packing it takes longer than writing it
        yield group.create_array(
            "0", shape=shape, chunks=(1, *shape[1:]), dtype="float32", compressors=None, dimension_names=("y", "z", "x")
        )
        if path.exists():
            shutil.rmtree(path)
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def open_zarr(path: Path) -> tuple[zarr.Array[Any], dict[str, Any]]:
    """Open a volume for reading: the array (slice, z, x), and the fields of its `VolumeInfo`.

    Raises
    ------
    FileNotFoundError
    FileFormatError
        If it is no volume that `write_zarr` wrote.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder")
    try:
        group = zarr.open_group(path, mode="r")
        data, about = group["0"], group.attrs["exitwave"]
    except (KeyError, ValueError, OSError) as error:
        raise FileFormatError(f"{path.name}: no volume in Zarr: {error}") from error
    if not isinstance(data, zarr.Array) or data.ndim != 3 or not isinstance(about, Mapping):
        raise FileFormatError(f"{path.name}: no volume (slice, z, x) under 0, exitwave")
    fields: dict[str, Any] = {name: value for name, value in about.items() if name != "units"}
    for name in ("angles_deg", "shifts"):
        if fields.get(name) is not None:
            fields[name] = np.asarray(fields[name], np.float64)
    fields["middle_px"] = tuple(fields["middle_px"])
    if fields.get("centre") is None:
        fields["centre"] = float("nan")
    return data, fields


def _ome(name: str, shape: tuple[int, int, int], about: Mapping[str, Any]) -> dict[str, Any]:
    voxel = float(about["voxel_nm"])
    middles = (0.0, *about["middle_px"])
    first = [(middle - 0.5 * (count - 1)) * voxel for count, middle in zip(shape, middles, strict=True)]
    moves = [
        {"type": "scale", "scale": [voxel] * 3},
        {"type": "translation", "translation": first},
    ]
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "yzx"]
    scales = [{"name": name, "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": moves}]}]
    return {"version": "0.5", "multiscales": scales}


def _plain(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain JSON; a centre that is NaN is None."""
    fields = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in about.items()}
    fields["options"] = dict(fields["options"])
    if not np.isfinite(fields["centre"]):
        fields["centre"] = None
    plain: dict[str, Any] = json.loads(json.dumps(fields, default=float))
    return plain | {"units": "1/pixel"}
