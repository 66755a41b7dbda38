"""All columns at once on a common pedestal: unbiased where columns overlap, with errors that are the scatter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from exitwave.analysis.columns import (
    Column,
    aperture_transfer,
    expected_map,
    fit_columns_jointly,
    fit_lattice,
    intensity_ratio,
    minor_sites,
)
from exitwave.analysis.eds import EnergyWindow
from exitwave.analysis.errors import OutOfRangeError, ShapeError

Make = Callable[..., Any]


def _with_centres(truth: Any, height: float, fwhm: float) -> np.ndarray:
    """Add weak columns in the middles of the cells."""
    y, x = np.indices(truth.expected.shape)
    image = truth.expected.copy()
    side = round(len(truth.positions) ** 0.5)
    grid = truth.positions.reshape(side, side, 2)
    for cy, cx in (0.5 * (grid[:-1, :-1] + grid[1:, 1:])).reshape(-1, 2):
        image += height * np.exp(-4 * np.log(2) * ((y - cy) ** 2 + (x - cx) ** 2) / fwhm**2)
    return image


def test_overlapping_columns_with_others_between(scene: Make) -> None:
    """A perovskite's proportions: spacing 2.4 widths, oxygen between; widths and heights come out, pulls are normal."""
    truth = scene(6, spacing=8.1, fwhm=(3.65, 3.15), height=(190.0, 138.0), pedestal=4.0, tilt=0.0)
    expected = _with_centres(truth, 16.0, 3.15)
    minor = minor_sites(fit_lattice(truth.positions), truth.positions, expected.shape, centred=True)
    assert len(minor) >= 25
    rng = np.random.default_rng(21)
    inner = np.array([i for i in range(36) if 1 <= i // 6 <= 4 and 1 <= i % 6 <= 4])
    pulls, means, sds, ratios = [], [], [], []
    groups = np.full(36, -1)
    groups[inner] = truth.kind[inner]
    weight = np.zeros(36)
    weight[inner] = 1.0 / inner.size
    for _ in range(40):
        fit = fit_columns_jointly(rng.poisson(expected), truth.positions, minor=minor)
        assert fit.ok.all()
        pulls.append(((fit.fwhm - truth.fwhm) / fit.fwhm_se)[inner])
        means.append(float(weight @ (fit.fwhm - truth.fwhm)))
        sds.append(float(weight @ fit.width_covariance @ weight) ** 0.5)
        ratios.append(intensity_ratio(fit, groups))
    z = np.array(pulls)
    assert 0.60 < (np.abs(z) < 1).mean() < 0.76
    # the mean of many is known as well as the whole covariance says, not as their own errors do
    assert abs(np.mean(means)) < 4 * np.mean(sds) / len(means) ** 0.5
    assert 0.7 < np.std(means) / np.mean(sds) < 1.4
    ratio, stated = np.array([one.ratio for one in ratios]), float(np.mean([one.se for one in ratios]))
    print(f"ratio of heights {ratio.mean():.3f}, scatter {ratio.std():.3f}, stated {stated:.3f}; truth {190 / 138:.3f}")
    assert abs(ratio.mean() - 190 / 138) < 4 * stated / len(ratio) ** 0.5
    assert 0.7 < ratio.std() / stated < 1.4


def test_what_is_known_is_taken_out(scene: Make) -> None:
    truth = scene(4, spacing=12.0, fwhm=5.0, height=(120.0, 90.0), pedestal=8.0)
    narrow = scene(4, spacing=12.0, fwhm=3.0, height=(30.0, 0.0), pedestal=0.0)
    counts = np.random.default_rng(22).poisson(truth.expected + narrow.expected)
    with_it = fit_columns_jointly(counts, truth.positions, known=narrow.expected)
    without = fit_columns_jointly(counts, truth.positions)
    bright = truth.kind == 0
    assert abs((with_it.fwhm - 5.0)[bright].mean()) < 0.1
    assert (without.fwhm - 5.0)[bright].mean() < -0.15


def test_bad_input(scene: Make) -> None:
    truth = scene(3)
    with pytest.raises(ShapeError, match="expected"):
        fit_columns_jointly(np.zeros(4), truth.positions)
    with pytest.raises(OutOfRangeError, match="raw map"):
        fit_columns_jointly(-truth.expected, truth.positions)
    with pytest.raises(ShapeError, match="known"):
        fit_columns_jointly(truth.expected, truth.positions, known=np.zeros((2, 2)))


def test_aperture_and_rings() -> None:
    """The first zero of an aperture's probe is at 0.61 wavelengths over the angle; its rings widen no lone column."""
    wavelength_pm, angle = 2.5079, 25e-3  # 200 kV
    cut = 2 * angle / wavelength_pm
    assert aperture_transfer([0.0, cut, 2 * cut], 200.0, 25.0) == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)
    k = np.linspace(0.0, cut, 4001)
    transfer = aperture_transfer(k, 200.0, 25.0)
    from scipy.special import j0

    at = np.array([0.30, 0.61]) * wavelength_pm / angle
    values = [np.trapezoid(transfer * k * j0(2 * np.pi * k * r), k) for r in (0.0, *at)]
    assert abs(values[2] / values[0]) < 1e-3
    assert 0.2 < values[1] / values[0] < 0.6
    # defocused, beside the Fourier transform of a pupil with that phase
    n, defocus_nm = 1024, 2.0
    theta = wavelength_pm * np.hypot(*np.meshgrid(*[np.fft.fftfreq(n, 8.0)] * 2))
    pupil = (theta <= angle) * np.exp(-1j * np.pi / wavelength_pm * 1e3 * defocus_nm * theta**2)
    spectrum = np.fft.fft2(np.abs(np.fft.ifft2(pupil)) ** 2)[0].real
    per_pm = np.abs(np.fft.fftfreq(n, 8.0))
    seen = aperture_transfer(per_pm, 200.0, 25.0, defocus_nm)
    np.testing.assert_allclose(seen, spectrum / spectrum[0], atol=0.01)
    assert np.abs(seen - aperture_transfer(per_pm, 200.0, 25.0)).max() > 0.1
    sites, kinds = np.array([[20.0, 20.0], [20.0, 36.0]]), np.array([0, 1])
    columns = {0: Column.of("Sr", 0.62), 1: Column.of("O", 0.73)}
    image = expected_map(
        sites, kinds, columns, EnergyWindow(3.53, 4.29), (41, 57), pixel_pm=20.0, beam_kev=200.0, convergence_mrad=25.0,
        source_fwhm_pm=35.0,
    )  # fmt: skip
    assert image.argmax() == 20 * 57 + 20
    assert image[20, 36] / image[20, 20] == pytest.approx((8 / 38) ** 2, rel=0.4)
