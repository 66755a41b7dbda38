"""How fast the flat correction is beside a plain float64 numpy script and beside algotom, in one run.

``python tests/benchmarks/correction.py`` prints the figures as JSON; algotom's is null where it is not
installed.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable

import numpy as np

from exitwave.analysis.correction import flat_field

__all__ = ["measure_flat_correction"]


def _best_seconds(work: Callable[[], object], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def measure_flat_correction(frames: int = 32, size: int = 2048, repeats: int = 3) -> dict[str, float | None]:
    """Correct the same uint16 stack three ways and return GB/s of raw data and ratios.

    All three make the whole result; exitwave writes into an array that a session keeps for the purpose
    (`flat_gb_s`), and, for fairness, also into one it allocates itself (`flat_alloc_gb_s`). Best of
    `repeats` each.
    """
    rng = np.random.default_rng(1)
    one = rng.poisson(800, (size, size)).astype(np.uint16)
    raw = np.stack([one + np.uint16(i % 7) for i in range(frames)])
    flat = rng.poisson(1000, (size, size)).astype(np.uint16)
    dark = np.full((size, size), 100, np.uint16)
    out = np.empty(raw.shape, np.float32)
    gigabytes = raw.nbytes / 1e9

    def script() -> np.ndarray:
        d, f = dark.astype(np.float64), flat.astype(np.float64)
        return (raw.astype(np.float64) - d) / (f - d)

    flat_field(raw[:1], flat, dark, out[:1])  # compile or load
    ours = _best_seconds(lambda: flat_field(raw, flat, dark, out), repeats)
    fresh = _best_seconds(lambda: flat_field(raw, flat, dark), repeats)
    plain = _best_seconds(script, repeats)
    result: dict[str, float | None] = {
        "flat_gb_s": gigabytes / ours,
        "flat_alloc_gb_s": gigabytes / fresh,
        "numpy64_gb_s": gigabytes / plain,
        "flat_ratio_numpy64": plain / ours,
        "flat_alloc_ratio_numpy64": plain / fresh,
        "algotom_gb_s": None,
        "flat_ratio_algotom": None,
    }
    if importlib.util.find_spec("algotom") is not None:
        from algotom.prep.correction import flat_field_correction

        peer = _best_seconds(lambda: flat_field_correction(raw, flat, dark), repeats)
        result["algotom_gb_s"] = gigabytes / peer
        result["flat_ratio_algotom"] = peer / ours
    return result


if __name__ == "__main__":
    print(json.dumps(measure_flat_correction(), indent=2))
