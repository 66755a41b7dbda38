"""The Cramer-Rao bound: against the scatter of maximum-likelihood fits of counts drawn at those counts."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from exitwave.analysis.errors import ShapeError
from exitwave.analysis.xanes import LinearCombination, TemplateShift, edge_bound, information_bound, optical_depth

SIDE = 70
"""An rms of 4900 errors scatters by 1 %."""


def standards(scene: ModuleType, e: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Two spectra 2 eV apart, which also differ in their white line."""
    offset = e - scene.E0
    return {"low": (e, scene.spectrum(offset + 1.0, 0.6)), "high": (e, scene.spectrum(offset - 1.0, 0.9))}


def counted(
    scene: ModuleType, depth: np.ndarray, photons: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return measured depths with variances as the analysis has them, and the variances expected."""
    frames, flats, expected = scene.counted(depth, photons, np.random.default_rng(seed), flats=10)
    pairs = [optical_depth(f, g, 0.0, averaged=(1, 10)) for f, g in zip(frames, flats, strict=True)]
    return np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs]), expected


@pytest.mark.parametrize("photons", [1500.0, 20000.0])
def test_a_likeliest_mixture_scatters_by_its_bound(scene: ModuleType, photons: float) -> None:
    e = scene.energies()
    share = np.random.default_rng(2).uniform(0.1, 0.9, (SIDE, SIDE))
    known = standards(scene, e)
    (_, low), (_, high) = known.values()
    spectra = share * low[:, None, None] + (1.0 - share) * high[:, None, None]
    depth = 0.3 - 1e-4 * (e - scene.E0)[:, None, None] + 0.8 * spectra
    mu, variance, expected = counted(scene, depth, photons, 5)
    mixture = LinearCombination(e, known, non_negative=False, sum_to_one=False, background_order=1)
    fit = mixture.fit(mu, variance)
    edge, _ = mixture.edge_energy(fit)
    exact = mixture.fit(depth.astype(np.float32), expected.astype(np.float32))
    true, _ = mixture.edge_energy(exact)
    bound = mixture.edge_bound(share, 0.8, expected)
    ratio = np.sqrt(np.mean(((edge - true) / bound) ** 2))
    assert ratio == pytest.approx(1.0, abs=0.04)


def test_a_likeliest_shift_scatters_by_its_bound(scene: ModuleType) -> None:
    e = scene.energies()
    shift = np.random.default_rng(3).uniform(-1.0, 1.0, (SIDE, SIDE))
    mu, variance, expected = counted(scene, scene.optical_depth(e, shift), 4000.0, 6)
    x = np.arange(scene.E0 - 130, scene.E0 + 240, 0.2)
    template = TemplateShift(e, x, scene.spectrum(x - scene.E0))
    error = template.fit(mu, variance, shift).shift_ev - shift
    ratio = np.sqrt(np.mean((error / edge_bound(template, 0.8, expected, shift)) ** 2))
    assert ratio == pytest.approx(1.0, abs=0.04)


def test_a_mean_has_the_bound_of_a_mean() -> None:
    # One unknown constant: the bound is sqrt(1 / sum(1 / v)), whatever the other pixels are.
    variance = np.random.default_rng(1).uniform(1.0, 4.0, (7, 2, 3))
    bound = information_bound(lambda part: [np.ones((7, 6))[:, part]], variance)
    np.testing.assert_allclose(bound, np.sqrt(1.0 / (1.0 / variance).sum(axis=0)), rtol=1e-6)
    # Two that can't be told apart have none.
    twice = information_bound(lambda part: [np.ones((7, 6))[:, part], 1e6 * np.ones((7, 6))[:, part]], variance)
    assert np.isnan(twice).all()
    with pytest.raises(ShapeError, match="bound"):
        information_bound(lambda part: [np.ones(7)], np.ones(7))


def test_means_are_as_sure_as_what_they_are_of(scene: ModuleType) -> None:
    rng = np.random.default_rng(4)
    frames, flats = rng.poisson(300.0, (4, 200, 200)), rng.poisson(900.0, (9, 200, 200))
    depth, variance = optical_depth(
        frames.mean(axis=0), flats.mean(axis=0), np.zeros((200, 200), np.float32), averaged=(4, 9)
    )
    assert depth.std() == pytest.approx(np.sqrt(variance.mean()), rel=0.02)
    assert depth.mean() == pytest.approx(np.log(3.0), abs=1e-4)
