"""Motor record with checks that speak: NaN and targets off the travel are refused before anything moves."""

from __future__ import annotations

import math

from ophyd import EpicsMotor

from exitwave.devices.errors import MotionLimitError

__all__ = ["Motor"]


class Motor(EpicsMotor):
    """An EPICS motor record.

    Adds to `ophyd.EpicsMotor` only a check that also refuses NaN and names axis, value, limits and unit.
    """

    def check_value(self, pos: float) -> None:
        """Refuse a target that the axis can't reach.

        Raises
        ------
        MotionLimitError
            `pos` is not a finite number or lies outside of the soft limits.
        """
        name = self.dotted_name_of()
        unit = self.egu
        if not math.isfinite(pos):
            raise MotionLimitError(f"{name}: target {pos} {unit} is not a finite number; give a position")
        low, high = self.limits
        if low < high and not low <= pos <= high:
            raise MotionLimitError(
                f"{name}: {pos:g} {unit} is outside [{low:g}, {high:g}] {unit}; "
                "choose a target inside, or move the soft limits if the stage can travel further"
            )

    def dotted_name_of(self) -> str:
        """Return the name that a user types, ``sample.x`` rather than ``sample_x``."""
        root = self.root.name
        return f"{root}.{self.dotted_name}" if self.dotted_name else root
