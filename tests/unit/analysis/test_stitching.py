"""Tiles cut out of a picture give the picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.analysis.errors import FitError, ShapeError
from exitwave.analysis.stitching import register_tiles, stitch_tiles


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 20), st.integers(0, 2**31))
def test_tiles_of_a_picture_give_it_back(columns: int, rows: int, overlap: int, seed: int) -> None:
    height, width = 24, 32
    step_y, step_x = height - overlap, width - overlap
    whole = np.random.default_rng(seed).random(
        (height + (rows - 1) * step_y, width + (columns - 1) * step_x), np.float32
    )
    places = [(row * step_y, column * step_x) for row in range(rows) for column in range(columns)]
    tiles = [whole[y : y + height, x : x + width] for y, x in places]
    np.testing.assert_allclose(stitch_tiles(tiles, places), whole, rtol=1e-5)


def test_a_step_between_tiles_becomes_a_ramp_and_dead_pixels_are_filled_by_the_other() -> None:
    left, right = np.ones((10, 20), np.float32), np.full((10, 20), 3.0, np.float32)
    right[5, 2] = np.nan
    out = stitch_tiles([left, right], [(0, 0), (0, 10)])
    assert out.shape == (10, 30)
    assert (np.diff(out[4]) >= 0).all()
    assert np.diff(out[4]).max() < 1.0
    assert out[5, 12] == 1.0


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(ShapeError, match="0 tiles"):
        stitch_tiles([], [])
    with pytest.raises(ShapeError, match="differ"):
        stitch_tiles([np.ones((2, 2)), np.ones((2, 3))], [(0, 0), (0, 1)])


def _scene(random: np.random.Generator, side: int) -> np.ndarray:
    """Return the transform of a picture whose structures are some pixels wide."""
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    return np.fft.rfft2(random.normal(size=(side, side))) * np.exp(-0.5 * (f / 0.1) ** 2)


def _moved(transform: np.ndarray, dy: float, dx: float) -> np.ndarray:
    side = transform.shape[0]
    turn = np.fft.fftfreq(side)[:, None] * dy + np.fft.rfftfreq(side)[None, :] * dx
    return np.fft.irfft2(transform * np.exp(-2j * np.pi * turn))


def test_places_are_found_to_a_tenth_of_a_pixel_and_their_deviations_hold() -> None:
    """Four tiles that stand some pixels off, six views of each with noise as strong as the structures."""
    random = np.random.default_rng(11)
    tile, step, side = 192, 128, 384
    nominal = [(float(y), float(x)) for y in (0, step) for x in (0, step)]
    hidden = random.normal(0.0, 2.0, (4, 2))
    views = [_scene(random, side) for _ in range(6)]
    level = float(np.std(_moved(views[0], 0.0, 0.0)))
    stacks, exact = [], []
    for (y, x), (dy, dx) in zip(nominal, hidden, strict=True):
        pictures = [_moved(view, -dy, -dx)[24 + int(y) :, 24 + int(x) :][:tile, :tile] for view in views]
        exact.append(pictures[0])
        stacks.append(np.stack(pictures) + random.normal(0.0, level, (6, tile, tile)))
    found = register_tiles(stacks, nominal)
    error = np.array(found.places_px) - np.array(nominal) - (hidden - hidden.mean(axis=0))
    assert found.pairs == 6
    assert np.abs(error).max() < 0.1
    assert np.abs(error / found.sd_px).max() < 4.0
    # and without noise they are the scene, in one picture
    whole = stitch_tiles(exact, found.places_px)
    # the places' mean stays, so all stands off by it; the picture begins at the whole pixel next to its first tile
    y, x = np.rint(np.min(found.places_px, axis=0)) + hidden.mean(axis=0)
    scene = _moved(views[0], -y, -x)[24:, 24:][: tile + step, : tile + step]
    inside = (slice(8, tile + step - 8),) * 2
    assert np.corrcoef(whole[inside].ravel(), scene[inside].ravel())[0, 1] > 0.99


def test_tiles_that_show_nothing_in_common_are_refused() -> None:
    stacks = np.random.default_rng(0).normal(size=(2, 1, 64, 64))
    with pytest.raises(FitError, match="stand alone"):
        register_tiles(list(stacks), [(0.0, 0.0), (0.0, 60.0)])
