"""Between crystals and condenser: slits in a Gaussian beam, gas ionisation, edge foils."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from exitwave.simulators.physics.constants import ELEMENTARY_CHARGE_C, SIGMA_PER_FWHM
from exitwave.simulators.physics.materials import FOILS, NITROGEN_1ATM, k_edge_kev

NITROGEN_ION_PAIR_EV = 34.8
"""Mean energy per ion pair in nitrogen (eV), ICRU report 31."""

Floats = npt.NDArray[np.float64]


def slit_transmission(negative_um: float, positive_um: float, centre_um: float, fwhm_um: float) -> float:
    """Part of a Gaussian beam that passes between two blades (all in um); crossed blades pass nothing."""
    if positive_um <= negative_um:
        return 0.0
    scale = 1.0 / (fwhm_um * SIGMA_PER_FWHM * math.sqrt(2.0))
    upper, lower = (positive_um - centre_um) * scale, (negative_um - centre_um) * scale
    return 0.5 * (math.erf(upper) - math.erf(lower))


def slit_moments(negative_um: float, positive_um: float, centre_um: float, fwhm_um: float) -> tuple[float, float]:
    """Mean and rms (um) of the light that passes two blades: what the condenser sees as its source."""
    if positive_um <= negative_um:
        return 0.0, 1.0
    x = np.linspace(negative_um, positive_um, 401)
    weight = np.exp(-0.5 * ((x - centre_um) / (fwhm_um * SIGMA_PER_FWHM)) ** 2)
    total = float(weight.sum())
    if total < 1e-30:
        return 0.5 * (negative_um + positive_um), (positive_um - negative_um) / math.sqrt(12.0)
    mean = float((weight * x).sum()) / total
    return mean, math.sqrt(max(float((weight * (x - mean) ** 2).sum()) / total, 1e-6))


def ion_chamber_absorbed(energy_kev: float, length_mm: float, pressure_bar: float) -> float:
    """Fraction of the photons that are photo-absorbed in the sensitive length of a nitrogen chamber."""
    return -math.expm1(-NITROGEN_1ATM.attenuation_per_um(energy_kev, "photo") * pressure_bar * length_mm * 1e3)


def ion_chamber_passed(energy_kev: float, length_mm: float, pressure_bar: float) -> float:
    """Fraction of the photons that leave the chamber (all processes count)."""
    return math.exp(-NITROGEN_1ATM.attenuation_per_um(energy_kev) * pressure_bar * length_mm * 1e3)


def charge_per_photon_c(energy_kev: float) -> float:
    """Charge (C) of one sign set free by one photon absorbed in nitrogen."""
    return energy_kev * 1e3 / NITROGEN_ION_PAIR_EV * ELEMENTARY_CHARGE_C


def _edge_shape(offset_kev: Floats, width_kev: float) -> Floats:
    """Edge step of unit height: arctan of the core-hole width, a white line 9 eV above it, a damped ripple."""
    step = 0.5 + np.arctan(offset_kev / (0.5 * width_kev)) / math.pi
    white = 0.25 / (1.0 + ((offset_kev - 9e-3) / 6e-3) ** 2)
    above = np.maximum(offset_kev - 9e-3, 0.0)
    wavenumber = np.sqrt(262.47 * above)  # 1/angstrom, of the photo-electron
    ripple = -0.08 * np.sin(2.0 * 2.4 * wavenumber) * np.exp(-above / 0.12) * np.tanh(above / 0.02)
    return np.asarray(step + (white + ripple) * step)


@lru_cache(maxsize=16)
def _edge_shift_kev(width_kev: float) -> float:
    """Where the steepest point of `_edge_shape` lies, so that it can be put at the tabulated edge."""
    x = np.linspace(-5e-3, 5e-3, 20001)
    return float(x[np.argmax(np.gradient(_edge_shape(x, width_kev), x))])


@lru_cache(maxsize=16)
def _wings(element: str) -> tuple[float, float, float, float]:
    """Power laws of the attenuation below and above the K edge: (mu, exponent) of each, mu at the edge, 1/um."""
    material, _ = FOILS[element]
    edge, _ = k_edge_kev(element)
    low = [material.attenuation_per_um(edge * f) for f in (0.96, 0.99)]
    high = [material.attenuation_per_um(edge * f) for f in (1.01, 1.05)]
    p_low = math.log(low[1] / low[0]) / math.log(0.99 / 0.96)
    p_high = math.log(high[1] / high[0]) / math.log(1.05 / 1.01)
    return low[1] * (1 / 0.99) ** p_low, p_low, high[0] * (1 / 1.01) ** p_high, p_high


def foil_attenuation_per_um(element: str, energy_kev: Floats) -> Floats:
    """Attenuation (1/um) of a calibration foil, with an edge of finite width.

    The tables' sharp step is replaced by an arctan of the core-hole width with a white line and a ripple; its
    inflection point lies at the tabulated edge energy.
    """
    edge, width = k_edge_kev(element)
    mu_low, p_low, mu_high, p_high = _wings(element)
    below = mu_low * (energy_kev / edge) ** p_low
    above = mu_high * (energy_kev / edge) ** p_high
    shape = _edge_shape(energy_kev - edge + _edge_shift_kev(width), width)
    return np.asarray(below + (above - below) * shape)


def foil_transmission(element: str, energy_kev: float, bandwidth: float) -> float:
    """Transmission of a foil for the beam's own Gaussian spectrum (relative FWHM ``bandwidth``)."""
    if element == "None":
        return 1.0
    nodes, weights = np.polynomial.hermite.hermgauss(9)
    energies = energy_kev * (1.0 + nodes * math.sqrt(2.0) * SIGMA_PER_FWHM * bandwidth)
    thickness = FOILS[element][1]
    passed = np.exp(-foil_attenuation_per_um(element, energies) * thickness)
    return float((weights * passed).sum() / weights.sum())
