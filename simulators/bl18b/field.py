"""Illumination at the specimen: the condenser's spot with its fine structure, cut by the pinhole."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from exitwave.simulators.physics.specimen import Grid

Image = npt.NDArray[np.float32]
WAVES = 14
COARSE = 8


def illumination_field(
    grid: Grid,
    centre_um: tuple[float, float],
    rms_um: tuple[float, float],
    pinhole_um: tuple[float, float, float],
    cone_reach_um: float,
    structure: float,
    age: float,
    seed: int,
) -> Image:
    """Flux density at the specimen per photon in the spot (1/um2, float32).

    Parameters
    ----------
    grid
        Rays of the image.
    centre_um, rms_um
        Centre and rms size of the Gaussian spot.
    pinhole_um
        Offset and radius of the pinhole upstream; rays of the hollow cone that miss it are lost.
    cone_reach_um
        How far the cone's rays are from their focus where they cross the pinhole.
    structure
        Relative rms of the streaks that the capillary's surface draws into the field.
    age
        Time in units of the structure's drift time.
    seed
        Pattern of the structure.

    Notes
    -----
    Streaks and vignetting are smooth: they are computed on every eighth ray and interpolated.
    """
    x, y = grid.x_um, grid.y_um
    gauss_x = np.exp(-0.5 * ((x - centre_um[0]) / rms_um[0]) ** 2)
    gauss_y = np.exp(-0.5 * ((y - centre_um[1]) / rms_um[1]) ** 2)
    norm = 1.0 / (2.0 * math.pi * rms_um[0] * rms_um[1])
    field = np.multiply.outer((gauss_y * norm).astype(np.float32), gauss_x.astype(np.float32))
    edge = math.hypot(*centre_um) + 0.0
    far = max(abs(x[0]), abs(x[-1])), max(abs(y[0]), abs(y[-1]))
    cut = math.hypot(far[0] + abs(pinhole_um[0]), far[1] + abs(pinhole_um[1])) + cone_reach_um > pinhole_um[2] - edge
    if structure <= 0.0 and not cut:
        return field
    coarse_x = np.linspace(x[0], x[-1], max(2, len(x) // COARSE))
    coarse_y = np.linspace(y[0], y[-1], max(2, len(y) // COARSE))
    modulation = np.ones((coarse_y.size, coarse_x.size))
    if structure > 0.0:
        modulation += _streaks(coarse_x, coarse_y, structure, age, seed)
    if cut:
        modulation *= _vignette(coarse_x, coarse_y, pinhole_um, cone_reach_um)
    rows = _interpolate(modulation, y.size, axis=0)
    return np.asarray(field * _interpolate(rows, x.size, axis=1))


def _streaks(x: np.ndarray, y: np.ndarray, structure: float, age: float, seed: int) -> np.ndarray:
    """Relative modulation: a few plane waves whose phases wander with age."""
    rng = np.random.default_rng([seed, 18])
    total = np.zeros((y.size, x.size))
    for _ in range(WAVES):
        period = float(rng.uniform(2.0, 15.0))
        direction = float(rng.uniform(0.0, 2.0 * math.pi))
        phase = float(rng.uniform(0.0, 2.0 * math.pi))
        rate = float(rng.normal(0.0, 1.0))
        k = 2.0 * math.pi / period
        along = k * (math.cos(direction) * x[None, :] + math.sin(direction) * y[:, None])
        total += np.cos(along + phase + rate * age)
    return total * (structure / math.sqrt(0.5 * WAVES))


def _vignette(x: np.ndarray, y: np.ndarray, pinhole_um: tuple[float, float, float], reach_um: float) -> np.ndarray:
    """Part of the hollow cone's rays through each point that have passed the pinhole (soft at its rim by 1 um)."""
    total = np.zeros((y.size, x.size))
    for azimuth in np.arange(48) * (math.pi / 24.0):
        dx = x[None, :] + reach_um * math.cos(azimuth) - pinhole_um[0]
        dy = y[:, None] + reach_um * math.sin(azimuth) - pinhole_um[1]
        total += np.clip(pinhole_um[2] - np.hypot(dx, dy) + 0.5, 0.0, 1.0)
    return total / 48.0


def _interpolate(table: np.ndarray, n: int, axis: int) -> Image:
    """Linear interpolation of a table's axis to ``n`` points between the same ends."""
    place = np.linspace(0.0, table.shape[axis] - 1.0, n)
    low = np.minimum(place.astype(np.intp), table.shape[axis] - 2)
    shape = [1, 1]
    shape[axis] = n
    part = (place - low).astype(np.float32).reshape(shape)
    values = table.astype(np.float32)
    return np.asarray(np.take(values, low, axis) * (1 - part) + np.take(values, low + 1, axis) * part)
