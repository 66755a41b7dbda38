"""Compiled kernels and the threads that run them.

Kernels are serial, release the interpreter lock and are cached on disk; `over_blocks` cuts the work into
blocks for a pool of threads. Unlike numba's own parallel loops this may be called from several threads at
once (live analysis and a user's session), and it compiles in a fraction of the time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar, cast

import numba

__all__ = ["kernel", "n_threads", "over_blocks"]

F = TypeVar("F", bound=Callable[..., Any])
_POOL = "exitwave-kernel"


def kernel(function: F) -> F:
    """Compile `function` on first call with numba: no Python objects, no interpreter lock, cached on disk."""
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def n_threads() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads(), thread_name_prefix=_POOL)


def over_blocks(work: Callable[[int, int], Any], length: int, block: int) -> None:
    """Call ``work(start, stop)`` for consecutive blocks of ``range(length)``, in threads if several.

    Inside of such work it does its own in the same thread: all threads waiting for blocks that wait for a thread
    would wait for ever. The first exception raised by a block is raised here, after all blocks have ended.
    """
    bounds = [(start, min(start + block, length)) for start in range(0, length, block)]
    if len(bounds) < 2 or n_threads() < 2 or threading.current_thread().name.startswith(_POOL):
        for start, stop in bounds:
            work(start, stop)
        return
    futures = [_pool().submit(work, start, stop) for start, stop in bounds]
    errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:
        raise errors[0]
