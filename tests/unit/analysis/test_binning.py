"""Means over blocks against numpy's own, and what can't be cut into blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.analysis.binning import block_mean
from exitwave.analysis.errors import ShapeError


@settings(max_examples=40, deadline=None)
@given(
    factors=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    extra=st.integers(0, 3),
    kind=st.sampled_from([np.uint8, np.uint16, np.float32, np.float64, np.int64]),
)
def test_equals_the_means_of_numpy(factors: list[int], extra: int, kind: type[np.generic]) -> None:
    shape = tuple(3 * factor + min(extra, factor - 1) for factor in factors)
    data: np.ndarray = np.random.default_rng(5).integers(0, 200, shape).astype(kind)
    cut = data[tuple(slice(0, 3 * factor) for factor in factors)]
    split = cut.reshape([n for factor in factors for n in (3, factor)])
    expected = split.mean(axis=tuple(range(1, 2 * len(factors), 2)))
    found = block_mean(data, factors)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_view_that_is_not_contiguous() -> None:
    data = np.arange(64.0).reshape(8, 8)
    np.testing.assert_array_equal(block_mean(data[:, ::-1], (2, 2)), block_mean(data, (2, 2))[:, ::-1])


@pytest.mark.parametrize("factors", [(2,), (0, 1), (9, 1), (1, 1, 1)])
def test_blocks_that_do_not_fit(factors: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="blocks"):
        block_mean(np.zeros((8, 8)), factors)
