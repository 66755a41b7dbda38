"""Channels that a record owns: a client's put goes to the record, the record posts what became of it.

caproto's own channels store what a client writes and then tell about it. A record of a real IOC decides first:
it may refuse, clip, or complete the put much later. Here `write`, which only a client reaches, calls the
record's handler, and `post`, which only the record calls, changes the value and tells the subscribers.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypedDict, Unpack

from caproto import (
    AccessRights,
    AlarmSeverity,
    AlarmStatus,
    ChannelAlarm,
    ChannelChar,
    ChannelData,
    ChannelDouble,
    ChannelEnum,
    ChannelInteger,
    ChannelShort,
    ChannelString,
    SubscriptionType,
    TimeStamp,
)
from caproto._data import SubscriptionUpdate
from caproto._dbr import _channel_type_by_name

__all__ = [
    "AlarmSeverity",
    "AlarmStatus",
    "ArrayPv",
    "DoublePv",
    "EnumPv",
    "LongPv",
    "PutHandler",
    "Pv",
    "ShortPv",
    "StringPv",
    "TextPv",
    "put_accepted",
    "raise_alarm",
]

PutHandler = Callable[[Any], Awaitable[None] | None]
"""Takes the value of a client's put; what it returns, if anything, is awaited before the put completes."""

put_accepted: contextvars.ContextVar[Callable[[], object] | None] = contextvars.ContextVar("put_accepted", default=None)
"""Called once the record has taken a put, so that the same client's next read need not wait for its end."""

_QUEUE_HOPS = 8
_POSTED = SubscriptionType.DBE_VALUE | SubscriptionType.DBE_LOG | SubscriptionType.DBE_ALARM
_FIELD_TYPES = {"VAL", "DESC", "EGU", "PREC", "RTYP", "STAT", "SEVR", "HOPR", "LOPR", "DRVH", "DRVL", "DISA", "DISV"}


def _drive(coroutine: Coroutine[Any, Any, None]) -> None:
    # Publishing awaits nothing but unbounded queues, so the coroutine ends in its first step; running it
    # here keeps a record's change of several fields in one piece.
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("a channel's queue was expected to be unbounded")


class PvOptions(TypedDict, total=False):
    """What every channel can be given.

    Attributes
    ----------
    writable : bool
        Whether clients may put to it; they may if left out.
    on_put : callable, optional
        Takes their puts; without it the value is posted as it comes.
    alarm : ChannelAlarm, optional
        Shared by the channels of one record; one of its own if left out.
    rtyp : str
        Type of record that it passes itself off as.
    description : str
        Its DESC.
    """

    writable: bool
    on_put: PutHandler | None
    alarm: ChannelAlarm | None
    rtyp: str
    description: str


class Pv(ChannelData):
    """What the channels below add to caproto's: access, a put handler and a synchronous `post`."""

    record_type = "caproto"
    _data: dict[str, Any]
    _queues: dict[Any, Any]
    alarm: ChannelAlarm

    def __init__(self, value: Any, options: PvOptions, **channel: Any) -> None:
        rtyp = options.get("rtyp", self.record_type)
        super().__init__(value=value, alarm=options.get("alarm"), reported_record_type=rtyp, **channel)
        self.writable = options.get("writable", True)
        self.on_put = options.get("on_put")
        self._data["description"] = options.get("description", "")

    def check_access(self, hostname: str, username: str) -> AccessRights:
        """Return READ, and WRITE unless the record alone sets this channel."""
        return AccessRights.READ | AccessRights.WRITE if self.writable else AccessRights.READ

    async def write(
        self, value: Any, *, flags: int = 0, verify_value: bool = True, update_fields: bool = True, **metadata: Any
    ) -> None:
        """Hand a client's put to the record; return when the record calls it complete."""
        value = self._normal(self.preprocess_value(value))
        if self.on_put is None:
            self.post(value)
            return
        completion = self.on_put(value)
        if completion is None:
            return
        accepted = put_accepted.get()
        if accepted is not None:
            accepted()
        await completion
        # The updates posted so far are on their way through two queues; the completion must not overtake them.
        for _ in range(_QUEUE_HOPS):
            await asyncio.sleep(0)

    def _normal(self, value: Any) -> Any:
        return value

    @property
    def now(self) -> Any:
        """The present value as plain Python (an enumeration as its index)."""
        return self._normal(self._data["value"])

    def post(self, value: Any, *, timestamp_s: float | None = None) -> None:
        """Set the value and tell every subscriber; event loop only.

        Parameters
        ----------
        value : Any
            The new value, of the channel's own type.
        timestamp_s : float, optional
            UNIX time of the value, in seconds; now if left out.
        """
        self._data["value"] = value
        self._data["timestamp"] = TimeStamp.from_flexible_value(timestamp_s or time.time())
        self.tell()

    def update(self, value: Any) -> None:
        """`post`, if the value differs from the present one."""
        if value != self.now:
            self.post(value)

    def tell(self, mask: SubscriptionType = _POSTED) -> None:
        """Send the present value, alarm and metadata to those who subscribed to what is in `mask`."""
        self._content.clear()
        if self._queues:
            _drive(self._publish_to(mask))

    async def _publish_to(self, mask: SubscriptionType) -> None:
        # caproto's own `publish` tells every subscriber, whatever it subscribed to; a client that gets a
        # value with each change of a limit takes it for a change of the value.
        for queue, syncs in self._queues.items():
            for data_types in syncs.values():
                for type_name, specs in data_types.items():
                    wanted = tuple(spec for spec in specs if spec.mask & mask and self._is_eligible(spec))
                    if wanted:
                        content = await self._read(_channel_type_by_name[type_name])
                        await queue.put(SubscriptionUpdate(wanted, *content, mask, None))

    def describe(self, **metadata: Any) -> None:
        """Change metadata (`units`, `precision`, `lower_ctrl_limit` ...) and tell those who watch properties."""
        self._data.update(metadata)
        self.tell(SubscriptionType.DBE_PROPERTY)

    def get_field(self, field: str) -> Any:
        """Return the channel of a record's field; caproto asks for it once and keeps it.

        Raises
        ------
        KeyError
            If the record has no such field.
        """
        if field == "VAL":
            return self
        data = self._data
        if field not in _FIELD_TYPES:
            raise KeyError(field)
        if field in {"STAT", "SEVR"}:
            return _AlarmPv(self.alarm, field)
        if field in {"DISA", "DISV"}:
            return ShortPv(0 if field == "DISA" else 1)
        if field in {"DESC", "EGU", "RTYP"}:
            rtyp = self.reported_record_type
            text = {"DESC": data["description"], "EGU": data.get("units", ""), "RTYP": rtyp}[field]
            return StringPv(text, writable=field == "DESC")
        if field == "PREC":
            return ShortPv(int(data.get("precision", 0)), writable=False)
        side = "upper" if field in {"HOPR", "DRVH"} else "lower"
        return DoublePv(float(data.get(f"{side}_ctrl_limit", 0.0)), writable=False)


class DoublePv(Pv, ChannelDouble):
    """A double with units, precision and control limits (0, 0: none)."""

    record_type = "ai"

    def __init__(
        self,
        value: float = 0.0,
        *,
        units: str = "",
        precision: int = 3,
        limits: tuple[float, float] = (0.0, 0.0),
        **options: Unpack[PvOptions],
    ) -> None:
        low, high = limits
        super().__init__(
            float(value),
            options,
            units=units,
            precision=precision,
            lower_ctrl_limit=low,
            upper_ctrl_limit=high,
            lower_disp_limit=low,
            upper_disp_limit=high,
        )

    def _normal(self, value: Any) -> float:
        return float(value)


class ArrayPv(Pv, ChannelDouble):
    """A waveform of doubles that grows and shrinks up to `length`; clients only read it."""

    record_type = "waveform"

    def __init__(self, *, length: int, units: str = "", precision: int = 3) -> None:
        super().__init__([], {"writable": False}, max_length=length, units=units, precision=precision)

    def _normal(self, value: Any) -> list[float]:
        return [float(item) for item in value]


class _IntegerPv(Pv):
    record_type = "longin"

    def __init__(self, value: int = 0, *, units: str = "", **options: Unpack[PvOptions]) -> None:
        super().__init__(int(value), options, units=units)

    def _normal(self, value: Any) -> int:
        return int(value)


class LongPv(_IntegerPv, ChannelInteger):
    """A 32-bit integer."""


class ShortPv(_IntegerPv, ChannelShort):
    """A 16-bit integer."""


class EnumPv(Pv, ChannelEnum):
    """An enumeration, kept as the index of its state."""

    record_type = "mbbi"

    def __init__(self, states: Sequence[str], value: int = 0, **options: Unpack[PvOptions]) -> None:
        super().__init__(int(value), options, enum_strings=tuple(states))

    def _normal(self, value: Any) -> int:
        return self.enum_strings.index(value) if isinstance(value, str) else int(value)

    @property
    def text(self) -> str:
        """The present state's name."""
        return str(self.enum_strings[self.now])


class StringPv(Pv, ChannelString):
    """A string of at most 40 characters."""

    record_type = "stringin"

    def __init__(self, value: str = "", **options: Unpack[PvOptions]) -> None:
        super().__init__(value, options)

    def _normal(self, value: Any) -> str:
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
        return text[:39]


class TextPv(Pv, ChannelChar):
    """A long string: a CHAR waveform, as areaDetector keeps paths and messages."""

    record_type = "waveform"

    def __init__(self, value: str = "", *, length: int = 1024, **options: Unpack[PvOptions]) -> None:
        super().__init__(value, options, max_length=length, string_encoding="latin-1")

    def _normal(self, value: Any) -> str:
        return str(value).split("\0", 1)[0]


class _AlarmPv(Pv, ChannelEnum):
    """STAT or SEVR of a record, read from its alarm."""

    def __init__(self, alarm: ChannelAlarm, field: str) -> None:
        severities = ("NO_ALARM", "MINOR", "MAJOR", "INVALID")
        names = [member.name for member in AlarmStatus][:16] if field == "STAT" else severities
        super().__init__(0, {"alarm": alarm, "writable": False}, enum_strings=names)
        self._field = field

    async def read(self, data_type: Any) -> Any:
        source = self.alarm.status if self._field == "STAT" else self.alarm.severity
        self._data["value"] = min(int(source), 15)
        return await super().read(data_type)


def raise_alarm(pvs: Sequence[ChannelData], status: AlarmStatus, severity: AlarmSeverity) -> None:
    """Set the alarm that these channels of one record share, and tell their subscribers if it changed.

    Parameters
    ----------
    pvs : sequence of ChannelData
        Channels to tell; the first one's alarm is set.
    status, severity : AlarmStatus, AlarmSeverity
        The new alarm; (NO_ALARM, NO_ALARM) clears it.
    """
    alarm = pvs[0].alarm
    if (alarm.status, alarm.severity) == (status, severity):
        return
    _drive(alarm.write(status=status, severity=severity, publish=False))
    for pv in pvs:
        pv.tell()
