"""Absorption near a K edge by element and valence, joined to the tabulated atomic one, with its dispersion.

Near the edge f''(E) = b(E) + (a(E) - b(E)) n(E): b and a are power laws through the table below and above the edge
(Victoreen), n the normalised spectrum of a standard: an arctan rise of the core hole's width and some more, lines
(pseudo-Voigt, half and half), and the oscillation of the photo-electron that neighbours scatter back,
chi(k) = sum_j A_j exp(-2 s^2 k^2) sin(2 k R_j + phi_j) / k, k = sqrt(2 m (E - E_rise)) / hbar. From 60 eV to 160 eV
below the tabulated edge and from 300 eV to 600 eV above it the model passes into the table (Chantler's, in xraydb), and
is the table beyond. The difference of f'' to the table gives that of f' by `kramers_kronig`; it is compact, so that
nothing is cut off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from exitwave.simulators.physics import materials
from exitwave.simulators.physics.constants import (
    ELECTRON_MASS_KG,
    ELECTRON_RADIUS_NM,
    ELEMENTARY_CHARGE_C,
    HC_KEV_NM,
    REDUCED_PLANCK_J_S,
    SIGMA_PER_FWHM,
)
from exitwave.simulators.physics.kramers_kronig import dispersion
from exitwave.simulators.physics.materials import Material

Floats = npt.NDArray[np.float64]

MODEL_EV = (-60.0, 300.0)
"""From the tabulated edge: where the model holds alone."""
TABLE_EV = (-160.0, 600.0)
"""From the tabulated edge: outside there is nothing but the table."""
_NODE_EV = 0.2
_BAND_POINTS = 7
_ONSET_PER_ANGSTROM = 2.5
_K2_PER_EV = 2.0 * ELECTRON_MASS_KG * ELEMENTARY_CHARGE_C / REDUCED_PLANCK_J_S**2 * 1e-20
"""Square of the photo-electron's wave number (1/angstrom2) per eV."""


@dataclass(frozen=True)
class Line:
    """A line: height in edge steps, place (eV from the tabulated edge), full width at half height (eV)."""

    height: float
    place_ev: float
    width_ev: float


@dataclass(frozen=True)
class Shell:
    """A shell of neighbours: amplitude (1/angstrom), distance with the linear part of the phase (angstrom), phase."""

    amplitude: float
    distance: float
    phase_rad: float


@dataclass(frozen=True)
class Standard:
    """An element in one state: the figures of its normalised spectrum.

    Attributes
    ----------
    element, valence
        Which.
    rise_ev
        Middle of the arctan from the tabulated edge (eV).
    broadening_ev
        Its full width beyond the core hole's (eV).
    lines, shells
        White line and others; neighbours.
    disorder
        s^2 of the shells (angstrom2).
    """

    element: str
    valence: int
    rise_ev: float
    broadening_ev: float
    lines: tuple[Line, ...]
    shells: tuple[Shell, ...]
    disorder: float

    @property
    def name(self) -> str:
        """Name, as in Ni3+."""
        return f"{self.element}{self.valence}+"

    def normalised(self, energy_ev: Floats) -> Floats:
        """Return the spectrum in edge steps: 0 far below, 1 far above.

        Parameters
        ----------
        energy_ev
            float64, any shape (eV).
        """
        edge, width = _edge_ev(self.element)
        away = np.asarray(energy_ev, np.float64) - edge
        out = 0.5 + np.arctan(2.0 * (away - self.rise_ev) / (width + self.broadening_ev)) / math.pi
        for line in self.lines:
            u = 2.0 * (away - line.place_ev) / line.width_ev
            out += line.height * 0.5 * (np.exp(-math.log(2.0) * u * u) + 1.0 / (1.0 + u * u))
        k = np.sqrt(_K2_PER_EV * np.maximum(away - self.rise_ev, 0.0))
        onset = -np.expm1(-((k / _ONSET_PER_ANGSTROM) ** 4)) * np.exp(-2.0 * self.disorder * k * k)
        for shell in self.shells:
            wave = np.sin(2.0 * k * shell.distance + shell.phase_rad)
            out += shell.amplitude * onset * wave / np.maximum(k, 1e-3)
        step = (away >= 0.0).astype(np.float64)
        return np.asarray(step + _window(away) * (out - step))

    def change_of_absorption(self, energy_ev: Floats) -> Floats:
        """Return f'' (electrons per atom) minus the table's.

        Parameters
        ----------
        energy_ev
            float64 (n,) (eV).
        """
        edge, _ = _edge_ev(self.element)
        energy = np.asarray(energy_ev, np.float64)
        (low, low_power), (high, high_power) = _wings(self.element)
        below, above = low * (energy / edge) ** low_power, high * (energy / edge) ** high_power
        model = below + (above - below) * self.normalised(energy)
        return np.asarray(_window(energy - edge) * (model - materials.photo_factor(self.element, energy)))

    def change(self, energy_ev: Floats) -> tuple[Floats, Floats]:
        """Return f' and f'' (electrons per atom) minus the table's.

        Parameters
        ----------
        energy_ev
            float64 (n,) (eV).
        """
        nodes, values = _nodes(self)
        return dispersion(nodes, values, np.asarray(energy_ev, np.float64)), self.change_of_absorption(energy_ev)


def _window(away_ev: Floats) -> Floats:
    """1 where the model holds, 0 where the table does, a quarter wave squared between."""
    below = np.clip((away_ev - TABLE_EV[0]) / (MODEL_EV[0] - TABLE_EV[0]), 0.0, 1.0)
    above = np.clip((TABLE_EV[1] - away_ev) / (TABLE_EV[1] - MODEL_EV[1]), 0.0, 1.0)
    return np.asarray(np.sin(0.5 * math.pi * below) ** 2 * np.sin(0.5 * math.pi * above) ** 2)


@lru_cache(maxsize=32)
def _edge_ev(element: str) -> tuple[float, float]:
    edge, width = materials.k_edge_kev(element)
    return 1e3 * edge, 1e3 * width


@lru_cache(maxsize=32)
def _wings(element: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Power laws of the table's f'' below and above the edge: value at the edge, and power."""
    edge, _ = _edge_ev(element)
    found = []
    for near, far in ((TABLE_EV[0], 4.0 * TABLE_EV[0]), (MODEL_EV[1], 2.0 * TABLE_EV[1])):
        ratio = np.array([1.0 + near / edge, 1.0 + far / edge])
        value = materials.photo_factor(element, edge * ratio)
        power = math.log(value[1] / value[0]) / math.log(ratio[1] / ratio[0])
        found.append((float(value[0] / ratio[0] ** power), power))
    return found[0], found[1]


@lru_cache(maxsize=64)
def _nodes(standard: Standard) -> tuple[Floats, Floats]:
    edge, _ = _edge_ev(standard.element)
    nodes = edge + np.arange(TABLE_EV[0], TABLE_EV[1] + 0.5 * _NODE_EV, _NODE_EV)
    values = standard.change_of_absorption(nodes)
    values[[0, -1]] = 0.0
    return nodes, values


@dataclass(frozen=True)
class StatedMaterial(Material):
    """A material some of whose elements are in known states: its index has their edges.

    Attributes
    ----------
    states
        One standard for each such element.
    """

    states: tuple[Standard, ...] = ()

    def delta_beta(self, energy_kev: float, bandwidth: float = 0.0) -> tuple[float, float]:
        """Refractive index decrement and absorption index (photo-absorption), means over the beam's spectrum.

        Parameters
        ----------
        energy_kev, bandwidth
            Energy (keV), and full width at half height of a Gaussian as part of it.
        """
        return _stated(self, round(energy_kev, 6), round(bandwidth, 7))

    def photo_cm2_g(self, energy_ev: Floats) -> Floats:
        """Return the photo-absorption per mass, sum_j n_j 2 r_e lambda f''_j (cm2/g).

        Parameters
        ----------
        energy_ev
            float64 (n,) (eV).
        """
        energy = np.asarray(energy_ev, np.float64)
        total = np.zeros(energy.shape)
        stated = {standard.element: standard for standard in self.states}
        for element in materials.elements(self.formula):
            factor = materials.photo_factor(element, energy)
            if element in stated:
                factor = factor + stated[element].change_of_absorption(energy)
            total += materials.atoms_per_nm3(self.formula, self.density_g_cm3, element) * factor
        # nm-1 are 1e7 cm-1
        return total * (2e7 * ELECTRON_RADIUS_NM * HC_KEV_NM) / (1e-3 * energy) / self.density_g_cm3


@lru_cache(maxsize=4096)
def _stated(material: StatedMaterial, energy_kev: float, bandwidth: float) -> tuple[float, float]:
    places, weights = np.polynomial.hermite_e.hermegauss(_BAND_POINTS if bandwidth > 0.0 else 1)
    energies = energy_kev * (1.0 + places * SIGMA_PER_FWHM * bandwidth)
    density = material.density_g_cm3
    table = np.array(materials.table_delta_beta(material.formula, density, tuple(energies.tolist())))
    scale = ELECTRON_RADIUS_NM * (HC_KEV_NM / energies) ** 2 / (2.0 * math.pi)
    for standard in material.states:
        per_nm3 = materials.atoms_per_nm3(material.formula, density, standard.element)
        for column, change in enumerate(standard.change(1e3 * energies)):
            table[:, column] += per_nm3 * scale * change
    delta, beta = weights @ table / weights.sum()
    return float(delta), float(beta)
