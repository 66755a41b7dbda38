"""Live scans of energies: optical depths as energies arrive, the region's spectrum, and the edge map once there is one.

Frames are binned and only their sums are kept. Each energy is brought to the pixels of the first one by its pixel
size; nothing is aligned, which the scan's own tracking makes good enough for a look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.binning import block_mean
from exitwave.analysis.errors import AnalysisError
from exitwave.analysis.live.router import LiveRouter
from exitwave.analysis.xanes import Normalisation, StackOperator, edge_map

__all__ = ["LiveMap", "LiveXanes"]

Image = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
LEAST_EV = 30.0
"""Above the edge an energy must lie for the edge step to be known."""


@dataclass(frozen=True)
class LiveMap:
    """What is known of a scan by now.

    Attributes
    ----------
    energies_ev : float64 (n,)
        That arrived, rising.
    depth : float32 (y, x)
        Optical depth at the highest of them.
    region : bool (y, x)
        Where the sample is: beyond half of the largest optical depth.
    spectrum : float64 (n,)
        Mean optical depth of the region.
    normalised : float64 (n,) or None
        The same with the pre-edge line off, over the edge step; None before both sides of the edge are there.
    edge_ev : float64 (y, x) or None
        Half height; NaN outside of the region.
    pixel_nm : float
    """

    energies_ev: Array
    depth: Image
    region: npt.NDArray[np.bool_]
    spectrum: Array
    normalised: Array | None
    edge_ev: Array | None
    pixel_nm: float


@dataclass(frozen=True)
class _Stop:
    energy_ev: float
    pixel_nm: float
    current: float
    frames: range
    flats: range


@dataclass(frozen=True)
class _Light:
    """A stop whose flats are still to come: light without the dark."""

    stop: _Stop
    image: Image


class LiveXanes(LiveRouter):
    """Follows a scan of energies of one place: streams ``dark``, ``flat``, ``primary`` and ``energy`` of one camera.

    Of several places, angles or repeats the first is followed. Where the flats are taken in a second pass, stops wait
    for those of their energy; `waiting` says how many do. A run that resumes the one before goes on with its energies;
    `needs` says which run has to be heard first.

    Parameters
    ----------
    max_width : int
        Frames are binned until they are not wider.
    """

    def __init__(self, max_width: int = 256) -> None:
        super().__init__()
        self._max_width = max_width
        self._reset()

    def _reset(self) -> None:
        self._chain = ""
        self._depths: dict[float, Image] = {}
        self._first_nm = 0.0
        self._binning = 1
        self._edge_ev: float | None = None
        self._expected = 0
        self._flats_when = "each"
        self._begin()

    def _begin(self) -> None:
        """Forget what belongs to one run alone: its rows, its beam."""
        self._rows: dict[str, dict[int, Image]] = {"flat": {}, "primary": {}}
        self._arrived = {"flat": 0, "primary": 0}
        self._waiting: list[_Stop] = []
        self._flat: tuple[Image, float] | None = None
        self._unsettled: dict[float, _Light] = {}
        self._last: _Light | None = None
        self._fresh_darks = True

    def needs(self, start: Mapping[str, Any]) -> str | None:
        """Return the run that this one goes on with, if it is another than the last."""
        first = start.get("resumes")
        return str(first) if first is not None and str(first) != self._chain else None

    def run_started(self, start: Mapping[str, Any]) -> None:
        """Begin anew, or go on with the run that is resumed."""
        self._camera = str(start.get("camera", ""))
        self._record = str(start.get("energy_record", "")) + "_"
        if self._chain and str(start.get("resumes")) == self._chain:
            self._begin()
            return
        self._reset()
        self._dark_sum: npt.NDArray[np.float64] | None = None
        self._darks = 0
        self._chain = str(start.get("uid", ""))
        scan = start.get("xanes", {})
        edges: Sequence[float] = scan.get("edges_ev", ())
        self._edge_ev = float(edges[0]) if len(edges) else None
        self._expected = len(scan.get("energies_ev", ()))
        self._angles = max(1, len(scan.get("angles_deg", ())))
        self._flats_when = str(scan.get("flats", "each")) if int(scan.get("num_flats", 1)) else "none"

    def run_stopped(self, stop: Mapping[str, Any]) -> None:
        """Take what still waits for flats with those that came: no others will."""
        if self._flat is not None:
            for light in list(self._unsettled.values()):
                self._add(light, self._flat)
            self._unsettled = {}

    @property
    def waiting(self) -> int:
        """How many energies wait for their flats."""
        return len(self._unsettled)

    @property
    def note(self) -> str | None:
        """Why there is no map and none will come, or not yet; one line, None where all is well."""
        if self._flats_when == "none" and not self._depths:
            return "no map: the scan takes no flats"
        if self._unsettled:
            return f"{len(self._unsettled)} energies wait for the flats of the second pass"
        return None

    def light(self) -> tuple[float, Image, float] | None:
        """Return energy (eV), counts (y, x) and pixel (nm) of the last stop without an optical depth; None for none."""
        if self._last is None:
            return None
        return self._last.stop.energy_ev, self._last.image, self._last.stop.pixel_nm * self._binning

    @property
    def energies(self) -> int:
        """How many came."""
        return len(self._depths)

    @property
    def expected(self) -> int:
        """How many were asked for."""
        return self._expected

    def frames_arrived(
        self, stream: str, key: str, frames: npt.NDArray[Any], attributes: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        """Keep frames until the event that says what they show."""
        if self._camera and key != self._camera:
            return
        self._binning = max(1, -(-int(np.shape(frames)[-1]) // self._max_width))
        for frame in frames:
            small = block_mean(frame, (self._binning, self._binning))
            if stream == "dark":
                if self._fresh_darks:  # of a run that resumes another: its own, if it takes some
                    self._fresh_darks, self._dark_sum, self._darks = False, None, 0
                self._dark_sum = small.astype(np.float64) if self._dark_sum is None else self._dark_sum + small
                self._darks += 1
            elif stream in self._rows:
                self._rows[stream][self._arrived[stream]] = small
                self._arrived[stream] += 1
        self._settle()

    def event_arrived(self, stream: str, data: Mapping[str, Any]) -> None:
        """Take what was told of one stop."""
        if stream != "energy":
            return
        told = {name.removeprefix(self._record): value for name, value in data.items()}
        if int(told.get("place", 0)) or int(told.get("repeat_number", 0)):
            return
        if int(told["shot"]) % self._angles and int(told["shot"]) >= 0:
            return  # the angle is what a shot's number counts innermost
        frames = _rows(told["first_frame"], told["num_frames"]) if int(told["shot"]) >= 0 else range(0)
        flats = _rows(told["first_flat"], told["num_flats"])
        energy_ev = 1e3 * float(told["setpoint"])
        self._waiting.append(_Stop(energy_ev, float(told["pixel"]), float(told["i0"]), frames, flats))
        self._settle()

    def _settle(self) -> None:
        """Make optical depths of the stops whose frames are all there."""
        while self._waiting:
            stop = self._waiting[0]
            late = len(stop.frames) and stop.frames[-1] >= self._arrived["primary"]
            if late or (len(stop.flats) and stop.flats[-1] >= self._arrived["flat"]):
                return
            self._waiting.pop(0)
            dark = 0.0 if self._dark_sum is None else (self._dark_sum / self._darks).astype(np.float32)
            if len(stop.flats):
                self._flat = self._take("flat", stop.flats) - dark, stop.current
                if (late_light := self._unsettled.pop(stop.energy_ev, None)) is not None:
                    self._add(late_light, self._flat)
            if not len(stop.frames):
                continue
            light = _Light(stop, self._take("primary", stop.frames) - dark)
            if self._flats_when == "pass":
                self._unsettled[stop.energy_ev] = self._last = light
            elif self._flat is not None:
                self._add(light, self._flat)
            else:
                self._last = light

    def _take(self, stream: str, rows: range) -> Image:
        kept = self._rows[stream]
        mean = np.mean([kept[row] for row in rows], axis=0, dtype=np.float32)
        self._rows[stream] = {row: frame for row, frame in kept.items() if row > rows[-1]}
        return np.asarray(mean, np.float32)

    def _add(self, light: _Light, of_flats: tuple[Image, float]) -> None:
        stop, (flat, current) = light.stop, of_flats
        known = stop.current > 0.0 and current > 0.0
        ratio = np.float32(stop.current / current if known else 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = np.log(np.maximum(flat, 1.0) * ratio / np.maximum(light.image, 1.0)).astype(np.float32)
        self._first_nm = self._first_nm or stop.pixel_nm
        rows, columns = depth.shape
        operator = StackOperator.identity(1, (rows, columns), scale=[self._first_nm / stop.pixel_nm])
        self._depths[stop.energy_ev], _ = operator.resample(0, depth)

    def map(self) -> LiveMap | None:
        """Return what is known by now; None before the first energy."""
        if not self._depths:
            return None
        energies = np.array(sorted(self._depths))
        stack = np.stack([self._depths[energy] for energy in energies])
        highest = stack[-1]
        # a few hot pixels must not set what half of the largest is
        region = np.isfinite(stack).all(axis=0) & (highest > 0.5 * float(np.nanquantile(highest, 0.99)))
        spectrum = stack[:, region].mean(axis=1, dtype=np.float64)
        normalised, edge = None, None
        normalisation = self._normalisation(energies)
        if normalisation is not None:
            try:
                normalised, _ = normalisation.spectrum(spectrum)
                edge = np.where(region, edge_map(stack, normalisation).energy_ev, np.nan)
            except AnalysisError:
                normalised, edge = None, None  # no edge rises yet
        return LiveMap(energies, highest, region, spectrum, normalised, edge, self._first_nm * self._binning)

    def _normalisation(self, energies: Array) -> Normalisation | None:
        if self._edge_ev is None or len(energies) < 8 or energies[-1] < self._edge_ev + LEAST_EV:
            return None
        try:
            return Normalisation(energies, self._edge_ev)
        except AnalysisError:
            return None  # too few energies on one side by now


def _rows(first: Any, number: Any) -> range:
    return range(int(first), int(first) + max(0, int(number)))
