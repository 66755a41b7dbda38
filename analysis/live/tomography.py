"""Tomography while the projections arrive: three orthogonal slices, the rotation axis, and a preview at the end.

Filtered back-projection is a sum over projections, so each one is filtered and smeared into three planes once,
when it comes; the whole volume is made when the last frame is in. Large frames are binned first: what is looked at
live is at most `max_width` wide.

The axis is found from the centre of mass: whatever stands wholly in the field of view has a centre of mass that
runs on centre + a cos(theta) + b sin(theta), by the definition of the Radon transform's first moment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

from exitwave.analysis.compiled import over_blocks
from exitwave.analysis.live._plane_kernels import add_to_axial, add_to_upright
from exitwave.analysis.live.router import LiveRouter
from exitwave.analysis.tomography import Geometry, reconstruct

__all__ = ["AxisEstimate", "LiveSlices", "LiveTomography", "axis_from_moments"]

Image = npt.NDArray[np.float32]

_RECENTRE_PX = 0.5
_LEAST_ARC_DEG = 50.0


@dataclass(frozen=True)
class AxisEstimate:
    """Column of the rotation axis and its standard deviation, pixels of the live frames; where it comes from."""

    centre_px: float
    sd_px: float
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
    axis : AxisEstimate
    projections, expected : int
        How many came, of how many.
    """

    axial: Image
    coronal: Image
    sagittal: Image
    voxel_nm: float
    axis: AxisEstimate
    projections: int
    expected: int


def axis_from_moments(angles_deg: npt.NDArray[np.float64], centroid_px: npt.NDArray[np.float64]) -> AxisEstimate | None:
    """Fit centre + a cos + b sin to centres of mass; None while the arc is too short to tell.

    Parameters
    ----------
    angles_deg, centroid_px : float64 (n,)
        Column of the centre of mass at each angle.
    """
    if angles_deg.size < 5 or float(np.ptp(angles_deg)) < _LEAST_ARC_DEG:
        return None
    turn = np.radians(angles_deg)
    design = np.stack([np.ones_like(turn), np.cos(turn), np.sin(turn)], axis=1)
    solution, *_ = np.linalg.lstsq(design, centroid_px, rcond=None)
    rest = centroid_px - design @ solution
    variance = float(rest @ rest) / (angles_deg.size - 3)
    covariance = np.linalg.inv(design.T @ design) * variance
    return AxisEstimate(float(solution[0]), math.sqrt(float(covariance[0, 0])), "centre of mass")


class LiveTomography(LiveRouter):
    """Follows a run with the streams ``dark``, ``flat`` and ``primary`` of one camera.

    Parameters
    ----------
    max_width : int
        Frames are binned until they are not wider.
    """

    def __init__(self, max_width: int = 512) -> None:
        super().__init__()
        self._max_width = max_width
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, tuple[npt.NDArray[np.float64], int]] = {}
        self._flat: Image | None = None
        self._dark: Image | None = None
        self._stack: npt.NDArray[np.float16] | None = None
        self._count = 0
        self._angles: list[float] = []
        self._centroids: list[float] = []
        self._planes: tuple[Image, Image, Image] | None = None
        self._centre_used: float | None = None
        self._binning = 1

    def run_started(self, start: Mapping[str, Any]) -> None:
        """Begin anew."""
        self._reset()
        self._expected = int(start.get("num_points", 0))
        self._camera = str(start.get("camera", ""))
        self._pixel_nm = float(start.get("pixel_size_nm", 1.0))

    @property
    def projections(self) -> int:
        """How many came."""
        return self._count

    @property
    def expected(self) -> int:
        """How many were asked for."""
        return self._expected

    @property
    def voxel_nm(self) -> float:
        """Voxel of what is looked at live."""
        return self._pixel_nm * self._binning

    def frames_arrived(
        self, stream: str, key: str, frames: npt.NDArray[Any], attributes: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        """Take frames of the camera."""
        if key != self._camera:
            return
        width = frames.shape[2]
        self._binning = max(1, -(-width // self._max_width))
        small = [_binned(frame, self._binning) for frame in frames]
        if stream in ("dark", "flat"):
            if self._count:
                return  # those after the projections are for the reconstruction that is made later
            total, count = self._sums.get(stream, (np.zeros(small[0].shape), 0))
            for image in small:
                total += image
            self._sums[stream] = (total, count + len(small))
        elif stream == "primary":
            angles = attributes[f"{key}_theta"]
            for image, angle in zip(small, angles, strict=True):
                self._add(image, float(angle))

    def _references(self, shape: tuple[int, int]) -> tuple[Image, Image]:
        if self._flat is None or self._dark is None:
            dark, number = self._sums.get("dark", (np.zeros(shape), 1))
            self._dark = (dark / number).astype(np.float32)
            flat, number = self._sums.get("flat", (np.ones(shape), 1))
            self._flat = np.maximum(flat / number - self._dark, 1.0).astype(np.float32)
        return self._dark, self._flat

    def _add(self, image: Image, angle_deg: float) -> None:
        dark, flat = self._references((image.shape[0], image.shape[1]))
        if self._stack is None:
            rows = max(self._expected, 1)
            self._stack = np.empty((rows, *image.shape), np.float16)
            n = image.shape[1]
            self._planes = (
                np.zeros((n, n), np.float32),
                np.zeros((image.shape[0], n), np.float32),
                np.zeros((image.shape[0], n), np.float32),
            )
        if self._count >= self._stack.shape[0]:
            return
        log = -np.log(np.clip((image - dark) / flat, 1e-3, 1e3))
        self._stack[self._count] = log
        mass = float(log.sum())
        columns = np.arange(log.shape[1], dtype=np.float64)
        centroid = float(log.sum(axis=0) @ columns) / mass if mass > 0.0 else math.nan
        self._angles.append(angle_deg)
        self._centroids.append(centroid)
        self._count += 1
        if self._centre_used is None:
            self._centre_used = self.axis().centre_px
        self._smear(log, angle_deg)

    def _smear(self, log: Image, angle_deg: float) -> None:
        if self._planes is None or self._centre_used is None:
            return
        axial, coronal, sagittal = self._planes
        filtered = _ramp(log)
        along, across = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
        centre = self._centre_used
        add_to_axial(axial, filtered[filtered.shape[0] // 2], along, across, centre)

        def upright(first: int, last: int) -> None:
            add_to_upright(coronal, filtered, along, centre, first, last)
            add_to_upright(sagittal, filtered, across, centre, first, last)

        over_blocks(upright, filtered.shape[0], 128)

    def axis(self) -> AxisEstimate:
        """Return where the rotation axis is, as far as the projections tell."""
        given = self.start.get("rotation_axis", {}).get("centre_px")
        width = 0 if self._stack is None else self._stack.shape[2]
        centroids = np.asarray(self._centroids)
        good = np.isfinite(centroids)
        found = axis_from_moments(np.asarray(self._angles)[good], centroids[good]) if good.any() else None
        if found is not None and found.sd_px < 1.0:
            return found
        if given is not None:
            return AxisEstimate((float(given) + 0.5) / self._binning - 0.5, math.nan, "alignment")
        return AxisEstimate(0.5 * (width - 1), math.nan, "middle of the frame")

    def slices(self) -> LiveSlices | None:
        """Return the three slices as of now, recentred if the axis turned out to be elsewhere; None before any."""
        if self._stack is None or self._planes is None or self._centre_used is None:
            return None
        axis = self.axis()
        if abs(axis.centre_px - self._centre_used) > _RECENTRE_PX:
            self._centre_used = axis.centre_px
            for plane in self._planes:
                plane[:] = 0.0
            for log, angle in zip(self._stack[: self._count], self._angles, strict=True):
                self._smear(log.astype(np.float32), angle)
        covered = min(float(np.ptp(self._angles)) * self._count / max(self._count - 1, 1), 360.0)
        weight = np.float32(math.pi * min(covered / 180.0, 1.0) / self._count)
        axial, coronal, sagittal = (plane * weight for plane in self._planes)
        return LiveSlices(axial, coronal, sagittal, self.voxel_nm, axis, self._count, max(self._expected, self._count))

    def preview(self) -> tuple[npt.NDArray[np.float32], Geometry] | None:
        """Reconstruct the volume (row, z, x) at the live size, 1/pixel, and return it with its geometry."""
        if self._stack is None or self._count < 3:
            return None
        geometry = Geometry(np.asarray(self._angles), self._stack.shape[2], self.axis().centre_px)
        return reconstruct(self._stack[: self._count].astype(np.float32), geometry), geometry


def _binned(frame: npt.NDArray[Any], binning: int) -> Image:
    """Mean over squares of pixels; what does not fill a square is left out."""
    if binning == 1:
        return frame.astype(np.float32)
    rows, cols = (n // binning * binning for n in frame.shape)
    blocks = frame[:rows, :cols].reshape(rows // binning, binning, cols // binning, binning)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))


def _ramp(log: Image) -> Image:
    """Filter rows by the band-limited ramp (A. C. Kak, M. Slaney, Computerized Tomographic Imaging, eq. 3.61)."""
    n = log.shape[1]
    padded = fft.next_fast_len(2 * n, real=True)
    kernel = np.zeros(padded, np.float32)
    kernel[0] = 0.25
    odd = np.arange(1, padded // 2, 2)
    kernel[odd] = kernel[-odd] = -1.0 / (math.pi * odd) ** 2
    response = fft.rfft(kernel).real.astype(np.float32)
    spectrum = fft.rfft(log, padded, axis=1, workers=-1)
    spectrum *= response
    return np.asarray(fft.irfft(spectrum, padded, axis=1, workers=-1)[:, :n], np.float32)
