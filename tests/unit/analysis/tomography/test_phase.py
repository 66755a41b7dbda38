"""Paganin's filter against a wave propagated by another route; the warning of thick specimens."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitwave.analysis.errors import OutOfRangeError, ShapeError
from exitwave.analysis.tomography.phase import DepthOfFocusWarning, depth_of_focus_warning, paganin

PIXEL_NM, ENERGY_KEV, DELTA_BETA = 40.0, 8.0, 50.0
WAVELENGTH_UM = 0.154980e-3


def soft_ball(n: int = 256) -> np.ndarray:
    """mu t of something round and smooth."""
    y, x = np.mgrid[:n, :n] - 0.5 * (n - 1)
    return 0.2 * np.exp(-((x / 30) ** 2 + (y / 22) ** 2))


def propagated(mu_t: np.ndarray, z_um: float) -> np.ndarray:
    """Intensity after Fresnel propagation of the exit wave exp(-(mu t / 2) (1 + i delta / beta))."""
    wave = np.exp(-0.5 * mu_t * (1 + 1j * DELTA_BETA))
    f = np.fft.fftfreq(len(mu_t), PIXEL_NM * 1e-3)
    kernel = np.exp(-1j * np.pi * WAVELENGTH_UM * z_um * (f[:, None] ** 2 + f[None, :] ** 2))
    return np.abs(np.fft.ifft2(np.fft.fft2(wave) * kernel)) ** 2


def test_thickness_comes_back_from_a_defocused_picture():
    truth = soft_ball()
    picture = propagated(truth, 100.0)
    blurred = np.abs(-np.log(picture) - truth).max()
    found = paganin(picture, pixel_nm=PIXEL_NM, energy_kev=ENERGY_KEV, defocus_um=100.0, delta_over_beta=DELTA_BETA)
    assert blurred > 0.01
    assert np.abs(found - truth).max() < 0.1 * blurred


def test_in_focus_nothing_changes():
    picture = np.exp(-soft_ball())[None].repeat(2, axis=0)
    found = paganin(picture, pixel_nm=PIXEL_NM, energy_kev=ENERGY_KEV, defocus_um=0.0, delta_over_beta=DELTA_BETA)
    np.testing.assert_allclose(found, -np.log(picture), atol=1e-5)


def test_bad_input_is_refused_by_name():
    good = np.ones((16, 16))
    known = {"pixel_nm": PIXEL_NM, "energy_kev": ENERGY_KEV, "defocus_um": 1.0, "delta_over_beta": 10.0}
    with pytest.raises(ShapeError):
        paganin(good[0], **known)
    with pytest.raises(OutOfRangeError, match="negative"):
        paganin(-good, **known)
    with pytest.raises(OutOfRangeError, match="defocus"):
        paganin(good, **known | {"defocus_um": -1.0})
    with pytest.raises(OutOfRangeError, match="pixel"):
        paganin(good, **known | {"pixel_nm": 0.0})


@given(st.floats(0.1, 1e3), st.floats(0.1, 1e3))
def test_the_warning_comes_with_the_thick_ones_only(thickness, depth):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        text = depth_of_focus_warning(thickness, depth)
    assert (text is not None) == (thickness > depth) == bool(caught)
    if text is not None:
        assert caught[0].category is DepthOfFocusWarning
        assert f"{depth:.3g} um" in text
