"""A stream of a run, out of whichever place, as an xarray Dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from exitwave.profiles.storage.frames import FrameBlock, lazy_frames
from exitwave.profiles.storage.layout import FileLocation, external_keys, resource_location

if TYPE_CHECKING:
    import xarray

__all__ = ["Stream", "streams_from_documents"]

_ATTRS = ("units", "precision", "source", "object_name", "lower_ctrl_limit", "upper_ctrl_limit")
_DTYPES: dict[str, type] = {"number": np.float64, "integer": np.int64, "boolean": np.bool_}


@dataclass
class Stream:
    """What is known of one stream: its columns, and where its frames lie.

    Attributes
    ----------
    data_keys : dict
        As in the descriptor.
    columns : dict
        Values of each internal data key, one per point.
    time, seq_num : list
        Time of each event (s since 1970) and its number from 1. Empty if the stream has only frames.
    blocks : dict
        Where the frames of each external data key lie.
    lazy : dict
        Ready-made lazy arrays for external keys that are not in local files.
    configuration : dict
        Device -> signal -> value at the stream's first descriptor.
    """

    name: str
    data_keys: dict[str, dict[str, Any]]
    configuration: dict[str, dict[str, Any]] = field(default_factory=dict)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    time: list[float] = field(default_factory=list)
    seq_num: list[int] = field(default_factory=list)
    blocks: dict[str, list[FrameBlock]] = field(default_factory=dict)
    lazy: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of points."""
        ends = [block.row + block.rows for blocks in self.blocks.values() for block in blocks]
        return max([len(self.time), *ends, *(int(array.shape[0]) for array in self.lazy.values())])

    def to_xarray(self) -> xarray.Dataset:
        """Convert to a Dataset.

        Returns
        -------
        xarray.Dataset
            Dimension ``time``, with the events' times as coordinate (float, s since 1970) and
            ``seq_num`` beside it. Numbers are float64, integers int64, with ``units`` and what else the
            descriptor tells in ``attrs``. Frames are dask arrays ``(time, frame, y, x)``, or
            ``(time, y, x)`` if a point is one two-dimensional frame, read point by point when computed.
        """
        import xarray

        rows = self.rows
        sizes: dict[str, int] = {"time": rows}
        variables: dict[str, Any] = {}
        for key in sorted(self.data_keys):
            spec = self.data_keys[key]
            if key in self.columns:
                array: Any = _column(self.columns[key], spec)
                dims = [f"dim_{axis}" for axis in range(1, array.ndim)]
            elif key in self.lazy:
                array = self.lazy[key]
                dims = _frame_dims(array.ndim - 1)
            elif key in self.blocks:
                array = lazy_frames(self.blocks[key], tuple(spec["shape"]), rows)
                dims = _frame_dims(array.ndim - 1)
            else:
                continue
            named = ["time"]
            for dim, size in zip(dims, array.shape[1:], strict=True):
                # Two cameras of different size cannot share y and x.
                dim = dim if sizes.setdefault(dim, size) == size else f"{dim}_{key}"
                named.append(dim)
            attrs = {name: spec[name] for name in _ATTRS if spec.get(name) is not None}
            variables[key] = (tuple(named), array, attrs)
        coords: dict[str, Any] = {}
        if self.time:
            coords["time"] = ("time", np.asarray(self.time, np.float64), {"units": "s since 1970-01-01 UTC"})
            coords["seq_num"] = ("time", np.asarray(self.seq_num, np.int64))
        return xarray.Dataset(variables, coords, attrs={"stream": self.name})


def _frame_dims(ndim: int) -> list[str]:
    return ["frame", "y", "x"][3 - ndim :] if ndim <= 3 else [f"dim_{axis}" for axis in range(1, ndim + 1)]


def _column(values: Sequence[Any], spec: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """Array of a column; missing numbers (null) become NaN, and integers with such gaps float."""
    dtype: Any = _DTYPES.get(spec["dtype"])
    if spec["dtype"] == "array":
        arrays = [np.asarray(value) for value in values]
        if len({array.shape for array in arrays}) > 1 and all(array.ndim == 1 for array in arrays):
            longest = max(array.size for array in arrays)
            arrays = [
                np.pad(array.astype(np.float64), (0, longest - array.size), constant_values=np.nan) for array in arrays
            ]
        stacked = np.stack(arrays)
        return stacked.astype(np.float64) if stacked.dtype.kind in "iuf" else stacked
    if dtype is None:
        return np.asarray(["" if value is None else str(value) for value in values])
    if any(value is None for value in values):
        return np.asarray([np.nan if value is None else value for value in values], np.float64)
    array = np.asarray(values)
    # A signal said to be an integer may yet send numbers with a fraction.
    return array if dtype is np.int64 and array.dtype.kind == "f" else array.astype(dtype)


class _Builder:
    """Takes documents in order and collects streams."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self._by_uid: dict[str, Stream] = {}
        self._resources: dict[str, FileLocation | None] = {}
        self._datums: dict[str, Mapping[str, Any]] = {}

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        match name:
            case "descriptor":
                configuration = {device: dict(c["data"]) for device, c in doc.get("configuration", {}).items()}
                fresh = Stream(doc["name"], dict(doc["data_keys"]), configuration)
                self._by_uid[doc["uid"]] = self.streams.setdefault(doc["name"], fresh)
            case "resource" | "stream_resource":
                self._resources[doc["uid"]] = resource_location(doc)
            case "datum":
                self._datums[doc["datum_id"]] = doc
            case "stream_datum":
                self._stream_datum(doc)
            case "event":
                self._event(doc)

    def _event(self, doc: Mapping[str, Any]) -> None:
        stream = self._by_uid[doc["descriptor"]]
        external = set(external_keys({"data_keys": stream.data_keys}))
        stream.time.append(doc["time"])
        stream.seq_num.append(doc["seq_num"])
        for key, value in doc["data"].items():
            if key in external and not doc.get("filled", {}).get(key, False):
                self._datum(stream, key, value, doc["seq_num"] - 1)
            else:
                stream.columns.setdefault(key, []).append(value)

    def _datum(self, stream: Stream, key: str, datum_id: str, row: int) -> None:
        datum = self._datums.pop(datum_id, None)
        location = self._resources.get(datum["resource"]) if datum else None
        if datum is None or location is None:
            return
        kwargs = datum.get("datum_kwargs", {})
        point = kwargs.get("point_number", row)
        per_point = location.frames_per_point
        _append(stream, key, FrameBlock(location, row, 1, point * per_point), per_point)

    def _stream_datum(self, doc: Mapping[str, Any]) -> None:
        location = self._resources.get(doc["stream_resource"])
        if location is None:
            return
        stream = self._by_uid[doc["descriptor"]]
        shape = stream.data_keys[location.data_key]["shape"]
        per_point = shape[0] if len(shape) > 2 else 1
        start, stop = doc["indices"]["start"], doc["indices"]["stop"]
        row = doc["seq_nums"]["start"] - 1
        _append(stream, location.data_key, FrameBlock(location, row, stop - start, start * per_point), per_point)


def _append(stream: Stream, key: str, block: FrameBlock, per_point: int) -> None:
    """Add a block, as part of the last one where it continues it."""
    blocks = stream.blocks.setdefault(key, [])
    if blocks:
        last = blocks[-1]
        if (
            last.location == block.location
            and last.row + last.rows == block.row
            and last.first + last.rows * per_point == block.first
        ):
            blocks[-1] = FrameBlock(last.location, last.row, last.rows + block.rows, last.first)
            return
    blocks.append(block)


def streams_from_documents(documents: Any) -> dict[str, Stream]:
    """Collect the streams of a run from its documents.

    Parameters
    ----------
    documents : iterable of (str, dict)
        Name and document, in the order of the run.
    """
    builder = _Builder()
    for name, doc in documents:
        builder(name, doc)
    return builder.streams
