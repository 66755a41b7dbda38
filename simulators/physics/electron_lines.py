"""Characteristic X-rays: ionisation by fast electrons, fluorescence, and where they are made.

Cross-section: relativistic Bethe formula (E. J. Williams, Proc. R. Soc. A 139 (1933) 163) with the constants that
C. J. Powell, Rev. Mod. Phys. 48 (1976) 33 recommends; fluorescence yields, line energies and branching from xraydb.
Coster-Kronig transfers are left out. Delocalisation: dipole amplitude q / (q^2 + q_E^2) with q_E = E / (hbar v), cut
off where the shell's own size (hydrogenic, a_0 n / sqrt(E / 13.6 eV)) ends it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import xraydb
from scipy import constants as codata
from scipy import special

from exitwave.simulators.physics import materials
from exitwave.simulators.physics.constants import ELECTRON_RADIUS_NM, ELECTRON_REST_ENERGY_KEV
from exitwave.simulators.physics.electron_probe import BOHR_PM, HBAR_C_KEV_PM, Electron

__all__ = ["Family", "families", "ionisation_pm2", "line_transfer"]

Values = npt.NDArray[np.float64]

RYDBERG_KEV: float = codata.physical_constants["Rydberg constant times hc in eV"][0] * 1e-3
_OCCUPANCY = {"K": 2, "L1": 2, "L2": 2, "L3": 4, "M1": 2, "M2": 2, "M3": 4, "M4": 4, "M5": 6}
_POWELL = {"K": (0.9, 0.65), "L": (0.59, 0.63), "M": (0.5, 0.6)}
_SHELL = {"K": 1, "L": 2, "M": 3}
_LEAST_KEV = 0.2


@dataclass(frozen=True)
class Family:
    """The lines of one shell of one element.

    Attributes
    ----------
    element, shell : str
        "Pt", "L".
    energies_kev : tuple of float
        Of the lines.
    cross_sections_pm2 : tuple of float
        For making each, per atom, into the whole sphere.
    edge_kev : float
        Mean energy of the shell's edges, weighted by what they emit.
    """

    element: str
    shell: str
    energies_kev: tuple[float, ...]
    cross_sections_pm2: tuple[float, ...]
    edge_kev: float

    @property
    def total_pm2(self) -> float:
        """Cross-section of all its lines together."""
        return sum(self.cross_sections_pm2)


def ionisation_pm2(edge_kev: float, electrons: int, shell: str, voltage_kv: float) -> float:
    """Cross-section for ionising a subshell of so many electrons, pm^2; 0 below the threshold."""
    beta2 = Electron(voltage_kv).beta ** 2
    b, c = _POWELL[shell[0]]
    t_kev = 0.5 * ELECTRON_REST_ENERGY_KEV * beta2
    inside = c * t_kev / edge_kev
    if inside <= 1.0 or edge_kev >= voltage_kv:
        return 0.0
    # pi e^4 / (T E) in SI: pi (r_e m c^2)^2 / (T E)
    strength = math.pi * (ELECTRON_RADIUS_NM * 1e3 * ELECTRON_REST_ENERGY_KEV) ** 2 / (t_kev * edge_kev)
    return strength * electrons * b * (math.log(inside) - math.log1p(-beta2) - beta2)


@lru_cache(maxsize=128)
def families(element: str, voltage_kv: float, top_kev: float) -> tuple[Family, ...]:
    """Lines of an element, by shell, that lie between 0.2 keV and ``top_kev``."""
    with materials._TABLES:
        edges = {name: (edge.energy * 1e-3, edge.fyield) for name, edge in xraydb.xray_edges(element).items()}
        lines = [
            (line.initial_level.split(",")[0], line.energy * 1e-3, line.intensity)
            for line in xraydb.xray_lines(element).values()
        ]
    found = []
    for shell in _SHELL:
        energies, sections, weighted = [], [], 0.0
        for level, energy, branching in lines:
            if level not in edges or level[0] != shell or not _LEAST_KEV < energy < top_kev:
                continue
            edge, fluorescence = edges[level]
            section = ionisation_pm2(edge, _OCCUPANCY[level], shell, voltage_kv) * fluorescence * branching
            if section > 0.0:
                energies.append(energy)
                sections.append(section)
                weighted += section * edge
        if sections:
            found.append(Family(element, shell, tuple(energies), tuple(sections), weighted / sum(sections)))
    return tuple(found)


@lru_cache(maxsize=128)
def _line_nodes(shell: str, edge_kev: float, voltage_kv: float) -> tuple[Values, Values]:
    qe = edge_kev / (Electron(voltage_kv).beta * HBAR_C_KEV_PM)
    radius = BOHR_PM * _SHELL[shell] / math.sqrt(edge_kev / RYDBERG_KEV)
    # In real space: K1^2 + K0^2 / gamma^2 of b q_E, its divergence at the middle smoothed over the shell's radius.
    rho = np.geomspace(1e-3 * radius, 12.0 / qe, 3000)
    soft = np.hypot(rho, radius)
    gamma2 = Electron(voltage_kv).gamma ** 2
    density = special.k1(soft * qe) ** 2 + special.k0(soft * qe) ** 2 / gamma2
    density *= (rho**2 + 0.25 * radius**2) / soft**2
    k = np.concatenate([[0.0], np.geomspace(1e-4, 0.6, 60)])
    bessel = special.j0(rho[None, :] * k[:, None])
    values = np.trapezoid(density * rho**2 * bessel, np.log(rho), axis=1)
    return k, values / values[0]


def line_transfer(family: Family, voltage_kv: float, k_per_pm: Values) -> Values:
    """Fourier transform of where a family's ionisations happen, 1 at zero; ``k_per_pm`` as 2 pi / period."""
    k, values = _line_nodes(family.shell, round(family.edge_kev, 3), voltage_kv)
    return np.interp(k_per_pm, k, values)
