"""The energy axis of a detector: channels, energies, resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import OutOfRangeError, require_positive

__all__ = ["EnergyAxis", "EnergyWindow"]

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
MN_KA_KEV = 5.895
# eV of variance (as FWHM squared) per eV of photon energy in silicon
_FIORI_EV = 2.5


@dataclass(frozen=True)
class EnergyWindow:
    """An interval of photon energy, `low_kev` to `high_kev`."""

    low_kev: float
    high_kev: float
    name: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low_kev) and math.isfinite(self.high_kev) and self.low_kev < self.high_kev):
            raise OutOfRangeError(
                f"energy window {self.name!r}: {self.low_kev:g} to {self.high_kev:g} keV; the upper end must lie above"
            )

    @property
    def width_kev(self) -> float:
        """Width, keV."""
        return self.high_kev - self.low_kev

    @property
    def middle_kev(self) -> float:
        """Middle, keV."""
        return 0.5 * (self.low_kev + self.high_kev)

    def __str__(self) -> str:
        words = f"{self.low_kev:.2f}-{self.high_kev:.2f} keV"
        return f"{self.name} {words}" if self.name else words


@dataclass(frozen=True)
class EnergyAxis:
    """Channels of a detector: channel c holds energies about ``offset_kev + c * gain_kev``.

    Parameters
    ----------
    n_channels : int
    gain_kev : float
        Energy per channel, keV.
    offset_kev : float
        Energy at the middle of channel 0, keV.
    resolution_ev : float
        FWHM of the Mn Ka line, eV.
    """

    n_channels: int
    gain_kev: float = 0.01
    offset_kev: float = 0.0
    resolution_ev: float = 130.0

    def __post_init__(self) -> None:
        if not 2 <= self.n_channels <= 65535:
            raise OutOfRangeError(f"n_channels = {self.n_channels} is outside [2, 65535]")
        require_positive("gain_kev", self.gain_kev, "keV")
        require_positive("resolution_ev", self.resolution_ev, "eV")
        if not math.isfinite(self.offset_kev):
            raise OutOfRangeError(f"offset_kev = {self.offset_kev}: must be finite")

    @property
    def energies_kev(self) -> npt.NDArray[np.float64]:
        """Energy at the middle of each channel, keV, (n_channels,)."""
        return np.asarray(self.offset_kev + self.gain_kev * np.arange(self.n_channels), np.float64)

    @property
    def top_kev(self) -> float:
        """Upper end of the last channel, keV."""
        return self.offset_kev + self.gain_kev * (self.n_channels - 0.5)

    def fwhm_kev(self, energy_kev: float) -> float:
        """Return the FWHM of a line, keV: noise and charge (C. E. Fiori, D. E. Newbury, SEM/1978 I, 401)."""
        ev = self.resolution_ev**2 + _FIORI_EV * 1000.0 * (energy_kev - MN_KA_KEV)
        # electronic noise never falls under some 20 eV, whatever the formula extrapolates to
        return math.sqrt(max(ev, 400.0)) / 1000.0

    def sigma_kev(self, energy_kev: float) -> float:
        """Return the standard deviation of a line, keV."""
        return self.fwhm_kev(energy_kev) / FWHM_PER_SIGMA

    def channels(self, window: EnergyWindow) -> tuple[int, int]:
        """Return ``(start, stop)``: the channels whose middle lies in ``[low, high)`` of the window.

        Raises
        ------
        OutOfRangeError
            If the window reaches outside the detector's range, or holds no channel.
        """
        start = math.ceil((window.low_kev - self.offset_kev) / self.gain_kev - 1e-6)
        stop = math.ceil((window.high_kev - self.offset_kev) / self.gain_kev - 1e-6)
        low = self.offset_kev - 0.5 * self.gain_kev
        if start < 0 or stop > self.n_channels:
            raise OutOfRangeError(
                f"energy window {window} is outside the detector's range [{low:.3f}, {self.top_kev:.3f}] keV"
            )
        if stop <= start:
            raise OutOfRangeError(f"energy window {window} is narrower than a channel of {self.gain_kev:g} keV")
        return start, stop
