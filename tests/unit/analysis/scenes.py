"""Scenes with known answers, made here and nowhere else: a star, a lens, photons."""

from __future__ import annotations

import math

import numpy as np

PIXEL_NM = 10.0


def star(
    size: int = 384,
    spokes: int = 36,
    *,
    low: float = 0.6,
    high: float = 1.0,
    centre: tuple[float, float] | None = None,
    supersample: int = 3,
) -> np.ndarray:
    """Transmission of a Siemens star, averaged over each pixel."""
    cy, cx = centre or ((size - 1) / 2, (size - 1) / 2)
    grid = (np.arange(size * supersample) + 0.5) / supersample - 0.5
    phi = np.arctan2(grid[:, None] - cy, grid[None, :] - cx)
    fine = np.where(np.cos(spokes * phi) > 0, high, low)
    return fine.reshape(size, supersample, size, supersample).mean(axis=(1, 3))


def incoherent_transfer(f: np.ndarray, cutoff: float) -> np.ndarray:
    """Modulation transfer of a perfect round lens in incoherent light: zero beyond `cutoff`."""
    x = np.clip(f / cutoff, 0, 1)
    return 2 / math.pi * (np.arccos(x) - x * np.sqrt(1 - x * x))


def through_lens(scene: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    return np.fft.ifft2(np.fft.fft2(scene) * transfer).real


def radius_per_um(shape: tuple[int, int], pixel_nm: float = PIXEL_NM) -> np.ndarray:
    fy, fx = np.fft.fftfreq(shape[0], pixel_nm * 1e-3), np.fft.fftfreq(shape[1], pixel_nm * 1e-3)
    return np.hypot(fy[:, None], fx[None, :])


def lens(scene: np.ndarray, cutoff_per_um: float, pixel_nm: float = PIXEL_NM) -> np.ndarray:
    f = radius_per_um((scene.shape[0], scene.shape[1]), pixel_nm)
    return through_lens(scene, incoherent_transfer(f, cutoff_per_um))


def defocused_lens(
    scene: np.ndarray, z_um: float, *, cutoff_per_um: float, depth_um: float, pixel_nm: float = PIXEL_NM
) -> np.ndarray:
    """Stokseth-like incoherent defocus: transfer times jinc of the blur disc; sign changes and all.

    The geometric blur radius at the sample is NA |z|, NA = lambda f_c / 2, and depth = lambda / (2 NA^2).
    Stokseth (1969): H(f) = Lambda(s) * 2 J1(u) / u with u = pi NA 2 z f (1 - s), s = f / f_c.
    """
    from scipy.special import j1

    f = radius_per_um((scene.shape[0], scene.shape[1]), pixel_nm)
    s = np.clip(f / cutoff_per_um, 0, 1)
    # NA in um/um from f_c = 2 NA / lambda and depth = lambda / (2 NA^2): NA = 1 / (depth f_c)
    aperture = 1.0 / (depth_um * cutoff_per_um)
    u = 2 * math.pi * aperture * abs(z_um) * f * (1 - s)
    jinc = np.where(u > 1e-9, 2 * j1(np.maximum(u, 1e-9)) / np.maximum(u, 1e-9), 1.0)
    return through_lens(scene, incoherent_transfer(f, cutoff_per_um) * jinc)


def photons(scene: np.ndarray, counts: float, rng: np.random.Generator) -> np.ndarray:
    """One exposure divided by its mean counts without sample."""
    return rng.poisson(np.maximum(scene, 0) * counts) / counts


def gold_star_through_focus(
    z_um: np.ndarray, *, gold_um: float = 0.7, size: int = 256, spokes: int = 24, outermost_zone_nm: float = 25.0
) -> np.ndarray:
    """Images (z, y, x) of a gold star at 8 keV: exit wave, annular condenser as a sum over points, lens with defocus.

    delta and beta of gold at 8 keV from Henke's tables (4.77e-5, 4.96e-6).
    """
    wavelength_um, pixel_um = 0.15498e-3, PIXEL_NM * 1e-3
    radius = np.hypot(*np.mgrid[:size, :size] - (size - 1) / 2) * pixel_um
    spoke = (star(size, spokes, low=1.0, high=0.0, supersample=2) * (radius < 0.45 * size * pixel_um)).astype(float)
    wave = np.exp(-2 * math.pi / wavelength_um * gold_um * (4.96e-6 + 4.77e-5j) * spoke)
    spectrum = np.fft.fft2(wave)
    aperture = 1 / (2 * outermost_zone_nm * 1e-3)  # NA / lambda, 1/um
    f = np.fft.fftfreq(size, pixel_um)
    images = np.zeros((len(z_um), size, size))
    points = [(r, a) for r in (0.75, 0.95) for a in np.arange(8) / 8 * 2 * math.pi + r]
    for r, a in points:
        sy, sx = r * aperture * math.sin(a), r * aperture * math.cos(a)
        q2 = (f[:, None] + sy) ** 2 + (f[None, :] + sx) ** 2
        inside = spectrum * (q2 <= aperture**2)
        for k, z in enumerate(z_um):
            phase = np.exp(-1j * math.pi * wavelength_um * z * (q2 - sy * sy - sx * sx))
            images[k] += np.abs(np.fft.ifft2(inside * phase)) ** 2 / len(points)
    return images
