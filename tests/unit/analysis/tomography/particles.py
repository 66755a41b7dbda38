"""Exact projections of particles with the simulator's bodies, and the counts of its beamline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exitwave.simulators.physics.bodies import Difference, Ellipsoid, sphere
from exitwave.simulators.physics.materials import GOLD, NMC622
from exitwave.simulators.physics.specimen import BodySpecimen, Grid

ENERGY_KEV = 8.6


@dataclass(frozen=True)
class Dose:
    """Light of one exposure: electrons per pixel without sample, electrons per X-ray photon, read noise (electrons)."""

    electrons: float
    per_photon: float
    read_noise: float = 1.4

    def times(self, factor: float) -> Dose:
        return Dose(self.electrons * factor, self.per_photon, self.read_noise)

    def expose(self, integrals: np.ndarray, rng: np.random.Generator, flats: int = 20) -> np.ndarray:
        """-ln(T) of exact line integrals, corrected by the mean of some flats: photons, then electrons, are counted."""

        def counted(transmission: np.ndarray, frames: int) -> np.ndarray:
            photons = rng.poisson(frames * self.electrons / self.per_photon * transmission)
            electrons = rng.poisson(self.per_photon * photons) + rng.normal(
                0, self.read_noise * math.sqrt(frames), photons.shape
            )
            return np.maximum(electrons / frames, 1.0)

        flat = counted(np.ones(integrals.shape[-2:]), flats)
        out = np.empty(integrals.shape, np.float32)
        for index in np.ndindex(integrals.shape[:-2]):
            out[index] = -np.log(counted(np.exp(-integrals[index]), 1) / flat)
        return out


# 1 s at 8.6 keV with zone plate A. 10x objective, 10.4 nm: 560 ADU, 300 electrons. 4x: the same photons per area on a
# screen that absorbs 0.67 instead of 0.36 of them and gives 0.42 instead of 1.69 electrons for each.
SECOND_10_NM = Dose(300.0, 1.69)
SECOND_26_NM = Dose(300.0 * (26.0 / 10.4) ** 2 * (0.672 / 0.360) * (0.418 / 1.687), 0.418)


def second(pixel_nm: float) -> Dose:
    """One second on the 4x objective's screen at any pixel size (by binning or another camera length)."""
    return SECOND_26_NM.times((pixel_nm / 26.0) ** 2)


def particle(seed: int = 3, *, cracked: bool = True, offset: tuple[float, float] = (0.3, -0.2)) -> BodySpecimen:
    """NMC622 of 7 um; cracks 0.1 to 0.3 um wide from near the centre outwards, and pores."""
    rng = np.random.default_rng(seed)
    ox, oz = offset
    whole = Ellipsoid((ox, 0.0, oz), (3.5, 3.3, 3.4))
    holes = []
    for _ in range(10):
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        middle = direction * rng.uniform(0.8, 2.9)
        holes.append(sphere((ox + middle[0], middle[1], oz + middle[2]), float(rng.uniform(0.1, 0.22))))
    if cracked:
        for n in range(14):
            # flat ellipsoids: thin along one axis of the stage, long along the two others
            thin = n % 3
            axes = rng.uniform(0.7, 1.5, 3)
            axes[thin] = rng.uniform(0.05, 0.15)
            middle = rng.uniform(-1.3, 1.3, 3)
            holes.append(
                Ellipsoid((ox + middle[0], middle[1], oz + middle[2]), (float(axes[0]), float(axes[1]), float(axes[2])))
            )
    return BodySpecimen("particle", ((Difference(whole, tuple(holes)), NMC622),))


def beads(seed: int = 5, count: int = 12, radius_um: float = 0.15, reach_um: float = 3.0) -> list[Ellipsoid]:
    """Gold beads here and there in a cylinder."""
    rng = np.random.default_rng(seed)
    found: list[Ellipsoid] = []
    for n in range(count):
        angle, away = rng.uniform(0, 2 * math.pi), reach_um * math.sqrt(rng.uniform(0.1, 1))
        height = reach_um * (2 * (n + rng.uniform(0.2, 0.8)) / count - 1)
        found.append(sphere((away * math.cos(angle), float(height), away * math.sin(angle)), radius_um))
    return found


def with_beads(specimen: BodySpecimen, gold: Sequence[Ellipsoid]) -> BodySpecimen:
    return BodySpecimen(specimen.name, (*specimen.parts, *((bead, GOLD) for bead in gold)))


def integrals(
    specimen: BodySpecimen,
    angles_deg: Sequence[float] | np.ndarray,
    pixel_nm: float,
    shape: tuple[int, int],
    *,
    centre: float | None = None,
    tilt_deg: float = 0.0,
    shifts: np.ndarray | None = None,
) -> np.ndarray:
    """Exact mu t (angle, row, col), float32; the axis, its lean and the pictures' displacements as in `Geometry`."""
    ny, nx = shape
    pitch = 1e-3 * pixel_nm
    centre = 0.5 * (nx - 1) if centre is None else centre
    shifts = np.zeros((len(angles_deg), 2)) if shifts is None else shifts
    c, s = math.cos(math.radians(tilt_deg)), math.sin(math.radians(tilt_deg))
    out = np.empty((len(angles_deg), *shape), np.float32)
    for k, (angle, (dy, dx)) in enumerate(zip(angles_deg, shifts, strict=True)):
        if tilt_deg == 0.0:
            grid = Grid(-(centre + dx) * pitch, (0.5 * (ny - 1) + dy) * pitch, pitch, shape)
            maps = specimen.layers(grid, float(angle))
        else:
            rows, cols = np.meshgrid(np.arange(ny) - 0.5 * (ny - 1) - dy, np.arange(nx) - centre - dx, indexing="ij")
            x, y = (cols * c - rows * s) * pitch, -(rows * c + cols * s) * pitch
            maps = [(material, body.chord(x, y, float(angle)).astype(np.float32)) for body, material in specimen.parts]
        out[k] = sum(material.attenuation_per_um(ENERGY_KEV, "total") * length for material, length in maps)
    return out
