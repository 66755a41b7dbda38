"""The annular dark-field detector: a camera whose frames are those of the scan."""

from __future__ import annotations

from ophyd import Component as Cpt
from ophyd import EpicsSignalWithRBV

from exitwave.devices.camera import Camera
from exitwave.devices.frames import FrameColumn

__all__ = ["HaadfCamera"]


class HaadfCamera(Camera):
    """A camera (``cam1:``, ``HDF1:``) that takes one frame at the end of each complete frame of the scan.

    Its size and frame time are the scan's; attributes ``dose``, ``shift_x`` and ``shift_y`` of a frame are what plans
    go by.
    """

    gain = Cpt(EpicsSignalWithRBV, "Gain", kind="config", doc="Of the amplifier")
    offset = Cpt(EpicsSignalWithRBV, "Offset", kind="config", doc="Of the amplifier")
    inner_angle = Cpt(EpicsSignalWithRBV, "InnerAngle", kind="config", doc="mrad")
    outer_angle = Cpt(EpicsSignalWithRBV, "OuterAngle", kind="config", doc="mrad")
    frame_doses = Cpt(FrameColumn, key="dose", kind="omitted", doc="Accumulated at the end of each frame, e/A2")
    frame_shifts_x = Cpt(FrameColumn, key="shift_x", kind="omitted", doc="Beam shift of each frame, nm")
    frame_shifts_y = Cpt(FrameColumn, key="shift_y", kind="omitted", doc="Beam shift of each frame, nm")

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Shape (rows, columns) of a frame of the scan that is set."""
        return int(self.cam.array_size_y.get(use_monitor=False)), int(self.cam.array_size_x.get(use_monitor=False))
