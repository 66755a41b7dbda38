"""The documents of a camera whose frames lie in files: what a frame brings, and where it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from event_model import compose_stream_resource

from exitwave.devices.frames import ATTRIBUTES_PATH

__all__ = ["FrameDocuments"]

FRAMES_PATH = "/entry/data/data"
_ATTRIBUTE_DTYPES = {"NDArrayUniqueId": "<i4", "NDArrayEpicsTSSec": "<u4", "NDArrayEpicsTSnSec": "<u4"}


class FrameDocuments:
    """Mixin of a camera: describes its frames and refers to those that its file plugin has written.

    The camera has ``name``, ``hdf``, ``attributes``, ``frame_shape`` and ``get_index``.
    """

    name: str
    hdf: Any
    attributes: dict[str, str]
    frame_shape: Any
    _guard = threading.RLock()

    def get_index(self) -> int:
        """Frames written to the current file."""
        raise NotImplementedError

    def _forget_file(self) -> None:
        """Begin with a new file: nothing of it was referred to."""
        with self._guard:
            self._bundles: list[Any] = []
            self._emitted = 0

    def data_keys(self) -> dict[str, dict[str, Any]]:
        """Describe what a frame brings: the image, and the attributes written with it."""
        height, width = self.frame_shape
        source = f"ca://{self.hdf.full_file_name.pvname}"
        keys: dict[str, dict[str, Any]] = {
            self.name: {
                "source": source,
                "dtype": "array",
                "dtype_numpy": "<u2",
                "shape": [height, width],
                "dims": ["y", "x"],
                "external": "STREAM:",
            }
        }
        for name, attribute in self.attributes.items():
            keys[f"{self.name}_{name}"] = {
                "source": source,
                "dtype": "number",
                "dtype_numpy": _ATTRIBUTE_DTYPES.get(attribute, "<f8"),
                "shape": [],
                "external": "STREAM:",
            }
        return keys

    def describe_collect(self) -> dict[str, Any]:
        """Describe bursts."""
        return self.data_keys()

    def collect_asset_docs(self, index: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the references to frames written since the last call."""
        with self._guard:
            written = self.get_index()
            stop = written if index is None else min(index, written)
            if stop <= self._emitted:
                return
            if not self._bundles:
                self._bundles = self._compose_resources(self.hdf.full_file_name.get())
                for bundle in self._bundles:
                    yield "stream_resource", bundle.stream_resource_doc
            for bundle in self._bundles:
                yield (
                    "stream_datum",
                    bundle.compose_stream_datum(indices={"start": self._emitted, "stop": stop}),
                )
            self._emitted = stop

    def _compose_resources(self, path: str) -> list[Any]:
        height, width = self.frame_shape
        datasets: dict[str, tuple[str, tuple[int, ...]]] = {self.name: (FRAMES_PATH, (1, height, width))}
        for name, attribute in self.attributes.items():
            datasets[f"{self.name}_{name}"] = (f"{ATTRIBUTES_PATH}/{attribute}", (16384,))
        return [
            compose_stream_resource(
                mimetype="application/x-hdf5",
                uri=f"file://localhost{path}",
                data_key=key,
                parameters={"dataset": dataset, "chunk_shape": chunk, "swmr": True},
            )
            for key, (dataset, chunk) in datasets.items()
        ]
