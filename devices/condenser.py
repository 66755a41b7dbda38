"""Condenser, beam stop and pinhole: everything between the secondary source and the sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, EpicsSignal, EpicsSignalRO
from ophyd.status import Status

from exitwave.devices.errors import SettingError
from exitwave.devices.motor import Motor

__all__ = ["BeamStop", "Condenser", "Foil", "Pinhole", "Shaker"]


class Shaker(Device):
    """Moves the condenser fast, so that its cone fills the aperture of the zone plate."""

    enable = Cpt(EpicsSignal, "Enable", kind="config", string=True, doc="On or Off")
    amplitude = Cpt(EpicsSignal, "Amplitude", kind="config", doc="Amplitude, um")
    frequency = Cpt(EpicsSignal, "Frequency", kind="config", doc="Frequency, Hz")
    running = Cpt(EpicsSignalRO, "Running", kind="normal", auto_monitor=True)

    def stop(self, *, success: bool = False) -> None:
        """Stop shaking."""
        self.enable.put("Off")


class Condenser(Device):
    """Ellipsoidal monocapillary: position (um), along the beam (mm), pitch and yaw (urad), shaker."""

    x = Cpt(Motor, "X", doc="Horizontal, um")
    y = Cpt(Motor, "Y", doc="Vertical, um")
    z = Cpt(Motor, "Z", kind="config", doc="Along the beam, mm")
    pitch = Cpt(Motor, "Pitch", doc="Pitch, urad")
    yaw = Cpt(Motor, "Yaw", doc="Yaw, urad")
    shaker = Cpt(Shaker, "Shaker:", kind="config")


class BeamStop(Device):
    """Central stop at the upstream end of the condenser, um."""

    x = Cpt(Motor, "X")
    y = Cpt(Motor, "Y")


class Pinhole(Device):
    """Holder with pinholes, chosen by their diameter.

    Parameters
    ----------
    holes_um : mapping of diameter (um, as text) to x position (um)
    """

    x = Cpt(Motor, "X")
    y = Cpt(Motor, "Y")

    def __init__(self, prefix: str = "", *, holes_um: Mapping[str, float], **kwargs: Any):
        super().__init__(prefix, **kwargs)
        self.holes_um = dict(holes_um)

    def set(self, diameter_um: str | int) -> Status:
        """Move the pinhole of this diameter into the beam.

        Raises
        ------
        SettingError
            No such pinhole on the holder.
        """
        try:
            x = self.holes_um[str(diameter_um)]
        except KeyError:
            known = ", ".join(self.holes_um)
            raise SettingError(f"{self.name}: no pinhole of {diameter_um} um; the holder has {known} um") from None
        return self.x.set(x)


class Foil(Device):
    """Foils between the ion chambers, for energy calibration."""

    select = Cpt(EpicsSignal, "Select_RBV", write_pv="Select", string=True, put_complete=True, kind="hinted")

    def set(self, element: str) -> Status:
        """Move the foil of an element into the beam, or ``"None"``."""
        known = self.select.enum_strs
        if known and element not in known:
            raise SettingError(f"{self.name}: no foil {element!r}; there are {', '.join(known)}")
        return self.select.set(element)
