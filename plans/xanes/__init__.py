"""Absorption spectra near an edge: of the whole beam, of every pixel, of every voxel."""

from exitwave.plans.pure.xanes_estimates import Exposed
from exitwave.plans.xanes.calibration import calibrate_pitch, calibrate_tracking, restore_tracking
from exitwave.plans.xanes.dual_energy import dual_energy, dual_energy_tomography
from exitwave.plans.xanes.feedback import Feedback, IntensityError
from exitwave.plans.xanes.imaging import Adaptive, imaging
from exitwave.plans.xanes.point import point
from exitwave.plans.xanes.resume import resume
from exitwave.plans.xanes.tomography import tomography

__all__ = [
    "Adaptive",
    "Exposed",
    "Feedback",
    "IntensityError",
    "calibrate_pitch",
    "calibrate_tracking",
    "dual_energy",
    "dual_energy_tomography",
    "imaging",
    "point",
    "restore_tracking",
    "resume",
    "tomography",
]
