"""A status that several callbacks may end, the first of which counts."""

from __future__ import annotations

import threading
from typing import Any

from ophyd import DeviceStatus

__all__ = ["FirstStatus"]


class FirstStatus(DeviceStatus):
    """A device status that can be told its end more than once, from any thread.

    Monitors, put callbacks and timers race to report the end of one motion or acquisition; what comes after the
    first word is dropped.
    """

    def __init__(self, device: Any, **kwargs: Any):
        self._first = threading.Lock()
        self._told = False
        super().__init__(device, **kwargs)

    def _claim(self) -> bool:
        with self._first:
            claimed, self._told = not self._told and not self.done, True
        return claimed

    def finish(self) -> None:
        """End with success, unless it has ended."""
        if self._claim():
            self.set_finished()

    def fail(self, error: Exception) -> None:
        """End with an error, unless it has ended."""
        if self._claim():
            self.set_exception(error)
