"""Bremsstrahlung of fast electrons on single atoms: where it is made, and how much.

Independent atoms, soft photons (k far below the electron's energy), straight path. The photon takes at least the
momentum hbar q_z with q_z = k / (beta hbar c). Amplitude A(q) = (q_perp, q_z / gamma) Z_eff(q) / q^2 with
q^2 = q_perp^2 + q_z^2; Z_eff = Z - f(q) (H. Bethe, Ann. Phys. 5 (1930) 325), f from D. Waasmaier and A. Kirfel,
Acta Cryst. A 51 (1995) 416, as tabulated by xraydb. Object function: squared modulus of the amplitude's Fourier
transform; here its own Fourier transform, the autocorrelation of A, is computed. Yield: k dsigma/dk = (16/3) alpha
r_e^2 Z^2 / beta^2 L with L = integral of |A|^2 q dq / Z^2 (J. D. Jackson, Classical Electrodynamics, ch. 15), the
momentum transfers ending at 2 p, where an electron is turned round. Emission is taken as isotropic.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import xraydb
from scipy.interpolate import PchipInterpolator

from exitwave.simulators.physics import materials
from exitwave.simulators.physics.constants import ELECTRON_RADIUS_NM, FINE_STRUCTURE
from exitwave.simulators.physics.electron_probe import HBAR_C_KEV_PM, Electron

__all__ = ["adiabatic_range_pm", "atomic_number", "effective_charge", "logarithm", "object_transfer", "yield_pm2"]

Values = npt.NDArray[np.float64]

_TABLE_END_PER_PM = 4.0 * math.pi * 6.0 * 1e-2  # s = 6 per angstrom is where the parametrisation ends
_NODES = 320
_ANGLES = 96


@lru_cache(maxsize=128)
def atomic_number(element: str) -> int:
    """Z of an element's symbol."""
    with materials._TABLES:
        return int(xraydb.atomic_number(element))


def adiabatic_range_pm(photon_kev: float, voltage_kv: float) -> float:
    """Distance 1 / q_z (pm) beyond which a passing electron is felt too slowly to make a photon of this energy."""
    return Electron(voltage_kv).beta * HBAR_C_KEV_PM / photon_kev


def effective_charge(element: str, q_per_pm: Values) -> Values:
    """Nuclear charge less what the atom's electrons screen of it, at momentum transfers (1/pm)."""
    q = np.asarray(q_per_pm, float)
    inside = np.minimum(q, _TABLE_END_PER_PM)
    with materials._TABLES:
        form = np.asarray(xraydb.f0(element, np.ravel(inside) / (4.0 * math.pi) * 1e2), float).reshape(q.shape)
    # Past the table its constant term would stay for ever; a form factor falls with the fourth power there.
    form = form * (inside / np.maximum(q, 1e-12)) ** 4 if q.max(initial=0.0) > _TABLE_END_PER_PM else form
    return np.asarray(np.maximum(atomic_number(element) - form, 0.0))


def _momenta(voltage_kv: float) -> tuple[Values, Values]:
    """Nodes of the transverse momentum transfer (1/pm) and the weights of an integral over q dq."""
    top = Electron(voltage_kv).largest_transfer_per_pm
    edges = np.concatenate([[0.0], np.geomspace(2e-4, top, _NODES)])
    nodes = 0.5 * (edges[1:] + edges[:-1])
    return nodes, 0.5 * (edges[1:] ** 2 - edges[:-1] ** 2)


@lru_cache(maxsize=512)
def logarithm(element: str, photon_kev: float, voltage_kv: float) -> float:
    """L: integral of |A|^2 q dq over Z^2, about 3 to 4."""
    electron = Electron(voltage_kv)
    qz = 1.0 / adiabatic_range_pm(photon_kev, voltage_kv)
    q, weight = _momenta(voltage_kv)
    total = q**2 + qz**2
    charge = effective_charge(element, np.sqrt(total))
    amplitude2 = (q**2 + (qz / electron.gamma) ** 2) * charge**2 / total**2
    return float(np.sum(amplitude2 * weight)) / atomic_number(element) ** 2


def yield_pm2(element: str, photon_kev: float, voltage_kv: float) -> float:
    """Cross-section per relative photon energy, k dsigma/dk, in pm^2."""
    radius_pm = ELECTRON_RADIUS_NM * 1e3
    beta = Electron(voltage_kv).beta
    strength = 16.0 / 3.0 * FINE_STRUCTURE * radius_pm**2 * atomic_number(element) ** 2 / beta**2
    return strength * logarithm(element, photon_kev, voltage_kv)


@lru_cache(maxsize=256)
def _object_nodes(element: str, photon_kev: float, voltage_kv: float, top_per_pm: float) -> tuple[Values, Values]:
    electron = Electron(voltage_kv)
    qz = 1.0 / adiabatic_range_pm(photon_kev, voltage_kv)
    q, weight = _momenta(voltage_kv)
    end2 = electron.largest_transfer_per_pm**2
    angle = (np.arange(_ANGLES) + 0.5) * math.pi / _ANGLES

    def over_q2(transverse2: Values) -> Values:
        total = transverse2 + qz**2
        return np.where(transverse2 <= end2, charge_at(np.sqrt(total)) / total, 0.0)

    grid = np.geomspace(1e-4, 2.0 * electron.largest_transfer_per_pm, 2000)
    table = effective_charge(element, grid)

    def charge_at(momentum: Values) -> Values:
        return np.interp(momentum, grid, table)

    own = over_q2(q**2)[:, None]
    shifts = np.concatenate([[0.0], np.geomspace(2e-3, top_per_pm, 40)])
    values = np.empty(shifts.size)
    for index, shift in enumerate(shifts):
        # Halfway to either side, so that both factors are treated alike and the integrand stays smooth.
        along = q[:, None] * np.cos(angle)[None, :]
        square = (q**2)[:, None] + 0.25 * shift**2
        first, second = square + along * shift, square - along * shift
        product = (q**2)[:, None] - 0.25 * shift**2 + (qz / electron.gamma) ** 2
        if shift == 0.0:
            values[index] = float(np.sum(own[:, 0] ** 2 * product[:, 0] * weight))
        else:
            values[index] = float(np.sum((over_q2(first) * over_q2(second) * product).mean(axis=1) * weight))
    return shifts, values / values[0]


def object_transfer(element: str, photon_kev: float, voltage_kv: float, k_per_pm: Values) -> Values:
    """Fourier transform of the object function, 1 at zero.

    Parameters
    ----------
    element : str
        Symbol.
    photon_kev, voltage_kv : float
        Energy of the photon, and of the electron.
    k_per_pm : ndarray
        Spatial frequencies times 2 pi, 1/pm, any shape.

    Returns
    -------
    ndarray
        Of the same shape, float64.
    """
    shifts, values = _object_nodes(element, photon_kev, voltage_kv, 0.6)
    return np.asarray(PchipInterpolator(shifts, values)(np.minimum(k_per_pm, shifts[-1])))
