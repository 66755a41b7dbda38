"""Analytic bodies and the exact length of a ray inside them.

Axes at the sample: x to the right, y up, z along the beam; lengths in um. A body stands in the frame of the rotation
stage, which turns about y by ``theta``: a point (x, z) of the stage goes to
(x cos(theta) + z sin(theta), -x sin(theta) + z cos(theta)) in the beam's frame. Rays run along z.
Convex bodies return the interval of z that a ray spends inside; unions and differences are made from intervals, so
every chord is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Vector = tuple[float, float, float]
FAR_UM = 1e6
"""Where bodies without an end are cut off (um)."""


class Convex(Protocol):
    """A body that a ray enters and leaves once."""

    def interval(self, x: Floats, y: Floats, theta_deg: float) -> tuple[Floats, Floats]:
        """Depths (um) at which the rays (x, y) enter and leave; the second is not above the first for a miss."""
        ...

    def chord(self, x: Floats, y: Floats, theta_deg: float) -> Floats:
        """Length of each ray inside (um)."""
        return _length(self.interval(x, y, theta_deg))


class Body(Protocol):
    """Anything with chords."""

    def chord(self, x: Floats, y: Floats, theta_deg: float) -> Floats:
        """Length (um) of each ray inside the body."""
        ...


def _to_beam(point: Vector, theta_deg: float) -> Vector:
    c, s = math.cos(math.radians(theta_deg)), math.sin(math.radians(theta_deg))
    return point[0] * c + point[2] * s, point[1], -point[0] * s + point[2] * c


def _quadric(a: float | Floats, b: Floats, c: Floats) -> tuple[Floats, Floats]:
    """Roots of a z^2 + 2 b z + c <= 0; a miss gives an empty interval."""
    disc = b * b - a * c
    root = np.sqrt(np.maximum(disc, 0.0))
    return (-b - root) / a, np.where(disc > 0.0, (-b + root) / a, (-b - root) / a)


@dataclass(frozen=True)
class Ellipsoid(Convex):
    """Ellipsoid with semi-axes along the stage's x, y, z."""

    centre: Vector
    semi_axes: Vector

    def interval(self, x: Floats, y: Floats, theta_deg: float) -> tuple[Floats, Floats]:
        """Depths of entry and exit (um)."""
        c, s = math.cos(math.radians(theta_deg)), math.sin(math.radians(theta_deg))
        x0, y0, z0 = _to_beam(self.centre, theta_deg)
        ax, ay, az = self.semi_axes
        u, v = x - x0, y - y0
        # stage coordinates of the ray: xs = u c - z s, zs = u s + z c (z from the centre's depth)
        a = (s / ax) ** 2 + (c / az) ** 2
        b = u * c * s * (1.0 / az**2 - 1.0 / ax**2)
        rest = (u * c / ax) ** 2 + (u * s / az) ** 2 + (v / ay) ** 2 - 1.0
        near, far = _quadric(a, b, rest)
        return near + z0, far + z0


@dataclass(frozen=True)
class Cylinder(Convex):
    """Upright cylinder (axis along y) between two heights."""

    centre: Vector
    radius: float
    height: float = FAR_UM

    def interval(self, x: Floats, y: Floats, theta_deg: float) -> tuple[Floats, Floats]:
        """Depths of entry and exit (um)."""
        x0, y0, z0 = _to_beam(self.centre, theta_deg)
        half = np.sqrt(np.maximum(self.radius**2 - (x - x0) ** 2, 0.0))
        half = np.where(np.abs(y - y0) <= 0.5 * self.height, half, 0.0)
        return z0 - half, z0 + half


@dataclass(frozen=True)
class HalfSpace(Convex):
    """All points with (point - origin) . normal <= 0."""

    origin: Vector
    normal: Vector

    def interval(self, x: Floats, y: Floats, theta_deg: float) -> tuple[Floats, Floats]:
        """Depths of entry and exit (um), cut off at `FAR_UM`."""
        x0, y0, z0 = _to_beam(self.origin, theta_deg)
        nx, ny, nz = _to_beam(self.normal, theta_deg)
        side = (x - x0) * nx + (y - y0) * ny
        if abs(nz) < 1e-12:
            end = np.where(side <= 0.0, FAR_UM, -FAR_UM)
            return np.full_like(end, -FAR_UM), end
        crossing = np.clip(z0 - side / nz, -FAR_UM, FAR_UM)
        if nz > 0.0:
            return np.full_like(crossing, -FAR_UM), crossing
        return crossing, np.full_like(crossing, FAR_UM)


@dataclass(frozen=True)
class Intersection(Convex):
    """What several convex bodies have in common: plates, wedges and boxes from half spaces."""

    parts: tuple[Convex, ...]

    def interval(self, x: Floats, y: Floats, theta_deg: float) -> tuple[Floats, Floats]:
        """Depths of entry and exit (um)."""
        near, far = self.parts[0].interval(x, y, theta_deg)
        for part in self.parts[1:]:
            a, b = part.interval(x, y, theta_deg)
            near, far = np.maximum(near, a), np.minimum(far, b)
        return near, far


@dataclass(frozen=True)
class Union:
    """Any of several convex bodies, overlaps counted once."""

    parts: tuple[Convex, ...]

    def chord(self, x: Floats, y: Floats, theta_deg: float) -> Floats:
        """Length of each ray inside (um)."""
        near, far = (np.stack(side) for side in zip(*(p.interval(x, y, theta_deg) for p in self.parts), strict=True))
        far = np.maximum(near, far)
        order = np.argsort(near, axis=0)
        near, far = np.take_along_axis(near, order, 0), np.take_along_axis(far, order, 0)
        total = np.zeros_like(near[0])
        covered = np.full_like(near[0], -np.inf)
        for a, b in zip(near, far, strict=True):
            total += np.maximum(b - np.maximum(a, covered), 0.0)
            covered = np.maximum(covered, b)
        return np.asarray(total)


@dataclass(frozen=True)
class Difference:
    """A convex body without several others (which may overlap each other)."""

    whole: Convex
    holes: tuple[Convex, ...]

    def chord(self, x: Floats, y: Floats, theta_deg: float) -> Floats:
        """Length of each ray inside (um)."""
        cut = Union(tuple(Intersection((self.whole, hole)) for hole in self.holes))
        return _length(self.whole.interval(x, y, theta_deg)) - cut.chord(x, y, theta_deg)


def _length(interval: tuple[Floats, Floats]) -> Floats:
    return np.asarray(np.maximum(interval[1] - interval[0], 0.0))


def sphere(centre: Vector, radius: float) -> Ellipsoid:
    """Return a sphere as an ellipsoid."""
    return Ellipsoid(centre, (radius, radius, radius))


def slab(centre: Vector, normal: Vector, thickness: float) -> Intersection:
    """Return an endless plate of a thickness across ``normal`` (unit length)."""
    half = 0.5 * thickness
    top: Vector = (centre[0] + half * normal[0], centre[1] + half * normal[1], centre[2] + half * normal[2])
    low: Vector = (centre[0] - half * normal[0], centre[1] - half * normal[1], centre[2] - half * normal[2])
    return Intersection((HalfSpace(top, normal), HalfSpace(low, (-normal[0], -normal[1], -normal[2]))))


def box(centre: Vector, size: Vector) -> Intersection:
    """Return a cuboid with edges along the stage's axes."""
    x, y, z = size
    return Intersection(
        slab(centre, (1.0, 0.0, 0.0), x).parts
        + slab(centre, (0.0, 1.0, 0.0), y).parts
        + slab(centre, (0.0, 0.0, 1.0), z).parts
    )
