"""Computed read-only values and constants with a unit, beside EPICS signals; and how a setting of those is put."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ophyd import EpicsSignal, Signal
from ophyd.utils import ReadOnlyError

from exitwave.devices.errors import SettingError

__all__ = ["ComputedSignal", "ConstantSignal", "put_setting"]

_SETTING_S = 10.0


def put_setting(signal: EpicsSignal, value: Any, *, always: bool = False) -> None:
    """Put a setting and wait until the server has it, unless it has: every put costs a round trip.

    Parameters
    ----------
    signal : EpicsSignal
    value : any
    always : bool
        Put it whatever the server has: it starts something.

    Raises
    ------
    SettingError
        The server does not show the value after 10 s.
    """
    if not always and signal.get(use_monitor=False) == value:
        return
    status = signal.set(value, timeout=_SETTING_S)
    try:
        status.wait()
    except TimeoutError as error:
        raise SettingError(
            f"{signal.name}: was to be {value!r} and is {signal.get(use_monitor=False)!r} {_SETTING_S:g} s later; "
            f"does {signal.setpoint_pvname} take this value?"
        ) from error


class ComputedSignal(Signal):
    """A read-only number that follows from other signals at the moment it is read.

    Parameters
    ----------
    func : callable
        Called with the parent device, returns the value.
    units : str
        Unit, as it stands in the descriptor.
    """

    def __init__(self, *, func: Callable[[Any], float], units: str, name: str, parent: Any = None, **kwargs: Any):
        super().__init__(name=name, parent=parent, value=float("nan"), **kwargs)
        self._func = func
        self._units = units
        self._metadata.update(write_access=False)

    def get(self, **kwargs: Any) -> float:
        """Compute the value now."""
        self._readback = float(self._func(self.parent))
        self._metadata["timestamp"] = time.time()
        return self._readback

    def put(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: the value follows from others."""
        raise ReadOnlyError(f"{self.name} is computed; set what it follows from")

    def set(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: the value follows from others."""
        raise ReadOnlyError(f"{self.name} is computed; set what it follows from")

    def read(self) -> dict[str, Any]:
        """Return value and time."""
        value = self.get()
        return {self.name: {"value": value, "timestamp": self._metadata["timestamp"]}}

    def describe(self) -> dict[str, Any]:
        """Describe the value with its unit, without asking for it."""
        return {
            self.name: {
                "source": f"computed:{self.name}",
                "dtype": "number",
                "dtype_numpy": "<f8",
                "shape": [],
                "units": self._units,
            }
        }


class ConstantSignal(Signal):
    """A number or text that is fixed by construction: a diameter, a zone width, a name."""

    def __init__(self, *, value: float | str, units: str | None = None, name: str, **kwargs: Any):
        super().__init__(name=name, value=value, **kwargs)
        self._units = units
        self._metadata.update(write_access=False)

    def put(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: the value is a property of the hardware."""
        raise ReadOnlyError(f"{self.name} is fixed by the profile of the beamline; change it there")

    def describe(self) -> dict[str, Any]:
        """Describe the value with its unit."""
        desc = super().describe()
        if self._units is not None:
            desc[self.name]["units"] = self._units
        return desc
