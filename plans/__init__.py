"""Bluesky plans: what is done with the hardware."""

from exitwave.plans import alignment, ct, stubs, txm, xanes
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import PlanInputError

__all__ = ["Instrument", "PlanInputError", "alignment", "ct", "stubs", "txm", "xanes"]
