"""Ion chambers: a picoammeter, and the photon rate that follows from its current."""

from __future__ import annotations

from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, DeviceStatus, EpicsSignal, EpicsSignalRO

from exitwave.analysis import flux
from exitwave.devices.protocols import EnergyDevice
from exitwave.devices.signals import ComputedSignal

__all__ = ["IonChamber"]


class IonChamber(Device):
    """An ion chamber read by a picoammeter.

    ``trigger`` integrates once; ``photons_per_s`` is the rate in front of the chamber,
    N = I eps0 / (e E) / (1 - exp(-mu x)), at the energy that the monochromator reports.

    Parameters
    ----------
    gas : str
        Filling, as `exitwave.analysis.flux` knows it.
    length_mm : float
        Length of the electrodes along the beam.
    mono : EnergyDevice, optional
        What reports the photon energy; without it ``photons_per_s`` is NaN.
    """

    # Asked for and not monitored: a monitor may come after the end of the integration, with the next point's motion.
    current = Cpt(EpicsSignalRO, "Current", kind="hinted", auto_monitor=False, doc="Ionisation current, A")
    photons_per_s = Cpt(ComputedSignal, func=lambda self: self._photons_per_s(), units="1/s", kind="normal")
    integration_time = Cpt(EpicsSignal, "IntegrationTime", kind="config", doc="Integration time, s")
    range = Cpt(EpicsSignal, "Range", kind="config", string=True, doc="Full scale")
    auto_range = Cpt(EpicsSignal, "AutoRange", kind="config", string=True)
    zero_offset = Cpt(EpicsSignal, "ZeroOffset", kind="config", doc="Subtracted current, A")
    zero_correct = Cpt(EpicsSignal, "ZeroCorrect", kind="omitted", put_complete=True)
    overload = Cpt(EpicsSignalRO, "Overload", kind="config", auto_monitor=True)
    acquire = Cpt(EpicsSignal, "Acquire", kind="omitted", put_complete=True)

    def __init__(
        self,
        prefix: str = "",
        *,
        gas: str = "N2",
        length_mm: float = 10.0,
        mono: EnergyDevice | None = None,
        **kwargs: Any,
    ):
        super().__init__(prefix, **kwargs)
        self.gas, self.length_mm, self.mono = gas, length_mm, mono

    def trigger(self) -> DeviceStatus:
        """Integrate once; done when the fresh current is there."""
        return self.acquire.set(1)

    def _photons_per_s(self) -> float:
        if self.mono is None:
            return float("nan")
        energy_kev = self.mono.energy.position
        return flux.ion_chamber_flux(self.current.get(), energy_kev, self.gas, self.length_mm).photons_per_s
