"""Parallel-beam tomography: where the rays went, projection, reconstruction, and what comes before it."""

from exitwave.analysis.tomography.geometry import Geometry, angular_weights
from exitwave.analysis.tomography.projector import backproject, project

__all__ = ["Geometry", "angular_weights", "backproject", "project"]
