"""Frames of a running acquisition, as a signal that a plan can read."""

from __future__ import annotations

import time
from typing import Any

import h5py
import numpy as np
from ophyd import Signal
from ophyd.utils import ReadOnlyError

__all__ = ["FrameColumn", "LatestFrame"]


ATTRIBUTES_PATH = "/entry/instrument/NDAttributes"


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


class FrameColumn(Signal):
    """What the server wrote beside every frame of the current file, as an array: float64 (frames,).

    Read from the file when asked for, so that a plan can see which frames arrived; never part of an event.

    Parameters
    ----------
    attribute : str
        Name of the server's attribute; "" for one that the profile maps to `key`.
    key : str
        Name under which the profile has it.
    """

    def __init__(self, *, key: str, attribute: str = "", name: str, parent: Any = None, **kwargs: Any):
        super().__init__(name=name, parent=parent, value=0.0, **kwargs)
        self._attribute, self._key = attribute, key
        self._metadata.update(write_access=False)

    def get(self, **kwargs: Any) -> np.ndarray:
        """Read the column; empty before the first frame or where the server does not write it."""
        camera = self.parent
        attribute = camera.attributes.get(self._key, self._attribute)
        if not attribute or not camera.get_index():
            return np.empty(0)
        with h5py.File(camera.hdf.full_file_name.get(), "r", libver="latest", swmr=True, locking=False) as file:
            node = file.get(f"{ATTRIBUTES_PATH}/{attribute}")
            return np.empty(0) if node is None else np.asarray(node[()], np.float64)

    def read(self) -> dict[str, Any]:
        """Return the column and the time."""
        return {self.name: {"value": self.get(), "timestamp": time.time()}}

    def describe(self) -> dict[str, Any]:
        """Describe the column."""
        return {self.name: {"source": f"file:{self.parent.name}", "dtype": "array", "shape": [0]}}

    def put(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: the server writes it."""
        raise ReadOnlyError(f"{self.name} is read only")
