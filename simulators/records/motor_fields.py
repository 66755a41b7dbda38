"""The fields of a motor record, as data: name, kind, start value, unit; written by clients or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from caproto import ChannelAlarm

from exitwave.simulators.records.channels import AlarmStatus, DoublePv, EnumPv, LongPv, Pv, ShortPv, StringPv

__all__ = ["MotorSettings", "MstaBit", "motor_fields"]


@dataclass(frozen=True, slots=True)
class MotorSettings:
    """How one motor record is configured, as its substitutions file would.

    Attributes
    ----------
    name : str
        Axis name, without the prefix: "DCM:Bragg".
    units : str
        EGU.
    low, high : float
        Soft limits.
    velocity : float
        VELO, units/s.
    acceleration_s : float
        ACCL, seconds to VELO.
    precision : int
        PREC; the step (MRES) is a tenth of the last digit.
    start : float
        Position at start-up.
    description : str
        DESC.
    backlash : float
        BDST.
    home : float or None
        Dial position of the home mark; zero, or the limit nearest to it, if left out.
    """

    name: str
    units: str
    low: float
    high: float
    velocity: float
    acceleration_s: float
    precision: int
    start: float
    description: str = ""
    backlash: float = 0.0
    home: float | None = field(default=None)

    @property
    def step(self) -> float:
        """MRES: the smallest motion, in units."""
        return 10.0 ** -(self.precision + 1)

    @property
    def home_position(self) -> float:
        """Where the home mark is, in dial units."""
        return min(max(0.0, self.low), self.high) if self.home is None else self.home

    @property
    def hard_limits(self) -> tuple[float, float]:
        """The limit switches: 1 % of the travel beyond the soft limits."""
        margin = 0.01 * (self.high - self.low)
        return self.low - margin, self.high + margin


class MstaBit:
    """Bits of MSTA, as the motor record documents them."""

    DIRECTION = 1 << 0
    DONE = 1 << 1
    PLUS_LIMIT = 1 << 2
    AT_HOME = 1 << 7
    POSITION_LOOP = 1 << 5
    SLIP_STALL = 1 << 6
    ENCODER = 1 << 8
    PROBLEM = 1 << 9
    MOVING = 1 << 10
    GAIN_SUPPORT = 1 << 11
    MINUS_LIMIT = 1 << 13
    HOMED = 1 << 14


_SEVERITIES = ("NO_ALARM", "MINOR", "MAJOR", "INVALID")
_ENUMS: Mapping[str, tuple[tuple[str, ...], int]] = {
    "DIR": (("Pos", "Neg"), 0),
    "SET": (("Use", "Set"), 0),
    "FOFF": (("Variable", "Frozen"), 0),
    "SPMG": (("Stop", "Pause", "Move", "Go"), 3),
    "CNEN": (("Disable", "Enable"), 1),
    "UEIP": (("No", "Yes"), 1),
    "URIP": (("No", "Yes"), 0),
    "STUP": (("OFF", "ON", "BUSY"), 0),
    "RMOD": (("Default", "Arithmetic", "Geometric", "In-Position"), 0),
    "NTM": (("NO", "YES"), 1),
    "STAT": (tuple(member.name for member in AlarmStatus)[:16], 0),
    "SEVR": (_SEVERITIES, 0),
    "HLSV": (_SEVERITIES, 2),
    "LLSV": (_SEVERITIES, 2),
    "OMSL": (("supervisory", "closed_loop"), 0),
    "SCAN": (("Passive", "Event", "I/O Intr", "10 second", "5 second", "2 second", "1 second"), 0),
}
_POSITIONS = ("VAL", "DVAL", "RLV", "TWV", "OFF", "HLM", "LLM", "DHLM", "DLLM", "BDST", "RDBD", "SPDB", "MRES", "ERES")
_POSITIONS_READ = ("RBV", "DRBV", "DIFF", "LVAL", "LDVL")
_SPEEDS = ("VELO", "VBAS", "VMAX", "BVEL", "HVEL", "JVEL")
_SHORTS = ("STOP", "TWF", "TWR", "JOGF", "JOGR", "HOMF", "HOMR", "SSET", "SUSE", "FOF", "VOF", "SYNC", "PREC", "RTRY")
_SHORTS_READ = ("DMOV", "MOVN", "HLS", "LLS", "RHLS", "RLLS", "LVIO", "TDIR", "CDIR", "ATHM", "RCNT", "MISS", "MIP")
_STRINGS = ("DESC", "EGU", "RDBL", "DOL", "OUT", "RLNK", "PREM", "POST", "STOO", "RINP")


def motor_fields(settings: MotorSettings) -> dict[str, Pv]:
    """Build the channels of one motor record, by field name.

    Parameters
    ----------
    settings : MotorSettings
        Start values.

    Returns
    -------
    dict of str to Pv
        All sharing one alarm, as a record's fields do.
    """
    alarm = ChannelAlarm()
    units, precision = settings.units, settings.precision
    soft = (settings.low, settings.high)
    values = {
        "VAL": settings.start,
        "DVAL": settings.start,
        "RBV": settings.start,
        "DRBV": settings.start,
        "LVAL": settings.start,
        "LDVL": settings.start,
        "HLM": settings.high,
        "LLM": settings.low,
        "DHLM": settings.high,
        "DLLM": settings.low,
        "BDST": settings.backlash,
        "TWV": 10.0**-precision,
        "RDBD": settings.step,
        "MRES": settings.step,
        "ERES": settings.step,
    }
    fields: dict[str, Pv] = {}
    for name in _POSITIONS + _POSITIONS_READ:
        limits = soft if name in {"VAL", "DVAL", "RBV", "DRBV"} else (0.0, 0.0)
        fields[name] = DoublePv(
            values.get(name, 0.0),
            units=units,
            precision=precision,
            limits=limits,
            writable=name in _POSITIONS,
            alarm=alarm,
            rtyp="motor",
        )
    for name in _SPEEDS:
        speed = {"VBAS": 0.0, "VMAX": 0.0, "JVEL": settings.velocity / 2}.get(name, settings.velocity)
        fields[name] = DoublePv(speed, units=f"{units}/s", precision=precision, alarm=alarm, rtyp="motor")
    for name, value in (("ACCL", settings.acceleration_s), ("BACC", settings.acceleration_s), ("DLY", 0.0)):
        fields[name] = DoublePv(value, units="s", precision=3, alarm=alarm, rtyp="motor")
    fields["JAR"] = DoublePv(
        settings.velocity / settings.acceleration_s, units=f"{units}/s^2", alarm=alarm, rtyp="motor"
    )
    fields["MSTA"] = DoublePv(0.0, precision=0, writable=False, alarm=alarm, rtyp="motor")
    fields["VERS"] = DoublePv(7.2, precision=1, writable=False, alarm=alarm, rtyp="motor")
    raw = round(settings.start / settings.step)
    for name in ("RVAL", "RRBV", "REP", "RMP"):
        fields[name] = LongPv(raw, writable=name == "RVAL", alarm=alarm, rtyp="motor")
    for name in _SHORTS + _SHORTS_READ:
        start = {"DMOV": 1, "PREC": precision, "TDIR": 1, "CDIR": 1}.get(name, 0)
        fields[name] = ShortPv(start, writable=name in _SHORTS, alarm=alarm, rtyp="motor")
    for name, (states, index) in _ENUMS.items():
        read_only = name in {"STAT", "SEVR"}
        fields[name] = EnumPv(states, index, writable=not read_only, alarm=alarm, rtyp="motor")
    for name in _STRINGS:
        text = {"DESC": settings.description, "EGU": units}.get(name, "")
        fields[name] = StringPv(text, alarm=alarm, rtyp="motor")
    fields["RTYP"] = StringPv("motor", writable=False, alarm=alarm, rtyp="motor")
    return fields
