"""The projector against closed form, and its transpose against itself."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.analysis.errors import OutOfRangeError, ShapeError
from exitwave.analysis.tomography import Geometry, angular_weights, backproject, project


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 19),
    size=st.integers(8, 40),
    tilt=st.sampled_from([0.0, 0.0, -2.0, 0.7]),
    shifted=st.booleans(),
)
def test_backproject_is_the_transpose_of_project(seed: int, rows: int, size: int, tilt: float, shifted: bool) -> None:
    random = np.random.default_rng(seed)
    n, width = 13, 31
    angles = np.concatenate([[0.0, 90.0, 180.0, 270.0, 45.0], random.uniform(-400.0, 400.0, n - 5)])
    shifts = random.normal(0.0, 2.0, (n, 2)) if shifted else None
    geometry = Geometry(angles, width, random.uniform(5.0, 25.0), tilt, shifts)
    volume = random.normal(size=(rows, size, size)).astype(np.float32)
    pictures = random.normal(size=(n, rows, width)).astype(np.float32)
    forward = project(volume, geometry).astype(np.float64)
    back = backproject(pictures, geometry, size=size).astype(np.float64)
    scale = np.linalg.norm(forward) * np.linalg.norm(pictures) + 1e-9
    assert abs(np.vdot(forward, pictures) - np.vdot(back, volume)) / scale < 1e-6


ANGLES = np.array([0.0, 30.0, 45.0, 77.0, 90.0, 133.0, 200.0, -20.0])


def test_projections_of_a_soft_ball_are_those_of_closed_form() -> None:
    size, centre, sd = 160, 71.3, 8.0
    x0, z0 = 21.0, -13.0
    half = np.arange(size) - 0.5 * (size - 1)
    ball = np.exp(-((half[None, :] - x0) ** 2 + (half[:, None] - z0) ** 2) / (2.0 * sd**2))
    theta = np.radians(ANGLES)[:, None]
    s = np.arange(size) - centre - (x0 * np.cos(theta) + z0 * np.sin(theta))
    exact = np.sqrt(2.0 * np.pi) * sd * np.exp(-(s**2) / (2.0 * sd**2))
    found = project(ball[None], Geometry(ANGLES, size, centre))[:, 0]
    assert found.dtype == np.float32
    # linear interpolation is off by 1/8 of the second derivative at most, which is 1 / sd^2 of the ball's height
    assert np.abs(found - exact).max() < exact.max() / (8.0 * sd**2)


def test_projections_of_ellipses_hold_all_of_them(ellipses: ModuleType) -> None:
    size, centre = 160, 71.3
    bodies = ellipses.shepp_logan(70.0, 0.01)
    exact = ellipses.sinogram(bodies, ANGLES, np.arange(size) - centre)
    found = project(ellipses.section(bodies, size)[None], Geometry(ANGLES, size, centre))[:, 0]
    np.testing.assert_allclose(found.sum(axis=1), exact.sum(axis=1), rtol=5e-3)


def test_a_shift_moves_the_picture_and_a_tilt_leans_the_axis() -> None:
    volume = np.zeros((41, 33, 33), np.float32)
    volume[:, 16, 16] = 1.0  # on the axis
    shifts = np.array([[0.0, 0.0], [0.0, 3.5]])
    straight = project(volume, Geometry(np.array([0.0, 60.0]), 33, 16.0, 0.0, shifts))
    columns = np.arange(33)
    assert (straight[0, 20] * columns).sum() / straight[0, 20].sum() == pytest.approx(16.0, abs=1e-4)
    assert (straight[1, 20] * columns).sum() / straight[1, 20].sum() == pytest.approx(19.5, abs=0.1)
    leaning = project(volume, Geometry(np.array([0.0]), 33, 16.0, 5.0))[0]
    for row in (8, 20, 32):
        expected = 16.0 + np.tan(np.radians(5.0)) * (row - 20.0)
        assert (leaning[row] * columns).sum() / leaning[row].sum() == pytest.approx(expected, abs=0.02)
    ball = np.zeros((41, 33, 33), np.float32)
    ball[20] = 1.0
    lower = project(ball, Geometry(np.array([0.0]), 33, 16.0, 0.0, np.array([[4.0, 0.0]])))[0]
    assert lower.sum(axis=1).argmax() == 24


def test_weights_of_angles() -> None:
    step = np.radians(2.0)
    np.testing.assert_allclose(angular_weights(np.arange(0.0, 180.0, 2.0)), step)
    half, full = np.arange(0.0, 181.0, 2.0), np.arange(0.0, 360.0, 2.0)
    assert angular_weights(half).sum() == pytest.approx(np.pi)
    np.testing.assert_allclose(angular_weights(half)[[0, -1]], 0.5 * step)  # 0 and 180 deg are one line
    np.testing.assert_allclose(angular_weights(full), 0.5 * step)
    wedge = angular_weights(np.arange(-60.0, 61.0, 2.0))
    np.testing.assert_allclose(wedge, step)  # nobody stands for what was not measured
    golden = np.mod(np.arange(200) * 180.0 * (np.sqrt(5.0) - 1.0) / 2.0, 180.0)
    assert angular_weights(golden).sum() == pytest.approx(np.pi)
    mixed = np.concatenate([np.arange(0.0, 60.0, 0.5), np.arange(60.0, 180.0, 3.0)])
    assert angular_weights(mixed).sum() == pytest.approx(np.pi)


def test_geometries_that_are_none_are_refused() -> None:
    with pytest.raises(ShapeError, match="n >= 1"):
        Geometry(np.array([]), 64, 32.0)
    with pytest.raises(OutOfRangeError, match=r"angles\[1\] = nan deg"):
        Geometry(np.array([0.0, np.nan]), 64, 32.0)
    with pytest.raises(OutOfRangeError, match=r"centre = 64 column is outside \[0, 63\]"):
        Geometry(np.array([0.0]), 64, 64.0)
    with pytest.raises(OutOfRangeError, match="tilt"):
        Geometry(np.array([0.0]), 64, 32.0, 30.0)
    with pytest.raises(ShapeError, match="shifts"):
        Geometry(np.array([0.0, 1.0]), 64, 32.0, shifts=np.zeros((3, 2)))
    with pytest.raises(ShapeError, match="geometry has 2 of 64"):
        backproject(np.zeros((2, 1, 60)), Geometry(np.array([0.0, 1.0]), 64, 32.0))
    with pytest.raises(OutOfRangeError, match="not finite"):
        project(np.full((1, 8, 8), np.nan), Geometry(np.array([0.0]), 8, 3.5))
