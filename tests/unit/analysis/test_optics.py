"""The closed-form optics against literature values and its own algebra."""

from __future__ import annotations

import ast
import inspect
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitwave.analysis import errors, optics
from exitwave.analysis.errors import OutOfRangeError

energies = st.floats(5.0, 14.0)


def test_copper_k_alpha_on_silicon() -> None:
    assert optics.bragg_angle_deg(8.04778) == pytest.approx(14.221, abs=5e-4)
    assert optics.wavelength_nm(8.04778) == pytest.approx(0.154059, abs=2e-6)  # Cu K alpha 1


def test_hc_and_spacing() -> None:
    assert pytest.approx(1.2398419843320026, rel=1e-15) == optics.HC_KEV_NM
    assert pytest.approx(0.31356, abs=1e-5) == optics.SI111_SPACING_NM


def test_zone_plate_of_literature() -> None:
    assert optics.focal_length_mm(150, 30, 8.0) == pytest.approx(29.04, abs=5e-3)


@pytest.mark.parametrize(
    ("diameter", "zone", "focal", "zones", "depth"),
    [(125, 25, 20.16, 1250, 8.1), (150, 40, 38.71, 937.5, 20.6)],
)
def test_zone_plates_of_the_beamline(diameter: float, zone: float, focal: float, zones: float, depth: float) -> None:
    assert optics.focal_length_mm(diameter, zone, 8.0) == pytest.approx(focal, abs=6e-3)
    assert optics.zone_number(diameter, zone) == zones
    assert optics.max_bandwidth(diameter, zone) == 1.0 / zones
    assert optics.depth_of_focus_um(zone, 8.0) == pytest.approx(depth, abs=0.06)
    assert optics.rayleigh_resolution_nm(zone, 8.0) == pytest.approx(1.22 * zone)
    assert optics.outermost_zone_limit_nm(zone) == zone / 2


@pytest.mark.parametrize(
    ("energy", "focal", "sample", "detector"),
    [
        (5.0, 29.5198, 30.4281, 1019.340),
        (8.0, 47.2316, 48.6849, 1630.944),
        (8.333, 49.1976, 50.7114, 1698.832),
        (9.0, 53.1356, 54.7705, 1834.812),
    ],
)
def test_distances_of_a_published_microscope(energy: float, focal: float, sample: float, detector: float) -> None:
    f = optics.focal_length_mm(244.0, 30.0, energy)
    assert f == pytest.approx(focal, rel=2e-5)
    assert optics.sample_distance_mm(f, 32.5) == pytest.approx(sample, rel=2e-5)
    assert optics.detector_distance_mm(f, 32.5) == pytest.approx(detector, rel=2e-5)
    assert optics.energy_from_focal_length_kev(244.0, 30.0, f) == pytest.approx(energy)


def test_nickel_edge_geometry() -> None:
    assert optics.edge_energy_kev("Ni") == pytest.approx(8.333, abs=1e-6)
    assert optics.bragg_angle_deg(8.333) == pytest.approx(13.72, abs=5e-3)
    with pytest.raises(OutOfRangeError, match="'Xx'"):
        optics.edge_energy_kev("Xx")


def test_air_at_8_kev() -> None:
    # NIST XCOM: mu/rho of dry air at 8 keV is 9.921 cm2/g; 1.2 kg/m3 over 10 cm
    assert optics.air_transmission(8.0, 100.0) == pytest.approx(math.exp(-9.921 * 1.2e-3 * 10), rel=5e-3)


@given(energies)
def test_bragg_is_its_own_inverse(energy: float) -> None:
    angle = optics.bragg_angle_deg(energy)
    assert optics.bragg_energy_kev(angle) == pytest.approx(energy, rel=1e-12)
    assert 2 * optics.crystal_gap_mm(energy) * math.cos(math.radians(angle)) == pytest.approx(25.0, rel=1e-12)
    assert optics.energy_kev(optics.wavelength_nm(energy)) == pytest.approx(energy, rel=1e-14)


@given(energies, st.floats(5.0, 200.0))
def test_thin_lens_closes(energy: float, magnification: float) -> None:
    f = optics.focal_length_mm(125.0, 25.0, energy)
    p = optics.sample_distance_mm(f, magnification)
    total = optics.detector_distance_mm(f, magnification)
    assert 1 / p + 1 / (total - p) == pytest.approx(1 / f, rel=1e-9)
    assert optics.magnification_from_distances(f, total) == pytest.approx(magnification, rel=1e-9)
    assert optics.magnification_from_lens_positions(p, total) == pytest.approx(magnification, rel=1e-9)
    assert optics.zone_plate_position_mm(f, total) == pytest.approx(p, rel=1e-9)
    assert optics.defocus_um(p, total, f) == pytest.approx(0.0, abs=1e-7)


@given(energies, st.floats(-0.05, 0.05))
def test_bragg_offset_shifts_the_energy(energy: float, offset: float) -> None:
    shift = optics.energy_shift_of_bragg_offset_kev(energy, offset)
    theta = math.radians(optics.bragg_angle_deg(energy))
    assert shift == pytest.approx(-energy / math.tan(theta) * math.radians(offset), rel=2e-2, abs=1e-12)


def test_defocus_counts_micrometres_of_the_lens() -> None:
    f = optics.focal_length_mm(125.0, 25.0, 8.0)
    p, total = optics.sample_distance_mm(f, 63.0), optics.detector_distance_mm(f, 63.0)
    # moving the lens by 10 um downstream with the detector fixed moves the sharp plane by 10 um * (1 - 1/M^2)
    assert optics.defocus_um(p + 0.01, total, f) == pytest.approx(10 * (1 - 1 / 63.0**2), rel=1e-3)


def test_effective_pixel() -> None:
    assert optics.effective_pixel_nm(6.5, 10.0, 65.0) == pytest.approx(10.0)


@pytest.mark.parametrize("bad", [float("nan"), 0.0, -8.0, float("inf")])
def test_bad_numbers_are_refused_in_one_line(bad: float) -> None:
    for call in (
        lambda: optics.wavelength_nm(bad),
        lambda: optics.energy_kev(bad),
        lambda: optics.bragg_angle_deg(bad),
        lambda: optics.bragg_energy_kev(bad),
        lambda: optics.focal_length_mm(bad, 25, 8),
        lambda: optics.focal_length_mm(125, bad, 8),
        lambda: optics.depth_of_focus_um(bad, 8),
        lambda: optics.sample_distance_mm(bad, 10),
        lambda: optics.magnification_from_distances(20, bad),
        lambda: optics.effective_pixel_nm(bad, 1, 1),
    ):
        with pytest.raises(OutOfRangeError) as caught:
            call()
        assert "\n" not in str(caught.value)
        assert f"{bad:g}" in str(caught.value)


def test_impossible_geometry_is_refused() -> None:
    with pytest.raises(OutOfRangeError, match=r"1\.97"):
        optics.bragg_angle_deg(1.5)
    with pytest.raises(OutOfRangeError, match="4 f = 80 mm"):
        optics.magnification_from_distances(20.0, 79.0)
    with pytest.raises(OutOfRangeError, match="90"):
        optics.bragg_energy_kev(91.0)


def test_import_is_light() -> None:
    """Devices import this module at once: neither it nor what it imports loads more than the standard library."""
    for module in (optics, errors):
        tree = ast.parse(inspect.getsource(module))
        names: set[str] = set()
        for node in tree.body:
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module or ".")
        assert names <= {"__future__", "math", "exitwave.analysis.errors"}
