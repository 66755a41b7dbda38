"""Fourier shell correlation of volumes whose signal and noise are known."""

from __future__ import annotations

import numpy as np
import pytest

from exitwave.analysis.errors import OutOfRangeError, ShapeError
from exitwave.analysis.resolution import cosine_mask, fourier_shell_correlation

SIZE = 72
VOXEL = 30.0


def radius(shape: tuple[int, int, int]) -> np.ndarray:
    """Frequency of each coefficient of ``rfftn``, cycles per voxel."""
    r, z, x = np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), np.fft.rfftfreq(shape[2])
    return np.sqrt(r[:, None, None] ** 2 + z[None, :, None] ** 2 + x[None, None, :] ** 2)


def coloured(amplitude: np.ndarray, shape: tuple[int, int, int], random: np.random.Generator) -> np.ndarray:
    """Gaussian field whose power spectrum is amplitude^2."""
    return np.fft.irfftn(np.fft.rfftn(random.normal(size=shape)) * amplitude, shape, axes=(0, 1, 2))


def halves(shape: tuple[int, int, int], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One signal of power exp(-(f / 0.15)^2) in two volumes of noise power 0.04, and the frequencies."""
    f = radius(shape)
    signal = coloured(np.exp(-0.5 * (f / 0.15) ** 2), shape, random)
    first, second = (signal + random.normal(0.0, 0.2, shape) for _ in range(2))
    return first, second, f


@pytest.mark.parametrize("mask", ["none", "cylinder", "sphere"])
@pytest.mark.parametrize("shape", [(SIZE, SIZE, SIZE), (48, 80, 65)])
def test_the_curve_is_signal_over_signal_and_noise(
    mask: str, shape: tuple[int, int, int], rng: np.random.Generator
) -> None:
    first, second, _ = halves(shape, rng)
    found = fourier_shell_correlation(first, second, VOXEL, mask=mask)
    f = found.frequency_per_um * VOXEL * 1e-3
    power = np.exp(-((f / 0.15) ** 2))
    expected = power / (power + 0.04)
    sd = (1.0 - expected**2) / np.sqrt(2.0) * found.correlation_sd / ((1.0 - found.correlation**2) / np.sqrt(2.0))
    off = ((found.correlation - expected) / sd)[3:]
    assert np.sqrt(np.mean(off**2)) == pytest.approx(1.0, abs=4.0 / np.sqrt(2.0 * off.size))  # its sd is what it is
    # half-bit: the curve of theory meets the threshold of theory
    gap = expected - found.half_bit
    crossing = np.interp(0.0, -gap[3:], f[3:])
    assert found.half_bit_nm == pytest.approx(VOXEL / (2.0 * crossing), abs=4.0 * found.half_bit_sd_nm)
    assert not found.limited_by_pixel_half_bit


def test_what_is_alike_correlates_and_what_is_independent_does_not(rng: np.random.Generator) -> None:
    first, second = rng.normal(size=(2, SIZE, SIZE, SIZE))
    alike = fourier_shell_correlation(first, first, VOXEL)
    np.testing.assert_allclose(alike.correlation[1:], 1.0, atol=1e-6)
    assert alike.limited_by_pixel_half_bit
    assert alike.half_bit_nm == pytest.approx(VOXEL)
    other = fourier_shell_correlation(first, second, VOXEL)
    off = (other.correlation / other.correlation_sd)[2:]
    assert np.sqrt(np.mean(off**2)) == pytest.approx(1.0, abs=4.0 / np.sqrt(2.0 * off.size))
    assert other.half_bit_nm > 5.0 * VOXEL
    opposite = fourier_shell_correlation(first, 3.0 - 2.0 * first, VOXEL)
    np.testing.assert_allclose(opposite.correlation[1:], -1.0, atol=1e-6)


def test_it_is_the_sum_that_its_definition_says(rng: np.random.Generator) -> None:
    first, second, _ = halves((24, 30, 28), rng)
    found = fourier_shell_correlation(first, second, 1000.0, mask="none", n_shells=11)
    fa, fb = np.fft.fftn(first - first.mean()), np.fft.fftn(second - second.mean())
    r, z, x = (np.fft.fftfreq(n) for n in first.shape)
    f = np.sqrt(r[:, None, None] ** 2 + z[None, :, None] ** 2 + x[None, None, :] ** 2)
    for n in range(1, 11):
        shell = (f >= n / 22.0) & (f < (n + 1) / 22.0)
        cross = (fa[shell] * fb[shell].conj()).sum().real
        norm = np.sqrt((np.abs(fa[shell]) ** 2).sum() * (np.abs(fb[shell]) ** 2).sum())
        assert found.correlation[n] == pytest.approx(cross / norm, abs=2e-6)
        assert found.frequency_per_um[n] == pytest.approx(f[shell].mean(), abs=1e-6)


def test_masks_fall_to_nothing_at_the_border() -> None:
    for kind in ("cylinder", "sphere"):
        mask = cosine_mask((40, 50, 50), kind, edge=0.2)
        assert mask.shape == (40, 50, 50)
        assert mask[20, 25, 25] == 1.0
        assert mask[:, :, 0].max() < 0.05
        assert mask[0].max() < 0.05
        assert np.abs(np.diff(mask, axis=2)).max() < 0.35


def test_what_cannot_be_correlated_is_refused() -> None:
    good = np.zeros((20, 20, 20), np.float32)
    with pytest.raises(ShapeError, match="differ"):
        fourier_shell_correlation(good, good[1:], 1.0)
    with pytest.raises(ShapeError, match="at least 16"):
        fourier_shell_correlation(good[:8], good[:8], 1.0)
    with pytest.raises(OutOfRangeError, match="mask 'box'"):
        fourier_shell_correlation(good, good, 1.0, mask="box")
    with pytest.raises(ShapeError, match="mask"):
        fourier_shell_correlation(good, good, 1.0, mask=good[1:])
    bad = good.copy()
    bad[3, 4, 5] = np.nan
    for mask in ("none", "cylinder"):
        with pytest.raises(OutOfRangeError, match="not finite"):
            fourier_shell_correlation(good, bad, 1.0, mask=mask)


@pytest.mark.parametrize("mask", ["none", "cylinder"])
def test_units_and_levels_do_not_matter(mask: str, rng: np.random.Generator) -> None:
    """Both volumes go through one transform: one of a thousandth of the other's size must keep its digits."""
    first, second, _ = halves((48, 48, 48), rng)
    found = fourier_shell_correlation(first, second, VOXEL, mask=mask)
    scaled = fourier_shell_correlation(1e3 * first + 7e3, 1e-3 * second - 2.0, VOXEL, mask=mask)
    np.testing.assert_allclose(scaled.correlation, found.correlation, atol=2e-4)


@pytest.mark.parametrize("shape", [(20, 31, 24), (17, 16, 33)])
def test_shells_are_those_of_the_full_transform(shape: tuple[int, int, int], rng: np.random.Generator) -> None:
    first = rng.normal(size=shape)
    second = first + rng.normal(size=shape)
    found = fourier_shell_correlation(first, second, VOXEL, mask="none")
    a, b = np.fft.fftn(first), np.fft.fftn(second)
    f = [np.fft.fftfreq(n) for n in shape]
    distance = np.sqrt(f[0][:, None, None] ** 2 + f[1][None, :, None] ** 2 + f[2][None, None, :] ** 2)
    shells = min(shape) // 2
    index = (distance * 2.0 * shells).astype(int).ravel()
    a[0, 0, 0] = b[0, 0, 0] = 0.0

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(index, values.ravel())[:shells]

    expected = total((a * b.conj()).real) / np.sqrt(total(np.abs(a) ** 2) * total(np.abs(b) ** 2))
    np.testing.assert_allclose(found.correlation, expected, atol=1e-5)
    np.testing.assert_allclose(found.frequency_per_um, total(distance) / total(np.ones(shape)) / VOXEL * 1e3, rtol=1e-9)
