"""Angles of a tomogram, in the order in which they are taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from exitwave.plans.pure.positions import PlanInputError, require_count, require_finite

__all__ = ["AngleOrder", "even_segments", "projection_angles", "tolerance_deg"]

AngleOrder = Literal["sequential", "interlaced", "golden"]
ORDERS: tuple[AngleOrder, ...] = ("sequential", "interlaced", "golden")
GOLDEN_FRACTION = (math.sqrt(5.0) - 1.0) / 2.0
Range = tuple[float, float]


def projection_angles(
    start_deg: float,
    stop_deg: float,
    num: int,
    *,
    order: AngleOrder = "sequential",
    interlaces: int = 4,
    exclude_deg: Sequence[Range] = (),
) -> NDArray[np.float64]:
    """Return the angles of `num` projections over a range, in the order of acquisition.

    Without exclusions they are ``start + k (stop - start) / num``: the end, which over a half or a whole turn shows
    what the start shows, is left out.

    Parameters
    ----------
    start_deg, stop_deg : float
        The range; `stop_deg` may be below `start_deg`.
    num : int
        Projections, before exclusions are taken out.
    order : {"sequential", "interlaced", "golden"}
        Interlaced: every `interlaces`-th angle in each of as many passes, the passes in bit-reversed order, so that
        any number of finished passes covers the range evenly (K. A. Mohan et al., IEEE Trans. Comput. Imaging 1,
        96 (2015)). Golden: each angle a golden section of the range after the one before, so that any number of
        them does (T. Koehler, IEEE NSS Conf. Rec. 6, 3961 (2004)).
    interlaces : int
        Passes of the interlaced order.
    exclude_deg : sequence of (low, high)
        Angles strictly between these are left out: what a flat sample hides.

    Returns
    -------
    float64 array (n,), degrees, n <= num

    Raises
    ------
    PlanInputError
        Not a number, an empty range, no projections, an unknown order, or nothing left after the exclusions.
    """
    start = require_finite("start_deg", start_deg, "deg")
    span = require_finite("stop_deg", stop_deg, "deg") - start
    num = require_count("num_projections", num, at_least=1)
    if span == 0.0:
        raise PlanInputError(f"stop_deg: {stop_deg:g} deg is start_deg; give a range, 0 to 180 for a half turn")
    if order not in ORDERS:
        raise PlanInputError(f"order: {order!r} is not one of {', '.join(ORDERS)}")
    k = np.arange(num, dtype=np.float64)
    fraction = k * GOLDEN_FRACTION % 1.0 if order == "golden" else k / num
    if order == "interlaced":
        passes = require_count("interlaces", interlaces, at_least=1)
        fraction = np.concatenate([fraction[first::passes] for first in _bit_reversed(passes)])
    angles = start + fraction * span
    keep = np.ones(num, bool)
    for low, high in exclude_deg:
        require_finite("exclude_deg", low, "deg")
        require_finite("exclude_deg", high, "deg")
        if not low < high:
            raise PlanInputError(f"exclude_deg: ({low:g}, {high:g}) deg does not rise; give low < high")
        keep &= ~((angles > low) & (angles < high))
    if not keep.any():
        raise PlanInputError("exclude_deg: nothing is left of the range; exclude less")
    return np.asarray(angles[keep])


def _bit_reversed(count: int) -> list[int]:
    """Return 0 .. count - 1 ordered by their bits read backwards."""
    bits = max(1, (count - 1).bit_length())
    return sorted(range(count), key=lambda i: int(f"{i:0{bits}b}"[::-1], 2))


def even_segments(angles_deg: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Cut angles into stretches that an axis at constant velocity can take: neighbours one step apart.

    The step is the most frequent distance of neighbours; a stretch may be a single angle.

    Parameters
    ----------
    angles_deg : float64 array (n,)
        Rising or falling, n >= 1.
    """
    angles = np.asarray(angles_deg, np.float64)
    if len(angles) < 2:
        return [angles]
    steps = np.diff(angles)
    values, counts = np.unique(np.round(steps, 9), return_counts=True)
    # Of steps equally frequent the smallest: a gap is several steps, never less than one.
    most = values[counts == counts.max()]
    step = most[np.argmin(np.abs(most))]
    cuts = np.flatnonzero(np.abs(steps - step) > 1e-6 * abs(step) + 1e-9) + 1
    return [part for part in np.split(angles, cuts) if len(part)]


def tolerance_deg(angles_deg: NDArray[np.float64]) -> float:
    """Return how far a frame's angle may be from the one asked for and still be told from its neighbours."""
    ranked = np.sort(np.asarray(angles_deg, np.float64))
    return float(0.45 * np.diff(ranked).min()) if len(ranked) > 1 else 0.5
