"""Silicon drift detectors around a specimen: what of the emitted photons they collect, and how sharply."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from exitwave.simulators.physics.constants import SIGMA_PER_FWHM
from exitwave.simulators.physics.materials import ALUMINIUM, Material

__all__ = ["FANO_FACTOR", "PAIR_EV", "Segment", "efficiency", "escape", "resolution_fwhm_ev", "seen_fraction"]

Values = npt.NDArray[np.float64]

PAIR_EV = 3.66
"""Energy per electron-hole pair in cooled silicon, eV (G. Lowe and R. Sareen, X-Ray Spectrom. 26 (1997) 63)."""
FANO_FACTOR = 0.118
"""Of silicon (N. Meidinger et al., NIM A 439 (2000) 319)."""
_MN_KA_EV = 5895.0
_SILICON = Material("Si", 2.33)
_THICK_UM, _DEAD_UM, _CONTACT_UM = 450.0, 0.05, 0.03


@dataclass(frozen=True)
class Segment:
    """One detector.

    Attributes
    ----------
    area_mm2 : float
        Active area.
    solid_angle_sr : float
        That it covers, unshadowed.
    take_off_deg : float
        Elevation of its middle above the plane of the untilted specimen.
    azimuth_deg : float
        Of its middle; 0 is +x of the goniometer, 90 is +y.
    mn_ka_fwhm_ev : float
        Resolution at 5.895 keV.
    """

    area_mm2: float
    solid_angle_sr: float
    take_off_deg: float
    azimuth_deg: float
    mn_ka_fwhm_ev: float = 130.0

    @property
    def half_angle_deg(self) -> float:
        """Of the cone of its solid angle."""
        return math.degrees(math.acos(1.0 - self.solid_angle_sr / (2.0 * math.pi)))

    def elevation_deg(self, alpha_deg: float, beta_deg: float) -> float:
        """Elevation above the plane of the tilted specimen.

        The specimen's normal is (sin b, -sin a cos b, cos a cos b) for tilts a about x and b about y.
        """
        t, p = math.radians(self.take_off_deg), math.radians(self.azimuth_deg)
        a, b = math.radians(alpha_deg), math.radians(beta_deg)
        direction = (math.cos(t) * math.cos(p), math.cos(t) * math.sin(p), math.sin(t))
        normal = (math.sin(b), -math.sin(a) * math.cos(b), math.cos(a) * math.cos(b))
        return math.degrees(math.asin(sum(one * other for one, other in zip(direction, normal, strict=True))))


def seen_fraction(segment: Segment, holder_deg: float, alpha_deg: float, beta_deg: float) -> float:
    """Part of a segment's solid angle that the holder's rim does not shadow.

    The rim stands at one elevation all around, in the holder's frame; the segment is a disc seen edge on.
    """
    half = segment.half_angle_deg
    height = (segment.elevation_deg(alpha_deg, beta_deg) - holder_deg) / half
    if height >= 1.0:
        return 1.0
    if height <= -1.0:
        return 0.0
    return 1.0 - (math.acos(height) - height * math.sqrt(1.0 - height**2)) / math.pi


@lru_cache(maxsize=8)
def _efficiency(energies_kev: tuple[float, ...]) -> Values:
    return np.array(
        [
            ALUMINIUM.transmission(_CONTACT_UM, e)
            * _SILICON.transmission(_DEAD_UM, e)
            * (1.0 - math.exp(-_SILICON.attenuation_per_um(e, "photo") * _THICK_UM))
            for e in energies_kev
        ]
    )


def efficiency(energies_kev: Values) -> Values:
    """Part of the photons that hit a windowless detector and are counted in full: contact, dead layer, thickness."""
    return _efficiency(tuple(np.round(np.ravel(energies_kev), 4).tolist())).reshape(np.shape(energies_kev))


def escape(material: Material, thickness_nm: float, elevation_deg: float, energies_kev: Values) -> Values:
    """Part of photons made evenly over the depth of a foil that leave it towards a detector."""
    path_um = 1e-3 * thickness_nm / max(math.sin(math.radians(elevation_deg)), 0.02)
    mu = np.array([material.attenuation_per_um(round(float(e), 4)) for e in np.ravel(energies_kev)])
    chi = mu * path_um
    return np.asarray(
        np.where(chi < 1e-9, 1.0, -np.expm1(-chi) / np.maximum(chi, 1e-9)).reshape(np.shape(energies_kev))
    )


def resolution_fwhm_ev(energy_ev: float, mn_ka_fwhm_ev: float) -> float:
    """Full width of a line: statistics of the charge (Fano) and, the rest at Mn Ka, noise of the electronics."""
    per_ev = PAIR_EV * FANO_FACTOR / SIGMA_PER_FWHM**2
    return math.sqrt(mn_ka_fwhm_ev**2 + per_ev * (energy_ev - _MN_KA_EV))
