"""Live tomography: slices as they grow, a preview volume when the last frame is in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from exitwave.analysis import figures
from exitwave.analysis.live.tomography import LiveTomography

__all__ = ["TomographyView"]


class TomographyView:
    """Draws `LiveTomography`."""

    def __init__(self) -> None:
        self._router = LiveTomography()
        self._shown = 0
        self._begin = 0.0
        self._first_s: float | None = None
        self._last_frame_at = 0.0

    def accepts(self, start: Mapping[str, Any]) -> bool:
        """Whether the plan is one of tomography."""
        return "tomography" in str(start.get("plan_name", ""))

    def take(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document."""
        if name == "start":
            self._shown, self._first_s, self._begin = 0, None, float(doc["time"])
        before = self._router.projections
        self._router(name, doc)
        if self._router.projections != before:
            self._last_frame_at = time.time()

    def show(self, folder: Path, uid: str) -> dict[str, Any] | None:
        """Draw the slices if projections came since the last time."""
        slices = self._router.slices() if self._router.projections > self._shown else None
        if slices is None:
            return None
        self._shown = slices.projections
        figures.slices_figure(
            slices.axial,
            slices.coronal,
            slices.sagittal,
            folder / f"{uid[:8]}-live.png",
            voxel_nm=slices.voxel_nm,
            title=f"{uid[:8]}: {slices.projections} of {slices.expected} projections, axis at column "
            f"{slices.axis.centre_px:.2f} {_words(slices.axis.sd_px)} ({slices.axis.source})",
        )
        if self._first_s is None:
            self._first_s = time.time() - self._begin
        return self._figures()

    def finish(self, folder: Path, uid: str) -> dict[str, Any]:
        """Reconstruct and write the preview volume, and draw its slices."""
        found = self._router.preview()
        if found is None:
            return self._figures()
        volume, geometry = found
        path = folder / f"{uid[:8]}-preview.h5"
        with h5py.File(path, "w") as file:
            data = file.create_dataset("entry/volume", volume.shape, np.float32, chunks=(1, *volume.shape[1:]))
            data.attrs.update(units="1/um", voxel_nm=self._router.voxel_nm, centre_px=geometry.centre, run=uid)
            data[...] = volume * np.float32(1e3 / self._router.voxel_nm)
        waited_s = time.time() - self._last_frame_at
        middle = [n // 2 for n in volume.shape]
        figures.slices_figure(
            volume[middle[0]],
            volume[:, middle[1], :],
            volume[:, :, middle[2]],
            folder / f"{uid[:8]}-live.png",
            voxel_nm=self._router.voxel_nm,
            title=f"{uid[:8]}: preview, {self._router.projections} projections",
        )
        return self._figures() | {"preview": str(path), "last_frame_to_volume_s": round(waited_s, 2)}

    def _figures(self) -> dict[str, Any]:
        axis = self._router.axis()
        return {
            "projections": self._router.projections,
            "expected": self._router.expected,
            "axis_px": axis.centre_px,
            "axis_sd_px": axis.sd_px if np.isfinite(axis.sd_px) else None,
            "axis_source": axis.source,
            "voxel_nm": self._router.voxel_nm,
            "first_slices_s": None if self._first_s is None else round(self._first_s, 2),
        }


def _words(sd_px: float) -> str:
    return f"± {sd_px:.2f}" if np.isfinite(sd_px) else "± ?"
