"""What stands at the beamline: axes and cameras, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import constants

from exitwave.simulators.records.motor_fields import MotorSettings

__all__ = [
    "AXES",
    "CAMERAS",
    "COMPARE_AXES",
    "FRAME_AXES",
    "LOST_MOTION",
    "SHUTTERS",
    "TRIGGERED",
    "CameraRow",
    "ShutterRow",
]

_START_KEV = 8.0
_SI111_SPACING_M = 3.1356e-10
_OFFSET_MM = 25.0
_WAVELENGTH_M = constants.h * constants.c / (_START_KEV * 1e3 * constants.e)
_BRAGG_RAD = math.asin(_WAVELENGTH_M / (2 * _SI111_SPACING_M))
_DETECTOR_MM = 600.0
_SCINTILLATOR_MM = 700.0


def _in_focus_mm(diameter_um: float, outermost_zone_nm: float) -> float:
    """Return the distance from the object at which a zone plate images it on the scintillator.

    From p + q = L and 1/p + 1/q = 1/f: p = (L - sqrt(L^2 - 4 f L)) / 2, the shorter of the two.
    """
    focal_mm = diameter_um * 1e-6 * outermost_zone_nm * 1e-9 / _WAVELENGTH_M * 1e3
    distance_mm = _SCINTILLATOR_MM + _DETECTOR_MM
    return (distance_mm - math.sqrt(distance_mm**2 - 4 * focal_mm * distance_mm)) / 2


def _rows() -> tuple[MotorSettings, ...]:
    table: list[tuple[str, str, float, float, float, float, int, float, str]] = [
        ("CM:Pitch", "mrad", 3, 6, 0.2, 0.2, 4, 4.4, "Collimating mirror pitch"),
        ("CM:Y", "mm", -10, 10, 1, 0.2, 4, 0, "Collimating mirror height"),
        ("DCM:Bragg", "deg", 7, 35, 0.5, 0.2, 6, math.degrees(_BRAGG_RAD), "Monochromator Bragg angle"),
        ("DCM:Gap", "mm", 12, 16, 0.5, 0.2, 5, _OFFSET_MM / (2 * math.cos(_BRAGG_RAD)), "Crystal gap"),
        ("DCM:Pitch", "urad", -500, 500, 50, 0.1, 3, 0, "Second crystal pitch"),
        ("DCM:Roll", "urad", -500, 500, 50, 0.1, 3, 0, "Second crystal roll"),
        ("TM:Pitch", "mrad", 3, 6, 0.2, 0.2, 4, 4.4, "Toroidal mirror pitch"),
        ("TM:Y", "mm", -10, 10, 1, 0.2, 4, 0, "Toroidal mirror height"),
        ("SSA:XP", "um", -2000, 2000, 1000, 0.1, 1, 100, "Source aperture blade +X"),
        ("SSA:XN", "um", -2000, 2000, 1000, 0.1, 1, -100, "Source aperture blade -X"),
        ("SSA:YP", "um", -2000, 2000, 1000, 0.1, 1, 300, "Source aperture blade +Y"),
        ("SSA:YN", "um", -2000, 2000, 1000, 0.1, 1, -300, "Source aperture blade -Y"),
        ("COND:X", "um", -1000, 1000, 200, 0.1, 2, 0, "Condenser X"),
        ("COND:Y", "um", -1000, 1000, 200, 0.1, 2, 0, "Condenser Y"),
        ("COND:Z", "mm", -20, 20, 2, 0.2, 4, 0, "Condenser along the beam"),
        ("COND:Pitch", "urad", -2000, 2000, 500, 0.1, 1, 0, "Condenser pitch"),
        ("COND:Yaw", "urad", -2000, 2000, 500, 0.1, 1, 0, "Condenser yaw"),
        ("BS:X", "um", -2000, 2000, 500, 0.1, 1, 0, "Beam stop X"),
        ("BS:Y", "um", -2000, 2000, 500, 0.1, 1, 0, "Beam stop Y"),
        ("PIN:X", "um", -6000, 6000, 1000, 0.1, 1, 0, "Pinhole X"),
        ("PIN:Y", "um", -6000, 6000, 1000, 0.1, 1, 0, "Pinhole Y"),
        ("SAM:X", "um", -3000, 3000, 500, 0.1, 3, 0, "Sample X"),
        ("SAM:Y", "um", -3000, 3000, 500, 0.1, 3, 0, "Sample Y"),
        ("SAM:Z", "um", -2000, 2000, 500, 0.1, 3, 0, "Sample along the beam"),
        ("SAM:Theta", "deg", -200, 380, 30, 0.2, 5, 0, "Sample rotation"),
        ("ZPA:X", "um", -5000, 5000, 200, 0.1, 3, 0, "Zone plate A X"),
        ("ZPA:Y", "um", -5000, 5000, 200, 0.1, 3, 0, "Zone plate A Y"),
        ("ZPA:Z", "mm", 5, 120, 2, 0.1, 5, _in_focus_mm(125, 25), "Zone plate A from the sample"),
        ("ZPB:X", "um", -5000, 5000, 200, 0.1, 3, 4000, "Zone plate B X"),
        ("ZPB:Y", "um", -5000, 5000, 200, 0.1, 3, 0, "Zone plate B Y"),
        ("ZPB:Z", "mm", 5, 120, 2, 0.1, 5, _in_focus_mm(150, 40), "Zone plate B from the sample"),
        ("DET:Z", "mm", 0, 1300, 20, 0.5, 3, _DETECTOR_MM, "Detector track"),
        ("DET:X", "mm", -5, 155, 20, 0.5, 3, 0, "High-resolution detector across the beam"),
        ("TEL:X", "mm", -5, 85, 20, 0.5, 3, 80, "In-line telescope across the beam"),
    ]
    rows = []
    for name, units, low, high, velocity, ramp_s, precision, start, description in table:
        # A record starts on a whole step of its drive.
        step = 10.0 ** -(precision + 1)
        home = start if not low <= 0 <= high else None
        backlash = 0.002 if name == "DCM:Bragg" else 0.0
        on_step = round(start / step) * step
        rows.append(
            MotorSettings(name, units, low, high, velocity, ramp_s, precision, on_step, description, backlash, home)
        )
    return tuple(rows)


AXES: tuple[MotorSettings, ...] = _rows()
"""Every motor of the beamline, source to detector."""

COMPARE_AXES: tuple[str, ...] = ("SAM:Theta", "SAM:X", "SAM:Y", "SAM:Z")
"""Axes on the encoder inputs of the position compare, Enc1 to Enc4."""

TRIGGERED: tuple[str, ...] = ("HR1", "MR1")
"""Cameras that the position compare triggers."""

FRAME_AXES: tuple[str, ...] = (
    "DCM:Bragg",
    "SAM:Theta",
    "SAM:X",
    "SAM:Y",
    "SAM:Z",
    "ZPA:X",
    "ZPA:Y",
    "ZPA:Z",
    "ZPB:X",
    "ZPB:Y",
    "ZPB:Z",
    "DET:Z",
    "DET:X",
)
"""Axes whose readback at mid-exposure is written beside every frame."""


@dataclass(frozen=True, slots=True)
class CameraRow:
    """A camera: its prefix, the name of its asyn port, and its factory settings."""

    name: str
    port: str
    exposure_s: float
    setpoint_c: float


CAMERAS: tuple[CameraRow, ...] = (
    CameraRow("HR1", "HR1", 0.1, -10.0),
    CameraRow("MR1", "MR1", 0.1, -10.0),
    CameraRow("TEL1", "TEL1", 0.02, 20.0),
)


@dataclass(frozen=True, slots=True)
class ShutterRow:
    """A shutter: its prefix, the time its blade takes, and its name."""

    name: str
    travel_s: float
    description: str


SHUTTERS: tuple[ShutterRow, ...] = (
    ShutterRow("FES", 3.0, "Front end shutter"),
    ShutterRow("PSH", 1.5, "Photon shutter"),
    ShutterRow("FSH", 0.010, "Fast shutter"),
)

LOST_MOTION: dict[str, float] = {
    "DCM:Bragg": 4e-5,
    "DCM:Gap": 5e-4,
    "COND:Z": 2e-3,
    "PIN:X": 0.5,
    "PIN:Y": 0.5,
    "SSA:XP": 1.0,
    "SSA:XN": 1.0,
    "SSA:YP": 1.0,
    "SSA:YN": 1.0,
    "DET:Z": 5e-3,
    "DET:X": 1e-2,
}
"""Play of the axes that have a screw between encoder and load, in the axis' unit (an imperfect instrument's)."""
