"""Silicon crystals in Bragg geometry: angle and energy, dynamical reflection curve, two-crystal rocking curve.

Source: A. Authier, "Dynamical Theory of X-ray Diffraction", ch. 4-5 (symmetric Bragg case, sigma polarisation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from exitwave.simulators.physics.constants import ELECTRON_RADIUS_NM, HC_KEV_NM, wavelength_nm
from exitwave.simulators.physics.materials import scattering_factor

LATTICE_NM = 0.543102
"""Silicon lattice parameter (nm), CODATA."""

Curve = npt.NDArray[np.float64]


def spacing_nm(order: int = 1) -> float:
    """Distance of the (n n n) planes (nm)."""
    return LATTICE_NM / (math.sqrt(3.0) * order)


def energy_from_bragg_kev(bragg_deg: float, order: int = 1) -> float:
    """Photon energy reflected at a Bragg angle, hc / (2 d sin theta) (keV)."""
    return HC_KEV_NM / (2.0 * spacing_nm(order) * math.sin(math.radians(bragg_deg)))


def bragg_from_energy_deg(energy_kev: float, order: int = 1) -> float:
    """Bragg angle (deg) of ``energy_kev``."""
    return math.degrees(math.asin(HC_KEV_NM / (2.0 * spacing_nm(order) * energy_kev)))


@dataclass(frozen=True)
class ReflectionCurve:
    """Reflectivity of one crystal around its Bragg angle.

    Attributes
    ----------
    angle_urad
        Deviation from the kinematical Bragg angle (urad), equidistant.
    reflectivity
        Intensity reflectivity at each angle.
    darwin_width_urad
        Width of the range of total reflection, 2 |chi_h| / sin(2 theta) (urad).
    """

    angle_urad: Curve
    reflectivity: Curve
    darwin_width_urad: float

    @property
    def fwhm_urad(self) -> float:
        """Full width at half maximum of the curve (urad)."""
        above = self.angle_urad[self.reflectivity >= 0.5 * self.reflectivity.max()]
        return float(above[-1] - above[0])

    @property
    def integral_urad(self) -> float:
        """Integrated reflectivity (urad)."""
        return float(np.trapezoid(self.reflectivity, self.angle_urad))


def reflection_curve(energy_kev: float, order: int = 1) -> ReflectionCurve:
    """Reflection curve of a thick, perfect Si (n n n) crystal at the photon energy itself."""
    return _reflection_curve(round(energy_kev, 2), order)


@lru_cache(maxsize=256)
def _reflection_curve(energy_kev: float, order: int) -> ReflectionCurve:
    wavelength = wavelength_nm(energy_kev)
    sine = wavelength / (2.0 * spacing_nm(order))
    sin_2theta = 2.0 * sine * math.sqrt(1.0 - sine**2)
    front = -ELECTRON_RADIUS_NM * wavelength**2 / (math.pi * LATTICE_NM**3)
    chi_0 = front * 8.0 * scattering_factor("Si", energy_kev, 0.0)
    chi_h = front * 4.0 * math.sqrt(2.0) * scattering_factor("Si", energy_kev, sine / (10.0 * wavelength))
    width = 2.0 * abs(chi_h) / sin_2theta
    centre = -chi_0.real / sin_2theta
    angle = centre + width * np.linspace(-6.0, 6.0, 4801)
    eta = (angle * sin_2theta + np.conj(chi_0)) / np.conj(chi_h)
    root = np.sqrt(eta**2 - 1.0)
    amplitude = np.minimum(np.abs(eta - root), np.abs(eta + root))
    return ReflectionCurve(angle * 1e6, amplitude**2, width * 1e6)


@dataclass(frozen=True)
class DoubleCrystal:
    """Throughput of two parallel crystals against their misalignment.

    Attributes
    ----------
    offset_urad
        Misalignment of the second crystal (urad), equidistant, symmetric about 0.
    integral_urad
        Integral over angle of the product of the two curves at each misalignment (urad): what passes from a white,
        parallel beam is the spectral flux times this, times cot(theta).
    """

    offset_urad: Curve
    integral_urad: Curve

    def throughput_urad(self, misalignment_urad: float) -> float:
        """Integrated throughput (urad) at a misalignment of the second crystal."""
        return float(np.interp(misalignment_urad, self.offset_urad, self.integral_urad, left=0.0, right=0.0))

    @property
    def fwhm_urad(self) -> float:
        """Full width at half maximum of the rocking curve (urad)."""
        above = self.offset_urad[self.integral_urad >= 0.5 * self.integral_urad.max()]
        return float(above[-1] - above[0])


@lru_cache(maxsize=256)
def _double_crystal(energy_kev: float, order: int) -> DoubleCrystal:
    curve = reflection_curve(energy_kev, order)
    step = float(curve.angle_urad[1] - curve.angle_urad[0])
    n = curve.reflectivity.size
    spectrum = np.fft.rfft(curve.reflectivity, 2 * n)
    correlation = np.fft.fftshift(np.fft.irfft(np.abs(spectrum) ** 2, 2 * n))
    return DoubleCrystal(np.asarray((np.arange(2 * n) - n) * step, np.float64), np.maximum(correlation, 0.0) * step)


def double_crystal(energy_kev: float, order: int = 1) -> DoubleCrystal:
    """Two-crystal (n, -n) throughput of Si (n n n) at the photon energy itself."""
    return _double_crystal(round(energy_kev, 2), order)


def bandwidth(energy_kev: float, divergence_fwhm_urad: float) -> float:
    """Relative energy width (FWHM) of the double crystal: two-fold reflection curve and beam divergence."""
    curve = reflection_curve(energy_kev)
    twice = curve.reflectivity**2
    above = curve.angle_urad[twice >= 0.5 * twice.max()]
    intrinsic = float(above[-1] - above[0])
    cotangent = 1.0 / math.tan(math.radians(bragg_from_energy_deg(energy_kev)))
    return math.hypot(intrinsic, divergence_fwhm_urad) * 1e-6 * cotangent
