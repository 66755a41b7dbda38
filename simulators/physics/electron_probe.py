"""A focused electron probe: kinematics, aberrations to third order, source size, intensity profile.

Phase of the pupil (H. Rose, Geometrical Charged-Particle Optics, 2009; notation of Krivanek):
chi = 2 pi / lambda * sum over n, m of theta^(n+1) / (n+1) * (C_nma cos(m phi) + C_nmb sin(m phi)).
One probe for the whole specimen: its depth of focus, a few nm, is left out, and so is channelling, which would hold
the electrons on a column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import constants as codata
from scipy import fft as scipy_fft
from scipy.interpolate import RegularGridInterpolator

from exitwave.simulators.physics.constants import ELECTRON_REST_ENERGY_KEV, SIGMA_PER_FWHM

__all__ = ["ABERRATIONS", "BOHR_PM", "HBAR_C_KEV_PM", "Electron", "Probe", "fwhm_of_profile"]

Values = npt.NDArray[np.float64]

_LOCAL_PM = 8000.0
BOHR_PM: float = codata.physical_constants["Bohr radius"][0] * 1e12
HBAR_C_KEV_PM: float = codata.hbar * codata.c / codata.e * 1e9

ABERRATIONS: dict[str, tuple[int, int]] = {
    "C10": (1, 0), "C12A": (1, 2), "C12B": (1, 2),
    "C21A": (2, 1), "C21B": (2, 1), "C23A": (2, 3), "C23B": (2, 3),
    "C30": (3, 0), "C32A": (3, 2), "C32B": (3, 2), "C34A": (3, 4), "C34B": (3, 4),
}  # fmt: skip
"""Order n and multiplicity m of each coefficient; A goes with the cosine, B with the sine. All in nm."""


@dataclass(frozen=True)
class Electron:
    """An electron accelerated by ``voltage_kv``."""

    voltage_kv: float

    @property
    def gamma(self) -> float:
        """Total energy over rest energy."""
        return 1.0 + self.voltage_kv / ELECTRON_REST_ENERGY_KEV

    @property
    def beta(self) -> float:
        """Speed over that of light."""
        return math.sqrt(1.0 - 1.0 / self.gamma**2)

    @property
    def wavelength_pm(self) -> float:
        """De Broglie wavelength, pm."""
        return 2.0 * math.pi * HBAR_C_KEV_PM / (self.gamma * self.beta * ELECTRON_REST_ENERGY_KEV)

    @property
    def largest_transfer_per_pm(self) -> float:
        """2 p / hbar, 1/pm: the momentum that a heavy nucleus can take from it."""
        return 4.0 * math.pi / self.wavelength_pm


@dataclass(frozen=True)
class Probe:
    """What forms the probe.

    Attributes
    ----------
    voltage_kv : float
        High voltage.
    convergence_mrad : float
        Semi-angle of the aperture.
    source_fwhm_pm : float
        Image of the (Gaussian) source at the specimen.
    aberrations_nm : mapping
        Coefficients by the names of `ABERRATIONS`; those left out are 0.
    """

    voltage_kv: float
    convergence_mrad: float
    source_fwhm_pm: float
    aberrations_nm: Mapping[str, float] = field(default_factory=dict)

    def phase(self, theta_x_rad: Values, theta_y_rad: Values) -> Values:
        """Return chi at angles of the aperture (rad)."""
        theta = np.hypot(theta_x_rad, theta_y_rad)
        phi = np.arctan2(theta_y_rad, theta_x_rad)
        wavelength_nm = Electron(self.voltage_kv).wavelength_pm * 1e-3
        total = np.zeros(theta.shape)
        for name, value_nm in self.aberrations_nm.items():
            n, m = ABERRATIONS[name]
            if value_nm:
                wave = np.sin(m * phi) if name.endswith("B") else np.cos(m * phi)
                total += value_nm * theta ** (n + 1) / (n + 1) * wave
        return total * (2.0 * math.pi / wavelength_nm)

    def transfer(
        self, shape: tuple[int, int], pitch_pm: float, rotation_rad: float = 0.0
    ) -> npt.NDArray[np.complex128]:
        """Fourier transform of the probe's intensity, 1 at zero frequency.

        Parameters
        ----------
        shape : tuple of int
            (rows, columns) of a periodic grid.
        pitch_pm : float
            Its pitch. Above lambda / (4 alpha), where the pupil no longer fits, the transform is worked out on a
            finer grid of 8 nm and interpolated.
        rotation_rad : float
            By how much the grid's x axis is turned against the column's.

        Returns
        -------
        ndarray, shape (rows, columns // 2 + 1)
            As `scipy.fft.rfft2` orders it.
        """
        wavelength = Electron(self.voltage_kv).wavelength_pm
        finest_pm = wavelength / (4e-3 * self.convergence_mrad)
        if pitch_pm > finest_pm:
            return self._interpolated(shape, pitch_pm, pitch_pm / math.ceil(pitch_pm / finest_pm), rotation_rad)
        fy = scipy_fft.fftfreq(shape[0], pitch_pm)[:, None]
        fx = scipy_fft.fftfreq(shape[1], pitch_pm)[None, :]
        cos, sin = math.cos(rotation_rad), math.sin(rotation_rad)
        tx, ty = wavelength * (fx * cos - fy * sin), wavelength * (fx * sin + fy * cos)
        # The aperture's edge is weighted where it falls between samples: a hard one makes the probe jump with the grid.
        step = wavelength * max(1.0 / (shape[0] * pitch_pm), 1.0 / (shape[1] * pitch_pm))
        edge = (self.convergence_mrad * 1e-3 - np.hypot(tx, ty)) / step + 0.5
        pupil = np.sqrt(np.clip(edge, 0.0, 1.0)) * np.exp(-1j * self.phase(tx, ty))
        intensity = np.abs(scipy_fft.ifft2(pupil)) ** 2
        spectrum = scipy_fft.rfft2(intensity)
        sigma = self.source_fwhm_pm * SIGMA_PER_FWHM
        k2 = (2.0 * math.pi) ** 2 * (fy**2 + scipy_fft.rfftfreq(shape[1], pitch_pm)[None, :] ** 2)
        return np.asarray(spectrum / spectrum[0, 0] * np.exp(-0.5 * sigma**2 * k2))

    def _interpolated(
        self, shape: tuple[int, int], pitch_pm: float, fine_pm: float, rotation_rad: float
    ) -> npt.NDArray[np.complex128]:
        n = int(scipy_fft.next_fast_len(math.ceil(_LOCAL_PM / fine_pm), real=True))
        known = scipy_fft.fftshift(self.transfer((n, n), fine_pm, rotation_rad), axes=0)
        axes = (scipy_fft.fftshift(scipy_fft.fftfreq(n, fine_pm)), scipy_fft.rfftfreq(n, fine_pm))
        fy, fx = np.meshgrid(
            scipy_fft.fftfreq(shape[0], pitch_pm), scipy_fft.rfftfreq(shape[1], pitch_pm), indexing="ij"
        )
        return np.asarray(RegularGridInterpolator(axes, known)((fy, fx)))

    def image(self, size: int = 256, pitch_pm: float = 5.0) -> Values:
        """Return the intensity on a square grid, its maximum near the middle; the sum is 1."""
        return np.asarray(scipy_fft.fftshift(scipy_fft.irfft2(self.transfer((size, size), pitch_pm), s=(size, size))))

    def fwhm_pm(self, size: int = 512, pitch_pm: float = 4.0) -> float:
        """Full width at half maximum of the profile's row through its maximum."""
        image = self.image(size, pitch_pm)
        row = int(np.unravel_index(np.argmax(image), image.shape)[0])
        return fwhm_of_profile(image[row]) * pitch_pm


def fwhm_of_profile(values: Values) -> float:
    """Full width at half maximum of a single peak on zero, in samples (linear interpolation)."""
    top = int(np.argmax(values))
    half = 0.5 * values[top]
    left = top - int(np.argmax(values[top::-1] < half))
    right = top + int(np.argmax(values[top:] < half))
    before = left + (half - values[left]) / (values[left + 1] - values[left])
    after = right - (half - values[right]) / (values[right - 1] - values[right])
    return float(after - before)
