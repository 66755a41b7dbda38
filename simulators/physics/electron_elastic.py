"""Electrons scattered to an annular detector: Mott-Bethe amplitude of single atoms, summed incoherently."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from exitwave.simulators.physics.electron_bremsstrahlung import effective_charge
from exitwave.simulators.physics.electron_probe import BOHR_PM, Electron

__all__ = ["annular_pm2"]


@lru_cache(maxsize=256)
def annular_pm2(element: str, voltage_kv: float, inner_mrad: float, outer_mrad: float) -> float:
    """Cross-section (pm^2) of one atom for scattering between two angles.

    First Born approximation: dsigma/dOmega = (2 gamma / a_0)^2 (Z - f(q))^2 / q^4 (H. Bethe, 1930), with
    q = 2 k sin(theta / 2).
    """
    electron = Electron(voltage_kv)
    k = 2.0 * math.pi / electron.wavelength_pm
    theta = np.linspace(inner_mrad, outer_mrad, 400) * 1e-3
    q = 2.0 * k * np.sin(0.5 * theta)
    differential = (2.0 * electron.gamma / BOHR_PM) ** 2 * effective_charge(element, q) ** 2 / q**4
    return float(np.trapezoid(differential * 2.0 * math.pi * np.sin(theta), theta))
