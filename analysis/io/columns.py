"""Columns of numbers as text: XDI (XAFS Data Interchange) and the plain columns that Athena reads.

B. Ravel et al., "XAS Data Interchange", J. Phys. Conf. Ser. 712, 012148 (2016).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import FileFormatError, ShapeError

__all__ = ["ColumnTable", "read_columns", "write_athena", "write_xdi"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ColumnTable:
    """Named columns of equal length.

    Attributes
    ----------
    names : tuple of str
    values : float64 (rows, columns)
    units : tuple of str
        Empty strings where the file gives none.
    metadata : mapping
        XDI fields such as ``Element.symbol``, in the file's spelling.
    comments : tuple of str
        Free lines of the header.
    """

    names: tuple[str, ...]
    values: Array
    units: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    comments: tuple[str, ...] = ()

    def column(self, name: str) -> Array:
        """Return a column by name, case ignored.

        Raises
        ------
        FileFormatError
            Naming the columns that there are.
        """
        lower = [n.lower() for n in self.names]
        if name.lower() not in lower:
            raise FileFormatError(f"no column {name!r}: there are {', '.join(self.names)}")
        return np.ascontiguousarray(self.values[:, lower.index(name.lower())])


def read_columns(path: str | Path) -> ColumnTable:
    """Read XDI, Athena or bare column text.

    Names come from ``# Column.N: name unit`` lines, else from the last comment line if it has as many words
    as there are columns, else they are ``col1``, ``col2``, ...

    Raises
    ------
    FileFormatError
        For a line that is not numbers, rows of different lengths, or no rows at all.
    FileNotFoundError
    """
    path = Path(path)
    header: list[str] = []
    rows: list[list[float]] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            stripped = line.strip()
            if not stripped:
                continue
            if stripped[0] in "#;%":
                if not rows:
                    header.append(stripped.lstrip("#;%").strip())
                continue
            try:
                row = [float(word) for word in stripped.replace(",", " ").split()]
            except ValueError:
                raise FileFormatError(f"{path.name}: line {number} is not numbers: {stripped[:40]!r}") from None
            if rows and len(row) != len(rows[0]):
                raise FileFormatError(f"{path.name}: line {number} has {len(row)} numbers, not {len(rows[0])}")
            rows.append(row)
    if not rows:
        raise FileFormatError(f"{path.name}: no rows of numbers")
    values = np.asarray(rows, dtype=np.float64)
    return _describe(header, values)


def _describe(header: list[str], values: Array) -> ColumnTable:
    n = values.shape[1]
    labels: dict[int, tuple[str, str]] = {}
    metadata: dict[str, str] = {}
    comments: list[str] = []
    fields = True
    for line in header:
        if line.startswith("///"):
            fields = False
            continue
        key, colon, value = line.partition(":")
        if fields and colon and "." in key and " " not in key:
            group, _, item = key.partition(".")
            if group.lower() == "column" and item.isdigit():
                words = value.split(None, 1)
                labels[int(item)] = (words[0] if words else f"col{item}", words[1].strip() if len(words) > 1 else "")
            else:
                metadata[key] = value.strip()
        elif line.strip("-= ") and not line.startswith("XDI/"):
            comments.append(line)
    if not labels and comments and len(comments[-1].split()) == n:
        labels = {i: (word, "") for i, word in enumerate(comments.pop().split(), start=1)}
    elif (
        labels
        and comments
        and [w.lower() for w in comments[-1].split()] == [labels.get(i, ("", ""))[0].lower() for i in range(1, n + 1)]
    ):
        comments.pop()
    names = tuple(labels.get(i, (f"col{i}", ""))[0] for i in range(1, n + 1))
    units = tuple(labels.get(i, ("", ""))[1] for i in range(1, n + 1))
    return ColumnTable(names, values, units, metadata, tuple(comments))


def _body(table: ColumnTable) -> str:
    # repr-exact: seventeen digits bring every float64 back
    return "\n".join("  ".join(f"{v:.17g}" for v in row) for row in table.values) + "\n"


def _check(table: ColumnTable) -> None:
    if table.values.ndim != 2 or table.values.shape[1] != len(table.names):
        raise ShapeError(f"{len(table.names)} names for values of shape {table.values.shape}")


def _write(path: str | Path, content: str) -> None:
    path = Path(path)
    part = path.with_name(path.name + ".part")
    part.write_text(content, encoding="utf-8")
    os.replace(part, path)


def write_xdi(path: str | Path, table: ColumnTable) -> None:
    """Write an XDI 1.0 file; numbers come back bit for bit.

    XDI wants ``Element.symbol``, ``Element.edge`` and ``Mono.d_spacing`` in the metadata.

    Raises
    ------
    FileFormatError
        If one of them is missing.
    ShapeError
    """
    _check(table)
    missing = {"element.symbol", "element.edge", "mono.d_spacing"} - {key.lower() for key in table.metadata}
    if missing:
        raise FileFormatError(f"XDI needs the metadata {', '.join(sorted(missing))}")
    units = table.units or ("",) * len(table.names)
    lines = ["XDI/1.0 exitwave"]
    lines += [f"Column.{i}: {n} {u}".rstrip() for i, (n, u) in enumerate(zip(table.names, units, strict=True), 1)]
    lines += [f"{key}: {value}" for key, value in table.metadata.items()]
    lines += ["///", *table.comments, "-----", "  ".join(table.names)]
    _write(path, "".join(f"# {line}\n" for line in lines) + _body(table))


def write_athena(path: str | Path, table: ColumnTable) -> None:
    """Write comment lines, a line of labels and the columns, as Athena reads them; bit for bit."""
    _check(table)
    lines = [f"{key}: {value}" for key, value in table.metadata.items()]
    lines += [*table.comments, "-----", "  ".join(table.names)]
    _write(path, "".join(f"# {line}\n" for line in lines) + _body(table))
