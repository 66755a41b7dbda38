"""Silicon drift detectors around a specimen: what of the emitted photons they collect, and how sharply."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import xraydb

from exitwave.simulators.physics import materials
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


@lru_cache(maxsize=32)
def _attenuation(formula: str, density: float, energies_kev: tuple[float, ...], kind: str) -> Values:
    """1/um at many energies in one look-up."""
    with materials._TABLES:
        mu = xraydb.material_mu(formula, 1e3 * np.array(energies_kev), density=density, kind=kind)
    return np.asarray(mu, float) * 1e-4


def _per_um(material: Material, energies_kev: Values, kind: str = "total") -> Values:
    keys = tuple(np.round(np.ravel(energies_kev), 4).tolist())
    return _attenuation(material.formula, material.density_g_cm3, keys, kind).reshape(np.shape(energies_kev))


def efficiency(energies_kev: Values) -> Values:
    """Part of the photons that hit a windowless detector and are counted in full: contact, dead layer, thickness."""
    lost = _CONTACT_UM * _per_um(ALUMINIUM, energies_kev) + _DEAD_UM * _per_um(_SILICON, energies_kev)
    return np.asarray(np.exp(-lost) * -np.expm1(-_THICK_UM * _per_um(_SILICON, energies_kev, "photo")))


def escape(material: Material, thickness_nm: float, elevation_deg: float, energies_kev: Values) -> Values:
    """Part of photons made evenly over the depth of a foil that leave it towards a detector."""
    path_um = 1e-3 * thickness_nm / max(math.sin(math.radians(elevation_deg)), 0.02)
    chi = np.maximum(_per_um(material, energies_kev) * path_um, 1e-9)
    return np.asarray(-np.expm1(-chi) / chi)


def resolution_fwhm_ev(energy_ev: float, mn_ka_fwhm_ev: float) -> float:
    """Full width of a line: statistics of the charge (Fano) and, the rest at Mn Ka, noise of the electronics."""
    per_ev = PAIR_EV * FANO_FACTOR / SIGMA_PER_FWHM**2
    return math.sqrt(mn_ka_fwhm_ev**2 + per_ev * (energy_ev - _MN_KA_EV))
