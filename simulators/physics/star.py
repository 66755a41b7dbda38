"""Siemens star: spokes on rings, with the covered area of every pixel.

The pattern follows the published features of Zeiss's X30-30-2 target (30 um field, 30 nm smallest spoke, gold): 36
spokes whose width at radius r is pi r / 36, from 30 nm to 1.3 um, broken by narrow rings that mark 50, 100, 200, 400
and 800 nm. Thickness 600 nm (the maker states 500-700 nm), on a silicon nitride membrane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exitwave.simulators.physics._jit import kernel, over_rows
from exitwave.simulators.physics.materials import GOLD, SILICON_NITRIDE, Material
from exitwave.simulators.physics.specimen import Grid

Image = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@kernel
def _inside(x: float, y: float, spokes: int, inner: float, outer: float, marks: Floats, gap: float) -> bool:
    r = math.hypot(x, y)
    if r < inner or r > outer:
        return False
    for mark in marks:
        if abs(r - mark) < 0.5 * gap:
            return False
    turn = (math.atan2(y, x) / (2.0 * math.pi)) * spokes
    return (turn - math.floor(turn)) < 0.5


@kernel
def _half_plane(distance: float, a: float, b: float) -> float:
    """Part of a cell on the inner side of a straight edge.

    ``distance`` is that of the cell's middle to the edge (positive inside), ``a`` and ``b`` the cell's two sides
    projected on the edge's normal.
    """
    high = max(a, b)
    low = min(a, b)
    away = abs(distance)
    if away >= 0.5 * (high + low):
        outer = 0.0
    elif away <= 0.5 * (high - low) or low < 1e-12 * high:
        outer = 0.5 - away / high
    else:
        outer = (0.5 * (high + low) - away) ** 2 / (2.0 * high * low)
    return 1.0 - outer if distance >= 0.0 else outer


@kernel
def _coverage_rows(
    out: Image, left: float, top: float, pitch: float, lean: float, squeeze: float, spokes: int,
    inner: float, outer: float, marks: Floats, gap: float, first: int, last: int,
) -> None:  # fmt: skip
    wide = pitch / squeeze  # a cell's width on the tilted target
    reach = 0.5 * math.hypot(pitch, wide)
    cosine = math.cos(lean)
    sine = math.sin(lean)
    for row in range(first, last):
        for col in range(out.shape[1]):
            x = (cosine * (left + col * pitch) - sine * (top - row * pitch)) / squeeze
            y = sine * (left + col * pitch) + cosine * (top - row * pitch)
            r = math.hypot(x, y)
            # distance to the nearest circle, positive where there is gold
            ring = min(r - inner, outer - r)
            for mark in marks:
                ring = min(ring, abs(r - mark) - 0.5 * gap)
            if ring <= -reach:
                out[row, col] = 0.0
                continue
            turn = math.atan2(y, x) * spokes / math.pi
            edge = math.floor(turn + 0.5)
            # distance to the nearest spoke's edge, r sin(angle) by its series (angle < pi / 2 spokes); even edges begin
            # a spoke, odd ones end it
            away = (turn - edge) * math.pi / spokes
            side = r * away * (1.0 - away * away / 6.0)
            spoke = side if edge % 2 == 0 else -side
            if ring >= reach and abs(spoke) >= reach:
                out[row, col] = 1.0 if spoke > 0.0 else 0.0
            elif ring >= reach and 0.5 * math.pi * r / spokes > 2.0 * reach:
                angle = edge * math.pi / spokes
                out[row, col] = _half_plane(spoke, wide * abs(math.sin(angle)), pitch * abs(math.cos(angle)))
            elif abs(spoke) >= reach:
                covered = _half_plane(ring, wide * abs(x) / r, pitch * abs(y) / r)
                out[row, col] = covered if spoke > 0.0 else 0.0
            else:  # a corner
                hits = 0
                for i in range(89):
                    u = x + ((i + 0.5) / 89.0 - 0.5) * wide
                    v = y + (((i * 55) % 89 + 0.5) / 89.0 - 0.5) * pitch
                    if _inside(u, v, spokes, inner, outer, marks, gap):
                        hits += 1
                out[row, col] = hits / 89.0


@dataclass(frozen=True)
class SiemensStar:
    """A Siemens star in the stage's xy plane, turning with it.

    Pixels on one edge get the exact area beside a straight line (an arc's sagitta over a pixel is below 0.1 nm); those
    on a corner are sampled at 89 points of a Fibonacci lattice. Under a lean the pixels' centres turn, their sides not.
    """

    name: str = "siemens-star"
    spokes: int = 36
    smallest_nm: float = 30.0
    radius_um: float = 15.0
    thickness_um: float = 0.6
    membrane_um: float = 0.1
    gap_um: float = 0.12
    marks_nm: tuple[float, ...] = (50.0, 100.0, 200.0, 400.0, 800.0)
    material: Material = GOLD

    @property
    def inner_radius_um(self) -> float:
        """Radius at which the spokes have the smallest width (um)."""
        return self.smallest_nm * 1e-3 * self.spokes / math.pi

    def coverage(self, grid: Grid, theta_deg: float = 0.0) -> Image:
        """Covered part of each pixel (0 to 1, float32)."""
        squeeze = abs(math.cos(math.radians(theta_deg)))
        out = np.zeros(grid.shape, np.float32)
        if squeeze < 1e-3:  # edge-on: thinner than any pixel
            return out
        marks = np.array([w * 1e-3 * self.spokes / math.pi for w in self.marks_nm])
        front = math.cos(math.radians(theta_deg)) > 0.0
        # seen from behind, the pattern is drawn from right to left and turned over
        left = grid.left_um if front else -(grid.left_um + (grid.shape[1] - 1) * grid.pitch_um)
        over_rows(
            grid.shape[0],
            lambda a, b: _coverage_rows(
                out, left, grid.top_um, grid.pitch_um, grid.lean_rad if front else -grid.lean_rad, squeeze,
                self.spokes, self.inner_radius_um, self.radius_um, marks, self.gap_um, a, b,
            ),
        )  # fmt: skip
        return out if front else np.ascontiguousarray(out[:, ::-1])

    @property
    def reach_um(self) -> float:
        """Radius of the pattern (um)."""
        return self.radius_um

    def layers(self, grid: Grid, theta_deg: float) -> list[tuple[Material, Image]]:
        """Gold and membrane along the rays; both grow as 1 / cos(theta)."""
        stretch = 1.0 / max(abs(math.cos(math.radians(theta_deg))), 1e-3)
        gold = self.coverage(grid, theta_deg) * np.float32(self.thickness_um * stretch)
        membrane = np.full(grid.shape, self.membrane_um * stretch, np.float32)
        return [(self.material, gold), (SILICON_NITRIDE, membrane)]
