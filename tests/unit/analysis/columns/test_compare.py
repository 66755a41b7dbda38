"""Verdicts in three situations, p-values under the null, and what first principles say."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from exitwave.analysis.columns import (
    Column,
    adiabatic_range_pm,
    compare_species,
    compare_windows,
    counts_needed,
    expected_fwhm_pm,
    expected_intensity,
    fit_columns,
    fit_columns_jointly,
    group_difference,
    intensity_ratio,
    object_function,
    paired_difference,
    radiation_logarithm,
    thinning_null,
    width_on_intensity,
)
from exitwave.analysis.eds import EnergyWindow
from exitwave.analysis.errors import OutOfRangeError, ShapeError

Make = Callable[..., Any]
PX = 10.0
E1, E2 = EnergyWindow(3.53, 4.29, "E1"), EnergyWindow(5.24, 6.00, "E2")
SR, TIO = Column.of("Sr", 0.62), Column((("Ti", 1.0, 0.44), ("O", 1.0, 0.72)))


def test_p_values_are_uniform_where_nothing_is() -> None:
    rng = np.random.default_rng(31)
    paired, groups = [], []
    for _ in range(600):
        a, b = rng.normal(100, 3, 20), rng.normal(100, 4, 20)
        paired.append(paired_difference(a, b, rng=rng, permutations=499, resamples=10).p_value)
        kinds = np.arange(40) % 2
        values = rng.normal(100, np.where(kinds == 0, 2.0, 3.5))
        groups.append(group_difference(values, kinds, rng=rng, permutations=499, resamples=10).p_value)
    for name, p in (("windows", paired), ("species", groups)):
        print(f"{name}: KS p = {stats.kstest(p, 'uniform').pvalue:.2f}, {np.mean(np.array(p) < 0.05):.3f} below 0.05")
        assert stats.kstest(p, "uniform").pvalue > 0.01
        assert (np.array(p) < 0.05).mean() == pytest.approx(0.05, abs=0.03)


def test_p_values_of_whole_fits_are_uniform(scene: Make) -> None:
    """Unequal counts in the windows, one point spread, 20 columns: fits and permutation, 200 times."""
    a, b = scene((4, 5), height=(103.0, 103.0)), scene((4, 5), height=(84.0, 84.0), pedestal=75.0)
    rng = np.random.default_rng(32)
    p = []
    for _ in range(200):
        fits = [fit_columns(rng.poisson(s.expected), s.positions) for s in (a, b)]
        p.append(paired_difference(fits[0].fwhm, fits[1].fwhm, rng=rng, permutations=499, resamples=10).p_value)
    print(f"whole fits: KS p = {stats.kstest(p, 'uniform').pvalue:.2f}, {np.mean(np.array(p) < 0.05):.3f} below 0.05")
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert (np.array(p) < 0.05).mean() < 0.11


def test_nothing(scene: Make) -> None:
    truth = scene((4, 5))
    rng = np.random.default_rng(33)
    result = compare_windows(
        rng.poisson(truth.expected),
        rng.poisson(0.85 * truth.expected),
        truth.positions,
        pixel_pm=PX,
        expected_pm=0.06,
        rng=rng,
        repeats=10,
    )
    assert result.verdict.kind == "nothing"
    assert "below this precision" in str(result.verdict)
    assert abs(result.fit.mean) < 3.5 * result.fit.expected_se
    assert result.half_split is not None
    assert result.half_split.sd == pytest.approx(result.fit.expected_se, rel=0.7)


@pytest.mark.parametrize("seed", [34, 35, 36])
def test_an_injected_difference_of_windows(scene: Make, seed: int) -> None:
    """7.5 +- 4.3 pm on 20 columns, as published for NPG-Pd-Pt."""
    rng = np.random.default_rng(seed)
    injected = rng.normal(7.5, 4.3, 20)
    a, b = scene((4, 5), height=(103.0, 103.0), spread=injected / PX), scene((4, 5), height=(84.0, 84.0))
    result = compare_windows(
        rng.poisson(a.expected), rng.poisson(b.expected), a.positions,
        pixel_pm=PX, expected_pm=0.06, recipe_base=90.0, rng=rng, repeats=8,
    )  # fmt: skip
    assert result.verdict.kind == "difference"
    assert "another cause" in str(result.verdict)
    assert abs(result.fit.mean - injected.mean()) < 3 * result.fit.expected_se
    assert result.fit.sd == pytest.approx(math.hypot(injected.std(ddof=1), result.fit.expected_se * 20**0.5), rel=0.35)
    assert result.figures()["null_p_value"] < 0.01


def test_an_injected_difference_of_species(scene: Make) -> None:
    """16 +- 5 pm on 128 columns of SrTiO3, and a ratio of peak intensities of 1.38."""
    rng = np.random.default_rng(37)
    injected = rng.normal(0.0, 5.0, 128) / PX
    truth = scene((8, 16), height=(193.0, 193.0 / 1.38), pedestal=90.0, fwhm=(11.6, 10.0), spread=injected)
    counts = rng.poisson(truth.expected)
    result = compare_species(
        counts, truth.positions, truth.kind, pixel_pm=PX, expected_pm=0.5, recipe_base=90.0, rng=rng, repeats=6
    )
    true = PX * (truth.fwhm[truth.kind == 0].mean() - truth.fwhm[truth.kind == 1].mean())
    assert result.verdict.kind == "difference"
    assert abs(result.fit.mean - true) < 3 * result.fit.expected_se
    assert result.fit.interval[0] < result.fit.mean < result.fit.interval[1]
    ratio = intensity_ratio(fit_columns(counts, truth.positions), truth.kind)
    assert abs(ratio.ratio - 1.38) < 3 * ratio.se
    assert ratio.se < 0.03


def test_an_artefact_between_windows(scene: Make) -> None:
    """One point spread of 100 pm, 193 and 174 counts, read half way above a base of 90: about 4 pm out of nothing."""
    rng = np.random.default_rng(38)
    a, b = scene((6, 6), height=(193.0, 193.0), pedestal=0.0), scene((6, 6), height=(174.0, 174.0), pedestal=0.0)
    result = compare_windows(
        rng.poisson(a.expected), rng.poisson(b.expected), a.positions,
        pixel_pm=PX, expected_pm=0.06, recipe_base=90.0, rng=rng, repeats=6,
    )  # fmt: skip
    assert result.verdict.kind == "artefact"
    assert result.recipe is not None
    assert result.recipe_null is not None
    assert 2.0 < result.recipe.mean < 7.0
    # thinning alone makes the same out of one window
    assert result.recipe_null.mean == pytest.approx(result.recipe.mean, abs=3 * result.recipe.se)
    assert abs(result.fit.mean) < 3.5 * result.fit.expected_se
    assert "an artefact of the recipe" in str(result.verdict)


def test_an_artefact_between_species(scene: Make) -> None:
    rng = np.random.default_rng(39)
    truth = scene((8, 8), height=(193.0, 140.0), pedestal=0.0)
    result = compare_species(
        rng.poisson(truth.expected), truth.positions, truth.kind,
        pixel_pm=PX, expected_pm=0.5, recipe_base=90.0, names=("Sr", "Ti/O"), rng=rng, repeats=6,
    )  # fmt: skip
    assert result.verdict.kind == "artefact"
    assert result.recipe is not None
    assert result.recipe_null is not None
    assert 10.0 < result.recipe.mean < 18.0
    assert result.recipe_null.mean == pytest.approx(result.recipe.mean, abs=4 * result.recipe.se)


def test_what_all_columns_share_is_in_the_verdict(scene: Make) -> None:
    """One pedestal for all: the mean of many columns errs by more than they scatter; figures and words say both."""
    truth = scene((5, 6), spacing=12.0, fwhm=6.0, height=(30.0, 30.0), pedestal=4.0)
    rng = np.random.default_rng(41)
    deviations, stated = [], []
    for repeat in range(40):
        first, second = (rng.poisson(truth.expected) for _ in range(2))
        result = compare_windows(
            first, second, truth.positions, pixel_pm=PX, expected_pm=0.06, rng=rng, repeats=0,
            fitter=lambda counts, _: fit_columns_jointly(counts, truth.positions),
        )  # fmt: skip
        deviations.append(result.fit.mean)
        stated.append((result.scatter_se, result.common_se, result.se))
        if repeat == 0:
            words = str(result.verdict)
            assert f"scatter {result.scatter_se:.2f}, common to all columns {result.common_se:.2f}" in words
            assert f"± {result.se:.2f} pm" in words
            assert result.figures()["se_pm"] == result.se > result.figures()["scatter_se_pm"]
    scatter, common, whole = np.mean(stated, axis=0)
    print(f"30 columns: sd of the mean {np.std(deviations):.2f} pm; stated {scatter:.2f} and {common:.2f}: {whole:.2f}")
    assert common > 0.5 * scatter
    assert np.std(deviations) / whole == pytest.approx(1.0, abs=0.34)  # three sigmas of an sd of 40


def test_regression_and_bad_input() -> None:
    rng = np.random.default_rng(40)
    x = rng.uniform(50, 150, 200)
    line = width_on_intensity(x, 80 + 0.1 * x + rng.normal(0, 1, 200))
    assert line.slope == pytest.approx(0.1, abs=4 * line.slope_se)
    assert line.explains(20.0) == pytest.approx(2.0, rel=0.1)
    with pytest.raises(OutOfRangeError, match="the same"):
        width_on_intensity(np.ones(10), x[:10])
    with pytest.raises(ShapeError, match="at least 4"):
        paired_difference([1.0, 2.0], [1.0, 2.0], rng=rng)
    with pytest.raises(OutOfRangeError, match="whole counts"):
        thinning_null(np.full((20, 20), 0.5), np.ones((20, 20)), lambda c: c[0], rng=rng)


def test_adiabatic_range() -> None:
    print(f"{adiabatic_range_pm(3.9, 300.0):.2f} and {adiabatic_range_pm(5.6, 300.0):.2f} pm at 300 kV")
    assert adiabatic_range_pm(3.9, 300.0) == pytest.approx(39, abs=0.5)
    assert adiabatic_range_pm(5.6, 300.0) == pytest.approx(27, abs=0.5)


@pytest.mark.parametrize(
    ("column", "windows", "beam_kev", "probe_pm", "expected"),
    [
        (Column.of("Pt", 0.3), (E1, E2), 300.0, 82.0, 0.04),
        (Column.of("Pd", 0.4), (E1, E2), 300.0, 82.0, 0.07),
        (Column.of("Au", 0.6), (EnergyWindow(4.85, 5.35), EnergyWindow(5.55, 6.05)), 200.0, 60.0, 0.02),
    ],
)
def test_expected_difference_of_windows(
    column: Column, windows: tuple[EnergyWindow, EnergyWindow], beam_kev: float, probe_pm: float, expected: float
) -> None:
    """The design's figures, made with another screening: the same sign and size, a hundredth of the published."""
    widths = [expected_fwhm_pm(column, w, beam_kev=beam_kev, probe_fwhm_pm=probe_pm) for w in windows]
    print(f"FWHM(1) - FWHM(2) = {widths[0] - widths[1]:+.4f} pm, the design has {expected:+.2f} pm")
    assert widths[0] - widths[1] == pytest.approx(expected, abs=0.025)


def test_expected_species() -> None:
    widths = [expected_fwhm_pm(c, 3.9, beam_kev=200.0, probe_fwhm_pm=80.0) for c in (SR, TIO)]
    assert widths[0] - widths[1] == pytest.approx(0.5, abs=0.15)
    peaks = [expected_intensity(c, 3.9, beam_kev=200.0, probe_fwhm_pm=80.0) for c in (SR, TIO)]
    print(f"Sr - Ti/O {widths[0] - widths[1]:+.2f} pm, intensities 1 : {peaks[1] / peaks[0]:.3f}")
    assert peaks[0] / peaks[1] == pytest.approx(2.5, abs=0.1)


def test_object_function_without_screening_is_that_of_a_point() -> None:
    """Near the nucleus O = Z^2 / rho^2 (an unscreened point charge); far off it dies within the adiabatic range."""
    close = object_function("Au", 0.05, 4.0, 300.0)
    print(f"O(0.05 pm) of gold over Z^2 / rho^2: {close / (79**2 / 0.05**2):.4f}")
    assert close == pytest.approx(79**2 / 0.05**2, rel=0.05)
    near, far = object_function("C", np.array([40.0, 400.0]), 4.0, 300.0)
    assert far < 1e-6 * near
    for symbol in ("C", "Sr", "Au"):
        assert 3.0 < radiation_logarithm(symbol, 4.0, 300.0) < 5.5
    assert counts_needed(100.0, 0.04) == pytest.approx(2e7, rel=0.5)
    with pytest.raises(OutOfRangeError, match="Xx"):
        object_function("Xx", 1.0, 4.0, 300.0)
