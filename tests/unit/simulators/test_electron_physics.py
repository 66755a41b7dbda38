"""Electron probes and the X-rays they make, against literature, closed forms and an independent quadrature."""

import math

import numpy as np
import pytest
from scipy import special

from exitwave.simulators.physics.constants import SIGMA_PER_FWHM
from exitwave.simulators.physics.electron_bremsstrahlung import (
    adiabatic_range_pm,
    atomic_number,
    effective_charge,
    logarithm,
    object_transfer,
    yield_pm2,
)
from exitwave.simulators.physics.electron_crystals import (
    SPECIMENS,
    UnknownCrystalError,
    crystal,
    platinum_particle,
)
from exitwave.simulators.physics.electron_elastic import annular_pm2
from exitwave.simulators.physics.electron_lines import families, ionisation_pm2, line_transfer
from exitwave.simulators.physics.electron_probe import BOHR_PM, Electron, Probe
from exitwave.simulators.stem.layout import INSTRUMENTS


def radial_fwhm_pm(transfer, k):
    """Full width of the rotationally symmetric image that a transfer function makes."""
    r = np.linspace(0.0, 100.0, 401)
    image = np.trapezoid(transfer * k * special.j0(r[:, None] * k), k, axis=1)
    below = int(np.argmax(image < 0.5 * image[0]))
    between = (image[below - 1] - 0.5 * image[0]) / (image[below - 1] - image[below])
    return 2.0 * (r[below - 1] + between * (r[below] - r[below - 1]))


def column_fwhm_pm(element, voltage_kv, photon_kev, probe_pm, debye_waller_pm2):
    k = np.linspace(0.0, 0.6, 6001)
    sigma = probe_pm * SIGMA_PER_FWHM
    seen = np.exp(-debye_waller_pm2 / (16.0 * math.pi**2) * k**2 - 0.5 * sigma**2 * k**2)
    return radial_fwhm_pm(object_transfer(element, photon_kev, voltage_kv, k) * seen, k)


@pytest.mark.parametrize(("voltage_kv", "wavelength_pm", "beta"), [(200.0, 2.5079, 0.6953), (300.0, 1.9687, 0.7765)])
def test_wavelength_and_speed_are_the_tabulated_ones(voltage_kv, wavelength_pm, beta):
    electron = Electron(voltage_kv)
    assert electron.wavelength_pm == pytest.approx(wavelength_pm, abs=1e-4)
    assert electron.beta == pytest.approx(beta, abs=1e-4)


def test_the_adiabatic_range_at_300_kv():
    print(f"{adiabatic_range_pm(3.9, 300.0):.2f} and {adiabatic_range_pm(5.6, 300.0):.2f} pm")
    assert adiabatic_range_pm(3.9, 300.0) == pytest.approx(39.0, abs=0.5)
    assert adiabatic_range_pm(5.6, 300.0) == pytest.approx(27.0, abs=0.5)


@pytest.mark.parametrize("element", ["O", "Ti", "Sr", "Pt"])
def test_the_spectrum_follows_kramers_law(element):
    # dsigma/dk ~ L/k: the power is -1, and less by at most 1/L, where no screening cuts the logarithm before q_z does.
    k = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    sigma = np.array([yield_pm2(element, energy, 300.0) / energy for energy in k])
    power = np.diff(np.log(sigma)) / np.diff(np.log(k))
    print(
        f"{element}: d ln sigma / d ln k =",
        np.round(power, 4),
        f"least {-1.0 - 1.0 / logarithm(element, 16.0, 300.0):.3f}",
    )
    assert np.all(power < -1.0)
    assert np.all(power > -1.0 - 1.0 / logarithm(element, 16.0, 300.0))


def test_the_yield_grows_as_z_squared_less_what_screening_takes():
    ratio = yield_pm2("Au", 5.0, 300.0) / yield_pm2("O", 5.0, 300.0)
    print(f"Au over O: {ratio:.1f}, Z^2 {(79 / 8) ** 2:.1f}: {ratio / (79 / 8) ** 2:.3f}")
    assert 0.7 * (79 / 8) ** 2 < ratio < (79 / 8) ** 2


@pytest.mark.parametrize("element", ["Ti", "Sr", "Pd", "Pt"])
def test_the_logarithm_is_that_of_a_screened_coulomb_field(element):
    # Z_eff = Z q^2 a^2 / (1 + q^2 a^2), a the Thomas-Fermi radius: L = ln(q_max a) - 1/2, if q_max a >> 1 >> q_z a
    radius_pm = 0.8853 * BOHR_PM / atomic_number(element) ** (1 / 3)
    expected = math.log(Electron(300.0).largest_transfer_per_pm * radius_pm) - 0.5
    print(f"{element}: L = {logarithm(element, 0.5, 300.0):.3f}, screened Coulomb field {expected:.3f}")
    assert logarithm(element, 0.5, 300.0) == pytest.approx(expected, rel=0.06)
    assert 3.0 < logarithm(element, 4.0, 300.0) < 4.3


def test_all_charge_is_seen_close_by_and_none_from_afar():
    assert effective_charge("Sr", np.array([6.0]))[0] == pytest.approx(38.0, rel=2e-2)
    assert effective_charge("Sr", np.array([1e-4]))[0] == pytest.approx(0.0, abs=0.05)


def test_the_object_function_is_the_square_of_the_amplitudes_transform():
    # The same by another way: Hankel transforms to real space (components across and along), squared, and back.
    element, photon_kev, voltage_kv = "O", 5.0, 300.0
    electron, qz = Electron(voltage_kv), 1.0 / adiabatic_range_pm(5.0, 300.0)
    q = np.linspace(0.0, electron.largest_transfer_per_pm, 24001)
    reduced = effective_charge(element, np.hypot(q, qz)) / (q**2 + qz**2)
    rho = np.geomspace(0.02, 400.0, 500)
    across = np.array([np.trapezoid(reduced * q**2 * special.j1(q * r), q) for r in rho])
    along = np.array([np.trapezoid(reduced * q * special.j0(q * r), q) for r in rho]) * qz / electron.gamma
    density = across**2 + along**2
    k = np.array([0.0, 0.05, 0.1, 0.2, 0.4])
    transformed = np.array([np.trapezoid(density * rho**2 * special.j0(rho * x), np.log(rho)) for x in k])
    expected = transformed / transformed[0]
    assert object_transfer(element, photon_kev, voltage_kv, k) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("element", "voltage_kv", "probe_pm", "debye_waller_pm2", "windows_kev", "expected_pm"),
    [
        ("Pt", 300.0, 82.0, 3200.0, (3.9, 5.6), 0.04),
        ("Pd", 300.0, 82.0, 4500.0, (3.9, 5.6), 0.07),
        ("Au", 200.0, 60.0, 6100.0, (5.1, 5.8), 0.02),
    ],
)
def test_a_higher_window_is_sharper_by_hundredths_of_a_picometre(
    element, voltage_kv, probe_pm, debye_waller_pm2, windows_kev, expected_pm
):
    widths = [column_fwhm_pm(element, voltage_kv, k, probe_pm, debye_waller_pm2) for k in windows_kev]
    print(f"{element}: {widths[0] - widths[1]:+.4f} pm")
    assert widths[0] - widths[1] == pytest.approx(expected_pm, abs=0.01)


@pytest.mark.parametrize(("name", "width_pm"), [("titan-g2", 60.0), ("arm300f", 82.0)])
def test_the_delivered_probes_have_the_published_widths(name, width_pm):
    one = INSTRUMENTS[name]
    probe = Probe(one.voltage_kv, one.convergence_mrad, one.source_fwhm_pm)
    assert probe.fwhm_pm() == pytest.approx(width_pm, abs=0.2)


def test_a_point_source_makes_an_airy_disc():
    probe = Probe(200.0, 25.0, 0.0)
    assert probe.fwhm_pm() == pytest.approx(0.5145 * Electron(200.0).wavelength_pm / 25e-3, rel=0.02)


def test_aberrations_widen_the_probe_and_keep_its_electrons():
    sharp = Probe(200.0, 25.0, 35.0)
    for name, value in (("C10", 8.0), ("C12A", 6.0), ("C21B", 400.0), ("C23A", 400.0), ("C30", 20000.0)):
        worse = Probe(200.0, 25.0, 35.0, {name: value})
        assert worse.image().max() < 0.95 * sharp.image().max()
        assert worse.image().sum() == pytest.approx(1.0, rel=1e-9)


def test_a_coarse_grid_gets_the_same_probe():
    probe = Probe(300.0, 30.0, 74.31, {"C12A": 3.0, "C21A": 100.0})
    fine, coarse = probe.transfer((1600, 1600), 10.0), probe.transfer((400, 400), 40.0)
    # Both grids span 16 nm: their low frequencies are the same.
    assert np.abs(fine[:200, :200] - coarse[:200, :200]).max() < 2e-3


def test_third_order_aberration_is_undone_by_a_little_defocus():
    # Scherzer: C1 = -C3 alpha^2 / 2 or so leaves less phase at the aperture's edge.
    astray = Probe(200.0, 25.0, 35.0, {"C30": 20000.0})
    better = Probe(200.0, 25.0, 35.0, {"C30": 20000.0, "C10": -0.75 * 20000.0 * 25e-3**2})
    assert better.image().max() > astray.image().max()


def test_lines_of_titanium():
    found = {family.shell: family for family in families("Ti", 200.0, 20.48)}
    lines = np.array(found["K"].energies_kev)
    weights = np.array(found["K"].cross_sections_pm2)
    assert lines[np.argmax(weights)] == pytest.approx(4.511, abs=2e-3)
    beta = weights[lines > 4.8].sum() / weights[lines < 4.8].sum()
    assert 0.11 < beta < 0.15  # 0.127 in the tables of Salem et al. (1974)
    assert found["K"].edge_kev == pytest.approx(4.966, abs=1e-3)


def test_ionisation_needs_more_than_the_edge_and_falls_with_the_speed():
    assert ionisation_pm2(80.7, 2, "K", 60.0) == 0.0
    assert ionisation_pm2(4.97, 2, "K", 300.0) < ionisation_pm2(4.97, 2, "K", 200.0)


def test_light_elements_lines_are_delocalised():
    k = np.array([0.1])
    oxygen, strontium = families("O", 200.0, 20.48)[0], families("Sr", 200.0, 20.48)[0]
    assert line_transfer(oxygen, 200.0, k)[0] < 0.3 < 0.8 < line_transfer(strontium, 200.0, k)[0]


def test_annular_scattering_is_close_to_rutherfords():
    # Beyond 100 mrad a light atom screens a little of sigma =
    # 4 pi (gamma Z / (a0 k^2))^2 (1/t1^2 - 1/t2^2), small angles
    k = 2.0 * math.pi / Electron(200.0).wavelength_pm
    strength = 4.0 * math.pi * (Electron(200.0).gamma * 8 / BOHR_PM) ** 2 / k**4
    rutherford = strength * (1.0 / 0.1**2 - 1.0 / 0.2**2)
    assert 0.85 < annular_pm2("O", 200.0, 100.0, 200.0) / rutherford < 1.0


@pytest.mark.parametrize("name", SPECIMENS)
def test_specimens_have_atoms_on_the_axis(name):
    assert crystal(name).thickness_nm(0.0, 0.0, 1.0) > 3.0


def test_strontium_titanate_has_its_density():
    columns = crystal("SrTiO3").near(0.0, 0.0, 5.0)
    atoms: dict[str, int] = {}
    for one in columns:
        atoms[one.kind.element] = atoms.get(one.kind.element, 0) + int(one.atoms.sum())
    assert atoms["O"] / atoms["Ti"] == pytest.approx(3.0, rel=0.1)
    assert atoms["Sr"] / atoms["Ti"] == pytest.approx(1.0, rel=0.1)


def test_a_foil_repeats_itself():
    foil = crystal("SrTiO3")
    here, there = foil.near(0.1, 0.0, 2.0)[0], foil.near(0.1 + 39 * 0.3905, 1000 * 0.3905, 2.0)[0]
    assert np.sort(here.x) == pytest.approx(np.sort(there.x), abs=1e-9)


def test_strain_moves_the_surface_of_a_particle():
    plain, strained = platinum_particle(), platinum_particle(strain=0.03)
    one, other = plain.columns[0], strained.columns[0]
    edge = (one.atoms > 0) & (np.hypot(one.x, one.y) > 3.8)
    growth = np.hypot(other.x, other.y)[edge] / np.hypot(one.x, one.y)[edge] - 1.0
    assert growth == pytest.approx(0.03 * (np.hypot(one.x, one.y)[edge] / 4.0) ** 2, rel=1e-6)


def test_an_unknown_specimen_is_refused():
    with pytest.raises(UnknownCrystalError, match="unobtainium"):
        crystal("unobtainium")
