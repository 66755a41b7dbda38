"""Peaks and edges with injected truth, and measured foils."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError
from exitwave.analysis.fitting import absorbance, edge_by_derivative, fit_peak


def foil(energy_ev: np.ndarray, edge_ev: float, width_ev: float = 1.2, white: float = 0.0) -> np.ndarray:
    """Absorbance of a foil: falling background, an arctan step, perhaps a white line behind it."""
    d = energy_ev - edge_ev
    rise = 0.5 + np.arctan(d / width_ev) / math.pi
    return 0.4 - 3e-4 * d + (1.1 - 5e-4 * d) * rise + white / (1 + ((d - 6.0) / 3.0) ** 2)


@pytest.mark.parametrize(("points", "white"), [(61, 0.0), (101, 0.0), (81, 0.3)])
def test_edge_within_a_tenth_of_an_ev(rng: np.random.Generator, points: int, white: float) -> None:
    energy = np.linspace(8303.0, 8363.0, points)
    truth = 8333.37
    fine = np.linspace(truth - 5, truth + 5, 20001)
    slope = np.gradient(foil(fine, truth, white=white), fine)
    inflection = fine[np.argmax(slope)]
    errors, stated = [], []
    for _ in range(12):
        found = edge_by_derivative(energy, foil(energy, truth, white=white) + rng.normal(0, 2e-3, points))
        errors.append(found.position - inflection)
        stated.append(found.position_sd)
    assert np.sqrt(np.mean(np.square(errors))) < 0.1
    assert np.max(np.abs(errors)) < 0.2
    assert np.mean(stated) < 0.1
    assert np.std(errors) < 3.0 * np.mean(stated)


def test_first_of_two_inflections() -> None:
    energy = np.linspace(8300, 8380, 161)
    both = 0.5 * foil(energy, 8333.0) + 0.6 * foil(energy, 8350.0)
    assert edge_by_derivative(energy, both).position == pytest.approx(8333.0, abs=0.1)


def test_scan_in_any_order() -> None:
    energy = np.linspace(8310.0, 8360.0, 101)
    mu = foil(energy, 8333.0)
    assert edge_by_derivative(energy[::-1], mu[::-1]).position == pytest.approx(8333.0, abs=0.05)


def test_no_edge_is_refused(rng: np.random.Generator) -> None:
    energy = np.linspace(8200.0, 8300.0, 60)
    with pytest.raises(FitError, match="edge"):
        edge_by_derivative(energy, 0.4 - 3e-4 * (energy - 8333) + rng.normal(0, 2e-3, 60))
    with pytest.raises(ShapeError, match="at least"):
        edge_by_derivative(energy[:8], energy[:8])


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "edge"), [("Ni_metal_rt_01.xdi", 8333.0), ("Fe_metal_rt_01.xdi", 7112.0)])
def test_measured_foils(realdata: Path, name: str, edge: float) -> None:
    from exitwave.analysis.io import read_columns

    table = read_columns(realdata / "xas" / name)
    energy = table.column("energy")
    mu = absorbance(table.column("i0"), table.column("itrans"))
    near = (energy > edge - 60) & (energy < edge + 60)
    # both foils were calibrated at their edge; the monochromators drifted by an eV or two
    assert edge_by_derivative(energy[near], mu[near]).position == pytest.approx(edge, abs=2.0)


def test_absorbance_refuses_lost_beam() -> None:
    np.testing.assert_allclose(absorbance([2.0, math.e], [2.0, 1.0]), [0.0, 1.0])
    with pytest.raises(OutOfRangeError, match="before the foil: 0 A at point 1"):
        absorbance([1.0, 0.0], [1.0, 1.0])
    with pytest.raises(OutOfRangeError, match="after"):
        absorbance([1.0, 1.0], [1.0, math.nan])
    with pytest.raises(ShapeError, match="differ"):
        absorbance([1.0], [1.0, 1.0])


def test_rocking_curve_of_two_crystals(rng: np.random.Generator) -> None:
    # the correlation of two box-like Darwin curves is a triangle with rounded corners
    x = np.linspace(-80, 80, 41)
    truth, fwhm = 12.3, 36.0
    clean = np.maximum(0.0, 1 - np.abs(x - truth) / fwhm)
    for _ in range(5):
        peak = fit_peak(x, 1e5 * clean + 300 + rng.normal(0, 1000, len(x)))
        assert abs(peak.centre - truth) < 0.03 * fwhm
        assert abs(peak.centre - truth) < 5 * peak.centre_sd + 0.1
        assert peak.fwhm == pytest.approx(fwhm, rel=0.08)


@settings(max_examples=40, deadline=None)
@given(st.floats(-15, 15), st.floats(8, 30), st.floats(0, 1))
def test_exact_peak_is_recovered(centre: float, fwhm: float, share: float) -> None:
    x = np.linspace(-60, 60, 49)
    t = 2 * (x - centre) / fwhm
    y = 5.0 + 3.0 * (share / (1 + t * t) + (1 - share) * np.exp(-math.log(2) * t * t))
    peak = fit_peak(x, y)
    assert peak.centre == pytest.approx(centre, abs=1e-2)
    assert peak.fwhm == pytest.approx(fwhm, rel=1e-2)


def test_peak_outside_the_range_is_refused(rng: np.random.Generator) -> None:
    x = np.linspace(0, 10, 21)
    with pytest.raises(FitError, match="move the range"):
        fit_peak(x, np.exp(-(((x - 14) / 5) ** 2)))
    with pytest.raises(ShapeError, match="at least 6"):
        fit_peak([1, 2, 3], [1, 2, 1])
    with pytest.raises(OutOfRangeError, match="finite"):
        fit_peak(x, np.full(21, np.nan))
