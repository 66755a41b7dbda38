"""Walk over the pixels of a stack in blocks that fit the cache, in threads, from memory or from a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import over_blocks
from exitwave.analysis.errors import ShapeError

__all__ = ["Block", "check_stack", "for_pixels"]

Image = npt.NDArray[np.float32]
Block = Callable[[Image, Image, int, int, int], None]

PIXELS = 1024
"""Pixels per task: 60 energies of them are 0.25 MB, which stays in the second-level cache."""
READ_BYTES = 128 << 20
NOTHING = np.empty((0, 0), np.float32)


def check_stack(stack: Any, energies: int, variance: Any = None) -> tuple[int, ...]:
    """Return the shape of a frame, () of a single spectrum, or refuse a stack that does not fit.

    Raises
    ------
    ShapeError
    """
    shape = tuple(np.shape(stack))
    if not shape or shape[0] != energies:
        raise ShapeError(f"stack: shape {shape}, expected ({energies}, ...): one frame per energy")
    if variance is not None and tuple(np.shape(variance)) != shape:
        raise ShapeError(f"variance: shape {tuple(np.shape(variance))} does not fit the stack's {shape}")
    return shape[1:]


def _flat(array: Any) -> Image:
    whole = np.ascontiguousarray(array, dtype=np.float32)
    return whole.reshape(whole.shape[0], -1)


def _in_memory(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype == np.float32 and array.flags.c_contiguous


def for_pixels(stack: Any, variance: Any, work: Block, pixels: int = PIXELS) -> None:
    """Call ``work(mu, variance, offset, start, stop)`` for blocks of pixels, in threads.

    `mu` and `variance` are float32 (n, pixels), of which start..stop are this block's; the first of them is
    pixel ``offset + start`` of the frame. Without a variance its array is (0, 0). Anything but contiguous
    float32 in memory (or mapped) is read by rows, at most 128 MB at a time. `pixels` is the size of a block.
    """
    given = [array for array in (stack, variance) if array is not None]
    shape = tuple(np.shape(stack))
    if len(shape) < 3 or all(_in_memory(array) for array in given):
        mu, var = _flat(stack), NOTHING if variance is None else _flat(variance)
        over_blocks(lambda start, stop: work(mu, var, 0, start, stop), mu.shape[1], pixels)
        return
    width = int(np.prod(shape[2:]))
    rows = max(1, READ_BYTES // (4 * shape[0] * width * len(given)))
    for first in range(0, shape[1], rows):
        part = slice(first, min(first + rows, shape[1]))
        mu = _flat(stack[:, part])
        var = NOTHING if variance is None else _flat(variance[:, part])

        def block(start: int, stop: int, mu: Image = mu, var: Image = var, offset: int = first * width) -> None:
            work(mu, var, offset, start, stop)

        over_blocks(block, mu.shape[1], pixels)
