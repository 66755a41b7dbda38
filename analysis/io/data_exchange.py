"""Data Exchange HDF5 (F. De Carlo et al., J. Synchrotron Rad. 21, 1224 (2014)).

``/exchange/data``, ``data_white``, ``data_dark``, ``theta`` in degrees; energy, pixel and exposure under
``/measurement/instrument``.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from exitwave.analysis.errors import FileFormatError
from exitwave.analysis.io.hdf5 import create, frames_of, number, open_file, text, write_frames
from exitwave.analysis.io.series import Series

__all__ = ["open_data_exchange", "write_data_exchange"]

_ENERGY = "measurement/instrument/monochromator/energy"
_PIXEL = "measurement/instrument/detection_system/objective/resolution"
_EXPOSURE = "measurement/instrument/detector/exposure_time"


def open_data_exchange(path: str | Path) -> Series:
    """Open a Data Exchange file; frames are read when asked for.

    Raises
    ------
    FileFormatError
        If it has no ``/exchange/data`` (n, y, x), or angles that do not fit.
    FileNotFoundError
    """
    file = open_file(path)
    try:
        data = file.get("exchange/data")
        if not isinstance(data, h5py.Dataset):
            raise FileFormatError(f"{Path(path).name}: no /exchange/data")
        flats, darks = file.get("exchange/data_white"), file.get("exchange/data_dark")
        theta = file.get("exchange/theta")
        angles = None
        if isinstance(theta, h5py.Dataset):
            angles = np.asarray(theta[()], dtype=np.float64).reshape(-1)
            if str(theta.attrs.get("units", "degrees")).startswith("rad"):
                angles = np.degrees(angles)
            if len(angles) != data.shape[0]:
                raise FileFormatError(f"{Path(path).name}: {len(angles)} angles for {data.shape[0]} projections")
        return Series(
            frames=frames_of(data),
            flats=frames_of(flats) if isinstance(flats, h5py.Dataset) else None,
            darks=frames_of(darks) if isinstance(darks, h5py.Dataset) else None,
            angles_deg=angles,
            energy_kev=number(file, _ENERGY, "energy"),
            pixel_nm=number(file, _PIXEL, "length"),
            exposure_s=number(file, _EXPOSURE, "time"),
            title=text(file, "exchange/title") or text(file, "measurement/sample/name"),
            on_close=file.close,
        )
    except (FileFormatError, KeyError):
        file.close()
        raise


def write_data_exchange(path: str | Path, series: Series) -> None:
    """Write a series, one frame in memory at a time; the file appears under its name when it is whole."""
    with create(path) as file:
        file["implements"] = "exchange:measurement"
        exchange = file.create_group("exchange")
        write_frames(exchange, "data", [series.frames]).attrs["axes"] = "theta:y:x"
        if series.flats is not None:
            write_frames(exchange, "data_white", [series.flats]).attrs["axes"] = "theta_white:y:x"
        if series.darks is not None:
            write_frames(exchange, "data_dark", [series.darks]).attrs["axes"] = "theta_dark:y:x"
        if series.angles_deg is not None:
            exchange["theta"] = series.angles_deg
            exchange["theta"].attrs["units"] = "degrees"
        exchange["title"] = series.title
        for name, value, unit in (
            (_ENERGY, series.energy_kev, "keV"),
            (_PIXEL, series.pixel_nm, "nm"),
            (_EXPOSURE, series.exposure_s, "s"),
        ):
            if value is not None:
                file[name] = value
                file[name].attrs["units"] = unit
