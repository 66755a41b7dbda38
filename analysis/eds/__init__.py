"""Energy-dispersive X-ray spectra, photon by photon: events, windows, rates, lines, maps, composition.

Events stay a list; windows, spectra and maps come from one pass over it, a dense cube only on demand.
"""

from exitwave.analysis.eds.accumulator import Accumulator
from exitwave.analysis.eds.axis import EnergyAxis, EnergyWindow
from exitwave.analysis.eds.continuum import continuum_barn_per_kev, continuum_shapes, detector_efficiency
from exitwave.analysis.eds.events import Events, join_events
from exitwave.analysis.eds.index import ChannelIndex
from exitwave.analysis.eds.line_maps import (
    Composition,
    LineMap,
    cliff_lorimer,
    k_factors,
    modelled_line_maps,
    two_window_map,
)
from exitwave.analysis.eds.lines import Family, Line, element_families, escape_lines, escape_share, sum_lines
from exitwave.analysis.eds.maps import coverage, dense_cube, region_spectra, spectra, weighted_maps, window_maps
from exitwave.analysis.eds.model import SpectrumFit, fit_spectrum, identify_elements
from exitwave.analysis.eds.rates import SegmentRates, asymmetry, input_rate, remove_pile_up
from exitwave.analysis.eds.windows import (
    Contaminant,
    Surroundings,
    WindowVerdict,
    free_intervals,
    judge_window,
    propose_windows,
)

__all__ = [
    "Accumulator",
    "ChannelIndex",
    "Composition",
    "Contaminant",
    "EnergyAxis",
    "EnergyWindow",
    "Events",
    "Family",
    "Line",
    "LineMap",
    "SegmentRates",
    "SpectrumFit",
    "Surroundings",
    "WindowVerdict",
    "asymmetry",
    "cliff_lorimer",
    "continuum_barn_per_kev",
    "continuum_shapes",
    "coverage",
    "dense_cube",
    "detector_efficiency",
    "element_families",
    "escape_lines",
    "escape_share",
    "fit_spectrum",
    "free_intervals",
    "identify_elements",
    "input_rate",
    "join_events",
    "judge_window",
    "k_factors",
    "modelled_line_maps",
    "propose_windows",
    "region_spectra",
    "remove_pile_up",
    "spectra",
    "sum_lines",
    "two_window_map",
    "weighted_maps",
    "window_maps",
]
