"""Motion of one axis as closed formulas: where it is at any time, with nothing that ticks."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Axis", "AxisErrors", "Ripple", "Segment", "stop_segments", "travel_segments"]

_HISTORY = 256
_ITERATIONS = 10


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of constant acceleration that does not change direction.

    Attributes
    ----------
    start_s : float
        Simulated time at its start.
    duration_s : float
        How long it lasts.
    position, velocity, acceleration : float
        At its start, in the axis' unit (per s, per s^2).
    planned_s : float
        How long it was meant to last when it was commanded; `duration_s` if 0.
    """

    start_s: float
    duration_s: float
    position: float
    velocity: float
    acceleration: float
    planned_s: float = 0.0

    @property
    def end_s(self) -> float:
        """Simulated time at its end."""
        return self.start_s + self.duration_s

    def at(self, t_s: float) -> float:
        """Return the position at `t_s`, held at the ends outside the segment."""
        dt = min(max(t_s - self.start_s, 0.0), self.duration_s)
        return self.position + dt * (self.velocity + 0.5 * self.acceleration * dt)

    def velocity_at(self, t_s: float) -> float:
        """Return the velocity at `t_s`, 0 outside the segment."""
        if not self.start_s <= t_s < self.end_s:
            return 0.0
        return self.velocity + self.acceleration * (t_s - self.start_s)

    def cut(self, t_s: float) -> Segment:
        """Return the part before `t_s`."""
        kept = min(max(t_s - self.start_s, 0.0), self.duration_s)
        planned_s = self.planned_s or self.duration_s
        return Segment(self.start_s, kept, self.position, self.velocity, self.acceleration, planned_s)

    def time_at(self, position: float) -> float:
        """Return the time at which it passes a position of its own, by the formula that does not cancel."""
        way = position - self.position
        end = math.copysign(math.sqrt(max(self.velocity**2 + 2 * self.acceleration * way, 0.0)), way)
        total = self.velocity + end
        return self.start_s + (2 * way / total if total else 0.0)


@dataclass(frozen=True, slots=True)
class Ripple:
    """Following error of a drive at constant velocity, periodic in its position as the poles of a motor are.

    The servo takes it out on the ramps: it comes and goes within a period at both ends of the cruise.

    Attributes
    ----------
    velocity : float
        Amplitude of the velocity's deviation, relative to the velocity; well below 1.
    period : float
        In the axis' unit, > 0.
    phase_rad : float
        Phase at position 0.
    """

    velocity: float = 0.0
    period: float = 1.0
    phase_rad: float = 0.0

    def at(self, segment: Segment, position: float) -> float:
        """Return the deviation, in the axis' unit, where a segment's commanded position is `position`."""
        if not self.velocity or segment.acceleration or not segment.velocity:
            return 0.0
        length = abs(segment.velocity) * (segment.planned_s or segment.duration_s)
        edge = min(self.period, 0.5 * length)
        way = abs(position - segment.position)
        inside = min(way, length - way) / edge if edge else 0.0
        window = 1.0 if inside >= 1.0 else max(inside, 0.0) ** 2 * (3.0 - 2.0 * max(inside, 0.0))
        amplitude = self.velocity * self.period / (2 * math.pi) * (edge / self.period)
        return amplitude * window * math.sin(2 * math.pi * position / self.period + self.phase_rad)


def _no_error(position: float) -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class AxisErrors:
    """Imperfect mechanics of an axis whose drive is servoed on its encoder.

    Attributes
    ----------
    lost_motion : float
        Full width of the play between encoder and load, in the axis' unit, >= 0.
    encoder_error : callable
        Reading of the encoder minus true position, at a true position; small and smooth.
    encoder_noise_rms : float
        Standard deviation of the readback, in the axis' unit, >= 0.
    ripple : Ripple
        Following error while it moves.
    """

    lost_motion: float = 0.0
    encoder_error: Callable[[float], float] = _no_error
    encoder_noise_rms: float = 0.0
    ripple: Ripple = Ripple()


def _chain(start_s: float, position: float, stretches: Sequence[tuple[float, float, float]]) -> list[Segment]:
    """Join (velocity at start, acceleration, duration) into segments, split where the velocity changes sign."""
    segments: list[Segment] = []
    for velocity, acceleration, duration_s in stretches:
        turn_s = -velocity / acceleration if acceleration else -1.0
        parts = [(velocity, duration_s)]
        if 1e-12 < turn_s < duration_s - 1e-12:
            parts = [(velocity, turn_s), (0.0, duration_s - turn_s)]
        for part_velocity, part_s in parts:
            if part_s > 0:
                segment = Segment(start_s, part_s, position, part_velocity, acceleration)
                segments.append(segment)
                start_s, position = segment.end_s, segment.at(segment.end_s)
    return segments


def stop_segments(start_s: float, position: float, velocity: float, acceleration: float) -> list[Segment]:
    """Return the deceleration from `velocity` to rest."""
    sign = math.copysign(1.0, velocity)
    return _chain(start_s, position, [(velocity, -sign * acceleration, abs(velocity) / acceleration)])


def travel_segments(
    start_s: float,
    position: float,
    velocity: float,
    target: float,
    *,
    speed: float,
    acceleration: float,
    base_speed: float = 0.0,
) -> list[Segment]:
    """Return the time-optimal trapezoid from a present state of motion to rest at `target`.

    With D the signed distance and u the present velocity towards the target, the peak velocity of a triangle
    is v^2 = a D + (u^2 + b^2) / 2, where b is the base speed that it jumps from and to; above `speed` a
    stretch at constant velocity is put in. A target that can no longer be stopped at is overshot and
    come back to.

    Parameters
    ----------
    start_s : float
        Simulated time of the command.
    position, velocity : float
        State at `start_s`.
    target : float
        Where to come to rest.
    speed, acceleration : float
        Largest velocity and the acceleration, > 0.
    base_speed : float
        Velocity reached without a ramp, 0 <= base_speed < speed.

    Returns
    -------
    list of Segment
        Contiguous; empty if there is nothing to do.
    """
    stop_at = position + velocity * abs(velocity) / (2 * acceleration)
    if target == stop_at:
        return stop_segments(start_s, position, velocity, acceleration) if velocity else []
    sign = math.copysign(1.0, target - stop_at)
    distance = sign * (target - position)
    entry = sign * velocity
    if entry >= 0.0:
        entry = max(entry, base_speed) if distance > base_speed**2 / acceleration else entry
    exit_speed = base_speed if distance > base_speed**2 / acceleration else 0.0
    peak = math.sqrt(max(acceleration * distance + (entry**2 + exit_speed**2) / 2, 0.0))
    cruise_s = 0.0
    if peak > speed or entry > speed:
        peak = speed
        ramps = (
            abs(speed**2 - entry**2) / (2 * acceleration)
            if entry > speed
            else (speed**2 - entry**2) / (2 * acceleration)
        )
        cruise_s = (distance - ramps - (speed**2 - exit_speed**2) / (2 * acceleration)) / speed
    ramp_up = math.copysign(acceleration, peak - entry)
    stretches = [
        (sign * entry, sign * ramp_up, abs(peak - entry) / acceleration),
        (sign * peak, 0.0, max(cruise_s, 0.0)),
        (sign * peak, -sign * acceleration, (peak - exit_speed) / acceleration),
    ]
    return _chain(start_s, position, stretches)


class Axis:
    """The mechanics of one axis: commanded motion, play and encoder error, at any time.

    Commands come from one thread; `position`, `drive` and `velocity` may be called from any: the track is an
    immutable tuple that is replaced whole.

    Parameters
    ----------
    position : float
        Drive position at the start, in the axis' unit.
    errors : AxisErrors, optional
        Mechanical errors; none if left out.
    """

    def __init__(self, position: float, errors: AxisErrors | None = None) -> None:
        self.errors = errors or AxisErrors()
        rest = Segment(0.0, 0.0, position, 0.0, 0.0)
        # Each segment with the position of the load, as the encoder would read it, at its start.
        self._track: tuple[tuple[Segment, float], ...] = ((rest, position),)
        self._watchers: list[Callable[[], None]] = []

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` after every command that alters where the axis will be, in the commands' thread."""
        self._watchers.append(changed)

    def _segment(self, t_s: float) -> tuple[Segment, float]:
        track = self._track
        index = bisect.bisect_right(track, t_s, key=lambda item: item[0].start_s) - 1
        return track[max(index, 0)]

    def _follow(self, load: float, drive: float) -> float:
        play = self.errors.lost_motion / 2
        return min(max(load, drive - play), drive + play)

    def drive(self, t_s: float) -> float:
        """Return where the drive is told to be at `t_s`."""
        return self._segment(t_s)[0].at(t_s)

    def reading(self, t_s: float) -> float:
        """Return what a noiseless encoder on the drive reads at `t_s`: the command and what the drive lags."""
        segment = self._segment(t_s)[0]
        position = segment.at(t_s)
        return position + self.errors.ripple.at(segment, position)

    def passes(self, reading: float, after_s: float, *, upwards: bool) -> float | None:
        """Return when the encoder next passes a reading in a direction, from the trajectory as now commanded.

        Parameters
        ----------
        reading : float
            In the axis' unit.
        after_s : float
            Simulated time; the encoder has to be short of the reading then, or later.
        upwards : bool
            Whether readings grow as it passes.

        Returns
        -------
        float or None
            Simulated time, past or to come; None if it does not as things are.
        """
        sign = 1.0 if upwards else -1.0
        ripple = self.errors.ripple
        for segment, _ in self._track:
            start, end = segment.at(max(segment.start_s, after_s)), segment.at(segment.end_s)
            if segment.end_s <= after_s or sign * (end - start) <= 0:
                continue
            first, last = (sign * (where + ripple.at(segment, where)) for where in (start, end))
            if not first < sign * reading <= last:
                continue
            position = reading
            for _ in range(_ITERATIONS):  # contracts by the ripple's relative velocity each time
                position = reading - ripple.at(segment, position)
            return max(segment.time_at(position), after_s)
        return None

    def settled_s(self, t_s: float) -> float:
        """Return the time since which the axis rests at `t_s`, or `t_s` itself while it moves."""
        segment = self._segment(t_s)[0]
        return t_s if t_s < segment.end_s else segment.end_s

    def position(self, t_s: float) -> float:
        """Return the true position of the load at simulated time `t_s`, of this or a recent move."""
        segment, load = self._segment(t_s)
        drive = segment.at(t_s)
        followed = self._follow(load, drive) + self.errors.ripple.at(segment, drive)
        # The servo holds the reading where it was told: true + error(true) = reading.
        error = self.errors.encoder_error
        return followed - error(followed - error(followed))

    def velocity(self, t_s: float) -> float:
        """Return the velocity of the drive at `t_s`."""
        return self._segment(t_s)[0].velocity_at(t_s)

    @property
    def end_s(self) -> float:
        """Simulated time at which the last commanded motion ends."""
        return self._track[-1][0].end_s

    @property
    def destination(self) -> float:
        """Where the drive comes to rest."""
        last = self._track[-1][0]
        return last.at(last.end_s)

    def _replace(self, t_s: float, segments: Sequence[Segment]) -> float:
        kept = [(segment.cut(t_s), load) for segment, load in self._track if segment.start_s < t_s]
        track = (kept or [self._track[0]])[-_HISTORY:]
        for segment in segments:
            before, load = track[-1]
            track.append((segment, self._follow(load, before.at(before.end_s))))
        self._track = tuple(track)
        for changed in self._watchers:
            changed()
        return self.end_s

    def move(
        self,
        t_s: float,
        target: float,
        *,
        speed: float,
        acceleration: float,
        base_speed: float = 0.0,
        backlash: float = 0.0,
        backlash_speed: float | None = None,
        backlash_acceleration: float | None = None,
    ) -> float:
        """Go to `target` from whatever it is doing at `t_s`.

        Parameters
        ----------
        t_s : float
            Simulated time of the command.
        target : float
            Drive position to rest at.
        speed, acceleration, base_speed : float
            As for `travel_segments`.
        backlash : float
            If not 0 and the approach is not already in its direction, first go to `target - backlash`.
        backlash_speed, backlash_acceleration : float, optional
            For the final approach; as for the travel if left out.

        Returns
        -------
        float
            Simulated time at which it is there.
        """
        position, velocity = self.drive(t_s), self.velocity(t_s)
        segments: list[Segment] = []
        start_s = t_s
        if backlash and (target - position) * backlash <= 0 and target != position:
            turn = target - backlash
            segments = travel_segments(
                start_s, position, velocity, turn, speed=speed, acceleration=acceleration, base_speed=base_speed
            )
            if segments:
                start_s, position, velocity = segments[-1].end_s, turn, 0.0
            speed, acceleration = backlash_speed or speed, backlash_acceleration or acceleration
        segments += travel_segments(
            start_s, position, velocity, target, speed=speed, acceleration=acceleration, base_speed=base_speed
        )
        return self._replace(t_s, segments)

    def stop(self, t_s: float, acceleration: float) -> float:
        """Decelerate to rest from `t_s` on; return when it rests."""
        position, velocity = self.drive(t_s), self.velocity(t_s)
        return self._replace(t_s, stop_segments(t_s, position, velocity, acceleration) if velocity else [])

    def halt(self, t_s: float) -> None:
        """Stand still at `t_s` at once, as a blocked drive does."""
        self._replace(t_s, [])
