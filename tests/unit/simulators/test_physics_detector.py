"""Scintillator, objective and sensor."""

import numpy as np
import pytest

from exitwave.simulators.physics.detector import (
    GAIN_MODES,
    LIGHT_NM,
    OBJECTIVES,
    Objective,
    Scintillator,
    Sensor,
    _defocused_mtf,
    electrons_per_photon,
    expose,
    spread_kernel,
)

POINT = np.array([[1.0]], np.float32)
PLAIN = Sensor(electrons_per_adu=1.0, read_noise_e=0.0, full_well_e=1e9, offset_adu=0.0, dark_e_s=0.0)


def frame(mean, *, sensor=PLAIN, electrons=1.0, spread=POINT, shape=(256, 256), number=0, dark_map=None, **more):
    pad = spread.shape[0] // 2
    light = None if mean is None else np.full((shape[0] + 2 * pad, shape[1] + 2 * pad), mean, np.float32)
    return expose(
        light,
        1.0,
        more.pop("exposure_s", 1.0),
        spread=spread,
        electrons=electrons,
        sensor=sensor,
        gain_map=np.ones(shape, np.float32),
        dark_map=np.ones(shape, np.float32) if dark_map is None else dark_map,
        zingers_per_pixel_s=more.pop("zingers", 0.0),
        seed=4,
        frame=number,
    )


def test_objective_in_focus_is_the_textbook_mtf():
    limit = 2.0 * 0.3 * 1e3 / LIGHT_NM
    s = np.linspace(0.0, 1.0, 11)
    exact = 2.0 / np.pi * (np.arccos(s) - s * np.sqrt(1.0 - s * s))
    np.testing.assert_allclose(_defocused_mtf(s * limit, 0.3, 0.0), exact, atol=1e-3)


def test_defocus_lowers_the_mtf():
    f = np.array([0.3])
    assert _defocused_mtf(f, 0.3, 6.0)[0] < _defocused_mtf(f, 0.3, 0.0)[0] - 0.02


def test_spread_keeps_the_light_and_stays_small():
    for name, (objective, screen) in OBJECTIVES.items():
        kernel = spread_kernel(objective, screen, 8.0, 6.5 / objective.magnification)
        assert kernel.sum() == pytest.approx(1.0, rel=1e-5)
        assert kernel[3, 3] == kernel.max(), name
        assert kernel[3, 3] > 0.2, name


def test_light_budget_of_the_ten_fold_objective():
    objective, screen = OBJECTIVES["10x"]
    assert 0.35 < screen.absorbed(8.0) < 0.5
    # 8 keV x 25 photons/keV x (NA / 2n)^2 x 0.8 x 0.82: about one and a half electrons
    estimate = 8.0 * 25.0 * (0.4 / 2.0 / 1.84) ** 2 * 0.8 * 0.82
    assert electrons_per_photon(objective, screen, 8.0, 0.82) == pytest.approx(estimate, rel=0.02)


def test_two_poisson_steps_add_their_variances():
    # n photons, g electrons each: variance g n + g^2 n
    for gain in (0.9, 4.0):
        counts = frame(100.0, electrons=gain).astype(float)
        assert counts.mean() == pytest.approx(100.0 * gain, rel=0.01)
        assert counts.var() == pytest.approx(100.0 * gain * (1.0 + gain), rel=0.03)


def test_spread_makes_neighbours_alike_but_keeps_the_mean():
    spread = np.full((3, 3), 1.0 / 9.0, np.float32)
    counts = frame(100.0, electrons=50.0, spread=spread).astype(float)
    assert counts.mean() == pytest.approx(5000.0, rel=0.01)
    neighbours = np.corrcoef(counts[:, :-1].ravel(), counts[:, 1:].ravel())[0, 1]
    assert neighbours == pytest.approx(6.0 / 9.0 * 1.0 / (1.0 + 9.0 / 50.0), abs=0.05)


def test_dark_frame_has_offset_and_read_noise():
    sensor = GAIN_MODES["16-bit (low noise & high well capacity)"]
    dark = frame(None, sensor=sensor, exposure_s=0.01).astype(float)
    assert dark.mean() == pytest.approx(sensor.offset_adu, abs=0.3)
    quantised = np.hypot(sensor.read_noise_e / sensor.electrons_per_adu, 12**-0.5)
    assert dark.std() == pytest.approx(quantised, rel=0.03)


def test_hot_pixels_grow_with_exposure():
    dark_map = np.ones((64, 64), np.float32)
    dark_map[5, 6] = 1000.0
    sensor = GAIN_MODES["12-bit (low noise)"]
    short, long = (
        frame(None, sensor=sensor, shape=(64, 64), dark_map=dark_map, exposure_s=t).astype(int) for t in (0.1, 5.0)
    )
    assert long[5, 6] - short[5, 6] > 1000
    assert np.median(long) - np.median(short) < 10


def test_saturation_by_full_well_and_by_bits():
    twelve = GAIN_MODES["12-bit (high well capacity)"]
    assert frame(1e6, sensor=twelve).max() <= 4095
    sixteen = GAIN_MODES["16-bit (low noise & high well capacity)"]
    full = frame(1e6, sensor=sixteen).astype(float)
    assert full.mean() == pytest.approx(100.0 + 30000.0 / 0.46, rel=1e-3)


def test_zingers_come_at_their_rate():
    counts = sum(int((frame(None, zingers=1e-4, number=n) > 100).sum()) for n in range(40))
    assert counts == pytest.approx(40 * 256 * 256 * 1e-4, rel=0.15)


def test_thicker_screen_absorbs_more():
    thin, thick = Scintillator(5.0), Scintillator(50.0)
    assert thin.absorbed(8.0) < thick.absorbed(8.0) < 1.0
    assert Objective(2.0, 0.08).collected < Objective(10.0, 0.3).collected
