"""Writing runs into Tiled, each exactly once: what is there in part is replaced."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping
from typing import Any

import httpx
import jsonschema
import numpy as np
import pyarrow
from bluesky_tiled_plugins import TiledWriter
from tiled.client import from_uri

from exitwave.profiles.storage.errors import StorageError
from exitwave.profiles.storage.frames import open_file
from exitwave.profiles.storage.layout import FileLocation, external_keys, resource_location, without_elements
from exitwave.profiles.storage.server import Address

__all__ = ["FAILURES", "IncompleteError", "RunWriter", "TiledSink", "is_unreachable", "remove"]

#: What may go wrong on the way into Tiled; see `is_unreachable`.
FAILURES = (
    httpx.HTTPError,
    pyarrow.ArrowException,
    jsonschema.ValidationError,
    StorageError,
    NotImplementedError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
_AWAY = frozenset({429, 502, 503, 504})


def is_unreachable(error: BaseException) -> bool:
    """Whether the server is away, so that nothing can be written; otherwise this one run is at fault.

    A status of 500 does not count: tables whose columns change their type in mid-run end in it.
    """
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in _AWAY
    return isinstance(error, (httpx.TransportError, ConnectionError, TimeoutError))


class IncompleteError(StorageError):
    """What Tiled holds of a run is not what the journal has."""


def _for_tables(doc: Mapping[str, Any], varying: Collection[str]) -> dict[str, Any]:
    """Event as the writer's tables take it: arrays as lists; those that may have no element as text, or as nothing."""
    data = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in doc["data"].items()}
    for key in data.keys() & varying:
        data[key] = json.dumps(data[key]) if data[key] else None
    return {**doc, "data": data}


class RunWriter:
    """Writes one run in place of what there may be of it.

    Parameters
    ----------
    client : tiled Container
        The catalog.
    batch_size : int
        Events, or frames of a stream, that are written in one request.
    strict : bool
        Refuse a run whose frames' data type is nowhere to be found. Otherwise the run is written
        without knowing it: everything but these frames can then be read from Tiled.
    """

    def __init__(self, client: Any, *, batch_size: int, strict: bool = True) -> None:
        self._client = client
        self._strict = strict
        # Tables in SQLite know no lists, so every array goes to the array store.
        self._writer = TiledWriter(
            client, batch_size=batch_size, max_array_size=0, patches={"descriptor": self._complete}
        )
        self._held: list[tuple[str, dict[str, Any]]] = []
        self._wanted: set[str] = set()  # external data keys of unknown data type
        self._data_types: dict[str, str] = {}  # data key -> dtype found in the file
        # The array store takes no array without elements, and tables in SQLite know no lists.
        self._varying: set[str] = set()

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Take one document; from a descriptor with unknown data types on they wait for the file.

        Raises
        ------
        OSError, KeyError
            At the stop, if the file cannot be read even then (and the writer is strict).
        """
        if name == "start":
            remove(self._client, doc["uid"])
        elif name == "event":
            doc = _for_tables(doc, self._varying)
        elif name == "descriptor":
            self._varying.update(without_elements(doc["data_keys"]))
        self._held.append((name, doc))
        if name == "descriptor":
            self._wanted.update(self._unknown_types(doc))
        if self._wanted and name in ("event", "stop"):
            last = name == "stop"
            with contextlib.suppress(*(() if last and self._strict else (OSError, KeyError))):
                self._look_into_files()
            if last:
                self._wanted.clear()
        if not self._wanted:
            for item in self._held:
                self._writer(*item)
            self._held.clear()

    @staticmethod
    def _unknown_types(doc: Mapping[str, Any]) -> list[str]:
        keys = doc["data_keys"]
        return [
            key for key in external_keys(doc) if not keys[key].get("dtype_numpy") and not keys[key].get("dtype_str")
        ]

    def _look_into_files(self) -> None:
        """Find the data type of frames whose descriptor does not tell it, as classic ophyd's may not."""
        resources = {
            doc["uid"]: resource_location(doc) for name, doc in self._held if name in ("resource", "stream_resource")
        }
        datums = {doc["datum_id"]: doc["resource"] for name, doc in self._held if name == "datum"}
        found: dict[str, FileLocation | None] = {
            location.data_key: location for location in resources.values() if location
        }
        for name, doc in self._held:
            if name == "event":
                for key in self._wanted & doc["data"].keys():
                    found[key] = resources.get(datums.get(doc["data"][key], ""))
        for key in self._wanted & found.keys():
            if (location := found[key]) is not None:
                with open_file(location.path) as file:
                    self._data_types[key] = file[location.dataset].dtype.str
        self._wanted -= self._data_types.keys()

    def _complete(self, doc: dict[str, Any]) -> dict[str, Any]:
        for key in self._unknown_types(doc):
            if key in self._data_types:
                doc["data_keys"][key]["dtype_numpy"] = self._data_types[key]
        return doc


def remove(client: Any, uid: str) -> None:
    """Remove a run's records and tables from Tiled if it is there; files of frames stay."""
    if uid in client:
        client.delete_contents(uid, recursive=True, external_only=False)


class TiledSink:
    """A catalog of runs in a Tiled server.

    Parameters
    ----------
    address : Address
        Its URI and key.

    Raises
    ------
    FAILURES
        If it does not answer or does not know the key.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.client = from_uri(address.uri, api_key=address.key)

    def writer(self, *, batch_size: int, strict: bool) -> RunWriter:
        """Return a writer for one more run."""
        return RunWriter(self.client, batch_size=batch_size, strict=strict)

    def has(self, uid: str) -> bool:
        """Whether the run is there from start to stop."""
        return uid in self.client and bool(self.client[uid].metadata.get("stop"))

    def verify(self, uid: str, events: Mapping[str, int]) -> None:
        """Compare the rows of each stream with the number of its events.

        Raises
        ------
        IncompleteError
            If they differ; the run is removed, so that the next attempt writes it anew.
        """
        for stream, expected in events.items():
            parts = self.client[uid][stream].base
            if "internal" not in parts:
                continue
            rows = len(parts["internal"].read(["seq_num"]))
            if rows != expected:
                remove(self.client, uid)
                raise IncompleteError(
                    f"Tiled: run {uid[:8]}, stream {stream}: {rows} rows instead of {expected}; writing it again"
                )

    def close(self) -> None:
        """Close the connection."""
        self.client.context.close()
