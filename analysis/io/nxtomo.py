"""NeXus NXtomo: darks, flats and projections in one stack, told apart by ``image_key``.

image_key 0 projection, 1 flat, 2 dark, 3 invalid; ``rotation_angle`` in degrees for every frame
(https://manual.nexusformat.org/classes/applications/NXtomo.html). Energy in
``instrument/beam/incident_energy``.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from exitwave.analysis.errors import FileFormatError
from exitwave.analysis.io.hdf5 import create, frames_of, number, open_file, text, write_frames
from exitwave.analysis.io.series import Series

__all__ = ["DARK", "FLAT", "INVALID", "PROJECTION", "open_nxtomo", "write_nxtomo"]

PROJECTION, FLAT, DARK, INVALID = 0, 1, 2, 3


def _entry(file: h5py.File) -> h5py.Group:
    for node in file.values():
        if isinstance(node, h5py.Group) and text(node, "definition") == "NXtomo":
            return node
    raise FileFormatError(f"{Path(file.filename).name}: no entry with the definition NXtomo")


def open_nxtomo(path: str | Path) -> Series:
    """Open an NXtomo file; frames are read when asked for, invalid ones (image_key 3) left out.

    Raises
    ------
    FileFormatError
        If it is none, or its keys and angles do not fit its frames.
    FileNotFoundError
    """
    file = open_file(path)
    try:
        entry = _entry(file)
        data = entry.get("instrument/detector/data")
        keys = entry.get("instrument/detector/image_key")
        if not isinstance(data, h5py.Dataset) or not isinstance(keys, h5py.Dataset):
            raise FileFormatError(f"{Path(path).name}: no instrument/detector/data with image_key")
        key = np.asarray(keys[()]).reshape(-1)
        if len(key) != data.shape[0]:
            raise FileFormatError(f"{Path(path).name}: {len(key)} image keys for {data.shape[0]} frames")
        angles = entry.get("sample/rotation_angle")
        rotation = None
        if isinstance(angles, h5py.Dataset):
            rotation = np.asarray(angles[()], dtype=np.float64).reshape(-1)
            if len(rotation) != len(key):
                raise FileFormatError(f"{Path(path).name}: {len(rotation)} angles for {len(key)} frames")
            if str(angles.attrs.get("units", "degree")).startswith("rad"):
                rotation = np.degrees(rotation)
        projection, flat, dark = (np.flatnonzero(key == kind) for kind in (PROJECTION, FLAT, DARK))
        return Series(
            frames=frames_of(data, projection),
            flats=frames_of(data, flat) if len(flat) else None,
            darks=frames_of(data, dark) if len(dark) else None,
            angles_deg=None if rotation is None else rotation[projection],
            energy_kev=number(entry, "instrument/beam/incident_energy", "energy"),
            pixel_nm=number(entry, "instrument/detector/x_pixel_size", "length"),
            exposure_s=number(entry, "instrument/detector/count_time", "time"),
            title=text(entry, "title"),
            on_close=file.close,
        )
    except (FileFormatError, KeyError):
        file.close()
        raise


def write_nxtomo(path: str | Path, series: Series) -> None:
    """Write a series: darks, flats, projections in this order, one frame in memory at a time.

    The pixel written is the one at the sample. Flats and darks get the angle of the first projection.
    """
    parts = [(DARK, series.darks), (FLAT, series.flats), (PROJECTION, series.frames)]
    given = [(kind, part) for kind, part in parts if part is not None]
    n = len(series.frames)
    angles = np.full(n, np.nan) if series.angles_deg is None else np.asarray(series.angles_deg, np.float64)
    if len(angles) != n:
        raise FileFormatError(f"{len(angles)} angles for {n} projections")
    with create(path) as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs.update({"NX_class": "NXentry", "default": "data"})
        entry["definition"], entry["title"] = "NXtomo", series.title
        instrument = _group(entry, "instrument", "NXinstrument")
        detector = _group(instrument, "detector", "NXdetector")
        write_frames(detector, "data", [part for _, part in given])
        detector["image_key"] = np.concatenate([np.full(len(part), kind, np.int32) for kind, part in given])
        before = sum(len(part) for kind, part in given if kind != PROJECTION)
        sample = _group(entry, "sample", "NXsample")
        sample["name"] = series.title
        if series.angles_deg is not None:
            sample["rotation_angle"] = np.concatenate([np.full(before, angles[0] if n else 0.0), angles])
            sample["rotation_angle"].attrs["units"] = "degree"
        if series.exposure_s is not None:
            detector["count_time"] = np.full(before + n, series.exposure_s)
            detector["count_time"].attrs["units"] = "s"
        if series.pixel_nm is not None:
            for name in ("x_pixel_size", "y_pixel_size"):
                detector[name] = series.pixel_nm
                detector[name].attrs["units"] = "nm"
        if series.energy_kev is not None:
            beam = _group(instrument, "beam", "NXbeam")
            beam["incident_energy"] = series.energy_kev
            beam["incident_energy"].attrs["units"] = "keV"
        data = _group(entry, "data", "NXdata")
        data.attrs["signal"] = "data"
        data["data"] = detector["data"]
        data["image_key"] = detector["image_key"]
        if "rotation_angle" in sample:
            data["rotation_angle"] = sample["rotation_angle"]


def _group(parent: h5py.Group, name: str, kind: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    return group
