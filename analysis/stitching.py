"""Tiles side by side: one picture out of several that overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import ShapeError

__all__ = ["stitch_tiles"]


def stitch_tiles(
    tiles: Sequence[npt.NDArray[Any]] | npt.NDArray[Any], places_px: Sequence[tuple[int, int]]
) -> npt.NDArray[np.float32]:
    """Return the picture that tiles show together; where they overlap, each fades out towards its border.

    Parameters
    ----------
    tiles : sequence of arrays (y, x), all of one shape
        NaN pixels count for nothing.
    places_px : sequence of (row, column)
        Where the first pixel of each stands; whole pixels.

    Returns
    -------
    float32 array (Y, X)
        NaN where no tile shows anything.

    Raises
    ------
    ShapeError
        No tiles, tiles of different shapes, or another number of places.
    """
    if not len(tiles) or len(tiles) != len(places_px):
        raise ShapeError(f"tiles: {len(tiles)} tiles for {len(places_px)} places; give as many of each, at least one")
    shape = np.shape(tiles[0])
    if len(shape) != 2 or any(np.shape(tile) != shape for tile in tiles):
        raise ShapeError(f"tiles: shapes {sorted({str(np.shape(tile)) for tile in tiles})} differ or are not (y, x)")
    places = np.asarray(places_px, np.intp)
    places = places - places.min(axis=0)
    height, width = places.max(axis=0) + shape
    total = np.zeros((height, width), np.float32)
    weight = np.zeros((height, width), np.float32)
    # The distance to the nearest border, from 1: a pixel on the border still counts where it is the only one.
    fade_y, fade_x = (np.minimum(np.arange(n) + 1, np.arange(n)[::-1] + 1).astype(np.float32) for n in shape)
    fade = np.minimum(fade_y[:, None], fade_x[None, :])
    for tile, (row, column) in zip(tiles, places, strict=True):
        image = np.asarray(tile, np.float32)
        seen = np.isfinite(image)
        where = np.s_[row : row + shape[0], column : column + shape[1]]
        total[where] += np.where(seen, image, np.float32(0.0)) * fade
        weight[where] += fade * seen
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / weight, np.float32)
