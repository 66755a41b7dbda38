"""Sample stage."""

from __future__ import annotations

from typing import Any

from ophyd import Component as Cpt
from ophyd import Device

from exitwave.devices.errors import SettingError
from exitwave.devices.motor import Motor

__all__ = ["SampleStage"]


class SampleStage(Device):
    """Sample on xyz (um) and an air-bearing rotation (deg).

    Parameters
    ----------
    out_axis : str
        Axis along which the sample leaves the field of view.
    out_distance_um : float
        How far, relative to where it is.
    """

    x = Cpt(Motor, "X", doc="Horizontal, um")
    y = Cpt(Motor, "Y", doc="Vertical, um")
    z = Cpt(Motor, "Z", doc="Along the beam, um")
    theta = Cpt(Motor, "Theta", doc="Rotation, deg")

    def __init__(self, prefix: str = "", *, out_axis: str = "x", out_distance_um: float = 200.0, **kwargs: Any):
        super().__init__(prefix, **kwargs)
        if out_axis not in ("x", "y", "z"):
            raise SettingError(f"{self.name}: out_axis {out_axis!r} is not one of x, y, z")
        self.out_axis = out_axis
        self.out_distance_um = out_distance_um

    @property
    def out_motor(self) -> Motor:
        """The axis that takes the sample out."""
        return getattr(self, self.out_axis)
