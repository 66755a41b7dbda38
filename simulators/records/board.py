"""A set of channels built from a table, which threads may post to without flooding the clients."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from exitwave.simulators.records.channels import DoublePv, EnumPv, LongPv, PutHandler, Pv, StringPv, TextPv

__all__ = ["QUIET_S", "Board", "Choice", "Row", "Text", "ro", "rw", "wo"]

QUIET_S = 0.05


@dataclass(frozen=True, slots=True)
class Choice:
    """Start value of an enumeration."""

    states: tuple[str, ...]
    index: int = 0


@dataclass(frozen=True, slots=True)
class Text:
    """Start value of a CHAR waveform."""

    value: str = ""
    length: int = 1024


Start = int | float | str | Choice | Text


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table of channels.

    Attributes
    ----------
    name : str
        Suffix of the PV.
    start : int, float, str, Choice or Text
        Start value; its type is the channel's.
    units : str
        EGU.
    writable : bool
        Whether clients may write `name`.
    readback : bool
        Whether there is a `name`_RBV besides.
    """

    name: str
    start: Start
    units: str = ""
    writable: bool = True
    readback: bool = False


def rw(name: str, start: Start, units: str = "") -> Row:
    """Return the row of a setpoint with its _RBV."""
    return Row(name, start, units, True, True)


def ro(name: str, start: Start, units: str = "") -> Row:
    """Return the row of a value that only the record sets."""
    return Row(name, start, units, False, False)


def wo(name: str, start: Start, units: str = "") -> Row:
    """Return the row of a setpoint or command without _RBV."""
    return Row(name, start, units, True, False)


def _channel(row: Row, writable: bool) -> Pv:
    start = row.start
    role = "o" if writable else "i"
    if isinstance(start, Choice):
        rtyp = ("b" if len(start.states) == 2 else "mbb") + role
        return EnumPv(start.states, start.index, writable=writable, rtyp=rtyp)
    if isinstance(start, Text):
        return TextPv(start.value, length=start.length, writable=writable)
    if isinstance(start, str):
        return StringPv(start, writable=writable, rtyp="stringout" if writable else "stringin")
    if isinstance(start, float):
        return DoublePv(start, units=row.units, writable=writable, rtyp="a" + role)
    return LongPv(start, units=row.units, writable=writable, rtyp="longout" if writable else "longin")


class Board:
    """Channels by suffix, as a table of rows says.

    `post` and the put handlers belong to the event loop's thread; `value` and `later` to any.

    Parameters
    ----------
    rows : iterable of Row
        The table; a later row of the same name replaces an earlier one.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self.channels: dict[str, Pv] = {}
        self._checks: dict[str, Callable[[Any], Any]] = {}
        self._reactions: dict[str, Callable[[Any], None]] = {}
        self._lock = threading.Lock()
        self._pending: dict[str, Any] = {}
        self._scheduled = False
        self._flushed_s = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        for row in rows:
            self.channels[row.name] = channel = _channel(row, row.writable)
            if row.readback:
                self.channels[f"{row.name}_RBV"] = _channel(row, False)
            if row.writable:
                channel.on_put = self._putter(row.name)

    def pvdb(self, prefix: str) -> dict[str, Pv]:
        """Return the channels by full name."""
        return {prefix + name: channel for name, channel in self.channels.items()}

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Remember the event loop that `later` hands values to."""
        self._loop = loop

    def _putter(self, name: str) -> PutHandler:
        def put(value: Any) -> None:
            self.set(name, value)

        return put

    def on_put(self, name: str, handler: PutHandler) -> None:
        """Let `handler` alone deal with puts to `name`."""
        self.channels[name].on_put = handler

    def check(self, names: Iterable[str], accept: Callable[[Any], Any]) -> None:
        """Let `accept` turn what a client writes to `names` into what is taken."""
        self._checks.update(dict.fromkeys(names, accept))

    def react(self, names: Iterable[str], reaction: Callable[[Any], None]) -> None:
        """Call `reaction` with the value taken after each put to one of `names`."""
        self._reactions.update(dict.fromkeys(names, reaction))

    def set(self, name: str, value: Any) -> None:
        """Do what a client's put does: keep the setpoint, show what was taken in the readback, react."""
        taken = self._checks[name](value) if name in self._checks else value
        readback = self.channels.get(f"{name}_RBV")
        self.channels[name].post(taken if readback is None else value)
        if readback is not None:
            readback.post(taken)
        if name in self._reactions:
            self._reactions[name](taken)

    def value(self, name: str) -> Any:
        """Return a channel's value, an enumeration as its index; any thread."""
        return self.channels[name].now

    def text(self, name: str) -> str:
        """Return the name of an enumeration's state; any thread."""
        channel = self.channels[name]
        if not isinstance(channel, EnumPv):
            raise TypeError(f"{name} is no enumeration")
        return channel.text

    def post(self, **values: Any) -> None:
        """Post values by suffix; event loop only."""
        self.post_all(values)

    def post_all(self, values: Mapping[str, Any]) -> None:
        """Post values by suffix, in their order; event loop only."""
        for name, value in values.items():
            self.channels[name].post(value)

    def later(self, values: Mapping[str, Any], *, urgent: bool = False, quiet_s: float = QUIET_S) -> None:
        """Post values from any thread: at once after a quiet spell, else merged, at most 20 times a second.

        Parameters
        ----------
        values : mapping of str to Any
            New values by suffix; of several values for one channel within a spell the last one counts.
        urgent : bool
            Do not merge with what may come next (the end of an acquisition, an error).
        quiet_s : float
            Wall time that has to pass between two spells.
        """
        with self._lock:
            for name, value in values.items():
                self._pending.pop(name, None)
                self._pending[name] = value
            if self._loop is None or (self._scheduled and not urgent):
                return
            self._scheduled = True
            wait_s = 0.0 if urgent else max(0.0, self._flushed_s + quiet_s - time.monotonic())
        if self._loop.is_closed():
            return
        if wait_s > 0:
            self._loop.call_soon_threadsafe(self._loop.call_later, wait_s, self._flush)
        else:
            self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, {}
            self._scheduled = False
            self._flushed_s = time.monotonic()
        self.post_all(pending)
