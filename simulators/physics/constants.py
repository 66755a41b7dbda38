"""Physical constants in the units of an X-ray beamline, all from CODATA (`scipy.constants`)."""

from __future__ import annotations

import math

from scipy import constants as codata

HC_KEV_NM: float = codata.h * codata.c / codata.e * 1e6
"""Planck's constant times the speed of light, keV nm."""

ELECTRON_RADIUS_NM: float = codata.physical_constants["classical electron radius"][0] * 1e9
"""Classical electron radius, nm."""

ELECTRON_REST_ENERGY_KEV: float = codata.m_e * codata.c**2 / codata.e * 1e-3
"""Rest energy of the electron, keV."""

FINE_STRUCTURE: float = codata.fine_structure
AVOGADRO: float = codata.N_A
ELEMENTARY_CHARGE_C: float = codata.e
SPEED_OF_LIGHT_M_S: float = codata.c
ELECTRON_MASS_KG: float = codata.m_e
REDUCED_PLANCK_J_S: float = codata.hbar

SIGMA_PER_FWHM: float = 1.0 / (2.0 * math.sqrt(2.0 * math.log(2.0)))
"""Standard deviation of a Gaussian of unit full width at half maximum."""


def wavelength_nm(energy_kev: float) -> float:
    """Wavelength (nm) of a photon of ``energy_kev``."""
    return HC_KEV_NM / energy_kev
