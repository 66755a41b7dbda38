"""Mirrors."""

from __future__ import annotations

from ophyd import Component as Cpt
from ophyd import Device

from exitwave.devices.motor import Motor

__all__ = ["Mirror"]


class Mirror(Device):
    """A grazing-incidence mirror: pitch (mrad) and height (mm)."""

    pitch = Cpt(Motor, "Pitch", doc="Grazing angle, mrad")
    y = Cpt(Motor, "Y", doc="Height, mm")
