"""Figures are written whole, and hold what they should."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitwave.analysis.errors import OutOfRangeError, ShapeError
from exitwave.analysis.figures import curve_figure, focus_figure, image_figure, resolution_figure, scale_bar_nm
from exitwave.analysis.resolution import measure_resolution
from exitwave.analysis.sharpness import fit_focus


def png_size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


@given(st.floats(10.0, 1e7))
def test_scale_bar_is_round_and_fits(width: float) -> None:
    bar = scale_bar_nm(width)
    assert 0.12 * width < bar < 0.42 * width
    mantissa = bar / 10 ** math.floor(math.log10(bar) + 1e-9)
    assert min(abs(mantissa - m) for m in (1, 2, 5)) < 1e-6


def test_image(tmp_path: Path, rng: np.random.Generator) -> None:
    image = rng.normal(1, 0.1, (64, 96))
    image[3, 4] = np.nan
    path = image_figure(image, tmp_path / "a.png", pixel_nm=10, title="a title")
    assert min(png_size(path)) > 300
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(ShapeError):
        image_figure(image[0], tmp_path / "b.png", pixel_nm=10)
    with pytest.raises(ShapeError, match="finite"):
        image_figure(np.full((8, 8), np.nan), tmp_path / "b.png", pixel_nm=10)
    with pytest.raises(OutOfRangeError, match="pixel"):
        image_figure(image, tmp_path / "b.png", pixel_nm=0)


def test_report_and_curves(tmp_path: Path, rng: np.random.Generator, scenes: ModuleType) -> None:
    image = scenes.photons(scenes.lens(scenes.star(256, supersample=2), 30), 500, rng)
    report = measure_resolution(image, 10.0, n_spokes=36)
    assert min(png_size(resolution_figure(image, report, tmp_path / "r.png", title="star"))) > 700
    z = np.linspace(-40, 40, 11)
    sharp = np.exp(-((z / 20) ** 2))
    png_size(focus_figure(z, sharp, fit_focus(z, sharp), tmp_path / "f.png"))
    png_size(curve_figure(z, sharp, tmp_path / "c.png", x_label="z", y_label="s", mark=0.0))
