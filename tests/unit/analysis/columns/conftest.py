"""Maps of columns whose truth is known: written here, from nothing of the analysis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest


@dataclass
class Scene:
    """Expected counts, and what they were made from (pixels)."""

    expected: np.ndarray
    positions: np.ndarray
    height: np.ndarray
    fwhm: np.ndarray
    pedestal: float
    kind: np.ndarray


def make_scene(
    side: int | tuple[int, int],
    *,
    spacing: float = 20.0,
    fwhm: float | tuple[float, float] = 10.0,
    height: tuple[float, float] = (100.0, 100.0),
    pedestal: float = 90.0,
    spread: np.ndarray | float = 0.0,
    tilt: float = 0.06,
) -> Scene:
    """A chess board of two kinds of columns, slightly turned; `spread` is added to the widths."""
    rows, cols = (side, side) if isinstance(side, int) else side
    h, k = (g.ravel() for g in np.mgrid[:rows, :cols])
    y = 0.8 * spacing + spacing * (h + tilt * k)
    x = 0.8 * spacing + spacing * (k + tilt * (rows - 1 - h))
    kind = (h + k) % 2
    pair = (fwhm, fwhm) if isinstance(fwhm, int | float) else fwhm
    width = np.where(kind == 0, pair[0], pair[1]) + spread
    tall = np.where(kind == 0, height[0], height[1]).astype(float)
    shape = (int(y.max() + 0.8 * spacing), int(x.max() + 0.8 * spacing))
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    image = np.full(shape, float(pedestal))
    for cy, cx, a, w in zip(y, x, tall, width, strict=True):
        image += a * np.exp(-4 * np.log(2) * ((yy - cy) ** 2 + (xx - cx) ** 2) / w**2)
    return Scene(image, np.column_stack([y, x]), tall, width, pedestal, kind)


@pytest.fixture
def scene() -> Callable[..., Scene]:
    return make_scene
