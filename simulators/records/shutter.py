"""A shutter with permit and fault, and switches that take their time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from exitwave.simulators.clock import SimClock
from exitwave.simulators.records.channels import AlarmSeverity, AlarmStatus, EnumPv, Pv, raise_alarm
from exitwave.simulators.records.timeline import Timeline

__all__ = ["Shutter", "Switch"]

_CLOSED, _OPEN, _MOVING, _FAULT = range(4)
STATES = ("Closed", "Open", "Moving", "Fault")


class Shutter:
    """`Open`, `Close` (commands), `Status`, `Permit`, `Reset`; event loop only, but for `passes`.

    Parameters
    ----------
    travel_s : float
        Simulated time that the blade takes.
    clock : SimClock
        Simulated time.
    description : str
        DESC.
    on_command : callable
        Called before anything about the blade's future changes.
    opened : bool
        Where the blade stands at the start.
    """

    def __init__(
        self,
        travel_s: float,
        clock: SimClock,
        *,
        description: str,
        on_command: Callable[[], None],
        opened: bool = False,
    ) -> None:
        self._travel_s = travel_s
        self._clock = clock
        self._on_command = on_command
        self._blade = Timeline(opened)
        self._target = opened
        self._stuck = False
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self.open = EnumPv(("Done", "Open"), rtyp="bo", on_put=lambda value: self._command(value, True))
        self.close = EnumPv(("Done", "Close"), rtyp="bo", on_put=lambda value: self._command(value, False))
        self.reset = EnumPv(("Done", "Reset"), rtyp="bo", on_put=self._put_reset)
        self.permit = EnumPv(("No", "Yes"), 1, writable=False, rtyp="bi")
        self.status = EnumPv(STATES, int(opened), writable=False, rtyp="mbbi", description=description)

    def pvdb(self, prefix: str) -> dict[str, Pv]:
        """Return the channels by full name."""
        return {
            f"{prefix}Open": self.open,
            f"{prefix}Close": self.close,
            f"{prefix}Reset": self.reset,
            f"{prefix}Permit": self.permit,
            f"{prefix}Status": self.status,
        }

    def passes(self, t_s: float) -> bool:
        """Return whether light passes at simulated time `t_s`; any thread."""
        return self._blade.at(t_s)

    def stick(self, stuck: bool) -> None:
        """Jam the blade where it is, or free it."""
        self._stuck = stuck

    def give_permit(self, permitted: bool) -> None:
        """Give or take the permit; without it the shutter closes."""
        self.permit.update(int(permitted))
        if not permitted and self._target:
            self._move(False)

    def _alarm(self, status: AlarmStatus, severity: AlarmSeverity) -> None:
        raise_alarm([self.status], status, severity)

    def _command(self, value: int, opened: bool) -> Awaitable[None] | None:
        (self.open if opened else self.close).post(0)
        if not value:
            return None
        if self.status.now == _FAULT:
            return None
        if opened and not self.permit.now:
            self._alarm(AlarmStatus.DISABLE, AlarmSeverity.MAJOR_ALARM)
            return None
        if self._timer is None and self._target == opened:
            self._alarm(AlarmStatus.NO_ALARM, AlarmSeverity.NO_ALARM)
            return None
        if self._timer is None or self._target != opened:
            self._move(opened)
        return self._wait()

    def _wait(self) -> Awaitable[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        return future

    def _move(self, opened: bool) -> None:
        now = self._clock.now()
        self._on_command()
        self._target = opened
        if not self._stuck:
            self._blade.set(now + self._travel_s / 2, opened)
        self._alarm(AlarmStatus.NO_ALARM, AlarmSeverity.NO_ALARM)
        self.status.post(_MOVING)
        if self._timer is not None:
            self._timer.cancel()
        delay_s = self._clock.wall_delay(self._travel_s)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._arrive)

    def _arrive(self) -> None:
        self._timer = None
        passes = self._blade.at(self._clock.now())
        if passes == self._target:
            self.status.post(_OPEN if passes else _CLOSED)
        else:
            self._alarm(AlarmStatus.STATE, AlarmSeverity.MAJOR_ALARM)
            self.status.post(_FAULT)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _put_reset(self, value: int) -> None:
        self.reset.post(0)
        if value and self._timer is None and not self._stuck:
            self._target = self._blade.at(self._clock.now())
            self._alarm(AlarmStatus.NO_ALARM, AlarmSeverity.NO_ALARM)
            self.status.post(_OPEN if self._target else _CLOSED)
            if self._target and not self.permit.now:
                self._move(False)


class Switch:
    """A selector and its readback, which follows after the time the mechanics take.

    Parameters
    ----------
    states : sequence of str
        Names of the positions.
    travel_s : float
        Simulated time that a change takes.
    clock : SimClock
        Simulated time.
    on_command : callable
        Called before anything about the position's future changes.
    start : int
        Index of the position at the start.
    """

    def __init__(
        self,
        states: Sequence[str],
        travel_s: float,
        clock: SimClock,
        *,
        on_command: Callable[[], None],
        start: int = 0,
    ) -> None:
        self._states = tuple(states)
        self._travel_s = travel_s
        self._clock = clock
        self._on_command = on_command
        self._position = Timeline(self._states[start])
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self.select = EnumPv(states, start, rtyp="mbbo", on_put=self._put)
        self.readback = EnumPv(states, start, rtyp="mbbi", writable=False)

    def pvdb(self, name: str) -> dict[str, Pv]:
        """Return the channels by full name."""
        return {name: self.select, f"{name}_RBV": self.readback}

    def at(self, t_s: float) -> str:
        """Return the position at simulated time `t_s`; any thread."""
        return self._position.at(t_s)

    def _put(self, index: int) -> Awaitable[None] | None:
        self.select.post(index)
        if self._timer is None and self.readback.now == index:
            return None
        self._on_command()
        self._position.set(self._clock.now() + self._travel_s, self._states[index])
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._clock.wall_delay(self._travel_s), self._arrive)
        future: asyncio.Future[None] = loop.create_future()
        self._waiters.append(future)
        return future

    def _arrive(self) -> None:
        self._timer = None
        self.readback.post(self.select.now)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
