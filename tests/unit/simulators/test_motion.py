"""The closed formulas of motion."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitwave.simulators.records.motion import Axis, AxisErrors, stop_segments, travel_segments

positions = st.floats(-1000, 1000, allow_nan=False)
speeds = st.floats(0.1, 100)
accelerations = st.floats(0.1, 1000)


@given(positions, st.floats(-100, 100), positions, speeds, accelerations)
def test_travel_is_continuous_and_ends_at_rest_on_target(start, velocity, target, speed, acceleration):
    segments = travel_segments(3.0, start, velocity, target, speed=speed, acceleration=acceleration)
    scale = 1.0 + abs(start) + abs(target) + velocity**2 / acceleration
    if not segments:
        assert abs(target - start) < 1e-300  # the time for it underflows
        return
    assert segments[0].start_s == 3.0
    assert segments[0].position == start
    assert segments[-1].at(segments[-1].end_s) == pytest.approx(target, abs=1e-8 * scale)
    for before, after in itertools.pairwise(segments):
        assert before.end_s == pytest.approx(after.start_s, abs=1e-9)
        assert before.at(before.end_s) == pytest.approx(after.position, abs=1e-8 * scale)
        ending = before.velocity + before.acceleration * before.duration_s
        assert ending == pytest.approx(after.velocity, abs=1e-6 * (1 + speed + abs(velocity)))
    last = segments[-1]
    assert last.velocity + last.acceleration * last.duration_s == pytest.approx(0.0, abs=1e-6 * (1 + speed))
    fastest = max(abs(segment.velocity) for segment in segments)
    assert fastest <= max(speed, abs(velocity)) * (1 + 1e-9)


@given(positions, st.floats(-100, 100).filter(lambda v: abs(v) > 1e-6), accelerations)
def test_stopping_distance(position, velocity, acceleration):
    segments = stop_segments(0.0, position, velocity, acceleration)
    travelled = segments[-1].at(segments[-1].end_s) - position
    assert travelled == pytest.approx(velocity * abs(velocity) / (2 * acceleration), rel=1e-9, abs=1e-9)


def test_trapezoid_time_is_distance_over_speed_plus_ramp():
    axis = Axis(0.0)
    assert axis.move(1.0, 100.0, speed=500.0, acceleration=5000.0) == pytest.approx(1.0 + 0.2 + 0.1)
    assert axis.position(1.15) == pytest.approx(50.0)
    assert axis.position(0.5) == 0.0
    assert axis.position(10.0) == pytest.approx(100.0)


def test_a_short_move_is_a_triangle():
    axis = Axis(0.0)
    assert axis.move(0.0, 10.0, speed=500.0, acceleration=5000.0) == pytest.approx(2 * math.sqrt(10 / 5000))


def test_retarget_keeps_position_and_velocity():
    axis = Axis(0.0)
    axis.move(0.0, 100.0, speed=10.0, acceleration=10.0)
    before, speed = axis.position(5.0), axis.velocity(5.0)
    axis.move(5.0, -100.0, speed=10.0, acceleration=10.0)
    assert axis.position(5.0) == pytest.approx(before)
    assert axis.velocity(5.0) == pytest.approx(speed)
    assert axis.position(5.3) > before
    assert axis.position(1e4) == pytest.approx(-100.0)
    # The past stays what it was.
    assert axis.position(2.0) == pytest.approx(15.0)


def test_backlash_goes_beyond_and_comes_back():
    axis = Axis(10.0)
    axis.move(0.0, 5.0, speed=1.0, acceleration=10.0, backlash=0.5)
    lowest = min(axis.position(0.01 * step) for step in range(2000))
    assert lowest == pytest.approx(4.5, abs=1e-3)
    assert axis.position(100.0) == pytest.approx(5.0)


@pytest.mark.parametrize(("first", "true"), [(-10.0, 4.9), (10.0, 5.1)])
def test_lost_motion_depends_on_the_approach(first, true):
    axis = Axis(0.0, AxisErrors(lost_motion=0.2))
    axis.move(0.0, first, speed=10.0, acceleration=100.0)
    axis.move(50.0, 5.0, speed=10.0, acceleration=100.0)
    assert axis.drive(100.0) == pytest.approx(5.0)
    assert axis.position(100.0) == pytest.approx(true)


def test_backlash_approach_cures_lost_motion():
    axis = Axis(0.0, AxisErrors(lost_motion=0.2))
    found = []
    for t, first in ((0.0, -10.0), (100.0, 10.0)):
        axis.move(t, first, speed=10.0, acceleration=100.0, backlash=1.0)
        axis.move(t + 50.0, 5.0, speed=10.0, acceleration=100.0, backlash=1.0)
        found.append(axis.position(t + 90.0))
    assert found[0] == pytest.approx(found[1], abs=1e-12)


def test_servo_holds_the_reading_so_the_truth_is_off_by_the_encoder_error():
    axis = Axis(0.0, AxisErrors(encoder_error=lambda x: 1e-3 * x))
    axis.move(0.0, 10.0, speed=10.0, acceleration=100.0)
    true = axis.position(50.0)
    assert true + 1e-3 * true == pytest.approx(10.0, abs=1e-7)


def test_halt_stands_still_at_once():
    axis = Axis(0.0)
    axis.move(0.0, 100.0, speed=10.0, acceleration=10.0)
    axis.halt(5.0)
    assert axis.position(6.0) == axis.position(5.0)
    assert axis.end_s == pytest.approx(5.0)


def test_stop_decelerates():
    axis = Axis(0.0)
    axis.move(0.0, 100.0, speed=10.0, acceleration=10.0)
    assert axis.stop(5.0, 10.0) == pytest.approx(6.0)
    assert axis.position(10.0) == pytest.approx(axis.position(5.0) + 5.0)


def test_history_does_not_grow_without_end():
    axis = Axis(0.0)
    for index in range(2000):
        axis.move(float(index), float(index % 2), speed=10.0, acceleration=100.0)
    assert len(axis._track) <= 300
    assert axis.position(1999.9) == pytest.approx(1.0)
