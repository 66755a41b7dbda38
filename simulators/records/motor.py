"""A motor record: event driven, its put completes when the motion ends.

Semantics follow the motor record of synApps (https://epics-motor.readthedocs.io, motorRecord): DMOV blinks on
every write to a drive field; a soft limit refuses a target, restores VAL and sets LVIO; `user = dir * dial + off`.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Awaitable, Callable

from exitwave.simulators.clock import SimClock
from exitwave.simulators.records.channels import AlarmStatus, DoublePv
from exitwave.simulators.records.motion import Axis
from exitwave.simulators.records.motor_fields import MotorSettings
from exitwave.simulators.records.motor_state import MotorState

__all__ = ["Motor", "MotorSettings"]

_TICK_S = 0.1
_STALL_DETECTION_S = 0.2
_BUTTONS = ("JOGF", "JOGR", "HOMF", "HOMR")
_STOP, _PAUSE, _GO = 0, 1, 3


class Motor(MotorState):
    """One motor record on one `Axis`.

    All methods belong to the event loop's thread.

    Parameters
    ----------
    settings : MotorSettings
        Configuration.
    clock : SimClock
        Simulated time.
    axis : Axis
        The mechanics; the record commands it.
    seed : int
        Seed of the encoder noise.
    on_command : callable, optional
        Called before anything about the axis' future changes.
    """

    def __init__(
        self,
        settings: MotorSettings,
        clock: SimClock,
        axis: Axis,
        *,
        seed: int = 0,
        on_command: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(settings, clock, axis, seed)
        self._on_command = on_command or (lambda: None)
        self._waiters: list[asyncio.Future[None]] = []
        self._end_timer: asyncio.TimerHandle | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._stalled = False
        self._paused_target: float | None = None
        for name in self.fields:
            handler = getattr(self, f"_put_{name.lower()}", None)
            if handler is not None:
                self.fields[name].on_put = handler
        for name in ("HLM", "LLM", "DHLM", "DLLM"):
            self.fields[name].on_put = functools.partial(self._put_limit, name)
        for name in ("JOGF", "JOGR"):
            self.fields[name].on_put = functools.partial(self._put_jog, name)
        for name in ("HOMF", "HOMR"):
            self.fields[name].on_put = functools.partial(self._put_home, name)
        for name in ("BDST", "DLY", "VBAS", "VMAX", "TWV", "RDBD"):
            self.fields[name].on_put = functools.partial(self._put_finite, name)
        for name in ("VELO", "BVEL", "HVEL", "JVEL", "ACCL", "BACC", "JAR"):
            self.fields[name].on_put = functools.partial(self._put_rate, name)
        self._show_status()

    # motion -----------------------------------------------------------------------------------------------

    def _wait(self) -> Awaitable[None] | None:
        if not self._activity:
            return None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        return future

    def _acceleration(self, speed: str = "VELO", ramp: str = "ACCL") -> float:
        fastest, base = self._get(speed), self._get("VBAS")
        return float((fastest - base if 0 <= base < fastest else fastest) / self._get(ramp))

    def _command(self, dial: float, activity: str = "move") -> Awaitable[None] | None:
        """Go to a dial position if the limits allow; the awaitable ends with the motion."""
        self.fields["DMOV"].post(0)
        low, high = self._get("DLLM"), self._get("DHLM")
        unlimited = low == high == 0.0
        if not math.isfinite(dial) or not (unlimited or low <= dial <= high):
            self._refused = AlarmStatus.LOW if self._user(dial) < self._get("LLM") else AlarmStatus.HIGH
            return self._refuse()
        self.fields["LVIO"].update(0)
        self._show_targets(dial)
        self._paused_target = None
        if self._get("SPMG") <= _PAUSE:
            self._paused_target = dial
            return self._settle_if_idle()
        if not self._get("CNEN"):
            self._problem = True
            return self._settle_if_idle()
        return self._go(dial, activity)

    def _refuse(self) -> Awaitable[None] | None:
        self.fields["LVIO"].post(1)
        for name in ("VAL", "DVAL", "RVAL"):
            self.fields[name].tell()
        self._show_status()
        return self._settle_if_idle()

    def _settle_if_idle(self) -> Awaitable[None] | None:
        if not self._activity:
            self._show_status()
            self.fields["DMOV"].post(1)
        return self._wait()

    def _go(self, dial: float, activity: str, speed: str = "VELO") -> Awaitable[None] | None:
        now = self._clock.now()
        step = self._get("MRES")
        low, high = self.settings.hard_limits
        target = min(max(round(dial / step) * step - self._dial_zero, low), high)
        backlash = self._get("BDST") if activity == "move" else 0.0
        base = self._get("VBAS")
        fastest = self._get(speed)
        self._on_command()
        self._problem = False
        forward = target >= self.axis.drive(now)
        self.fields["CDIR"].update(int(forward))
        self.fields["TDIR"].update(int(forward == (self._sign > 0)))
        if self._stalled:
            self.axis.halt(now)
        else:
            self.axis.move(
                now,
                target,
                speed=fastest,
                acceleration=self._acceleration(speed) if activity != "jog" else self._get("JAR"),
                base_speed=base if 0 <= base < fastest else 0.0,
                backlash=backlash,
                backlash_speed=self._get("BVEL"),
                backlash_acceleration=self._acceleration("BVEL", "BACC"),
            )
        return self._begin(activity, now)

    def _begin(self, activity: str, now: float) -> Awaitable[None] | None:
        self._activity = activity
        self.fields["DMOV"].update(0)
        self._show_status()
        end_s = now + _STALL_DETECTION_S if self._stalled else self.axis.end_s + self._get("DLY")
        loop = asyncio.get_running_loop()
        self._cancel_timers()
        if end_s <= now:
            self._finish()
            return None
        self._end_timer = loop.call_later(self._clock.wall_delay(end_s - now), self._arrive, end_s)
        self._tick_timer = loop.call_later(_TICK_S, self._tick)
        return self._wait()

    def _cancel_timers(self) -> None:
        for timer in (self._end_timer, self._tick_timer):
            if timer is not None:
                timer.cancel()
        self._end_timer = self._tick_timer = None

    def _tick(self) -> None:
        self._show_position()
        self._show_status()
        self._tick_timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def _arrive(self, end_s: float) -> None:
        left_s = end_s - self._clock.now()
        if left_s > 0:
            delay_s = self._clock.wall_delay(left_s)
            self._end_timer = asyncio.get_running_loop().call_later(delay_s, self._arrive, end_s)
        else:
            self._finish()

    def _finish(self) -> None:
        self._cancel_timers()
        activity, self._activity = self._activity, ""
        if self._stalled:
            self._problem = True
        if activity == "home":
            self._homed = not self._problem
        for name in _BUTTONS:
            self.fields[name].update(0)
        self._show_position()
        if activity == "jog":
            travelled = self.axis.drive(self._clock.now()) + self._dial_zero
            ends = (self._get("DLLM"), self._get("DHLM"))
            self.fields["LVIO"].update(int(any(abs(travelled - end) < self.settings.step for end in ends)))
        if self._paused_target is None and (activity != "move" or self._problem):
            self._show_targets(self._get("DRBV"))
            self.fields["DIFF"].update(0.0)
        self._show_status()
        self.fields["DMOV"].post(1)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def stop(self) -> Awaitable[None] | None:
        """Decelerate; the awaitable ends at rest."""
        if not self._activity:
            return None
        now = self._clock.now()
        self._on_command()
        self.axis.stop(now, self._acceleration())
        return self._begin("stop", now)

    def stall(self, stalled: bool) -> None:
        """Block the mechanics, or free them."""
        self._stalled = stalled
        if stalled and self._activity:
            now = self._clock.now()
            self._on_command()
            self.axis.halt(now)
            self._begin(self._activity, now)
        elif not stalled and self._problem and not self._activity:
            self._problem = False
            self._show_status()

    # puts -------------------------------------------------------------------------------------------------

    def _put_val(self, user: float) -> Awaitable[None] | None:
        if self._get("SET"):
            return self._redefine(user)
        return self._command(self._dial(user))

    def _put_dval(self, dial: float) -> Awaitable[None] | None:
        if self._get("SET"):
            return self._redefine_dial(dial)
        return self._command(dial)

    def _put_rval(self, raw: int) -> Awaitable[None] | None:
        return self._put_dval(raw * self._get("MRES"))

    def _put_rlv(self, step: float) -> Awaitable[None] | None:
        self.fields["RLV"].post(0.0)
        return self._put_val(self._get("VAL") + step)

    def _put_twf(self, value: int, sign: int = 1) -> Awaitable[None] | None:
        self.fields["TWF" if sign > 0 else "TWR"].post(0)
        return self._put_val(self._get("VAL") + sign * self._get("TWV")) if value else None

    def _put_twr(self, value: int) -> Awaitable[None] | None:
        return self._put_twf(value, -1)

    def _redefine(self, user: float) -> Awaitable[None] | None:
        if self._get("FOFF"):
            return self._redefine_dial(self._dial(user))
        self.fields["DMOV"].post(0)
        self._put_off(user - self._sign * self._get("DVAL"))
        return self._settle_if_idle()

    def _redefine_dial(self, dial: float) -> Awaitable[None] | None:
        self.fields["DMOV"].post(0)
        self._dial_zero = dial - self.axis.drive(self._clock.now())
        self._show_targets(dial)
        self._show_position()
        return self._settle_if_idle()

    def _put_off(self, offset: float) -> None:
        self.fields["OFF"].post(offset if math.isfinite(offset) else self._get("OFF"))
        self._show_targets(self._get("DVAL"))
        self._show_position()
        self._show_limits()

    def _put_dir(self, direction: int) -> None:
        self.fields["DIR"].post(direction)
        self._show_targets(self._get("DVAL"))
        self._show_position()
        self._show_limits()
        self._show_status()

    def _put_limit(self, name: str, value: float) -> None:
        if math.isfinite(value):
            if name in {"HLM", "LLM"}:
                upper = (name == "HLM") == (self._sign > 0)
                self.fields["DHLM" if upper else "DLLM"].post(self._dial(value))
            else:
                self.fields[name].post(value)
        self._show_limits()

    def _put_jog(self, name: str, value: int) -> Awaitable[None] | None:
        if not value:
            return self.stop() if self._activity == "jog" else None
        upwards = (name == "JOGF") == (self._sign > 0)
        low, high = self._get("DLLM"), self._get("DHLM")
        if low == high == 0.0:
            low, high = self.settings.hard_limits
        return self._press(name, high if upwards else low, "jog", "JVEL")

    def _put_home(self, name: str, value: int) -> Awaitable[None] | None:
        if not value:
            return self.stop() if self._activity == "home" else None
        return self._press(name, self.settings.home_position + self._dial_zero, "home", "HVEL")

    def _press(self, name: str, dial: float, activity: str, speed: str) -> Awaitable[None] | None:
        if self._get("SPMG") <= _PAUSE or not self._get("CNEN"):
            self.fields[name].post(0)
            return None
        self.fields["LVIO"].update(0)
        self.fields[name].post(1)
        return self._go(dial, activity, speed)

    def _put_stop(self, value: int) -> Awaitable[None] | None:
        self.fields["STOP"].post(0)
        return self.stop() if value else None

    def _put_spmg(self, mode: int) -> Awaitable[None] | None:
        before = self._get("SPMG")
        self.fields["SPMG"].post(mode)
        if mode <= _PAUSE and self._activity:
            target = self._get("DVAL") if mode == _PAUSE and self._activity == "move" else None
            done = self.stop()
            self._paused_target = target
            return done
        if mode == _STOP:
            self._paused_target = None
        elif mode > _PAUSE >= before and self._paused_target is not None:
            return self._command(self._paused_target)
        return None

    def _put_finite(self, name: str, value: float) -> None:
        self.fields[name].post(value if math.isfinite(value) else self._get(name))

    def _put_rate(self, name: str, value: float) -> None:
        fastest = self._get("VMAX")
        if math.isfinite(value) and value > 0:
            limited = min(value, fastest) if fastest > 0 and name.endswith(("VEL", "VELO")) else value
            self.fields[name].post(limited)
        else:
            self.fields[name].tell()

    def _put_cnen(self, enable: int) -> None:
        self.fields["CNEN"].post(enable)
        if not enable:
            self.stop()
        elif self._problem and not self._stalled:
            self._problem = False
        self._show_status()

    def _put_mres(self, value: float) -> None:
        if math.isfinite(value) and value > 0:
            self.fields["MRES"].post(value)
        self._show_position()

    def _put_sset(self, value: int) -> None:
        if value:
            self.fields["SET"].post(1)

    def _put_suse(self, value: int) -> None:
        if value:
            self.fields["SET"].post(0)

    def _put_fof(self, value: int) -> None:
        if value:
            self.fields["FOFF"].post(1)

    def _put_vof(self, value: int) -> None:
        if value:
            self.fields["FOFF"].post(0)

    def _put_sync(self, value: int) -> None:
        if value and not self._activity:
            self._show_position()
            self._show_targets(self._get("DRBV"))

    def _put_stup(self, value: int) -> None:
        if value:
            self._show_position()
            self._show_status()
        self.fields["STUP"].post(0)

    def _put_egu(self, units: str) -> None:
        self.fields["EGU"].post(units)
        for pv in self.fields.values():
            if isinstance(pv, DoublePv) and pv.units == self.settings.units:
                pv.describe(units=units)

    def _put_prec(self, precision: int) -> None:
        self.fields["PREC"].post(precision)
        for pv in self.fields.values():
            if isinstance(pv, DoublePv):
                pv.describe(precision=precision)
