"""What a plan found, as signals that it sets: soft, and NaN where there is nothing to say."""

from __future__ import annotations

import math
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, Signal
from ophyd.status import Status

__all__ = ["FocusResult", "FrameRecord", "ScanSummary", "TrackRecord"]


class Finding(Signal):
    """A soft signal whose `set` is done at once: ophyd's own waits for ever until NaN equals NaN."""

    def set(self, value: Any, **_: Any) -> Status:
        """Take a value."""
        self.put(value)
        status = Status(obj=self)
        status.set_finished()
        return status


class FocusResult(Device):
    """What a focus series found; set by the plan."""

    defocus = Cpt(Finding, value=math.nan, kind="normal", doc="Setting in focus, nm")
    defocus_sd = Cpt(Finding, value=math.nan, kind="normal", doc="Its standard deviation, nm")
    sharpness = Cpt(Finding, value=math.nan, kind="normal", doc="Of the frame just taken")


class FrameRecord(Device):
    """What a plan found in the newest frame; soft signals that it sets."""

    frame = Cpt(Finding, value=-1, kind="normal", doc="Number of the frame in its scan, from 0")
    drift_x = Cpt(Finding, value=math.nan, kind="normal", doc="Specimen against the first frame, nm, along the lines")
    drift_y = Cpt(Finding, value=math.nan, kind="normal", doc="Likewise across them")
    drift_sd = Cpt(Finding, value=math.nan, kind="normal", doc="Standard deviation of either, nm")
    shift_x = Cpt(Finding, value=math.nan, kind="normal", doc="Beam shift of this frame, nm")
    shift_y = Cpt(Finding, value=math.nan, kind="normal", doc="Beam shift of this frame, nm")
    dose = Cpt(Finding, value=math.nan, kind="normal", doc="Accumulated at the frame's end, e/A2")
    dose_rate = Cpt(Finding, value=math.nan, kind="normal", doc="Of this frame, e/A2/s")
    fwhm_se = Cpt(Finding, value=math.nan, kind="normal", doc="Standard error of a column's width so far, pm")


class ScanSummary(Device):
    """How a scan ended; set by the plan."""

    asked = Cpt(Finding, value=0, kind="normal", doc="Frames asked for")
    taken = Cpt(Finding, value=0, kind="normal", doc="Complete frames in the files of all detectors: rows of primary")
    images = Cpt(Finding, value=0, kind="normal", doc="Dark-field frames in their file")
    event_frames = Cpt(Finding, value=0, kind="normal", doc="Complete frames in the file of events")
    exposed = Cpt(Finding, value=0, kind="normal", doc="Of these, frames that ended before the dose limit was reached")
    events = Cpt(Finding, value=0, kind="normal", doc="X-ray events in the file")
    reason = Cpt(Finding, value="", kind="normal", doc="complete, dose limit, precision, stopped, write error")
    dose = Cpt(Finding, value=math.nan, kind="normal", doc="Accumulated after the beam was blanked, e/A2")
    dose_limit = Cpt(Finding, value=0.0, kind="normal", doc="e/A2, 0 for none")
    precision = Cpt(Finding, value=math.nan, kind="normal", doc="Standard error of a column's width, pm")


class TrackRecord(Device):
    """Where the specimen of a tilt series was found; set by the plan."""

    alpha = Cpt(Finding, value=math.nan, kind="normal", doc="Tilt, deg")
    x = Cpt(Finding, value=math.nan, kind="normal", doc="Beam shift at which it was found, nm, along the lines")
    y = Cpt(Finding, value=math.nan, kind="normal", doc="Likewise across them")
    dx = Cpt(Finding, value=math.nan, kind="normal", doc="From the middle of the frame, pixels, along the lines")
    dy = Cpt(Finding, value=math.nan, kind="normal", doc="Likewise across them")
