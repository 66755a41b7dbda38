"""Slow drifts as functions of time: reproducible, and the same for whoever asks at whatever moment."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SPAN_S = 20.0 * 60.0
"""Time over which a walk's rms change is 1 (s)."""
_PERIOD_S = 86400.0
_TERMS = 96


@lru_cache(maxsize=16)
def _terms(seed: int, stream: int) -> tuple[Floats, Floats]:
    """Amplitudes and phases: power falls with the square of the frequency, as a random walk's does."""
    rng = np.random.default_rng([seed, 23, stream])
    number = np.arange(1, _TERMS + 1)
    # a_n = c g_n / n gives <(w(t + s) - w(t))^2> = c^2 sum (1 - cos(2 pi n s / T)) / n^2, to be 1 over the span
    sum_ = float(((1.0 - np.cos(2.0 * math.pi * number * SPAN_S / _PERIOD_S)) / number**2).sum())
    return rng.normal(size=_TERMS) / number / math.sqrt(sum_), rng.uniform(0.0, 2.0 * math.pi, _TERMS)


def slow_walk(seed: int, stream: int, t: float) -> float:
    """Return a random walk's place, 0 at t = 0, that changes by 1 (rms) over `SPAN_S`; nothing under 15 min is in it.

    Parameters
    ----------
    seed, stream
        Which walk.
    t
        Simulated time (s); the walk returns after a day.
    """
    amplitude, phase = _terms(seed, stream)
    turn = 2.0 * math.pi * np.arange(1, _TERMS + 1) * (t / _PERIOD_S)
    return float((amplitude * (np.sin(turn + phase) - np.sin(phase))).sum())
