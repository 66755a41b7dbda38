"""Figures are written, and say what they should."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exitwave.analysis.columns import fit_columns, lattice_spots
from exitwave.analysis.eds import EnergyAxis, EnergyWindow, fit_spectrum
from exitwave.analysis.errors import ShapeError
from exitwave.analysis.figures.eds import column_map_figure, fourier_figure, spectrum_figure, widths_figure


def test_figures(scene: Callable[..., Any], tmp_path: Path) -> None:
    truth = scene((6, 6), height=(100.0, 60.0))
    rng = np.random.default_rng(51)
    counts = rng.poisson(truth.expected)
    fits = [fit_columns(rng.poisson(truth.expected), truth.positions) for _ in range(2)]
    axis = EnergyAxis(1000, 0.01)
    energy = axis.energies_kev
    spectrum = rng.poisson(2000 * np.exp(-((energy - 4.51) ** 2) / 2 / 0.05**2) + 200 / np.maximum(energy, 0.5))
    fit = fit_spectrum(spectrum, axis, ["Ti"], beam_kev=200, window=EnergyWindow(3, 8), calibrate=False)
    paths = [
        column_map_figure(counts, tmp_path / "map.png", pixel_pm=10, positions=truth.positions, kinds=truth.kind),
        column_map_figure(counts, tmp_path / "rings.png", pixel_pm=10, positions=truth.positions, most_numbers=3),
        widths_figure(fits, ["E1", "E2"], tmp_path / "widths.png", pixel_pm=10),
        spectrum_figure(spectrum, axis, tmp_path / "s.png", windows=[EnergyWindow(5.24, 6.0, "E2")], fit=fit),
        fourier_figure(counts, lattice_spots(counts), tmp_path / "fft.png", pixel_pm=10),
    ]
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 10_000
    with pytest.raises(ShapeError, match="3 numbers"):
        widths_figure(fits, ["E1", "E2"], tmp_path / "x.png", pixel_pm=10, numbers=[1, 2, 3])
    with pytest.raises(ShapeError, match="2 fits and 1 names"):
        widths_figure(fits, ["E1"], tmp_path / "x.png", pixel_pm=10)
