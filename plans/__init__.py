"""Bluesky plans: what is done with the hardware."""

from exitwave.plans import alignment, anxri, ct, stem, stubs, txm, xanes
from exitwave.plans.instrument import ElectronMicroscope, Instrument
from exitwave.plans.pure.positions import PlanInputError

__all__ = [
    "ElectronMicroscope",
    "Instrument",
    "PlanInputError",
    "alignment",
    "anxri",
    "ct",
    "stem",
    "stubs",
    "txm",
    "xanes",
]
