"""What keeps the beam from the specimen, what it gave the specimen, and the vacuum it needs."""

from __future__ import annotations

import threading
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, DeviceStatus, EpicsSignal, EpicsSignalRO

from exitwave.devices.errors import SettingError
from exitwave.devices.status import FirstStatus
from exitwave.devices.stem.errors import BeamError
from exitwave.devices.stem.setting import Setting

__all__ = ["BeamBlanker", "ColumnVacuum", "DoseMeter"]

_WORDS = {"blank": "Blanked", "blanked": "Blanked", "unblank": "Unblanked", "unblanked": "Unblanked"}


class BeamBlanker(Device):
    """The blanker: ``blanker.set("blanked")`` is done when the readback says so."""

    state = Cpt(EpicsSignalRO, "Blank_RBV", kind="normal", string=True, auto_monitor=True, doc="Unblanked, Blanked")
    cause = Cpt(EpicsSignalRO, "Cause_RBV", kind="normal", string=True, auto_monitor=True, doc="Why it blanked last")
    command = Cpt(EpicsSignal, "Blank", kind="omitted", string=True)

    def __init__(self, prefix: str = "", *, timeout_s: float = 5.0, **kwargs: Any):
        super().__init__(prefix, **kwargs)
        self.timeout_s = timeout_s

    @property
    def is_blanked(self) -> bool:
        """Whether the readback says so, asked now."""
        return str(self.state.get(use_monitor=False)) == "Blanked"

    def set(self, value: str) -> DeviceStatus:
        """Blank or unblank.

        Parameters
        ----------
        value : {"blanked", "unblanked"}

        Raises
        ------
        SettingError
            Another word than these.
        """
        target = _WORDS.get(value.lower())
        if target is None:
            raise SettingError(f"{self.name}: {value!r} is no state of a blanker; use 'blanked' or 'unblanked'")
        status = FirstStatus(self)

        def changed(*, value: Any, **_: Any) -> None:
            if value == target:
                status.finish()

        def late() -> None:
            status.fail(
                BeamError(
                    f"{self.name}: is not {target.lower()} {self.timeout_s:g} s after the command; "
                    "close the column valve"
                )
            )

        timer = threading.Timer(self.timeout_s, late)
        timer.daemon = True
        token = self.state.subscribe(changed, run=False)

        def ended(_: Any) -> None:
            timer.cancel()
            self.state.unsubscribe(token)

        status.add_callback(ended)
        timer.start()
        # A monitor may lag behind a change that the hardware made by itself: the command is given in any case.
        self.command.put(target)
        if str(self.state.get(use_monitor=False)) == target:
            status.finish()
        return status

    def stop(self, *, success: bool = False) -> None:
        """Blank: whatever stops, stops without beam on the specimen."""
        self.command.put("Blanked")


class DoseMeter(Device):
    """Counts electrons through the specimen, also those of a beam that stands still; e/A2 over the present field."""

    rate = Cpt(EpicsSignalRO, "Rate_RBV", kind="normal", auto_monitor=True, doc="e/A2/s, 0 when blanked")
    accumulated = Cpt(EpicsSignalRO, "Accumulated_RBV", kind="normal", auto_monitor=True, doc="Since the reset, e/A2")
    electrons = Cpt(EpicsSignalRO, "Electrons_RBV", kind="normal", auto_monitor=True, doc="Since the reset")
    reset_command = Cpt(EpicsSignal, "Reset", kind="omitted", put_complete=True)
    hardware_limit = Cpt(Setting, "HardwareLimit", kind="config", doc="Blanks by itself, e/A2; 0: none")


class ColumnVacuum(Device):
    """Pressures.

    Parameters
    ----------
    gun_limit_mbar, column_limit_mbar : float
        Above these the beam is not to be let through.
    """

    gun = Cpt(EpicsSignalRO, "Gun:Pressure", kind="normal", auto_monitor=True, doc="mbar")
    column = Cpt(EpicsSignalRO, "Column:Pressure", kind="normal", auto_monitor=True, doc="mbar")
    camera = Cpt(EpicsSignalRO, "Camera:Pressure", kind="normal", auto_monitor=True, doc="mbar")

    def __init__(
        self, prefix: str = "", *, gun_limit_mbar: float = 1e-9, column_limit_mbar: float = 1e-6, **kwargs: Any
    ):
        super().__init__(prefix, **kwargs)
        self.limits_mbar = {"gun": gun_limit_mbar, "column": column_limit_mbar}
