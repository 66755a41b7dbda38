"""Materials: refractive index n = 1 - delta + i beta and attenuation from xraydb's tables.

The tables are held in SQLite, which does not like several threads: look-ups pass one lock and are remembered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock

import numpy as np
import numpy.typing as npt
import xraydb

from exitwave.simulators.physics.constants import AVOGADRO, HC_KEV_NM

_TABLES = Lock()


@dataclass(frozen=True)
class Material:
    """A substance: chemical formula and mass density (g/cm3)."""

    formula: str
    density_g_cm3: float

    def delta_beta(self, energy_kev: float, bandwidth: float = 0.0) -> tuple[float, float]:
        """Refractive index decrement and absorption index at ``energy_kev``; smooth enough for any bandwidth."""
        return _delta_beta(self.formula, self.density_g_cm3, round(energy_kev, 5))

    def attenuation_per_um(self, energy_kev: float, kind: str = "total") -> float:
        """Linear attenuation coefficient (1/um); ``kind`` is xraydb's: 'total' or 'photo'."""
        return _attenuation_per_um(self.formula, self.density_g_cm3, round(energy_kev, 5), kind)

    def transmission(self, thickness_um: float, energy_kev: float) -> float:
        """Fraction of the intensity that passes ``thickness_um``."""
        return math.exp(-self.attenuation_per_um(energy_kev) * thickness_um)


@lru_cache(maxsize=4096)
def _delta_beta(formula: str, density: float, energy_kev: float) -> tuple[float, float]:
    return table_delta_beta(formula, density, (energy_kev,))[0]


@lru_cache(maxsize=4096)
def _attenuation_per_um(formula: str, density: float, energy_kev: float, kind: str) -> float:
    with _TABLES:
        mu = xraydb.material_mu(formula, np.array([energy_kev * 1e3]), density=density, kind=kind)
    return float(np.ravel(mu)[0]) * 1e-4


@lru_cache(maxsize=1024)
def scattering_factor(element: str, energy_kev: float, q_per_angstrom: float) -> complex:
    """Atomic scattering factor f0(q) + f' + i f'' with q = sin(theta)/lambda (1/angstrom)."""
    with _TABLES:
        energy = np.array([energy_kev * 1e3])
        f0 = float(np.ravel(xraydb.f0(element, q_per_angstrom))[0])
        f1 = float(np.ravel(xraydb.f1_chantler(element, energy))[0])
        f2 = float(np.ravel(xraydb.f2_chantler(element, energy))[0])
    return complex(f0 + f1, f2)


@lru_cache(maxsize=1024)
def table_delta_beta(
    formula: str, density_g_cm3: float, energies_kev: tuple[float, ...]
) -> tuple[tuple[float, float], ...]:
    """Return decrement and absorption index at each energy from the tables alone, edges as they are there."""
    with _TABLES:
        delta, beta, _ = xraydb.xray_delta_beta(formula, density_g_cm3, np.array(energies_kev) * 1e3)
    return tuple((float(d), float(b)) for d, b in zip(delta, beta, strict=True))


def photo_factor(element: str, energy_ev: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return f'' (electrons per atom) of Chantler's table: that of `Material.delta_beta`.

    Parameters
    ----------
    element
        Symbol.
    energy_ev
        float64 (n,) (eV).
    """
    with _TABLES:
        return np.asarray(xraydb.f2_chantler(element, np.asarray(energy_ev, np.float64)), np.float64)


def elements(formula: str) -> tuple[str, ...]:
    """Return the symbols of a formula's elements."""
    return tuple(xraydb.chemparse(formula))


@lru_cache(maxsize=256)
def atoms_per_nm3(formula: str, density_g_cm3: float, element: str) -> float:
    """Return how many atoms of an element a material has (1/nm3)."""
    parts = xraydb.chemparse(formula)
    with _TABLES:
        mass = sum(number * xraydb.atomic_mass(symbol) for symbol, number in parts.items())
    return float(density_g_cm3 * AVOGADRO / mass * parts[element]) * 1e-21


@lru_cache(maxsize=64)
def k_edge_kev(element: str) -> tuple[float, float]:
    """K edge and core-hole width of an element (both keV)."""
    with _TABLES:
        edge = xraydb.xray_edge(element, "K")
        width_ev = float(xraydb.core_width(element, "K"))
    return float(edge.energy) * 1e-3, width_ev * 1e-3


def wavenumber_per_um(energy_kev: float) -> float:
    """2 pi / lambda in 1/um."""
    return 2e3 * math.pi * energy_kev / HC_KEV_NM


AIR = Material("N1.562O0.42Ar0.0094", 1.2047e-3)
ALUMINIUM = Material("Al", 2.699)
BERYLLIUM = Material("Be", 1.848)
GLASS = Material("SiO2", 2.2)
GOLD = Material("Au", 19.3)
IRIDIUM = Material("Ir", 22.56)
KAPTON = Material("C22H10N2O5", 1.42)
LUAG = Material("Lu3Al5O12", 6.73)
GADOX = Material("Gd2O2S", 7.32)
NITROGEN_1ATM = Material("N", 1.1652e-3)
NMC622 = Material("LiNi0.6Co0.2Mn0.2O2", 4.75)
RHODIUM = Material("Rh", 12.41)
SILICON_NITRIDE = Material("Si3N4", 3.1)
WATER = Material("H2O", 1.0)
FOILS = {
    "Fe": (Material("Fe", 7.874), 3.0),
    "Co": (Material("Co", 8.86), 3.0),
    "Ni": (Material("Ni", 8.908), 3.0),
    "Cu": (Material("Cu", 8.96), 4.0),
    "Zn": (Material("Zn", 7.14), 5.0),
}
"""Calibration foils: material and thickness (um), about one absorption length above the edge. In a thicker foil the
light in the wings of the beam's spectrum moves the measured inflection (0.12 eV for 6 um of nickel, 0.06 for 3)."""
