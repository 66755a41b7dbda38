"""Poisson and normal deviates against their distributions."""

import numpy as np
import pytest
from scipy import stats

from exitwave.simulators.physics.rng import normal_image, poisson_image


@pytest.mark.parametrize("mean", [0.05, 0.7, 3.0, 9.9, 10.1, 40.0, 300.0, 5000.0])
def test_counts_are_poisson_distributed(mean):
    counts = poisson_image(np.full((400, 500), mean, np.float32), seed=3, frame=0).ravel().astype(int)
    law = stats.poisson(float(np.float32(mean)))
    # bins of at least 200 expected events each
    edges = np.unique(law.ppf(np.linspace(0.001, 0.999, 60)).astype(int))
    observed = np.bincount(np.searchsorted(edges, counts, side="left"), minlength=edges.size + 1)
    cumulative = np.concatenate([[0.0], law.cdf(edges), [1.0]])
    expected = np.diff(cumulative) * counts.size
    keep = expected > 20.0
    chi2 = float((((observed - expected) ** 2) / np.maximum(expected, 1e-9))[keep].sum())
    assert stats.chi2.sf(chi2, int(keep.sum()) - 1) > 1e-4


def test_same_frame_same_noise_and_other_frame_other_noise():
    mean = np.full((64, 64), 20.0, np.float32)
    first = poisson_image(mean, seed=1, frame=5)
    np.testing.assert_array_equal(first, poisson_image(mean, seed=1, frame=5))
    other = poisson_image(mean, seed=1, frame=6)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.06


def test_rows_are_independent():
    counts = poisson_image(np.full((200, 1000), 50.0, np.float32), seed=9, frame=0)
    correlation = np.asarray(np.corrcoef(counts))
    off = correlation[~np.eye(200, dtype=bool)]
    assert abs(float(off.mean())) < 1e-3
    assert float(off.std()) == pytest.approx(1.0 / np.sqrt(1000.0), rel=0.05)


def test_no_light_gives_no_counts():
    assert poisson_image(np.zeros((8, 8), np.float32), seed=0, frame=0).max() == 0.0


def test_normal_deviates():
    z = normal_image((300, 400), seed=2).ravel()
    assert stats.kstest(z, "norm").pvalue > 1e-4
