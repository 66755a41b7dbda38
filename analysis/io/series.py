"""A series of frames with its references, whatever file it lies in; frames are read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import FileFormatError, ShapeError

__all__ = ["Frames", "Series", "open_series"]


class Frames:
    """Frames (n, y, x) that are read one by one: ``frames[i]`` is (y, x), ``frames[a:b]`` is (b - a, y, x).

    Parameters
    ----------
    read : callable that returns frame i of the file
    index : which frames of the file these are, in order
    shape, dtype : of one frame
    """

    def __init__(
        self,
        read: Callable[[int], npt.NDArray[Any]],
        index: npt.NDArray[np.intp],
        shape: tuple[int, int],
        dtype: npt.DTypeLike,
    ) -> None:
        self._read = read
        self._index = index
        self.frame_shape = shape
        self.dtype = np.dtype(dtype)

    @classmethod
    def of_array(cls, array: npt.NDArray[Any]) -> Frames:
        """Wrap an array (n, y, x) in memory."""
        if array.ndim != 3:
            raise ShapeError(f"frames: expected (n, y, x), got {array.shape}")
        return cls(lambda i: np.asarray(array[i]), np.arange(len(array)), (array.shape[1], array.shape[2]), array.dtype)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (n, y, x)."""
        return (len(self._index), *self.frame_shape)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, key: int | slice) -> npt.NDArray[Any]:
        if isinstance(key, slice):
            chosen = self._index[key]
            out = np.empty((len(chosen), *self.frame_shape), self.dtype)
            for k, i in enumerate(chosen):
                out[k] = self._read(int(i))
            return out
        return self._read(int(self._index[key]))

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        for i in self._index:
            yield self._read(int(i))


@dataclass(frozen=True)
class Series:
    """Projections with what belongs to them; None where the file does not say.

    Attributes
    ----------
    frames : Frames
        Projections, sample in the beam.
    flats, darks : Frames or None
    angles_deg : float64 (n,) or None
        Rotation angle of each projection.
    energy_kev, pixel_nm, exposure_s : float or None
        Photon energy, pixel at the sample, exposure per frame.
    extra : dict
        Whatever else the file says, by its name there.

    Use as a context manager, or call `close`.
    """

    frames: Frames
    flats: Frames | None = None
    darks: Frames | None = None
    angles_deg: npt.NDArray[np.float64] | None = None
    energy_kev: float | None = None
    pixel_nm: float | None = None
    exposure_s: float | None = None
    title: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    on_close: Callable[[], None] | None = None

    def close(self) -> None:
        """Close the file; frames can't be read any more."""
        if self.on_close is not None:
            self.on_close()

    def __enter__(self) -> Series:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def nearest(self, angle_deg: float) -> int:
        """Return the index of the projection nearest to an angle (no wrapping at 360 deg)."""
        if self.angles_deg is None:
            raise FileFormatError("the file holds no angles")
        return int(np.argmin(np.abs(self.angles_deg - angle_deg)))


def open_series(path: str | Path) -> Series:
    """Open a file by its contents: Data Exchange or NXtomo HDF5, Xradia .txrm/.xrm.

    Raises
    ------
    FileFormatError
        For anything else, and for a file of which a part is missing.
    FileNotFoundError
    """
    import h5py
    import olefile

    from exitwave.analysis.io.data_exchange import open_data_exchange
    from exitwave.analysis.io.hdf5 import open_file
    from exitwave.analysis.io.nxtomo import open_nxtomo
    from exitwave.analysis.io.xradia import open_xradia

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if olefile.isOleFile(str(path)):
        return open_xradia(path)
    if h5py.is_hdf5(path):
        with open_file(path) as file:
            exchange = "exchange/data" in file
        return open_data_exchange(path) if exchange else open_nxtomo(path)
    raise FileFormatError(f"{path.name}: neither HDF5 nor an Xradia file")
