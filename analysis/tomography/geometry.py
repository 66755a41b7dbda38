"""Where the rays of a parallel-beam tomogram went.

A voxel of slice `h` (rows below the middle row) at (x, z) of the rotation stage, in pixels from the rotation axis, is
seen at theta in the detector's column ``centre + x cos(theta) + z sin(theta)``. A slice is an array (z, x): columns
grow with x, rows with z, along the beam at theta = 0; the axis stands in its middle, at index (size - 1) / 2.
Theta turns the stage as (x, z) -> (x cos + z sin, -x sin + z cos).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import OutOfRangeError, ShapeError, require_within

__all__ = ["Geometry", "angular_weights"]

Array64 = npt.NDArray[np.float64]
LARGEST_TILT_DEG = 10.0


def _frozen(values: Any) -> Array64:
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Geometry:
    """Angles, axis and displacements of a parallel-beam tomogram.

    Attributes
    ----------
    angles_deg : float64 (n,)
        Of each projection, from the encoder; any order, any range.
    width : int
        Columns of a projection.
    centre : float
        Column of the rotation axis in the middle row (0 is the middle of the first pixel).
    tilt_deg : float
        Lean of the axis in the image plane: its column in row r is ``centre + tan(tilt) (r - middle)``.
    shifts : float64 (n, 2), optional
        (dy, dx) in pixels by which the picture k stands displaced from where it should.

    Raises
    ------
    ShapeError
        For no projections, or shifts that don't fit the angles.
    OutOfRangeError
        For angles or shifts that are not finite, a centre outside of the detector, a tilt beyond 10 deg.
    """

    angles_deg: Array64
    width: int
    centre: float
    tilt_deg: float = 0.0
    shifts: Array64 | None = None

    def __post_init__(self) -> None:
        angles = _frozen(self.angles_deg)
        if angles.ndim != 1 or angles.size == 0:
            raise ShapeError(f"angles: expected (n,) with n >= 1 projections, got {angles.shape}")
        _require_finite("angles", angles, "deg")
        width = int(self.width)
        if width < 2:
            raise ShapeError(f"width = {width} columns: a projection has at least 2")
        object.__setattr__(self, "angles_deg", angles)
        object.__setattr__(self, "width", width)
        object.__setattr__(self, "centre", require_within("centre", self.centre, 0.0, width - 1.0, "column"))
        limit = LARGEST_TILT_DEG
        object.__setattr__(self, "tilt_deg", require_within("tilt", self.tilt_deg, -limit, limit, "deg"))
        if self.shifts is not None:
            shifts = _frozen(self.shifts)
            if shifts.shape != (angles.size, 2):
                raise ShapeError(f"shifts: shape {shifts.shape}, expected ({angles.size}, 2) as there are angles")
            _require_finite("shifts", shifts, "pixel")
            object.__setattr__(self, "shifts", shifts)

    def __len__(self) -> int:
        """Return the number of projections."""
        return int(self.angles_deg.size)

    @property
    def dy(self) -> Array64:
        """Vertical displacement (n,) of the pictures, in pixels."""
        return np.zeros(len(self)) if self.shifts is None else self.shifts[:, 0]

    @property
    def dx(self) -> Array64:
        """Horizontal displacement (n,) of the pictures, in pixels."""
        return np.zeros(len(self)) if self.shifts is None else self.shifts[:, 1]

    @property
    def mixes_rows(self) -> bool:
        """Whether a slice needs more of each projection than one row, as it is."""
        return self.tilt_deg != 0.0 or bool(np.any(self.dy != 0.0))

    @property
    def offsets(self) -> Array64:
        """Column (n,) of the axis in each projection, for rows that lie along slices (see `rows`).

        With a tilt the resampling of rows takes the shifts out and the axis stands at `centre` in all of them.
        """
        return np.full(len(self), self.centre) if self.tilt_deg != 0.0 else self.centre + self.dx

    @property
    def cosines(self) -> Array64:
        """cos(theta) of each projection, exact at multiples of 90 deg."""
        return np.asarray(np.round(np.cos(np.radians(self.angles_deg)), 15), np.float64)

    @property
    def sines(self) -> Array64:
        """sin(theta) of each projection, exact at multiples of 90 deg."""
        return np.asarray(np.round(np.sin(np.radians(self.angles_deg)), 15), np.float64)

    def row_margin(self, offset: float) -> int:
        """Return how many rows above and below a slice its rays reach, `offset` rows from the middle at most."""
        tan, cos = math.tan(math.radians(self.tilt_deg)), math.cos(math.radians(self.tilt_deg))
        reach = max(self.centre, self.width - 1.0 - self.centre)
        lean = abs(tan) * reach + abs(offset) * (1.0 - cos)
        return math.ceil(float(np.abs(self.dy).max()) + lean) + 2 if self.mixes_rows else 0

    def select(self, index: Any) -> Geometry:
        """Return the geometry of some of the projections (index array, slice or mask)."""
        shifts = None if self.shifts is None else self.shifts[index]
        return Geometry(self.angles_deg[index], self.width, self.centre, self.tilt_deg, shifts)


def _require_finite(name: str, values: Array64, unit: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    if bad.size:
        raise OutOfRangeError(f"{name}[{bad[0]}] = {values[bad[0]]} {unit}: must be finite ({bad.size} are not)")


def angular_weights(angles_deg: npt.ArrayLike) -> Array64:
    """Return the angle (n,), in rad, that each projection stands for: half the gaps to its neighbours modulo 180 deg.

    Two projections of one direction (0 and 180 deg) share it, so a turn of 360 deg weighs as much as half of one: pi.
    A gap over three times as wide as all of the three gaps on either side is a missing wedge: nobody stands for
    it, and its ends count as if their gaps went on as before it.
    """
    lines = np.mod(np.asarray(angles_deg, dtype=np.float64), 180.0)
    n = lines.size
    order = np.argsort(lines, kind="stable")
    gaps = np.diff(lines[order], append=lines[order[0]] + 180.0)  # gap after each
    if n > 3:
        reach = min(3, (n - 1) // 2)
        near = np.max([np.roll(gaps, d) for d in (*range(-reach, 0), *range(1, reach + 1))], axis=0)
        wedge = (gaps > 3.0 * near) & (near > 0.0)
        gaps = np.where(wedge, near, gaps)
    weights = np.empty(n)
    weights[order] = 0.5 * (gaps + np.roll(gaps, 1))
    return np.radians(weights)
