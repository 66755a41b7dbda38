"""Parallel-beam tomography: where the rays went, projection, reconstruction, and what comes before it."""

from exitwave.analysis.tomography.alignment import Alignment, align_by_mass, align_projections, remove_unobservable
from exitwave.analysis.tomography.axis import AxisFound, find_axis
from exitwave.analysis.tomography.centre import (
    centre_from_mass,
    centre_from_moments,
    centre_from_score,
    centre_from_wedge,
)
from exitwave.analysis.tomography.fiducials import FiducialSolution, find_beads, solve_fiducials, track_fiducials
from exitwave.analysis.tomography.geometry import Geometry, angular_weights
from exitwave.analysis.tomography.half_voids import Finding, HalfVoids, find_voids, fractions_by_choice
from exitwave.analysis.tomography.helical import HelicalReconstruction, helical_rows
from exitwave.analysis.tomography.pairs import AxisEstimate, CentreEstimate, axis_from_pairs
from exitwave.analysis.tomography.phase import DepthOfFocusWarning, depth_of_focus_warning, paganin
from exitwave.analysis.tomography.pipeline import Light, Recipe, Result, reconstruct_series
from exitwave.analysis.tomography.projector import backproject, project
from exitwave.analysis.tomography.reconstruct import METHODS, Reconstruction, reconstruct
from exitwave.analysis.tomography.segmentation import (
    Label,
    compare_labels,
    envelope,
    segment,
)
from exitwave.analysis.tomography.stripes import (
    remove_all_stripes,
    remove_dead_stripes,
    remove_large_stripes,
    remove_stripes_filtering,
    remove_stripes_sorting,
)
from exitwave.analysis.tomography.to_file import reconstruct_to_file
from exitwave.analysis.tomography.voids import (
    Fraction,
    Shell,
    material_level,
    void_fraction_by_depth,
    void_fraction_counted,
    void_fraction_integrated,
)

__all__ = [
    "METHODS",
    "Alignment",
    "AxisEstimate",
    "AxisFound",
    "CentreEstimate",
    "DepthOfFocusWarning",
    "FiducialSolution",
    "Finding",
    "Fraction",
    "Geometry",
    "HalfVoids",
    "HelicalReconstruction",
    "Label",
    "Light",
    "Recipe",
    "Reconstruction",
    "Result",
    "Shell",
    "align_by_mass",
    "align_projections",
    "angular_weights",
    "axis_from_pairs",
    "backproject",
    "centre_from_mass",
    "centre_from_moments",
    "centre_from_score",
    "centre_from_wedge",
    "compare_labels",
    "depth_of_focus_warning",
    "envelope",
    "find_axis",
    "find_beads",
    "find_voids",
    "fractions_by_choice",
    "helical_rows",
    "material_level",
    "paganin",
    "project",
    "reconstruct",
    "reconstruct_series",
    "reconstruct_to_file",
    "remove_all_stripes",
    "remove_dead_stripes",
    "remove_large_stripes",
    "remove_stripes_filtering",
    "remove_stripes_sorting",
    "remove_unobservable",
    "segment",
    "solve_fiducials",
    "track_fiducials",
    "void_fraction_by_depth",
    "void_fraction_counted",
    "void_fraction_integrated",
]
