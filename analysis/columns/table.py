"""Tables of columns as text."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import ShapeError

__all__ = ["write_table"]


def write_table(path: str | Path, table: Mapping[str, npt.ArrayLike]) -> Path:
    """Write columns of equal length as CSV with one header line; numbers with six digits.

    ``pandas.read_csv`` reads it, and ``pandas.DataFrame(table)`` is the same.

    Raises
    ------
    ShapeError
    """
    columns = {name: np.asarray(values) for name, values in table.items()}
    if not columns or any(c.ndim != 1 for c in columns.values()) or len({c.shape for c in columns.values()}) != 1:
        raise ShapeError(f"table: columns of one length expected, got { {n: c.shape for n, c in columns.items()} }")
    path = Path(path)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow([f"{v:.6g}" if isinstance(v, np.floating) else v for v in row])
    return path
