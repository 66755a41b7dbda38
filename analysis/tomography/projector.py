"""Line integrals through a volume and their exact transpose."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import over_blocks
from exitwave.analysis.errors import OutOfRangeError, ShapeError
from exitwave.analysis.tomography import _rays
from exitwave.analysis.tomography._rows import displace, displace_back
from exitwave.analysis.tomography.geometry import Geometry

__all__ = ["Rays", "backproject", "project"]

Array32 = npt.NDArray[np.float32]


class Rays:
    """The rays of one geometry through slices (size, size), for packs of slices side by side.

    Parameters
    ----------
    geometry : Geometry
        Of which angles and `offsets` count here; tilt and vertical shifts are a matter of rows.
    shape : (int, int)
        Voxels of a slice (z, x).
    origin : (float, float), optional
        (z, x) of the first voxel in pixels from the axis; the axis in the middle without.
    """

    def __init__(self, geometry: Geometry, shape: tuple[int, int], origin: tuple[float, float] | None = None) -> None:
        self.shape = shape
        self.width = geometry.width
        self.n = len(geometry)
        self.origin = origin if origin is not None else (-0.5 * (shape[0] - 1), -0.5 * (shape[1] - 1))
        self._cos, self._sin = geometry.cosines, geometry.sines
        self._offsets = geometry.offsets
        steep = np.abs(self._cos) >= np.abs(self._sin)
        self._along_z, self._along_x = np.flatnonzero(steep), np.flatnonzero(~steep)
        self._joseph = np.maximum(np.abs(self._cos), np.abs(self._sin))
        self._linear = np.ones(self.n)

    def sinogram(self, lanes: int) -> Array32:
        """Return an empty (zero) packed sinogram (angle, margin + column + margin, lane)."""
        return np.zeros((self.n, sum(_rays.MARGIN) + self.width, lanes), np.float32)

    def forward(self, packed: Array32, sino: Array32) -> None:
        """Write the line integrals of packed slices (z, x, lane) to a packed sinogram."""
        sino.fill(0.0)
        flat = sino.reshape(-1)
        lanes = packed.shape[2]
        loop = _rays.forward_kernel(lanes)
        z0, x0 = self.origin
        for which, cos, sin, a0, b0, volume in (
            (self._along_z, self._cos, self._sin, x0, z0, packed),
            (self._along_x, self._sin, self._cos, z0, x0, packed.swapaxes(0, 1)),
        ):
            if which.size == 0:
                continue
            source = np.ascontiguousarray(volume)

            def some(start: int, stop: int, which=which, cos=cos, sin=sin, a0=a0, b0=b0, source=source) -> None:  # type: ignore[no-untyped-def]
                nz, nx = source.shape[:2]
                loop(source.reshape(-1), nz, nx, flat, self.width, which, cos, sin, self._offsets, a0, b0, start, stop)

            over_blocks(some, which.size, max(1, min(16, which.size // 4)))

    def back(self, sino: Array32, *, joseph: bool = True) -> tuple[Array32, Array32]:
        """Return the transpose of `forward` in two parts, (z, x, lane) and (x, z, lane), whose sum it is.

        Without `joseph` every projection is interpolated linearly, as filtered back-projection wants it.
        """
        lanes, flat = sino.shape[2], sino.reshape(-1)
        loop = _rays.back_kernel(lanes)
        half = self._joseph if joseph else self._linear
        z0, x0 = self.origin
        nz, nx = self.shape
        parts = (np.zeros((nz, nx, lanes), np.float32), np.zeros((nx, nz, lanes), np.float32))
        for which, cos, sin, a0, b0, part in (
            (self._along_z, self._cos, self._sin, x0, z0, parts[0]),
            (self._along_x, self._sin, self._cos, z0, x0, parts[1]),
        ):
            if which.size == 0:
                continue

            def some(start: int, stop: int, which=which, cos=cos, sin=sin, a0=a0, b0=b0, part=part) -> None:  # type: ignore[no-untyped-def]
                nx = part.shape[1]
                loop(flat, self.width, part.reshape(-1), nx, which, cos, sin, self._offsets, half, a0, b0, start, stop)

            over_blocks(some, part.shape[0], 16)
        return parts


def lanes_for(count: int) -> int:
    """Return how many lanes a loop over `count` slices should have."""
    return _rays.LANES[0] if count <= _rays.LANES[0] else _rays.LANES[-1]


def pack(stack: Array32, packed: Array32, margin: int = 0) -> None:
    """Put planes (lane, a, b) side by side into packed (a, margin + b, lane); lanes beyond stay as they are."""
    over_blocks(lambda start, stop: _rays.pack(stack, packed, margin, start, stop), stack.shape[1], 32)


def unpack(parts: tuple[Array32, Array32], stack: Array32) -> None:
    """Write the sum of the two parts of a back-projection to planes (lane, z, x)."""
    over_blocks(lambda start, stop: _rays.unpack(*parts, stack, start, stop), stack.shape[1], 64)


def _stack(name: str, data: npt.NDArray[Any]) -> Array32:
    array = np.ascontiguousarray(data, np.float32)
    if array.ndim != 3 or 0 in array.shape:
        raise ShapeError(f"{name}: expected three dimensions, none of them empty, got {array.shape}")
    if not np.isfinite(array.sum()):
        raise OutOfRangeError(f"{name}: {int((~np.isfinite(array)).sum())} values are not finite; fill them first")
    return array


def _middle(rows: int, middle: float | None) -> float:
    return 0.5 * (rows - 1) if middle is None else float(middle)


def project(volume: npt.NDArray[Any], geometry: Geometry, *, middle: float | None = None) -> Array32:
    """Return the line integrals of a volume as the detector would see them: Joseph's method.

    Parameters
    ----------
    volume : array (slice, z, x)
        Attenuation per pixel; slice r is what the detector's row r sees where nothing is tilted or displaced.
    geometry : Geometry
        Its tilt and shifts are put in (bilinearly between rows).
    middle : float, optional
        Row about which the axis leans; the middle of the volume without.

    Returns
    -------
    float32 (angle, row, column)
        -ln(transmission).

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    stack = _stack("volume", volume)
    rows = stack.shape[0]
    rays = Rays(geometry, (stack.shape[1], stack.shape[2]))
    ideal = np.empty((rows, len(geometry), geometry.width), np.float32)
    lanes = lanes_for(rows)
    packed = np.zeros((*rays.shape, lanes), np.float32)
    sino = rays.sinogram(lanes)
    for start in range(0, rows, lanes):
        part = stack[start : start + lanes]
        pack(part, packed)
        rays.forward(packed, sino)
        left = _rays.MARGIN[0]
        ideal[start : start + lanes] = np.moveaxis(sino[:, left : left + geometry.width, : len(part)], 2, 0)
    if not geometry.mixes_rows:
        return np.ascontiguousarray(ideal.swapaxes(0, 1))
    pictures = np.empty((len(geometry), rows, geometry.width), np.float32)
    displace(ideal, pictures, geometry, _middle(rows, middle))
    return pictures


def backproject(
    projections: npt.NDArray[Any], geometry: Geometry, *, size: int | None = None, middle: float | None = None
) -> Array32:
    """Return the transpose of `project`: projections smeared over a volume with the same weights, unfiltered.

    Parameters
    ----------
    projections : array (angle, row, column)
    geometry : Geometry
    size : int, optional
        Voxels along either side of a slice; the width of the detector without.
    middle : float, optional
        Row about which the axis leans; the middle row without.

    Returns
    -------
    float32 (slice, z, x)

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    pictures = _stack("projections", projections)
    n, rows, width = pictures.shape
    if (n, width) != (len(geometry), geometry.width):
        raise ShapeError(
            f"projections: {n} of {width} columns, but the geometry has {len(geometry)} of {geometry.width}"
        )
    side = width if size is None else int(size)
    if geometry.mixes_rows:
        ideal = np.zeros((rows, n, width), np.float32)
        displace_back(ideal, pictures, geometry, _middle(rows, middle))
    else:
        ideal = np.ascontiguousarray(pictures.swapaxes(0, 1))
    rays = Rays(geometry, (side, side))
    volume = np.empty((rows, side, side), np.float32)
    lanes = lanes_for(rows)
    sino = rays.sinogram(lanes)
    for start in range(0, rows, lanes):
        part = ideal[start : start + lanes]
        pack(part, sino, _rays.MARGIN[0])
        unpack(rays.back(sino), volume[start : start + lanes])
    return volume
