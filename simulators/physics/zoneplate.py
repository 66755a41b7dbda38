"""Fresnel zone plates: focal length, aperture, diffraction efficiency.

Sources: D. Attwood, "Soft X-Rays and Extreme Ultraviolet Radiation", ch. 9; J. Kirz, J. Opt. Soc. Am. 64 (1974) 301.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from exitwave.simulators.physics.constants import wavelength_nm
from exitwave.simulators.physics.materials import Material, wavenumber_per_um


@dataclass(frozen=True)
class ZonePlate:
    """A binary zone plate as it was really made.

    Attributes
    ----------
    diameter_um, outermost_zone_nm
        True diameter and width of the last zone.
    thickness_um, material
        Height and substance of the zones.
    central_stop
        Radius of an opaque centre as part of the radius.
    """

    diameter_um: float
    outermost_zone_nm: float
    thickness_um: float
    material: Material
    central_stop: float = 0.0

    @property
    def zones(self) -> float:
        """Number of zones, D / (4 dr)."""
        return self.diameter_um * 1e3 / (4.0 * self.outermost_zone_nm)

    def focal_length_mm(self, energy_kev: float) -> float:
        """First-order focal length from the outermost grating: the zone's pitch bends light by asin(lambda / 2 dr)."""
        sine = wavelength_nm(energy_kev) / (2.0 * self.outermost_zone_nm)
        return 0.5e-3 * self.diameter_um / math.tan(math.asin(sine))

    def efficiency(self, energy_kev: float) -> float:
        """First-order efficiency of binary zones with absorption and phase shift (Kirz, eq. 17)."""
        delta, beta = self.material.delta_beta(energy_kev)
        k = wavenumber_per_um(energy_kev)
        amplitude = math.exp(-k * beta * self.thickness_um)
        phase = k * delta * self.thickness_um
        return (1.0 + amplitude**2 - 2.0 * amplitude * math.cos(phase)) / math.pi**2


@dataclass(frozen=True)
class Geometry:
    """Distances along the beam (mm): object to lens, lens to detector."""

    object_mm: float
    image_mm: float

    @property
    def magnification(self) -> float:
        """Ratio of the distances (central projection through the lens's middle)."""
        return self.image_mm / self.object_mm

    def defocus_um(self, focal_length_mm: float) -> float:
        """Equivalent defocus in the object plane, p^2 (1/p + 1/q - 1/f) (um); negative when the lens is too far."""
        p, q = self.object_mm, self.image_mm
        return 1e3 * p * p * (1.0 / p + 1.0 / q - 1.0 / focal_length_mm)

    def cutoff_per_um(self, diameter_um: float, energy_kev: float) -> float:
        """Highest spatial frequency of the object that a central ray brings through the lens (1/um)."""
        sine = math.sin(math.atan(0.5e-3 * diameter_um / self.object_mm))
        return sine / (wavelength_nm(energy_kev) * 1e-3)
