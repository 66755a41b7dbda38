"""Absorption near K edges: the tables far away, order by valence, continuity, and dispersion against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xraydb
from scipy import constants

from exitwave.analysis.io import read_columns
from exitwave.simulators.bl18b.ncm import STATES
from exitwave.simulators.bl18b.specimens import write_truth_spectra
from exitwave.simulators.physics.kramers_kronig import dispersion
from exitwave.simulators.physics.materials import NMC622, Material
from exitwave.simulators.physics.near_edge import MODEL_EV, TABLE_EV, StatedMaterial
from exitwave.simulators.physics.standards import NICKEL, STANDARDS


def edge_ev(standard):
    return float(xraydb.xray_edge(standard.element, "K").energy)


def half_height_ev(standard):
    energy = np.arange(-10.0, 30.0, 0.01)
    return float(energy[np.argmax(standard.normalised(edge_ev(standard) + energy) > 0.5)])


@pytest.mark.parametrize("standard", STANDARDS.values(), ids=STANDARDS)
def test_far_from_the_edge_there_is_the_table(standard):
    edge = edge_ev(standard)
    far = np.concatenate([np.arange(-2000.0, TABLE_EV[0], 50.0), np.arange(TABLE_EV[1], 6000.0, 50.0)]) + edge
    table = xraydb.f2_chantler(standard.element, far)
    assert standard.change_of_absorption(far) == pytest.approx(0.0, abs=1e-12)
    near = np.concatenate([np.arange(-160.0, -119.0, 5.0), np.arange(450.0, 600.0, 5.0)]) + edge
    table = xraydb.f2_chantler(standard.element, near)
    assert np.abs(standard.change_of_absorption(near) / table).max() < 0.01, "within a percent where the two are joined"
    assert standard.normalised(far) == pytest.approx((far > edge).astype(float), abs=1e-12)


@pytest.mark.parametrize("standard", STANDARDS.values(), ids=STANDARDS)
def test_spectra_are_continuous_rise_once_and_add_to_the_table(standard):
    edge = edge_ev(standard)
    energy = edge + np.arange(TABLE_EV[0] - 10.0, TABLE_EV[1] + 10.0, 0.02)
    mu = standard.normalised(energy)
    # no step between points: an arctan of 3.5 eV and a line of 6.6 eV change by 0.5 per eV at most
    assert np.abs(np.diff(mu)).max() < 0.5 * 0.02
    assert (
        np.abs(np.diff(xraydb.f2_chantler(standard.element, energy) + standard.change_of_absorption(energy))).max()
        < 0.04
    )
    assert np.count_nonzero(np.diff((mu > 0.5).astype(int))) == 1
    assert 1.3 < mu.max() < 1.8
    assert mu.min() > -1e-12
    post = energy > edge + 150.0
    assert float(mu[post].mean()) == pytest.approx(1.0, abs=0.01)
    assert (xraydb.f2_chantler(standard.element, energy) + standard.change_of_absorption(energy)).min() > 0.0


def test_edges_rise_with_the_valence():
    places = [half_height_ev(standard) for standard in NICKEL]
    assert [standard.valence for standard in NICKEL] == [2, 3, 4]
    # the nickel oxides that the standards follow: 8340.2 eV and 8341.7 eV
    assert places[:2] == pytest.approx([7.2, 8.7], abs=0.15)
    assert all(1.4 < step < 2.0 for step in np.diff(places))
    for element in ("Mn", "Fe", "Co"):
        states = sorted((s for s in STANDARDS.values() if s.element == element), key=lambda s: s.valence)
        assert np.all(np.diff([half_height_ev(s) for s in states]) > 1.0)


def test_the_broadening_is_at_least_the_core_holes():
    for standard in STANDARDS.values():
        mu = standard.normalised(edge_ev(standard) + np.arange(-20.0, 30.0, 0.05))
        # an arctan of width w rises by 2 / (pi w) at most; lines add their own flanks
        flanks = sum(1.4 * line.height / line.width_ev for line in standard.lines if line.height > 0.0)
        steepest = 2.0 / (math.pi * xraydb.core_width(standard.element, "K")) + flanks
        assert np.gradient(mu, 0.05).max() < steepest


def test_dispersion_of_an_oscillator_is_its_real_part():
    e0, width = 8333.0, 4.0
    nodes = np.unique(np.concatenate([np.arange(0.0, 6e4, 25.0), np.arange(e0 - 300.0, e0 + 300.0, 0.05)]))
    resonance = (e0**2 - nodes**2) ** 2 + (width * nodes) ** 2
    absorption = e0 * width * nodes / resonance * 2.0 * e0
    absorption[-1] = 0.0
    at = e0 + np.array([-2000.0, -100.0, -5.0, -2.0, 0.0, 1.3, 2.0, 30.0, 700.0])
    exact = -2.0 * e0**2 * (e0**2 - at**2) / ((e0**2 - at**2) ** 2 + (width * at) ** 2)
    assert dispersion(nodes, absorption, at) == pytest.approx(exact, rel=2e-4, abs=2e-3)


def test_dispersion_of_a_triangle_is_a_logarithm():
    nodes, absorption = np.array([8.0, 9.0, 10.0]), np.array([0.0, 1.0, 0.0])
    at = np.array([7.5, 9.0, 9.3, 20.0])
    fine = np.linspace(8.0, 10.0, 400_001)
    middle = 0.5 * (fine[1:] + fine[:-1])
    height = 1.0 - np.abs(middle - 9.0)
    # the midpoint rule is a principal value where the pole lies on a node of the fine grid
    brute = [float((2.0 * middle * height / (e * e - middle**2)).sum() * 5e-6 / math.pi) for e in at]
    assert dispersion(nodes, absorption, at) == pytest.approx(brute, abs=1e-4)


def test_phase_and_absorption_belong_together():
    # a Hilbert transform keeps the square integral; the part at negative energies is 1e-3 of the kernel
    nickel = STANDARDS["Ni3+"]
    energy = edge_ev(nickel) + np.arange(-2000.0, 2000.0, 0.5)
    real, imaginary = nickel.change(energy)
    assert float((real**2).sum()) == pytest.approx(float((imaginary**2).sum()), rel=0.01)


def test_index_of_a_stated_material():
    plain = Material(NMC622.formula, 4.6)
    for energy in (5.5, 10.0, 12.0):
        for state in STATES:
            delta, beta = state.delta_beta(energy)
            table_delta, table_beta = plain.delta_beta(energy)
            assert beta == pytest.approx(table_beta, rel=1e-9)
            assert delta == pytest.approx(table_delta, rel=1e-3)
    # at the edge, by hand: n_Ni r_e lambda^2 / 2 pi times the change of f
    standard = NICKEL[1]
    alone = StatedMaterial("NiO", 6.67, (standard,))
    energy_ev = 8347.0
    per_m3 = 6.67e6 * constants.N_A / (58.6934 + 15.999)
    wavelength = constants.h * constants.c / (energy_ev * constants.e)
    scale = per_m3 * constants.physical_constants["classical electron radius"][0] * wavelength**2 / (2.0 * math.pi)
    real, imaginary = standard.change(np.array([energy_ev]))
    delta, beta = alone.delta_beta(1e-3 * energy_ev)
    table_delta, table_beta = Material("NiO", 6.67).delta_beta(1e-3 * energy_ev)
    assert delta - table_delta == pytest.approx(scale * float(real[0]), rel=1e-4)
    assert beta - table_beta == pytest.approx(scale * float(imaginary[0]), rel=1e-4)
    mass = float(alone.photo_cm2_g(np.array([energy_ev]))[0])
    assert mass == pytest.approx(4.0 * math.pi * beta / (wavelength * 1e2) / 6.67, rel=1e-4)


def test_truth_spectra_are_columns(tmp_path):
    path = tmp_path / "spectra.txt"
    write_truth_spectra(path)
    table = read_columns(path)
    assert table.names[0] == "energy"
    assert set(STANDARDS) < set(table.names)
    energy = table.column("energy")
    assert np.all(np.diff(energy) > 0.0)
    for state in STATES:
        nickel = state.states[0]
        assert table.column(nickel.name) == pytest.approx(nickel.normalised(energy), abs=1e-8)
        at = np.array([8200.0, 8345.0, 8600.0])
        stated = np.interp(at, energy, table.column(f"NMC622_{nickel.name}"))
        assert stated == pytest.approx(state.photo_cm2_g(at), rel=1e-6)
    assert table.units[-1] == "cm2/g"
    assert MODEL_EV[0] < 0.0 < MODEL_EV[1]
