"""Focus from noisy through-focus series whose true focus is known."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError
from exitwave.analysis.sharpness import band_power, brenner, fit_focus, normalised_variance, tenengrad

DEPTH_UM = 8.1
MEASURES = [band_power, brenner, tenengrad, normalised_variance]


def series(
    scenes: ModuleType, rng: np.random.Generator, z_um: np.ndarray, focus_um: float, counts: float, drift: bool = True
) -> list[np.ndarray]:
    """Exposures of a star at each z, with the beam drifting by some per cent."""
    star = scenes.star(256, 36, supersample=2)
    images = []
    for i, z in enumerate(z_um):
        sharp = scenes.defocused_lens(star, z - focus_um, cutoff_per_um=40.0, depth_um=DEPTH_UM)
        beam = 1.0 - 0.01 * i if drift else 1.0
        images.append(rng.poisson(np.maximum(sharp, 0) * counts * beam).astype(np.uint16))
    return images


@pytest.mark.parametrize(("points", "half_range"), [(11, 40.0), (21, 50.0)])
def test_focus_to_a_small_part_of_the_depth(
    rng: np.random.Generator, scenes: ModuleType, points: int, half_range: float
) -> None:
    z = np.linspace(-half_range, half_range, points)
    for true in (-9.3, 0.0, 6.7):
        fit = fit_focus(z, [band_power(image) for image in series(scenes, rng, z, true, 1000)])
        assert abs(fit.best - true) < 0.15 * DEPTH_UM
        assert abs(fit.best - true) < 4 * fit.best_sd + 0.3
        assert not fit.double_peaked


def test_phase_contrast_of_gold_does_not_mislead(rng: np.random.Generator, scenes: ModuleType) -> None:
    z, true = np.linspace(-45, 45, 19), 5.5
    images = scenes.gold_star_through_focus(z - true)
    fit = fit_focus(z, [band_power(rng.poisson(image * 1000)) for image in images])
    # the sharpest image is a depth of focus and more away, and the symmetry is not
    assert abs(fit.highest - true) > DEPTH_UM
    assert abs(fit.best - true) < 0.5 * DEPTH_UM
    assert fit.symmetry > 0.95


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_peaks_in_focus(rng: np.random.Generator, scenes: ModuleType, measure) -> None:
    z = np.linspace(-40, 40, 11)
    values = [measure(image) for image in series(scenes, rng, z, 5.0, 20000)]
    assert abs(fit_focus(z, values).best - 5.0) < 0.5 * DEPTH_UM


def test_band_power_does_not_count_noise(rng: np.random.Generator, scenes: ModuleType) -> None:
    star = scenes.lens(scenes.star(256, 36, supersample=2), 40.0)
    clean = band_power(star)
    noisy = [band_power(rng.poisson(star * n)) for n in (50, 500)]
    assert noisy == pytest.approx([clean, clean], rel=0.05)
    assert normalised_variance(rng.poisson(star * 50)) > 1.3 * normalised_variance(star)
    flat = [band_power(rng.poisson(100.0, (256, 256))) for _ in range(4)]
    assert abs(np.mean(flat)) < 0.01 * clean


@settings(max_examples=20, deadline=None)
@given(st.floats(-20, 20), st.floats(8, 25), st.floats(0.1, 1e6), st.floats(0, 1e3))
def test_exact_peak_is_recovered(centre: float, width: float, height: float, base: float) -> None:
    z = np.linspace(-50, 50, 17)
    fit = fit_focus(z, base * height + height * np.exp(-0.5 * ((z - centre) / width) ** 2))
    assert fit.best == pytest.approx(centre, abs=0.15)
    order = np.argsort(np.sin(z))  # any order
    again = fit_focus(z[order], (base * height + height * np.exp(-0.5 * ((z - centre) / width) ** 2))[order])
    assert again.best == pytest.approx(fit.best, abs=1e-6)


def test_focus_outside_the_range_is_refused() -> None:
    z = np.linspace(0, 100, 11)
    with pytest.raises(FitError, match="high end"):
        fit_focus(z, np.exp(-(((z - 120) / 40) ** 2)))
    with pytest.raises(FitError, match="low end"):
        fit_focus(z, np.exp(-(((z + 20) / 40) ** 2)))


def test_noise_is_no_focus(rng: np.random.Generator) -> None:
    refused = 0
    for _ in range(40):
        try:
            fit_focus(np.arange(15.0), rng.normal(1, 0.1, 15))
        except FitError:
            refused += 1
    assert refused >= 30


def test_two_peaks_are_told() -> None:
    z = np.linspace(-60, 60, 25)
    fit = fit_focus(z, np.exp(-(((z - 25) / 12) ** 2)) + 0.9 * np.exp(-(((z + 25) / 12) ** 2)))
    assert fit.double_peaked


def test_bad_input() -> None:
    with pytest.raises(ShapeError, match="five"):
        fit_focus([0, 1, 2], [1, 2, 1])
    with pytest.raises(OutOfRangeError, match="finite"):
        fit_focus(range(6), [1, 2, float("nan"), 2, 1, 1])
    with pytest.raises(OutOfRangeError, match="mean"):
        band_power(np.zeros((64, 64)))
    with pytest.raises(OutOfRangeError, match="band"):
        band_power(np.ones((64, 64)), band=(0.3, 0.2))


@settings(max_examples=30, deadline=None)
@given(st.floats(-25, 25), st.floats(0.4, 1.0), st.booleans())
def test_two_unlike_peaks_are_answered_by_their_middle(centre: float, lesser: float, left: bool) -> None:
    # Phase contrast of a gold star: no peak in focus, one on either side, of unlike height; the range off centre.
    z = np.linspace(-56, 56, 25)
    low, high = (1.0, lesser) if left else (lesser, 1.0)
    peaks = [h * np.exp(-0.5 * ((z - centre - side) / 5.5) ** 2) for h, side in ((low, -16), (high, 16))]
    curve = 0.2 + np.add(*peaks)
    fit = fit_focus(z, curve)
    assert fit.best == pytest.approx(centre, abs=1.5)
    assert abs(fit.highest - centre) > 12, "the highest peak is not the focus"
