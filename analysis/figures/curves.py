"""Scans as curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.figures.canvas import BLUE, INK, RED, legend, new_figure, save, tidy

if TYPE_CHECKING:
    from exitwave.analysis.sharpness import FocusFit

__all__ = ["curve_figure", "focus_figure"]


def focus_figure(
    z: npt.NDArray[Any],
    sharpness: npt.NDArray[Any],
    fit: FocusFit,
    path: str | Path,
    *,
    unit: str = "µm",
    title: str = "Through focus",
) -> Path:
    """Write a sharpness curve with its fit and the best position as PNG."""
    figure = new_figure(4.8, 3.2)
    axes = figure.subplots()
    order = np.argsort(z)
    axes.plot(np.asarray(z)[order], np.asarray(sharpness)[order], "o", ms=3.5, color=BLUE, label="measured")
    axes.plot(np.asarray(z)[order], fit.model[order], color=INK, lw=1.0, label="fit")
    axes.axvline(fit.best, color=RED, lw=1.0, label=f"best {fit.best:.2f} ± {fit.best_sd:.2f} {unit}")
    tidy(axes, f"position ({unit})", "sharpness", title)
    legend(axes)
    return save(figure, path)


def curve_figure(
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    path: str | Path,
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    mark: float | None = None,
    mark_label: str = "",
) -> Path:
    """Write a scan (points joined by a line), perhaps with a marked position, as PNG."""
    figure = new_figure(4.8, 3.2)
    axes = figure.subplots()
    axes.plot(x, y, "-o", ms=2.5, lw=0.8, color=BLUE)
    if mark is not None:
        axes.axvline(mark, color=RED, lw=1.0, label=mark_label or f"{mark:g}")
        legend(axes)
    tidy(axes, x_label, y_label, title)
    return save(figure, path)
