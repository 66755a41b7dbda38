"""The rotation axis by whatever a scan offers: projections half a turn apart, half a turn in equal steps, or any."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exitwave.analysis.binning import block_mean
from exitwave.analysis.errors import FitError, OutOfRangeError
from exitwave.analysis.tomography.centre import centre_from_score, centre_from_wedge
from exitwave.analysis.tomography.pairs import axis_from_pairs

__all__ = ["AxisFound", "find_axis"]

Array32 = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
_PAIRS = 180
"""Most pairs half a turn apart that are registered: each costs as much as the last and adds less."""
_ROWS = 256
"""Most rows from which a centre is found without pairs."""


@dataclass(frozen=True)
class AxisFound:
    """Where the axis is, and how that was found.

    Attributes
    ----------
    centre_px, centre_sd_px : float
        Column in the middle row, one standard deviation (NaN where it was given).
    tilt_deg, tilt_sd_deg : float
        Lean; NaN as deviation where it was given or is taken for none.
    how : str
        "given", "pairs", "wedge" or "score".
    """

    centre_px: float
    centre_sd_px: float
    tilt_deg: float
    tilt_sd_deg: float
    how: str


def _half_turn_pairs(angles_deg: Doubles) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return which projections look along the same line from opposite sides, to a tenth of a step."""
    if len(angles_deg) < 2:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    order = np.argsort(angles_deg, kind="stable")
    ranked = angles_deg[order]
    steps = np.diff(ranked)
    tolerance = 0.1 * float(np.median(steps[steps > 0.0])) if np.any(steps > 0.0) else 0.0
    target = ranked + 180.0
    right = (
        np.clip(np.searchsorted(ranked, target), 1, max(len(ranked) - 1, 1)) if len(ranked) > 1 else np.zeros(1, int)
    )
    nearest = np.where(np.abs(ranked[right - 1] - target) <= np.abs(ranked[right] - target), right - 1, right)
    hit = np.abs(ranked[nearest] - target) <= tolerance
    return order[hit], order[nearest[hit]]


def find_axis(
    projections: Array32,
    angles_deg: npt.ArrayLike,
    *,
    max_offset_px: float | None = None,
    finest_px: int = 512,
    memory_gb: float = 2.0,
) -> AxisFound:
    """Find the rotation axis by what the scan offers.

    Parameters
    ----------
    projections : array (angle, row, column)
        -ln(transmission); cut by angles or by rows, a memory map will do.
    angles_deg : array (angle,)
    max_offset_px : float, optional
        Largest distance of the axis from the middle column; a quarter of the width (pairs) or an eighth without.
    finest_px : int
        As in `axis_from_pairs`.
    memory_gb : float
        As many pairs are taken as fit into half of it, and no more than are of use.

    Returns
    -------
    AxisFound
        Projections half a turn apart tell column and lean. Without any the double wedge of half a turn in equal steps
        tells the column, or else the slices' negative values; the lean is then taken for none.

    Raises
    ------
    FitError, OutOfRangeError, ShapeError
    """
    angles = np.asarray(angles_deg, np.float64)
    first, second = _half_turn_pairs(angles)
    if len(first):
        return _axis_by_pairs(projections, first, second, max_offset_px, finest_px, memory_gb)
    some = np.asarray(projections[:, :: -(-projections.shape[1] // _ROWS), :], np.float32)
    nan = float("nan")
    try:
        wedge = centre_from_wedge(some, angles, max_offset_px=max_offset_px)
        return AxisFound(wedge.centre, wedge.centre_sd, 0.0, nan, "wedge")
    except (OutOfRangeError, FitError):
        band = max(1, min(16, some.shape[1] // 12))
        score = centre_from_score(some, angles, band=band, max_offset_px=max_offset_px)
        return AxisFound(score.centre, score.centre_sd, 0.0, nan, "score")


def _axis_by_pairs(
    projections: Array32,
    first: npt.NDArray[np.intp],
    second: npt.NDArray[np.intp],
    max_offset_px: float | None,
    finest_px: int,
    memory_gb: float,
) -> AxisFound:
    """Find the axis in pairs, binned as they are read: finer than that they would be binned afterwards."""
    rows, width = projections.shape[1:]
    factor = 1
    while min(rows, width) // (2 * factor) >= finest_px:
        factor *= 2
    # about the middle, so that a mirrored picture has the mirrored blocks
    top, left = (rows % factor) // 2, (width % factor) // 2
    count = min(_PAIRS, max(1, int(0.5e9 * memory_gb * factor**2 / (8.0 * rows * width))))
    every = slice(None, None, -(-len(first) // count))

    def pictures(index: npt.NDArray[np.intp]) -> Array32:
        high, wide = rows // factor * factor, width // factor * factor
        return np.stack(
            [block_mean(projections[k, top : top + high, left : left + wide], (factor, factor)) for k in index]
        )

    offset = None if max_offset_px is None else max_offset_px / factor
    pair = axis_from_pairs(pictures(first[every]), pictures(second[every]), max_offset_px=offset, finest_px=finest_px)
    centre = left + factor * (pair.centre + 0.5) - 0.5
    return AxisFound(centre, factor * pair.centre_sd, pair.tilt_deg, pair.tilt_sd_deg, "pairs")
