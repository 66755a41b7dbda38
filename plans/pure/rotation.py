"""Motion of an axis that frames are taken on at constant velocity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from exitwave.plans.pure.positions import PlanInputError, require_finite

__all__ = ["AxisFigures", "Direction", "FlyMotion", "fly_motion", "frame_period_s", "move_time_s"]

Direction = Literal["auto", "forward", "backward"]


@dataclass(frozen=True)
class AxisFigures:
    """What an axis can do.

    Parameters
    ----------
    name, unit : str
        For messages.
    low, high : float
        Limits of travel; none if `low` >= `high`.
    velocity : float
        Of plain moves, unit/s.
    max_velocity : float
        Largest that may be set; none if 0.
    acceleration_s : float
        Time to the velocity that is set, whatever it is (a motor record's ACCL).
    """

    name: str
    unit: str
    low: float
    high: float
    velocity: float
    max_velocity: float
    acceleration_s: float

    @property
    def fastest(self) -> float:
        """Velocity that must not be exceeded, unit/s."""
        return self.max_velocity if self.max_velocity > 0 else self.velocity

    def check_velocity(self, velocity: float) -> None:
        """Refuse a velocity that can't be set.

        Raises
        ------
        PlanInputError
        """
        if not (math.isfinite(velocity) and velocity > 0):
            raise PlanInputError(f"{self.name}: velocity {velocity:g} {self.unit}/s is not a positive number")
        if velocity > self.fastest * (1 + 1e-9):
            raise PlanInputError(
                f"{self.name}: velocity {velocity:g} {self.unit}/s is over the limit of {self.fastest:g} "
                f"{self.unit}/s; expose longer or take more projections"
            )

    def holds(self, position: float) -> bool:
        """Whether a position is within the travel."""
        return not self.low < self.high or self.low <= position <= self.high

    def require(self, position: float, what: str) -> None:
        """Refuse a position beyond the travel.

        Raises
        ------
        PlanInputError
        """
        if not self.holds(position):
            raise PlanInputError(
                f"{self.name}: {what} {position:g} {self.unit} is outside [{self.low:g}, {self.high:g}] {self.unit}; "
                "choose a range inside"
            )


@dataclass(frozen=True)
class FlyMotion:
    """One pass at constant velocity.

    Attributes
    ----------
    start, stop : float
        Where the axis waits and where it comes to rest: the range with the ways of acceleration and deceleration.
    first_pulse, step : float
        Where the first frame begins, and the signed distance from frame to frame.
    num : int
        Frames.
    velocity : float
        Positive, unit/s.
    """

    start: float
    stop: float
    first_pulse: float
    step: float
    num: int
    velocity: float

    @property
    def duration_s(self) -> float:
        """From the first frame's beginning to the last one's end, s."""
        return self.num * abs(self.step) / self.velocity


def frame_period_s(exposure_s: float, readout_s: float) -> float:
    """Return the shortest safe time between triggers of a camera that reads out while it exposes.

    A trigger that comes before the exposure is over is lost: 2 % more than the exposure, and at least half a
    millisecond, covers the ripple of a rotation stage's velocity.
    """
    return max(exposure_s + max(0.02 * exposure_s, 5e-4), 1.02 * readout_s)


def move_time_s(axis: AxisFigures, distance: float) -> float:
    """Return the time of a plain move with a trapezoid or triangle of velocity, s."""
    distance = abs(distance)
    ramp_way = axis.velocity * axis.acceleration_s
    if distance >= ramp_way:
        return distance / axis.velocity + axis.acceleration_s
    return 2.0 * math.sqrt(distance * axis.acceleration_s / axis.velocity)


def fly_motion(
    axis: AxisFigures,
    first: float,
    step: float,
    num: int,
    *,
    exposure_s: float,
    period_s: float,
    here: float,
    direction: Direction = "auto",
    settle_s: float = 0.1,
) -> FlyMotion:
    """Lay out a pass that has its frames' middles at ``first + k step``.

    Parameters
    ----------
    axis : AxisFigures
    first, step : float
        First position asked for and the signed distance to the next.
    num : int
        Frames.
    exposure_s, period_s : float
        Of each frame, and from frame to frame.
    here : float
        Where the axis is: of two directions that fit, "auto" takes the one whose start is nearer.
    direction : {"auto", "forward", "backward"}
        Forward: towards larger positions.
    settle_s : float
        Time at constant velocity before the first and after the last frame.

    Raises
    ------
    PlanInputError
        Exposure longer than the period, velocity over the limit, or no direction whose ways fit into the travel.
    """
    require_finite("step_deg", step, axis.unit)
    if exposure_s > period_s:
        raise PlanInputError(
            f"exposure_s: {exposure_s:g} s is longer than the {period_s:g} s that a step of {abs(step):g} {axis.unit} "
            "takes; expose shorter or turn slower"
        )
    velocity = abs(step) / period_s
    axis.check_velocity(velocity)
    last = first + (num - 1) * step
    for end in (first, last):
        axis.require(end, "range end")
    low, high = min(first, last), max(first, last)
    run_up = velocity * (axis.acceleration_s / 2 + settle_s)
    half = velocity * exposure_s / 2
    found: list[FlyMotion] = []
    for sign in (1.0, -1.0):
        if direction == ("backward" if sign > 0 else "forward"):
            continue
        begin, end = (low, high) if sign > 0 else (high, low)
        pulse = begin - sign * half
        motion = FlyMotion(pulse - sign * run_up, end + sign * (half + run_up), pulse, sign * abs(step), num, velocity)
        if axis.holds(motion.start) and axis.holds(motion.stop):
            found.append(motion)
    if not found:
        raise PlanInputError(
            f"{axis.name}: {low:g} to {high:g} {axis.unit} and {run_up + half:.3g} {axis.unit} to accelerate on either "
            f"side is outside [{axis.low:g}, {axis.high:g}] {axis.unit}; choose a range inside"
        )
    return min(found, key=lambda motion: abs(motion.start - here))
