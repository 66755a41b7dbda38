"""The scan generator: settings, start and stop, and the thread that moves the probe over the rows."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from exitwave.simulators.clock import SimClock
from exitwave.simulators.records.board import Board, Choice, Text, ro, rw, wo
from exitwave.simulators.stem.geometry import ScanPlan
from exitwave.simulators.stem.limits import state_limits

__all__ = ["FrameMaker", "NoBeamError", "ScanGenerator"]

log = logging.getLogger(__name__)
STATES = ("Idle", "Scanning", "Done", "Aborted", "Fault")
_SCANNING, _DONE, _ABORTED, _FAULT = 1, 2, 3, 4
_BATCH_S = 0.05
_NO_YES = ("No", "Yes")
_LIMITS: dict[str, tuple[float, float]] = {
    "FieldOfView": (0.05, 50.0),
    "Width": (8, 4096),
    "Height": (8, 4096),
    "Rotation": (-360.0, 360.0),
    "Dwell": (0.1, 1e7),
    "Flyback": (0.0, 1e6),
    "SubX": (0, 4095),
    "SubY": (0, 4095),
    "SubWidth": (0, 4096),
    "SubHeight": (0, 4096),
    "NumFrames": (0, 1_000_000),
    "ShiftX": (-1000.0, 1000.0),
    "ShiftY": (-1000.0, 1000.0),
}
_START: dict[str, tuple[float | int, str]] = {
    "FieldOfView": (3.0, "nm"),
    "Width": (256, ""),
    "Height": (256, ""),
    "Rotation": (0.0, "deg"),
    "Dwell": (10.0, "us"),
    "Flyback": (100.0, "us"),
    "SubX": (0, ""),
    "SubY": (0, ""),
    "SubWidth": (0, ""),
    "SubHeight": (0, ""),
    "NumFrames": (1, ""),
    "ShiftX": (0.0, "nm"),
    "ShiftY": (0.0, "nm"),
}


class NoBeamError(RuntimeError):
    """The scan can't go on: the high voltage is gone."""


class FrameMaker:
    """What the generator drives; all but `changed` are called in the scan's thread."""

    def changed(self, plan: ScanPlan) -> None:
        """Take note of the frame that is set; event loop only."""

    def begin(self, plan: ScanPlan) -> None:
        """Prepare a scan."""

    def begin_frame(self, plan: ScanPlan, frame: int, start_s: float, shift_nm: tuple[float, float]) -> None:
        """Prepare a frame."""

    def rows(self, plan: ScanPlan, frame: int, first: int, last: int, start_s: float) -> None:
        """Make rows ``first`` to ``last`` (excluded), the first of which started at ``start_s``; they are over now.

        Raises
        ------
        NoBeamError
            If there is no beam to scan.
        """

    def end(self, aborted: bool) -> None:
        """Finish a scan."""


class ScanGenerator:
    """`Scan:`.

    Parameters
    ----------
    clock : SimClock
        Simulated time.
    maker : FrameMaker
        Makes the frames.
    blank : callable
        Blanks the beam, told the cause; any thread.
    """

    def __init__(self, clock: SimClock, maker: FrameMaker, blank: Callable[[str], None]) -> None:
        self._clock, self._maker, self._blank = clock, maker, blank
        self.board = Board(
            [
                *(rw(name, value, units) for name, (value, units) in _START.items()),
                rw("LineSync", Choice(("Off", "Mains"))),
                rw("Serpentine", Choice(_NO_YES)),
                rw("BlankOnStop", Choice(_NO_YES, 1)),
                wo("Start", Choice(("Done", "Start"))),
                wo("Stop", Choice(("Done", "Stop"))),
                ro("Busy_RBV", Choice(("Idle", "Busy"))),
                ro("State_RBV", Choice(STATES)),
                ro("Message_RBV", Text("", 256)),
                ro("Frame_RBV", 0),
                ro("Row_RBV", 0),
                ro("Columns_RBV", 256),
                ro("Rows_RBV", 256),
                ro("PixelSize_RBV", 0.0, "pm"),
                ro("FrameTime_RBV", 0.0, "s"),
                ro("PixelClock_RBV", 0.0, "Hz"),
                ro("Lag_RBV", 0.0, "s"),
            ]
        )
        state_limits(self.board, _LIMITS)
        for name, (low, high) in _LIMITS.items():
            self.board.check([name], self._clip(name, low, high))
        self.board.react([*_START, "LineSync", "Serpentine"], lambda _: self._show())
        self.board.on_put("Start", self._put_start)
        self.board.on_put("Stop", self._put_stop)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lag_said_s = 0.0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Remember the event loop."""
        self._loop = loop
        self.board.start(loop)
        self._show()

    def close(self) -> None:
        """Stop what runs and wait for its end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=30.0)

    @property
    def area_nm2(self) -> float:
        """Of the field that is set."""
        return self.plan().area_nm2

    def _clip(self, name: str, low: float, high: float) -> Callable[[Any], Any]:
        def clip(value: Any) -> Any:
            if not math.isfinite(value):
                return self.board.value(f"{name}_RBV")
            return min(max(value, low), high)

        return clip

    def plan(self) -> ScanPlan:
        """Return what is set now; any thread."""

        def value(name: str) -> Any:
            return self.board.value(f"{name}_RBV")

        width, height = value("Width"), value("Height")
        x0, y0 = min(value("SubX"), width - 1), min(value("SubY"), height - 1)
        sub = (x0, y0, min(value("SubWidth"), width - x0), min(value("SubHeight"), height - y0))
        return ScanPlan(
            field_nm=value("FieldOfView"),
            width=width,
            height=height,
            sub=sub if sub[2] and sub[3] else (0, 0, width, height),
            rotation_deg=value("Rotation"),
            dwell_s=1e-6 * value("Dwell"),
            flyback_s=1e-6 * value("Flyback"),
            mains=bool(value("LineSync")),
            serpentine=bool(value("Serpentine")),
            frames=value("NumFrames"),
        )

    def _show(self) -> None:
        if self.board.value("Busy_RBV"):
            return
        plan = self.plan()
        self.board.post(
            Columns_RBV=plan.shape[1],
            Rows_RBV=plan.shape[0],
            PixelSize_RBV=1e3 * plan.pixel_nm,
            FrameTime_RBV=plan.frame_s,
            PixelClock_RBV=1.0 / plan.dwell_s,
        )
        self._maker.changed(plan)

    # puts -------------------------------------------------------------------------------------------------

    def _put_start(self, value: int) -> Awaitable[None] | None:
        board = self.board
        if not value:
            board.post(Start=0)
            return None
        if not board.value("Busy_RBV"):
            plan = self.plan()
            self._stop.clear()
            board.post(Start=1, Frame_RBV=0, Row_RBV=0, State_RBV=_SCANNING, Message_RBV="Scanning", Busy_RBV=1)
            self._thread = threading.Thread(target=self._run, args=(plan,), name="scan", daemon=True)
            self._thread.start()
        return self._wait()

    def _put_stop(self, value: int) -> Awaitable[None] | None:
        self.board.post(Stop=0)
        if not value:
            return None
        if self.board.value("BlankOnStop_RBV"):
            self._blank("abort")
        if not self.board.value("Busy_RBV"):
            return None
        self._stop.set()
        return self._wait()

    def _wait(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        return future

    def _release(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # the scan's thread ------------------------------------------------------------------------------------

    def _run(self, plan: ScanPlan) -> None:
        state, message = _DONE, "Scan complete"
        try:
            self._maker.begin(plan)
            if not self._frames(plan):
                state, message = _ABORTED, "Scan aborted"
        except NoBeamError as fault:
            state, message = _FAULT, str(fault)
        except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            log.exception("scan")
            state, message = _FAULT, f"Scan failed: {error}"
        if state != _DONE and self.board.value("BlankOnStop_RBV"):
            self._blank("abort")
        self._maker.end(state != _DONE)
        self.board.later(
            {"State_RBV": state, "Message_RBV": message[:255], "Start": 0, "Lag_RBV": 0.0, "Busy_RBV": 0}, urgent=True
        )
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finished)

    def _finished(self) -> None:
        self._show()
        self._release()

    def _shift_nm(self) -> tuple[float, float]:
        return self.board.value("ShiftX_RBV"), self.board.value("ShiftY_RBV")

    def _frames(self, plan: ScanPlan) -> bool:
        """Scan; return whether it came to its end."""
        frame, start_s = 0, 0.0
        while plan.frames == 0 or frame < plan.frames:
            shift = self._shift_nm()
            self._maker.begin_frame(plan, frame, max(start_s, self._clock.now()), shift)
            if frame == 0:
                # The first frame's maps take their time; the scan starts when they are there.
                start_s = self._clock.now()
            start_s = plan.first_line_s(start_s)
            if not self._frame(plan, frame, start_s):
                return False
            start_s += plan.frame_s
            frame += 1
            self.board.later({"Frame_RBV": frame, "Row_RBV": 0}, urgent=True)
        return True

    def _frame(self, plan: ScanPlan, frame: int, start_s: float) -> bool:
        rows = plan.shape[0]
        first = 0
        while first < rows:
            due = max(1, round(_BATCH_S * self._clock.speed / plan.line_s))
            behind = int((self._clock.now() - start_s) / plan.line_s) - first
            last = min(rows, first + max(due, min(behind, 8 * due)))
            if not self._sleep_until(start_s + last * plan.line_s):
                return False
            self._maker.rows(plan, frame, first, last, start_s + first * plan.line_s)
            first = last
            now_s = time.monotonic()
            if first < rows or now_s - self._lag_said_s > 0.5:
                self._lag_said_s = now_s
                late_s = max(0.0, self._clock.now() - start_s - last * plan.line_s)
                self.board.later({"Row_RBV": first, "Lag_RBV": round(late_s, 4)})
        return True

    def _sleep_until(self, t_s: float) -> bool:
        while (left_s := t_s - self._clock.now()) > 0:
            if self._stop.wait(min(self._clock.wall_delay(left_s), 0.1)):
                return False
        return not self._stop.is_set()
