"""Specimens: layers of material that a ray crosses, as maps of thickness on a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from exitwave.simulators.physics._jit import kernel, over_rows
from exitwave.simulators.physics.bodies import Body, Ellipsoid
from exitwave.simulators.physics.materials import Material, wavenumber_per_um

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
        return self.left_um + self.pitch_um * np.arange(self.shape[1])

    @property
    def y_um(self) -> Floats:
        """Rows' positions (um)."""
        return self.top_um - self.pitch_um * np.arange(self.shape[0])


class Specimen(Protocol):
    """What stands on the rotation stage."""

    name: str

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
        absorption += np.float32(k * beta) * thickness
        phase += np.float32(k * delta) * thickness
    return absorption, phase


@dataclass(frozen=True)
class NoSpecimen:
    """An empty holder."""

    name: str = "none"

    def layers(self, grid: Grid, theta_deg: float) -> list[tuple[Material, Image]]:
        """Return nothing: no material in any ray."""
        return []


@dataclass(frozen=True)
class BodySpecimen:
    """Analytic bodies, each of a material; bodies of different parts must not overlap (densities would add up)."""

    name: str
    parts: tuple[tuple[Body, Material], ...]

    def layers(self, grid: Grid, theta_deg: float) -> list[tuple[Material, Image]]:
        """Exact chord lengths of every body at the pixel centres, gathered by material."""
        maps: dict[Material, Image] = {}
        ellipsoids: dict[Material, list[Ellipsoid]] = {}
        for body, material in self.parts:
            if isinstance(body, Ellipsoid):
                ellipsoids.setdefault(material, []).append(body)
                continue
            image = maps.setdefault(material, np.zeros(grid.shape, np.float32))
            _add_body(image, grid, body, theta_deg)
        for material, group in ellipsoids.items():
            image = maps.setdefault(material, np.zeros(grid.shape, np.float32))
            _add_ellipsoids(image, grid, group, theta_deg)
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
        low = max(first, int(math.ceil((top - y0 - ay) / pitch)))
        high = min(last, int(math.floor((top - y0 + ay) / pitch)) + 1)
        for row in range(low, high):
            y = top - row * pitch
            start = left + shear * y - x0
            left_col = max(0, int(math.ceil((-reach - start) / pitch)))
            right_col = min(image.shape[1], int(math.floor((reach - start) / pitch)) + 1)
            v = (y - y0) / ay
            rest = v * v - 1.0
            for col in range(left_col, right_col):
                u = start + col * pitch
                b = u * cross
                disc = b * b - a * (u * u * xx + rest)
                if disc > 0.0:
                    image[row, col] += 2.0 * math.sqrt(disc) / a


def _add_ellipsoids(image: Image, grid: Grid, group: Sequence[Ellipsoid], theta_deg: float) -> None:
    """Compiled chords of many ellipsoids, each within its own bounding box."""
    c, s = math.cos(math.radians(theta_deg)), math.sin(math.radians(theta_deg))
    rows = []
    for body in group:
        ax, ay, az = body.semi_axes
        x0 = body.centre[0] * c + body.centre[2] * s
        rows.append(
            (
                x0,
                body.centre[1],
                ay,
                (s / ax) ** 2 + (c / az) ** 2,
                c * s * (1.0 / az**2 - 1.0 / ax**2),
                (c / ax) ** 2 + (s / az) ** 2,
                math.hypot(ax * c, az * s),
            )
        )
    table = np.array(rows, np.float64)
    over_rows(
        image.shape[0],
        lambda a, b: _ellipsoid_rows(image, grid.left_um, grid.top_um, grid.pitch_um, grid.shear, table, a, b),
    )
