"""Stripe removal against an independent program of the same paper, and against what must hold of any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from exitwave.analysis.errors import OutOfRangeError, ShapeError
from exitwave.analysis.tomography import stripes

N_ANGLES, N_COLUMNS = 181, 300
LARGE, DEAD = slice(100, 104), 170


def clean(n_angles: int = N_ANGLES, n_columns: int = N_COLUMNS) -> np.ndarray:
    """Sinogram of soft blobs, without an edge that a median could mistake for a stripe."""
    rng = np.random.default_rng(5)
    theta = np.linspace(0, np.pi, n_angles)[:, None]
    x = np.linspace(-1, 1, n_columns)[None, :]
    total = 0.3 + 1.5 * np.exp(-((x / 0.6) ** 2)) + 0 * theta
    for _ in range(12):
        width, away, phase = rng.uniform(0.1, 0.3), rng.uniform(0.0, 0.5), rng.uniform(0, 6.3)
        total = total + 0.3 * np.exp(-(((x - away * np.cos(theta + phase)) / width) ** 2))
    return total


def striped() -> np.ndarray:
    """The same with noise, gains of 1 %, a stripe four columns wide and a column that means nothing."""
    rng = np.random.default_rng(6)
    noisy = clean() + rng.normal(0, 0.02, (N_ANGLES, N_COLUMNS))
    noisy *= 1 + rng.normal(0, 0.01, N_COLUMNS)
    noisy[:, LARGE] *= 1.3
    noisy[:, DEAD] = rng.normal(1, 1, N_ANGLES)
    return noisy.astype(np.float32)


def error(sinogram: np.ndarray) -> np.ndarray:
    """How far each column's mean is off the truth (noise averages out)."""
    return np.abs((sinogram - clean()).mean(axis=0))


METHODS = [
    (stripes.remove_stripes_sorting, "remove_stripe_based_sorting", 1e-3),
    # the slow part, rounded to float32 by two ways of computing it, ranks neighbours in another order here and there
    (stripes.remove_stripes_filtering, "remove_stripe_based_filtering", 1e-2),
    (stripes.remove_large_stripes, "remove_large_stripe", 1e-3),
    (stripes.remove_dead_stripes, "remove_dead_stripe", 1e-3),
    (stripes.remove_all_stripes, "remove_all_stripe", 1e-3),
]


@pytest.mark.parametrize(("ours", "theirs", "swapped"), METHODS, ids=[name for _, name, _ in METHODS])
@pytest.mark.parametrize("n_angles", [180, 181])
def test_the_same_as_algotom_to_float32_rounding(ours, theirs, swapped, n_angles):
    removal = pytest.importorskip("algotom.prep.removal")
    sinogram = striped()[:n_angles]
    difference = np.abs(ours(sinogram) - getattr(removal, theirs)(sinogram))
    # equal values of a column have no order: what differs by more are ranks changed between ties
    assert np.mean(difference > 4e-6) < swapped
    assert difference.max() < 0.02


@pytest.mark.parametrize("method", [m for m, *_ in METHODS])
def test_each_row_of_a_stack_is_a_sinogram_of_its_own(method):
    sinogram = striped()
    stack = np.stack([sinogram, np.roll(sinogram, 7, axis=1)], axis=1)
    before = stack.copy()
    out = method(stack)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(stack, before)
    np.testing.assert_array_equal(out[:, 0], method(stack[:, 0]))
    np.testing.assert_array_equal(out[:, 1], method(stack[:, 1]))


def test_all_stripes_bring_columns_back_to_the_truth():
    # medians no wider than what the blobs allow on 300 columns
    raw, fixed = error(striped()), error(stripes.remove_all_stripes(striped(), large_size=21, small_size=11))
    assert raw[LARGE].min() > 0.2
    assert fixed[LARGE].max() < 0.1 * raw[LARGE].min()
    assert fixed[DEAD] < 0.1 * raw[DEAD]


@pytest.mark.parametrize("method", [stripes.remove_stripes_sorting, stripes.remove_stripes_filtering])
def test_gains_of_a_percent_are_evened_out(method):
    # a median sees stripes where the sinogram is less steep than they are high
    rng = np.random.default_rng(7)
    flat = 2 + 0.5 * np.cos(np.linspace(0, np.pi, N_ANGLES))[:, None] * np.ones(N_COLUMNS)
    noisy = (flat + rng.normal(0, 0.02, flat.shape)) * (1 + rng.normal(0, 0.01, N_COLUMNS))
    raw, fixed = ((sinogram - flat).mean(axis=0) for sinogram in (noisy, method(noisy, size=11)))
    # the median of 11 numbers scatters by sqrt(pi / 22) = 0.38 of one
    assert np.sqrt(np.mean(fixed**2)) < 0.5 * np.sqrt(np.mean(raw**2))


def test_a_sinogram_without_stripes_keeps_its_values():
    sinogram = clean().astype(np.float32)
    np.testing.assert_allclose(stripes.remove_dead_stripes(sinogram, residual=False), sinogram, atol=0.01)
    assert np.abs(stripes.remove_stripes_sorting(sinogram, size=5) - sinogram).mean() < 0.01


@settings(max_examples=30, deadline=None)
@given(
    n_angles=st.integers(2, 40),
    n_columns=st.integers(8, 70),
    size=st.integers(1, 15),
    seed=st.integers(0, 2**31),
    coarse=st.booleans(),
)
def test_sorting_is_a_median_of_sorted_columns(n_angles, n_columns, size, seed, coarse):
    rng = np.random.default_rng(seed)
    sinogram = rng.normal(size=(n_angles, n_columns)).astype(np.float32)
    if coarse:  # ties, negative and positive zeros
        sinogram = np.round(sinogram)
    out = stripes.remove_stripes_sorting(sinogram, size=size)
    expected = ndimage.median_filter(np.sort(sinogram, axis=0), (1, size))
    np.testing.assert_array_equal(np.sort(out, axis=0), expected)
    # what was larger in a column stays at least as large
    order = np.argsort(sinogram, axis=0, kind="stable")
    assert (np.diff(np.take_along_axis(out, order, axis=0), axis=0) >= 0).all()


def test_bad_input_is_refused_by_name():
    good = striped()
    with pytest.raises(ShapeError, match="shape"):
        stripes.remove_all_stripes(good[0])
    with pytest.raises(OutOfRangeError, match="NaN"):
        stripes.remove_all_stripes(np.where(np.arange(N_COLUMNS) == 3, np.nan, good))
    with pytest.raises(OutOfRangeError, match="size = 0"):
        stripes.remove_stripes_sorting(good, size=0)
    with pytest.raises(OutOfRangeError, match="drop_ratio"):
        stripes.remove_large_stripes(good, drop_ratio=0.9)
    with pytest.raises(OutOfRangeError, match="snr"):
        stripes.remove_dead_stripes(good, snr=0.0)
