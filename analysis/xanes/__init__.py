"""Spectroscopic imaging across an absorption edge: from counts to chemical maps with uncertainties.

The way of the data: `EnergyList` -> `correct_stack` (with the `StackOperator` that `align` refines) ->
`Normalisation` -> `edge_map`, `TemplateShift` or `LinearCombination` -> `depth_profile`, `region_spectrum`; of
volumes `align_tomograms` -> `reconstruct_energies`, and the same maps, voxel by voxel.
Optical depths go together with their variances, (n, y, x) float32 both; maps read them from memory or, by
rows, from data sets in files.
"""

from exitwave.analysis.xanes.align import Alignment, align, fit_drift
from exitwave.analysis.xanes.bounds import information_bound
from exitwave.analysis.xanes.decompose import (
    Clusters,
    Components,
    Factors,
    cluster,
    non_negative_factors,
    principal_components,
)
from exitwave.analysis.xanes.energies import (
    PRESETS,
    EnergyList,
    EnergyRegion,
    check_energies,
    edge_energy_ev,
    preset_regions,
    read_energies,
    regions_to_energies,
)
from exitwave.analysis.xanes.kedge import (
    ElementMap,
    areal_density,
    edge_jump_cm2_g,
    k_edge_subtraction,
    mass_absorption_cm2_g,
)
from exitwave.analysis.xanes.maps import EdgeMap, edge_map
from exitwave.analysis.xanes.mixture import LinearCombination, MixtureMap
from exitwave.analysis.xanes.normalise import Normalisation, Normalised, find_e0
from exitwave.analysis.xanes.radial import (
    CoreMinusShell,
    DepthProfile,
    core_minus_shell,
    depth_profile,
    surface_depth_nm,
)
from exitwave.analysis.xanes.spectra import RegionSpectrum, region_spectrum, write_spectrum
from exitwave.analysis.xanes.stack import StackOperator, correct_stack, magnification_scales, optical_depth
from exitwave.analysis.xanes.template import ShiftMap, TemplateShift, edge_bound
from exitwave.analysis.xanes.volumes import (
    EnergyProjections,
    VolumeAlignment,
    VolumeFocus,
    align_tomograms,
    focus_of_volume,
    reconstruct_energies,
)

__all__ = [
    "PRESETS",
    "Alignment",
    "Clusters",
    "Components",
    "CoreMinusShell",
    "DepthProfile",
    "EdgeMap",
    "ElementMap",
    "EnergyList",
    "EnergyProjections",
    "EnergyRegion",
    "Factors",
    "LinearCombination",
    "MixtureMap",
    "Normalisation",
    "Normalised",
    "RegionSpectrum",
    "ShiftMap",
    "StackOperator",
    "TemplateShift",
    "VolumeAlignment",
    "VolumeFocus",
    "align",
    "align_tomograms",
    "areal_density",
    "check_energies",
    "cluster",
    "core_minus_shell",
    "correct_stack",
    "depth_profile",
    "edge_bound",
    "edge_energy_ev",
    "edge_jump_cm2_g",
    "edge_map",
    "find_e0",
    "fit_drift",
    "focus_of_volume",
    "information_bound",
    "k_edge_subtraction",
    "magnification_scales",
    "mass_absorption_cm2_g",
    "non_negative_factors",
    "optical_depth",
    "preset_regions",
    "principal_components",
    "read_energies",
    "reconstruct_energies",
    "region_spectrum",
    "regions_to_energies",
    "surface_depth_nm",
    "write_spectrum",
]
