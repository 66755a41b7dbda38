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
    Rays,
    TiltedEllipsoid,
    Tube,
    add_aggregate,
    add_ellipsoids,
    add_tube,
    tilted,
)

Image = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Rays of an image in the specimen's plane (um): centre of pixel (0, 0) at the upper left, pitch, shape.

    x grows with the column, y falls with the row (y is up). With a ``lean_rad`` the rotation axis leans in the plane of
    the image, its upper end towards x, and the picture with it, turned about the origin: the ray of pixel (x, y) meets
    the stage at (x cos - y sin, x sin + y cos).
    """

    left_um: float
    top_um: float
    pitch_um: float
    shape: tuple[int, int]
    lean_rad: float = 0.0

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

    @property
    def rays(self) -> Rays:
        """Left, top, pitch and lean."""
        return self.left_um, self.top_um, self.pitch_um, self.lean_rad


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
    layers: Sequence[tuple[Material, Image]], energy_kev: float, shape: tuple[int, int], bandwidth: float = 0.0
) -> tuple[Image, Image]:
    """Absorption k beta t and phase k delta t (float32) of the layers: the exit wave is exp(-a - i phi).

    Both are means over a Gaussian spectrum of relative full width ``bandwidth`` (not the intensity is: a specimen whose
    absorption changes by 0.2 over the spectrum's rms would be off by 2 % of it).
    """
    absorption = np.zeros(shape, np.float32)
    phase = np.zeros(shape, np.float32)
    k = wavenumber_per_um(energy_kev)
    for material, thickness in layers:
        delta, beta = material.delta_beta(energy_kev, bandwidth)
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
        ellipsoids: dict[Material, list[TiltedEllipsoid]] = {}
        for body, material in self.parts:
            if isinstance(body, Ellipsoid):
                body = tilted(body)
            if isinstance(body, TiltedEllipsoid):
                ellipsoids.setdefault(material, []).append(body)
                continue
            image = maps.setdefault(material, np.zeros(grid.shape, np.float32))
            porous = _porous(body)
            if porous is not None:
                add_aggregate(image, grid.rays, porous, theta_deg)
            elif isinstance(body, Tube):
                add_tube(image, grid.rays, body, theta_deg)
            else:
                _add_body(image, grid, body, theta_deg)
        for material, group in ellipsoids.items():
            add_ellipsoids(maps.setdefault(material, np.zeros(grid.shape, np.float32)), grid.rays, group, theta_deg)
        return list(maps.items())


def _porous(body: Body) -> Aggregate | None:
    """Return what has compiled chords: an aggregate, or an ellipsoid with ellipsoidal holes."""
    if isinstance(body, Aggregate):
        return body
    if isinstance(body, Difference) and all(isinstance(part, Ellipsoid) for part in (body.whole, *body.holes)):
        whole, *holes = (tilted(part) for part in (body.whole, *body.holes) if isinstance(part, Ellipsoid))
        return Aggregate((whole,), tuple(holes))
    return None


def _add_body(image: Image, grid: Grid, body: Body, theta_deg: float) -> None:
    """Add a body's chords in bands of rows, so that the float64 work stays small."""
    x, y = grid.x_um, grid.y_um
    c, s = math.cos(grid.lean_rad), math.sin(grid.lean_rad)

    def band(first: int, last: int) -> None:
        for start in range(first, last, 64):
            stop = min(start + 64, last)
            xx, yy = np.meshgrid(x, y[start:stop])
            image[start:stop] += body.chord(c * xx - s * yy, s * xx + c * yy, theta_deg).astype(np.float32)

    over_rows(image.shape[0], band)
