"""The published recipe for the size of a column, by name, to stand beside the fit."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from exitwave.analysis.columns.filters import wiener
from exitwave.analysis.errors import ShapeError

__all__ = ["RecipeWidths", "paper_recipe"]

Array = npt.NDArray[np.float64]


class RecipeWidths:
    """What the recipe reads: `fwhm` (n,) pixels, NaN where no profile falls to half, `intensity` (n,) counts."""

    def __init__(self, fwhm: Array, intensity: Array):
        self.fwhm = fwhm
        self.intensity = intensity


def paper_recipe(
    counts: npt.ArrayLike,
    positions: npt.ArrayLike,
    *,
    base: float,
    radius_px: float,
    filtered: bool = True,
    directions: int = 4,
) -> RecipeWidths:
    """Read peak intensity and FWHM as ANXRI was published (Sci. China Mater. 63, 1788 (2020)).

    Wiener filter; peak = height of the filtered map at the column; width = distance between the points at
    which profiles through the column fall to the half between the peak and one fixed base. Where the base is not
    the pedestal, the width depends on the height: brighter columns come out wider, with one and the same point spread.

    Parameters
    ----------
    counts : array (rows, cols)
    positions : array (n, 2)
    base : float
        Counts; the same for all columns.
    radius_px : float
        How far profiles are followed.
    filtered : bool
        Whether the Wiener filter is applied.
    directions : int
        Profiles through each column, over half a turn; their widths are averaged.

    Raises
    ------
    ShapeError
    """
    image = np.asarray(counts, np.float64)
    where = np.asarray(positions, np.float64)
    if image.ndim != 2 or where.ndim != 2 or where.shape[1] != 2:
        raise ShapeError(f"paper_recipe: expected (rows, cols) and (n, 2), got {image.shape} and {where.shape}")
    seen = np.asarray(wiener(image, "paper"), np.float64) if filtered else image
    steps = np.arange(0.0, radius_px, 0.1)
    angles = np.arange(2 * directions) * math.pi / directions
    y = where[:, 0, None, None] + np.sin(angles)[None, :, None] * steps
    x = where[:, 1, None, None] + np.cos(angles)[None, :, None] * steps
    profile = ndimage.map_coordinates(seen, [y, x], order=1, mode="nearest")
    peak = profile[:, :1, :1]
    half = base + 0.5 * (peak - base)
    below = profile < half
    first = below.argmax(axis=2)
    crossed = below.any(axis=2) & (first > 0)
    rows, cols = np.indices(first.shape)
    outer, inner = profile[rows, cols, first], profile[rows, cols, np.maximum(first - 1, 0)]
    part = (inner - half[:, :, 0]) / np.maximum(inner - outer, 1e-12)
    reach = np.where(crossed, (np.maximum(first - 1, 0) + part) * 0.1, np.nan)
    both = reach[:, :directions] + reach[:, directions:]
    good = np.isfinite(both)
    width = np.where(good, both, 0.0).sum(axis=1) / np.maximum(good.sum(axis=1), 1)
    fwhm = np.where(good.any(axis=1) & (peak[:, 0, 0] > base), width, np.nan)
    return RecipeWidths(fwhm, peak[:, 0, 0])
