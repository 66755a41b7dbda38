"""One tomogram, out of the run that took it and the runs that went on with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exitwave.analysis.io import Series
from exitwave.analysis.matching import match_angles
from exitwave.profiles.storage.chain import (
    LEAST_BEAM,
    ChainFinder,
    FrameFiles,
    StreamRows,
    ring_at_start,
    run_chain,
    stream_rows,
)
from exitwave.profiles.storage.errors import StorageError
from exitwave.profiles.storage.paths import DataFolder, data_folder
from exitwave.profiles.storage.reader import RunReader, open_run

if TYPE_CHECKING:
    from exitwave.analysis.tomography import Light, Recipe, Result
    from exitwave.plans.instrument import Progress

__all__ = ["ExcludedFrame", "NoTomogramError", "Tomogram", "TomogramFinder", "open_tomogram"]


class NoTomogramError(StorageError):
    """A run that is none, or has no usable frame."""


@dataclass(frozen=True)
class ExcludedFrame:
    """A frame of a run that is not part of the tomogram, and why."""

    run: str
    row: int
    angle_deg: float
    reason: str


class Tomogram:
    """Projections with what belongs to them, in the order of the angles that were asked for.

    Attributes
    ----------
    runs : list of RunReader
        The first run and those that resumed it, by time.
    frames : Frames
        Projections (n, y, x), read when asked for.
    flats, darks : Frames or None
    angles_deg : float64 array (n,)
        The encoder at mid-exposure.
    index : intp array (n,)
        Which of the angles asked for each is.
    asked_deg : float64 array (m,)
        All angles asked for, in the order of acquisition.
    beam_intensity, flat_intensity : float64 arrays (n,), (flats,)
        Ion chamber current (A) at each frame, followed between its readings by the ring current; NaN where nobody
        read it.
    excluded : tuple of ExcludedFrame
        Frames that were taken and are left out.
    times_s, flat_times_s : float64 arrays (n,), (flats,)
        Start of each exposure, s since 1970.
    heights_um : float64 array (n,)
        Readback of the sample's height at mid-exposure; NaN where nobody recorded it.
    """

    def __init__(self, chain: Sequence[RunReader], references: RunReader | None = None) -> None:
        self.runs = list(chain)
        start = self.runs[0].start
        asked = start["tomography"]
        self.asked_deg = np.asarray(asked["angles_deg"], np.float64)
        self._files = FrameFiles()
        projections = [stream_rows(run, "primary") for run in self.runs]
        places = self._take(projections)
        angles = _joined(projections, "angles_deg")
        times_s, ring_ma = _joined(projections, "times_s"), _joined(projections, "ring_ma")
        found, reasons = _choose(projections, self.asked_deg, float(asked["tolerance_deg"]))
        order = np.argsort(np.where(found < 0, len(self.asked_deg), found), kind="stable")[: int((found >= 0).sum())]
        self.index = found[order]
        self.angles_deg, self.times_s = angles[order], times_s[order]
        self.heights_um = _joined(projections, "heights_um")[order]
        self.frames = self._files.frames(places[order])
        owners = np.repeat(np.arange(len(projections)), [rows.num for rows in projections])
        first_rows = np.concatenate([np.arange(rows.num) for rows in projections])
        self.excluded = tuple(
            ExcludedFrame(self.runs[owners[i]].uid, int(first_rows[i]), float(angles[i]), reason)
            for i, reason in enumerate(reasons)
            if reason
        )
        sources = [*self.runs, references] if references is not None else self.runs
        flats = [stream_rows(run, "flat") for run in sources]
        darks = [stream_rows(run, "dark") for run in sources]
        self.flats, self.darks = self._files.frames(self._take(flats)), self._files.frames(self._take(darks))
        monitor = _Monitor(self.runs)
        self.beam_intensity = monitor.at(self.times_s, ring_ma[order])
        self.flat_times_s = _joined(flats, "times_s")
        self.flat_intensity = monitor.at(self.flat_times_s, _joined(flats, "ring_ma"))

    def _take(self, parts: Sequence[StreamRows]) -> NDArray[np.intp]:
        first = len(self._files.places)
        for rows in parts:
            self._files.add(rows)
        return np.arange(first, len(self._files.places), dtype=np.intp)

    def __repr__(self) -> str:
        more = f" in {len(self.runs)} runs" if len(self.runs) > 1 else ""
        return f"<tomogram {self.uid[:8]}: {len(self.angles_deg)} of {len(self.asked_deg)} projections{more}>"

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
        """Which of the angles asked for no usable frame shows."""
        return tuple(int(i) for i in np.setdiff1d(np.arange(len(self.asked_deg)), self.index))

    @property
    def complete(self) -> bool:
        """Whether every angle has its frame."""
        return not self.missing

    @property
    def pixel_nm(self) -> float | None:
        """Size of a pixel at the sample."""
        return _number(self.start.get("pixel_size_nm"))

    @property
    def energy_kev(self) -> float | None:
        """Photon energy."""
        return _number(self.start.get("energy_kev"))

    @property
    def exposure_s(self) -> float | None:
        """Exposure of a projection."""
        return _number(self.start.get("exposure_s"))

    @property
    def centre_px(self) -> float | None:
        """Column of the rotation axis at the middle row, by the last alignment before the run; None without one."""
        return _number(self.start.get("rotation_axis", {}).get("centre_px"))

    @property
    def tilt_deg(self) -> float | None:
        """Lean of the rotation axis by the last alignment before the run."""
        return _number(self.start.get("rotation_axis", {}).get("tilt_deg"))

    @property
    def pitch_um_per_turn(self) -> float:
        """How far the sample rose in a turn; 0 unless helical."""
        return float(self.start["tomography"].get("pitch_um_per_turn", 0.0))

    @property
    def light(self) -> Light:
        """Times and beam of its frames, as the analysis takes them."""
        from exitwave.analysis.tomography import Light

        return Light(self.times_s, self.flat_times_s, self.beam_intensity, self.flat_intensity)

    @property
    def rises_px(self) -> NDArray[np.float64] | None:
        """By how many rows the sample stands higher at each projection than it did first; None unless helical.

        From the readbacks of the height where they were recorded, else from the angle.
        """
        if not self.pitch_um_per_turn:
            return None
        if self.pixel_nm is None:
            raise NoTomogramError(f"run {self.uid[:8]}: a helical scan without the size of a pixel can't be placed")
        first = float(self.asked_deg[0])
        nominal = (self.angles_deg - first) * self.pitch_um_per_turn / 360.0
        known = np.isfinite(self.heights_um)
        if not known.any():
            return nominal * 1e3 / self.pixel_nm
        # what the two differ by is where it stood at the first angle
        start = float(np.median((self.heights_um - nominal)[known]))
        rises = np.where(known, self.heights_um - start, nominal)
        return np.asarray(rises * 1e3 / self.pixel_nm, np.float64)

    def line_integrals(self) -> NDArray[np.float32]:
        """Return -ln of the transmission (n, row, column), float32, each frame by the flats and the beam of its time.

        Raises
        ------
        NoTomogramError
            There is no usable frame.
        FileFormatError
            There are no flats or no darks.
        """
        from exitwave.analysis.tomography.attenuation import line_integrals

        series = self.to_series()
        return line_integrals(series.frames, series.flats, series.darks, **self.light.arguments())

    def reconstruct(
        self,
        path: str | Path,
        recipe: Recipe | None = None,
        *,
        overwrite: bool = False,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Result:
        """Correct, find the axis, reconstruct, and write the volume; see `exitwave.analysis.tomography`.

        Parameters
        ----------
        path
            Of the HDF5 volume.
        recipe : Recipe, optional
            What is done; all defaults without it.
        overwrite : bool
            Whether a file of that name may be replaced.
        progress : callable, optional
            Called with (what is done, how much of it, out of how much).

        Raises
        ------
        NoTomogramError, FileExistsError, AnalysisError
        """
        from exitwave.analysis.tomography import Recipe, reconstruct_series

        recipe = recipe or Recipe()
        helical = self.rises_px
        if helical is not None and recipe.centre_px is None:
            # no two of its pictures show the same slices: the alignment before the run has to do
            recipe = replace(recipe, centre_px=self.centre_px, tilt_deg=self.tilt_deg or recipe.tilt_deg)
        return reconstruct_series(
            self.to_series(),
            path,
            recipe,
            light=self.light,
            rises_px=helical,
            source_uid=self.uid,
            overwrite=overwrite,
            progress=progress,
        )

    def to_series(self) -> Series:
        """Return what the writers of `exitwave.analysis.io` take.

        Raises
        ------
        NoTomogramError
            There is no usable frame.
        """
        if self.frames is None:
            raise NoTomogramError(f"run {self.uid[:8]}: no usable projection; resume the run")
        sample = self.start.get("sample", "")
        title = sample.get("name", "") if isinstance(sample, dict) else str(sample)
        return Series(
            frames=self.frames,
            flats=self.flats,
            darks=self.darks,
            angles_deg=self.angles_deg,
            energy_kev=self.energy_kev,
            pixel_nm=self.pixel_nm,
            exposure_s=self.exposure_s,
            title=title or self.uid,
        )

    def close(self) -> None:
        """Let go of the files."""
        self._files.close()

    def __enter__(self) -> Tomogram:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _joined(parts: Sequence[StreamRows], name: str) -> NDArray[np.float64]:
    return np.concatenate([getattr(rows, name) for rows in parts]) if parts else np.empty(0)


def _choose(
    parts: Sequence[StreamRows], asked: NDArray[np.float64], tolerance: float
) -> tuple[NDArray[np.intp], list[str]]:
    """Return which angle each frame is (-1 for none), and why some are none."""
    angles = _joined(parts, "angles_deg")
    reasons = [""] * len(angles)
    usable = angles.copy()
    at = 0
    for rows in parts:
        least = LEAST_BEAM * ring_at_start(rows.run)
        for i in np.flatnonzero(rows.ring_ma < least):
            usable[at + i] = np.nan
            reasons[at + i] = f"ring current {rows.ring_ma[i]:.3g} mA, below {least:.3g} mA"
        at += rows.num
    for i in np.flatnonzero(~np.isfinite(angles)):
        reasons[i] = "its angle is not recorded"
    found = match_angles(asked, usable, tolerance)
    anywhere = np.array([len(asked) > 0 and bool(np.min(np.abs(asked - a)) <= tolerance) for a in usable], bool)
    for i in np.flatnonzero((found < 0) & np.isfinite(usable)):
        reasons[i] = "angle taken before" if anywhere[i] else "angle not asked for"
    return found, reasons


class _Monitor:
    """The ion chamber between its readings, over all runs."""

    def __init__(self, chain: Sequence[RunReader]) -> None:
        times, ratios = [], []
        for run in chain:
            keys = run.start.get("beam_monitor", {})
            if not keys or "beam" not in run.streams:
                continue
            stream = run.stream("beam")
            current, ring = stream.columns.get(keys["intensity"], []), stream.columns.get(keys["ring"], [])
            for when, i0, stored in zip(stream.time, current, ring, strict=False):
                if stored:
                    times.append(when)
                    ratios.append(i0 / stored)
        order = np.argsort(times)
        self._times, self._ratios = np.asarray(times)[order], np.asarray(ratios)[order]

    def at(self, times_s: NDArray[np.float64], ring_ma: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the current at each time, A."""
        if not len(self._times):
            return np.full(len(times_s), np.nan)
        return np.asarray(np.interp(times_s, self._times, self._ratios) * ring_ma)


def open_tomogram(key: str | int = -1, *, data: DataFolder | None = None) -> Tomogram:
    """Open the tomogram that a run took or went on with, found as by `open_run`.

    Raises
    ------
    NoTomogramError
        The run is none.
    RunNotFoundError, FramesMissingError
    """
    data = data or data_folder()
    chain = list(run_chain(key, data))
    if "tomography" not in chain[0].start:
        raise NoTomogramError(
            f"run {chain[0].uid[:8]}: a {chain[0].start.get('plan_name', 'run')} is no tomogram; open_run reads it"
        )
    shared = chain[0].start.get("references_from")
    return Tomogram(chain, open_run(shared, data=data, source="journal") if shared else None)


class TomogramFinder(ChainFinder):
    """Tells plans how far a tomogram has come."""

    def progress(self, uid: str | int) -> Progress:
        """Return how far the tomogram that this run belongs to has come."""
        from exitwave.plans.instrument import Progress

        with open_tomogram(uid, data=self._data) as tomogram:
            return Progress(tomogram.start, tomogram.missing, tomogram.flats is not None, tomogram.darks is not None)
