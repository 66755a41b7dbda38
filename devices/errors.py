"""Named errors of the devices: one line each, with device, value, limit, unit and what to do."""

from __future__ import annotations

from ophyd.utils.errors import LimitError

__all__ = [
    "CameraError",
    "DeviceConnectionError",
    "ExitwaveError",
    "FocusCalibrationError",
    "MotionLimitError",
    "PositionCompareError",
    "SettingError",
    "ShutterError",
    "StorageSpaceError",
]


class ExitwaveError(Exception):
    """Anything that exitwave refuses or that an instrument did not do."""


class MotionLimitError(ExitwaveError, LimitError):
    """A target outside of the travel or the working range of an axis."""


class SettingError(ExitwaveError, ValueError):
    """A setting that the device can't take: exposure, region, gain, name of an optic."""


class ShutterError(ExitwaveError, RuntimeError):
    """A shutter that did not reach the state that was asked for."""


class CameraError(ExitwaveError, RuntimeError):
    """A camera or its file writer that did not deliver what was asked for."""


class StorageSpaceError(ExitwaveError, OSError):
    """A folder that can't be written or has no room for the frames asked for."""


class PositionCompareError(ExitwaveError, RuntimeError):
    """A position compare that did not give the pulses asked for."""


class FocusCalibrationError(ExitwaveError, ValueError):
    """A focus calibration that has no points for an energy, or points that disagree."""


class DeviceConnectionError(ExitwaveError, ConnectionError):
    """Process variables that did not connect."""
