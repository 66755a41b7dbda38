"""Motion at constant velocity against the kinematics of a trapezoid, and what a tomogram is laid out from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitwave.plans.pure.positions import PlanInputError
from exitwave.plans.pure.rotation import AxisFigures, fly_motion, frame_period_s, move_time_s
from exitwave.plans.pure.tomography import Tomography, estimated_s, fly_period_s

AXIS = AxisFigures("sample.theta", "deg", -200.0, 380.0, 30.0, 0.0, 0.2)


@given(
    st.floats(-100, 100),
    st.floats(0.01, 1.0),
    st.integers(1, 180),
    st.floats(0.05, 2.0),
    st.sampled_from(["forward", "backward"]),
)
def test_the_middle_of_every_exposure_is_at_its_angle(
    first: float, step: float, num: int, exposure_s: float, direction: str
) -> None:
    period_s = frame_period_s(exposure_s, 0.01)
    motion = fly_motion(
        AXIS,
        first,
        step,
        num,
        exposure_s=exposure_s,
        period_s=period_s,
        here=0.0,
        direction=direction,  # type: ignore[arg-type]
    )
    way = 1 if direction == "forward" else -1
    assert np.sign(motion.step) == way
    middles = motion.first_pulse + np.arange(num) * motion.step + way * motion.velocity * exposure_s / 2
    np.testing.assert_allclose(np.sort(middles), first + np.arange(num) * step, atol=1e-9)
    # At the first pulse the axis has had the time to reach its velocity: v^2 / (2 a) with a = v / ACCL.
    ramp = motion.velocity * AXIS.acceleration_s / 2
    assert way * (motion.first_pulse - motion.start) > ramp
    end = motion.first_pulse + (num - 1) * motion.step + way * motion.velocity * exposure_s
    assert way * (motion.stop - end) > ramp - 1e-9
    assert motion.velocity * period_s == pytest.approx(step)


def test_the_nearer_end_is_begun_at_and_one_without_room_is_not() -> None:
    def lay_out(here: float, axis: AxisFigures = AXIS) -> float:
        return fly_motion(axis, 0.0, 1.0, 180, exposure_s=0.1, period_s=0.1, here=here).step

    assert lay_out(-10.0) > 0
    assert lay_out(179.0) < 0
    with pytest.raises(PlanInputError, match=r"to accelerate on either side is outside \[0, 179\]"):
        lay_out(0.0, dataclasses.replace(AXIS, low=0.0, high=179.0))


def test_velocity_and_exposure_are_held_against_the_limits() -> None:
    with pytest.raises(PlanInputError, match="over the limit of 30 deg/s"):
        fly_motion(AXIS, 0.0, 1.0, 10, exposure_s=0.01, period_s=0.01, here=0.0)
    with pytest.raises(PlanInputError, match=r"is longer than the 0\.05 s"):
        fly_motion(AXIS, 0.0, 1.0, 10, exposure_s=0.1, period_s=0.05, here=0.0)
    with pytest.raises(PlanInputError, match=r"does not fit into the 0\.1 s"):
        fly_period_s(0.2, 0.01, 1.0, 10.0, AXIS)
    with pytest.raises(PlanInputError, match="not a positive number"):
        fly_period_s(0.2, 0.01, 1.0, float("nan"), AXIS)
    # VMAX of the record, where it is set, is the limit, not the velocity of plain moves.
    assert fly_period_s(0.02, 0.01, 1.0, None, dataclasses.replace(AXIS, max_velocity=60.0)) < 1 / 40


@given(st.floats(1e-4, 300))
def test_a_move_takes_as_long_as_its_trapezoid_by_integration(distance: float) -> None:
    t = np.linspace(0.0, move_time_s(AXIS, distance), 20001)
    rate = AXIS.velocity / AXIS.acceleration_s
    velocity = np.minimum(np.minimum(rate * t, rate * (t[-1] - t)), AXIS.velocity)
    assert np.trapezoid(velocity, t) == pytest.approx(distance, rel=1e-3)


def test_blocks_and_flats() -> None:
    work = Tomography("step", tuple(range(10)), 1.0, num_flats=5, flats="both", flats_every=4)
    assert [list(block) for block in work.blocks()] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert work.flat_places() == [True, True, True, True]
    assert work.num_flats_in_all == 20
    assert dataclasses.replace(work, flats="after", flats_every=0).flat_places() == [False, True]
    assert dataclasses.replace(work, flats="none").num_flats_in_all == 0
    rest = work.only([3, 7])
    assert rest.angles_deg == (3, 7)
    assert rest.tolerance_deg == work.tolerance_deg == pytest.approx(0.45)
    assert Tomography.from_description(work.describe()) == work


def test_what_is_no_tomogram_is_refused() -> None:
    with pytest.raises(PlanInputError, match="no angles"):
        Tomography("step", (), 1.0)
    with pytest.raises(PlanInputError, match="twice"):
        Tomography("step", (1.0, 1.0), 1.0)
    with pytest.raises(PlanInputError, match="exposure_s"):
        Tomography("step", (1.0,), float("nan"))
    with pytest.raises(PlanInputError, match="is no tomogram"):
        Tomography.from_description({})


def test_the_estimate_is_exposures_and_moves_and_little_else() -> None:
    work = Tomography("step", tuple(np.arange(180.0)), 1.0, num_flats=0, num_darks=0)
    # A step of 1 deg is a triangle of 2 sqrt(1 / 150) s = 0.163 s.
    assert estimated_s(work, AXIS, 0.01) == pytest.approx(180 * 1.163, rel=0.08)
