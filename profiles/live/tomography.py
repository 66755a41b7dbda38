"""Live tomography: slices as they grow, a preview volume when the last frame is in."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from exitwave.analysis import figures
from exitwave.analysis.live.tomography import LiveTomography

__all__ = ["TomographyView"]


CLOCKS_S = 5.0
"""Most by which the document of a frame comes after it."""
BUDGET_S = 0.25
"""Longest that slices are worked on before a picture, for each of the axes they stand about."""


class TomographyView:
    """Draws `LiveTomography`."""

    def __init__(self) -> None:
        self._router = LiveTomography()
        self._picture: figures.SlicesPicture | None = None
        self._forget()
        self._begin = 0.0
        _warm_up()

    def _forget(self) -> None:
        self._shown = 0
        self._first_s: float | None = None
        self._last_frame_at = 0.0
        self._preview: dict[str, Any] = {}
        self._previewed = 0
        self._told_waiting = 0

    def accepts(self, start: Mapping[str, Any]) -> bool:
        """Whether the run is part of a tomogram."""
        if "xanes" in start:
            return False  # energies at every angle are followed as spectra
        return "tomography" in start or "tomography" in str(start.get("plan_name", ""))

    def needs(self, start: Mapping[str, Any]) -> str | None:
        """Return the run that this one goes on with, or takes its flats from, if it has not been heard."""
        return self._router.needs(start)

    def take(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document."""
        if name == "start":
            self._forget()
            self._begin = float(doc["time"])
            self._picture = None
        before = self._router.projections
        self._router(name, doc)
        if self._router.projections != before:
            self._last_frame_at = time.time()

    def show(self, folder: Path, uid: str) -> dict[str, Any] | None:
        """Draw the slices if projections came since the last time."""
        router = self._router
        slices = router.slices(BUDGET_S) if router.projections > self._shown or router.waiting else None
        if slices is None:
            if router.waiting == self._told_waiting:
                return None
            self._told_waiting = router.waiting
            return {"waiting_for_flats": router.waiting, "expected": router.expected}
        self._shown = slices.projections
        self._draw(
            (slices.axial, slices.coronal, slices.sagittal),
            folder / f"{uid[:8]}-live.png",
            f"{uid[:8]}: {slices.projections} of {slices.expected} projections, axis at column "
            f"{slices.axis.centre:.2f} {_words(slices.axis.centre_sd)} ({slices.axis.source})",
        )
        if self._first_s is None:
            self._first_s = time.time() - self._begin
        return self._figures()

    def _draw(self, planes: Sequence[npt.NDArray[np.float32]], path: Path, title: str) -> None:
        if self._picture is None:
            self._picture = figures.SlicesPicture(voxel_nm=self._router.voxel_nm)
        axial, coronal, sagittal = planes
        self._picture.draw(axial, coronal, sagittal, path, title=title)

    def idle(self, folder: Path, uid: str) -> dict[str, Any] | None:
        """Make the preview as soon as all projections are there; what is left of the run are references."""
        router = self._router
        if not 0 < router.expected <= router.projections or self._previewed == router.projections:
            return None
        self._make_preview(folder, uid)
        return self._figures()

    def finish(self, folder: Path, uid: str) -> dict[str, Any]:
        """Make the preview if there is none of all projections."""
        if self._previewed != self._router.projections:
            self._make_preview(folder, uid)
        return self._figures()

    def _make_preview(self, folder: Path, uid: str) -> None:
        """Reconstruct and write the preview volume, and draw its slices."""
        self._previewed = self._router.projections
        found = self._router.preview()
        if found is None:
            return
        volume, geometry = found
        path = folder / f"{uid[:8]}-preview.h5"
        middle = [n // 2 for n in volume.shape]
        planes = [volume[middle[0]].copy(), volume[:, middle[1], :].copy(), volume[:, :, middle[2]].copy()]
        volume *= np.float32(1e3 / self._router.voxel_nm)
        with h5py.File(path, "w") as file:
            data = file.create_dataset("entry/volume", data=volume)
            data.attrs.update(units="1/um", voxel_nm=self._router.voxel_nm, centre_px=geometry.centre, run=uid)
        end = time.time()
        taken_at = self._router.last_frame_s
        # by the frame's own timestamp, unless that is of another clock or of an older measurement
        waited_s = end - (taken_at if 0.0 <= self._last_frame_at - taken_at < CLOCKS_S else self._last_frame_at)
        self._draw(planes, folder / f"{uid[:8]}-live.png", f"{uid[:8]}: preview, {self._previewed} projections")
        self._preview = {"preview": str(path), "last_frame_to_volume_s": round(waited_s, 2)}

    def _figures(self) -> dict[str, Any]:
        axis = self._router.axis()
        return {
            "projections": self._router.projections,
            "waiting_for_flats": self._router.waiting,
            "expected": self._router.expected,
            "axis_px": axis.centre,
            "axis_sd_px": axis.centre_sd if np.isfinite(axis.centre_sd) else None,
            "axis_source": axis.source,
            "voxel_nm": self._router.voxel_nm,
            "first_slices_s": None if self._first_s is None else round(self._first_s, 2),
            **self._preview,
        }


def _warm_up() -> None:
    """Compile and import what the first picture and the preview need, before there is anything to draw."""
    router = LiveTomography(max_width=32)
    router("start", {"uid": "", "camera": "camera", "num_points": 8})
    frames = np.full((8, 64, 64), 1000, np.uint16)
    for stream in ("dark", "flat", "primary"):
        level = np.uint16(stream != "dark") * frames
        router.frames_arrived(stream, "camera", level, {"camera_theta": np.linspace(0.0, 160.0, 8)})
    slices = router.slices()
    router.preview()
    if slices is not None:
        picture = figures.SlicesPicture(voxel_nm=1.0)
        with tempfile.TemporaryDirectory() as folder:
            picture.draw(slices.axial, slices.coronal, slices.sagittal, Path(folder) / "nothing.png")


def _words(sd_px: float) -> str:
    return f"± {sd_px:.2f}" if np.isfinite(sd_px) else "± ?"
