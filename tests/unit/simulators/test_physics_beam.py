"""Source, mirrors, crystals, slits, ion chambers and foils against published figures."""

import math

import numpy as np
import pytest
from scipy import constants

from exitwave.simulators.physics import beam, crystal, materials, mirrors
from exitwave.simulators.physics.constants import HC_KEV_NM
from exitwave.simulators.physics.source import BendingMagnet, Ring


def test_critical_energy_is_that_of_the_rule_of_thumb():
    assert BendingMagnet().critical_energy_kev == pytest.approx(0.665 * 3.5**2 * 1.27, rel=2e-3)


def test_flux_over_all_angles_agrees_with_the_practical_formula():
    # X-ray Data Booklet, eq. (2-3): 2.457e13 E I theta G1(y); G1(1) = 0.6514 (its table 2-2)
    magnet = BendingMagnet()
    flux = magnet.flux_all_angles(magnet.critical_energy_kev, 300.0)
    assert flux == pytest.approx(2.457e13 * 3.5 * 0.3 * 0.4 * 0.6514, rel=2e-3)


def test_a_wide_vertical_acceptance_collects_what_the_integral_gives():
    wide = BendingMagnet(vertical_mrad=2.0)
    assert wide.flux(8.0, 300.0) == pytest.approx(wide.flux_all_angles(8.0, 300.0), rel=1e-3)


def test_flux_at_8_kev_is_within_a_factor_of_the_published_one():
    # Zhang et al. (2023) print 1.19e13; the exact formula gives half of it (see the module)
    assert 0.4 < BendingMagnet().flux(8.0, 300.0) / 1.19e13 < 0.6


def test_power_agrees_with_the_practical_formula():
    # X-ray Data Booklet: P [kW] = 1.266 E^2 B^2 I L, with L = rho theta
    rho_m = 3.5 / (0.299792458 * 1.27)
    assert BendingMagnet().power_w(300.0) == pytest.approx(1266.0 * 3.5**2 * 1.27**2 * 0.3 * rho_m * 0.4e-3, rel=2e-3)


def test_ring_decays_tops_up_dumps_and_refills():
    ring = Ring(ripple_rms=0.0, lifetime_h=10.0)
    assert ring.current_ma(0.0, top_up=True) == pytest.approx(300.0)
    assert ring.current_ma(179.0, top_up=True) == pytest.approx(300.0 * math.exp(-179.0 / 36000.0))
    assert ring.current_ma(180.5, top_up=True) > 299.99
    assert ring.current_ma(3600.0, top_up=False) == pytest.approx(300.0, rel=1e-6)
    assert ring.current_ma(7200.0, top_up=False) == pytest.approx(300.0 * math.exp(-0.1), rel=1e-3)
    ring.dump(7300.0)
    assert ring.current_ma(7301.0, top_up=True) == 0.0
    ring.refill(7400.0)
    assert ring.current_ma(7400.0, top_up=True) == pytest.approx(300.0, rel=1e-6)


def test_rhodium_cuts_off_near_15_kev():
    reflectivity = [mirrors.reflectivity(materials.RHODIUM, 4.4, e) for e in (8.0, 14.0, 15.0, 17.0, 24.0)]
    assert reflectivity[0] > 0.88
    assert reflectivity[1] > 0.8
    assert reflectivity[3] < 0.2
    assert reflectivity[4] < 0.02


def test_mirror_agrees_with_xraydb():
    import xraydb

    energies = np.array([5000.0, 8000.0, 12000.0, 14500.0, 16000.0])
    reference = xraydb.mirror_reflectivity("Rh", 0.0044, energies, density=12.41, roughness=3.0)
    ours = [mirrors.reflectivity(materials.RHODIUM, 4.4, e * 1e-3, 0.3) for e in energies]
    np.testing.assert_allclose(ours, reference, rtol=5e-3)


def test_bragg_angle_of_copper_k_alpha():
    assert crystal.bragg_from_energy_deg(8.04778) == pytest.approx(14.221, abs=5e-4)
    assert crystal.energy_from_bragg_kev(14.221) == pytest.approx(8.04778, abs=3e-4)


def test_darwin_width_of_silicon_111():
    # Authier's and X0h's tables: 7.4 arcsec FWHM (36 urad) and dE/E = 1.3e-4 ... 1.4e-4 for 8 keV, sigma
    curve = crystal.reflection_curve(8.048)
    assert curve.fwhm_urad == pytest.approx(7.395 * 4.8481, rel=0.02)
    assert curve.reflectivity.max() < 1.0
    width = curve.darwin_width_urad * 1e-6 / math.tan(math.radians(crystal.bragg_from_energy_deg(8.048)))
    assert width == pytest.approx(1.35e-4, rel=0.03)


def test_rocking_curve_is_symmetric_and_wider_than_one_crystal():
    pair = crystal.double_crystal(8.0)
    width = crystal.reflection_curve(8.0).fwhm_urad
    assert pair.throughput_urad(0.0) == pytest.approx(pair.integral_urad.max())
    assert pair.throughput_urad(15.0) == pytest.approx(pair.throughput_urad(-15.0), rel=1e-3)
    assert width < pair.fwhm_urad < 1.6 * width


def test_bandwidth_is_below_the_design_goal():
    for energy in (5.0, 8.0, 14.0):
        assert crystal.bandwidth(energy, 6.0) <= 2e-4


def test_slit_passes_the_gaussian_integral():
    assert beam.slit_transmission(-50.0, 50.0, 0.0, 100.0) == pytest.approx(math.erf(math.sqrt(math.log(2.0))))
    assert beam.slit_transmission(10.0, -10.0, 0.0, 100.0) == 0.0


def test_ionisation_current_counts_electrons():
    # 1e10 photons/s of 8 keV in 10 mm of nitrogen: energy absorbed / 34.8 eV, one electron each
    absorbed = beam.ion_chamber_absorbed(8.0, 10.0, 1.0)
    assert absorbed == pytest.approx(0.0085, rel=0.05)
    current = 1e10 * absorbed * beam.charge_per_photon_c(8.0)
    assert current == pytest.approx(1e10 * absorbed * 8000.0 / 34.8 * constants.e)


@pytest.mark.parametrize("element", ["Fe", "Co", "Ni", "Cu", "Zn"])
def test_edge_inflection_lies_at_the_table(element):
    edge, _ = materials.k_edge_kev(element)
    energy = edge + np.linspace(-4e-3, 4e-3, 1601)
    mu = beam.foil_attenuation_per_um(element, energy)
    assert energy[np.argmax(np.gradient(mu, energy))] == pytest.approx(edge, abs=2e-5)


@pytest.mark.parametrize("element", ["Fe", "Co", "Ni", "Cu", "Zn"])
def test_measured_inflection_is_within_a_tenth_of_an_ev(element):
    # what a scan sees: the logarithm of a transmission averaged over the beam's spectrum
    edge, _ = materials.k_edge_kev(element)
    energy = edge + np.arange(-5e-3, 5e-3, 5e-5)
    absorbance = -np.log([beam.foil_transmission(element, float(e), 1.35e-4) for e in energy])
    steepest = energy[np.argmax(np.gradient(absorbance, energy))]
    assert steepest == pytest.approx(edge, abs=1e-4)


def test_foil_far_from_the_edge_is_the_table():
    energy = np.array([8.1, 9.3])
    table = [materials.FOILS["Ni"][0].attenuation_per_um(e) for e in energy]
    np.testing.assert_allclose(beam.foil_attenuation_per_um("Ni", energy), table, rtol=0.02)


def test_foil_edge_stands_up_in_transmission():
    below, above = (beam.foil_transmission("Ni", e, 1.3e-4) for e in (8.30, 8.37))
    assert below > 0.85
    assert above < 0.5
    assert beam.foil_transmission("None", 8.0, 1.3e-4) == 1.0


def test_planck_constant_in_kev_nm():
    assert pytest.approx(1.2398419843, rel=1e-9) == HC_KEV_NM
