"""Atomic-resolution imaging with X-rays that electrons make: spectrum images, frame by frame, and lines."""

from exitwave.plans.anxri.spectrum_image import line, spectrum_image

map = spectrum_image  # noqa: A001
__all__ = ["line", "map"]
