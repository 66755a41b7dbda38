"""Frames of a running acquisition, as a signal that a plan can read."""

from __future__ import annotations

import time
from typing import Any

import h5py
import numpy as np
from ophyd import Signal
from ophyd.utils import ReadOnlyError

__all__ = ["LatestFrame"]


class LatestFrame(Signal):
    """The newest frame in the file that the parent camera is writing, shape (y, x).

    For plans that decide on what they see (focus, alignment). The file is read while it grows; nothing travels
    through documents, because the signal is never part of an event.
    """

    def __init__(self, *, name: str, parent: Any = None, **kwargs: Any):
        super().__init__(name=name, parent=parent, value=0, **kwargs)
        self._handle: h5py.File | None = None
        self._path: str | None = None
        self._metadata.update(write_access=False)

    def get(self, **kwargs: Any) -> np.ndarray:
        """Read the newest frame from the file."""
        camera = self.parent
        path = camera.hdf.full_file_name.get()
        if path != self._path:
            self.close()
        if self._handle is None:
            self._handle, self._path = h5py.File(path, "r", libver="latest", swmr=True, locking=False), path
        dataset = self._handle["/entry/data/data"]
        dataset.refresh()
        return np.asarray(dataset[camera.get_index() - 1])

    def read(self) -> dict[str, Any]:
        """Return the frame and the time."""
        return {self.name: {"value": self.get(), "timestamp": time.time()}}

    def describe(self) -> dict[str, Any]:
        """Describe the frame."""
        height, width = self.parent.frame_shape
        return {
            self.name: {
                "source": f"file:{self.parent.name}",
                "dtype": "array",
                "dtype_numpy": "<u2",
                "shape": [height, width],
            }
        }

    def put(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: frames come from the camera."""
        raise ReadOnlyError(f"{self.name} is read only")

    def close(self) -> None:
        """Let go of the file."""
        if self._handle is not None:
            self._handle.close()
        self._handle = self._path = None
