"""The file plugin of the X-ray events (``HDF1:``)."""

from __future__ import annotations

from dataclasses import dataclass

from ophyd import Component as Cpt
from ophyd import Device, EpicsSignal, EpicsSignalRO, EpicsSignalWithRBV

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


class EventWriter(Device):
    """areaDetector's names for a file of events."""

    enable = Cpt(EpicsSignalWithRBV, "EnableCallbacks", kind="omitted", string=True)
    file_path = Cpt(EpicsSignalWithRBV, "FilePath", kind="omitted", string=True)
    file_path_exists = Cpt(EpicsSignalRO, "FilePathExists_RBV", kind="omitted")
    create_directory = Cpt(EpicsSignalWithRBV, "CreateDirectory", kind="omitted")
    file_name = Cpt(EpicsSignalWithRBV, "FileName", kind="omitted", string=True)
    file_template = Cpt(EpicsSignalWithRBV, "FileTemplate", kind="omitted", string=True)
    file_number = Cpt(EpicsSignalWithRBV, "FileNumber", kind="omitted")
    auto_increment = Cpt(EpicsSignalWithRBV, "AutoIncrement", kind="omitted", string=True)
    num_capture = Cpt(EpicsSignalWithRBV, "NumCapture", kind="omitted")
    num_captured = Cpt(EpicsSignalRO, "NumCaptured_RBV", kind="omitted", auto_monitor=True, doc="Complete frames")
    num_events = Cpt(EpicsSignalRO, "NumEvents_RBV", kind="omitted", auto_monitor=True)
    capture = Cpt(EpicsSignal, "Capture", kind="omitted")
    capturing = Cpt(EpicsSignalRO, "Capture_RBV", kind="omitted", auto_monitor=True)
    full_file_name = Cpt(EpicsSignalRO, "FullFileName_RBV", kind="omitted", string=True)
    write_status = Cpt(EpicsSignalRO, "WriteStatus", kind="omitted", string=True, auto_monitor=True)
    write_message = Cpt(EpicsSignalRO, "WriteMessage", kind="omitted", string=True)
