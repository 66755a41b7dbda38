"""Bluesky plans: what is done with the hardware."""

from . import alignment, stubs, txm
from .instrument import Instrument
from .pure.positions import PlanInputError

__all__ = ["Instrument", "PlanInputError", "alignment", "stubs", "txm"]
