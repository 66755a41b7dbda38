"""The power spectrum with its noise from two halves: spectra of signal and noise are known here."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError
from exitwave.analysis.resolution import find_star_centre, power_spectrum, siemens_star

PIXEL = 10.0
SIZE = 384
SIGNAL_PER_UM = 15.0


def field(shape: tuple[int, int], amplitude: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian field whose power spectrum is amplitude^2."""
    return np.fft.ifft2(np.fft.fft2(rng.normal(0.0, 1.0, shape)) * amplitude).real


def halves(
    radius: np.ndarray, colour: np.ndarray, strength: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One signal of power exp(-(f / 15)^2), and noise of power 2 strength^2 colour^2 in each half."""
    signal = field(radius.shape, np.exp(-((radius / SIGNAL_PER_UM) ** 2) / 2.0), rng)
    first, second = (signal + math.sqrt(2.0) * strength * field(radius.shape, colour, rng) for _ in range(2))
    return first, second


@pytest.mark.parametrize("colour_per_um", [math.inf, 25.0])
@pytest.mark.parametrize("snr", [1.0, 0.414])
def test_the_cutoff_is_where_signal_over_noise_meets_the_criterion(
    colour_per_um: float, snr: float, rng: np.random.Generator, scenes: ModuleType
) -> None:
    radius = scenes.radius_per_um((SIZE, SIZE))
    strength = 0.3
    colour = np.exp(-((radius / colour_per_um) ** 2) / 2.0)
    spectrum = power_spectrum(halves(radius, colour, strength, rng), PIXEL, noise="halves", snr=snr)
    # exp(-f^2 / 15^2) = snr 0.09 exp(-f^2 / colour^2)
    expected = math.sqrt(-math.log(snr * strength**2) / (SIGNAL_PER_UM**-2 - colour_per_um**-2))
    assert spectrum.cutoff_per_um == pytest.approx(expected, abs=3.0 * spectrum.cutoff_sd_per_um)
    assert spectrum.cutoff_sd_per_um < 0.1 * expected
    assert spectrum.limited_by == "noise"


@pytest.mark.parametrize("colour_per_um", [math.inf, 25.0])
def test_the_cutoff_is_where_power_stops_standing_out(
    colour_per_um: float, rng: np.random.Generator, scenes: ModuleType
) -> None:
    radius = scenes.radius_per_um((SIZE, SIZE))
    colour = np.exp(-((radius / colour_per_um) ** 2) / 2.0)
    strength, n_rings = 0.3, 60
    spectrum = power_spectrum(halves(radius, colour, strength, rng), PIXEL, noise="halves", n_rings=n_rings)
    # the Hann window leaves 1 / (35/18)^2 of a ring's pi r dr coefficients independent
    f = spectrum.frequency_per_um
    width = 50.0 / n_rings
    n = math.pi * f * width * (SIZE * PIXEL * 1e-3) ** 2 / (35.0 / 18.0) ** 2
    ratio = np.exp(-(f**2) * (SIGNAL_PER_UM**-2 - colour_per_um**-2)) / strength**2
    expected = float(f[np.flatnonzero(np.log1p(ratio) > 3.0 * np.sqrt(2.0 / n))[-1]])
    assert spectrum.cutoff_per_um == pytest.approx(expected, abs=3.0 * spectrum.cutoff_sd_per_um + width)


@pytest.mark.parametrize("end_per_um", [10.0, 25.0])
def test_the_stated_scatter_of_the_cutoff_is_the_real_one(
    end_per_um: float, rng: np.random.Generator, scenes: ModuleType
) -> None:
    # a steep end, and one so shallow that single rings stand above the criterion by chance over some 10 /um
    radius = scenes.radius_per_um((256, 256))
    shape = (1.0 if end_per_um < 20.0 else 0.4) * np.exp(-((radius / end_per_um) ** 2))
    found = []
    for _ in range(40):
        signal = field(radius.shape, np.sqrt(shape), rng)
        pair = tuple(signal + rng.normal(0.0, math.sqrt(0.5), radius.shape) for _ in range(2))
        found.append(power_spectrum((pair[0], pair[1]), PIXEL, noise="halves"))
    real = float(np.std([one.cutoff_per_um for one in found], ddof=1))
    stated = float(np.sqrt(np.mean([one.cutoff_sd_per_um**2 for one in found])))
    print(f"cut-off {np.mean([one.cutoff_per_um for one in found]):.2f}, scatter {real:.2f}, stated {stated:.2f} /um")
    assert 0.6 * real < stated < 1.8 * real


def test_the_stated_scatter_of_the_ratio_is_the_real_one(rng: np.random.Generator, scenes: ModuleType) -> None:
    radius = scenes.radius_per_um((256, 256))
    colour = np.exp(-((radius / 40.0) ** 2) / 2.0)
    ratio = np.exp(-(radius**2) * (SIGNAL_PER_UM**-2 - 40.0**-2)) / 0.25
    pulls = []
    for _ in range(20):
        found = power_spectrum(halves(radius, colour, 0.5, rng), PIXEL, noise="halves")
        expected = np.interp(found.frequency_per_um, radius[0, :128], ratio[0, :128])
        # the signal is drawn as well, and its own scatter comes on top
        sd = np.hypot(found.signal_to_noise_sd, expected * found.power_sd / found.noise_power)
        pulls.append(((found.signal_to_noise - expected) / sd)[10:])
    # a little smaller than stated: of the neighbours that the window ties together some lie in the next ring
    assert np.std(pulls) == pytest.approx(0.9, abs=0.2)
    assert abs(np.mean(pulls)) < 0.15


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), colour_per_um=st.sampled_from([15.0, 25.0, 60.0, 1e6]))
def test_noise_of_any_colour_claims_nothing(seed: int, colour_per_um: float) -> None:
    rng = np.random.default_rng(seed)
    f = np.fft.fftfreq(128, PIXEL * 1e-3)
    colour = np.exp(-((np.hypot(f[:, None], f[None, :]) / colour_per_um) ** 2) / 2.0)
    first, second = (field(colour.shape, colour, rng) for _ in range(2))
    with pytest.raises(FitError, match="no signal"):
        power_spectrum((first, second), PIXEL, noise="halves")


def test_a_white_floor_takes_coloured_noise_for_signal(rng: np.random.Generator, scenes: ModuleType) -> None:
    radius = scenes.radius_per_um((SIZE, SIZE))
    colour = np.exp(-((radius / 40.0) ** 2) / 2.0)
    pair = halves(radius, colour, 0.5, rng)
    honest = power_spectrum(pair, PIXEL, noise="halves")
    fooled = power_spectrum(0.5 * (pair[0] + pair[1]), PIXEL)
    assert fooled.noise == "floor"
    assert fooled.half_period_nm < 0.7 * honest.half_period_nm


def test_halves_and_floor_are_not_mixed_up(rng: np.random.Generator) -> None:
    image = rng.normal(0.0, 1.0, (64, 64))
    with pytest.raises(ShapeError, match="takes two images"):
        power_spectrum(image, PIXEL, noise="halves")
    with pytest.raises(ShapeError, match="takes one image"):
        power_spectrum((image, image), PIXEL)
    with pytest.raises(ShapeError, match="differ"):
        power_spectrum((image, image[:50]), PIXEL, noise="halves")
    with pytest.raises(ShapeError, match="halves"):
        power_spectrum(image, PIXEL, snr=1.0)
    with pytest.raises(OutOfRangeError, match="snr"):
        power_spectrum((image, image), PIXEL, noise="halves", snr=-1.0)


@pytest.mark.parametrize("centre", [(191.5, 191.5), (203.0, 140.0)])
def test_marks_around_the_centre_do_not_hide_it(
    centre: tuple[float, float], rng: np.random.Generator, scenes: ModuleType
) -> None:
    scene = scenes.star(SIZE, centre=centre)
    y, x = np.mgrid[:SIZE, :SIZE]
    radius = np.hypot(y - centre[0], x - centre[1])
    scene[radius < 22] = 1.0
    for mark in (40.0, 72.0, 130.0):
        scene[np.abs(radius - mark) < 3.0] = 1.0
    image = scenes.photons(scenes.lens(scene, 30.0), 1000, rng)
    assert math.dist(find_star_centre(image), centre) < 2.0
    contrast = siemens_star(image, PIXEL)
    assert contrast.n_spokes == 36
    assert math.dist(contrast.centre_yx, centre) < 0.2
    # a mark has no spokes; the walk to the centre goes past it, to the rim of the star
    assert contrast.smallest_resolved_nm == pytest.approx(math.pi * 22.0 / 36.0 * PIXEL, rel=0.1)
