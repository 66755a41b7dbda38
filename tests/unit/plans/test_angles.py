"""Angles in their order, and how a frame's angle is told from its neighbours'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitwave.analysis.matching import match_angles
from exitwave.plans.pure.angles import even_segments, projection_angles, tolerance_deg
from exitwave.plans.pure.positions import PlanInputError

orders = st.sampled_from(["sequential", "interlaced", "golden"])


@given(st.floats(-180, 180), st.sampled_from([180.0, 360.0, -180.0]), st.integers(1, 300), orders, st.integers(1, 16))
def test_any_order_visits_a_range_once_and_stays_in_it(
    start: float, span: float, num: int, order: Any, passes: int
) -> None:
    angles = projection_angles(start, start + span, num, order=order, interlaces=passes)
    assert len(np.unique(np.round(angles, 9))) == num
    along = (angles - start) / span
    assert along.min() >= -1e-9
    assert along.max() < 1.0


def test_interlaced_is_the_sequence_in_another_order() -> None:
    plain = projection_angles(0, 180, 90)
    mixed = projection_angles(0, 180, 90, order="interlaced", interlaces=4)
    np.testing.assert_allclose(np.sort(mixed), plain)
    assert mixed[0] == 0.0
    assert mixed[1] == pytest.approx(8.0)
    # After two of four passes the range is covered evenly: bit reversal begins with 0, 2 of 0 .. 3.
    half = np.sort(np.concatenate([plain[0::4], plain[2::4]]))
    np.testing.assert_allclose(np.sort(mixed[: len(half)]), half)


@given(st.integers(2, 400))
def test_golden_angles_leave_gaps_of_at_most_three_lengths(num: int) -> None:
    # The three-gap theorem (V. T. Sos, 1958).
    angles = np.sort(projection_angles(0, 180, num, order="golden"))
    gaps = np.diff(np.concatenate([angles, [180.0]]))
    assert len(np.unique(np.round(gaps, 6))) <= 3


def test_a_wedge_is_left_out() -> None:
    angles = projection_angles(-90, 90, 180, exclude_deg=[(-91, -70), (70, 91)])
    assert angles.min() == -70.0
    assert angles.max() == 70.0
    assert len(angles) == 141


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 180, 0), "num_projections"),
        ((0, 0, 10), "stop_deg"),
        ((float("nan"), 180, 10), "start_deg"),
        ((0, float("inf"), 10), "stop_deg"),
    ],
)
def test_what_is_no_range_is_refused_in_one_line(arguments: Any, words: str) -> None:
    with pytest.raises(PlanInputError, match=words) as caught:
        projection_angles(*arguments)
    assert "\n" not in str(caught.value)


def test_an_exclusion_of_everything_is_refused() -> None:
    with pytest.raises(PlanInputError, match="nothing is left"):
        projection_angles(0, 180, 10, exclude_deg=[(-1, 181)])
    with pytest.raises(PlanInputError, match="does not rise"):
        projection_angles(0, 180, 10, exclude_deg=[(90, 80)])


@given(st.integers(1, 200), st.lists(st.integers(0, 199), max_size=40))
def test_segments_are_even_and_together_whole(num: int, lost: list[int]) -> None:
    angles = np.delete(np.arange(num) * 0.9, [i for i in set(lost) if i < num])
    if not len(angles):
        return
    parts = even_segments(angles)
    np.testing.assert_array_equal(np.concatenate(parts), angles)
    for part in parts:
        if len(part) > 2:
            np.testing.assert_allclose(np.diff(part), part[1] - part[0], rtol=1e-9)


def test_a_gap_cuts_a_pass_in_two() -> None:
    angles = np.array([0.0, 1.0, 2.0, 5.0, 6.0])
    assert [list(part) for part in even_segments(angles)] == [[0.0, 1.0, 2.0], [5.0, 6.0]]


@given(st.integers(1, 100), st.randoms(use_true_random=False), orders)
def test_frames_find_their_angles_in_any_order_and_once(num: int, random: Any, order: Any) -> None:
    asked = projection_angles(0, 180, num, order=order)
    tolerance = tolerance_deg(asked)
    which = random.sample(range(num), k=random.randint(1, num))
    measured = asked[which] + np.array([random.uniform(-0.99, 0.99) for _ in which]) * tolerance
    np.testing.assert_array_equal(match_angles(asked, measured, tolerance), which)
    # Taken twice, the first counts; far off or unread, none does.
    again = match_angles(asked, np.concatenate([measured, measured, [1e3, np.nan]]), tolerance)
    np.testing.assert_array_equal(again[: len(which)], which)
    assert (again[len(which) :] == -1).all()
