"""Aggregates in which a valence is a field: thickness of each pure state along a ray, exact.

The field is a polynomial in s = r^2 / R^2 about the origin, and constant within regions (ellipsoids) that replace it.
A point's state is mixed from the two standards that its valence lies between. Along a ray r^2 = b^2 + z^2, so that the
integrals of 1, s and s^2 between two crossings are closed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exitwave.simulators.physics._jit import kernel, over_rows
from exitwave.simulators.physics.materials import Material
from exitwave.simulators.physics.quadrics import (
    TiltedEllipsoid,
    bodies_of_row,
    columns_of_solids,
    crossings_of_ray,
    label_ellipsoid,
    quadric_table,
)
from exitwave.simulators.physics.specimen import BodySpecimen, Grid

Image = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
_MOST = 96
"""Bodies along one ray at most."""


class ValenceError(ValueError):
    """A valence that the standards do not span, or a field that crosses one of them."""


@dataclass(frozen=True)
class Region:
    """A body with one valence throughout."""

    body: TiltedEllipsoid
    valence: float


@dataclass(frozen=True)
class StatedAggregate:
    """Grains that may overlap, without voids, some denser, with a valence everywhere.

    Attributes
    ----------
    solids, voids
        What there is, and what is cut out of it; each may overlap its kind.
    dense, extra_density
        Bodies in which the density is higher, by this part.
    polynomial
        Valence as c0 + c1 s + c2 s^2.
    radius_um, reach_um
        R of s; farthest that any solid is from the origin (um).
    regions
        Later ones count where they overlap.
    standards
        Valences of the pure states, ascending.

    Raises
    ------
    ValenceError
        If a valence is outside the standards, or the polynomial crosses one of them within the reach (its weights
        would be no polynomials).
    """

    solids: tuple[TiltedEllipsoid, ...]
    voids: tuple[TiltedEllipsoid, ...]
    dense: tuple[TiltedEllipsoid, ...]
    extra_density: float
    polynomial: tuple[float, float, float]
    radius_um: float
    reach_um: float
    regions: tuple[Region, ...]
    standards: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse a field that the standards do not span."""
        low, high = self.standards[0], self.standards[-1]
        for region in self.regions:
            if not low <= region.valence <= high:
                raise ValenceError(f"valence {region.valence} of a region is outside the standards, {low} to {high}")
        self._interval()

    def _interval(self) -> int:
        """Index of the lower of the two standards that the polynomial lies between."""
        field = self.field(np.linspace(0.0, self.reach_um, 1001))
        for n, (low, high) in enumerate(zip(self.standards[:-1], self.standards[1:], strict=True)):
            if low <= field.min() and field.max() <= high:
                return n
        raise ValenceError(
            f"valence runs from {field.min():.2f} to {field.max():.2f} outwards: keep it between two neighbours of "
            f"{self.standards}"
        )

    def field(self, r_um: Floats) -> Floats:
        """Return the polynomial's valence at distances from the origin (um)."""
        return np.asarray(np.polynomial.polynomial.polyval((r_um / self.radius_um) ** 2, self.polynomial))

    def weights(self) -> Floats:
        """Return polynomials in s of each state's part: (regions + 1, states, 3), the field's first."""
        table = np.zeros((len(self.regions) + 1, len(self.standards), 3))
        n = self._interval()
        step = self.standards[n + 1] - self.standards[n]
        table[0, n + 1] = np.array(self.polynomial) / step
        table[0, n + 1, 0] -= self.standards[n] / step
        table[0, n] = -table[0, n + 1]
        table[0, n, 0] += 1.0
        for row, region in enumerate(self.regions, start=1):
            parts = np.eye(len(self.standards))
            table[row, :, 0] = [np.interp(region.valence, self.standards, part) for part in parts]
        return table

    def thickness(self, grid: Grid, theta_deg: float) -> Image:
        """Thickness of each pure state along the rays, at the density of what is not denser.

        Parameters
        ----------
        grid, theta_deg
            Rays, and angle of the stage.

        Returns
        -------
        thickness
            float32 (states, rows, columns) (um).
        """
        left, top, pitch, lean = grid.rays
        bodies = [*self.solids, *self.voids, *self.dense, *(region.body for region in self.regions)]
        table = quadric_table(bodies, theta_deg, lean)
        ends = np.cumsum([len(self.solids), len(self.voids), len(self.dense)])
        weights = self.weights()
        out = np.zeros((len(self.standards), *grid.shape), np.float32)
        extra, scale = float(self.extra_density), 1.0 / self.radius_um**2
        over_rows(
            grid.shape[0],
            lambda a, b: _state_rows(out, left, top, pitch, table, ends, weights, extra, scale, a, b),
        )
        return out

    def volume(self, pitch_um: float, inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float16]:
        """Return the valence of voxels at theta = 0.

        Parameters
        ----------
        pitch_um
            Edge of a voxel (um).
        inside
            bool (row, z, x) as `label_ellipsoid` counts: where there is material.

        Returns
        -------
        valence
            float16, nan where nothing is; its step is 0.002 between 2 and 4.
        """
        which = np.zeros(inside.shape, np.uint8)
        for number, region in enumerate(self.regions, start=1):
            label_ellipsoid(which, pitch_um, region.body, number)
        constants = np.array([0.0, *(region.valence for region in self.regions)], np.float32)
        place2 = [((np.arange(n) - 0.5 * (n - 1)) * pitch_um) ** 2 for n in inside.shape]
        flat = place2[1][:, None] + place2[2][None, :]
        out = np.full(inside.shape, np.nan, np.float16)
        for row in range(inside.shape[0]):
            field = self.field(np.sqrt(flat + place2[0][row]))
            value = np.where(which[row] > 0, constants[which[row]], field)
            out[row][inside[row]] = value[inside[row]]
        return out


@kernel
def _state_rows(
    out: Image, left: float, top: float, pitch: float, table: Floats, ends: Counts, weights: Floats, extra: float,
    scale: float, first: int, last: int,
) -> None:  # fmt: skip
    n_bodies = table.shape[0]
    n_states = out.shape[0]
    active = np.empty(n_bodies, np.int64)
    begin = np.empty(n_bodies, np.int64)
    end = np.empty(n_bodies, np.int64)
    places = np.empty(2 * _MOST)
    which = np.empty(2 * _MOST, np.int64)
    on = np.zeros(n_bodies, np.int64)
    moments = np.empty((weights.shape[0], 3))
    used = np.zeros(weights.shape[0], np.int64)
    for row in range(first, last):
        y = top - row * pitch
        count = bodies_of_row(table, y, left, pitch, out.shape[2], active, begin, end)
        leftmost, rightmost = columns_of_solids(active, begin, end, count, ends[0])
        for col in range(leftmost, rightmost):
            x = left + col * pitch
            found = crossings_of_ray(table, x, y, col, count, active, begin, end, places, which)
            solid = 0
            void = 0
            dense = 0
            region = 0
            b2 = x * x + y * y
            used[0] = 0
            for k in range(found):
                if solid > 0 and void == 0:
                    z0 = places[k - 1]
                    z1 = places[k]
                    density = 1.0 + extra if dense > 0 else 1.0
                    cubes = (z1 * z1 * z1 - z0 * z0 * z0) / 3.0
                    fifths = (z1**5 - z0**5) / 5.0
                    if used[region] == 0:
                        used[region] = 1
                        moments[region, :] = 0.0
                    moments[region, 0] += density * (z1 - z0)
                    moments[region, 1] += density * scale * (b2 * (z1 - z0) + cubes)
                    moments[region, 2] += density * scale**2 * (b2 * b2 * (z1 - z0) + 2.0 * b2 * cubes + fifths)
                enters = which[k] >= 0
                n = which[k] if enters else -1 - which[k]
                step = 1 if enters else -1
                if n < ends[0]:
                    solid += step
                elif n < ends[1]:
                    void += step
                elif n < ends[2]:
                    dense += step
                else:
                    on[n] = enters
                    number = n - ends[2] + 1
                    if enters:
                        region = max(region, number)
                    elif number == region:
                        region = 0
                        for j in range(count):
                            if active[j] >= ends[2] and on[active[j]]:
                                region = max(region, active[j] - ends[2] + 1)
            for r in range(weights.shape[0]):
                if used[r] == 0:
                    continue
                used[r] = 0
                for state in range(n_states):
                    out[state, row, col] += (
                        weights[r, state, 0] * moments[r, 0]
                        + weights[r, state, 1] * moments[r, 1]
                        + weights[r, state, 2] * moments[r, 2]
                    )


@dataclass(frozen=True)
class ValenceSpecimen:
    """An aggregate in several states, and what stands beside it.

    Attributes
    ----------
    name, reach_um
        As of any specimen.
    aggregate
        The aggregate.
    materials
        The material of each pure state, at the density of what is not denser.
    others
        Bodies beside it.
    """

    name: str
    aggregate: StatedAggregate
    materials: tuple[Material, ...]
    others: BodySpecimen
    reach_um: float = math.inf

    def layers(self, grid: Grid, theta_deg: float) -> list[tuple[Material, Image]]:
        """Thickness of each state that there is, and of the other bodies."""
        images = self.aggregate.thickness(grid, theta_deg)
        present = np.count_nonzero(self.aggregate.weights(), axis=(0, 2))
        layers = [(m, image) for m, image, is_there in zip(self.materials, images, present, strict=True) if is_there]
        return [*layers, *self.others.layers(grid, theta_deg)]
