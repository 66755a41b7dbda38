"""Registration of images whose shift was put in."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from exitwave.analysis.errors import FitError, ShapeError
from exitwave.analysis.registration import register, shift_image


@pytest.fixture
def scene(rng: np.random.Generator, scenes: ModuleType) -> np.ndarray:
    """Larger than the view, so that shifting brings in what was outside."""
    blobs = scenes.lens(rng.normal(0, 1, (320, 340)), 20.0)
    return 1.0 + 0.3 * blobs / blobs.std()


def view(scene: np.ndarray, dy: float, dx: float) -> np.ndarray:
    return shift_image(scene, dy, dx)[40:-40, 40:-40]


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.31, -0.77), (5.5, 12.25), (-31.4, 20.9)])
def test_subpixel_shift_with_photon_noise(
    rng: np.random.Generator, scene: np.ndarray, shift: tuple[float, float]
) -> None:
    a = rng.poisson(np.maximum(view(scene, 0, 0), 0) * 1000)
    b = rng.poisson(np.maximum(view(scene, *shift), 0) * 800)
    found = register(a, b)
    assert (found.dy, found.dx) == pytest.approx(shift, abs=0.03)
    assert abs(found.dy - shift[0]) < 4 * found.dy_sd + 0.01
    assert found.dy_sd < 0.05
    back = register(b, a)
    assert (back.dy, back.dx) == pytest.approx((-found.dy, -found.dx), abs=0.02)


def test_stated_uncertainty_is_the_real_one(rng: np.random.Generator, scene: np.ndarray) -> None:
    a0, b0 = np.maximum(view(scene, 0, 0), 0), np.maximum(view(scene, 0.4, -0.3), 0)
    runs = [register(rng.poisson(a0 * 20), rng.poisson(b0 * 20)) for _ in range(12)]
    pulls = np.array([(r.dy - 0.4) / r.dy_sd for r in runs] + [(r.dx + 0.3) / r.dx_sd for r in runs])
    assert 0.4 < np.sqrt(np.mean(pulls**2)) < 2.0


def test_contrast_may_change_across_an_edge(rng: np.random.Generator, scene: np.ndarray) -> None:
    a = view(scene, 0, 0)
    b = 0.4 * view(scene, 3.2, -1.6) + 0.1 * np.linspace(0, 1, 260)[None, :]
    found = register(a + rng.normal(0, 0.02, a.shape), b + rng.normal(0, 0.02, a.shape))
    assert (found.dy, found.dx) == pytest.approx((3.2, -1.6), abs=0.05)


def test_dead_pixels(rng: np.random.Generator, scene: np.ndarray) -> None:
    a, b = view(scene, 0, 0), view(scene, 2.25, 0.5)
    dead = rng.random(a.shape) < 0.002
    found = register(np.where(dead, np.nan, a), np.where(dead, np.nan, b))
    assert (found.dy, found.dx) == pytest.approx((2.25, 0.5), abs=0.03)


def test_nothing_in_common_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(FitError, match="stand out"):
        register(rng.normal(0, 1, (128, 128)), rng.normal(0, 1, (128, 128)))
    with pytest.raises(ShapeError, match="differ"):
        register(np.zeros((64, 64)), np.zeros((64, 65)))


def test_whole_pixel_shift_is_a_roll(rng: np.random.Generator) -> None:
    image = rng.normal(0, 1, (32, 33)).astype(np.float32)
    np.testing.assert_allclose(shift_image(image, 3, -5), np.roll(image, (3, -5), axis=(0, 1)), atol=1e-5)
