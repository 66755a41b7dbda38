"""Ion chamber against literature coefficients and its own inverse."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitwave.analysis.errors import OutOfRangeError
from exitwave.analysis.flux import absorbed_share, expected_current_a, ion_chamber_flux


def test_nitrogen_at_8_kev() -> None:
    # NIST: mass energy-absorption coefficient of N at 8 keV 7.170 cm2/g; N2 at 22 degC and 1 atm has 1.157 kg/m3
    expected = 1 - math.exp(-7.170 * 1.157e-3 * 1.0)
    assert absorbed_share(8.0) == pytest.approx(expected, rel=0.02)


def test_argon_of_ten_centimetres() -> None:
    # NIST XCOM: Ar at 10 keV 62.6 cm2/g photoelectric; 1.65 kg/m3 at 22 degC: all but 3.6e-5 absorbed
    assert absorbed_share(10.0, "Ar", 100.0) == pytest.approx(1 - math.exp(-62.6 * 1.65e-3 * 10), rel=0.02)


def test_full_absorption_needs_no_table() -> None:
    # 1 uA in a chamber that absorbs all: N = I W / (e E)
    flux = ion_chamber_flux(1e-6, 5.0, "Ar", 5000.0)
    assert flux.absorbed_share == pytest.approx(1.0)
    assert flux.photons_per_s == pytest.approx(1e-6 / 1.602176634e-19 * 26.4 / 5000.0, rel=1e-9)
    assert flux.photons_sd_per_s / flux.photons_per_s == pytest.approx(0.2 / 26.4, rel=1e-3)


def test_flux_goal_of_the_beamline_is_a_measurable_current() -> None:
    current = expected_current_a(1.3e10, 8.0)
    assert 2e-9 < current < 10e-9
    flux = ion_chamber_flux(current, 8.0, current_sd_a=0.01 * current)
    assert flux.photons_per_s == pytest.approx(1.3e10)
    # table 2 %, pressure 1 %, length 1 %, W 0.6 %, current 1 %
    assert flux.photons_sd_per_s / 1.3e10 == pytest.approx(math.hypot(0.02, 0.01, 0.01, 0.0057, 0.01), rel=0.03)


@given(st.floats(5.0, 14.0), st.floats(1e6, 1e13), st.floats(0.0, 1.0))
def test_flux_inverts_current(energy: float, photons: float, argon: float) -> None:
    gas = {"N2": 1.0 - argon, "Ar": argon}
    current = expected_current_a(photons, energy, gas)
    assert ion_chamber_flux(current, energy, gas).photons_per_s == pytest.approx(photons, rel=1e-9)


def test_mixture_lies_between_its_parts() -> None:
    parts = [absorbed_share(8.0, gas) for gas in ("He", "N2", "air", "Ar")]
    assert parts == sorted(parts)
    assert parts[1] < absorbed_share(8.0, {"N2": 1, "Ar": 1}) < parts[3]
    assert absorbed_share(8.0, pressure_pa=50662.5) < parts[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((float("nan"), 8.0), "current"),
        ((1e-9, 0.0), "energy"),
        ((1e-9, 8.0, "SF6"), "SF6"),
        ((1e-9, 8.0, "N2", 0.0), "length"),
        ((1e-9, 8.0, {}), "none"),
        ((1e-9, 8.0, {"N2": -1.0}), "share"),
    ],
)
def test_bad_input(arguments: tuple, message: str) -> None:
    with pytest.raises(OutOfRangeError, match=message):
        ion_chamber_flux(*arguments)


def test_no_current_is_no_flux() -> None:
    dark = ion_chamber_flux(0.0, 8.0, current_sd_a=1e-13)
    assert dark.photons_per_s == 0.0
    assert dark.photons_sd_per_s == pytest.approx(ion_chamber_flux(1e-13, 8.0).photons_per_s)
