"""An areaDetector camera driver (ADDriver of ADCore R3, with the Andor cameras' channels)."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitwave.simulators.clock import SimClock
from exitwave.simulators.records.acquisition import Acquisition, FrameSource, Recipe
from exitwave.simulators.records.board import Board
from exitwave.simulators.records.detector_tables import camera_rows, data_type_name
from exitwave.simulators.records.hdf_file import EPICS_EPOCH_S, Frame
from exitwave.simulators.records.hdf_plugin import Hdf5Plugin

__all__ = ["CameraDriver"]

log = logging.getLogger(__name__)
_SINGLE, _MULTIPLE = 0, 1
_EXTERNAL, _SOFTWARE = 1, 2
_IDLE, _ACQUIRING, _READOUT, _ERROR, _WAITING, _ABORTED = 0, 1, 2, 6, 7, 10
_AMBIENT_C, _COOLING_S = 20.0, 60.0
_GEOMETRY = ("MinX", "MinY", "SizeX", "SizeY", "BinX", "BinY")


class CameraDriver:
    """One camera and what it sends its frames to.

    Parameters
    ----------
    port : str
        Name of its asyn port.
    source : FrameSource
        Makes the images.
    clock : SimClock
        Simulated time.
    pool : Executor
        Computes the images.
    plugin : Hdf5Plugin
        Gets the frames.
    attributes : callable
        Returns what is kept with a frame, by name, at a simulated time; called from the camera's thread.
    version : callable
        Number that changes whenever anything in the world is commanded.
    gain_modes : sequence of str
        The source's names of the states of PreAmpGain, which are shorter.
    exposure_s : float
        AcquireTime at the start.
    setpoint_c : float
        Temperature at the start.
    """

    def __init__(
        self,
        port: str,
        source: FrameSource,
        clock: SimClock,
        pool: Executor,
        plugin: Hdf5Plugin,
        *,
        attributes: Callable[[float], Mapping[str, float]],
        version: Callable[[], int],
        gain_modes: Sequence[str],
        exposure_s: float,
        setpoint_c: float,
    ) -> None:
        self._source = source
        self._clock = clock
        self._pool = pool
        self._plugin = plugin
        self._attributes = attributes
        self._version = version
        self._gain_modes = tuple(gain_modes)
        self._sensor = source.sensor_shape
        self.board = Board(
            camera_rows(
                port,
                self._sensor,
                data_type=data_type_name(source.dtype),
                manufacturer=source.manufacturer,
                model=source.model,
                exposure_s=exposure_s,
            )
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._acquisition: Acquisition | None = None
        self._thread: threading.Thread | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._cooling_from: tuple[float, float] = (0.0, setpoint_c)
        self._cooling: asyncio.TimerHandle | None = None
        self._counter = self._images = 0
        self._rate_mark: tuple[float, int] = (0.0, 0)
        for name in ("Temperature", "Temperature_RBV", "TemperatureActual"):
            self.board.channels[name].post(setpoint_c)
        self._connect()

    def _connect(self) -> None:
        board = self.board
        board.check(["AcquireTime"], self._accept_exposure)
        board.check(["AcquirePeriod", "ShutterOpenDelay", "ShutterCloseDelay"], self._accept_seconds)
        board.check(["NumImages", "NumExposures"], lambda value: max(1, value))
        board.react(["AcquireTime", "AcquirePeriod", "NumExposures"], lambda _: self._show_rate())
        board.react(["ArrayCounter"], self._set_counter)
        board.react(["FrameRate"], self._set_rate)
        board.react(["Temperature"], self._cool)
        board.react(["A3Binning"], self._set_binning)
        for name in _GEOMETRY:
            board.on_put(name, functools.partial(self._put_geometry, name))
        board.on_put("Acquire", self._put_acquire)
        board.on_put("SoftwareTrigger", self._put_trigger)
        board.on_put("ReadStatus", lambda _: board.post(ReadStatus=0))
        self._show_rate()
        board.post(ReadoutTime=self._source.readout_time_s)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Remember the event loop."""
        self._loop = loop
        self.board.start(loop)

    def close(self) -> None:
        """Abort what runs and wait for its end."""
        if self._acquisition is not None:
            self._acquisition.abort()
        if self._thread is not None:
            self._thread.join(timeout=30.0)

    def trigger(self, t_s: float) -> None:
        """Give a hardware trigger at simulated time `t_s`; any thread. Ignored unless it listens to its input."""
        self._trigger(t_s, _EXTERNAL)

    def _trigger(self, t_s: float, mode: int) -> None:
        acquisition = self._acquisition
        if acquisition is not None and acquisition.recipe.triggered and self.board.value("TriggerMode_RBV") == mode:
            acquisition.trigger(t_s)

    # settings ---------------------------------------------------------------------------------------------

    def _accept_exposure(self, value: float) -> float:
        if not math.isfinite(value):
            return float(self.board.value("AcquireTime_RBV"))
        return max(float(value), self._source.min_exposure_s)

    def _accept_seconds(self, value: float) -> float:
        return max(0.0, float(value)) if math.isfinite(value) else 0.0

    def _show_rate(self) -> None:
        value = self.board.value
        exposures = value("NumExposures_RBV")
        shortest_s = max(value("AcquireTime_RBV"), self._source.readout_time_s) * exposures
        period_s = max(value("AcquirePeriod_RBV"), shortest_s, 1e-6)
        self.board.post(FrameRate_RBV=1.0 / period_s, TransferRate=1.0 / period_s)

    def _set_rate(self, rate_hz: float) -> None:
        if math.isfinite(rate_hz) and rate_hz > 0:
            self.board.set("AcquirePeriod", 1.0 / rate_hz)

    def _set_counter(self, value: int) -> None:
        self._counter = value

    def _set_binning(self, index: int) -> None:
        for name in ("BinX", "BinY"):
            self._put_geometry(name, (1, 2, 3, 4, 8)[index])

    def _put_geometry(self, name: str, value: int) -> None:
        board = self.board
        board.channels[name].post(value)
        for axis, extent in (("X", self._sensor[1]), ("Y", self._sensor[0])):
            asked = {part: board.value(part + axis) for part in ("Min", "Size", "Bin")}
            binning = min(max(1, asked["Bin"]), 8)
            start = min(max(0, asked["Min"]), extent - binning)
            size = min(max(binning, asked["Size"]), extent - start) // binning * binning
            values = {f"Min{axis}_RBV": start, f"Size{axis}_RBV": size, f"Bin{axis}_RBV": binning}
            values[f"ArraySize{axis}_RBV"] = size // binning
            for suffix, number in values.items():
                board.channels[suffix].update(number)
        pixels = board.value("ArraySizeX_RBV") * board.value("ArraySizeY_RBV")
        board.post(ArraySize_RBV=pixels * np.dtype(self._source.dtype).itemsize)

    def _recipe(self) -> Recipe:
        value = self.board.value
        mode = value("ImageMode_RBV")
        left, top = value("MinX_RBV"), value("MinY_RBV")
        return Recipe(
            exposure_s=value("AcquireTime_RBV"),
            period_s=value("AcquirePeriod_RBV"),
            images=1 if mode == _SINGLE else value("NumImages_RBV") if mode == _MULTIPLE else None,
            exposures=value("NumExposures_RBV"),
            triggered=value("TriggerMode_RBV") != 0,
            roi=(slice(top, top + value("SizeY_RBV")), slice(left, left + value("SizeX_RBV"))),
            binning=(value("BinY_RBV"), value("BinX_RBV")),
            gain=self._gain_modes[value("PreAmpGain_RBV")],
        )

    def _cool(self, setpoint_c: float) -> None:
        self._cooling_from = (self._clock.now(), self.board.value("TemperatureActual"))
        if self._cooling is None and self._loop is not None:
            self._cooling = self._loop.call_later(1.0, self._show_temperature)

    def _show_temperature(self) -> None:
        """First order drift to the setpoint, shown once a second until it is there."""
        since_s, from_c = self._cooling_from
        setpoint_c = self.board.value("Temperature_RBV")
        decay = math.exp(-(self._clock.now() - since_s) / _COOLING_S)
        actual_c = setpoint_c + (from_c - setpoint_c) * decay
        settled = abs(actual_c - setpoint_c) < 0.01
        self.board.post(TemperatureActual=setpoint_c if settled else actual_c, TempStatus_RBV=1 if settled else 2)
        self._cooling = None
        if not settled and self._loop is not None:
            self._cooling = self._loop.call_later(1.0, self._show_temperature)

    # acquisition ------------------------------------------------------------------------------------------

    def _new_acquisition(self, recipe: Recipe) -> Acquisition:
        return Acquisition(recipe, self._source, self._clock, self._pool, self._version)

    def _put_acquire(self, value: int) -> Awaitable[None] | None:
        board = self.board
        if value and not board.value("AcquireBusy"):
            acquisition = self._new_acquisition(self._recipe())
            self._acquisition = acquisition
            self._images = 0
            self._rate_mark = (time.monotonic(), 0)
            board.post(
                Acquire=1,
                AcquireBusy=1,
                NumImagesCounter_RBV=0,
                NumExposuresCounter_RBV=0,
                MissedTriggers_RBV=0,
                DetectorState_RBV=_WAITING if acquisition.recipe.triggered else _ACQUIRING,
                StatusMessage_RBV="Waiting for trigger" if acquisition.recipe.triggered else "Acquiring",
                Acquire_RBV=1,
            )
            self._thread = threading.Thread(
                target=self._acquire, args=(acquisition,), name=board.value("PortName_RBV"), daemon=True
            )
            future = self._wait()
            self._thread.start()
            return future
        if not value and self._acquisition is not None:
            board.post(Acquire=0)
            self._acquisition.abort()
            return self._wait()
        board.post(Acquire=int(board.value("Acquire_RBV")))
        return self._wait() if value else None

    def _wait(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        return future

    def _put_trigger(self, value: int) -> None:
        if value:
            self._trigger(self._clock.now(), _SOFTWARE)
        self.board.post(SoftwareTrigger=0)

    def _acquire(self, acquisition: Acquisition) -> None:
        recipe = acquisition.recipe
        middle_s = recipe.exposure_s / 2

        def deliver(image: NDArray[Any], start_s: float) -> None:
            self._counter += 1
            self._images += 1
            stamp_s = self._clock.wall_time(start_s)
            attributes = {"AcquireTime": recipe.exposure_s, **self._attributes(start_s + middle_s)}
            frame = Frame(self._counter, image, stamp_s, attributes)
            if self.board.value("ArrayCallbacks"):
                self._plugin.take(frame)
            self._show_frame(frame, acquisition.missed)

        def remaining(left_s: float) -> None:
            if recipe.exposure_s > 0.5:
                self.board.later({"TimeRemaining_RBV": left_s})

        def exposing(begins: bool) -> None:
            # Who turns the sample between exposures waits for the end of one.
            self.board.later({"DetectorState_RBV": _ACQUIRING if begins else _READOUT}, urgent=True)

        state, message = _IDLE, "Acquisition complete"
        try:
            if not acquisition.run(deliver, remaining, exposing):
                state, message = _ABORTED, "Acquisition aborted"
        except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            log.exception("%s: no image", self.board.value("PortName_RBV"))
            state, message = _ERROR, f"No image: {error}"[:255]
        done = {
            "TimeRemaining_RBV": 0.0,
            "NumImagesCounter_RBV": self._images,
            "MissedTriggers_RBV": acquisition.missed,
            "DetectorState_RBV": state,
            "StatusMessage_RBV": message,
            "Acquire": 0,
            "Acquire_RBV": 0,
        }
        waiting = bool(self.board.value("WaitForPlugins_RBV"))
        if waiting:
            self.board.later(done, urgent=True)
            self._plugin.wait_idle(60.0)
            done = {}
        self._acquisition = None
        self.board.later({**done, "AcquireBusy": 0}, urgent=True)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._release)

    def _show_frame(self, frame: Frame, missed: int) -> None:
        values: dict[str, Any] = {}
        now_s, (mark_s, marked) = time.monotonic(), self._rate_mark
        if now_s - mark_s >= 1.0:
            values["ArrayRate_RBV"] = (self._images - marked) / (now_s - mark_s)
            self._rate_mark = (now_s, self._images)
        stamp_s = frame.timestamp_s - EPICS_EPOCH_S
        values |= {
            "UniqueId_RBV": frame.unique_id,
            "TimeStamp_RBV": stamp_s,
            "EpicsTSSec_RBV": int(stamp_s),
            "EpicsTSNsec_RBV": int((stamp_s % 1) * 1e9),
            "ArraySize_RBV": frame.array.nbytes,
            "NumImagesCounter_RBV": self._images,
            "MissedTriggers_RBV": missed,
            "ArrayCounter": self._counter,
            "ArrayCounter_RBV": self._counter,
        }
        self.board.later(values)

    def _release(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
