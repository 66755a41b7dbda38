"""Errors of widths beside their bound, where columns are alike and where they are not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from exitwave.analysis.columns import JointFit, fit_lattice
from exitwave.profiles.demos.anxri_precision import width_precision
from exitwave.profiles.demos.anxri_scene import Scene

PIXEL_PM, SIDE, SPACING, WIDTH = 30.0, 96, 12.0, 3.4


def _counts(widths: np.ndarray, heights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian columns on a square lattice on a pedestal of 2 counts: places and expected counts."""
    h, k = (part.ravel() for part in np.mgrid[:7, :7])
    places = 12.0 + SPACING * np.column_stack([h, k])
    y, x = np.indices((SIDE, SIDE))
    image = np.full((SIDE, SIDE), 2.0)
    for (cy, cx), width, height in zip(places, widths, heights, strict=True):
        image += height * np.exp(-4.0 * math.log(2.0) * ((y - cy) ** 2 + (x - cx) ** 2) / width**2)
    return places, image


def _precision(differ_pm: float, seed: int, deals: int = 6) -> tuple[float, float, float, float]:
    rng = np.random.default_rng(seed)
    widths = WIDTH + rng.normal(0.0, differ_pm / PIXEL_PM, 49)
    places, image = _counts(widths, rng.uniform(60.0, 160.0, 49))
    maps = rng.poisson(np.stack([image, 0.7 * image]))
    scene = Scene(
        maps.astype(float), np.ones((SIDE, SIDE)), np.zeros((2, SIDE, SIDE)), PIXEL_PM, places, fit_lattice(places),
        np.zeros((0, 2)), np.ones(49, bool),
    )  # fmt: skip
    fits = [scene.fit(scene.maps[k], k) for k in (0, 1)]
    halves: list[JointFit] = []
    both = maps.sum(axis=0)
    for _ in range(deals):
        part = rng.binomial(both, maps[0].sum() / both.sum())
        halves += [scene.fit(part.astype(float), -1, fits[0]), scene.fit((both - part).astype(float), -1, fits[0])]
    found = width_precision(scene, fits, halves, np.zeros(49, np.int64))
    return found.se_over_bound, found.se_over_bound_se, found.scatter_over_bound, found.columns_differ_pm


@pytest.mark.parametrize("differ_pm", [0.0, 6.0])
def test_the_estimator_reaches_its_bound_whether_columns_are_alike_or_not(differ_pm: float) -> None:
    """Ten specimens: the fit is as good as its bound in all; only scatter over columns tells the specimens apart."""
    ratio, ratio_se, scatter, differ = np.array([_precision(differ_pm, seed) for seed in range(10)]).T
    print(f"{differ_pm} pm: {ratio.mean():.3f} +- {ratio.std():.3f}, scatter {scatter.mean():.2f}, {differ.round(1)}")
    assert ratio.mean() == pytest.approx(1.0, abs=0.06)
    assert ratio.std(ddof=1) < 2.0 * ratio_se.mean()
    if differ_pm:
        assert scatter.mean() > 2.0
        assert differ.mean() == pytest.approx(differ_pm, rel=0.15)
    else:
        assert scatter.mean() == pytest.approx(1.0, abs=0.06)
        assert not differ.any()
