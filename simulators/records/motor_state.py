"""What a motor record shows: coordinates, limits, status bits, alarm."""

from __future__ import annotations

import random
from typing import Any

from exitwave.simulators.clock import SimClock
from exitwave.simulators.records.channels import AlarmSeverity, AlarmStatus, Pv, raise_alarm
from exitwave.simulators.records.motion import Axis
from exitwave.simulators.records.motor_fields import MotorSettings, MstaBit, motor_fields

__all__ = ["MotorState"]


class MotorState:
    """The fields of one motor record and how they follow from its axis.

    Three coordinates: the drive of the `Axis`; dial = drive + a zero that can be redefined; user = dir * dial + off.

    Parameters
    ----------
    settings : MotorSettings
        Configuration.
    clock : SimClock
        Simulated time.
    axis : Axis
        The mechanics.
    seed : int
        Seed of the encoder noise.
    """

    def __init__(self, settings: MotorSettings, clock: SimClock, axis: Axis, seed: int) -> None:
        self.settings = settings
        self.axis = axis
        self.fields = motor_fields(settings)
        self._clock = clock
        self._rng = random.Random(seed)
        self._dial_zero = 0.0
        self._activity = ""
        self._problem = False
        self._homed = False
        self._refused = AlarmStatus.HIGH

    def pvdb(self, prefix: str) -> dict[str, Pv]:
        """Return the channels by name: the record's (its VAL) and every field's."""
        record = prefix + self.settings.name
        return {record: self.fields["VAL"], **{f"{record}.{name}": pv for name, pv in self.fields.items()}}

    def _get(self, name: str) -> Any:
        return self.fields[name].now

    @property
    def _sign(self) -> int:
        return -1 if self._get("DIR") else 1

    def _user(self, dial: float) -> float:
        return self._sign * dial + self._get("OFF")

    def _dial(self, user: float) -> float:
        return self._sign * (user - self._get("OFF"))

    def _show_targets(self, dial: float) -> None:
        user = self._user(dial)
        for name, value in (("VAL", user), ("LVAL", user), ("DVAL", dial), ("LDVL", dial)):
            self.fields[name].update(value)
        self.fields["RVAL"].update(round(dial / self._get("MRES")))

    def _show_position(self) -> None:
        noise = self.axis.errors.encoder_noise_rms
        drive = self.axis.reading(self._clock.now()) + self._dial_zero
        seen = drive + (self._rng.gauss(0.0, noise) if noise else 0.0)
        raw = round(seen / self._get("MRES"))
        dial = raw * self._get("MRES")
        for name in ("RRBV", "REP", "RMP"):
            self.fields[name].update(raw)
        self.fields["DRBV"].update(dial)
        self.fields["RBV"].update(self._user(dial))
        self.fields["DIFF"].update(self._get("DVAL") - dial)

    def _show_limits(self) -> None:
        low, high = self._get("DLLM"), self._get("DHLM")
        user = sorted((self._user(low), self._user(high)))
        self.fields["LLM"].update(user[0])
        self.fields["HLM"].update(user[1])
        for names, (lower, upper) in ((("VAL", "RBV"), user), (("DVAL", "DRBV"), (low, high))):
            for name in names:
                self.fields[name].describe(
                    lower_ctrl_limit=lower, upper_ctrl_limit=upper, lower_disp_limit=lower, upper_disp_limit=upper
                )

    def _show_status(self) -> None:
        drive = self.axis.drive(self._clock.now())
        low, high = self.settings.hard_limits
        at_low, at_high = drive <= low, drive >= high
        moving = bool(self._activity)
        home = abs(drive - self.settings.home_position) < self.settings.step / 2
        msta = MstaBit.ENCODER | MstaBit.GAIN_SUPPORT | (MstaBit.POSITION_LOOP if self._get("CNEN") else 0)
        msta |= MstaBit.MOVING if moving else MstaBit.DONE
        msta |= MstaBit.DIRECTION if self._get("CDIR") else 0
        msta |= (MstaBit.PLUS_LIMIT if at_high else 0) | (MstaBit.MINUS_LIMIT if at_low else 0)
        msta |= (MstaBit.SLIP_STALL | MstaBit.PROBLEM) if self._problem else 0
        msta |= (MstaBit.HOMED if self._homed else 0) | (MstaBit.AT_HOME if home else 0)
        flipped = self._sign < 0
        for name, value in (
            ("RHLS", at_high),
            ("RLLS", at_low),
            ("HLS", at_low if flipped else at_high),
            ("LLS", at_high if flipped else at_low),
            ("ATHM", home),
            ("MOVN", moving),
        ):
            self.fields[name].update(int(value))
        self.fields["MSTA"].update(float(msta))
        self._show_alarm(at_low or at_high)

    def _show_alarm(self, at_limit: bool) -> None:
        told = [self.fields["RBV"], self.fields["VAL"]]
        status, severity = AlarmStatus.NO_ALARM, AlarmSeverity.NO_ALARM
        if at_limit:
            status = AlarmStatus.HIGH if self._get("HLS") else AlarmStatus.LOW
            severity = AlarmSeverity(self._get("HLSV"))
        elif self._get("LVIO"):
            status, severity = self._refused, AlarmSeverity(self._get("HLSV"))
        elif self._problem:
            status, severity = AlarmStatus.STATE, AlarmSeverity.MAJOR_ALARM
        raise_alarm(told, status, severity)
        self.fields["STAT"].update(int(status))
        self.fields["SEVR"].update(int(severity))

    def encoder(self, t_s: float) -> float:
        """Return what the encoder reads at simulated time `t_s`, in user units; any thread."""
        noise = self.axis.errors.encoder_noise_rms
        seen = self.axis.reading(t_s) + self._dial_zero + (random.gauss(0.0, noise) if noise else 0.0)
        return self._user(round(seen / self._get("MRES")) * self._get("MRES"))

    def passes(self, user: float, after_s: float, *, upwards: bool) -> float | None:
        """Return when the encoder next passes a position in user units, growing if `upwards`; see `Axis.passes`."""
        return self.axis.passes(self._dial(user) - self._dial_zero, after_s, upwards=upwards == (self._sign > 0))

    @property
    def encoder_noise_rms(self) -> float:
        """Standard deviation of a single reading, in the axis' unit."""
        return self.axis.errors.encoder_noise_rms
