"""areaDetector's records: the part of driver and file plugin that every camera has, and what to ask of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ophyd import Component as Cpt
from ophyd import Device, EpicsSignal, EpicsSignalRO, EpicsSignalWithRBV

__all__ = ["Acquisition", "CameraDriver", "FileWriter", "HDF5Writer"]


@dataclass(frozen=True)
class Acquisition:
    """What a camera is to take.

    Parameters
    ----------
    exposure_s : float
        Exposure of a frame.
    num_frames : int
        Frames of a burst; 0 for one frame at every trigger, for as long as the run lasts.
    period_s : float, optional
        Time from frame to frame; as short as the camera can without it.
    trigger : {"internal", "external", "software"}
        Who starts a frame: the camera itself, a pulse, or a command while the camera is armed.
    """

    exposure_s: float
    num_frames: int = 0
    period_s: float | None = None
    trigger: Literal["internal", "external", "software"] = "internal"


class CameraDriver(Device):
    """The driver (``cam1:``): the part of ADCore's interface that every camera has.

    All of it connects with the device, for a name that is missing has to be known before anything moves;
    ophyd's own classes have hundreds of records and connect each at its first use, in the middle of a scan.
    """

    acquire = Cpt(EpicsSignal, "Acquire", kind="omitted", put_complete=True)
    acquiring = Cpt(EpicsSignalRO, "Acquire_RBV", kind="omitted", auto_monitor=True)
    # not every driver has it, and only acquisitions that are triggered by software ask for it
    software_trigger = Cpt(EpicsSignal, "SoftwareTrigger", kind="omitted", lazy=True)
    acquire_time = Cpt(EpicsSignalWithRBV, "AcquireTime", kind="config", doc="Exposure, s")
    acquire_period = Cpt(EpicsSignalWithRBV, "AcquirePeriod", kind="config", doc="Frame period, s")
    num_images = Cpt(EpicsSignalWithRBV, "NumImages", kind="omitted")
    image_mode = Cpt(EpicsSignalWithRBV, "ImageMode", kind="omitted", string=True)
    trigger_mode = Cpt(EpicsSignalWithRBV, "TriggerMode", kind="config", string=True)
    min_x = Cpt(EpicsSignalWithRBV, "MinX", kind="config")
    min_y = Cpt(EpicsSignalWithRBV, "MinY", kind="config")
    size_x = Cpt(EpicsSignalWithRBV, "SizeX", kind="config")
    size_y = Cpt(EpicsSignalWithRBV, "SizeY", kind="config")
    bin_x = Cpt(EpicsSignalWithRBV, "BinX", kind="config")
    bin_y = Cpt(EpicsSignalWithRBV, "BinY", kind="config")
    max_size_x = Cpt(EpicsSignalRO, "MaxSizeX_RBV", kind="omitted", auto_monitor=True)
    max_size_y = Cpt(EpicsSignalRO, "MaxSizeY_RBV", kind="omitted", auto_monitor=True)
    array_size_x = Cpt(EpicsSignalRO, "ArraySizeX_RBV", kind="omitted", auto_monitor=True)
    array_size_y = Cpt(EpicsSignalRO, "ArraySizeY_RBV", kind="omitted", auto_monitor=True)
    data_type = Cpt(EpicsSignalRO, "DataType_RBV", kind="omitted", string=True)
    array_counter = Cpt(EpicsSignalWithRBV, "ArrayCounter", kind="omitted")
    array_callbacks = Cpt(EpicsSignalWithRBV, "ArrayCallbacks", kind="omitted", string=True)
    detector_state = Cpt(EpicsSignalRO, "DetectorState_RBV", kind="omitted", string=True, auto_monitor=True)
    manufacturer = Cpt(EpicsSignalRO, "Manufacturer_RBV", kind="config", string=True)
    model = Cpt(EpicsSignalRO, "Model_RBV", kind="config", string=True)
    temperature = Cpt(EpicsSignalRO, "TemperatureActual", kind="config", doc="Sensor, deg C")


class FileWriter(Device):
    """The part of areaDetector's file plugins that files of frames and of events have alike."""

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
    capture = Cpt(EpicsSignal, "Capture", kind="omitted")
    capturing = Cpt(EpicsSignalRO, "Capture_RBV", kind="omitted", auto_monitor=True)
    full_file_name = Cpt(EpicsSignalRO, "FullFileName_RBV", kind="omitted", string=True)
    write_status = Cpt(EpicsSignalRO, "WriteStatus", kind="omitted", string=True, auto_monitor=True)
    write_message = Cpt(EpicsSignalRO, "WriteMessage", kind="omitted", string=True)


class HDF5Writer(FileWriter):
    """The file plugin of a camera (``HDF1:``)."""

    file_write_mode = Cpt(EpicsSignalWithRBV, "FileWriteMode", kind="omitted", string=True)
    lazy_open = Cpt(EpicsSignalWithRBV, "LazyOpen", kind="omitted", string=True)
    swmr_mode = Cpt(EpicsSignalWithRBV, "SWMRMode", kind="omitted", string=True)
    compression = Cpt(EpicsSignalWithRBV, "Compression", kind="config", string=True)
    dropped = Cpt(EpicsSignalWithRBV, "DroppedArrays", kind="omitted")
