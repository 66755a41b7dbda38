"""Documents as lines of strict JSON that come back exactly as they were.

JSON has no NaN, no infinity, no bytes and no arrays. Such values are written as an object with
the one key ``__exitwave__``:

- ``{"__exitwave__": "float", "value": "nan" | "inf" | "-inf"}``
- ``{"__exitwave__": "ndarray", "dtype": "<f4", "shape": [2, 3], "data": "<base64, C order>"}``
- ``{"__exitwave__": "bytes", "data": "<base64>"}``
- ``{"__exitwave__": "dict", "items": [[key, value], ...]}`` for a mapping that has this key itself
  or has keys that are not strings.

Python floats survive because ``repr`` of a float is exact. NumPy scalars become the Python number
of the same value, tuples and sets lists, paths strings, enumerations their values, dates ISO 8601.
"""

from __future__ import annotations

import base64
import datetime
import enum
import json
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from exitwave.profiles.storage.errors import JournalEncodingError

__all__ = ["decode_line", "encode_line"]

TAG = "__exitwave__"
_QUOTED_TAG = f'"{TAG}"'


def _tag_array(array: np.ndarray[Any, Any]) -> Any:
    if array.dtype.hasobject:
        return _plain(array.tolist())
    descr: Any = array.dtype.descr if array.dtype.names else array.dtype.str
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
    return {TAG: "ndarray", "dtype": descr, "shape": list(array.shape), "data": data}


def _tag(value: Any) -> Any:
    """Return what stands in for a value the JSON encoder does not know."""
    match value:
        case np.ndarray():
            return _tag_array(value)
        case np.generic():
            return _plain(value.item())
        case bytes() | bytearray() | memoryview():
            return {TAG: "bytes", "data": base64.b64encode(bytes(value)).decode("ascii")}
        case enum.Enum():
            return _plain(value.value)
        case PurePath():
            return str(value)
        case datetime.datetime() | datetime.date():
            return value.isoformat()
        case set() | frozenset():
            return [_plain(item) for item in sorted(value, key=repr)]
        case Mapping():
            return _plain(dict(value))
        case complex():
            raise TypeError("complex numbers are not allowed in documents; store real and imaginary part")
    # Lists and mappings of bluesky's own make (ChainMap, DictView, deque) iterate like the originals.
    if hasattr(value, "__iter__") and hasattr(value, "__len__"):
        return [_plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} cannot be written")


def _plain(value: Any) -> Any:
    """Walk a value and replace everything that strict JSON cannot hold (the slow, complete way)."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return {TAG: "float", "value": repr(float(value))}
    if isinstance(value, int):
        return int(value)
    if isinstance(value, dict):
        if TAG in value or not all(isinstance(key, str) for key in value):
            return {TAG: "dict", "items": [[_key(key), _plain(item)] for key, item in value.items()]}
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return _tag(value)


def _key(key: Any) -> Any:
    if key is None or isinstance(key, (bool, int, float, str)):
        return _plain(key)
    raise TypeError(f"a mapping's key {key!r} is neither text nor a number")


def _only_text_keys(doc: Mapping[Any, Any]) -> bool:
    """Whether the mapping and the mappings in it, however deep, have only text for keys."""
    for key, value in doc.items():
        if not isinstance(key, str):
            return False
        if isinstance(value, dict) and not _only_text_keys(value):
            return False
        if isinstance(value, (list, tuple)) and any(
            isinstance(item, dict) and not _only_text_keys(item) for item in value
        ):
            return False
    return True


def encode_line(name: str, doc: Mapping[str, Any]) -> bytes:
    r"""Write one document as one line, ``{"name": ..., "doc": ...}`` and a newline.

    Parameters
    ----------
    name : str
        Kind of document: start, descriptor, event, ...
    doc : mapping
        The document, NumPy values and non-finite numbers allowed.

    Returns
    -------
    bytes
        UTF-8 with exactly one newline, at the end.

    Raises
    ------
    JournalEncodingError
        If a value cannot be written exactly.
    """
    tags = 0

    def default(value: Any) -> Any:
        nonlocal tags
        tagged = _tag(value)
        if isinstance(tagged, dict) and TAG in tagged:
            tags += 1
        elif isinstance(tagged, (dict, list)):
            raise ValueError  # may hold tags that cannot be counted from here
        return tagged

    item = {"name": name, "doc": doc}
    try:
        try:
            if not _only_text_keys(doc):
                raise ValueError
            text = json.dumps(item, allow_nan=False, default=default, separators=(",", ":"))
            if text.count(_QUOTED_TAG) != tags:
                raise ValueError  # the document uses the tag's name itself
        except ValueError:
            text = json.dumps(_plain(item), allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise JournalEncodingError(
            f"{name} document {doc.get('uid', '')}: {error}; use numbers, text, lists, mappings or arrays"
        ) from error
    return text.encode("ascii") + b"\n"


def _untag(obj: dict[str, Any]) -> Any:
    kind = obj.get(TAG)
    if kind is None:
        return obj
    match kind:
        case "float":
            return float(obj["value"])
        case "ndarray":
            descr = obj["dtype"]
            dtype = np.dtype(descr if isinstance(descr, str) else [_field(field) for field in descr])
            return np.frombuffer(base64.b64decode(obj["data"]), dtype=dtype).reshape(obj["shape"]).copy()
        case "bytes":
            return base64.b64decode(obj["data"])
        case "dict":
            return dict(obj["items"])
    raise ValueError(f"unknown tag {kind!r}")


def _field(field: list[Any]) -> tuple[Any, ...]:
    return tuple(tuple(part) if isinstance(part, list) else part for part in field)


_DECODER = json.JSONDecoder(object_hook=_untag)


def decode_line(line: bytes) -> tuple[str, dict[str, Any]]:
    """Read one line of `encode_line`.

    Raises
    ------
    ValueError
        If the line is not whole.
    """
    if not line.endswith(b"\n"):
        raise ValueError("the line has no end")
    try:
        item = _DECODER.decode(line.decode("utf-8"))
        return item["name"], item["doc"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a document: {error}") from error
