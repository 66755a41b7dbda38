"""How fast stripes are removed beside algotom's program of the same methods, and that both give the same.

``python tests/benchmarks/stripes.py`` prints the figures as JSON; those of algotom are null where it is not installed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from exitwave.analysis.tomography import stripes

__all__ = ["stripe_figures"]


def _sinograms(n_angles: int, n_rows: int, n_columns: int) -> np.ndarray:
    """Cylinders with noise, gains of 1 %, a wide stripe and a dead column."""
    rng = np.random.default_rng(1)
    theta, x = np.linspace(0, np.pi, n_angles)[:, None], np.linspace(-1, 1, n_columns)[None, :]
    one = 2 * np.sqrt(np.maximum(0.9**2 - x**2, 0)) + 0.3 + 0 * theta
    for _ in range(12):
        radius, away, phase = rng.uniform(0.05, 0.3), rng.uniform(0, 0.6), rng.uniform(0, 6.3)
        one = one + 2 * np.sqrt(np.maximum(radius**2 - (x - away * np.cos(theta + phase)) ** 2, 0))
    stack = one[:, None, :] + rng.normal(0, 0.03, (n_angles, n_rows, n_columns))
    stack *= 1 + rng.normal(0, 0.01, n_columns)
    stack[:, :, n_columns // 3 : n_columns // 3 + 4] *= 1.3
    stack[:, :, n_columns // 2] = rng.normal(1, 1, (n_angles, n_rows))
    return np.asarray(stack, np.float32)


def _seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def stripe_figures(n_angles: int = 900, n_rows: int = 4, n_columns: int = 2048) -> dict[str, Any]:
    """Remove all kinds of stripes from some rows; the ratio is to the faster of algotom's two ways of doing it.

    algotom's ways: one row after the other, and its own parallel loop over rows on all cores. Best of three for us,
    of two for algotom. Interior: away from the median's half window.
    """
    stack = _sinograms(n_angles, n_rows, n_columns)
    stripes.remove_all_stripes(stack[:, :1])  # compile or load
    ours, result = min((_seconds(lambda: stripes.remove_all_stripes(stack)) for _ in range(3)), key=lambda r: r[0])
    figures: dict[str, Any] = {"stripe_ms_per_sinogram": 1e3 * ours / n_rows, "stripe_ratio_algotom": None}
    if importlib.util.find_spec("algotom") is None:
        return figures
    from algotom.prep import removal
    from algotom.util.utility import parallel_process_slices

    def in_turn() -> np.ndarray:
        return np.stack([removal.remove_all_stripe(stack[:, row]) for row in range(n_rows)], axis=1)

    def parallel() -> np.ndarray:
        cores = len(os.sched_getaffinity(0))
        return parallel_process_slices(stack, removal.remove_all_stripe, [3.0, 51, 21], ncore=cores)

    theirs = {name: min(_seconds(way)[0] for _ in range(2)) for name, way in (("in turn", in_turn), ("all", parallel))}
    difference = np.abs(result - in_turn())[:, :, 26:-26]
    return figures | {
        "stripe_ratio_algotom": min(theirs.values()) / ours,
        "stripe_ratio_algotom_in_turn": theirs["in turn"] / ours,
        "stripe_ratio_algotom_parallel": theirs["all"] / ours,
        "stripe_equal_to_rounding": float(np.mean(difference <= 4e-6)),
        "stripe_largest_difference": float(difference.max()),
    }


if __name__ == "__main__":
    print(json.dumps(stripe_figures(), indent=2))
