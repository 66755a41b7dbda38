"""Line integrals from raw frames whose transmission, flat, dark and beam are known."""

from __future__ import annotations

import numpy as np
import pytest

from exitwave.analysis.errors import FileFormatError, ShapeError
from exitwave.analysis.tomography.attenuation import FlatGroups, line_integrals

SHAPE = (40, 50)
DARK = 100.0


def scene(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return two flats (before, after; dark subtracted) and the line integrals of a wedge."""
    before = 4000.0 * (1.0 + 0.1 * random.standard_normal(SHAPE))
    after = before * (1.0 + 0.05 * random.standard_normal(SHAPE))
    wedge = np.broadcast_to(np.linspace(0.0, 2.0, SHAPE[1]), SHAPE)
    return before, after, wedge


def test_flats_before_and_after_are_weighted_by_time() -> None:
    random = np.random.default_rng(1)
    before, after, wedge = scene(random)
    times = np.linspace(10.0, 110.0, 11)
    frames = [DARK + ((110.0 - t) / 100.0 * before + (t - 10.0) / 100.0 * after) * np.exp(-wedge) for t in times]
    flats = [DARK + before] * 4 + [DARK + after] * 4
    flat_times = np.concatenate([10.0 + np.linspace(-0.3, 0.3, 4), 110.0 + np.linspace(-0.3, 0.3, 4)])
    found = line_integrals(
        frames, flats, [np.full(SHAPE, DARK)] * 3, times_s=times, flat_times_s=flat_times, zinger_sigma=None
    )
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.broadcast_to(wedge, found.shape), atol=2e-5)
    alone = line_integrals(frames, flats[:4], [np.full(SHAPE, DARK)] * 3, zinger_sigma=None)
    assert np.abs(alone[-1] - wedge).max() > 0.05  # what the second group is for


def test_flats_are_grouped_by_what_was_taken_between_them() -> None:
    """A pause among flats alone makes no group of them: the few after it would be noisy."""
    times = np.array([0.0, 1.0, 2.0, 50.0, 51.0, 58.0, 59.0])
    flats = [np.full(SHAPE, DARK + t) for t in times]
    dark = np.full(SHAPE, DARK, np.float32)
    assert len(FlatGroups(flats, dark, times).means) == 3
    together = FlatGroups(flats, dark, times, between_s=np.linspace(5.0, 45.0, 20))
    assert together.times_s.tolist() == [1.0, 54.5]


def test_the_beam_is_taken_out() -> None:
    random = np.random.default_rng(2)
    before, _, wedge = scene(random)
    beam = np.linspace(1.0, 0.7, 5)
    frames = [DARK + b * before * np.exp(-wedge) for b in beam]
    flats = [DARK + b * before for b in (1.1, 0.9)]
    found = line_integrals(
        frames,
        flats,
        [np.full(SHAPE, DARK)],
        intensity=2e-9 * beam,
        flat_intensity=2e-9 * np.array([1.1, 0.9]),
        zinger_sigma=None,
    )
    np.testing.assert_allclose(found, np.broadcast_to(wedge, found.shape), atol=2e-5)


def test_an_unknown_beam_is_left_out() -> None:
    flats = [np.full(SHAPE, DARK + 1000.0)]
    found = line_integrals(
        [np.full(SHAPE, DARK + 500.0)],
        flats,
        [np.full(SHAPE, DARK)],
        intensity=np.array([np.nan]),
        flat_intensity=np.array([np.nan]),
        zinger_sigma=None,
    )
    np.testing.assert_allclose(found, np.log(2.0), rtol=1e-6)


def test_a_reading_that_is_missing_leaves_the_others_theirs() -> None:
    beam = np.linspace(1.0, 0.6, 5)
    read = beam.copy()
    read[2] = np.nan
    found = line_integrals(
        [np.full(SHAPE, DARK + 500.0 * b) for b in beam],
        [np.full(SHAPE, DARK + 1000.0)] * 2,
        [np.full(SHAPE, DARK)],
        intensity=read,
        flat_intensity=np.array([1.0, np.nan]),
        zinger_sigma=None,
    )
    np.testing.assert_allclose(found, np.log(2.0), rtol=1e-5)


def test_readings_of_other_frames_are_refused() -> None:
    flat, dark = np.full(SHAPE, DARK + 1000.0), np.full(SHAPE, DARK)
    with pytest.raises(ShapeError, match="intensity"):
        line_integrals([flat] * 3, [flat], [dark], intensity=np.ones(2), zinger_sigma=None)


def test_zingers_are_replaced() -> None:
    random = np.random.default_rng(3)
    frame = random.poisson(1000.0, SHAPE).astype(np.float64) + DARK
    frame[20, 25] = 60000.0
    found = line_integrals([frame], [np.full(SHAPE, DARK + 1000.0)], [np.full(SHAPE, DARK)])
    assert abs(found[0, 20, 25]) < 0.2


@pytest.mark.parametrize(
    ("flats", "darks", "word"), [([], [np.zeros(SHAPE)], "flats"), ([np.ones(SHAPE)], [], "darks")]
)
def test_references_are_needed(flats: list[np.ndarray], darks: list[np.ndarray], word: str) -> None:
    with pytest.raises(FileFormatError, match=f"no {word}"):
        line_integrals([np.ones(SHAPE)], flats, darks)


def test_groups_by_gaps_in_time() -> None:
    times = np.array([0.0, 1.0, 2.0, 50.0, 51.0, 52.0, 100.0, 101.0])
    groups = FlatGroups([np.full(SHAPE, 10.0 + t) for t in times], np.zeros(SHAPE, np.float32), times)
    np.testing.assert_allclose(groups.times_s, [1.0, 51.0, 100.5])
    np.testing.assert_allclose(groups.at(26.0), 36.0)
    np.testing.assert_allclose(groups.at(-5.0), 11.0)
    np.testing.assert_allclose(groups.at(200.0), 110.5)
