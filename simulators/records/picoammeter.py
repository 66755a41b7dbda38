"""A picoammeter: ranges, integration, zero offset, overload."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import Executor

from exitwave.simulators.clock import SimClock
from exitwave.simulators.records.channels import (
    AlarmSeverity,
    AlarmStatus,
    DoublePv,
    EnumPv,
    Pv,
    raise_alarm,
)

__all__ = ["FULL_SCALE_A", "Picoammeter"]

RANGES = ("2nA", "20nA", "200nA", "2uA", "20uA", "200uA", "2mA")
FULL_SCALE_A = tuple(2e-9 * 10.0**decade for decade in range(len(RANGES)))
_RESOLUTION = 2.0**-19
_NOISE = 2e-6
"""RMS of one second's reading over full scale."""


class Picoammeter:
    """One channel of a picoammeter; event loop only.

    Parameters
    ----------
    source : callable
        Returns the mean current, A, between two simulated times; called from a worker thread.
    clock : SimClock
        Simulated time.
    pool : Executor
        Where `source` is called.
    offset_a : float
        Hidden zero offset of the input, A.
    seed : int
        Seed of its noise.
    """

    def __init__(
        self,
        source: Callable[[float, float], float],
        clock: SimClock,
        pool: Executor,
        *,
        offset_a: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._source = source
        self._clock = clock
        self._pool = pool
        self._offset_a = offset_a
        self._rng = random.Random(seed)
        self._busy: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None
        self.current = DoublePv(0.0, units="A", precision=12, writable=False)
        self.range = EnumPv(RANGES, 2, rtyp="mbbo")
        self.auto_range = EnumPv(("Off", "On"), 1, rtyp="bo")
        self.integration_time = DoublePv(0.1, units="s", limits=(0.001, 60.0), rtyp="ao", on_put=self._put_time)
        self.zero_offset = DoublePv(0.0, units="A", precision=14, rtyp="ao")
        self.zero_correct = EnumPv(("Done", "Correct"), rtyp="bo", on_put=self._put_zero)
        self.acquire = EnumPv(("Done", "Acquire"), rtyp="bo", on_put=self._put_acquire)
        self.continuous = EnumPv(("Off", "On"), rtyp="bo", on_put=self._put_continuous)
        self.overload = EnumPv(("No", "Yes"), writable=False, rtyp="bi")

    def pvdb(self, prefix: str) -> dict[str, Pv]:
        """Return the channels by full name."""
        return {
            f"{prefix}Current": self.current,
            f"{prefix}Range": self.range,
            f"{prefix}AutoRange": self.auto_range,
            f"{prefix}IntegrationTime": self.integration_time,
            f"{prefix}ZeroOffset": self.zero_offset,
            f"{prefix}ZeroCorrect": self.zero_correct,
            f"{prefix}Acquire": self.acquire,
            f"{prefix}Continuous": self.continuous,
            f"{prefix}Overload": self.overload,
        }

    def _put_time(self, value: float) -> None:
        low, high = self.integration_time.lower_ctrl_limit, self.integration_time.upper_ctrl_limit
        self.integration_time.post(min(max(value, low), high) if value == value else self.integration_time.now)

    def _reading(self, current_a: float, time_s: float) -> float:
        """Return what the converter makes of a current: noise, steps, ends of the range."""
        index = self.range.now
        if self.auto_range.now:
            fitting = [i for i, full in enumerate(FULL_SCALE_A) if abs(current_a) < 0.95 * full]
            index = fitting[0] if fitting else len(RANGES) - 1
            self.range.update(index)
        full_a = FULL_SCALE_A[index]
        noisy_a = current_a + self._rng.gauss(0.0, _NOISE * full_a / time_s**0.5)
        step_a = 2 * full_a * _RESOLUTION
        overloaded = abs(noisy_a) > 1.05 * full_a
        self.overload.update(int(overloaded))
        severity = AlarmSeverity.MAJOR_ALARM if overloaded else AlarmSeverity.NO_ALARM
        raise_alarm([self.current], AlarmStatus.HIHI if overloaded else AlarmStatus.NO_ALARM, severity)
        return round(min(max(noisy_a, -1.05 * full_a), 1.05 * full_a) / step_a) * step_a

    async def _integrate(self) -> None:
        start_s, time_s = self._clock.now(), self.integration_time.now
        await asyncio.sleep(self._clock.wall_delay(time_s))
        loop = asyncio.get_running_loop()
        current_a = await loop.run_in_executor(self._pool, self._source, start_s, start_s + time_s)
        self.current.post(self._reading(current_a + self._offset_a, time_s) - self.zero_offset.now)

    async def _once(self) -> None:
        self.acquire.post(1)
        try:
            await self._integrate()
        finally:
            self.acquire.post(0)
            self._busy = None

    def _put_acquire(self, value: int) -> asyncio.Future[None] | None:
        if not value:
            return None
        if self._busy is None:
            self._busy = asyncio.get_running_loop().create_task(self._once())
        return asyncio.shield(self._busy)

    async def _forever(self) -> None:
        while True:
            await self._integrate()

    def _put_continuous(self, value: int) -> None:
        self.continuous.post(value)
        if value and self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._forever())
        elif not value and self._running is not None:
            self._running.cancel()
            self._running = None

    def _put_zero(self, value: int) -> None:
        """Measure the offset of the input with the chamber disconnected."""
        if value:
            full_a = FULL_SCALE_A[0]
            noise_a = _NOISE * full_a / self.integration_time.now**0.5
            self.zero_offset.post(self._offset_a + self._rng.gauss(0.0, noise_a))
        self.zero_correct.post(0)
