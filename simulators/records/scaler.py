"""A scaler record: 32 counters, preset time, gated by the preset of any channel.

Channel 1 counts the clock; the others count pulses whose rate a source gives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor

import numpy as np
from caproto import ChannelAlarm

from exitwave.simulators.clock import SimClock
from exitwave.simulators.records.channels import DoublePv, EnumPv, LongPv, Pv, ShortPv, StringPv

__all__ = ["Scaler"]

_CHANNELS = 32


class Scaler:
    """One scaler record; event loop only.

    Parameters
    ----------
    name : str
        Record name, without the prefix.
    sources : mapping of int to (str, callable)
        For channel 2 and up: its name, and a function that returns the mean pulse rate, Hz, between two simulated
        times; called from a worker thread.
    clock : SimClock
        Simulated time.
    pool : Executor
        Where sources are called.
    frequency_hz : float
        Of the clock on channel 1.
    seed : int
        Seed of the rounding of part counts.
    """

    def __init__(
        self,
        name: str,
        sources: Mapping[int, tuple[str, Callable[[float, float], float]]],
        clock: SimClock,
        pool: Executor,
        *,
        frequency_hz: float = 1e7,
        seed: int = 0,
    ) -> None:
        self.name = name
        self._sources = {index: rate for index, (_, rate) in sources.items()}
        self._clock = clock
        self._pool = pool
        self._rng = np.random.default_rng(seed)
        self._task: asyncio.Task[None] | None = None
        alarm = ChannelAlarm()

        def number(value: float, units: str = "") -> DoublePv:
            return DoublePv(value, units=units, precision=4, alarm=alarm, rtyp="scaler")

        self.fields: dict[str, Pv] = {
            "CNT": EnumPv(("Done", "Count"), alarm=alarm, rtyp="scaler", on_put=self._put_count),
            "CONT": EnumPv(("OneShot", "AutoCount"), alarm=alarm, rtyp="scaler", on_put=self._put_auto),
            "TP": number(1.0, "s"),
            "TP1": number(1.0, "s"),
            "T": number(0.0, "s"),
            "FREQ": number(frequency_hz, "Hz"),
            "RATE": number(10.0, "Hz"),
            "RAT1": number(0.0, "Hz"),
            "DLY": number(0.0, "s"),
            "DLY1": number(0.0, "s"),
            "VAL": number(0.0),
            "VERS": number(3.19),
            "PREC": ShortPv(3, alarm=alarm, rtyp="scaler"),
            "NCH": ShortPv(_CHANNELS, writable=False, alarm=alarm, rtyp="scaler"),
            "SS": ShortPv(0, writable=False, alarm=alarm, rtyp="scaler"),
            "PCNT": EnumPv(("Done", "Count"), writable=False, alarm=alarm, rtyp="scaler"),
            "EGU": StringPv("counts", alarm=alarm, rtyp="scaler"),
            "DESC": StringPv("Ion chamber scaler", alarm=alarm, rtyp="scaler"),
            "OUT": StringPv("", alarm=alarm, rtyp="scaler"),
            "COUT": StringPv("", alarm=alarm, rtyp="scaler"),
            "COUTP": StringPv("", alarm=alarm, rtyp="scaler"),
            "RTYP": StringPv("scaler", writable=False, alarm=alarm, rtyp="scaler"),
        }
        names = {1: "clock", **{index: label for index, (label, _) in sources.items()}}
        for index in range(1, _CHANNELS + 1):
            clock_channel = index == 1
            self.fields |= {
                f"S{index}": LongPv(0, units="counts", writable=False, alarm=alarm, rtyp="scaler"),
                f"NM{index}": StringPv(names.get(index, ""), alarm=alarm, rtyp="scaler"),
                f"PR{index}": LongPv(int(frequency_hz) if clock_channel else 0, alarm=alarm, rtyp="scaler"),
                f"G{index}": EnumPv(("N", "Y"), int(clock_channel), alarm=alarm, rtyp="scaler"),
                f"D{index}": EnumPv(("Up", "Dn"), alarm=alarm, rtyp="scaler"),
            }
        self.fields["TP"].on_put = self._put_preset_time
        self.fields["PR1"].on_put = self._put_preset_clock

    def pvdb(self, prefix: str) -> dict[str, Pv]:
        """Return the channels by full name."""
        record = prefix + self.name
        return {record: self.fields["VAL"], **{f"{record}.{field}": pv for field, pv in self.fields.items()}}

    def _get(self, name: str) -> float:
        return float(self.fields[name].now)

    def _put_preset_time(self, value: float) -> None:
        time_s = value if 0 <= value < 1e6 else self._get("TP")
        self.fields["TP"].post(time_s)
        self.fields["PR1"].post(min(round(time_s * self._get("FREQ")), 2**31 - 1))
        self.fields["G1"].post(1)

    def _put_preset_clock(self, value: int) -> None:
        self.fields["PR1"].post(max(0, value))
        self.fields["TP"].post(max(0, value) / self._get("FREQ"))

    def _put_count(self, value: int) -> asyncio.Future[None] | None:
        if value and self._task is None:
            self.fields["CNT"].post(1)
            self._task = asyncio.get_running_loop().create_task(self._count(self._get("TP"), self._get("DLY")))
            self._task.add_done_callback(self._ended)
        elif not value:
            if self._task is None:
                return None
            self._task.cancel()
        else:
            self.fields["CNT"].post(1)
        return self._completion()

    def _completion(self) -> asyncio.Future[None] | None:
        if self._task is None:
            return None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task.add_done_callback(lambda _: None if future.done() else future.set_result(None))
        return future

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._task = None
        self.fields["PCNT"].update(0)
        self.fields["SS"].update(0)
        self.fields["CNT"].post(0)
        if self.fields["CONT"].now:
            self._auto()

    def _put_auto(self, value: int) -> None:
        self.fields["CONT"].post(value)
        if value and self._task is None:
            self._auto()

    def _auto(self) -> None:
        """Count in the background until somebody counts in earnest."""
        time_s = max(self._get("TP1"), 0.1)
        self._task = asyncio.get_running_loop().create_task(self._count(time_s, self._get("DLY1")))
        self._task.add_done_callback(self._ended)

    async def _count(self, time_s: float, delay_s: float) -> None:
        await asyncio.sleep(self._clock.wall_delay(delay_s))
        start_s = now_s = self._clock.now()
        self.fields["PCNT"].update(1)
        self.fields["SS"].update(2)
        totals: dict[int, float] = dict.fromkeys(self._sources, 0.0)
        self._show(0.0, totals)
        rate_hz = self._get("RATE")
        pause_s = 1.0 / rate_hz if rate_hz > 0 else float("inf")
        try:
            while now_s < start_s + time_s:
                wake_s = min(now_s + pause_s * self._clock.speed, start_s + time_s)
                await asyncio.sleep(self._clock.wall_delay(wake_s - self._clock.now()))
                await self._add(now_s, wake_s, totals)
                now_s = wake_s
                self._show(now_s - start_s, totals)
                if self._preset_reached(totals):
                    break
        except asyncio.CancelledError:
            # Stopped by CNT = 0: the counts so far stay.
            self._show(now_s - start_s, totals)

    async def _add(self, from_s: float, to_s: float, totals: dict[int, float]) -> None:
        loop = asyncio.get_running_loop()
        for index, rate in self._sources.items():
            rate_hz = await loop.run_in_executor(self._pool, rate, from_s, to_s)
            totals[index] += max(0.0, rate_hz) * (to_s - from_s)

    def _preset_reached(self, totals: Mapping[int, float]) -> bool:
        return any(
            self.fields[f"G{index}"].now and 0 < self.fields[f"PR{index}"].now <= total
            for index, total in totals.items()
        )

    def _show(self, elapsed_s: float, totals: Mapping[int, float]) -> None:
        self.fields["S1"].update(min(round(elapsed_s * self._get("FREQ")), 2**31 - 1))
        for index, total in totals.items():
            self.fields[f"S{index}"].update(min(int(total), 2**31 - 1))
        self.fields["T"].update(elapsed_s)
        self.fields["VAL"].update(elapsed_s)
