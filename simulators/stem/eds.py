"""X-ray detectors: photons of a scan become events, a live spectrum and count rates."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitwave.simulators.physics.constants import SIGMA_PER_FWHM
from exitwave.simulators.physics.eds_detector import FANO_FACTOR, PAIR_EV, Segment, resolution_fwhm_ev, seen_fraction
from exitwave.simulators.physics.eds_events import detect, draw_row
from exitwave.simulators.physics.rng import seed_state
from exitwave.simulators.records.board import Board, Choice, ro, rw, wo
from exitwave.simulators.records.channels import ArrayPv
from exitwave.simulators.records.hdf_plugin import WriteFaults
from exitwave.simulators.stem.event_plugin import EventPlugin
from exitwave.simulators.stem.field import Field
from exitwave.simulators.stem.limits import state_limits
from exitwave.simulators.stem.truth import StemTruth

__all__ = ["CHANNEL_KEV", "Eds", "RowRequest"]

CHANNEL_KEV = 0.01
_RANGES = (2048, 4096)
_SHOWN_S = 0.2
_ROOM = 1 << 16
_OFF_ON = ("No", "Yes")


class RowRequest:
    """One row to draw: where the probe is, and for how long.

    Parameters
    ----------
    x, y : ndarray, shape (columns,)
        In units of the field's grid.
    electrons : float
        In one dwell.
    start_s, dwell_s : float
        Simulated time of the row's start; of a pixel.
    backwards : bool
        Serpentine.
    stream : int
        Of the random numbers; one for each row of each frame.
    first_pixel : int
        Number of its first pixel.
    """

    __slots__ = ("backwards", "dwell_s", "electrons", "first_pixel", "start_s", "stream", "x", "y")

    def __init__(
        self, x: NDArray[np.float64], y: NDArray[np.float64], electrons: float, start_s: float, dwell_s: float,
        backwards: bool, stream: int, first_pixel: int,
    ) -> None:  # fmt: skip
        self.x, self.y, self.electrons = x, y, electrons
        self.start_s, self.dwell_s, self.backwards = start_s, dwell_s, backwards
        self.stream, self.first_pixel = stream, first_pixel


class Eds:
    """`EDS:`.

    `draw` and `collect` belong to the scan's thread.

    Parameters
    ----------
    segments : tuple of Segment
        As the maker states them.
    truth : StemTruth
        Energy scales, rim of the holder, seed.
    holder_deg : callable
        Tilts (alpha, beta) now.
    faults : WriteFaults
        Of the file plugin.
    """

    def __init__(
        self,
        segments: tuple[Segment, ...],
        truth: StemTruth,
        holder_deg: Callable[[], tuple[float, float]],
        faults: WriteFaults,
    ) -> None:
        self.segments, self._truth, self._holder_deg = segments, truth, holder_deg
        self.plugin = EventPlugin(faults)
        self.board = Board(_rows(segments))
        self.board.check(["ProcessTime"], lambda value: min(max(value, 0.1), 50.0) if math.isfinite(value) else 2.0)
        self.board.check(["ResolvingTime"], lambda value: min(max(value, 0.0), 5.0) if math.isfinite(value) else 0.2)
        state_limits(self.board, {"ProcessTime": (0.1, 50.0), "ResolvingTime": (0.0, 5.0)})
        self.board.react(["ProcessTime"], lambda value: self.board.post(DeadTime_RBV=value))
        self.board.react(["Acquire"], self._put_acquire)
        self.board.on_put("Clear", self._put_clear)
        self._spectrum_pv = ArrayPv(length=_RANGES[1], units="counts", precision=0)
        self._energies_pv = ArrayPv(length=_RANGES[1], units="keV", precision=3)
        n = len(segments)
        self._lock = threading.Lock()
        self.channels = _RANGES[0]
        self._spectrum = np.zeros(self.channels, np.int64)
        self._events = 0
        self._busy_until_s = np.full(n, -1.0)
        self._last_s = np.full(n, -1.0)
        self.inputs, self.outputs = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self._mark, self._elapsed_s = (self.inputs.copy(), self.outputs.copy()), 0.0
        self.stalled = np.zeros(n, np.bool_)
        self._rng = np.empty(2, np.uint64)
        seed_state(self._rng, truth.seed, 1 << 40)
        self._allocate(_ROOM)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._shown_s = 0.0
        self._resize()

    def _allocate(self, room: int) -> None:
        self._pixel, self._segment = np.zeros(room, np.uint32), np.zeros(room, np.uint8)
        self._energy, self._time_s = np.zeros(room, np.float32), np.zeros(room)
        self._channel = np.zeros(room, np.uint16)

    def pvdb(self, prefix: str) -> dict[str, Any]:
        """Return the channels by full name."""
        return {
            **self.board.pvdb(f"{prefix}EDS:"),
            **self.plugin.board.pvdb(f"{prefix}EDS:HDF1:"),
            f"{prefix}EDS:Spectrum": self._spectrum_pv,
            f"{prefix}EDS:Energies": self._energies_pv,
        }

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the writer."""
        self._loop = loop
        self.board.start(loop)
        self.plugin.start(loop)
        self.show_shadow()

    @property
    def acquiring(self) -> bool:
        """Whether a scan makes events."""
        return bool(self.board.value("Acquire_RBV"))

    # settings ---------------------------------------------------------------------------------------------

    def _put_acquire(self, value: int) -> None:
        if value:
            self._resize()
            if self.board.value("ClearOnAcquire_RBV"):
                self._put_clear(1)

    def _resize(self) -> None:
        channels = _RANGES[self.board.value("Range_RBV")]
        with self._lock:
            if channels != self.channels:
                self.channels = channels
                self._spectrum = np.zeros(channels, np.int64)
        self.board.post(NumChannels_RBV=channels)
        self._energies_pv.post(((np.arange(channels) + 0.5) * CHANNEL_KEV).tolist())

    def _put_clear(self, value: int) -> None:
        if value:
            with self._lock:
                self._spectrum[:] = 0
                self._events = 0
            self._show(force=True)
        self.board.post(Clear=0)

    def show_shadow(self) -> None:
        """Show what the holder takes away of each segment now; event loop only."""
        for number, segment in enumerate(self.segments, 1):
            seen = seen_fraction(segment, self._truth.holder_rim_deg, *self._holder_deg())
            self.board.channels[f"Seg{number}:Shadow_RBV"].update(round(100.0 * (1.0 - seen), 3))

    # the scan's thread ------------------------------------------------------------------------------------

    def draw(self, field: Field, row: RowRequest, dark_signal: NDArray[np.float32], held: int) -> int:
        """Draw a row's photons behind ``held`` others; return how many there are then."""
        collected = field.collected if self.acquiring else np.zeros_like(field.collected)
        while True:
            new = draw_row(
                field.maps, row.x, row.y, field.constant, collected, field.segment_cdf, field.energy_quantiles,
                field.interpolated, row.electrons, row.dwell_s, row.start_s, row.backwards, self._truth.seed,
                row.stream, dark_signal, self._pixel[held:], row.first_pixel, self._segment[held:], self._energy[held:],
                self._time_s[held:],
            )  # fmt: skip
            if new >= 0:
                return held + new
            before = self._buffers()
            self._allocate(2 * len(self._pixel))
            for old, fresh in zip(before, self._buffers(), strict=True):
                fresh[:held] = old[:held]

    def _buffers(self) -> tuple[NDArray[Any], ...]:
        return self._pixel, self._segment, self._energy, self._time_s

    def collect(
        self, count: int, *, live: bool, shelf: float, elapsed_s: float
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint16]]:
        """Put the drawn photons through the electronics; return pixels, segments and channels of the events.

        ``live`` False: no dead time and no pile-up. ``elapsed_s``: how long they took to come.
        """
        n, truth, board = len(self.segments), self._truth, self.board
        noise = np.empty(n)
        for i, segment in enumerate(self.segments):
            noise[i] = (1e-3 * resolution_fwhm_ev(0.0, segment.mn_ka_fwhm_ev) * SIGMA_PER_FWHM) ** 2
        enabled = np.array([board.value(f"Seg{i + 1}:Enable_RBV") for i in range(n)], bool)
        if not enabled.all():
            count = self._drop(count, enabled)
        kept = detect(
            count, self._pixel, self._segment, self._energy, self._time_s,
            bool(board.value("DeadTimeModel_RBV")), 1e-6 * board.value("DeadTime_RBV") if live else 0.0,
            1e-6 * board.value("ResolvingTime_RBV") if live else 0.0, noise, 1e-3 * FANO_FACTOR * PAIR_EV,
            np.array(truth.segment_gain[:n]), 1e-3 * np.array(truth.segment_offset_ev[:n]), shelf, CHANNEL_KEV,
            self.channels, self.stalled, self._busy_until_s, self._last_s, np.full(n, -1, np.int64),
            self.inputs, self.outputs, self._rng, self._channel,
        )  # fmt: skip
        channel = self._channel[:kept].copy()
        with self._lock:
            self._spectrum += np.bincount(channel, minlength=len(self._spectrum))[: len(self._spectrum)]
            self._events += kept
            self._elapsed_s += elapsed_s
        self._show()
        return self._pixel[:kept].copy(), self._segment[:kept].copy(), channel

    def warm_up(self, field: Field, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        """Compile what `draw` and `collect` call, without a photon."""
        row = RowRequest(np.ascontiguousarray(x), np.ascontiguousarray(y), 0.0, 0.0, 1e-6, False, 0, 0)
        self.collect(self.draw(field, row, np.empty(x.size, np.float32), 0), live=True, shelf=0.0, elapsed_s=0.0)

    def _drop(self, count: int, enabled: NDArray[np.bool_]) -> int:
        """Forget the photons of segments that are switched off."""
        stays = np.flatnonzero(enabled[self._segment[:count]])
        for part in self._buffers():
            part[: stays.size] = part[stays]
        return int(stays.size)

    def reset_timing(self) -> None:
        """Forget when the last pulses came."""
        self._busy_until_s[:] = self._last_s[:] = -1.0
        self._mark, self._elapsed_s = (self.inputs.copy(), self.outputs.copy()), 0.0

    def _show(self, *, force: bool = False) -> None:
        now_s = time.monotonic()
        if not force and now_s - self._shown_s < _SHOWN_S:
            return
        self._shown_s = now_s
        inputs, outputs = self._mark
        values: dict[str, Any] = {"Events_RBV": float(self._events)}
        if self._elapsed_s > 0.0:
            # Over the time that the rows took: computing may be late, and then catch up.
            values |= _rates(self.inputs - inputs, self.outputs - outputs, self._elapsed_s)
            self._mark, self._elapsed_s = (self.inputs.copy(), self.outputs.copy()), 0.0
        self.board.later(values)
        if self._loop is not None and not self._loop.is_closed():
            with self._lock:
                spectrum = self._spectrum.tolist()
            self._loop.call_soon_threadsafe(self._spectrum_pv.post, spectrum)

    def finish(self) -> None:
        """Show the last counts, and that no more come; the scan's thread."""
        self._show(force=True)
        zero = np.zeros(len(self.segments), np.int64)
        self.board.later(_rates(zero, zero, 1.0), urgent=True)


def _rates(came: NDArray[np.int64], went: NDArray[np.int64], elapsed_s: float) -> dict[str, Any]:
    lost = 100.0 * (1.0 - went / np.maximum(came, 1)) * (came > 0)
    values = {
        "InputRate_RBV": float(came.sum() / elapsed_s),
        "OutputRate_RBV": float(went.sum() / elapsed_s),
        "DeadFraction_RBV": float(lost.mean()),
    }
    for i in range(len(came)):
        values[f"Seg{i + 1}:InputRate_RBV"] = float(came[i] / elapsed_s)
        values[f"Seg{i + 1}:OutputRate_RBV"] = float(went[i] / elapsed_s)
        values[f"Seg{i + 1}:DeadFraction_RBV"] = float(lost[i])
    return values


def _rows(segments: tuple[Segment, ...]) -> list[Any]:
    rows = [
        rw("Acquire", Choice(("Done", "Acquire"))),
        rw("ClearOnAcquire", Choice(_OFF_ON, 1)),
        wo("Clear", Choice(("Done", "Clear"))),
        ro("ChannelWidth_RBV", 1e3 * CHANNEL_KEV, "eV"),
        rw("Range", Choice(("20 keV", "40 keV"))),
        ro("NumChannels_RBV", _RANGES[0]),
        ro("NumSegments_RBV", len(segments)),
        rw("DeadTimeModel", Choice(("Non-paralysable", "Paralysable"), 1)),
        rw("ProcessTime", 2.0, "us"),
        ro("DeadTime_RBV", 2.0, "us"),
        rw("ResolvingTime", 0.2, "us"),
        ro("InputRate_RBV", 0.0, "1/s"),
        ro("OutputRate_RBV", 0.0, "1/s"),
        ro("DeadFraction_RBV", 0.0, "%"),
        ro("Events_RBV", 0.0),
    ]
    for number, segment in enumerate(segments, 1):
        p = f"Seg{number}:"
        rows += [
            rw(f"{p}Enable", Choice(_OFF_ON, 1)),
            ro(f"{p}InputRate_RBV", 0.0, "1/s"),
            ro(f"{p}OutputRate_RBV", 0.0, "1/s"),
            ro(f"{p}DeadFraction_RBV", 0.0, "%"),
            ro(f"{p}SolidAngle_RBV", segment.solid_angle_sr, "sr"),
            ro(f"{p}TakeOff_RBV", segment.take_off_deg, "deg"),
            ro(f"{p}Azimuth_RBV", segment.azimuth_deg, "deg"),
            ro(f"{p}Area_RBV", segment.area_mm2, "mm2"),
            ro(f"{p}Resolution_RBV", segment.mn_ka_fwhm_ev, "eV"),
            ro(f"{p}Shadow_RBV", 0.0, "%"),
        ]
    return rows
