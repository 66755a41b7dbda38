"""Beads on circles, found in noise and solved; exact tracks give everything back."""

from __future__ import annotations

import numpy as np
import pytest

from exitwave.analysis.errors import FitError, ShapeError
from exitwave.analysis.tomography import fiducials
from exitwave.analysis.tomography.alignment import remove_unobservable

SIZE, PIXEL_NM, N = 192, 40.0, 90
CENTRE, TILT = 98.3, 0.4
ANGLES = np.arange(N) * 180.0 / N


def tracks_of(positions: np.ndarray, shifts: np.ndarray, tilt_deg: float = TILT) -> np.ndarray:
    """Rows and columns of beads (x, z, v) in pixels, by rotating the picture's plane."""
    theta, t = np.radians(ANGLES), np.radians(tilt_deg)
    u = positions[:, :1] * np.cos(theta) + positions[:, 1:2] * np.sin(theta)
    v = positions[:, 2:]
    rows = 0.5 * (SIZE - 1) + v * np.cos(t) - u * np.sin(t) + shifts[:, 0]
    return np.stack([rows, CENTRE + v * np.sin(t) + u * np.cos(t) + shifts[:, 1]], axis=2)


@pytest.fixture
def jitter() -> np.ndarray:
    return remove_unobservable(np.random.default_rng(4).normal(0, 2, (N, 2)), ANGLES)


def test_exact_tracks_give_axis_tilt_and_jitter_back(jitter):
    positions = np.random.default_rng(1).uniform(-70, 70, (6, 3))
    tracks = tracks_of(positions, jitter)
    tracks[2, 30:50] = np.nan
    found = fiducials.solve_fiducials(tracks, ANGLES, SIZE, SIZE)
    # exact but for the medians of a few beads, which let go of a little
    assert found.geometry.tilt_deg == pytest.approx(TILT, abs=1e-3)
    assert found.residual_px < 0.02
    left = remove_unobservable(found.geometry.shifts - jitter, ANGLES)
    assert np.abs(left).max() < 0.05


def test_beads_in_a_noisy_scan(particles, jitter):
    """1 s at each angle: axis, tilt and jitter of 2 pixels rms from eight beads of 0.3 um."""
    gold = particles.beads(count=8, reach_um=2.6)
    specimen = particles.with_beads(particles.BodySpecimen("beads", ()), gold)
    exact = particles.integrals(specimen, ANGLES, PIXEL_NM, (SIZE, SIZE), centre=CENTRE, tilt_deg=TILT, shifts=jitter)
    noisy = particles.second(PIXEL_NM).expose(exact, np.random.default_rng(8))
    tracks = fiducials.track_fiducials(noisy, ANGLES, diameter_px=7.5, count=8)
    found = fiducials.solve_fiducials(tracks, ANGLES, SIZE, SIZE)
    assert len(tracks) >= 6
    assert abs(found.geometry.tilt_deg - TILT) < max(0.01, 4 * found.tilt_sd_deg)
    assert found.tilt_sd_deg < 0.02
    assert abs(found.geometry.centre - CENTRE) < 0.1
    left = remove_unobservable(found.geometry.shifts - jitter, ANGLES)
    assert (np.sqrt(np.mean(left**2, axis=0)) < 0.2).all()


def test_bad_input_is_refused_by_name():
    with pytest.raises(ShapeError, match="tracks"):
        fiducials.solve_fiducials(np.zeros((3, 4, 2)), ANGLES, SIZE, SIZE)
    with pytest.raises(FitError, match="1 beads"):
        fiducials.solve_fiducials(np.zeros((1, N, 2)), ANGLES, SIZE, SIZE)
    with pytest.raises(ShapeError, match="image"):
        fiducials.find_beads(np.zeros(5), 3.0, 2)
    with pytest.raises(FitError, match="followed"):
        fiducials.track_fiducials(np.zeros((N, 32, 32)), ANGLES, diameter_px=4.0, count=3)
