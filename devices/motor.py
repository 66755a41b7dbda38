"""Motor record with checks that speak: NaN and targets off the travel are refused before anything moves."""

from __future__ import annotations

import math
import threading
from typing import Any

from ophyd import EpicsMotor
from ophyd.positioner import PositionerBase
from ophyd.status import wait as status_wait

from exitwave.devices.errors import DeviceConnectionError, MotionLimitError

__all__ = ["Motor", "OrderedMoves"]


_FIRST_WORD_S = 10.0

# One for all axes: a pseudo axis starts its real ones inside of its own start, and ends inside of their end.
_starts_and_ends = threading.RLock()


class OrderedMoves(PositionerBase):
    """Keeps the start and the end of moves apart; to be put before an ophyd positioner.

    Without it, a move that is asked for the moment the one before it is done can lose its end: ophyd wakes who
    waits first and forgets the finished move's subscription after, which by then may be the new one's.
    """

    def move(self, position: Any, wait: bool = True, **kwargs: Any) -> Any:
        """Move; as in ophyd."""
        with _starts_and_ends:
            status = super().move(position, wait=False, **kwargs)
        if wait:
            try:
                status_wait(status)
            except KeyboardInterrupt:
                self.stop()
                raise
        return status

    def _done_moving(self, *args: Any, **kwargs: Any) -> None:
        with _starts_and_ends:
            super()._done_moving(*args, **kwargs)


class Motor(OrderedMoves, EpicsMotor):
    """An EPICS motor record.

    Adds to `ophyd.EpicsMotor` a check that also refuses NaN and names axis, value, limits and unit, and waits before
    the first move until the record has said whether it is moving: the end of a move is a change of that, and one that
    came before the first word would never be seen.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._heard = threading.Event()
        super().__init__(*args, **kwargs)
        self.motor_done_move.subscribe(self._hear)

    def _hear(self, **_: Any) -> None:
        self._heard.set()

    def move(self, position: Any, wait: bool = True, **kwargs: Any) -> Any:
        """Move; as in ophyd.

        Raises
        ------
        DeviceConnectionError
            The record did not say within 10 s whether it is moving.
        """
        if not self._heard.wait(_FIRST_WORD_S):
            raise DeviceConnectionError(
                f"{self.dotted_name_of()}: no word from {self.motor_done_move.pvname} in {_FIRST_WORD_S:g} s; "
                "is the IOC alive?"
            )
        return super().move(position, wait=wait, **kwargs)

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
