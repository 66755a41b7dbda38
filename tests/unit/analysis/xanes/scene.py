"""Absorption spectra and counted stacks with known answers, written down apart from the package."""

from __future__ import annotations

import numpy as np

E0 = 8345.0


def energies(step: float = 1.0) -> np.ndarray:
    parts = [np.arange(-110, -20, 10.0), np.arange(-20, 25, step), np.arange(25, 60, 5.0), np.arange(60, 221, 20.0)]
    return E0 + np.concatenate(parts)


def spectrum(offset: np.ndarray, white: float = 0.6) -> np.ndarray:
    """Arc tangent edge and Gaussian white line, falling above the edge; `offset` eV from the edge."""
    edge = 0.5 + np.arctan(offset / 1.5) / np.pi
    return (edge + white * np.exp(-(((offset - 4.0) / 2.5) ** 2))) * (1.0 - 3e-4 * offset)


def optical_depth(energy: np.ndarray, shift: np.ndarray, step: np.ndarray | float = 0.8) -> np.ndarray:
    offset = energy[:, None, None] - E0 - shift
    return 0.3 - 1e-4 * (energy[:, None, None] - E0) + step * spectrum(offset)


def counted(
    depth: np.ndarray, flat: float, rng: np.random.Generator, flats: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frames (n, y, x), mean flats (n, y, x) of so many, and the true variance of the optical depth."""
    frames = rng.poisson(flat * np.exp(-depth)).astype(np.float32)
    mean = (rng.poisson(flat * flats, depth.shape) / flats).astype(np.float32)
    return frames, mean, np.exp(depth) / flat + 1.0 / (flat * flats)
