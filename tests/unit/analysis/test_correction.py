"""Correction against plain float64 numpy and against what was injected."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.analysis.correction import (
    FlatField,
    dead_pixels,
    flat_field,
    mean_frames,
    minus_log,
    region_beam,
    remove_zingers,
    remove_zingers_temporal,
)
from exitwave.analysis.errors import OutOfRangeError, ShapeError

# float32 rounds three times (difference, gain, product): 1.5 units of 2^-23 relative
ROUNDING = 1.5 * 2.0**-23


def plain(raw: np.ndarray, flat: np.ndarray, dark: np.ndarray) -> np.ndarray:
    r, f, d = (np.asarray(a, np.float64) for a in (raw, flat, dark))
    return (r - d) / (f - d)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_equals_float64_to_rounding(rng: np.random.Generator, dtype: type) -> None:
    raw: np.ndarray = rng.integers(0, 65536, (3, 70, 65)).astype(dtype)
    flat = rng.integers(1000, 65536, (70, 65)).astype(np.uint16)
    dark = rng.integers(90, 110, (70, 65)).astype(np.uint16)
    expected = plain(raw, flat, dark)
    got = flat_field(raw, flat, dark)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=ROUNDING, atol=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 65535), st.integers(0, 65535), st.integers(0, 65535), st.floats(0.1, 10))
def test_property_of_one_pixel(flat: int, dark: int, raw: int, ratio: float) -> None:
    def as16(v: int) -> np.ndarray:
        return np.full((3, 3), v, np.uint16)

    got = flat_field(as16(raw), as16(flat), as16(dark), beam_raw=1.0, beam_flat=ratio)[1, 1]
    if flat <= dark:
        assert math.isnan(got)
    else:
        assert got == pytest.approx((raw - dark) / (flat - dark) * ratio, rel=4e-7)


def test_in_place_and_preallocated(rng: np.random.Generator) -> None:
    raw = rng.uniform(100, 200, (2, 8, 9)).astype(np.float32)
    flat, dark = np.full((8, 9), 300.0), np.full((8, 9), 50.0)
    expected = plain(raw, flat, dark)
    again = flat_field(raw, flat, dark, raw)
    assert again is raw
    np.testing.assert_allclose(raw, expected, rtol=ROUNDING)
    float64: Any = np.empty((2, 8, 9))
    with pytest.raises(ShapeError, match="out"):
        flat_field(raw, flat, dark, float64)


def test_dead_pixels_are_nan_or_what_was_asked() -> None:
    flat = np.array([[10.0, 5.0, 4.0], [np.nan, 10.0, np.inf]])
    dark = np.full((2, 3), 5.0)
    raw = np.full((2, 3), 7.0, np.float32)
    expected_dead = np.array([[False, True, True], [True, False, True]])
    np.testing.assert_array_equal(dead_pixels(flat, dark), expected_dead)
    np.testing.assert_array_equal(np.isnan(flat_field(raw, flat, dark)), expected_dead)
    filled = flat_field(raw, flat, dark, fill=1.0)
    np.testing.assert_array_equal(filled[expected_dead], 1.0)
    np.testing.assert_allclose(filled[~expected_dead], 0.4)


def test_beam_decay_is_divided_out(rng: np.random.Generator) -> None:
    beam = np.array([1.0, 0.9, 0.8])
    truth = rng.uniform(0.2, 1.0, (16, 16))
    raw = (truth * 20000 * beam[:, None, None] + 100).astype(np.float32)
    flat = np.full((16, 16), 20100.0)
    got = flat_field(raw, flat, 100.0, beam_raw=beam, beam_flat=np.array([1.0, 1.0]))
    np.testing.assert_allclose(got, np.broadcast_to(truth, got.shape), rtol=1e-6)
    with pytest.raises(ShapeError, match="neither"):
        flat_field(raw, flat, 100.0, beam_raw=beam)
    with pytest.raises(OutOfRangeError, match="-1"):
        flat_field(raw, flat, 100.0, beam_raw=-1.0, beam_flat=1.0)
    with pytest.raises(ShapeError, match="3 frames"):
        flat_field(raw, flat, 100.0, beam_raw=np.array([1.0, 2.0]), beam_flat=1.0)


def test_region_of_empty_beam() -> None:
    raw = np.zeros((2, 8, 8), np.uint16)
    raw[0, :2, :2], raw[1, :2, :2] = 1100, 600
    region = (slice(0, 2), slice(0, 2))
    np.testing.assert_array_equal(region_beam(raw, 100.0, region), [1000.0, 500.0])
    np.testing.assert_array_equal(region_beam(raw, np.full((8, 8), 100.0), region), [1000.0, 500.0])
    with pytest.raises(OutOfRangeError, match="> 0"):
        region_beam(raw, 100.0, (slice(4, 6), slice(4, 6)))
    with pytest.raises(ShapeError, match="empty"):
        region_beam(raw, 100.0, (slice(8, 9), slice(0, 2)))


def test_streaming_frames(rng: np.random.Generator) -> None:
    flat, dark = rng.uniform(500, 600, (5, 12, 10)), rng.uniform(0, 10, (4, 12, 10))
    correct = FlatField(flat, dark)
    frame = rng.uniform(0, 600, (12, 10)).astype(np.float32)
    np.testing.assert_allclose(correct(frame), plain(frame, flat.mean(0), dark.mean(0)), rtol=1e-5, atol=1e-6)
    with pytest.raises(ShapeError, match="does not fit"):
        correct(frame[:5])


def test_minus_log_with_floor() -> None:
    t = np.array([[1.0, math.exp(-2.0), 0.0, -0.1, np.nan]], np.float32)
    depth = minus_log(t, floor=1e-3)
    np.testing.assert_allclose(depth[0, :4], [0.0, 2.0, -math.log(1e-3), -math.log(1e-3)], atol=1e-6)
    assert math.isnan(depth[0, 4])
    assert minus_log(t, t, floor=1e-3) is t


def test_mean_rejects_zingers_and_nothing_else(rng: np.random.Generator) -> None:
    clean = rng.poisson(1000, (12, 64, 64)).astype(np.uint16)
    dirty = clean.copy()
    dirty[3, 10, 10] = 60000
    dirty[7, 20, 20] = 0
    expected = clean.mean(axis=0)
    expected[10, 10] = np.delete(clean[:, 10, 10], 3).mean()
    expected[20, 20] = np.delete(clean[:, 20, 20], 7).mean()
    got = mean_frames(iter(dirty))
    differs = np.abs(got - expected) > 0.01
    assert not differs[10, 10]
    assert not differs[20, 20]
    assert differs.mean() < 0.01  # Poisson tails at six standard deviations of ten values
    np.testing.assert_allclose(mean_frames(dirty, reject_sigma=None), dirty.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(mean_frames(clean[:3]), clean[:3].mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("n", [4, 6, 20])
def test_mean_frames_throws_no_normal_noise_away(n: int) -> None:
    frames = np.random.default_rng(n).normal(1000.0, 10.0, (n, 200, 200))
    assert float(mean_frames(frames).std()) == pytest.approx(10.0 / math.sqrt(n), rel=0.02)


def test_mean_needs_frames_of_one_shape() -> None:
    with pytest.raises(ShapeError, match="none"):
        mean_frames([])
    with pytest.raises(ShapeError, match="after"):
        mean_frames([np.zeros((2, 2)), np.zeros((2, 3))])


def test_spatial_zingers(rng: np.random.Generator) -> None:
    _, x = np.mgrid[:96, :96]
    scene = 1000 * (1 + 0.5 * np.sign(np.sin((x + 3) / 5.0)))  # sharp edges must survive
    clean = rng.poisson(scene).astype(np.float32)
    dirty = clean.copy()
    hits = [(10, 10), (40, 50), (41, 50), (95, 0), (0, 30)]
    for hit in hits:
        dirty[hit] += 20000
    cleaned, n = remove_zingers(dirty)
    assert n == len(hits)
    assert max(abs(cleaned[h] - clean[h]) for h in hits) < 1000
    untouched = np.ones_like(clean, bool)
    untouched[tuple(np.transpose(hits))] = False
    np.testing.assert_array_equal(cleaned[untouched], clean[untouched])
    again, n = remove_zingers(dirty, dirty)
    assert again is dirty
    assert n == len(hits)


def test_temporal_zingers(rng: np.random.Generator) -> None:
    clean = rng.poisson(1000, (6, 32, 32)).astype(np.float32)
    dirty = clean.copy()
    for hit in [(0, 3, 3), (2, 5, 5), (3, 6, 6), (5, 8, 8)]:
        dirty[hit] += 5000
    assert remove_zingers_temporal(dirty) == 4
    assert np.abs(dirty - clean).max() < 300
    with pytest.raises(ShapeError, match="n >= 3"):
        remove_zingers_temporal(dirty[:2])
