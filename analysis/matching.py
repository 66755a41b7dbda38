"""Which of the positions asked for a measured one is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["match_angles"]


def match_angles(
    asked_deg: NDArray[np.float64], measured_deg: NDArray[np.float64], tolerance_deg: float
) -> NDArray[np.intp]:
    """Return for each measured angle which of the angles asked for it is, -1 for none.

    An angle asked for is given away once, to the first that comes within the tolerance; NaN belongs to none.

    Parameters
    ----------
    asked_deg : float64 array (n,)
        In any order.
    measured_deg : float64 array (m,)
    tolerance_deg : float
        Largest distance, at most half of that between two angles asked for.

    Returns
    -------
    intp array (m,)
    """
    asked = np.asarray(asked_deg, np.float64)
    measured = np.asarray(measured_deg, np.float64)
    found = np.full(len(measured), -1, np.intp)
    if not len(asked) or not len(measured):
        return found
    order = np.argsort(asked)
    ranked = asked[order]
    right = np.clip(np.searchsorted(ranked, measured), 0, len(ranked) - 1)
    left = np.maximum(right - 1, 0)
    nearest = np.where(np.abs(ranked[left] - measured) <= np.abs(ranked[right] - measured), left, right)
    near = np.abs(ranked[nearest] - measured) <= tolerance_deg
    candidates = np.where(near, order[nearest], -1)
    taken, first = np.unique(candidates, return_index=True)
    keep = taken >= 0
    found[first[keep]] = taken[keep]
    return found
