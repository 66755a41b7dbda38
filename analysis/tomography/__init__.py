"""Parallel-beam tomography: where the rays went, projection, reconstruction, and what comes before it."""

from exitwave.analysis.tomography.geometry import Geometry, angular_weights
from exitwave.analysis.tomography.projector import backproject, project
from exitwave.analysis.tomography.reconstruct import METHODS, reconstruct, reconstruct_chunks

__all__ = [
    "METHODS",
    "Geometry",
    "angular_weights",
    "backproject",
    "project",
    "reconstruct",
    "reconstruct_chunks",
]
