"""What independent atoms are expected to show in bremsstrahlung, in closed form.

An electron on a straight path past a screened nucleus loses k to a soft photon with amplitude
A(q) = (q_perp, q_z / gamma) Z_eff(q) / q^2, q_z = k / (beta hbar c). With Moliere's screening
Z_eff(q) = Z sum_i a_i q^2 / (q^2 + mu_i^2) (G. Moliere, Z. Naturforsch. 2a, 133 (1947)) its Fourier transform
is a sum of Bessel functions,

    A(rho) = Z sum_i a_i (kappa_i K1(kappa_i rho), q_z / gamma K0(kappa_i rho)),  kappa_i^2 = q_z^2 + mu_i^2,

and the object function is O(rho) = |A(rho)|^2. The image of a column is O seen through thermal motion, probe and
source; both are Gaussians here. Channelling is left out: what it adds depends on thickness and tilt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xraydb
from scipy import optimize, special

from exitwave.analysis.eds.axis import EnergyWindow
from exitwave.analysis.errors import OutOfRangeError, require_positive

__all__ = [
    "Column",
    "adiabatic_range_pm",
    "counts_needed",
    "expected_fwhm_pm",
    "expected_intensity",
    "object_function",
    "radiation_logarithm",
]

Array = npt.NDArray[np.float64]
HBAR_C_KEV_PM = 197.3269804
ELECTRON_REST_KEV = 510.99895
BOHR_PM = 52.9177211
_MOLIERE_A = np.array([0.10, 0.55, 0.35])
_MOLIERE_B = np.array([6.0, 1.2, 0.3])
_FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))


@dataclass(frozen=True)
class Column:
    """Atoms one behind the other: ``(symbol, number per period, B in A^2)``, B the displacement parameter."""

    atoms: tuple[tuple[str, float, float], ...]

    @classmethod
    def of(cls, symbol: str, b_a2: float) -> Column:
        """Return a column of one element."""
        return cls(((symbol, 1.0, b_a2),))


def _speed(beam_kev: float) -> tuple[float, float]:
    gamma = 1.0 + require_positive("beam_kev", beam_kev, "keV") / ELECTRON_REST_KEV
    return math.sqrt(1.0 - 1.0 / gamma**2), gamma


def adiabatic_range_pm(photon_kev: float, beam_kev: float) -> float:
    """Return beta hbar c / k, pm: beyond this distance no photon of energy k is made."""
    beta, _ = _speed(beam_kev)
    return beta * HBAR_C_KEV_PM / require_positive("photon_kev", photon_kev, "keV")


def _screening(z: int, qz: float) -> Array:
    radius = 0.88534 * BOHR_PM * z ** (-1.0 / 3.0)
    return np.asarray(np.hypot(qz, _MOLIERE_B / radius))


def object_function(symbol: str, rho_pm: npt.ArrayLike, photon_kev: float, beam_kev: float) -> Array:
    """Return |A(rho)|^2, 1/pm^2 (times Z^2): the shape of an atom in photons of one energy.

    Raises
    ------
    OutOfRangeError
        For an unknown element, rho <= 0 or a photon above the beam's energy.
    """
    _, gamma = _speed(beam_kev)
    rho = np.asarray(rho_pm, np.float64)
    if (rho <= 0).any() or not photon_kev < beam_kev:
        raise OutOfRangeError(
            f"object function: rho must be > 0 pm, photons of {photon_kev:g} keV below {beam_kev:g} keV"
        )
    z = _number(symbol)
    qz = 1.0 / adiabatic_range_pm(photon_kev, beam_kev)
    across, along = np.zeros_like(rho), np.zeros_like(rho)
    for share, kappa in zip(_MOLIERE_A, _screening(z, qz), strict=True):
        across += share * kappa * special.k1(kappa * rho)
        along += share * qz / gamma * special.k0(kappa * rho)
    return np.asarray(z**2 * (across**2 + along**2))


def _number(symbol: str) -> int:
    try:
        return int(xraydb.atomic_number(symbol))
    except (ValueError, AttributeError, KeyError) as error:
        raise OutOfRangeError(f"element {symbol!r} is not known") from error


def radiation_logarithm(symbol: str, photon_kev: float, beam_kev: float) -> float:
    """Return L of k dsigma/dk = (16/3) alpha r_e^2 Z^2 / beta^2 L: the integral of O(rho) rho drho / Z^2.

    O goes as 1 / rho^2 at the nucleus; distances under hbar / 2p, which no electron resolves, are left out.
    """
    beta, gamma = _speed(beam_kev)
    shortest = HBAR_C_KEV_PM / (2.0 * beta * gamma * ELECTRON_REST_KEV)
    longest = 40.0 * adiabatic_range_pm(photon_kev, beam_kev)
    x = np.linspace(math.log(shortest), math.log(longest), 1500)
    rho = np.exp(x)
    return float(np.trapezoid(object_function(symbol, rho, photon_kev, beam_kev) * rho**2, x)) / _number(symbol) ** 2


def _image(column: Column, at_pm: Array, photon_kev: float, beam_kev: float, probe_fwhm_pm: float) -> Array:
    """Return the image of a column at distances from its middle: O through a Gaussian, in polar coordinates."""
    beta, gamma = _speed(beam_kev)
    shortest = HBAR_C_KEV_PM / (2.0 * beta * gamma * ELECTRON_REST_KEV)
    x = np.linspace(math.log(shortest), math.log(12.0 * adiabatic_range_pm(photon_kev, beam_kev)), 2500)
    rho = np.exp(x)
    total = np.zeros_like(at_pm)
    for symbol, amount, b_a2 in column.atoms:
        # B = 8 pi^2 <u^2>; 1 A^2 = 10^4 pm^2
        variance = (probe_fwhm_pm / _FWHM) ** 2 + b_a2 * 1e4 / (8.0 * math.pi**2)
        shape = object_function(symbol, rho, photon_kev, beam_kev)
        for k, r in enumerate(at_pm):
            spread = np.exp(-((r - rho) ** 2) / (2.0 * variance)) * special.i0e(r * rho / variance)
            total[k] += amount * float(np.trapezoid(shape * spread * rho**2, x)) / variance
    return total


def _energies(window: EnergyWindow | float, n: int) -> tuple[Array, Array]:
    """Return photon energies and weights (bremsstrahlung falls as 1 / k) over a window."""
    if isinstance(window, EnergyWindow):
        nodes, weights = np.polynomial.legendre.leggauss(n)
        energy = window.middle_kev + 0.5 * window.width_kev * nodes
        return energy, weights / energy * 0.5 * window.width_kev
    return np.array([float(window)]), np.array([1.0 / float(window)])


def _profile(
    column: Column, at_pm: Array, window: EnergyWindow | float, beam_kev: float, probe_fwhm_pm: float
) -> Array:
    total = np.zeros_like(at_pm)
    for energy, weight in zip(*_energies(window, 3), strict=True):
        total += weight * _image(column, at_pm, float(energy), beam_kev, probe_fwhm_pm)
    return total


def expected_fwhm_pm(column: Column, window: EnergyWindow | float, *, beam_kev: float, probe_fwhm_pm: float) -> float:
    """Return the FWHM of a column in photons of a window (or of one energy, keV), pm.

    Parameters
    ----------
    column : Column
    window : EnergyWindow or float
    beam_kev : float
    probe_fwhm_pm : float
        Of probe and source together, taken for a Gaussian.
    """
    probe = require_positive("probe_fwhm_pm", probe_fwhm_pm, "pm")
    top = float(_profile(column, np.array([0.0]), window, beam_kev, probe)[0])

    def over(r: float) -> float:
        return float(_profile(column, np.array([r]), window, beam_kev, probe)[0]) / top - 0.5

    return 2.0 * float(optimize.brentq(over, 0.2 * probe, 3.0 * probe + 100.0, xtol=1e-5))


def expected_intensity(column: Column, window: EnergyWindow | float, *, beam_kev: float, probe_fwhm_pm: float) -> float:
    """Return the peak of a column's image, relative units that hold between columns, windows and probes."""
    return float(_profile(column, np.array([0.0]), window, beam_kev, probe_fwhm_pm)[0])


def counts_needed(fwhm_pm: float, difference_pm: float, *, sigmas: float = 3.0) -> float:
    """Return the counts per column (pedestal apart) for a difference of two widths to show at so many sigmas.

    sigma(FWHM) is FWHM / (2 sqrt N) for a Gaussian without pedestal; two widths are compared.
    """
    return 2.0 * (sigmas * fwhm_pm / (2.0 * abs(require_positive("difference", abs(difference_pm), "pm")))) ** 2


def column_sum(columns: Sequence[Column]) -> Column:
    """Return the atoms of several columns as one."""
    return Column(tuple(atom for column in columns for atom in column.atoms))
