"""Records of the column: settings, blanker, valves, vacuum, dose."""

from __future__ import annotations

import asyncio
import functools
import math
import random
import threading
from collections.abc import Callable
from typing import Any

from exitwave.simulators.clock import SimClock
from exitwave.simulators.physics.electron_probe import ABERRATIONS
from exitwave.simulators.records.board import Board, Choice, ro, rw, wo
from exitwave.simulators.records.channels import DoublePv, Pv
from exitwave.simulators.records.shutter import Shutter
from exitwave.simulators.records.timeline import Timeline
from exitwave.simulators.stem.layout import Instrument
from exitwave.simulators.stem.limits import state_limits

__all__ = ["Column", "Dose"]

_LIMITS: dict[str, tuple[float, float]] = {
    "HighVoltage": (60.0, 300.0),
    "BeamCurrent": (0.1, 20000.0),
    "ConvergenceAngle": (5.0, 50.0),
    "SourceSize": (1.0, 200.0),
    "Defocus": (-10000.0, 10000.0),
    **{name: (-100000.0, 100000.0) for name in ABERRATIONS if name != "C10"},
}
_VACUUM_MBAR = {"Gun": 2e-11, "Column": 8e-8, "Camera": 3e-7}
_TICK_S = 0.1
UNBLANKED, BLANKED = 0, 1


class Column:
    """`Col:`, `Blanker:`, `CV1:`, `CV2:`, `VAC:`.

    Parameters
    ----------
    instrument : Instrument
        Settings at the start.
    clock : SimClock
        Simulated time.
    on_command : callable
        Called before anything about the beam's future changes.
    seed : int
        Draws the pressures.
    """

    def __init__(self, instrument: Instrument, clock: SimClock, on_command: Callable[[], None], seed: int) -> None:
        self._clock = clock
        self._on_command = on_command
        start = {
            "HighVoltage": instrument.voltage_kv,
            "BeamCurrent": instrument.current_pa,
            "ConvergenceAngle": instrument.convergence_mrad,
            "SourceSize": instrument.source_fwhm_pm,
        }
        units = {"HighVoltage": "kV", "BeamCurrent": "pA", "ConvergenceAngle": "mrad", "SourceSize": "pm"}
        self.board = Board(
            [
                *(rw(name, start.get(name, 0.0), units.get(name, "nm")) for name in _LIMITS),
                ro("ProbeSize_RBV", 0.0, "pm"),
                ro("HT_RBV", Choice(("Off", "On"), 1)),
            ]
        )
        state_limits(self.board, _LIMITS)
        self._settings = {name: Timeline(start.get(name, 0.0)) for name in _LIMITS}
        for name, limits in _LIMITS.items():
            self.board.check([name], functools.partial(self._accept, name, limits))
            self.board.react([name], functools.partial(self._take, name))
        self.blanker = Board([rw("Blank", Choice(("Unblanked", "Blanked"), BLANKED)), ro("Cause_RBV", "start")])
        self.blanker.channels["Blank_RBV"].post(BLANKED)
        self.blanker.on_put("Blank", lambda value: self.blank("operator") if value else self._unblank())
        self._blanked = Timeline(True)
        self._voltage_on = Timeline(True)
        self._lock = threading.Lock()
        self.valves = {
            name: Shutter(1.5, clock, description=description, on_command=on_command, opened=True)
            for name, description in (("CV1", "Gun valve"), ("CV2", "Column valve"))
        }
        rng = random.Random(seed)
        self._vacuum: dict[str, Pv] = {
            f"VAC:{section}:Pressure": DoublePv(
                base * rng.uniform(0.7, 1.4), units="mbar", precision=13, writable=False
            )
            for section, base in _VACUUM_MBAR.items()
        }
        self.on_settings: Callable[[], None] = lambda: None

    def pvdb(self, prefix: str) -> dict[str, Any]:
        """Return the channels by full name."""
        found: dict[str, Any] = self.board.pvdb(f"{prefix}Col:") | self.blanker.pvdb(f"{prefix}Blanker:")
        for name, valve in self.valves.items():
            found |= valve.pvdb(f"{prefix}{name}:")
        return found | {prefix + name: pv for name, pv in self._vacuum.items()}

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Remember the event loop."""
        self.board.start(loop)
        self.blanker.start(loop)

    def setting(self, name: str, t_s: float) -> float:
        """Return a setting at simulated time ``t_s``; any thread."""
        return self._settings[name].at(t_s)

    def passes(self, t_s: float) -> bool:
        """Return whether electrons reach the specimen at ``t_s``; any thread."""
        if self._blanked.at(t_s) or not self._voltage_on.at(t_s):
            return False
        return all(valve.passes(t_s) for valve in self.valves.values())

    @property
    def has_voltage(self) -> bool:
        """Whether the high voltage is on now."""
        return self._voltage_on.at(self._clock.now())

    def _accept(self, name: str, limits: tuple[float, float], value: float) -> float:
        if not math.isfinite(value):
            return float(self.board.value(f"{name}_RBV"))
        return min(max(value, limits[0]), limits[1])

    def _take(self, name: str, value: float) -> None:
        self._on_command()
        self._settings[name].set(self._clock.now(), value)
        self.on_settings()

    def blank(self, cause: str) -> None:
        """Blank the beam now; any thread."""
        self._on_command()
        self.blank_at(cause, self._clock.now())

    def blank_at(self, cause: str, t_s: float) -> None:
        """Blank the beam at a simulated time that may be just over; any thread."""
        with self._lock:
            self._blanked.set(t_s, True)
        self.blanker.later({"Cause_RBV": cause, "Blank": BLANKED, "Blank_RBV": BLANKED}, urgent=True)

    def _unblank(self) -> None:
        self._on_command()
        with self._lock:
            self._blanked.set(self._clock.now(), False)
        self.blanker.post(Blank=UNBLANKED, Blank_RBV=UNBLANKED)

    def trip(self, tripped: bool) -> None:
        """Lose the high voltage, or bring it back."""
        self._on_command()
        self._voltage_on.set(self._clock.now(), not tripped)
        self.board.post(HT_RBV=int(not tripped))

    def show_probe(self, fwhm_pm: float) -> None:
        """Show the width that the settings would give; any thread."""
        self.board.later({"ProbeSize_RBV": fwhm_pm})


class Dose:
    """`Dose:`: electrons through the specimen, and the one limit that blanks by itself.

    Parameters
    ----------
    clock : SimClock
        Simulated time.
    electrons_per_s : callable
        Electrons that reach the specimen at a simulated time, 1/s.
    area_nm2 : callable
        Present field's area.
    blank : callable
        Blanks the beam (cause, time).
    """

    def __init__(
        self,
        clock: SimClock,
        electrons_per_s: Callable[[float], float],
        area_nm2: Callable[[], float],
        blank: Callable[[str, float], None],
    ) -> None:
        self._clock = clock
        self._rate = electrons_per_s
        self._area_nm2 = area_nm2
        self._blank = blank
        self._electrons = 0.0
        self._fluence = 0.0
        self._until_s = 0.0
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.board = Board(
            [
                ro("Rate_RBV", 0.0, "e/A2/s"),
                ro("Accumulated_RBV", 0.0, "e/A2"),
                ro("Electrons_RBV", 0.0),
                wo("Reset", Choice(("Done", "Reset"))),
                rw("HardwareLimit", 0.0, "e/A2"),
            ]
        )
        state_limits(self.board, {"HardwareLimit": (0.0, 1e30)})
        self.board.check(["HardwareLimit"], lambda value: value if math.isfinite(value) and value > 0 else 0.0)
        self.board.on_put("Reset", self._reset)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to count."""
        self._loop = loop
        self.board.start(loop)
        self._tick()

    def _tick(self) -> None:
        self.advance()
        if self._loop is not None:
            self._loop.call_later(_TICK_S, self._tick)

    @property
    def accumulated_e_a2(self) -> float:
        """Electrons per square angstrom since the last reset."""
        return self._fluence

    def advance(self) -> None:
        """Count up to now; call before the beam changes. Any thread."""
        with self._lock:
            now = self._clock.now()
            elapsed, rate = now - self._until_s, self._rate(self._until_s + 1e-9)
            per_area = rate / (self._area_nm2() * 100.0)
            limit = self.board.value("HardwareLimit_RBV")
            reached = limit > 0 and per_area > 0 and self._fluence + per_area * elapsed >= limit
            if reached:
                # The blanker is faster than any clock here: it acts when the limit is reached, not when that is seen.
                elapsed = max((limit - self._fluence) / per_area, 0.0)
                stopped_s = self._until_s + elapsed
            self._electrons += rate * elapsed
            self._fluence += per_area * elapsed
            self._until_s = now
        if reached:
            self._blank("hardware dose limit", stopped_s)
        values = {"Accumulated_RBV": self._fluence, "Electrons_RBV": self._electrons}
        self.board.later({"Rate_RBV": 0.0 if reached else per_area, **values})

    def _reset(self, value: int) -> None:
        if value:
            self.advance()
            with self._lock:
                self._electrons = self._fluence = 0.0
            self.board.post(Accumulated_RBV=0.0, Electrons_RBV=0.0)
        self.board.post(Reset=0)
