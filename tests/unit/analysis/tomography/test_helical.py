"""Helical scans of balls whose projections are known in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exitwave.analysis.errors import OutOfRangeError, ShapeError
from exitwave.analysis.tomography import Geometry, HelicalReconstruction, helical_rows, reconstruct

WIDTH, ROWS, TALL = 96, 48, 144
CENTRE = 46.3
MU = 0.01
BALLS = [(6.0, 30.0, -10.0, 14.0), (-15.0, 66.0, 5.0, 11.0), (4.0, 98.0, 14.0, 12.0), (-8.0, 120.0, -9.0, 9.0)]
"""x, height (row of a picture without shift), z, radius; in pixels."""


def pictures(angles: np.ndarray, dy: np.ndarray, rows: int, tilt_deg: float = 0.0) -> np.ndarray:
    """Return line integrals (angle, row, column) through the balls, risen by `dy` rows."""
    c, s = np.cos(np.radians(angles)), np.sin(np.radians(angles))
    row, column = np.arange(rows)[:, None], np.arange(WIDTH)[None, :]
    lean = np.tan(np.radians(tilt_deg)) * (row - 0.5 * (rows - 1))
    out = np.zeros((len(angles), rows, WIDTH), np.float32)
    for x, h, z, radius in BALLS:
        for k in range(len(angles)):
            across = column - (CENTRE + lean + x * c[k] + z * s[k])
            out[k] += 2.0 * MU * np.sqrt(np.maximum(radius**2 - across**2 - (row - h - dy[k]) ** 2, 0.0))
    return out


def helix(turns: float, per_turn: int, rise_rows: float) -> tuple[np.ndarray, np.ndarray]:
    """Return angles, and by how many rows each picture stands lower: a sample that rises shows lower parts."""
    angles = np.arange(round(turns * per_turn)) * 360.0 / per_turn
    return angles, -angles / 360.0 * rise_rows


def geometry_of(angles: np.ndarray, dy: np.ndarray, **more: Any) -> Geometry:
    return Geometry(angles, WIDTH, CENTRE, shifts=np.stack([dy, np.zeros_like(dy)], axis=1), **more)


@pytest.mark.parametrize(("method", "options"), [("fourier", {}), ("fbp", {}), ("sirt", {"iterations": 30})])
def test_a_helix_shows_what_a_taller_picture_shows(method: str, options: dict[str, Any]) -> None:
    angles, dy = helix(4.0, 180, 29.3)
    spiral = HelicalReconstruction(geometry_of(angles, dy), ROWS, method, **options)
    first, past = spiral.rows
    assert past - first > 2 * ROWS, "more than a picture's height"
    found = spiral(pictures(angles, dy, ROWS))
    half = np.arange(0.0, 180.0, 1.0)
    tall = reconstruct(pictures(half, np.zeros(180), TALL), Geometry(half, WIDTH, CENTRE), method, **options)
    volume = np.zeros_like(found)
    low, high = max(first, 0), min(past, TALL)
    volume[low - first : high - first] = tall[low:high]
    # both are sampled; at surfaces they differ by part of a voxel
    assert np.sqrt(np.mean((found - volume) ** 2)) < 0.06 * MU
    for x, h, z, radius in BALLS:
        k, i, j = round(h) - first, round(z + 0.5 * (WIDTH - 1)), round(x + 0.5 * (WIDTH - 1))
        core = found[k - 3 : k + 4, i - 3 : i + 4, j - 3 : j + 4]
        assert core.mean() == pytest.approx(MU, rel=0.03), f"ball of {radius}"


def test_an_axis_that_leans_is_straight_in_the_volume() -> None:
    angles, dy = helix(4.0, 180, 30.0)
    spiral = HelicalReconstruction(geometry_of(angles, dy, tilt_deg=0.8), ROWS)
    found = spiral(pictures(angles, dy, ROWS, tilt_deg=0.8))
    bodies = found > 0.5 * MU
    for x, h, z, _ in BALLS[1:3]:
        k, i, j = round(h) - spiral.rows[0], round(z + 0.5 * (WIDTH - 1)), round(x + 0.5 * (WIDTH - 1))
        near = np.argwhere(bodies[k, i - 16 : i + 17, j - 16 : j + 17]).mean(axis=0) - 16.0
        expected = np.array([z, x]) + 0.5 * (WIDTH - 1) - [i, j]
        np.testing.assert_allclose(near, expected, atol=0.35)


def test_only_slices_that_half_a_turn_shows_are_there() -> None:
    angles, dy = helix(2.0, 90, 40.0)
    first, past = helical_rows(geometry_of(angles, dy), ROWS)
    # half a turn takes 20 rows: the uppermost slice is seen from the start and leaves the picture that much later
    assert first == pytest.approx(20, abs=2)
    assert past == pytest.approx(80 + ROWS - 20, abs=2)


def test_a_rise_that_shows_no_slice_around_is_refused() -> None:
    angles, dy = helix(2.0, 90, 300.0)
    with pytest.raises(OutOfRangeError, match="rise less in a turn"):
        HelicalReconstruction(geometry_of(angles, dy), ROWS)


def test_projections_of_another_shape_are_refused() -> None:
    angles, dy = helix(2.0, 90, 20.0)
    spiral = HelicalReconstruction(geometry_of(angles, dy), ROWS)
    with pytest.raises(ShapeError, match="geometry is that of"):
        next(spiral.chunks(np.zeros((180, ROWS + 1, WIDTH), np.float32)))
