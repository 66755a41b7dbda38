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
from exitwave.analysis.tomography._rows import straighten
from exitwave.analysis.tomography.fbp import FbpPlan
from exitwave.analysis.tomography.fourier import FourierPlan
from exitwave.analysis.tomography.geometry import Geometry
from exitwave.analysis.tomography.projector import lanes_for, pack

__all__ = ["METHODS", "ProjectionSource", "reconstruct", "reconstruct_chunks", "slices_per_chunk"]

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


def reconstruct_chunks(
    projections: ProjectionSource,
    geometry: Geometry,
    method: str = "fourier",
    *,
    size: int | None = None,
    rows: tuple[int, int] | None = None,
    middle: float | None = None,
    memory_gb: float = 2.0,
    **options: Any,
) -> Iterator[tuple[int, Array32]]:
    """Yield (first row, slices (slice, z, x) float32) from top to bottom; together they are what `reconstruct` gives.

    The slices are yielded in one array that the next chunk writes over: copy what is to stay. Parameters as those of
    `reconstruct`; all of them are checked before anything is read.
    """
    shape = tuple(projections.shape)
    if len(shape) != 3 or 0 in shape:
        raise ShapeError(f"projections: expected (angle, row, column), none of them empty, got {shape}")
    if (shape[0], shape[2]) != (len(geometry), geometry.width):
        raise ShapeError(
            f"projections: {shape[0]} of {shape[2]} columns, but the geometry has {len(geometry)} of {geometry.width}"
        )
    first, past = (0, shape[1]) if rows is None else (int(rows[0]), int(rows[1]))
    if not 0 <= first < past <= shape[1]:
        raise ShapeError(f"rows = ({first}, {past}): must be within (0, {shape[1]}), the second above the first")
    side = geometry.width if size is None else int(size)
    if side < 2:
        raise ShapeError(f"size = {side}: a slice has at least 2 voxels a side")
    work = _method(geometry, method, side, dict(options))
    centre_row = 0.5 * (shape[1] - 1) if middle is None else float(middle)
    count = min(slices_per_chunk(geometry, side, memory_gb, method), past - first)

    def chunks() -> Iterator[tuple[int, Array32]]:
        volume = np.empty((count, side, side), np.float32)
        for start in range(first, past, count):
            stop = min(start + count, past)
            sinograms = _sinograms(projections, geometry, start, stop, centre_row)
            work(sinograms, volume[: stop - start])
            yield start, volume[: stop - start]

    return chunks()


def reconstruct(
    projections: ProjectionSource,
    geometry: Geometry,
    method: str = "fourier",
    *,
    size: int | None = None,
    rows: tuple[int, int] | None = None,
    middle: float | None = None,
    memory_gb: float = 2.0,
    out: Array32 | None = None,
    **options: Any,
) -> Array32:
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
    out : float32 array, optional
        Where to write the volume: anything that takes ``out[a:b] = slices``.
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
    chunks = reconstruct_chunks(
        projections, geometry, method, size=size, rows=rows, middle=middle, memory_gb=memory_gb, **options
    )
    first, past = (0, projections.shape[1]) if rows is None else rows
    side = geometry.width if size is None else int(size)
    shape = (past - first, side, side)
    volume = np.empty(shape, np.float32) if out is None else out
    if tuple(volume.shape) != shape:
        raise ShapeError(f"out: shape {tuple(volume.shape)}, expected {shape}")
    for start, slices in chunks:
        volume[start - first : start - first + len(slices)] = slices
    return volume


def _sinograms(projections: ProjectionSource, geometry: Geometry, start: int, stop: int, middle: float) -> Array32:
    """Read rows and return them along slices (slice, angle, column)."""
    margin = geometry.row_margin(max(abs(start - middle), abs(stop - 1 - middle)))
    low, high = max(0, start - margin), min(projections.shape[1], stop + margin)
    window = np.asarray(projections[:, low:high, :], dtype=np.float32)
    if not math.isfinite(float(window.sum(dtype=np.float64))):
        bad = ~np.isfinite(window)
        angle, row, column = np.argwhere(bad)[0]
        raise OutOfRangeError(
            f"projections[{angle}, {row + low}, {column}] is not finite, as are {int(bad.sum())} of rows {low} to "
            f"{high - 1}; fill dead pixels first"
        )
    if not geometry.mixes_rows:
        return np.ascontiguousarray(window.swapaxes(0, 1))
    return straighten(window, geometry, start - middle, stop - start, low - middle)


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
