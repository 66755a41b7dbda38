"""Simulated time: one clock for every part of an instrument."""

from __future__ import annotations

import time

__all__ = ["SimClock"]


class SimClock:
    """Seconds of simulated time since the start, running `speed` times as fast as the wall clock.

    Readable from any thread; it never goes backwards.

    Parameters
    ----------
    speed : float
        Simulated seconds per wall second, > 0.

    Raises
    ------
    ValueError
        If `speed` is not a positive finite number.
    """

    def __init__(self, speed: float = 1.0) -> None:
        if not 0 < speed < float("inf"):
            raise ValueError(f"speed: {speed} must be a positive number of simulated seconds per second")
        self.speed = float(speed)
        self._origin_s = time.monotonic()
        self._epoch_s = time.time()

    def now(self) -> float:
        """Return the simulated time, in seconds since the start."""
        return (time.monotonic() - self._origin_s) * self.speed

    def wall_delay(self, dt_s: float) -> float:
        """Return the wall seconds that `dt_s` simulated seconds take, never negative."""
        return max(0.0, dt_s / self.speed)

    def wall_time(self, t_s: float) -> float:
        """Return the wall time (UNIX epoch, s) at which simulated time `t_s` is or was reached."""
        return self._epoch_s + t_s / self.speed
