"""Means over blocks of neighbouring pixels or voxels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel, over_blocks
from exitwave.analysis.errors import ShapeError

__all__ = ["block_mean"]

_TYPES = (np.uint8, np.uint16, np.int32, np.float32, np.float64)
_ROWS = 64


@kernel
def _means(
    source: npt.NDArray[Any], factors: tuple[int, int, int], out: npt.NDArray[np.float32], first: int, last: int
) -> None:
    """Fill rows first..last, counted through all slices of `out`."""
    fz, fy, fx = factors
    ny, nx = out.shape[1:]
    scale = 1.0 / (fz * fy * fx)
    line = np.empty(nx)
    for n in range(first, last):
        k, j = n // ny, n % ny
        line[:] = 0.0
        for z in range(k * fz, (k + 1) * fz):
            for y in range(j * fy, (j + 1) * fy):
                row = source[z, y]
                for i in range(nx):
                    total = 0.0
                    for x in range(i * fx, (i + 1) * fx):
                        total += row[x]
                    line[i] += total
        for i in range(nx):
            out[k, j, i] = scale * line[i]


def block_mean(data: npt.NDArray[Any], factors: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return the means over blocks; what does not fill a block at the end of an axis is left out.

    Parameters
    ----------
    data : array of one to three axes
        Any real dtype.
    factors : sequence of int
        Length of a block along each axis, 1 to leave an axis as it is.

    Returns
    -------
    float32 array
        Its pixel i along an axis of factor f stands at ``f i + (f - 1) / 2`` of `data`. With all factors 1 it is
        `data` itself, if that is float32.

    Raises
    ------
    ShapeError
        Another number of factors than axes, a factor below 1, or an axis shorter than its block.
    """
    array = np.asarray(data)
    blocks = tuple(int(factor) for factor in factors)
    if array.ndim not in (1, 2, 3) or len(blocks) != array.ndim:
        raise ShapeError(
            f"blocks: {len(blocks)} factors for data of shape {array.shape}; give one for each of 1 to 3 axes"
        )
    if any(not 1 <= factor <= n for factor, n in zip(blocks, array.shape, strict=True)):
        raise ShapeError(f"blocks: factors {blocks} do not fit data of shape {array.shape}")
    if all(factor == 1 for factor in blocks):
        return np.asarray(array, np.float32)
    if array.dtype.type not in _TYPES:
        array = array.astype(np.float32)
    missing = 3 - array.ndim
    source = array.reshape((1,) * missing + array.shape)
    fz, fy, fx = (1,) * missing + blocks
    nz, ny, nx = (n // factor for n, factor in zip(source.shape, (fz, fy, fx), strict=True))
    out = np.empty((nz, ny, nx), np.float32)
    over_blocks(lambda a, b: _means(source, (fz, fy, fx), out, a, b), nz * ny, _ROWS)
    return out.reshape(out.shape[missing:])
