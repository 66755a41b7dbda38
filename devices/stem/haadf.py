"""The annular dark-field detector: a camera whose frames are those of the scan."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from ophyd import Component as Cpt

from exitwave.devices.camera import Camera
from exitwave.devices.errors import CameraError
from exitwave.devices.frames import ATTRIBUTES_PATH, FrameColumn, LatestFrame
from exitwave.devices.stem.setting import Setting

__all__ = ["HaadfCamera", "ScanFrame"]

_UNKNOWN = math.nan


@dataclass(frozen=True)
class ScanFrame:
    """A frame of the scan and what the server wrote with it.

    Attributes
    ----------
    number : int
        In its file, from 0.
    image : float32 array (rows, columns)
    shift_x_nm, shift_y_nm : float
        Beam shift with which it was scanned.
    dose_e_a2 : float
        Accumulated at its end.
    """

    number: int
    image: np.ndarray
    shift_x_nm: float
    shift_y_nm: float
    dose_e_a2: float


class NewestFrame(LatestFrame):
    """The newest frame of the scan with its numbers, as `ScanFrame`; None before the first. Never part of an event."""

    def get(self, **kwargs: Any) -> ScanFrame | None:  # type: ignore[override]
        """Read it from the file that is being written."""
        camera = self.parent
        if not camera.get_index():
            return None
        path = camera.hdf.full_file_name.get()
        with h5py.File(path, "r", libver="latest", swmr=True, locking=False) as file:
            images = file["/entry/data/data"]
            columns = [self._column(file, key) for key in ("shift_x", "shift_y", "dose")]
            # Images are flushed before or after what belongs to them.
            count = min(images.shape[0], *(column.shape[0] for column in columns if column is not None))
            if not count:
                return None
            values = [_UNKNOWN if column is None else float(column[count - 1]) for column in columns]
            return ScanFrame(count - 1, np.asarray(images[count - 1], np.float32), *values)

    def _column(self, file: h5py.File, key: str) -> Any:
        attribute = self.parent.attributes.get(key)
        return None if attribute is None else file.get(f"{ATTRIBUTES_PATH}/{attribute}")


class HaadfCamera(Camera):
    """A camera (``cam1:``, ``HDF1:``) that takes one frame at the end of each complete frame of the scan.

    Its size and frame time are the scan's; attributes ``dose``, ``shift_x`` and ``shift_y`` of a frame are what plans
    go by.
    """

    gain = Cpt(Setting, "Gain", kind="config", doc="Of the amplifier")
    offset = Cpt(Setting, "Offset", kind="config", doc="Of the amplifier")
    inner_angle = Cpt(Setting, "InnerAngle", kind="config", doc="mrad")
    outer_angle = Cpt(Setting, "OuterAngle", kind="config", doc="mrad")
    frame_doses = Cpt(FrameColumn, key="dose", kind="omitted", doc="Accumulated at the end of each frame, e/A2")
    newest = Cpt(NewestFrame, kind="omitted", doc="Newest frame in the file, with dose and beam shift")

    def check_room(self, num_frames: int, shape: tuple[int, int]) -> None:
        """Refuse a folder that can't be written, or without room for frames of a size that is not set yet.

        Raises
        ------
        StorageSpaceError
        """
        self.check_storage(math.ceil(num_frames * 2 * shape[0] * shape[1] / max(self.frame_bytes, 1)))

    def write_error(self, message: str) -> CameraError:
        """Return the error that says why there are no more frames in the file."""
        return CameraError(
            f"{self.name}: frames can't be written: {message or 'nobody said why'}; see to the disk and scan again"
        )

    def __init__(self, prefix: str = "", *, readout_s: float = 0.0, **kwargs: Any):
        super().__init__(prefix, readout_s=readout_s, **kwargs)

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Shape (rows, columns) of a frame of the scan that is set."""
        return int(self.cam.array_size_y.get(use_monitor=False)), int(self.cam.array_size_x.get(use_monitor=False))
