"""The door to all methods: projections in, slices out, a few at a time if there are many."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import OutOfRangeError, ShapeError, require_positive
from exitwave.analysis.tomography import iterative
from exitwave.analysis.tomography._rays import MARGIN
from exitwave.analysis.tomography._rows import sort_rows, straighten
from exitwave.analysis.tomography.fbp import FbpPlan
from exitwave.analysis.tomography.fourier import FourierPlan
from exitwave.analysis.tomography.geometry import Geometry
from exitwave.analysis.tomography.projector import lanes_for, pack

__all__ = ["METHODS", "ProjectionSource", "Reconstruction", "reconstruct", "row_range", "slices_per_chunk"]

Array32 = npt.NDArray[np.float32]
Reconstruct = Callable[[Array32, Array32], None]

METHODS = ("fourier", "fbp", "sirt", "cgls", "tv")
_ITERATIONS = {"sirt": 100, "cgls": 15, "tv": 200}
_STEP = 16
"""Slices per chunk come in multiples of this, so that a slice has the same neighbours in work however it is cut."""


class ProjectionSource(Protocol):
    """What can be cut as ``source[:, a:b, :]``: an array, an HDF5 or Zarr dataset (angle, row, column)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Three numbers: angles, rows, columns."""
        ...

    def __getitem__(self, key: Any) -> Any: ...


def slices_per_chunk(geometry: Geometry, size: int, memory_gb: float, method: str = "fourier") -> int:
    """Return how many slices go through memory together: a multiple of 16, at least 16.

    A slice takes its rows twice (as read, and along slices) and itself; what a method needs besides is counted in.
    """
    budget = require_positive("memory", memory_gb, "GB") * 1e9
    rows = 4.0 * len(geometry) * geometry.width
    image = 4.0 * size * size
    fixed = {
        "fourier": 5.0 * 8.0 * len(geometry) * geometry.width + 2.0 * 8.0 * (1.5 * max(size, geometry.width)) ** 2,
        "fbp": _STEP * (5.0 * rows + 2.0 * image),
    }.get(method, _STEP * (4.0 * rows + 8.0 * image))
    return max(_STEP, int((budget - fixed) / (2.0 * rows + image)) // _STEP * _STEP)


class Reconstruction:
    """A method made ready for a geometry, for projections that come again: while they are measured, or in parts.

    Parameters as those of `reconstruct`, all of which is checked here.
    """

    def __init__(
        self,
        geometry: Geometry,
        method: str = "fourier",
        *,
        size: int | None = None,
        memory_gb: float = 2.0,
        **options: Any,
    ) -> None:
        self.geometry, self.method = geometry, method
        self.size = geometry.width if size is None else int(size)
        if self.size < 2:
            raise ShapeError(f"size = {self.size}: a slice has at least 2 voxels a side")
        self._run = _method(geometry, method, self.size, options)
        self._count = slices_per_chunk(geometry, self.size, memory_gb, method)

    def chunks(
        self,
        projections: ProjectionSource,
        *,
        rows: tuple[int, int] | None = None,
        middle: float | None = None,
        out: Any = None,
    ) -> Iterator[tuple[int, Array32]]:
        """Return an iterator over (first row, slices (slice, z, x) float32), from top to bottom.

        The slices stand in `out` where that is a float32 array; else in one that the next chunk writes over, so copy
        what is to stay. Shapes are checked at once, values as they are read.
        """
        first, past = self._checked(projections, rows)
        expected = (past - first, self.size, self.size)
        if out is not None and tuple(out.shape) != expected:
            raise ShapeError(f"out: shape {tuple(out.shape)}, expected {expected}")
        return self._walk(
            projections, first, past, 0.5 * (projections.shape[1] - 1) if middle is None else float(middle), out
        )

    def _checked(self, projections: ProjectionSource, rows: tuple[int, int] | None) -> tuple[int, int]:
        """Return the first and past-the-last row, of projections that fit the geometry."""
        shape, geometry = tuple(projections.shape), self.geometry
        if len(shape) != 3 or 0 in shape:
            raise ShapeError(f"projections: expected (angle, row, column), none of them empty, got {shape}")
        if (shape[0], shape[2]) != (len(geometry), geometry.width):
            raise ShapeError(
                f"projections: {shape[0]} of {shape[2]} columns, but the geometry has {len(geometry)} of "
                f"{geometry.width}"
            )
        return row_range(rows, shape[1])

    def _walk(
        self, projections: ProjectionSource, first: int, past: int, middle: float, out: Any
    ) -> Iterator[tuple[int, Array32]]:
        count = min(self._count, past - first)
        direct = isinstance(out, np.ndarray) and out.dtype == np.float32 and out.flags.c_contiguous
        spare = np.empty((0 if direct else count, self.size, self.size), np.float32)
        for start in range(first, past, count):
            stop = min(start + count, past)
            place = slice(start - first, stop - first)
            slices = out[place] if direct else spare[: stop - start]
            self._run(_sinograms(projections, self.geometry, start, stop, middle), slices)
            if out is not None and not direct:
                out[place] = slices
            yield start, slices

    def __call__(
        self,
        projections: ProjectionSource,
        *,
        rows: tuple[int, int] | None = None,
        middle: float | None = None,
        out: Any = None,
    ) -> Any:
        """Return the volume (slice, z, x), in `out` if there is one."""
        if out is None:
            first, past = self._checked(projections, rows)
            out = np.empty((past - first, self.size, self.size), np.float32)
        for _ in self.chunks(projections, rows=rows, middle=middle, out=out):
            pass
        return out


def reconstruct(
    projections: ProjectionSource,
    geometry: Geometry,
    method: str = "fourier",
    *,
    size: int | None = None,
    rows: tuple[int, int] | None = None,
    middle: float | None = None,
    memory_gb: float = 2.0,
    out: Any = None,
    **options: Any,
) -> Any:
    """Return the volume (slice, z, x) that was projected, in units of attenuation per pixel.

    Parameters
    ----------
    projections : array-like (angle, row, column)
        -ln(transmission). An HDF5 dataset is read a few rows at a time.
    geometry : Geometry
        Shifts and tilt are taken out: horizontal shifts exactly (where there is no tilt), the others by cubic
        interpolation.
    method : str
        "fourier": gridding in Fourier space, the default. "fbp": filtered back-projection, the reference. "sirt",
        "cgls", "tv": iterations, for few views and missing wedges.
    size : int, optional
        Voxels along either side of a slice, the axis in the middle; the width of the detector without.
    rows : (int, int), optional
        First and past-the-last row of the detector to be reconstructed; all without.
    middle : float, optional
        Row about which the axis leans, and where its column is `Geometry.centre`; the middle of all rows without.
    memory_gb : float
        Working memory besides `projections` and the result, GB. At least 16 slices are in work at once.
    out : array-like, optional
        Where to write the volume: anything that takes ``out[a:b] = slices``, as an HDF5 dataset does.
    **options
        ``circle=True``: nothing outside of the circle that all projections see. "fourier" and "fbp":
        ``filter_name="ramp"`` (shepp-logan, cosine, hamming, hann, parzen, none), ``cutoff=1.0`` of Nyquist,
        ``edge=False``: True for objects wider than the detector. "fourier": ``sharp=False``, see `FourierPlan`.
        "sirt", "cgls", "tv": ``iterations=100, 15, 200``, ``nonnegative=True``; "tv": ``strength=3.0``, of the
        slice's mean attenuation: more for noisier data. All of them work slice by slice; total variation,
        too, is that of a slice.

    Returns
    -------
    float32 (slice, z, x)
        Slice 0 is row ``rows[0]``; z and x as in `Geometry`.

    Raises
    ------
    ShapeError
        Projections that are none, or don't fit the geometry.
    OutOfRangeError
        Unknown methods or options; projections that are not finite.
    """
    prepared = Reconstruction(geometry, method, size=size, memory_gb=memory_gb, **options)
    return prepared(projections, rows=rows, middle=middle, out=out)


def row_range(rows: tuple[int, int] | None, total: int) -> tuple[int, int]:
    """Return the first and the past-the-last row, all of them for None."""
    first, past = (0, total) if rows is None else (int(rows[0]), int(rows[1]))
    if not 0 <= first < past <= total:
        raise ShapeError(f"rows = ({first}, {past}): must be within (0, {total}), the second above the first")
    return first, past


def _sinograms(projections: ProjectionSource, geometry: Geometry, start: int, stop: int, middle: float) -> Array32:
    """Read rows and return them along slices (slice, angle, column)."""
    margin = geometry.row_margin(max(abs(start - middle), abs(stop - 1 - middle)))
    low, high = max(0, start - margin), min(projections.shape[1], stop + margin)
    window = np.asarray(projections[:, low:high, :], dtype=np.float32)
    sinograms, bad = sort_rows(window)
    if bad.any():
        angle, row, column = np.argwhere(~np.isfinite(window))[0]
        raise OutOfRangeError(
            f"projections[{angle}, {row + low}, {column}] is not finite, as are {int(bad.sum())} of rows {low} to "
            f"{high - 1}; fill dead pixels first"
        )
    if not geometry.mixes_rows:
        return sinograms
    return straighten(sinograms, geometry, start - middle, stop - start, low - middle)


def _method(geometry: Geometry, method: str, size: int, options: dict[str, Any]) -> Reconstruct:
    """Return what reconstructs sinograms (slice, angle, column) into slices."""
    if method not in METHODS:
        raise OutOfRangeError(f"method {method!r}: must be one of {', '.join(METHODS)}")
    circle = bool(options.pop("circle", True))
    seen = min(geometry.centre, geometry.width - 1.0 - geometry.centre) + 0.5
    radius = min(0.5 * size, seen) if circle else math.inf
    half = np.arange(size) - 0.5 * (size - 1)
    mask = (np.hypot(half[:, None], half[None, :]) <= radius).astype(np.float32)
    allowed = {"filter_name", "cutoff", "edge"} | ({"sharp"} if method == "fourier" else set())
    if method not in ("fourier", "fbp"):
        allowed = {"iterations", "nonnegative"} | ({"strength"} if method == "tv" else set())
    if unknown := sorted(set(options) - allowed):
        raise OutOfRangeError(f"{method}: no option {unknown[0]!r}; there are circle, {', '.join(sorted(allowed))}")
    if method == "fourier":
        return FourierPlan(geometry, size, radius=radius, **options)
    if method == "fbp":
        plan = FbpPlan(geometry, size, **options)

        def direct(sinograms: Array32, out: Array32) -> None:
            plan(sinograms, out)
            out *= mask

        return direct
    defaults: dict[str, Any] = {"iterations": _ITERATIONS[method]} | ({"strength": 3.0} if method == "tv" else {})
    settings = iterative.IterativeOptions(**(defaults | options))
    solve = {"sirt": iterative.sirt, "cgls": iterative.cgls, "tv": iterative.tv}[method]
    system = iterative.System(geometry, mask)

    def iterate(sinograms: Array32, out: Array32) -> None:
        lanes = lanes_for(len(sinograms))
        for start in range(0, len(sinograms), lanes):
            part = sinograms[start : start + lanes]
            sino = system.rays.sinogram(lanes)
            pack(part, sino, MARGIN[0])
            packed = solve(system, sino, settings)
            out[start : start + lanes] = np.moveaxis(packed, 2, 0)[: len(part)]

    return iterate
