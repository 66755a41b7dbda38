"""Ophyd classes: what the hardware is."""

from .camera import Acquisition, Camera
from .condenser import BeamStop, Condenser, Foil, Pinhole
from .errors import (
    CameraError,
    DeviceConnectionError,
    ExitwaveError,
    FocusCalibrationError,
    MotionLimitError,
    SettingError,
    ShutterError,
    StorageSpaceError,
)
from .focus_calibration import FocusCalibration, FocusPoint
from .ion_chamber import IonChamber
from .microscope import Detector, HighResolutionDetector, Telescope, TransmissionXrayMicroscope
from .mirror import Mirror
from .monochromator import DoubleCrystalMonochromator
from .motor import Motor
from .ring import StorageRing, Vacuum
from .sample import SampleStage
from .shutter import Shutter
from .slits import Slits
from .zone_plate import ZonePlate

__all__ = [
    "Acquisition",
    "BeamStop",
    "Camera",
    "CameraError",
    "Condenser",
    "Detector",
    "DeviceConnectionError",
    "DoubleCrystalMonochromator",
    "ExitwaveError",
    "FocusCalibration",
    "FocusCalibrationError",
    "FocusPoint",
    "Foil",
    "HighResolutionDetector",
    "IonChamber",
    "Mirror",
    "Motor",
    "MotionLimitError",
    "Pinhole",
    "SampleStage",
    "SettingError",
    "Shutter",
    "ShutterError",
    "Slits",
    "StorageRing",
    "StorageSpaceError",
    "Telescope",
    "TransmissionXrayMicroscope",
    "Vacuum",
    "ZonePlate",
]
