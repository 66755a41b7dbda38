"""What other devices need of a device."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

__all__ = ["EnergyDevice"]


@runtime_checkable
class EnergyDevice(Protocol):
    """Something with a photon energy in keV."""

    name: str
    energy: Any

    def check_energy(self, energy_kev: float) -> None:
        """Refuse an energy that can't be reached."""
