"""One decorator for every compiled kernel: cached on disk, free of the interpreter lock, and typed."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from threading import Lock
from types import CodeType
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def kernel(func: F) -> F:
    """Compile ``func`` with numba (``nogil``, cached), keeping its type for the checker."""
    return cast(F, njit(cache=True, nogil=True)(func))


def workers() -> int:
    """Threads for one image: the cores that this process may use, at most four."""
    return max(1, min(4, len(os.sched_getaffinity(0))))


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers(), thread_name_prefix="rows")


_compiling = Lock()
_compiled: set[CodeType] = set()


def over_rows(n_rows: int, band: Callable[[int, int], None], *, min_rows: int = 64) -> None:
    """Run ``band(first, last)`` over bands of rows on a shared pool.

    Threads of our own, and not numba's parallel loops: its default layers abort the process when two threads
    enter them at once, which two cameras do. Nor may two threads compile at once: each ``band`` (told by its code, so
    give its kernels the same types every time) runs alone the first time.
    """
    n = min(workers(), max(1, n_rows // min_rows))
    edges = [n_rows * i // n for i in range(n + 1)]
    bands = list(pairwise(edges))
    if band.__code__ not in _compiled:
        with _compiling:
            band(*bands.pop(0))
            _compiled.add(band.__code__)
    if len(bands) < 2:
        for first, last in bands:
            band(first, last)
        return
    futures = [_pool().submit(band, a, b) for a, b in bands]
    for future in futures:
        future.result()
