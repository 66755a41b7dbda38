"""Bremsstrahlung and detector efficiency: the smooth part of a spectrum."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xraydb

from exitwave.analysis.errors import OutOfRangeError, require_positive

__all__ = ["continuum_barn_per_kev", "continuum_shapes", "detector_efficiency"]

Array = npt.NDArray[np.float64]
ELECTRON_REST_KEV = 510.99895
# (16 / 3) alpha r_e^2, barn
_BREMSSTRAHLUNG_BARN = 16.0 / 3.0 * 7.2973526e-3 * 0.07940788


def continuum_barn_per_kev(composition: Mapping[str, float], energy_kev: npt.ArrayLike, beam_kev: float) -> Array:
    """Return the bremsstrahlung cross-section of a composition, barn per keV and formula unit, soft photons.

    k dsigma/dk = (16/3) alpha r_e^2 Z^2 / beta^2 L with a screened logarithm
    L = ln(183 Z^(-1/3)) + 1/12 (H. A. Bethe, W. Heitler, Proc. R. Soc. A 146, 83 (1934), complete screening),
    less ln(1 / (gamma beta)) for electrons that are not extremely relativistic. Good to some 20 %.
    """
    energy = np.asarray(energy_kev, np.float64)
    gamma = 1.0 + require_positive("beam_kev", beam_kev, "keV") / ELECTRON_REST_KEV
    beta2 = 1.0 - 1.0 / gamma**2
    total = 0.0
    for element, amount in composition.items():
        z = xraydb.atomic_number(element)
        logarithm = math.log(183.0 * z ** (-1.0 / 3.0) * gamma * math.sqrt(beta2)) + 1.0 / 12.0
        total += amount * z**2 * logarithm
    # the photon's energy is missing in the end: the factor of H. A. Kramers, linear in k
    return np.asarray(_BREMSSTRAHLUNG_BARN * total / (beta2 * energy) * np.maximum(1.0 - energy / beam_kev, 0.0))


def detector_efficiency(
    energy_kev: npt.ArrayLike, *, active_mm: float = 0.45, dead_layer_nm: float = 50.0, contact_nm: float = 30.0
) -> Array:
    """Return the share of photons that a windowless silicon drift detector counts.

    Parameters
    ----------
    energy_kev : array
        At least 0.1 keV.
    active_mm, dead_layer_nm : float
        Silicon.
    contact_nm : float
        Aluminium.

    Raises
    ------
    OutOfRangeError
    """
    energy = np.atleast_1d(np.asarray(energy_kev, np.float64))
    if not np.isfinite(energy).all() or energy.min(initial=1.0) < 0.1:
        raise OutOfRangeError(f"photon energy {energy.min(initial=np.inf):g} keV is outside [0.1, inf) keV")
    silicon = xraydb.mu_elam("Si", 1000.0 * energy) * xraydb.atomic_density("Si")
    metal = xraydb.mu_elam("Al", 1000.0 * energy) * xraydb.atomic_density("Al")
    seen = np.exp(-silicon * dead_layer_nm * 1e-7 - metal * contact_nm * 1e-7) * -np.expm1(-silicon * active_mm * 0.1)
    return np.asarray(seen.reshape(np.shape(energy_kev)), np.float64)


def continuum_shapes(energy_kev: npt.ArrayLike, beam_kev: float, *, order: int = 2) -> Array:
    """Return the shapes whose sum models a measured continuum, float64 (order + 1, n), each of unit maximum.

    Bremsstrahlung of a thin film, (1 - k/E) / k times the detector's efficiency, times powers of ln k: these take
    up what is not known of absorption and stray photons. Below 0.1 keV they are those at 0.1 keV.
    """
    energy = np.maximum(np.asarray(energy_kev, np.float64), 0.1)
    base = detector_efficiency(energy) * np.maximum(1.0 - energy / beam_kev, 0.0) / energy
    power = np.log(energy) - np.log(energy).mean()
    shapes = np.stack([base * power**n for n in range(order + 1)])
    return np.asarray(shapes / np.abs(shapes).max(axis=1, keepdims=True))
