"""A value that changes in steps, known at any time, past or planned."""

from __future__ import annotations

import bisect
from typing import Generic, TypeVar

__all__ = ["Timeline"]

T = TypeVar("T")
_HISTORY = 1024


class Timeline(Generic[T]):
    """Steps of a value over simulated time; set from one thread, read from any.

    Parameters
    ----------
    value : T
        Value from the beginning.
    """

    def __init__(self, value: T) -> None:
        self._steps: tuple[tuple[float, T], ...] = ((float("-inf"), value),)

    def set(self, t_s: float, value: T) -> None:
        """Let the value be `value` from `t_s` on; what was planned after `t_s` is forgotten."""
        kept = [step for step in self._steps if step[0] < t_s][-_HISTORY:]
        self._steps = (*kept, (t_s, value))

    def at(self, t_s: float) -> T:
        """Return the value at `t_s`."""
        steps = self._steps
        return steps[max(bisect.bisect_right(steps, t_s, key=lambda step: step[0]) - 1, 0)][1]
