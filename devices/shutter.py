"""Shutters: a set finishes when the blade is there, and fails with a reason when it is not."""

from __future__ import annotations

from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, DeviceStatus, EpicsSignal, EpicsSignalRO

from exitwave.devices.errors import SettingError, ShutterError
from exitwave.devices.status import FirstStatus

__all__ = ["Shutter"]

_TARGETS = {"open": "Open", "close": "Closed", "closed": "Closed"}


class Shutter(Device):
    """A shutter with commands, a status and a permit.

    ``shutter.set("open")`` returns a status that is done when the record reports *Open*. It fails with
    `ShutterError` when the permit is missing, the shutter reports a fault, or it does not get there in time.

    Parameters
    ----------
    timeout_s : float
        Time that a motion may take.
    """

    status = Cpt(EpicsSignalRO, "Status", kind="hinted", auto_monitor=True, string=True, doc="Closed Open Moving Fault")
    permit = Cpt(EpicsSignalRO, "Permit", kind="normal", auto_monitor=True, string=True, doc="Yes when it may open")
    open_command = Cpt(EpicsSignal, "Open", kind="omitted", put_complete=True)
    close_command = Cpt(EpicsSignal, "Close", kind="omitted", put_complete=True)
    reset_command = Cpt(EpicsSignal, "Reset", kind="omitted")

    def __init__(self, prefix: str = "", *, timeout_s: float = 10.0, **kwargs: Any):
        super().__init__(prefix, **kwargs)
        self.timeout_s = timeout_s

    @property
    def is_open(self) -> bool:
        """True when the record reports *Open*."""
        return self.status.get() == "Open"

    def set(self, value: str) -> DeviceStatus:
        """Open or close.

        Parameters
        ----------
        value : {"open", "close"}

        Raises
        ------
        SettingError
            Another word than these.
        """
        target = _TARGETS.get(value.lower())
        if target is None:
            raise SettingError(f"{self.name}: {value!r} is no state of a shutter; use 'open' or 'close'")
        status = FirstStatus(self, timeout=self.timeout_s)
        if target == "Open" and self.permit.get() != "Yes":
            status.fail(
                ShutterError(
                    f"{self.name}: not opened, its permit is {self.permit.get()!r}; search the hutch or wait for beam"
                )
            )
            return status
        if self.status.get(use_monitor=False) == target:
            status.finish()
            return status

        def watch(*, value: Any, **_: Any) -> None:
            if value == target:
                status.finish()
            elif value == "Fault":
                status.fail(ShutterError(f"{self.name}: fault while going to {target}; reset it"))

        def commanded(_: Any) -> None:
            # The record completes its put when the blade has stopped: if it is not there by then, it never will be.
            seen = self.status.get(use_monitor=False)
            if seen == target:
                status.finish()
            else:
                status.fail(ShutterError(f"{self.name}: is {seen} after being told to go to {target}; reset it"))

        token = self.status.subscribe(watch, run=False)
        status.add_callback(lambda _: self.status.unsubscribe(token))
        command = self.open_command if target == "Open" else self.close_command
        command.set(1).add_callback(commanded)
        return status

    def reset(self) -> None:
        """Clear a fault."""
        self.reset_command.put(1)
