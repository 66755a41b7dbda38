"""Kernels of the live slices: one filtered projection smeared into three planes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel

Image = npt.NDArray[np.float32]


@kernel
def add_to_axial(plane: Image, row: Image, along: float, across: float, centre: float) -> None:
    """Add one filtered row to the slice (z, x) across the axis: pixel (i, j) sees centre + x along + z across."""
    n = plane.shape[0]
    middle = 0.5 * (n - 1)
    for i in range(n):
        offset = centre + (i - middle) * across - middle * along
        for j in range(n):
            position = offset + j * along
            column = int(np.floor(position))
            if 0 <= column < row.size - 1:
                part = np.float32(position - column)
                plane[i, j] += row[column] + part * (row[column + 1] - row[column])


@kernel
def add_to_upright(plane: Image, filtered: Image, step: float, centre: float, first: int, last: int) -> None:
    """Add a filtered projection (row, col) to a plane (row, t) that holds the axis: t sees centre + t step."""
    n = plane.shape[1]
    middle = 0.5 * (n - 1)
    columns = filtered.shape[1]
    for i in range(first, last):
        for j in range(n):
            position = centre + (j - middle) * step
            column = int(np.floor(position))
            if 0 <= column < columns - 1:
                part = np.float32(position - column)
                plane[i, j] += filtered[i, column] + part * (filtered[i, column + 1] - filtered[i, column])
