"""Tomography while the projections arrive: three orthogonal slices, the rotation axis, and a preview at the end.

Filtered back-projection is a sum over projections, so each one is filtered and smeared into three planes once; the
whole volume is made when the last frame is in. When the axis turns out to be elsewhere, planes about the new one are
made beside those that are shown, some projections at a time, and take their place when they are as far. Large frames
are binned first: what is looked at live is at most `max_width` wide.

The axis is found from the centre of mass: whatever stands wholly in the field of view has a centre of mass that
runs on centre + a cos(theta) + b sin(theta), by the definition of the Radon transform's first moment.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

from exitwave.analysis.binning import block_mean
from exitwave.analysis.compiled import over_blocks
from exitwave.analysis.errors import AnalysisError
from exitwave.analysis.live._plane_kernels import add_to_axial, add_to_upright
from exitwave.analysis.live.router import LiveRouter
from exitwave.analysis.tomography import CentreEstimate, Geometry, centre_from_moments, reconstruct
from exitwave.analysis.tomography.filters import filter_response, padded_length

__all__ = ["LiveCentre", "LiveSlices", "LiveTomography"]

Image = npt.NDArray[np.float32]

_RECENTRE_PX = 0.5
_CONDITION = 67.0
"""Of the axis' fit: an arc of 50 deg."""
_MARGIN_PX = 8


@dataclass(frozen=True)
class LiveCentre(CentreEstimate):
    """Column of the rotation axis and its standard deviation, pixels of the live frames; where it comes from."""

    source: str


@dataclass(frozen=True)
class LiveSlices:
    """What is known after some projections.

    Attributes
    ----------
    axial, coronal, sagittal : float32
        Slices (z, x), (row, x) and (row, z) through the middle, 1/pixel of the live frames.
    voxel_nm : float
        Voxel of the live frames.
    axis : LiveCentre
        As of now; the slices stand about a column that is up to half a pixel off, or more while others are made.
    projections, expected : int
        How many are in the slices, and how many were asked for.
    """

    axial: Image
    coronal: Image
    sagittal: Image
    voxel_nm: float
    axis: LiveCentre
    projections: int
    expected: int


class _Planes:
    """Three slices (z, x), (row, x), (row, z) about a column, as far as `done` projections."""

    def __init__(self, shape: tuple[int, int], centre: float) -> None:
        rows, width = shape
        self.centre = centre
        self.axial = np.zeros((width, width), np.float32)
        self.coronal = np.zeros((rows, width), np.float32)
        self.sagittal = np.zeros((rows, width), np.float32)
        self.done = 0

    def add(self, log: Image, angle_deg: float) -> None:
        """Filter a projection of -ln(transmission) and smear it into the slices."""
        filtered = _ramp(log)
        along, across = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
        add_to_axial(self.axial, filtered[filtered.shape[0] // 2], along, across, self.centre)

        def upright(first: int, last: int) -> None:
            add_to_upright(self.coronal, filtered, along, self.centre, first, last)
            add_to_upright(self.sagittal, filtered, across, self.centre, first, last)

        over_blocks(upright, filtered.shape[0], 128)
        self.done += 1


class LiveTomography(LiveRouter):
    """Follows a run with the streams ``dark``, ``flat`` and ``primary`` of one camera.

    A run that resumes the one before goes on with its projections; one that refers to another's flats and darks
    (``references_from``) takes those. `needs` says which run that is, if it is another than the last: its documents
    have to be heard first. Projections without flats wait for them, as where they are taken afterwards.

    Parameters
    ----------
    max_width : int
        Frames are binned until they are not wider.
    """

    def __init__(self, max_width: int = 512) -> None:
        super().__init__()
        self._max_width = max_width
        self._chain = ""
        self._tolerance_deg: float | None = None
        self._references_of = ""
        self._sums: dict[str, tuple[npt.NDArray[np.float64], int]] = {}
        self._reset()

    def _reset(self) -> None:
        self._flat: Image | None = None
        self._dark: Image | None = None
        self._stack: npt.NDArray[np.float16] | None = None
        self._count = 0
        self._angles: list[float] = []
        self._centroids: list[float] = []
        self._shown: _Planes | None = None
        self._next: _Planes | None = None
        self._binning = 1
        self._last_s = math.nan
        self._held: list[tuple[npt.NDArray[np.uint16], float]] = []
        self._settled = True

    def needs(self, start: Mapping[str, Any]) -> str | None:
        """Return the uid of the run whose documents have to be heard before those of this one; None for none."""
        first = start.get("resumes")
        if first is not None and str(first) != self._chain:
            return str(first)
        shared = start.get("references_from")
        if first is None and shared is not None and str(shared) != self._references_of:
            return str(shared)
        return None

    def run_started(self, start: Mapping[str, Any]) -> None:
        """Begin anew, or go on with the run that is resumed."""
        if self._chain and str(start.get("resumes")) == self._chain:
            return
        self._reset()
        self._chain = str(start.get("uid", ""))
        shared = start.get("references_from")
        if shared is None or str(shared) != self._references_of:
            self._sums, self._references_of = {}, self._chain
        tolerance = start.get("tomography", {}).get("tolerance_deg")
        self._tolerance_deg = None if tolerance is None else float(tolerance)
        self._expected = int(start.get("num_points", 0))
        self._camera = str(start.get("camera", ""))
        self._pixel_nm = float(start.get("pixel_size_nm", 1.0))

    @property
    def projections(self) -> int:
        """How many came."""
        return self._count

    @property
    def waiting(self) -> int:
        """How many projections wait for flats."""
        return len(self._held)

    @property
    def expected(self) -> int:
        """How many were asked for."""
        return self._expected

    @property
    def voxel_nm(self) -> float:
        """Voxel of what is looked at live."""
        return self._pixel_nm * self._binning

    @property
    def last_frame_s(self) -> float:
        """When the last projection was taken by the file's own timestamp, s since 1970; NaN if there is none."""
        return self._last_s

    def frames_arrived(
        self, stream: str, key: str, frames: npt.NDArray[Any], attributes: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        """Take frames of the camera."""
        if key != self._camera:
            return
        self._binning = max(1, -(-frames.shape[2] // self._max_width))
        small = block_mean(frames, (1, self._binning, self._binning))
        if stream in ("dark", "flat"):
            if self._count:
                return  # those after the projections are for the reconstruction that is made later
            total, count = self._sums.get(stream, (np.zeros(small.shape[1:]), 0))
            self._sums[stream] = (total + small.sum(axis=0, dtype=np.float64), count + len(small))
            self._settled = False
        elif stream == "primary":
            for image, angle in zip(small, attributes[f"{key}_theta"], strict=True):
                if "flat" in self._sums:
                    self._add(image, float(angle))
                else:
                    self._held.append((np.round(image).astype(np.uint16), float(angle)))
            if f"{key}_timestamp" in attributes:
                self._last_s = float(np.max(attributes[f"{key}_timestamp"]))

    def _take_held(self, *, now: bool = False) -> None:
        """Take what waited for flats, once no more of these came between two looks (or `now`)."""
        settled, self._settled = self._settled, True
        if not self._held or "flat" not in self._sums or not (settled or now):
            return
        held, self._held = self._held, []
        for image, angle in held:
            self._add(image.astype(np.float32), angle)

    def _references(self, shape: tuple[int, int]) -> tuple[Image, Image]:
        if self._flat is None or self._dark is None:
            dark, number = self._sums.get("dark", (np.zeros(shape), 1))
            self._dark = (dark / number).astype(np.float32)
            flat, number = self._sums["flat"]
            self._flat = np.maximum(flat / number - self._dark, 1.0).astype(np.float32)
        return self._dark, self._flat

    def _add(self, image: Image, angle_deg: float) -> None:
        dark, flat = self._references((image.shape[0], image.shape[1]))
        if self._stack is None:
            self._stack = np.empty((max(self._expected, 1), *image.shape), np.float16)
        if self._count >= len(self._stack) or self._is_there(angle_deg):
            return
        log = np.subtract(image, dark)
        log /= flat
        np.clip(log, 1e-3, 1e3, out=log)
        np.log(log, out=log)
        np.negative(log, out=log)
        self._stack[self._count] = log
        self._angles.append(angle_deg)
        self._centroids.append(_centroid(log))
        self._count += 1

    def _is_there(self, angle_deg: float) -> bool:
        """Whether a frame of this angle came before: what was taken twice counts once."""
        if self._tolerance_deg is None or not self._angles:
            return False
        return bool(np.min(np.abs(np.asarray(self._angles) - angle_deg)) <= self._tolerance_deg)

    def axis(self) -> LiveCentre:
        """Return where the rotation axis is, as far as the projections tell."""
        centroids = np.asarray(self._centroids)
        good = np.isfinite(centroids)
        try:
            found = centre_from_moments(np.asarray(self._angles)[good], centroids[good], condition=_CONDITION)
        except AnalysisError:
            found = None  # too few by now
        if found is not None and found.centre_sd < 1.0:
            return LiveCentre(found.centre, found.centre_sd, "centre of mass")
        given = self.start.get("rotation_axis", {}).get("centre_px")
        if given is not None:
            return LiveCentre((float(given) + 0.5) / self._binning - 0.5, math.nan, "alignment")
        width = 0 if self._stack is None else self._stack.shape[2]
        return LiveCentre(0.5 * (width - 1), math.nan, "middle of the frame")

    def slices(self, budget_s: float = math.inf) -> LiveSlices | None:
        """Return the three slices with what came since the last call; None before anything came.

        Parameters
        ----------
        budget_s : float
            About how long this may take: what is left over is done by the next call. Other planes about an axis that
            turned out to be more than half a pixel away take so long again.
        """
        self._take_held()
        if self._stack is None:
            return None
        axis, shape = self.axis(), (self._stack.shape[1], self._stack.shape[2])
        if self._shown is None:
            self._shown = _Planes(shape, axis.centre)
        newest = self._next or self._shown
        if abs(axis.centre - newest.centre) > _RECENTRE_PX:
            self._next = _Planes(shape, axis.centre)
        self._go_on(self._shown, budget_s)
        if self._next is not None:
            self._go_on(self._next, budget_s)
            if self._next.done >= self._shown.done:
                self._shown, self._next = self._next, None
        planes = self._shown
        weight = np.float32(self._share(planes.done))
        return LiveSlices(
            planes.axial * weight,
            planes.coronal * weight,
            planes.sagittal * weight,
            self.voxel_nm,
            axis,
            planes.done,
            max(self._expected, self._count),
        )

    def _share(self, count: int) -> float:
        """Return the angle, rad, that each of the first so many projections stands for."""
        if count == 1:
            return math.pi / max(self._expected, 1)
        covered = float(np.ptp(self._angles[:count])) * count / (count - 1)
        return math.radians(min(covered, 180.0)) / count

    def _go_on(self, planes: _Planes, budget_s: float) -> None:
        """Add projections that are not in yet, one at least."""
        if self._stack is None:
            return
        until = time.monotonic() + budget_s
        while planes.done < self._count:
            planes.add(self._stack[planes.done].astype(np.float32), self._angles[planes.done])
            if time.monotonic() > until:
                return

    def preview(self) -> tuple[npt.NDArray[np.float32], Geometry] | None:
        """Reconstruct the volume (row, z, x) at the live size, 1/pixel, and return it with its geometry."""
        self._take_held(now=True)
        if self._stack is None or self._count < 3:
            return None
        geometry = Geometry(np.asarray(self._angles), self._stack.shape[2], self.axis().centre)
        return reconstruct(self._stack[: self._count], geometry), geometry


def _centroid(log: Image) -> float:
    """Return the column of the centre of mass above what the columns at either side show; NaN without any mass."""
    profile = log.sum(axis=0, dtype=np.float64)
    margin = min(_MARGIN_PX, len(profile) // 8)
    profile -= np.concatenate([profile[:margin], profile[-margin:]]).mean()
    mass = float(profile.sum())
    return float(profile @ np.arange(len(profile))) / mass if mass > 0.0 else math.nan


@lru_cache(maxsize=2)
def _response(width: int) -> tuple[int, Image]:
    """Return length and transform of the ramp for rows so wide."""
    length = padded_length(width)
    return length, filter_response(length).astype(np.float32)


def _ramp(log: Image) -> Image:
    length, response = _response(log.shape[1])
    spectrum = fft.rfft(log, length, axis=1, workers=-1)
    spectrum *= response
    return np.asarray(fft.irfft(spectrum, length, axis=1, overwrite_x=True, workers=-1)[:, : log.shape[1]], np.float32)
