"""What became of the frames that were asked for."""

from __future__ import annotations

import numpy as np
from ophyd import Component as Cpt
from ophyd import Device, Signal

from exitwave.devices.signals import ComputedSignal

__all__ = ["FrameAudit", "RunAudit"]


class FrameAudit(Device):
    """Frames of the file that is being written: asked for, acquired, written, lost."""

    asked = Cpt(ComputedSignal, func=lambda self: self.parent.frames_asked, units="", kind="normal")
    acquired = Cpt(ComputedSignal, func=lambda self: self.parent.num_acquired(), units="", kind="normal")
    written = Cpt(ComputedSignal, func=lambda self: self.parent.get_index(), units="", kind="normal")
    dropped = Cpt(ComputedSignal, func=lambda self: self.parent.num_dropped(), units="", kind="normal")


class RunAudit(Device):
    """Projections of a whole run, as the plan counted them; set by the plan, the last thing it does.

    ``missing`` is what no frame shows in the end, retakes included; ``lost_frames`` are the numbers, from 0 in the
    order of triggers, of frames that the driver delivered and the file does not have.
    """

    asked = Cpt(Signal, value=0, kind="normal", doc="Projections asked for")
    triggered = Cpt(Signal, value=0, kind="normal", doc="Triggers given, retakes included")
    acquired = Cpt(Signal, value=0, kind="normal", doc="Frames that the driver delivered")
    written = Cpt(Signal, value=0, kind="normal", doc="Frames in the files")
    dropped = Cpt(Signal, value=0, kind="normal", doc="Frames triggered that are in no file")
    missing = Cpt(Signal, value=0, kind="normal", doc="Projections without a frame")
    lost_frames = Cpt(Signal, value=np.empty(0, np.int64), kind="normal", doc="Numbers of the frames lost to the file")
    missing_projections = Cpt(Signal, value=np.empty(0, np.int64), kind="normal", doc="Numbers of the projections")
