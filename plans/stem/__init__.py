"""Plans of a scanning transmission electron microscope."""

from exitwave.plans.stem._beam import blank, close_valves, make_safe, new_area, open_valves, unblank

__all__ = ["blank", "close_valves", "make_safe", "new_area", "open_valves", "unblank"]
