"""Ophyd classes: what the hardware is."""

from exitwave.devices.area_detector import Acquisition
from exitwave.devices.camera import Camera
from exitwave.devices.condenser import BeamStop, Condenser, Foil, Pinhole
from exitwave.devices.errors import (
    CameraError,
    DeviceConnectionError,
    ExitwaveError,
    FocusCalibrationError,
    MotionLimitError,
    PositionCompareError,
    SettingError,
    ShutterError,
    StorageSpaceError,
)
from exitwave.devices.focus_calibration import FocusCalibration, FocusPoint
from exitwave.devices.ion_chamber import IonChamber
from exitwave.devices.microscope import Detector, HighResolutionDetector, Telescope, TransmissionXrayMicroscope
from exitwave.devices.mirror import Mirror
from exitwave.devices.monochromator import DoubleCrystalMonochromator
from exitwave.devices.motor import Motor
from exitwave.devices.position_compare import CompareWindow, PositionCompare
from exitwave.devices.ring import StorageRing, Vacuum
from exitwave.devices.sample import SampleStage
from exitwave.devices.shutter import Shutter
from exitwave.devices.slits import Slits
from exitwave.devices.zone_plate import ZonePlate

__all__ = [
    "Acquisition",
    "BeamStop",
    "Camera",
    "CameraError",
    "CompareWindow",
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
    "MotionLimitError",
    "Motor",
    "Pinhole",
    "PositionCompare",
    "PositionCompareError",
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
