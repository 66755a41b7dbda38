"""Hidden errors as JSON: what the simulators' truths have in common when they are written and read."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["read_fields", "tuples", "write_truth"]


def write_truth(truth: DataclassInstance, path: Path | None, more: Mapping[str, object] | None = None) -> str:
    """Return a truth, and `more` beside it, as JSON text; write it to ``path`` if given."""
    text = json.dumps(asdict(truth) | dict(more or {}), indent=2)
    if path is not None:
        path.write_text(text + "\n", encoding="utf-8")
    return text


def read_fields(kind: type[DataclassInstance], source: str | Path, *, beside: Collection[str] = ()) -> dict[str, Any]:
    """Return the fields of a truth from JSON text or a file; keys `beside` it are left out.

    Raises
    ------
    ValueError
        If the document has a key that is not a field.
    """
    text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
    values = {key: value for key, value in json.loads(text).items() if key not in beside}
    unknown = sorted(set(values) - {one.name for one in fields(kind)})
    if unknown:
        raise ValueError(f"truth: unknown keys {unknown}; known are the fields of {kind.__name__}")
    return values


def tuples(value: Any) -> Any:
    """Return what JSON made a list of as the tuple that it was."""
    return tuple(value) if isinstance(value, list) else value
