"""How much of an element there is, from the jump of the absorption at its edge.

The photoabsorption of the element itself jumps at the edge by a tabulated amount per g/cm2; everything else
does not. Tables: W. T. Elam, B. D. Ravel and J. R. Sieber, Radiat. Phys. Chem. 63, 121 (2002), through
xraydb. They are good to about 3 % at K edges, which is not in the deviations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import EnergyListError, OutOfRangeError, ShapeError
from exitwave.analysis.xanes.energies import edge_energy_ev

__all__ = ["ElementMap", "areal_density", "edge_jump_cm2_g", "k_edge_subtraction", "mass_absorption_cm2_g"]

Image = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ElementMap:
    """Areal density (...) of an element and its deviation from the counts, g/cm2."""

    element: str
    density_g_cm2: Image
    density_sd_g_cm2: Image


def mass_absorption_cm2_g(element: str, energy_ev: float) -> float:
    """Return the tabulated photoabsorption of an element, cm2/g: the part of mu/rho that jumps at edges.

    Raises
    ------
    OutOfRangeError
        Unknown element, or an energy outside of the tables.
    """
    import xraydb

    if not 100.0 <= energy_ev <= 800e3:
        raise OutOfRangeError(f"energy = {energy_ev:g} eV is outside [100, 800000] eV")
    try:
        return float(xraydb.mu_elam(element, energy_ev, kind="photo"))
    except ValueError as error:
        raise OutOfRangeError(f"element {element!r}: not in the tables") from error


def edge_jump_cm2_g(element: str, edge: str = "K") -> float:
    """Return by how much the element's mu/rho jumps at its edge, cm2/g."""
    at = edge_energy_ev(element, edge)
    return mass_absorption_cm2_g(element, at + 0.1) - mass_absorption_cm2_g(element, at - 0.1)


def areal_density(step: npt.ArrayLike, step_sd: npt.ArrayLike, element: str, edge: str = "K") -> ElementMap:
    """Return the areal density of an element from edge steps (...) at E0, optical depth (see `Normalisation`)."""
    jump = edge_jump_cm2_g(element, edge)
    return ElementMap(
        element,
        np.asarray(np.asarray(step, np.float64) / jump, dtype=np.float32),
        np.asarray(np.asarray(step_sd, np.float64) / jump, dtype=np.float32),
    )


def k_edge_subtraction(
    below: Any,
    above: Any,
    energy_below_ev: float,
    energy_above_ev: float,
    element: str,
    *,
    edge: str = "K",
    variance_below: Any = None,
    variance_above: Any = None,
    matrix_power: float = -3.0,
) -> ElementMap:
    """Return the areal density of an element from optical depths at two energies, one on each side of its edge.

    The optical depth of the rest is taken to fall as E^matrix_power (-3 for photoabsorption far from edges),
    and is eliminated; the element's own fall is that of the tables. Both energies should stay some 50 eV off
    the edge: the structure near the edge is not in the tables.

    Parameters
    ----------
    below, above : (...)
        Optical depths; `variance_below`, `variance_above` likewise, or no deviations.

    Raises
    ------
    EnergyListError
        When the energies do not lie on either side of the edge.
    ShapeError, OutOfRangeError
    """
    at = edge_energy_ev(element, edge)
    if not energy_below_ev < at < energy_above_ev:
        raise EnergyListError(
            f"{element} {edge} edge at {at:g} eV is not between {energy_below_ev:g} and {energy_above_ev:g} eV; "
            "take one energy on each side"
        )
    low, high = np.asarray(below, np.float64), np.asarray(above, np.float64)
    if low.shape != high.shape:
        raise ShapeError(f"edge subtraction: shapes {low.shape} and {high.shape} differ")
    fall = (energy_above_ev / energy_below_ev) ** matrix_power
    jump = mass_absorption_cm2_g(element, energy_above_ev) - fall * mass_absorption_cm2_g(element, energy_below_ev)
    density = (high - fall * low) / jump
    sd = np.full(low.shape, np.nan)
    if variance_below is not None and variance_above is not None:
        sd = np.sqrt(np.asarray(variance_above, np.float64) + fall**2 * np.asarray(variance_below, np.float64)) / jump
    return ElementMap(element, density.astype(np.float32), np.asarray(sd, dtype=np.float32))
