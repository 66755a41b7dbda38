"""Atomic columns in maps of counts: found, fitted with errors, compared, and judged beside what physics expects."""

from exitwave.analysis.columns.compare import (
    Difference,
    Regression,
    group_difference,
    paired_difference,
    width_on_intensity,
)
from exitwave.analysis.columns.expected_map import aperture_transfer, expected_map
from exitwave.analysis.columns.filters import wiener
from exitwave.analysis.columns.find import estimate_spacing, find_columns, split_by_intensity
from exitwave.analysis.columns.first_principles import (
    Column,
    adiabatic_range_pm,
    counts_needed,
    expected_fwhm_pm,
    expected_intensity,
    object_function,
    radiation_logarithm,
)
from exitwave.analysis.columns.fit import ColumnFit, fit_columns
from exitwave.analysis.columns.fourier import LatticeSpots, SpotComparison, compare_periodicity, lattice_spots
from exitwave.analysis.columns.joint import JointFit, fit_columns_jointly, minor_sites
from exitwave.analysis.columns.lattice import Lattice, classify_sites, fit_lattice
from exitwave.analysis.columns.nulls import Null, common_width_null, half_split_null, thinning_null
from exitwave.analysis.columns.recipe import RecipeWidths, paper_recipe
from exitwave.analysis.columns.report import (
    Comparison,
    IntensityRatio,
    Verdict,
    compare_species,
    compare_windows,
    intensity_ratio,
)
from exitwave.analysis.columns.table import write_table

__all__ = [
    "Column",
    "ColumnFit",
    "Comparison",
    "Difference",
    "IntensityRatio",
    "JointFit",
    "Lattice",
    "LatticeSpots",
    "Null",
    "RecipeWidths",
    "Regression",
    "SpotComparison",
    "Verdict",
    "adiabatic_range_pm",
    "aperture_transfer",
    "classify_sites",
    "common_width_null",
    "compare_periodicity",
    "compare_species",
    "compare_windows",
    "counts_needed",
    "estimate_spacing",
    "expected_fwhm_pm",
    "expected_intensity",
    "expected_map",
    "find_columns",
    "fit_columns",
    "fit_columns_jointly",
    "fit_lattice",
    "group_difference",
    "half_split_null",
    "intensity_ratio",
    "lattice_spots",
    "minor_sites",
    "object_function",
    "paired_difference",
    "paper_recipe",
    "radiation_logarithm",
    "split_by_intensity",
    "thinning_null",
    "width_on_intensity",
    "wiener",
    "write_table",
]
