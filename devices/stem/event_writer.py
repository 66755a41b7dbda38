"""The file plugin of the X-ray events (``HDF1:``)."""

from __future__ import annotations

from dataclasses import dataclass

from ophyd import Component as Cpt
from ophyd import EpicsSignalRO

from exitwave.devices.area_detector import FileWriter

__all__ = ["EventCapture", "EventWriter"]


@dataclass(frozen=True)
class EventCapture:
    """What is to be written.

    Parameters
    ----------
    num_frames : int
        Complete frames of the scan.
    frame_s : float
        Time of one, for the room that the file needs.
    """

    num_frames: int
    frame_s: float


class EventWriter(FileWriter):
    """areaDetector's names for a file of events."""

    num_events = Cpt(EpicsSignalRO, "NumEvents_RBV", kind="omitted", auto_monitor=True)
