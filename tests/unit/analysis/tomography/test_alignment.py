"""Jitter found again: exact projections of the simulator's bodies, counts of its beamline."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.analysis.errors import OutOfRangeError, ShapeError
from exitwave.analysis.tomography import Geometry
from exitwave.analysis.tomography import alignment as align

SIZE, PIXEL_NM, N = 128, 104.0, 90
CENTRE = 66.8
ANGLES = np.arange(N) * 180.0 / N


@pytest.fixture(scope="module")
def jitter() -> np.ndarray:
    return np.random.default_rng(3).normal(0.0, 2.0, (N, 2))


@pytest.fixture(scope="module")
def exact(particles: ModuleType, jitter: np.ndarray) -> np.ndarray:
    return particles.integrals(particles.particle(), ANGLES, PIXEL_NM, (SIZE, SIZE), centre=CENTRE, shifts=jitter)


def rest(found: Geometry, truth: np.ndarray) -> np.ndarray:
    """What is left of the jitter, rms of rows and columns, without what no data can tell."""
    assert found.shifts is not None
    return np.sqrt(np.mean(align.remove_unobservable(found.shifts - truth, ANGLES) ** 2, axis=0))


@pytest.mark.parametrize("options", [{}, {"by_mass": False}], ids=["by mass first", "by reprojection alone"])
def test_two_pixels_of_jitter_at_a_hundredth_of_the_dose(particles, exact, jitter, options):
    """Pixels four times as wide have 16 times the photons: 0.06 s here have those of 1 s at 26 nm."""
    noisy = particles.SECOND_26_NM.expose(exact, np.random.default_rng(5))
    found = align.align_projections(noisy, Geometry(ANGLES, SIZE, 0.5 * (SIZE - 1)), **options)
    assert (rest(found.geometry, jitter) < 0.2).all()
    # the deviations are those of the shifts, the noise of the prediction included
    assert found.geometry.shifts is not None
    pulls = align.remove_unobservable(found.geometry.shifts - jitter, ANGLES) / found.shifts_sd
    rows, columns = np.sqrt(np.mean(pulls**2, axis=0))
    assert 0.8 < rows < 1.25
    assert 0.8 < columns < 1.25
    # the axis goes to where the jitter's constant part puts it
    design = np.stack([np.ones(N), np.cos(np.radians(ANGLES)), np.sin(np.radians(ANGLES))], axis=1)
    constant = np.linalg.lstsq(design, jitter[:, 1], rcond=None)[0][0]
    assert abs(found.geometry.centre - CENTRE - constant) < 0.3


def test_mass_alone(particles, exact, jitter):
    noisy = particles.second(PIXEL_NM).expose(exact, np.random.default_rng(6))
    found = align.align_by_mass(noisy, Geometry(ANGLES, SIZE, 0.5 * (SIZE - 1)))
    assert (rest(found, jitter) < 0.1).all()


def test_aligned_data_stay_where_they_are(particles, exact, jitter):
    """A projection that met its own noise would not move; one that is right must not either."""
    noisy = particles.second(PIXEL_NM).expose(exact, np.random.default_rng(7))
    found = align.align_projections(noisy, Geometry(ANGLES, SIZE, CENTRE, shifts=jitter), by_mass=False)
    assert (rest(found.geometry, jitter) < 0.05).all()
    assert found.updates_px[-1] < 0.05


@settings(max_examples=50, deadline=None)
@given(
    place=st.tuples(*[st.floats(-50, 50) for _ in range(4)]),
    n=st.integers(8, 60),
    turn=st.floats(100, 360),
    seed=st.integers(0, 2**31),
)
def test_a_place_of_the_sample_is_unobservable(place, n, turn, seed):
    angles = np.linspace(0, turn, n, endpoint=False)
    jitter = np.random.default_rng(seed).normal(size=(n, 2))
    x, z, up, axis = place
    theta = np.radians(angles)
    moved = jitter + np.stack([np.full(n, up), axis + x * np.cos(theta) + z * np.sin(theta)], axis=1)
    once = align.remove_unobservable(jitter, angles)
    np.testing.assert_allclose(align.remove_unobservable(moved, angles), once, atol=1e-9)
    np.testing.assert_allclose(align.remove_unobservable(once, angles), once, atol=1e-9)


def test_bad_input_is_refused_by_name(exact):
    geometry = Geometry(ANGLES, SIZE, 64.0)
    with pytest.raises(ShapeError, match="90 angles"):
        align.align_projections(exact[1:], geometry)
    with pytest.raises(OutOfRangeError, match="NaN"):
        align.align_projections(np.full_like(exact, np.nan), geometry)
    with pytest.raises(OutOfRangeError, match="bins"):
        align.align_projections(exact, geometry, bins=(16,))
    with pytest.raises(ShapeError, match="shifts"):
        align.remove_unobservable(np.zeros((4, 2)), ANGLES)
