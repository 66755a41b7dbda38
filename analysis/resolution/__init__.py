"""How fine an image is: four measures that see different things, and a report that carries them together.

`power_spectrum` (radial PSD and its cut-off), `fourier_ring_correlation` of two exposures (of two volumes:
`fourier_shell_correlation`), `edge_response`,
`siemens_star` (contrast and its sign, ring by ring). `measure_resolution` runs those that the data allow.
"""

from exitwave.analysis.resolution.edge import EdgeResponse, edge_response
from exitwave.analysis.resolution.frc import RingCorrelation, fourier_ring_correlation
from exitwave.analysis.resolution.fsc import ShellCorrelation, cosine_mask, fourier_shell_correlation
from exitwave.analysis.resolution.psd import PowerSpectrum, power_spectrum
from exitwave.analysis.resolution.report import ResolutionReport, measure_resolution
from exitwave.analysis.resolution.star import StarContrast, find_star_centre, siemens_star

__all__ = [
    "EdgeResponse",
    "PowerSpectrum",
    "ResolutionReport",
    "RingCorrelation",
    "ShellCorrelation",
    "StarContrast",
    "cosine_mask",
    "edge_response",
    "find_star_centre",
    "fourier_ring_correlation",
    "fourier_shell_correlation",
    "measure_resolution",
    "power_spectrum",
    "siemens_star",
]
