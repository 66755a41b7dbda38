"""Ellipsoids of any orientation: exact chords of grains, and of an aggregate of them with cracks and pores.

Frame, angle and units as in `bodies`. Images are of rays ``(left, top, pitch, lean)``, see `specimen.Grid`: not the
rays but the bodies are turned by the lean, so that a row of rays has one y. In the rays' frame an ellipsoid is
(r - c)^T M (r - c) <= 1 with M symmetric; a ray at (u, v) from its centre solves
M_zz z^2 + 2 (M_xz u + M_yz v) z + M_xx u^2 + 2 M_xy u v + M_yy v^2 - 1 = 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exitwave.simulators.physics._jit import kernel, over_rows
from exitwave.simulators.physics.bodies import Convex, Cylinder, Difference, Ellipsoid, Intersection, Union, Vector

Image = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]
Matrix = tuple[Vector, Vector, Vector]
Rays = tuple[float, float, float, float]
"""Place of ray (0, 0) (x, y), pitch (all um), lean (rad)."""
_MOST = 64
"""Bodies along one ray at most."""


@dataclass(frozen=True)
class TiltedEllipsoid(Convex):
    """Ellipsoid with any directions of its axes.

    Attributes
    ----------
    centre
        In the stage's frame (um).
    semi_axes
        (um).
    directions
        Unit vectors of the three semi-axes, at right angles to each other.
    """

    centre: Vector
    semi_axes: Vector
    directions: Matrix

    @property
    def matrix(self) -> Floats:
        """M of the stage's frame (1/um2)."""
        axes = np.asarray(self.directions) / np.asarray(self.semi_axes)[:, None]
        return np.asarray(axes.T @ axes, np.float64)

    def contains(self, points: Floats) -> npt.NDArray[np.bool_]:
        """Whether points (..., 3) of the stage's frame lie inside."""
        away = np.asarray(points) - self.centre
        return np.asarray(np.einsum("...i,ij,...j->...", away, self.matrix, away) <= 1.0)

    def interval(self, x: Floats, y: Floats, theta_deg: float) -> tuple[Floats, Floats]:
        """Depths of entry and exit (um)."""
        x0, y0, _, mzz, mxz, myz, p, q, r, z0 = quadric_table([self], theta_deg)[0]
        u, v = x - x0, y - y0
        disc = mzz - (p * u * u + 2.0 * q * u * v + r * v * v)
        root = np.sqrt(np.maximum(disc, 0.0))
        middle = z0 - (mxz * u + myz * v) / mzz
        return middle - root / mzz, middle + root / mzz


def tilted(body: Ellipsoid) -> TiltedEllipsoid:
    """Return an upright ellipsoid as one of any direction."""
    return TiltedEllipsoid(body.centre, body.semi_axes, ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))


@dataclass(frozen=True)
class Aggregate:
    """Convex grains that may overlap (their union counts), without voids that may overlap as well."""

    solids: tuple[TiltedEllipsoid, ...]
    voids: tuple[TiltedEllipsoid, ...]

    def chord(self, x: Floats, y: Floats, theta_deg: float) -> Floats:
        """Length of each ray inside (um), by the general rules of bodies: slow, the measure of the compiled one."""
        cuts = tuple(Intersection((solid, void)) for solid in self.solids for void in self.voids)
        return Union(self.solids).chord(x, y, theta_deg) - (Union(cuts).chord(x, y, theta_deg) if cuts else 0.0)


@dataclass(frozen=True)
class Tube:
    """Upright tube between two heights (um)."""

    centre: Vector
    outer: float
    inner: float
    height: float

    def chord(self, x: Floats, y: Floats, theta_deg: float) -> Floats:
        """Length of each ray in the wall (um)."""
        outer = Cylinder(self.centre, self.outer, self.height)
        return Difference(outer, (Cylinder(self.centre, self.inner, self.height),)).chord(x, y, theta_deg)


def rotation(theta_deg: float) -> Floats:
    """Return the matrix that takes the stage's frame to the beam's."""
    c, s = math.cos(math.radians(theta_deg)), math.sin(math.radians(theta_deg))
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def leaning(lean_rad: float) -> Floats:
    """Return the matrix that turns the picture, so that the stage's y leans towards x by ``lean_rad``."""
    c, s = math.cos(lean_rad), math.sin(lean_rad)
    return np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])


def quadric_table(bodies: Sequence[TiltedEllipsoid], theta_deg: float, lean_rad: float = 0.0) -> Floats:
    """Return figures of ellipsoids at an angle: x0, y0, reach in y, M_zz, M_xz, M_yz, p, q, r, z0.

    A ray meets one where M_zz - (p u^2 + 2 q u v + r v^2), its quarter discriminant, is above 0.
    """
    if not bodies:
        return np.empty((0, 10))
    turn = leaning(lean_rad) @ rotation(theta_deg)
    m = turn @ np.stack([body.matrix for body in bodies]) @ turn.T
    centre = np.array([body.centre for body in bodies]) @ turn.T
    reach = np.sqrt(np.linalg.inv(m)[:, 1, 1])
    p = m[:, 2, 2] * m[:, 0, 0] - m[:, 0, 2] ** 2
    q = m[:, 2, 2] * m[:, 0, 1] - m[:, 0, 2] * m[:, 1, 2]
    r = m[:, 2, 2] * m[:, 1, 1] - m[:, 1, 2] ** 2
    columns = (centre[:, 0], centre[:, 1], reach, m[:, 2, 2], m[:, 0, 2], m[:, 1, 2], p, q, r, centre[:, 2])
    return np.ascontiguousarray(np.stack(columns, axis=1))


@kernel
def _span(table: Floats, n: int, v: float, start: float, pitch: float, columns: int) -> tuple[int, int]:
    """Columns of a row that an ellipsoid covers; `start` is the place of column 0 from its centre."""
    q, p = table[n, 7] * v, table[n, 6]
    disc = q * q - p * (table[n, 8] * v * v - table[n, 3])
    if disc <= 0.0:
        return 0, 0
    root = math.sqrt(disc)
    return (
        max(0, math.ceil(((-q - root) / p - start) / pitch)),
        min(columns, math.floor(((-q + root) / p - start) / pitch) + 1),
    )


@kernel
def _sum_rows(image: Image, left: float, top: float, pitch: float, table: Floats, first: int, last: int) -> None:
    for n in range(table.shape[0]):
        low = max(first, math.ceil((top - table[n, 1] - table[n, 2]) / pitch))
        high = min(last, math.floor((top - table[n, 1] + table[n, 2]) / pitch) + 1)
        for row in range(low, high):
            y = top - row * pitch
            v = y - table[n, 1]
            start = left - table[n, 0]
            begin, end = _span(table, n, v, start, pitch, image.shape[1])
            for col in range(begin, end):
                u = start + col * pitch
                disc = table[n, 3] - (table[n, 6] * u * u + 2.0 * table[n, 7] * u * v + table[n, 8] * v * v)
                if disc > 0.0:
                    image[row, col] += 2.0 * math.sqrt(disc) / table[n, 3]


def add_ellipsoids(image: Image, rays: Rays, bodies: Sequence[TiltedEllipsoid], theta_deg: float) -> None:
    """Add the chords of ellipsoids to an image (rows, columns) of rays; overlaps add up."""
    left, top, pitch, lean = rays
    table = quadric_table(bodies, theta_deg, lean)
    over_rows(image.shape[0], lambda a, b: _sum_rows(image, left, top, pitch, table, a, b))


@kernel
def bodies_of_row(
    table: Floats, y: float, left: float, pitch: float, columns: int, active: Counts, begin: Counts, end: Counts,
) -> int:  # fmt: skip
    """Find the bodies that a row of rays meets, in their order, and the columns of each; returns how many."""
    count = 0
    for n in range(table.shape[0]):
        v = y - table[n, 1]
        if abs(v) >= table[n, 2]:
            continue
        begin[count], end[count] = _span(table, n, v, left - table[n, 0], pitch, columns)
        if begin[count] < end[count]:
            active[count] = n
            count += 1
    return count


@kernel
def crossings_of_ray(
    table: Floats, x: float, y: float, col: int, count: int, active: Counts, begin: Counts, end: Counts,
    places: Floats, which: Counts,
) -> int:  # fmt: skip
    """Find where a ray enters (n) and leaves (-1 - n) bodies, sorted by depth; returns how many places."""
    found = 0
    for k in range(count):
        if col < begin[k] or col >= end[k] or found >= places.size - 1:
            continue
        n = active[k]
        u = x - table[n, 0]
        v = y - table[n, 1]
        disc = table[n, 3] - (table[n, 6] * u * u + 2.0 * table[n, 7] * u * v + table[n, 8] * v * v)
        if disc <= 0.0:
            continue
        root = math.sqrt(disc) / table[n, 3]
        middle = table[n, 9] - (table[n, 4] * u + table[n, 5] * v) / table[n, 3]
        for side in range(2):
            z = middle + root if side else middle - root
            place = found
            while place > 0 and places[place - 1] > z:
                places[place] = places[place - 1]
                which[place] = which[place - 1]
                place -= 1
            places[place] = z
            which[place] = -1 - n if side else n
            found += 1
    return found


@kernel
def columns_of_solids(active: Counts, begin: Counts, end: Counts, count: int, n_solids: int) -> tuple[int, int]:
    """Return the first column of a row that a solid covers, and one past the last: the first bodies are the solids."""
    leftmost, rightmost = 1 << 30, 0
    for k in range(count):
        if active[k] < n_solids:
            leftmost, rightmost = min(leftmost, begin[k]), max(rightmost, end[k])
    return leftmost, rightmost


@kernel
def _aggregate_rows(
    image: Image, left: float, top: float, pitch: float, table: Floats, n_solids: int, first: int, last: int,
) -> None:  # fmt: skip
    active = np.empty(table.shape[0], np.int64)
    begin = np.empty(table.shape[0], np.int64)
    end = np.empty(table.shape[0], np.int64)
    places = np.empty(2 * _MOST)
    which = np.empty(2 * _MOST, np.int64)
    for row in range(first, last):
        y = top - row * pitch
        count = bodies_of_row(table, y, left, pitch, image.shape[1], active, begin, end)
        leftmost, rightmost = columns_of_solids(active, begin, end, count, n_solids)
        for col in range(leftmost, rightmost):
            found = crossings_of_ray(table, left + col * pitch, y, col, count, active, begin, end, places, which)
            solid = 0
            void = 0
            length = 0.0
            for k in range(found):
                if solid > 0 and void == 0:
                    length += places[k] - places[k - 1]
                enters = which[k] >= 0
                n = which[k] if enters else -1 - which[k]
                if n < n_solids:
                    solid += 1 if enters else -1
                else:
                    void += 1 if enters else -1
            image[row, col] += length


def add_aggregate(image: Image, rays: Rays, body: Aggregate, theta_deg: float) -> None:
    """Add the chords of an aggregate to an image (rows, columns) of rays: compiled, exact."""
    left, top, pitch, lean = rays
    table = quadric_table([*body.solids, *body.voids], theta_deg, lean)
    n_solids = len(body.solids)
    over_rows(image.shape[0], lambda a, b: _aggregate_rows(image, left, top, pitch, table, n_solids, a, b))


@kernel
def _tube_rows(
    image: Image, left: float, top: float, pitch: float, c: float, s: float, x0: float, low: float, high: float,
    outer: float, inner: float, first: int, last: int,
) -> None:  # fmt: skip
    for row in range(first, last):
        for col in range(image.shape[1]):
            x = left + col * pitch
            y = s * x + c * (top - row * pitch)
            if y < low or y > high:
                continue
            u = c * x - s * (top - row * pitch) - x0
            if abs(u) < outer:
                image[row, col] += 2.0 * (math.sqrt(outer * outer - u * u) - math.sqrt(max(inner * inner - u * u, 0.0)))


def add_tube(image: Image, rays: Rays, body: Tube, theta_deg: float) -> None:
    """Add the chords of a tube to an image (rows, columns) of rays."""
    left, top, pitch, lean = rays
    c, s = math.cos(lean), math.sin(lean)
    x0, y0, _ = (float(value) for value in rotation(theta_deg) @ np.asarray(body.centre))
    low, high = y0 - 0.5 * body.height, y0 + 0.5 * body.height
    over_rows(
        image.shape[0],
        lambda a, b: _tube_rows(image, left, top, pitch, c, s, x0, low, high, body.outer, body.inner, a, b),
    )


@kernel
def _label_slices(
    labels: Labels, pitch: float, centre: Floats, matrix: Floats, reach: Floats, body_label: int, only: int,
    first: int, last: int,
) -> None:  # fmt: skip
    height, depth, width = labels.shape
    for k in range(first, last):
        y = (0.5 * (height - 1) - k) * pitch - centre[1]
        if abs(y) > reach[1]:
            continue
        for j in range(depth):
            z = (j - 0.5 * (depth - 1)) * pitch - centre[2]
            if abs(z) > reach[2]:
                continue
            low = max(0, math.ceil((centre[0] - reach[0]) / pitch + 0.5 * (width - 1)))
            high = min(width, math.floor((centre[0] + reach[0]) / pitch + 0.5 * (width - 1)) + 1)
            for i in range(low, high):
                if only >= 0 and labels[k, j, i] != only:
                    continue
                x = (i - 0.5 * (width - 1)) * pitch - centre[0]
                form = matrix[0, 0] * x * x + matrix[1, 1] * y * y + matrix[2, 2] * z * z
                form += 2.0 * (matrix[0, 1] * x * y + matrix[0, 2] * x * z + matrix[1, 2] * y * z)
                if form <= 1.0:
                    labels[k, j, i] = body_label


def label_ellipsoid(labels: Labels, pitch_um: float, body: TiltedEllipsoid, label: int, *, only: int = -1) -> None:
    """Write a label into every voxel whose centre an ellipsoid holds, where there is the label `only` (-1: any).

    Parameters
    ----------
    labels
        uint8 (row, z, x): rows fall with the stage's y (top first), z and x grow with the stage's; the middle of the
        array is the stage's origin.
    pitch_um
        Edge of a voxel (um).
    body, label, only
        What to write, and where.
    """
    matrix = body.matrix
    reach = np.sqrt(np.diag(np.linalg.inv(matrix)))
    centre = np.asarray(body.centre, np.float64)
    over_rows(labels.shape[0], lambda a, b: _label_slices(labels, pitch_um, centre, matrix, reach, label, only, a, b))
