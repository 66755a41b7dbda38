"""One scan of energies, out of the run that took it and the runs that went on with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exitwave.analysis.io import Frames
from exitwave.plans.pure.positions import PlanInputError
from exitwave.plans.pure.xanes import XanesScan
from exitwave.profiles.storage.chain import (
    LEAST_BEAM,
    FrameFiles,
    StreamRows,
    ring_at_start,
    run_chain,
    stream_rows,
)
from exitwave.profiles.storage.errors import StorageError
from exitwave.profiles.storage.paths import DataFolder, data_folder
from exitwave.profiles.storage.reader import RunReader

if TYPE_CHECKING:
    pass

__all__ = ["NoXanesError", "XanesPoint", "XanesStack", "open_xanes"]


class NoXanesError(StorageError):
    """A run that is no scan of energies, or has nothing usable."""


@dataclass(frozen=True)
class XanesPoint:
    """What was taken at one energy and place.

    Attributes
    ----------
    shot : int
        Its number in the scan.
    setpoint_kev, energy_kev : float
        Asked for, and by the Bragg angle's readback.
    pixel_nm : float
    zone_plate_mm, pitch_urad : float
    beam_intensity : float
        Ion chamber, A.
    flat_intensity : float
        Ion chamber at the stop of those flats that `XanesStack.flats` returns for the point, A; NaN without flats.
        Where a stop has flats and frames, its one reading stands for both.
    exposure_s : float
    repeat, position : int
    x_um, y_um, theta_deg : float
        Sample stage.
    time_s : float
        When it was taken, s since 1970.
    frames : intp array (n,)
        Which frames of the stack show it; for `XanesStack.frames`.
    run : int
        Which of the stack's runs took it.
    """

    shot: int
    setpoint_kev: float
    energy_kev: float
    pixel_nm: float
    zone_plate_mm: float
    pitch_urad: float
    beam_intensity: float
    flat_intensity: float
    exposure_s: float
    repeat: int
    position: int
    x_um: float
    y_um: float
    theta_deg: float
    time_s: float
    frames: NDArray[np.intp]
    run: int = 0


@dataclass(frozen=True)
class _Flats:
    run: int
    repeat: int
    setpoint_kev: float
    intensity: float
    frames: NDArray[np.intp]


class XanesStack:
    """Points in order of repeat, place, angle and energy, with the frames, flats and darks of each.

    Attributes
    ----------
    runs : list of RunReader
        The first run and those that resumed it, by time.
    scan : XanesScan
        What was asked for.
    points : tuple of XanesPoint
    """

    def __init__(self, chain: Sequence[RunReader]) -> None:
        self.runs = list(chain)
        try:
            self.scan = XanesScan.from_description(self.runs[0].start.get("xanes", {}))
        except PlanInputError as error:
            raise NoXanesError(f"run {self.runs[0].uid[:8]}: {error}; open_run reads it") from error
        self._files = FrameFiles()
        self._flats: list[_Flats] = []
        self._darks: dict[float, NDArray[np.intp]] = {}
        found: dict[int, XanesPoint] = {}
        for number, run in enumerate(self.runs):
            for point in self._read(number, run):
                before = found.get(point.shot)
                if before is None or len(before.frames) < len(point.frames):
                    found[point.shot] = point
        # by what was asked for: readings scatter, and would shuffle energies among angles
        order = sorted(found.values(), key=lambda p: (p.repeat, p.position, self._asked_deg(p), p.setpoint_kev))
        self.points = tuple(
            replace(point, flat_intensity=self._intensity_of_flats(point)) for point in order if len(point.frames)
        )
        self._mean = lru_cache(maxsize=4)(self._mean_of)

    def _read(self, number: int, run: RunReader) -> list[XanesPoint]:
        primary, flat, dark = (self._rows(run, name) for name in ("primary", "flat", "dark"))
        least = LEAST_BEAM * ring_at_start(run)
        self._read_darks(run, dark[1])
        if "energy" not in run.streams:
            return []
        stream = run.stream("energy")
        prefix = str(run.start["energy_record"]) + "_"
        columns = {key.removeprefix(prefix): values for key, values in stream.columns.items()}
        points = []
        for k in range(len(stream.time)):
            row = {name: values[k] for name, values in columns.items()}
            num_flats = int(row["num_flats"])
            key = round(float(row["setpoint"]), 7)
            if num_flats:
                first = int(row["first_flat"])
                self._flats.append(
                    _Flats(number, int(row["repeat_number"]), key, float(row["i0"]), flat[1][first : first + num_flats])
                )
            if int(row["shot"]) < 0:
                continue
            first = int(row["first_frame"])
            rows = np.arange(first, first + int(row["num_frames"]))
            rows = rows[rows < len(primary[1])]
            lit = ~(primary[0].ring_ma[rows] < least)
            points.append(
                XanesPoint(
                    int(row["shot"]), float(row["setpoint"]), float(row["readback"]), float(row["pixel"]),
                    float(row["zone_plate_z"]), float(row["pitch"]), float(row["i0"]),
                    float("nan"), float(row["exposure"]), int(row["repeat_number"]),
                    int(row["place"]), float(row["x"]), float(row["y"]), float(row["theta"]),
                    float(stream.time[k]), primary[1][rows[lit]], number,
                )
            )  # fmt: skip
        return points

    def _asked_deg(self, point: XanesPoint) -> float:
        """Return the angle asked for: the innermost of what a shot's number counts."""
        angles = self.scan.angles_deg
        return angles[point.shot % len(angles)] if angles else 0.0

    def _rows(self, run: RunReader, name: str) -> tuple[StreamRows, NDArray[np.intp]]:
        rows = stream_rows(run, name)
        first = len(self._files.places)
        self._files.add(rows)
        return rows, np.arange(first, len(self._files.places), dtype=np.intp)

    def _read_darks(self, run: RunReader, places: NDArray[np.intp]) -> None:
        """Share a run's darks among its exposures: so many of each, the shortest first."""
        work = XanesScan.from_description(run.start.get("xanes", {}))
        exposures = sorted({visit.exposure_s for visit in work.visits()})
        for k, exposure_s in enumerate(exposures):
            own = places[k * work.num_darks : (k + 1) * work.num_darks]
            if len(own):
                self._darks[round(exposure_s, 6)] = own

    def __repr__(self) -> str:
        more = f" in {len(self.runs)} runs" if len(self.runs) > 1 else ""
        return f"<energy stack {self.uid[:8]}: {len(self.points)} of {self.scan.num_shots} shots{more}>"

    def __len__(self) -> int:
        return len(self.points)

    @property
    def uid(self) -> str:
        """Uid of the first run."""
        return self.runs[0].uid

    @property
    def start(self) -> dict[str, Any]:
        """Start document of the first run."""
        return self.runs[0].start

    @property
    def missing(self) -> tuple[int, ...]:
        """Which of the shots asked for lack frames."""
        have = {p.shot for p in self.points if len(p.frames) >= self.scan.num_frames}
        return tuple(shot.index for shot in self.scan.shots() if shot.index not in have)

    @property
    def complete(self) -> bool:
        """Whether every shot has its frames."""
        return not self.missing

    @property
    def energies_kev(self) -> NDArray[np.float64]:
        """Energy of each point by the readback, float64 (n,)."""
        return np.array([point.energy_kev for point in self.points])

    @property
    def times_s(self) -> NDArray[np.float64]:
        """When each point was taken, s since 1970, float64 (n,)."""
        return np.array([point.time_s for point in self.points])

    @property
    def pixel_nm(self) -> NDArray[np.float64]:
        """Pixel at the sample for each point, float64 (n,)."""
        return np.array([point.pixel_nm for point in self.points])

    @property
    def beam_intensity(self) -> NDArray[np.float64]:
        """Ion chamber at each point, A, float64 (n,)."""
        return np.array([point.beam_intensity for point in self.points])

    @property
    def has_flats(self) -> bool:
        """Whether there are any flats."""
        return bool(self._flats)

    @property
    def has_darks(self) -> bool:
        """Whether there are any darks."""
        return bool(self._darks)

    def select(
        self, *, repeat: int | None = None, position: int | None = None, theta_deg: float | None = None
    ) -> list[int]:
        """Return which points are of a repeat, a place and an angle (as asked for), by rising energy."""
        return [
            k
            for k, p in enumerate(self.points)
            if (repeat is None or p.repeat == repeat)
            and (position is None or p.position == position)
            and (theta_deg is None or abs(self._angle_deg(p) - theta_deg) < 0.01)
        ]

    def _angle_deg(self, point: XanesPoint) -> float:
        return self._asked_deg(point) if self.scan.angles_deg else point.theta_deg

    def frames(self, k: int) -> Frames:
        """Return the frames of a point, (n, y, x), read when asked for."""
        return self._some(self.points[k].frames)

    def flats(self, k: int) -> Frames | None:
        """Return the flats of a point: those at its energy, else at the energy nearest to it; None without any.

        Of several those of its repeat, and of its run: another one had another beam.
        """
        chosen = self._flats_of(self.points[k])
        return None if chosen is None else self._some(chosen.frames)

    def darks(self, k: int) -> Frames | None:
        """Return the darks of a point's exposure, those of the nearest one else; None without any."""
        if not self._darks:
            return None
        exposure_s = self.points[k].exposure_s
        return self._some(self._darks[min(self._darks, key=lambda known: abs(known - exposure_s))])

    def image(self, k: int) -> NDArray[np.float32]:
        """Return the mean of a point's frames, float32 (y, x), counts."""
        return self._mean(tuple(int(i) for i in self.points[k].frames))

    def flat(self, k: int) -> NDArray[np.float32] | None:
        """Return the mean of a point's flats, brought to its beam intensity by the ion chamber where both were read."""
        chosen = self._flats_of(self.points[k])
        if chosen is None:
            return None
        mean = self._mean(tuple(int(i) for i in chosen.frames))
        here = self.points[k].beam_intensity
        known = chosen.intensity > 0 and here > 0
        dark = self.dark(k)
        if not known or dark is None:
            return mean
        return np.asarray((mean - dark) * np.float32(here / chosen.intensity) + dark, np.float32)

    def dark(self, k: int) -> NDArray[np.float32] | None:
        """Return the mean of a point's darks, float32 (y, x)."""
        if not self._darks:
            return None
        exposure_s = self.points[k].exposure_s
        places = self._darks[min(self._darks, key=lambda known: abs(known - exposure_s))]
        return self._mean(tuple(int(i) for i in places))

    def _intensity_of_flats(self, point: XanesPoint) -> float:
        chosen = self._flats_of(point)
        return float("nan") if chosen is None else chosen.intensity

    def _flats_of(self, point: XanesPoint) -> _Flats | None:
        usable = [flats for flats in self._flats if len(flats.frames)]
        if not usable:
            return None
        return min(
            usable,
            key=lambda f: (
                round(abs(f.setpoint_kev - point.setpoint_kev), 7),
                abs(f.repeat - point.repeat),
                abs(f.run - point.run),
            ),
        )

    def _some(self, places: NDArray[np.intp]) -> Frames:
        frames = self._files.frames(places)
        if frames is None:
            raise NoXanesError(f"run {self.uid[:8]}: no usable frame; resume the run")
        return frames

    def _mean_of(self, places: tuple[int, ...]) -> NDArray[np.float32]:
        total = self._files.read(places[0]).astype(np.float32)
        for place in places[1:]:
            total += self._files.read(place)
        total *= np.float32(1.0 / len(places))
        return total

    def close(self) -> None:
        """Let go of the files."""
        self._files.close()

    def __enter__(self) -> XanesStack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_xanes(key: str | int = -1, *, data: DataFolder | None = None) -> XanesStack:
    """Open the scan of energies that a run took or went on with, found as by `open_run`.

    Raises
    ------
    NoXanesError
        The run is none.
    RunNotFoundError, FramesMissingError
    """
    return XanesStack(list(run_chain(key, data or data_folder())))
