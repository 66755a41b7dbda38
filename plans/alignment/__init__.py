"""Alignment and calibration: every plan finds what is off, records it, and leaves the instrument on it."""

from exitwave.plans.alignment.condenser import condenser
from exitwave.plans.alignment.energy import energy_calibration
from exitwave.plans.alignment.focus import FOCUS_PASSES, FocusPass, zone_plate_focus
from exitwave.plans.alignment.rocking import rocking_curve

__all__ = ["FOCUS_PASSES", "FocusPass", "condenser", "energy_calibration", "rocking_curve", "zone_plate_focus"]
