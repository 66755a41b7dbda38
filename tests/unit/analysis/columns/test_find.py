"""Columns found, put on a lattice, told apart; filters and Fourier spots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from exitwave.analysis.columns import (
    classify_sites,
    compare_periodicity,
    estimate_spacing,
    find_columns,
    fit_columns,
    fit_lattice,
    lattice_spots,
    split_by_intensity,
    wiener,
)
from exitwave.analysis.errors import FitError, ShapeError

Make = Callable[..., Any]


def test_all_columns_are_found_and_no_more(scene: Make) -> None:
    truth = scene((9, 10), height=(60.0, 40.0), pedestal=60.0)
    counts = np.random.default_rng(21).poisson(truth.expected)
    assert estimate_spacing(counts) == pytest.approx(20.0, rel=0.06)
    found = find_columns(counts)
    distance, index = (np.asarray(part) for part in cKDTree(truth.positions).query(found))
    assert len(found) == 90
    assert len(np.unique(index)) == 90
    assert distance.max() < 3.0


def test_a_hole_has_no_columns() -> None:
    with pytest.raises(FitError, match="the same everywhere"):
        find_columns(np.zeros((32, 32)), noise="estimate")


def test_noise_has_no_columns() -> None:
    noise = np.random.default_rng(22).poisson(50.0, (128, 128))
    with pytest.raises(FitError):
        find_columns(noise, spacing_px=20, significance=5.0)
    with pytest.raises(FitError):
        lattice_spots(noise)


def test_lattice_sites_and_intensities(scene: Make) -> None:
    truth = scene((8, 9), height=(100.0, 60.0))
    rng = np.random.default_rng(23)
    counts = rng.poisson(truth.expected)
    order = rng.permutation(len(truth.positions))
    fit = fit_columns(counts, truth.positions[order])
    lattice = fit_lattice(fit.positions)
    assert lattice.on_lattice.all()
    assert lattice.rms_px < 0.5
    assert abs(lattice.a[0] * lattice.b[1] - lattice.a[1] * lattice.b[0]) == pytest.approx(400, rel=0.01)
    np.testing.assert_array_equal(classify_sites(lattice, fit.intensity), truth.kind[order])
    np.testing.assert_array_equal(split_by_intensity(fit.intensity), truth.kind[order])
    one = rng.normal(100, 10, 400)
    assert (split_by_intensity(one) == 0).all()


def test_a_column_off_the_lattice_is_said(scene: Make) -> None:
    truth = scene((6, 6))
    moved = truth.positions.copy()
    moved[14] += 8.0
    lattice = fit_lattice(moved)
    assert not lattice.on_lattice[14]
    assert lattice.on_lattice.sum() == 35
    with pytest.raises(ShapeError, match="six"):
        fit_lattice(moved[:3])


def test_spots_are_indexed_and_compared(scene: Make) -> None:
    truth = scene((10, 10), height=(60.0, 60.0), tilt=0.05)
    rng = np.random.default_rng(24)
    haadf = truth.expected * 50 + rng.normal(0, 20, truth.expected.shape)
    maps = {
        "HAADF": haadf,
        "E1": rng.poisson(truth.expected),
        "empty": rng.poisson(90.0, truth.expected.shape),
    }
    spots = lattice_spots(maps["E1"], pixel=10.0)
    # rows step by (20, -1), columns by (1, 20): the planes are 20.02 pixels apart
    assert spots.spacings.max() == pytest.approx(200.2, rel=0.01)
    assert abs(np.linalg.det(spots.basis)) == pytest.approx(1 / (401 * 100), rel=0.02)
    found = compare_periodicity(maps, reference="HAADF")
    strong = np.argsort(-found.significance["E1"])[:2]
    assert found.seen["E1"][strong].all()
    assert not found.seen["empty"].any()
    assert "empty 0 of" in found.words


@pytest.mark.parametrize("noise", ["poisson", "flat", "radial", "paper"])
def test_wiener_comes_nearer_to_the_truth(scene: Make, noise: str) -> None:
    truth = scene((8, 8), height=(40.0, 30.0), pedestal=20.0)
    counts = np.random.default_rng(25).poisson(truth.expected)
    seen = wiener(counts, noise)  # type: ignore[arg-type]
    before, after = (np.sqrt(((i - truth.expected) ** 2).mean()) for i in (counts, seen))
    assert after < 0.62 * before
    assert seen.mean() == pytest.approx(counts.mean(), rel=1e-5)
