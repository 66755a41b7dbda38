"""Where frames lie: what descriptors, resources and datums say about files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["FileLocation", "external_keys", "local_path", "resource_location", "without_elements"]

#: Where areaDetector's file plugin puts its frames.
AD_DATASET = "/entry/data/data"
_AD_SPECS = frozenset({"AD_HDF5", "AD_HDF5_SWMR", "AD_HDF5_SWMR_STREAM", "AD_HDF5_SWMR_SLICE", "HDF5"})


@dataclass(frozen=True)
class FileLocation:
    """A dataset in an HDF5 file, and the data key it belongs to (empty if the datum tells)."""

    path: Path
    dataset: str
    data_key: str = ""
    frames_per_point: int = 1


def external_keys(descriptor: Mapping[str, Any]) -> list[str]:
    """Name the data keys of a descriptor whose values lie in files."""
    return [key for key, value in descriptor["data_keys"].items() if "external" in value]


def without_elements(data_keys: Mapping[str, Any]) -> set[str]:
    """Name the data keys of arrays in documents whose shape, in the descriptor, has no element."""
    return {
        key
        for key, value in data_keys.items()
        if value.get("dtype") == "array" and "external" not in value and 0 in (value.get("shape") or ())
    }


def local_path(uri: str) -> Path:
    """Path of a ``file://`` URI."""
    return Path(unquote(urlsplit(uri).path))


def resource_location(doc: Mapping[str, Any]) -> FileLocation | None:
    """Read a resource (classic) or stream_resource document; None if it is not one HDF5 file."""
    if "mimetype" in doc:
        parameters = doc.get("parameters", {})
        if doc["mimetype"] != "application/x-hdf5" or parameters.get("template"):
            return None
        dataset = parameters.get("dataset") or parameters.get("path") or AD_DATASET
        return FileLocation(local_path(doc["uri"]), dataset, doc.get("data_key", ""))
    if str(doc.get("spec", "")).upper() not in _AD_SPECS:
        return None
    kwargs = doc.get("resource_kwargs", {})
    return FileLocation(
        # A root "/" and a path that is absolute itself both occur.
        Path(doc.get("root") or "/") / str(doc["resource_path"]).lstrip("/"),
        kwargs.get("path") or kwargs.get("dataset") or AD_DATASET,
        frames_per_point=int(kwargs.get("frame_per_point") or 1),
    )
