"""Tiles cut out of a picture give the picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.analysis.errors import ShapeError
from exitwave.analysis.stitching import stitch_tiles


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
