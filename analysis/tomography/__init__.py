"""Parallel-beam tomography: where the rays went, projection, reconstruction, and what comes before it."""

from exitwave.analysis.tomography.geometry import Geometry, angular_weights
from exitwave.analysis.tomography.projector import backproject, project
from exitwave.analysis.tomography.reconstruct import METHODS, Reconstruction, reconstruct
from exitwave.analysis.tomography.to_file import reconstruct_to_file

__all__ = [
    "METHODS",
    "Geometry",
    "Reconstruction",
    "angular_weights",
    "backproject",
    "project",
    "reconstruct",
    "reconstruct_to_file",
]
