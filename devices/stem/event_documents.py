"""The documents of X-ray events: what the detectors counted frame by frame, and the photons themselves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from event_model import compose_stream_resource
from ophyd import Device

__all__ = ["FrameCounters", "PhotonList"]

_COUNTERS = {
    "event_stop": ("<u8", False),
    "real_time_s": ("<f8", False),
    "live_time_s": ("<f8", True),
    "input_counts": ("<i8", True),
    "output_counts": ("<i8", True),
}
_COLUMNS = {"pixel": "<u4", "channel": "<u2", "segment": "|u1", "frame": "<u4"}
_UNITS = {"real_time_s": "s", "live_time_s": "s"}


def _resource(path: str, key: str, dataset: str, chunk: tuple[int, ...]) -> Any:
    return compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=f"file://localhost{path}",
        data_key=key,
        parameters={"dataset": dataset, "chunk_shape": chunk, "swmr": True},
    )


class FrameCounters:
    """Mixin of a detector that writes events: one row for each complete frame of the scan.

    Data keys ``<name>_event_stop`` (events up to the frame's end), ``_real_time_s``, and by segment ``_live_time_s``,
    ``_input_counts`` and ``_output_counts``; all lie in the file of events.
    """

    name: str
    hdf: Any
    num_segments: int
    _guard = threading.RLock()

    def get_index(self) -> int:
        """Complete frames in the current file."""
        raise NotImplementedError

    def _forget_file(self) -> None:
        with self._guard:
            self._bundles: list[Any] = []
            self._emitted = 0

    def describe_collect(self) -> dict[str, Any]:
        """Describe what a frame brings."""
        return {
            f"{self.name}_{key}": {
                "source": f"ca://{self.hdf.full_file_name.pvname}",
                "dtype": "array" if by_segment else "number",
                "dtype_numpy": dtype,
                "shape": [self.num_segments] if by_segment else [],
                "external": "STREAM:",
                **({"units": _UNITS[key]} if key in _UNITS else {}),
            }
            for key, (dtype, by_segment) in _COUNTERS.items()
        }

    def collect_asset_docs(self, index: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the references to frames completed since the last call."""
        with self._guard:
            written = self.get_index()
            stop = written if index is None else min(index, written)
            if stop <= self._emitted:
                return
            if not self._bundles:
                path = self.hdf.full_file_name.get()
                for key, (_, by_segment) in _COUNTERS.items():
                    chunk = (1024, self.num_segments) if by_segment else (1024,)
                    self._bundles.append(_resource(path, f"{self.name}_{key}", f"/entry/frames/{key}", chunk))
                for bundle in self._bundles:
                    yield "stream_resource", bundle.stream_resource_doc
            for bundle in self._bundles:
                yield "stream_datum", bundle.compose_stream_datum(indices={"start": self._emitted, "stop": stop})
            self._emitted = stop


class PhotonList(Device):
    """All events of the file that was written last, as one row of columns; collected after the scan.

    Data keys ``<detector>_pixel`` (row x columns + column), ``_channel``, ``_segment`` and ``_frame``, each an array
    (events,): one entry for each photon. Their number is known at the end, so that the stream is declared then.
    """

    _emitted_path = ""

    def get_index(self) -> int:
        """One row, once there are events."""
        return 1 if self._count() else 0

    def _count(self) -> int:
        return int(self.parent.hdf.num_events.get(use_monitor=False))

    def describe_collect(self) -> dict[str, Any]:
        """Describe the columns."""
        return {
            f"{self.parent.name}_{key}": {
                "source": f"ca://{self.parent.hdf.full_file_name.pvname}",
                "dtype": "array",
                "dtype_numpy": dtype,
                "shape": [self._count()],
                "dims": ["event"],
                "external": "STREAM:",
            }
            for key, dtype in _COLUMNS.items()
        }

    def collect_asset_docs(self, index: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the references, once for a file."""
        path = self.parent.hdf.full_file_name.get()
        if not self.get_index() or path == self._emitted_path:
            return
        self._emitted_path = path
        bundles = [
            _resource(path, f"{self.parent.name}_{key}", f"/entry/events/{key}", (self._count(),)) for key in _COLUMNS
        ]
        for bundle in bundles:
            yield "stream_resource", bundle.stream_resource_doc
        for bundle in bundles:
            yield "stream_datum", bundle.compose_stream_datum(indices={"start": 0, "stop": 1})
