"""Compiled loops of the stripe removal: sorting keys, running medians, column sums."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel

__all__ = ["column_means", "median_rows", "pack", "put_back", "roughness", "unpack"]

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@kernel
def pack(sinogram: Floats, keys: npt.NDArray[np.uint64], first: int, last: int) -> None:
    """Write value and angle of each column as one number that sorts like the value, then like the angle."""
    n = sinogram.shape[0]
    bits = sinogram.view(np.uint32)
    for angle in range(n):
        for col in range(first, last):
            word = np.uint64(bits[angle, col])
            if word == np.uint64(0x80000000):  # -0 is no less than 0
                word = np.uint64(0)
            # the order of IEEE numbers: flip all bits of the negative ones, the sign alone of the others
            word = word ^ (np.uint64(0xFFFFFFFF) if word >> np.uint64(31) else np.uint64(0x80000000))
            keys[col, angle] = (word << np.uint64(32)) | np.uint64(angle)


@kernel
def unpack(keys: npt.NDArray[np.uint64], ordered: Floats, origin: npt.NDArray[np.int32], first: int, last: int) -> None:
    """Take sorted keys apart into values (rank, col) and the angles that they came from."""
    bits = ordered.view(np.uint32)
    for angle in range(ordered.shape[0]):
        for col in range(first, last):
            key = keys[col, angle]
            word = key >> np.uint64(32)
            word = word ^ (np.uint64(0x80000000) if word >> np.uint64(31) else np.uint64(0xFFFFFFFF))
            bits[angle, col] = np.uint32(word)
            origin[col, angle] = np.int32(key & np.uint64(0xFFFFFFFF))


@kernel
def put_back(ordered: Floats, origin: npt.NDArray[np.int32], out: Floats, first: int, last: int) -> None:
    """Return each value to the angle that it came from."""
    for rank in range(ordered.shape[0]):
        for col in range(first, last):
            out[origin[col, rank], col] = ordered[rank, col]


@kernel
def _mirror(index: int, n: int) -> int:
    """Index of a line continued by its mirror image (d c b a | a b c d | d c b a)."""
    index = index % (2 * n)
    return index if index < n else 2 * n - 1 - index


@kernel
def median_rows(image: Floats, size: int, out: Floats, first: int, last: int) -> None:
    """Write the running median along rows: the window is kept sorted, one value leaves, one comes."""
    ncol = image.shape[1]
    before = size // 2
    after = size - before - 1
    window = np.empty(size, np.float32)
    for row in range(first, last):
        line = image[row]
        for n in range(size):
            window[n] = line[_mirror(n - before, ncol)]
        window.sort()
        out[row, 0] = window[before]
        for col in range(1, ncol):
            gone_at = col - 1 - before
            come_at = col + after
            gone = line[gone_at] if gone_at >= 0 else line[_mirror(gone_at, ncol)]
            come = line[come_at] if come_at < ncol else line[_mirror(come_at, ncol)]
            if come > gone:
                n = 0
                for k in range(size):  # without branches: count instead of search
                    n += window[k] < gone
                while n + 1 < size and window[n + 1] < come:
                    window[n] = window[n + 1]
                    n += 1
                window[n] = come
            elif come < gone:
                n = 0
                for k in range(size):
                    n += window[k] < gone
                while n > 0 and window[n - 1] > come:
                    window[n] = window[n - 1]
                    n -= 1
                window[n] = come
            out[row, col] = window[before]


@kernel
def column_means(image: Floats, low: int, high: int, out: Doubles, first: int, last: int) -> None:
    """Mean of each column over rows `low` to `high`."""
    out[first:last] = 0.0
    for row in range(low, high):
        for col in range(first, last):
            out[col] += image[row, col]
    out[first:last] /= high - low


@kernel
def roughness(image: Floats, size: int, out: Doubles, first: int, last: int) -> None:
    """Sum of the distances of each column from its running mean over `size` angles."""
    nrow = image.shape[0]
    before = size // 2
    after = size - before - 1
    running = np.zeros(last - first, np.float64)
    for n in range(-before, after + 1):
        for col in range(first, last):
            running[col - first] += image[_mirror(n, nrow), col]
    out[first:last] = 0.0
    for row in range(nrow):
        gone = _mirror(row - before, nrow)
        come = _mirror(row + after + 1, nrow)
        for col in range(first, last):
            out[col] += abs(image[row, col] - np.float32(running[col - first] / size))
            running[col - first] += np.float64(image[come, col]) - np.float64(image[gone, col])
