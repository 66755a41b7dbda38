"""A number of the microscope that has limits: refused outside of them, in words, before anything is put."""

from __future__ import annotations

import math
from typing import Any

from ophyd import EpicsSignalWithRBV

from exitwave.devices.errors import SettingError

__all__ = ["Setting"]


class Setting(EpicsSignalWithRBV):
    """A setpoint with its readback (``_RBV``).

    The limits are those that the server states for the setpoint (EPICS' control limits, DRVL and DRVH of an analogue
    output); a server that states none clips in silence, and `set` would wait for ever for what it never takes.
    """

    def check_value(self, value: Any) -> None:
        """Refuse what the server would clip, and what is no number.

        Raises
        ------
        SettingError
        """
        super().check_value(value)
        if isinstance(value, str):
            return
        low, high = self.limits
        unit = f" {units}" if (units := self.metadata.get("units")) else ""
        if not math.isfinite(value):
            raise SettingError(f"{self.dotted_name_of()}: {value}{unit} is not a finite number; give one")
        if low is not None and high is not None and low < high and not low <= value <= high:
            raise SettingError(
                f"{self.dotted_name_of()}: {value:g}{unit} is outside [{low:g}, {high:g}]{unit}; choose a value inside"
            )

    def set(self, value: Any, **kwargs: Any) -> Any:
        """Check the value here and now, and not in ophyd's thread; then as in ophyd."""
        self.check_value(value)
        return super().set(value, **kwargs)

    def dotted_name_of(self) -> str:
        """Return the name that a user types, ``column.beam_current`` rather than ``column_beam_current``."""
        root = self.root.name
        return f"{root}.{self.dotted_name}" if self.dotted_name else root
