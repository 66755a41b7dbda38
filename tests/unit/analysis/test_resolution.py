"""Resolution measures against images whose transfer function is known."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
import pytest

from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError
from exitwave.analysis.resolution import (
    edge_response,
    find_star_centre,
    fourier_ring_correlation,
    measure_resolution,
    power_spectrum,
    siemens_star,
)

PIXEL = 10.0
CUTOFF = 30.0  # /um: half period 16.7 nm, well inside the Nyquist frequency of 50 /um


@pytest.fixture(scope="module")
def sharp(scenes: ModuleType) -> np.ndarray:
    return scenes.lens(scenes.star(), CUTOFF)


def test_white_noise_has_flat_spectrum_of_its_variance(rng: np.random.Generator) -> None:
    noise = rng.normal(0, 0.05, (256, 300))
    spectrum = power_spectrum(noise + 5 * np.cos(np.arange(300) * 0.2), PIXEL)
    outer = spectrum.frequency_per_um > 10
    assert spectrum.noise == "floor"
    assert spectrum.noise_power == pytest.approx(np.full(len(spectrum.power), 0.05**2), rel=0.03)
    pull = (spectrum.power[outer] - 0.05**2) / spectrum.power_sd[outer]
    assert pull.std() == pytest.approx(1.0, abs=0.25)  # the stated scatter of a ring is the real one
    assert abs(pull.mean()) < 0.5


def test_cutoff_never_beyond_the_lens_and_follows_photons(
    sharp: np.ndarray, rng: np.random.Generator, scenes: ModuleType
) -> None:
    found = [
        power_spectrum(scenes.photons(sharp, n, rng), PIXEL, limit_nm=500 / CUTOFF).half_period_nm
        for n in (10, 100, 1000, 30000)
    ]
    assert found == sorted(found, reverse=True)
    assert found[-1] >= 500 / CUTOFF
    assert found[-1] == pytest.approx(500 / CUTOFF, rel=0.15)
    assert found[0] > 1.3 * found[-1]


def test_cutoff_uncertainty_is_honest(sharp: np.ndarray, rng: np.random.Generator, scenes: ModuleType) -> None:
    runs = [power_spectrum(scenes.photons(sharp, 300, rng), PIXEL) for _ in range(12)]
    values = np.array([run.half_period_nm for run in runs])
    stated = np.mean([run.half_period_sd_nm for run in runs])
    assert values.std(ddof=1) < 2.5 * stated
    assert stated < 0.1 * values.mean()


def test_a_worse_lens_is_coarser(rng: np.random.Generator, scenes: ModuleType) -> None:
    scene = scenes.star()
    fine = power_spectrum(scenes.photons(scenes.lens(scene, 30), 1000, rng), PIXEL)
    coarse = power_spectrum(scenes.photons(scenes.lens(scene, 15), 1000, rng), PIXEL)
    assert coarse.half_period_nm > 1.5 * fine.half_period_nm
    assert not fine.beyond_limit


def test_signal_up_to_the_pixel_is_said(rng: np.random.Generator, scenes: ModuleType) -> None:
    speckle = rng.normal(1, 0.3, (256, 256))
    speckle = scenes.through_lens(speckle, 1 / (1 + (scenes.radius_per_um((256, 256)) / 15) ** 2))
    spectrum = power_spectrum(speckle, PIXEL, noise_floor=1e-6, limit_nm=25.0)
    assert spectrum.limited_by == "pixel"
    assert spectrum.half_period_nm == pytest.approx(PIXEL)  # Nyquist and not better
    assert spectrum.beyond_limit


def test_dead_pixels_do_not_matter(sharp: np.ndarray, rng: np.random.Generator, scenes: ModuleType) -> None:
    image = scenes.photons(sharp, 1000, rng)
    whole = power_spectrum(image, PIXEL)
    holes = image.copy()
    holes[rng.integers(0, 384, 400), rng.integers(0, 384, 400)] = np.nan
    assert power_spectrum(holes, PIXEL).half_period_nm == pytest.approx(whole.half_period_nm, rel=0.08)
    with pytest.raises(ShapeError, match="not finite"):
        power_spectrum(np.full((64, 64), np.nan), PIXEL)


def test_pure_noise_has_no_cutoff(rng: np.random.Generator) -> None:
    with pytest.raises(FitError, match="no signal"):
        power_spectrum(rng.normal(1, 0.1, (256, 256)), PIXEL)
    with pytest.raises(OutOfRangeError, match="pixel"):
        power_spectrum(np.zeros((64, 64)), math.nan)


def test_ring_correlation_of_known_ratio(rng: np.random.Generator) -> None:
    # white signal of variance s2 and noise n2: expected correlation s2 / (s2 + n2) in every ring
    signal = rng.normal(0, 1, (256, 256))
    first, second = (signal + rng.normal(0, 0.7, signal.shape) for _ in range(2))
    frc = fourier_ring_correlation(first, second, PIXEL)
    pull = (frc.correlation[5:] - 1 / 1.49) / frc.correlation_sd[5:]
    assert pull.std() == pytest.approx(1.0, abs=0.3)
    assert frc.limited_by_pixel_one_seventh
    assert frc.one_seventh_nm == pytest.approx(PIXEL)


def test_ring_correlation_crosses_where_signal_fades(rng: np.random.Generator, scenes: ModuleType) -> None:
    f = scenes.radius_per_um((384, 384))
    signal = scenes.through_lens(rng.normal(0, 1, f.shape), np.exp(-((f / 20.0) ** 2) / 2))
    first, second = (signal + rng.normal(0, 0.3, signal.shape) for _ in range(2))
    frc = fourier_ring_correlation(first, second, PIXEL)
    # spectrum exp(-(f/20)^2) against 0.09: the correlation is 1/7 where it is 0.09 / 6
    crossing = 20 * math.sqrt(math.log(6 / 0.09))
    assert frc.one_seventh_nm == pytest.approx(500 / crossing, abs=3 * frc.one_seventh_sd_nm)
    assert frc.one_seventh_sd_nm < 1.0
    independent = fourier_ring_correlation(rng.normal(0, 1, (256, 256)), rng.normal(0, 1, (256, 256)), PIXEL)
    assert independent.half_bit_nm > 100
    with pytest.raises(ShapeError, match="differ"):
        fourier_ring_correlation(signal, signal[:200], PIXEL)


@pytest.mark.parametrize("angle", [3.0, -7.0, 87.0])
def test_edge_width_of_known_blur(rng: np.random.Generator, angle: float, scenes: ModuleType) -> None:
    from scipy.special import erf

    y, x = np.mgrid[:64, :64] - 31.3
    t = math.radians(angle)
    distance = x * math.cos(t) + y * math.sin(t)
    sigma = 1.8
    edge = 0.6 + 0.4 * 0.5 * (1 + erf(distance / sigma / math.sqrt(2)))
    response = edge_response(scenes.photons(edge, 5000, rng), PIXEL)
    expected = 2.354820045 * sigma * PIXEL
    assert response.fwhm_nm == pytest.approx(expected, abs=4 * response.fwhm_sd_nm)
    assert response.fwhm_sd_nm < 0.02 * expected
    assert response.rise_10_90_nm == pytest.approx(2.563103 * response.fwhm_nm / 2.354820, rel=1e-5)
    assert response.contrast == pytest.approx(0.4, abs=0.01)
    assert response.chi2_per_dof < 2
    assert response.line_spread.max() > 0


def test_no_edge_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(FitError, match="edge"):
        edge_response(rng.normal(1, 0.1, (64, 64)), PIXEL)


@pytest.mark.parametrize("centre", [(191.5, 191.5), (170.3, 215.8)])
def test_star_centre_and_spokes_are_found(
    rng: np.random.Generator, centre: tuple[float, float], scenes: ModuleType
) -> None:
    image = scenes.photons(scenes.lens(scenes.star(centre=centre), CUTOFF), 300, rng)
    rough = find_star_centre(image)
    assert math.dist(rough, centre) < 2.0
    contrast = siemens_star(image, PIXEL)
    assert contrast.n_spokes == 36
    assert math.dist(contrast.centre_yx, centre) < 0.15


def test_ring_contrast_is_the_transfer_function(
    sharp: np.ndarray, rng: np.random.Generator, scenes: ModuleType
) -> None:
    contrast = siemens_star(scenes.photons(sharp, 2000, rng), PIXEL, n_spokes=36, centre_yx=(191.5, 191.5))
    frequency = 500 / contrast.half_period_nm
    # a square wave between 0.6 and 1.0 has the fundamental 2/pi 0.4
    expected = 2 / math.pi * 0.4 * scenes.incoherent_transfer(frequency, CUTOFF)
    away = contrast.half_period_nm > 25  # nearer the centre the waves are curved within the lens's reach
    pull = (contrast.signed_amplitude - expected)[away] / np.hypot(contrast.amplitude_sd[away], 0.01 * expected[away])
    assert np.sqrt((pull**2).mean()) < 2.0
    assert not contrast.reversed_nm
    assert contrast.smallest_resolved_nm == pytest.approx(500 / (0.75 * CUTOFF), rel=0.2)


def test_defocus_reverses_contrast_and_the_psd_does_not_see_it(rng: np.random.Generator, scenes: ModuleType) -> None:
    scene = scenes.star(spokes=36)
    depth = 8.0
    blurred = scenes.defocused_lens(scene, 3 * depth, cutoff_per_um=CUTOFF, depth_um=depth)
    sharp = scenes.lens(scene, CUTOFF)
    in_focus = measure_resolution(scenes.photons(sharp, 1000, rng), PIXEL, n_spokes=36)
    out = measure_resolution(scenes.photons(blurred, 1000, rng), PIXEL, n_spokes=36, centre_yx=(191.5, 191.5))
    assert in_focus.star is not None
    assert out.star is not None
    assert out.star.reversed_nm
    assert not in_focus.star.reversed_nm
    assert out.star.smallest_resolved_nm > 1.5 * in_focus.star.smallest_resolved_nm
    assert "REVERSED" in out.words()
    assert "blind to defocus" in in_focus.words()
    assert out.figures()["star_spokes"] == 36


def test_report_says_when_there_is_no_star(rng: np.random.Generator, scenes: ModuleType) -> None:
    speckle = scenes.lens(rng.normal(1, 0.3, (256, 256)), CUTOFF)
    pair = tuple(speckle + rng.normal(0, 0.001, speckle.shape) for _ in range(2))
    report = measure_resolution((pair[0] + pair[1]) / 2, PIXEL, exposures=pair)
    assert report.star is None
    assert "No ring contrast" in report.words()
    assert report.frc is not None
    assert report.frc.half_bit_nm == pytest.approx(500 / CUTOFF, rel=0.15)
    assert report.resolution_nm == report.figures()["psd_half_period_nm"]
