"""Slices of a volume as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import ShapeError, require_positive
from exitwave.analysis.figures.canvas import INK, draw_image, new_figure, save

__all__ = ["slices_figure"]


def slices_figure(
    axial: npt.NDArray[Any],
    coronal: npt.NDArray[Any],
    sagittal: npt.NDArray[Any],
    path: str | Path,
    *,
    voxel_nm: float,
    title: str = "",
    label: str = "attenuation (1/µm)",
    limits: tuple[float, float] | None = None,
) -> Path:
    """Write three orthogonal slices of a volume side by side, with one colour scale, scale bars and colour bars.

    Parameters
    ----------
    axial, coronal, sagittal : array (z, x), (row, x), (row, z)
        Attenuation per pixel.
    path : where the PNG goes
    voxel_nm : float
    limits : (low, high), optional
        Of the colours, 1/um; from the slices without it.

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    voxel = require_positive("voxel", voxel_nm, "nm")
    planes = [np.asarray(plane, np.float32) * np.float32(1e3 / voxel) for plane in (axial, coronal, sagittal)]
    if any(plane.ndim != 2 for plane in planes):
        raise ShapeError(f"slices: expected three (y, x) arrays, got {[plane.shape for plane in planes]}")
    if limits is None:
        # of the middle: outside the circle that every projection saw there is nothing to look at
        middle = [
            p[p.shape[0] // 8 : -(p.shape[0] // 8) or None, p.shape[1] // 8 : -(p.shape[1] // 8) or None]
            for p in planes
        ]
        low, high = np.percentile(np.concatenate([m.ravel() for m in middle]), [0.5, 99.8])
        limits = (float(low), float(max(high, low + 1e-6)))
    figure = new_figure(13.0, 4.3)
    for axes, plane, name in zip(
        figure.subplots(1, 3), planes, ("axial (z, x)", "coronal (row, x)", "sagittal (row, z)"), strict=True
    ):
        draw_image(figure, axes, plane, voxel, label, limits, "gray")
        axes.set_title(name, fontsize=8.5, color=INK, loc="left")
    if title:
        figure.suptitle(title, fontsize=10, color=INK, x=0.01, ha="left")
    return save(figure, path)
