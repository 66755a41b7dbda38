"""Plans of a scanning transmission electron microscope."""

from exitwave.plans.stem._beam import blank, close_valves, make_safe, new_area, open_valves, unblank
from exitwave.plans.stem.imaging import dose_series, focus, haadf
from exitwave.plans.stem.tilt import resume, tilt_series

__all__ = [
    "blank",
    "close_valves",
    "dose_series",
    "focus",
    "haadf",
    "make_safe",
    "new_area",
    "open_valves",
    "resume",
    "tilt_series",
    "unblank",
]
