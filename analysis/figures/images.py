"""One image as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import ShapeError, require_positive
from exitwave.analysis.figures.canvas import INK, draw_image, new_figure, save

__all__ = ["image_figure"]


def image_figure(
    image: npt.NDArray[Any],
    path: str | Path,
    *,
    pixel_nm: float,
    label: str = "transmission",
    title: str = "",
    limits: tuple[float, float] | None = None,
    colours: str = "gray",
) -> Path:
    """Write an image as PNG with scale bar, colour bar and a title line.

    Parameters
    ----------
    image : array (y, x)
        NaN pixels stay white.
    path : where the PNG goes
    pixel_nm : float
        Pixel at the sample.
    label : str
        What the colours mean, with its unit.
    limits : (low, high), optional
        Of the colours; the 0.5th and 99.5th percentile if not given.
    colours : str
        A matplotlib colour map.

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    pixel = require_positive("pixel", pixel_nm, "nm")
    image = np.asarray(image)
    if image.ndim != 2:
        raise ShapeError(f"image: expected (y, x), got shape {image.shape}")
    figure = new_figure(5.6, 5.6 * min(1.6, max(0.5, image.shape[0] / image.shape[1])) * 0.88)
    axes = figure.subplots()
    draw_image(figure, axes, image, pixel, label, limits, colours)
    if title:
        axes.set_title(title, fontsize=9, color=INK, loc="left")
    return save(figure, path)
