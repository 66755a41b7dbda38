"""Helical scans: every slice from the projections that show it.

While the sample turns it rises, by rows that stand in ``Geometry.shifts``; a slice is seen for a while only. Slices are
taken a few at a time, each few from the projections in which all of them lie within the picture (at least half a turn
without a gap), moved there by whole rows; what is left of a row is resampled with the rest of the shifts. Rays are
parallel, so that this is all there is to it: no cone, no approximation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import OutOfRangeError, ShapeError
from exitwave.analysis.tomography.geometry import Geometry
from exitwave.analysis.tomography.reconstruct import ProjectionSource, Reconstruction

__all__ = ["HelicalReconstruction", "helical_rows"]

Array32 = npt.NDArray[np.float32]
_SLAB = 16
_WIDEST_GAP = 3.0
"""Directions of a slice may lie so many usual gaps apart before it counts as not seen all around."""


def helical_rows(geometry: Geometry, n_rows: int, *, slab: int = 1) -> tuple[int, int]:
    """Return the first and past-the-last slice that half a turn shows, in rows of the picture without shift.

    Parameters
    ----------
    geometry : Geometry
        With the rise in `shifts`.
    n_rows : int
        Of a projection.
    slab : int
        Slices that have to be seen together.

    Raises
    ------
    OutOfRangeError
        No slice is seen from all around.
    """
    dy = geometry.dy
    low, high = math.ceil(-float(dy.max())), math.floor(n_rows - 1 - float(dy.min()))
    step = _usual_gap(geometry.angles_deg)
    good = [h for h in range(low, high + 2 - slab) if _seen_around(geometry, h, slab, n_rows, step)]
    if not good:
        raise OutOfRangeError(
            f"helix: no slice is seen over half a turn within {n_rows} rows; the sample rises by "
            f"{float(np.ptp(dy)):.0f} rows in {float(np.ptp(geometry.angles_deg)):.0f} deg: rise less in a turn"
        )
    return good[0], good[-1] + slab


def _usual_gap(angles_deg: npt.NDArray[np.float64]) -> float:
    """Return the usual step of a scan, whatever its order, in deg."""
    steps = np.diff(np.sort(angles_deg))
    return float(np.median(steps[steps > 0.0])) if np.any(steps > 0.0) else 180.0


def _visible(geometry: Geometry, first: int, count: int, n_rows: int) -> npt.NDArray[np.intp]:
    """Return the projections that show `count` slices from `first` on, with a row on either side for resampling."""
    top = first + geometry.dy
    return np.flatnonzero((top >= 0.0) & (top + count - 1 <= n_rows - 1))


def _seen_around(geometry: Geometry, first: int, count: int, n_rows: int, step_deg: float) -> bool:
    chosen = _visible(geometry, first, count, n_rows)
    if len(chosen) < 3:
        return False
    lines = np.sort(np.mod(geometry.angles_deg[chosen], 180.0))
    gaps = np.diff(lines, append=lines[0] + 180.0)
    return bool(gaps.max() <= _WIDEST_GAP * step_deg)


class HelicalReconstruction:
    """As `Reconstruction`, for projections whose rise stands in the geometry's shifts.

    Parameters
    ----------
    geometry : Geometry
        ``shifts[:, 0]`` holds by how many rows each picture stands lower than the first would.
    n_rows : int
        Of a projection.
    method, size, memory_gb, **options
        As those of `reconstruct`.

    Attributes
    ----------
    rows : (int, int)
        First and past-the-last slice, in rows of a picture without shift; they go beyond its borders.

    Raises
    ------
    OutOfRangeError
        No slice is seen from all around.
    """

    def __init__(
        self,
        geometry: Geometry,
        n_rows: int,
        method: str = "fourier",
        *,
        size: int | None = None,
        memory_gb: float = 2.0,
        **options: Any,
    ) -> None:
        self.geometry, self.method = geometry, method
        self._n_rows = int(n_rows)
        self._slab = min(_SLAB, self._n_rows)
        self.rows = helical_rows(geometry, self._n_rows, slab=self._slab)
        self._settings: dict[str, Any] = {"size": size, "memory_gb": memory_gb, **options}
        self.size = Reconstruction(geometry, method, **self._settings).size

    def chunks(self, projections: ProjectionSource) -> Iterator[tuple[int, Array32]]:
        """Yield (first slice, slices (slice, z, x) float32) from top to bottom.

        Raises
        ------
        ShapeError
            Projections that do not fit the geometry.
        """
        shape = tuple(projections.shape)
        if shape != (len(self.geometry), self._n_rows, self.geometry.width):
            raise ShapeError(
                f"projections: {shape}, but the geometry is that of {len(self.geometry)} of {self._n_rows} x "
                f"{self.geometry.width}"
            )
        first, past = self.rows
        for start in range(first, past, self._slab):
            # the last slices are taken with those above them, so that each is seen from all around
            low = min(start, past - self._slab)
            slices = self._slices(projections, low)
            yield start, slices[start - low :]

    def _slices(self, projections: ProjectionSource, first: int) -> Array32:
        """Reconstruct a slab."""
        geometry, slab = self.geometry, self._slab
        chosen = _visible(geometry, first, slab, self._n_rows)
        whole = np.round(geometry.dy[chosen]).astype(int)
        margin = 2 + math.ceil(abs(math.tan(math.radians(geometry.tilt_deg))) * geometry.width)
        window = np.empty((len(chosen), slab + 2 * margin, geometry.width), np.float32)
        for k, (index, rise) in enumerate(zip(chosen, whole, strict=True)):
            # beyond the picture its last row goes on, as in `straighten`
            rows = np.clip(np.arange(first - margin, first + slab + margin) + rise, 0, self._n_rows - 1)
            part = np.asarray(projections[int(index) : int(index) + 1, rows[0] : rows[-1] + 1, :], np.float32)[0]
            window[k] = part[rows - rows[0]]
        shifts = np.stack([geometry.dy[chosen] - whole, geometry.dx[chosen]], axis=1)
        # a leaning axis is elsewhere in the row that the slice has come to
        middle = 0.5 * (self._n_rows - 1)
        here = first + 0.5 * (slab - 1) + whole - middle
        shifts[:, 1] += math.tan(math.radians(geometry.tilt_deg)) * here
        angles = geometry.angles_deg[chosen]
        part_geometry = Geometry(angles, geometry.width, geometry.centre, geometry.tilt_deg, shifts)
        work = Reconstruction(part_geometry, self.method, **self._settings)
        return np.asarray(work(window, rows=(margin, margin + slab)), np.float32)

    def __call__(self, projections: ProjectionSource) -> Array32:
        """Return the volume (slice, z, x); slice 0 is `rows[0]`."""
        first, past = self.rows
        out = np.empty((past - first, self.size, self.size), np.float32)
        for row, slices in self.chunks(projections):
            out[row - first : row - first + len(slices)] = slices
        return out
