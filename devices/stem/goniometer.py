"""The specimen's stage."""

from __future__ import annotations

from ophyd import Component as Cpt
from ophyd import Device

from exitwave.devices.motor import Motor

__all__ = ["Goniometer"]


class Goniometer(Device):
    """Double-tilt goniometer: x, y, z in um, alpha (about x) and beta (about y) in degrees."""

    x = Cpt(Motor, "X", doc="um")
    y = Cpt(Motor, "Y", doc="um")
    z = Cpt(Motor, "Z", doc="Height, um")
    alpha = Cpt(Motor, "Alpha", doc="Tilt about x, deg")
    beta = Cpt(Motor, "Beta", doc="Tilt about y, deg")
