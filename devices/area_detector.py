"""areaDetector's records: the part of driver and file plugin that every camera has, and what to ask of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ophyd import Device, EpicsSignal, EpicsSignalRO
from ophyd.areadetector.base import ADComponent, EpicsSignalWithRBV

__all__ = ["Acquisition", "CameraDriver", "HDF5Writer"]


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
    """The driver (``cam1:``): the part of ADCore's interface that every camera has."""

    acquire = ADComponent(EpicsSignal, "Acquire", kind="omitted", put_complete=True)
    acquiring = ADComponent(EpicsSignalRO, "Acquire_RBV", kind="omitted", auto_monitor=True)
    software_trigger = ADComponent(EpicsSignal, "SoftwareTrigger", kind="omitted")
    acquire_time = ADComponent(EpicsSignalWithRBV, "AcquireTime", kind="config", doc="Exposure, s")
    acquire_period = ADComponent(EpicsSignalWithRBV, "AcquirePeriod", kind="config", doc="Frame period, s")
    num_images = ADComponent(EpicsSignalWithRBV, "NumImages", kind="omitted")
    image_mode = ADComponent(EpicsSignalWithRBV, "ImageMode", kind="omitted", string=True)
    trigger_mode = ADComponent(EpicsSignalWithRBV, "TriggerMode", kind="config", string=True)
    min_x = ADComponent(EpicsSignalWithRBV, "MinX", kind="config")
    min_y = ADComponent(EpicsSignalWithRBV, "MinY", kind="config")
    size_x = ADComponent(EpicsSignalWithRBV, "SizeX", kind="config")
    size_y = ADComponent(EpicsSignalWithRBV, "SizeY", kind="config")
    bin_x = ADComponent(EpicsSignalWithRBV, "BinX", kind="config")
    bin_y = ADComponent(EpicsSignalWithRBV, "BinY", kind="config")
    max_size_x = ADComponent(EpicsSignalRO, "MaxSizeX_RBV", kind="omitted", auto_monitor=True)
    max_size_y = ADComponent(EpicsSignalRO, "MaxSizeY_RBV", kind="omitted", auto_monitor=True)
    array_size_x = ADComponent(EpicsSignalRO, "ArraySizeX_RBV", kind="omitted", auto_monitor=True)
    array_size_y = ADComponent(EpicsSignalRO, "ArraySizeY_RBV", kind="omitted", auto_monitor=True)
    data_type = ADComponent(EpicsSignalRO, "DataType_RBV", kind="omitted", string=True)
    array_counter = ADComponent(EpicsSignalWithRBV, "ArrayCounter", kind="omitted")
    array_callbacks = ADComponent(EpicsSignalWithRBV, "ArrayCallbacks", kind="omitted", string=True)
    detector_state = ADComponent(EpicsSignalRO, "DetectorState_RBV", kind="omitted", string=True, auto_monitor=True)
    manufacturer = ADComponent(EpicsSignalRO, "Manufacturer_RBV", kind="config", string=True)
    model = ADComponent(EpicsSignalRO, "Model_RBV", kind="config", string=True)
    temperature = ADComponent(EpicsSignalRO, "TemperatureActual", kind="config", doc="Sensor, deg C")


class HDF5Writer(Device):
    """The file plugin (``HDF1:``)."""

    enable = ADComponent(EpicsSignalWithRBV, "EnableCallbacks", kind="omitted", string=True)
    file_path = ADComponent(EpicsSignalWithRBV, "FilePath", kind="omitted", string=True)
    file_path_exists = ADComponent(EpicsSignalRO, "FilePathExists_RBV", kind="omitted")
    create_directory = ADComponent(EpicsSignalWithRBV, "CreateDirectory", kind="omitted")
    file_name = ADComponent(EpicsSignalWithRBV, "FileName", kind="omitted", string=True)
    file_template = ADComponent(EpicsSignalWithRBV, "FileTemplate", kind="omitted", string=True)
    file_number = ADComponent(EpicsSignalWithRBV, "FileNumber", kind="omitted")
    auto_increment = ADComponent(EpicsSignalWithRBV, "AutoIncrement", kind="omitted", string=True)
    file_write_mode = ADComponent(EpicsSignalWithRBV, "FileWriteMode", kind="omitted", string=True)
    lazy_open = ADComponent(EpicsSignalWithRBV, "LazyOpen", kind="omitted", string=True)
    swmr_mode = ADComponent(EpicsSignalWithRBV, "SWMRMode", kind="omitted", string=True)
    compression = ADComponent(EpicsSignalWithRBV, "Compression", kind="config", string=True)
    num_capture = ADComponent(EpicsSignalWithRBV, "NumCapture", kind="omitted")
    num_captured = ADComponent(EpicsSignalRO, "NumCaptured_RBV", kind="omitted", auto_monitor=True)
    capture = ADComponent(EpicsSignal, "Capture", kind="omitted")
    capturing = ADComponent(EpicsSignalRO, "Capture_RBV", kind="omitted", auto_monitor=True)
    full_file_name = ADComponent(EpicsSignalRO, "FullFileName_RBV", kind="omitted", string=True)
    dropped = ADComponent(EpicsSignalWithRBV, "DroppedArrays", kind="omitted")
    write_status = ADComponent(EpicsSignalRO, "WriteStatus", kind="omitted", string=True, auto_monitor=True)
    write_message = ADComponent(EpicsSignalRO, "WriteMessage", kind="omitted", string=True)
