"""Grazing-incidence mirrors: Fresnel reflectivity with Nevot-Croce roughness.

Source: L. Nevot and P. Croce, Rev. Phys. Appl. 15 (1980) 761.
"""

from __future__ import annotations

import cmath
import math

from exitwave.simulators.physics.constants import wavelength_nm
from exitwave.simulators.physics.materials import Material


def reflectivity(coating: Material, grazing_mrad: float, energy_kev: float, roughness_nm: float = 0.3) -> float:
    """Intensity reflectivity of a thick coating.

    Parameters
    ----------
    coating
        Material of the surface, thick against the penetration depth.
    grazing_mrad
        Grazing angle (mrad); no light is reflected at zero or below.
    energy_kev
        Photon energy (keV).
    roughness_nm
        Rms roughness (nm).
    """
    if grazing_mrad <= 0.0:
        return 0.0
    delta, beta = coating.delta_beta(energy_kev)
    sine = math.sin(grazing_mrad * 1e-3)
    k = 2.0 * math.pi / wavelength_nm(energy_kev)
    outside = k * sine
    inside = k * cmath.sqrt(sine**2 - 2.0 * complex(delta, -beta))
    fresnel = (outside - inside) / (outside + inside)
    rough = cmath.exp(-2.0 * outside * inside * roughness_nm**2)
    return abs(fresnel * rough) ** 2
