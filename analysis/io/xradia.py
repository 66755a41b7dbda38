"""Xradia/Zeiss .txrm and .xrm files: an OLE compound document with one stream per image and per quantity.

The format is not published; the streams used here are those that public readers agree on (DXchange;
txrm2tiff). Pixel size is stored in micrometres, energy in eV, exposure in seconds, angles in degrees.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import olefile

from exitwave.analysis.errors import FileFormatError
from exitwave.analysis.io.series import Frames, Series

__all__ = ["open_xradia"]

_DTYPES: dict[int, np.dtype[Any]] = {3: np.dtype("<u1"), 5: np.dtype("<u2"), 7: np.dtype("<i4"), 10: np.dtype("<f4")}
_IMAGES_PER_FOLDER = 100


class _Streams:
    """Typed access to the streams of one file."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        if not olefile.isOleFile(str(path)):
            raise FileFormatError(f"{path.name}: not an Xradia (OLE) file")
        self.name = path.name
        self.ole = olefile.OleFileIO(str(path))

    def array(self, stream: str, dtype: npt.DTypeLike, n: int | None = None) -> npt.NDArray[Any] | None:
        if not self.ole.exists(stream):
            return None
        with self.ole.openstream(stream) as file:
            raw = file.read()
        item = np.dtype(dtype).itemsize
        values = np.frombuffer(raw[: len(raw) // item * item], dtype)
        return values if n is None else values[:n]

    def integer(self, stream: str) -> int:
        values = self.array(stream, "<i4", 1)
        if values is None or not len(values):
            raise FileFormatError(f"{self.name}: no {stream}")
        return int(values[0])

    def real(self, stream: str) -> float | None:
        """Return the first number of a stream; None if absent or zero, which means unset."""
        values = self.array(stream, "<f4", 1)
        return float(values[0]) if values is not None and len(values) and values[0] != 0.0 else None

    def words(self, stream: str) -> str:
        values = self.array(stream, "u1")
        return "" if values is None else bytes(values).split(b"\0", 1)[0].decode("latin-1")

    def image(self, stream: str, shape: tuple[int, int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        values = self.array(stream, dtype)
        if values is None:
            raise FileFormatError(f"{self.name}: no {stream}")
        if values.size != shape[0] * shape[1]:
            raise FileFormatError(f"{self.name}: {stream} holds {values.size} pixels, expected {shape}")
        return values.reshape(shape).astype(dtype.newbyteorder("="), copy=True)


def open_xradia(path: str | Path) -> Series:
    """Open a .txrm or .xrm file; images are read when asked for.

    The reference image, if the file holds one, is the one flat. `extra` has ``zone_plate``, ``camera``,
    ``objective``, ``date`` (of the first image), ``xray_magnification``, ``binning``, ``ion_chamber`` (n,),
    ``x_um``, ``y_um``, ``z_um`` (n,), ``x_shifts_px``, ``y_shifts_px`` (n,) where they are given.

    Raises
    ------
    FileFormatError
        If it is no such file, a stream is missing, or pixels have an unknown type.
    FileNotFoundError
    """
    streams = _Streams(Path(path))
    try:
        shape = (streams.integer("ImageInfo/ImageHeight"), streams.integer("ImageInfo/ImageWidth"))
        taken = streams.array("ImageInfo/ImagesTaken", "<i4", 1)
        n = int(taken[0]) if taken is not None and len(taken) else streams.integer("ImageInfo/NoOfImages")
        dtype = _dtype(streams, "ImageInfo/DataType")
        info = {
            "ion_chamber": streams.array("ImageInfo/IonChamberCurrent", "<f4", n),
            "x_um": streams.array("ImageInfo/XPosition", "<f4", n),
            "y_um": streams.array("ImageInfo/YPosition", "<f4", n),
            "z_um": streams.array("ImageInfo/ZPosition", "<f4", n),
            "x_shifts_px": streams.array("Alignment/X-Shifts", "<f4", n),
            "y_shifts_px": streams.array("Alignment/Y-Shifts", "<f4", n),
            "xray_magnification": streams.real("ImageInfo/XrayMagnification"),
            "zone_plate": streams.words("ImageInfo/ZonePlateName"),
            "camera": streams.words("ImageInfo/CameraName"),
            "objective": streams.words("ImageInfo/ObjectiveName"),
            "date": streams.words("ImageInfo/Date"),
        }
        if streams.ole.exists("ImageInfo/HorizontalBin"):
            info["binning"] = streams.integer("ImageInfo/HorizontalBin")
        angles = streams.array("ImageInfo/Angles", "<f4", n)
        energy_ev, pixel_um = streams.real("ImageInfo/Energy"), streams.real("ImageInfo/PixelSize")
        return Series(
            frames=Frames(
                lambda i: streams.image(f"ImageData{i // _IMAGES_PER_FOLDER + 1}/Image{i + 1}", shape, dtype),
                np.arange(n),
                shape,
                dtype.newbyteorder("="),
            ),
            flats=_reference(streams, shape),
            angles_deg=None if angles is None else angles.astype(np.float64),
            energy_kev=None if energy_ev is None else energy_ev * 1e-3,
            pixel_nm=None if pixel_um is None else pixel_um * 1e3,
            exposure_s=streams.real("ImageInfo/ExpTimes"),
            title=streams.words("SampleInfo/SampleID"),
            extra={name: value for name, value in info.items() if value is not None and not _empty(value)},
            on_close=streams.ole.close,
        )
    except FileFormatError:
        streams.ole.close()
        raise


def _empty(value: Any) -> bool:
    return isinstance(value, str) and not value


def _dtype(streams: _Streams, stream: str) -> np.dtype[Any]:
    code = streams.integer(stream)
    if code not in _DTYPES:
        raise FileFormatError(f"{streams.name}: pixel type {code} of {stream} is not known")
    return _DTYPES[code]


def _reference(streams: _Streams, shape: tuple[int, int]) -> Frames | None:
    """Return the reference image as one flat, if there is one."""
    if not streams.ole.exists("ReferenceData/Image"):
        return None
    own = "ReferenceData/DataType"
    dtype = _dtype(streams, own if streams.ole.exists(own) else "ImageInfo/DataType")
    # some writers store a corrected reference as float32 whatever the type of the images
    if streams.ole.get_size("ReferenceData/Image") == 4 * shape[0] * shape[1]:
        dtype = np.dtype("<f4") if dtype.itemsize != 4 else dtype
    image = streams.image("ReferenceData/Image", shape, dtype)
    return Frames.of_array(image[None])
