"""Sample stage."""

from __future__ import annotations

from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, EpicsSignalRO, Signal

from exitwave.devices.errors import SettingError
from exitwave.devices.motor import Motor

__all__ = ["SampleAxis", "SampleStage"]


class SampleAxis(Motor):
    """An axis that is also driven at velocities of a plan's choice, up to ``max_velocity`` (no limit where 0)."""

    max_velocity = Cpt(EpicsSignalRO, ".VMAX", kind="config", auto_monitor=True, doc="Largest velocity, per s")


class RotationAxisResult(Device):
    """Where the last alignment found the rotation axis on the camera."""

    centre = Cpt(Signal, value=0.0, kind="hinted", doc="Column of the axis at the middle row, pixels")
    centre_sd = Cpt(Signal, value=0.0, kind="normal", doc="Its standard deviation, pixels")
    tilt = Cpt(Signal, value=0.0, kind="hinted", doc="Lean of the axis in the image plane, deg")
    tilt_sd = Cpt(Signal, value=0.0, kind="normal", doc="Its standard deviation, deg")
    moved = Cpt(Signal, value=0.0, kind="normal", doc="By how much the sample stage was moved, um")
    sensor_column = Cpt(
        Signal, value=float("nan"), kind="normal", doc="Centre as a column of the whole sensor, unbinned, pixels"
    )
    valid_at = Cpt(Signal, value=float("nan"), kind="normal", doc="Position of the stage's x that it was found at, um")


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
    y = Cpt(SampleAxis, "Y", doc="Vertical, um")
    z = Cpt(Motor, "Z", doc="Along the beam, um")
    theta = Cpt(SampleAxis, "Theta", doc="Rotation, deg")

    axis_result = Cpt(RotationAxisResult, "", kind="omitted")

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
