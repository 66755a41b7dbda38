"""A slice made of ellipses, and its projections in closed form.

L. A. Shepp and B. F. Logan, IEEE Trans. Nucl. Sci. 21, 21 (1974), with the contrasts of P. A. Toft, thesis, Technical
University of Denmark (1996), table B.3. Lengths in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ellipse:
    """Of attenuation `mu` per pixel about (x, z), semi-axes a and b, a turned from x towards z by `turn_deg`."""

    mu: float
    x: float
    z: float
    a: float
    b: float
    turn_deg: float = 0.0


_SHEPP_LOGAN = (
    (1.0, 0.0, 0.0, 0.69, 0.92, 0.0),
    (-0.8, 0.0, -0.0184, 0.6624, 0.874, 0.0),
    (-0.2, 0.22, 0.0, 0.11, 0.31, -18.0),
    (-0.2, -0.22, 0.0, 0.16, 0.41, 18.0),
    (0.1, 0.0, 0.35, 0.21, 0.25, 0.0),
    (0.1, 0.0, 0.1, 0.046, 0.046, 0.0),
    (0.1, 0.0, -0.1, 0.046, 0.046, 0.0),
    (0.1, -0.08, -0.605, 0.046, 0.023, 0.0),
    (0.1, 0.0, -0.606, 0.023, 0.023, 0.0),
    (0.1, 0.06, -0.605, 0.023, 0.046, 0.0),
)


def shepp_logan(half: float, mu: float = 1.0) -> list[Ellipse]:
    """Return the phantom that reaches `half` pixels from the axis at most, its skull of attenuation `mu`."""
    return [Ellipse(m * mu, x * half, z * half, a * half, b * half, p) for m, x, z, a, b, p in _SHEPP_LOGAN]


def sinogram(bodies: Sequence[Ellipse], angles_deg: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return line integrals (angle, column); `columns` (n,) or (angle, n): distance from the axis' column."""
    theta = np.radians(angles_deg)[:, None]
    total = np.zeros((len(angles_deg), np.shape(columns)[-1]))
    for body in bodies:
        turn = np.radians(body.turn_deg)
        s = columns - (body.x * np.cos(theta) + body.z * np.sin(theta))
        reach = (body.a * np.cos(theta - turn)) ** 2 + (body.b * np.sin(theta - turn)) ** 2
        total += 2.0 * body.mu * body.a * body.b * np.sqrt(np.maximum(reach - s * s, 0.0)) / reach
    return total.astype(np.float32)


def section(bodies: Sequence[Ellipse], size: int, fine: int = 5) -> np.ndarray:
    """Return the slice (z, x), each voxel the mean of fine x fine points of it."""
    grid = (np.arange(size * fine) + 0.5) / fine - 0.5 * size
    total = np.zeros((size * fine, size * fine), np.float32)
    for body in bodies:
        c, s = np.cos(np.radians(body.turn_deg)), np.sin(np.radians(body.turn_deg))
        x, z = grid[None, :] - body.x, grid[:, None] - body.z
        total += body.mu * (((x * c + z * s) / body.a) ** 2 + ((z * c - x * s) / body.b) ** 2 <= 1.0)
    return total.reshape(size, fine, size, fine).mean(axis=(1, 3))


def circle(size: int, radius: float) -> np.ndarray:
    """Return the mask (z, x) of the voxels within `radius` of the axis."""
    half = np.arange(size) - 0.5 * (size - 1)
    return np.hypot(half[:, None], half[None, :]) < radius


def rms(found: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Return the root mean square difference under a mask."""
    return float(np.sqrt(np.mean((found - truth)[mask].astype(np.float64) ** 2)))
