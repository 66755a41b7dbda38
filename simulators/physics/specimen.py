"""Specimens: layers of material that a ray crosses, as maps of thickness on a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from exitwave.simulators.physics._jit import kernel, over_rows
from exitwave.simulators.physics.bodies import Body, Difference, Ellipsoid
from exitwave.simulators.physics.materials import Material, wavenumber_per_um
from exitwave.simulators.physics.quadrics import (
    Aggregate,
    TiltedEllipsoid,
    Tube,
    add_aggregate,
    add_ellipsoids,
    add_tube,
)

Image = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Rays of an image in the specimen's plane (um): centre of pixel (0, 0) at the upper left, pitch, shape.

    x grows with the column, y falls with the row (y is up). A small ``shear`` moves each row sideways by shear * y: a
    rotation axis that leans in the plane of the image.
    """

    left_um: float
    top_um: float
    pitch_um: float
    shape: tuple[int, int]
    shear: float = 0.0

    @classmethod
    def centred(cls, shape: tuple[int, int], pitch_um: float, x_um: float = 0.0, y_um: float = 0.0) -> Grid:
        """Grid whose middle (between the two middle pixels for an even shape) lies at (x, y)."""
        return cls(x_um - 0.5 * (shape[1] - 1) * pitch_um, y_um + 0.5 * (shape[0] - 1) * pitch_um, pitch_um, shape)

    @property
    def x_um(self) -> Floats:
        """Columns' positions (um)."""
        return np.asarray(self.left_um + self.pitch_um * np.arange(self.shape[1]), np.float64)

    @property
    def y_um(self) -> Floats:
        """Rows' positions (um)."""
        return np.asarray(self.top_um - self.pitch_um * np.arange(self.shape[0]), np.float64)


class Specimen(Protocol):
    """What stands on the rotation stage."""

    @property
    def name(self) -> str:
        """Name of the specimen."""
        ...

    @property
    def reach_um(self) -> float:
        """How far from the rotation axis anything is that is not the same all around it; inf if unknown."""
        ...

    def layers(self, grid: Grid, theta_deg: float) -> list[tuple[Material, Image]]:
        """Thickness (um, float32) of each material along the rays of a grid at a rotation angle."""
        ...


def exit_wave(
    layers: Sequence[tuple[Material, Image]], energy_kev: float, shape: tuple[int, int]
) -> tuple[Image, Image]:
    """Absorption k beta t and phase k delta t (float32) of the layers: the exit wave is exp(-a - i phi)."""
    absorption = np.zeros(shape, np.float32)
    phase = np.zeros(shape, np.float32)
    k = wavenumber_per_um(energy_kev)
    for material, thickness in layers:
        delta, beta = material.delta_beta(energy_kev)
        _accumulate(absorption, thickness, k * beta)
        _accumulate(phase, thickness, k * delta)
    return absorption, phase


@kernel
def _accumulate_rows(total: Image, part: Image, factor: np.float32, first: int, last: int) -> None:
    for row in range(first, last):
        for col in range(total.shape[1]):
            total[row, col] += factor * part[row, col]


def _accumulate(total: Image, part: Image, factor: float) -> None:
    over_rows(total.shape[0], lambda a, b: _accumulate_rows(total, part, np.float32(factor), a, b))


@dataclass(frozen=True)
class NoSpecimen:
    """An empty holder."""

    name: str = "none"
    reach_um: float = 0.0

    def layers(self, grid: Grid, theta_deg: float) -> list[tuple[Material, Image]]:
        """Return nothing: no material in any ray."""
        return []


@dataclass(frozen=True)
class BodySpecimen:
    """Analytic bodies, each of a material; bodies of different parts must not overlap (densities would add up)."""

    name: str
    parts: tuple[tuple[Body, Material], ...]
    reach_um: float = math.inf

    def layers(self, grid: Grid, theta_deg: float) -> list[tuple[Material, Image]]:
        """Exact chord lengths of every body at the pixel centres, gathered by material."""
        maps: dict[Material, Image] = {}
        rays = (grid.left_um, grid.top_um, grid.pitch_um, grid.shear)
        ellipsoids: dict[Material, list[Ellipsoid]] = {}
        tilted: dict[Material, list[TiltedEllipsoid]] = {}
        for body, material in self.parts:
            if isinstance(body, Ellipsoid):
                ellipsoids.setdefault(material, []).append(body)
                continue
            if isinstance(body, TiltedEllipsoid):
                tilted.setdefault(material, []).append(body)
                continue
            image = maps.setdefault(material, np.zeros(grid.shape, np.float32))
            if isinstance(body, Aggregate):
                add_aggregate(image, *rays, body, theta_deg)
                continue
            if isinstance(body, Tube):
                add_tube(image, *rays, body, theta_deg)
                continue
            if isinstance(body, Difference):
                whole = _ellipsoid(body.whole)
                holes = [_ellipsoid(hole) for hole in body.holes]
                if whole is not None and None not in holes:
                    _add_porous(image, grid, whole, [hole for hole in holes if hole is not None], theta_deg)
                    continue
            _add_body(image, grid, body, theta_deg)
        for material, group in ellipsoids.items():
            image = maps.setdefault(material, np.zeros(grid.shape, np.float32))
            _add_ellipsoids(image, grid, group, theta_deg)
        for material, grains in tilted.items():
            add_ellipsoids(maps.setdefault(material, np.zeros(grid.shape, np.float32)), *rays, grains, theta_deg)
        return list(maps.items())


def _add_body(image: Image, grid: Grid, body: Body, theta_deg: float) -> None:
    """Add a body's chords in bands of rows, so that the float64 work stays small."""
    x, y = grid.x_um, grid.y_um

    def band(first: int, last: int) -> None:
        for start in range(first, last, 64):
            stop = min(start + 64, last)
            xx, yy = np.meshgrid(x, y[start:stop])
            xx += grid.shear * yy
            image[start:stop] += body.chord(xx, yy, theta_deg).astype(np.float32)

    over_rows(image.shape[0], band)


@kernel
def _ellipsoid_rows(
    image: Image, left: float, top: float, pitch: float, shear: float, table: Floats, first: int, last: int
) -> None:
    for n in range(table.shape[0]):
        x0, y0, ay = table[n, 0], table[n, 1], table[n, 2]
        a, cross, xx, reach = table[n, 3], table[n, 4], table[n, 5], table[n, 6]
        low = max(first, math.ceil((top - y0 - ay) / pitch))
        high = min(last, math.floor((top - y0 + ay) / pitch) + 1)
        for row in range(low, high):
            y = top - row * pitch
            start = left + shear * y - x0
            left_col = max(0, math.ceil((-reach - start) / pitch))
            right_col = min(image.shape[1], math.floor((reach - start) / pitch) + 1)
            v = (y - y0) / ay
            rest = v * v - 1.0
            for col in range(left_col, right_col):
                u = start + col * pitch
                b = u * cross
                disc = b * b - a * (u * u * xx + rest)
                if disc > 0.0:
                    image[row, col] += 2.0 * math.sqrt(disc) / a


def _ellipsoid(body: object) -> Ellipsoid | None:
    return body if isinstance(body, Ellipsoid) else None


def _table(group: Sequence[Ellipsoid], theta_deg: float) -> Floats:
    """Figures of ellipsoids seen at an angle: x0, y0, a_y, quadratic form, reach along x, z0."""
    c, s = math.cos(math.radians(theta_deg)), math.sin(math.radians(theta_deg))
    rows = []
    for body in group:
        ax, ay, az = body.semi_axes
        rows.append(
            (
                body.centre[0] * c + body.centre[2] * s,
                body.centre[1],
                ay,
                (s / ax) ** 2 + (c / az) ** 2,
                c * s * (1.0 / az**2 - 1.0 / ax**2),
                (c / ax) ** 2 + (s / az) ** 2,
                math.hypot(ax * c, az * s),
                -body.centre[0] * s + body.centre[2] * c,
            )
        )
    return np.array(rows, np.float64).reshape(-1, 8)


def _add_ellipsoids(image: Image, grid: Grid, group: Sequence[Ellipsoid], theta_deg: float) -> None:
    """Compiled chords of many ellipsoids, each within its own bounding box."""
    table = _table(group, theta_deg)
    over_rows(
        image.shape[0],
        lambda a, b: _ellipsoid_rows(image, grid.left_um, grid.top_um, grid.pitch_um, grid.shear, table, a, b),
    )


@kernel
def _porous_rows(
    image: Image, left: float, top: float, pitch: float, shear: float, table: Floats, first: int, last: int
) -> None:
    n_holes = table.shape[0] - 1
    starts = np.empty(n_holes + 1)
    ends = np.empty(n_holes + 1)
    for row in range(first, last):
        y = top - row * pitch
        if abs(y - table[0, 1]) >= table[0, 2]:
            continue
        for col in range(image.shape[1]):
            x = left + col * pitch + shear * y
            if abs(x - table[0, 0]) >= table[0, 6]:
                continue
            count = 0
            near = 0.0
            far = 0.0
            for n in range(n_holes + 1):
                u = x - table[n, 0]
                if abs(u) >= table[n, 6] or abs(y - table[n, 1]) >= table[n, 2]:
                    continue
                v = (y - table[n, 1]) / table[n, 2]
                a = table[n, 3]
                b = u * table[n, 4]
                disc = b * b - a * (u * u * table[n, 5] + v * v - 1.0)
                if disc <= 0.0:
                    continue
                root = math.sqrt(disc)
                start = table[n, 7] + (-b - root) / a
                end = table[n, 7] + (-b + root) / a
                if n == 0:
                    near = start
                    far = end
                    continue
                start = max(start, near)
                end = min(end, far)
                if end <= start:
                    continue
                place = count  # keep the holes sorted by where they begin
                while place > 0 and starts[place - 1] > start:
                    starts[place] = starts[place - 1]
                    ends[place] = ends[place - 1]
                    place -= 1
                starts[place] = start
                ends[place] = end
                count += 1
            length = far - near
            covered = near
            for n in range(count):
                if ends[n] > covered:
                    length -= ends[n] - max(starts[n], covered)
                    covered = ends[n]
            image[row, col] += length


def _add_porous(image: Image, grid: Grid, whole: Ellipsoid, holes: Sequence[Ellipsoid], theta_deg: float) -> None:
    """Compiled chords of an ellipsoid with ellipsoidal holes, which may overlap."""
    table = _table([whole, *holes], theta_deg)
    over_rows(
        image.shape[0],
        lambda a, b: _porous_rows(image, grid.left_um, grid.top_um, grid.pitch_um, grid.shear, table, a, b),
    )
