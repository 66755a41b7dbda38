"""Bending magnet of the storage ring, and the ring's current.

Flux from the exact formulas of synchrotron radiation (K. J. Kim, "Characteristics of Synchrotron Radiation",
AIP Conf. Proc. 184 (1989) 565; X-ray Data Booklet, section 2.1). For 3.5 GeV, 1.27 T, 300 mA and 0.4 mrad x 0.22 mrad
they give 5.7e12 ph/s/0.1%bw at 8 keV; Zhang et al. (2023) print 1.19e13 for the same figures, twice as much, and
more than the formula gives for *all* vertical angles (7.8e12). The simulator keeps the formula: what the flux at the
sample lacks or exceeds is taken up by the one constant of the beam path (`exitwave.simulators.bl18b.beampath`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.integrate import quad, simpson
from scipy.special import kv

from exitwave.simulators.physics.constants import (
    ELECTRON_MASS_KG,
    ELECTRON_RADIUS_NM,
    ELECTRON_REST_ENERGY_KEV,
    ELEMENTARY_CHARGE_C,
    FINE_STRUCTURE,
    REDUCED_PLANCK_J_S,
    SPEED_OF_LIGHT_M_S,
)


@dataclass(frozen=True)
class BendingMagnet:
    """A bending magnet: electron energy (GeV), field (T), acceptance (mrad, horizontal and vertical)."""

    electron_energy_gev: float = 3.5
    field_t: float = 1.27
    horizontal_mrad: float = 0.4
    vertical_mrad: float = 0.22

    @property
    def gamma(self) -> float:
        """Lorentz factor of the electrons."""
        return self.electron_energy_gev * 1e6 / ELECTRON_REST_ENERGY_KEV

    @property
    def critical_energy_kev(self) -> float:
        """Critical photon energy, 3/2 hbar e B gamma^2 / m (keV); 10.3 keV for the defaults."""
        joule = 1.5 * REDUCED_PLANCK_J_S * ELEMENTARY_CHARGE_C * self.field_t * self.gamma**2 / ELECTRON_MASS_KG
        return joule / ELEMENTARY_CHARGE_C * 1e-3

    def flux_all_angles(self, energy_kev: float, current_ma: float) -> float:
        """Photons/s/0.1%bw into the horizontal acceptance and all vertical angles (integral of K5/3)."""
        y = energy_kev / self.critical_energy_kev
        integral, _ = quad(lambda u: float(kv(5.0 / 3.0, u)), y, 50.0 + y)
        per_rad = math.sqrt(3.0) / (2.0 * math.pi) * FINE_STRUCTURE * self.gamma * 1e-3
        return per_rad * (current_ma * 1e-3 / ELEMENTARY_CHARGE_C) * y * integral * self.horizontal_mrad * 1e-3

    def flux(self, energy_kev: float, current_ma: float) -> float:
        """Photons/s/0.1%bw into the acceptance (angular density with K2/3 and K1/3, integrated over it)."""
        return _flux_per_ma(self, round(energy_kev, 4)) * current_ma

    def vertical_sigma_mrad(self, energy_kev: float) -> float:
        """Rms vertical angle of the accepted photons (mrad)."""
        psi, density = _angular_density(self, round(energy_kev, 4))
        return math.sqrt(float(simpson(psi**2 * density, x=psi)) / float(simpson(density, x=psi)))

    def power_w(self, current_ma: float) -> float:
        """Radiated power into the horizontal acceptance, all vertical angles (W)."""
        momentum = self.gamma * ELECTRON_MASS_KG * SPEED_OF_LIGHT_M_S
        radius_m = momentum / (ELEMENTARY_CHARGE_C * self.field_t)
        rest_j = ELECTRON_MASS_KG * SPEED_OF_LIGHT_M_S**2
        per_turn_j = 4.0 * math.pi / 3.0 * ELECTRON_RADIUS_NM * 1e-9 * rest_j * self.gamma**4 / radius_m
        electrons_per_s = current_ma * 1e-3 / ELEMENTARY_CHARGE_C
        return per_turn_j * electrons_per_s / (2.0 * math.pi) * self.horizontal_mrad * 1e-3


@lru_cache(maxsize=512)
def _angular_density(magnet: BendingMagnet, energy_kev: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertical angles (mrad) and flux density, photons/s/0.1%bw/mrad2 per mA."""
    y = energy_kev / magnet.critical_energy_kev
    psi = np.linspace(-0.5, 0.5, 201) * magnet.vertical_mrad
    x2 = (magnet.gamma * psi * 1e-3) ** 2
    xi = 0.5 * y * (1.0 + x2) ** 1.5
    bessel = kv(2.0 / 3.0, xi) ** 2 + x2 / (1.0 + x2) * kv(1.0 / 3.0, xi) ** 2
    front = 0.75 * FINE_STRUCTURE / math.pi**2 * magnet.gamma**2 * 1e-3 * (1e-3 / ELEMENTARY_CHARGE_C)
    return psi, front * y**2 * (1.0 + x2) ** 2 * bessel * 1e-6


@lru_cache(maxsize=4096)
def _flux_per_ma(magnet: BendingMagnet, energy_kev: float) -> float:
    psi, density = _angular_density(magnet, energy_kev)
    return float(simpson(density, x=psi)) * magnet.horizontal_mrad


@dataclass
class Ring:
    """Storage ring current: exponential decay, top-up every few minutes, small ripple, dump and refill.

    Parameters
    ----------
    target_ma
        Current after an injection (mA).
    lifetime_h
        Beam lifetime (h).
    top_up_period_s
        Time between injections while top-up is on (s).
    ripple_rms
        Relative rms of the beam's small fluctuations (a sum of slow sines, the same for the same time).
    """

    target_ma: float = 300.0
    lifetime_h: float = 15.0
    top_up_period_s: float = 180.0
    ripple_rms: float = 2e-4
    _filled_at_s: float = 0.0
    _filled_ma: float = 300.0
    _topped: bool = True

    def current_ma(self, t: float, *, top_up: bool) -> float:
        """Beam current (mA) at simulated time ``t`` (s)."""
        self._follow_top_up(t, top_up)
        if self._filled_ma <= 0.0:
            return 0.0
        age = max(t - self._filled_at_s, 0.0)
        if top_up:
            age %= self.top_up_period_s
        ripple = sum(math.sin(2.0 * math.pi * t / period + period) for period in (0.31, 1.7, 7.3, 41.0))
        return (
            self._filled_ma
            * math.exp(-age / (self.lifetime_h * 3600.0))
            * (1.0 + self.ripple_rms * ripple / math.sqrt(2.0))
        )

    def dump(self, t: float) -> None:
        """Lose the beam."""
        self._filled_at_s, self._filled_ma = t, 0.0

    def refill(self, t: float) -> None:
        """Store the target current again."""
        self._filled_at_s, self._filled_ma = t, self.target_ma

    def _follow_top_up(self, t: float, top_up: bool) -> None:
        if top_up == self._topped:
            return
        if top_up and self._filled_ma > 0.0:
            self.refill(t)
        elif self._filled_ma > 0.0:
            age = max(t - self._filled_at_s, 0.0) % self.top_up_period_s
            self._filled_at_s = t - age
        self._topped = top_up
