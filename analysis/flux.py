"""Photons per second from the current of an ion chamber, with an uncertainty.

The formula of the beamline paper, N = I W / (e E) / (1 - exp(-mu x)): the share 1 - exp(-mu x) of the
photons is absorbed between the electrodes, and each leaves its energy E as E / W ion pairs. mu is taken as
the photoelectric coefficient (Elam, Ravel & Sieber, Radiat. Phys. Chem. 63, 121 (2002), through xraydb),
because a scattered photon leaves next to nothing in the gas; the gas is ideal.

W, the mean energy per ion pair for X-rays: ICRU Report 31 (1979) and, for air, ICRU Report 90 (2016). Each
gas of a mixture contributes by its share of the absorption; the Penning effect of Ar mixtures is neglected.

Not covered: recombination (run on the plateau), harmonics (which count E times), photons lost before the
plates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from exitwave.analysis.errors import OutOfRangeError, require_positive, require_within

__all__ = ["GASES", "Gas", "PhotonFlux", "absorbed_share", "expected_current_a", "ion_chamber_flux"]

ELEMENTARY_CHARGE_C = 1.602176634e-19
GAS_CONSTANT_J_MOL_K = 8.31446261815324
STANDARD_PRESSURE_PA = 101325.0
ROOM_TEMPERATURE_K = 295.15
_TABLE_RELATIVE_SD = 0.02  # of the tabulated photoelectric coefficients between 5 and 15 keV


@dataclass(frozen=True)
class Gas:
    """A filling gas: molar mass, composition (atoms per molecule) and energy per ion pair with its uncertainty."""

    molar_mass_g: float
    atoms: tuple[tuple[str, float], ...]
    ion_pair_ev: float
    ion_pair_sd_ev: float


GASES: Mapping[str, Gas] = {
    "N2": Gas(28.0134, (("N", 2.0),), 34.8, 0.2),
    "Ar": Gas(39.948, (("Ar", 1.0),), 26.4, 0.2),
    "He": Gas(4.002602, (("He", 1.0),), 41.3, 0.4),
    "air": Gas(28.9647, (("N", 1.5616), ("O", 0.4190), ("Ar", 0.0093)), 33.97, 0.12),
}
"""Known gases; W in eV from ICRU 31 (N2, Ar, He) and ICRU 90 (dry air)."""


@dataclass(frozen=True)
class PhotonFlux:
    """Photons per second entering the chamber, its standard deviation, and the share of them that was absorbed."""

    photons_per_s: float
    photons_sd_per_s: float
    absorbed_share: float


@lru_cache(maxsize=4096)
def _mass_absorption_cm2_g(gas: str, energy_kev: float) -> float:
    import xraydb

    entry = GASES[gas]
    weights = {symbol: n * float(xraydb.atomic_mass(symbol)) for symbol, n in entry.atoms}
    total = sum(weights.values())
    energy_ev = energy_kev * 1e3
    return sum(w / total * float(xraydb.mu_elam(s, energy_ev, kind="photo")) for s, w in weights.items())


def _absorption(
    energy_kev: float, gas: str | Mapping[str, float], pressure_pa: float, temperature_k: float
) -> tuple[float, float, float]:
    """Return mu (1/mm), effective W (eV) and its standard deviation of a gas mixture."""
    energy = require_within("photon energy", energy_kev, 1.0, 100.0, "keV")
    pressure = require_positive("gas pressure", pressure_pa, "Pa")
    temperature = require_positive("gas temperature", temperature_k, "K")
    mixture = {gas: 1.0} if isinstance(gas, str) else dict(gas)
    unknown = sorted(set(mixture) - set(GASES))
    if unknown or not mixture:
        raise OutOfRangeError(f"gas {', '.join(unknown) or '(none)'}: known are {', '.join(GASES)}")
    shares = [require_within(f"share of {name}", share, 0.0, 1e6, "(1)") for name, share in mixture.items()]
    total = require_positive("sum of the gas shares", sum(shares), "(1)")
    mu = pairs = spread = 0.0
    for name, share in zip(mixture, shares, strict=True):
        entry = GASES[name]
        moles_per_cm3 = share / total * pressure / (GAS_CONSTANT_J_MOL_K * temperature) * 1e-6
        part = _mass_absorption_cm2_g(name, energy) * moles_per_cm3 * entry.molar_mass_g * 0.1
        mu += part
        pairs += part / entry.ion_pair_ev
        spread += (part / entry.ion_pair_ev**2 * entry.ion_pair_sd_ev) ** 2
    return mu, mu / pairs, mu / pairs**2 * math.sqrt(spread)


def absorbed_share(
    energy_kev: float,
    gas: str | Mapping[str, float] = "N2",
    length_mm: float = 10.0,
    *,
    pressure_pa: float = STANDARD_PRESSURE_PA,
    temperature_k: float = ROOM_TEMPERATURE_K,
) -> float:
    """Return 1 - exp(-mu x), the share of photons absorbed along electrodes of `length_mm`.

    `gas` is a name from `GASES` or shares by volume, e.g. ``{"N2": 0.9, "Ar": 0.1}``, normalised to one.

    Raises
    ------
    OutOfRangeError
        For an unknown gas, an energy outside 1-100 keV, and numbers that are not positive.
    """
    mu, _, _ = _absorption(energy_kev, gas, pressure_pa, temperature_k)
    return -math.expm1(-mu * require_positive("electrode length", length_mm, "mm"))


def ion_chamber_flux(
    current_a: float,
    energy_kev: float,
    gas: str | Mapping[str, float] = "N2",
    length_mm: float = 10.0,
    *,
    pressure_pa: float = STANDARD_PRESSURE_PA,
    temperature_k: float = ROOM_TEMPERATURE_K,
    current_sd_a: float = 0.0,
    length_sd_mm: float = 0.1,
    pressure_relative_sd: float = 0.01,
) -> PhotonFlux:
    """Return the photons per second that enter an ion chamber with the current `current_a`.

    Parameters
    ----------
    current_a : float
        Current in A, zero offset subtracted; >= 0 or slightly negative by noise (the flux then is negative
        too).
    energy_kev : float
    gas, length_mm, pressure_pa, temperature_k
        As in `absorbed_share`.
    current_sd_a, length_sd_mm, pressure_relative_sd
        Standard deviations; those of W and of the tabulated coefficient (2 %) are added.

    Raises
    ------
    OutOfRangeError
        As in `absorbed_share`, and for a current that is not finite.
    """
    current = require_within("ion chamber current", current_a, -1.0, 1.0, "A")
    mu, w_ev, w_sd = _absorption(energy_kev, gas, pressure_pa, temperature_k)
    length = require_positive("electrode length", length_mm, "mm")
    depth = mu * length
    share = -math.expm1(-depth)
    photons = current / ELEMENTARY_CHARGE_C * w_ev / (energy_kev * 1e3) / share
    depth_sd = math.hypot(_TABLE_RELATIVE_SD, pressure_relative_sd, length_sd_mm / length)
    sensitivity = depth * math.exp(-depth) / share  # d ln(share) / d ln(mu x)
    relative = math.hypot(w_sd / w_ev, sensitivity * depth_sd)
    absolute = photons / current * current_sd_a if current != 0.0 else 0.0
    if current == 0.0:
        absolute = current_sd_a / ELEMENTARY_CHARGE_C * w_ev / (energy_kev * 1e3) / share
    return PhotonFlux(photons, math.hypot(photons * relative, absolute), share)


def expected_current_a(
    photons_per_s: float,
    energy_kev: float,
    gas: str | Mapping[str, float] = "N2",
    length_mm: float = 10.0,
    *,
    pressure_pa: float = STANDARD_PRESSURE_PA,
    temperature_k: float = ROOM_TEMPERATURE_K,
) -> float:
    """Return the current in A that `photons_per_s` make: the inverse of `ion_chamber_flux`."""
    photons = require_within("photon flux", photons_per_s, 0.0, 1e20, "1/s")
    unit = ion_chamber_flux(1e-9, energy_kev, gas, length_mm, pressure_pa=pressure_pa, temperature_k=temperature_k)
    return photons / unit.photons_per_s * 1e-9
