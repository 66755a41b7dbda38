"""Tiles side by side: where each stands by what two of them show, and one picture out of all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from exitwave.analysis.errors import FitError, ShapeError
from exitwave.analysis.registration import register

__all__ = ["Canvas", "TilePlaces", "canvas_of", "register_tiles", "stitch_tiles"]

Place = tuple[float, float]
Canvas = tuple[int, int, int, int]
_LEAST_OVERLAP_PX = 48


@dataclass(frozen=True)
class TilePlaces:
    """Where tiles stand.

    Attributes
    ----------
    places_px : list of (row, column)
        First pixel of each; their mean is that of the places that were given.
    sd_px : float64 (n, 2)
        Standard deviations, rows and columns, from the scatter of what the pictures say.
    pairs : int
        How many pairs of tiles told something.
    """

    places_px: list[Place]
    sd_px: npt.NDArray[np.float64]
    pairs: int


def register_tiles(
    tiles: Sequence[npt.NDArray[Any]], places_px: Sequence[Place], *, max_shift_px: float = 24.0
) -> TilePlaces:
    """Return where tiles stand, by registering what two of them show: one place for all pictures of a tile.

    Parameters
    ----------
    tiles : sequence of arrays (k, y, x), all of one shape
        The same k views (angles) by each tile; their shifts are averaged, weighted by what each is worth, and their
        scatter counts.
    places_px : sequence of (row, column)
        Where the first pixel of each should stand.
    max_shift_px : float
        Farthest that two tiles may be from where they should stand beside each other.

    Raises
    ------
    FitError
        Some tile shows nothing that another shows, too, or nothing that stands out.
    ShapeError
    """
    stacks = [np.asarray(tile, np.float32) for tile in tiles]
    if not stacks or len(stacks) != len(places_px):
        raise ShapeError(f"tiles: {len(stacks)} tiles for {len(places_px)} places; give as many of each, at least one")
    if stacks[0].ndim != 3 or any(stack.shape != stacks[0].shape for stack in stacks):
        raise ShapeError(f"tiles: shapes {sorted({str(s.shape) for s in stacks})} differ or are not (k, y, x)")
    nominal = np.asarray(places_px, np.float64)
    whole = np.rint(nominal).astype(int)
    number = len(stacks)
    normal, right, pairs = np.zeros((2, number, number)), np.zeros((2, number)), 0
    for i in range(number):
        for j in range(i + 1, number):
            found = _pair(stacks[i], stacks[j], whole[j] - whole[i], max_shift_px)
            if found is None:
                continue
            pairs += 1
            for axis, (shift, sd) in enumerate(found):
                # a feature `shift` further on in the second tile: that one stands so much before its whole place
                offset = (whole[j] - whole[i])[axis] - shift - (nominal[j] - nominal[i])[axis]
                weight = 1.0 / sd**2
                normal[axis][[i, j], [i, j]] += weight
                normal[axis][[i, j], [j, i]] -= weight
                right[axis, j] += weight * offset
                right[axis, i] -= weight * offset
    moves, deviations = np.zeros((number, 2)), np.zeros((number, 2))
    for axis in range(2):
        if number > 1 and np.linalg.matrix_rank(normal[axis]) < number - 1:
            raise FitError(f"tiles: {pairs} pairs of {number} tiles tell of each other; some stand alone, overlap more")
        inverse = np.linalg.pinv(normal[axis])
        moves[:, axis] = inverse @ right[axis]
        deviations[:, axis] = np.sqrt(np.maximum(np.diag(inverse), 0.0))
    return TilePlaces([(float(y), float(x)) for y, x in nominal + moves], deviations, pairs)


def _pair(
    first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], apart: npt.NDArray[np.intp], reach: float
) -> list[tuple[float, float]] | None:
    """Shift and standard deviation of rows and of columns between what two tiles show; None if it is too little."""
    here, there = [], []
    for n, d in zip(first.shape[1:], apart, strict=True):
        if n - abs(d) < _LEAST_OVERLAP_PX:
            return None
        here.append(slice(max(d, 0), n + min(d, 0)))
        there.append(slice(max(-d, 0), n - max(d, 0)))
    found = []
    for a, b in zip(first[:, here[0], here[1]], second[:, there[0], there[1]], strict=True):
        try:
            found.append(register(a, b, max_shift_px=min(reach, min(a.shape) / 2.0)))
        except FitError:
            continue  # nothing stands out at this angle
    if not found:
        return None
    result = []
    for axis in ("dy", "dx"):
        values = np.array([getattr(one, axis) for one in found])
        weight = 1.0 / np.maximum([getattr(one, f"{axis}_sd") for one in found], 1e-3) ** 2
        mean = float((weight * values).sum() / weight.sum())
        chi = float((weight * (values - mean) ** 2).sum()) / max(len(values) - 1, 1)
        result.append((mean, math.sqrt(max(chi, 1.0) / float(weight.sum()))))
    return result


def canvas_of(places_px: Sequence[Place], shape: tuple[int, int]) -> Canvas:
    """Return the canvas that holds tiles of a shape at these places: its first row and column, its height and width."""
    whole = np.rint(np.asarray(places_px, np.float64)).astype(int)
    (top, left), (bottom, right) = whole.min(axis=0), whole.max(axis=0) + shape
    return int(top), int(left), int(bottom - top), int(right - left)


def stitch_tiles(
    tiles: Sequence[npt.NDArray[Any]] | npt.NDArray[Any],
    places_px: Sequence[Place],
    canvas: Canvas | None = None,
) -> npt.NDArray[np.float32]:
    """Return the picture that tiles show together; where they overlap, each fades out towards its border.

    Parameters
    ----------
    tiles : sequence of arrays (y, x), all of one shape
        NaN pixels count for nothing.
    places_px : sequence of (row, column)
        Where the first pixel of each stands; a tile between pixels is moved to the next ones by cubic splines.
    canvas : (row, column, height, width), optional
        What is drawn of the plane in which the places are; all of the tiles without (`canvas_of`).

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
    first_row, first_column, height, width = canvas or canvas_of(places_px, (int(shape[0]), int(shape[1])))
    exact = np.asarray(places_px, np.float64) - (first_row, first_column)
    places = np.rint(exact).astype(np.intp)
    rests = np.where(np.abs(exact - places) > 1e-3, exact - places, 0.0)
    total = np.zeros((height, width), np.float32)
    weight = np.zeros((height, width), np.float32)
    # The distance to the nearest border, from 1: a pixel on the border still counts where it is the only one.
    fade_y, fade_x = (np.minimum(np.arange(n) + 1, np.arange(n)[::-1] + 1).astype(np.float32) for n in shape)
    fade = np.minimum(fade_y[:, None], fade_x[None, :])
    for tile, (row, column), rest in zip(tiles, places, rests, strict=True):
        image = np.asarray(tile, np.float32)
        seen = np.isfinite(image)
        if rest.any():
            image = ndimage.shift(np.where(seen, image, np.float32(np.mean(image[seen]))), rest, mode="nearest")
        top, left = max(0, -row), max(0, -column)
        part = np.s_[top : max(top, height - row), left : max(left, width - column)]
        where = np.s_[max(0, row) : max(0, row + shape[0]), max(0, column) : max(0, column + shape[1])]
        total[where] += (np.where(seen, image, np.float32(0.0)) * fade)[part]
        weight[where] += (fade * seen)[part]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / weight, np.float32)
