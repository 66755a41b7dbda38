"""Atomic-resolution imaging with X-rays that electrons make: spectrum images, frame by frame, and lines."""

from exitwave.plans.anxri.spectrum_image import line
from exitwave.plans.anxri.spectrum_image import spectrum_image as map

__all__ = ["line", "map"]
