"""Compiled loops of `mixture`; shapes and dtypes as named, no checks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel
from exitwave.analysis.xanes._map_kernels import gather, products
from exitwave.analysis.xanes._solve_kernels import solve, solve_bounded

__all__ = ["mixture_even", "mixture_weighted"]

Array32 = npt.NDArray[np.float32]
Array64 = npt.NDArray[np.float64]


@kernel
def share_variance(covariance: Array64, bounded: int, k: int, share: float, height: float) -> float:
    """Variance of x[k] / sum(x) from the covariance of x, to first order."""
    row, column = 0.0, 0.0
    for i in range(bounded):
        row += covariance[k, i]
        for c in range(bounded):
            column += covariance[i, c]
    spread = float(covariance[k, k]) - 2.0 * share * row + share * share * column
    return max(spread, 0.0) / (height * height)


@kernel
def mixture_even(
    mu: Array32,
    design: Array64,
    design32: Array32,
    normal: Array64,
    inverse: Array32,
    bands: npt.NDArray[np.int64],
    constant: Array32,
    covariance: Array64,
    bounded: int,
    non_negative: bool,
    total_one: bool,
    fractions: Array32,
    fractions_sd: Array32,
    amplitude: Array32,
    misfit: Array32,
    offset: int,
    start: int,
    stop: int,
) -> None:
    """Linear combination per pixel, all energies of one weight; see `mixture`.

    `inverse` (unknowns, n) and `constant` (unknowns,) give the solution without bounds, `covariance` is that
    of unit variance. Only where a fraction of it is negative does the active set begin to walk.
    """
    n, size = mu.shape[0], stop - start
    unknowns = design.shape[1]
    block = gather(mu, start, stop)
    x = np.empty((unknowns, size), np.float32)
    products(block, inverse, bands, x)
    for k in range(unknowns):
        for p in range(size):
            x[k, p] += constant[k]
    active, one = np.empty(unknowns, np.bool_), np.zeros(unknowns + 1)
    a, b = np.empty((unknowns + 1, unknowns + 1)), np.empty(unknowns + 1)
    moment = np.empty(unknowns)
    if non_negative:
        for p in range(size):
            low = False
            for k in range(bounded):
                low = low or x[k, p] < 0.0
            if low:
                # the nearest feasible point in the metric of the normal matrix: same as fitting anew
                for i in range(unknowns):
                    moment[i] = 0.0
                    for k in range(unknowns):
                        moment[i] += normal[i, k] * x[k, p]
                if solve_bounded(normal, moment, bounded, True, total_one, active, one, a, b):
                    for k in range(unknowns):
                        x[k, p] = np.float32(one[k])
                else:
                    x[0, p] = np.nan
    total = np.zeros(size, np.float32)
    left = np.empty(size, np.float32)
    for j in range(n):
        for p in range(size):
            left[p] = block[j, p]
        for k in range(unknowns):
            w = design32[j, k]
            for p in range(size):
                left[p] -= w * x[k, p]
        for p in range(size):
            total[p] += left[p] * left[p]
    freedom = max(1, n - unknowns + (1 if total_one else 0))
    for p in range(size):
        q = offset + start + p
        height = np.float32(0.0)
        for k in range(bounded):
            height += x[k, p]
        square = total[p] / np.float32(freedom)
        misfit[q] = square
        if not height > 0.0:
            for k in range(bounded):
                fractions[k, q] = np.nan
                fractions_sd[k, q] = np.nan
            amplitude[q] = np.nan
            continue
        amplitude[q] = height
        for k in range(bounded):
            share = np.float64(x[k, p]) / height
            fractions[k, q] = np.float32(share)
            spread = covariance[k, k] if total_one else share_variance(covariance, bounded, k, share, float(height))
            fractions_sd[k, q] = np.float32(np.sqrt(spread * square))


@kernel
def mixture_weighted(
    mu: Array32,
    variance: Array32,
    design: Array64,
    bounded: int,
    non_negative: bool,
    total_one: bool,
    passes: int,
    fractions: Array32,
    fractions_sd: Array32,
    amplitude: Array32,
    misfit: Array32,
    offset: int,
    start: int,
    stop: int,
) -> None:
    """Linear combination per pixel with the weights of counts; see `mixture`."""
    n, size = mu.shape[0], stop - start
    unknowns = design.shape[1]
    normal, moment = np.empty((unknowns, unknowns)), np.empty(unknowns)
    active, x = np.empty(unknowns, np.bool_), np.zeros(unknowns + 1)
    a, b = np.empty((unknowns + 1, unknowns + 1)), np.empty(unknowns + 1)
    covariance = np.empty((unknowns, unknowns))
    block, noise = gather(mu, start, stop), gather(variance, start, stop)
    for p in range(size):
        q = offset + start + p
        for k in range(bounded):
            fractions[k, q] = np.nan
            fractions_sd[k, q] = np.nan
        amplitude[q] = np.nan
        misfit[q] = np.nan
        usable = True
        for j in range(n):
            usable = usable and np.isfinite(block[j, p]) and noise[j, p] > 0.0
        if not usable:
            continue
        good = False
        for turn in range(passes):
            normal[:] = 0.0
            moment[:] = 0.0
            for j in range(n):
                y = np.float64(block[j, p])
                w = 1.0 / noise[j, p]
                if turn > 0:
                    # the fitted counts weigh, not the counted ones, which follow the noise
                    m = 0.0
                    for k in range(unknowns):
                        m += design[j, k] * x[k]
                    w *= np.exp(min(max(y - m, -3.0), 3.0))
                for k in range(unknowns):
                    f = w * design[j, k]
                    moment[k] += f * y
                    for i in range(k + 1):
                        normal[k, i] += f * design[j, i]
            for k in range(unknowns):
                for i in range(k):
                    normal[i, k] = normal[k, i]
            good = solve_bounded(normal, moment, bounded, non_negative, total_one, active, x, a, b)
            if not good:
                break
        if not good:
            continue
        height = 0.0
        for k in range(bounded):
            height += x[k]
        total = 0.0
        for j in range(n):
            m = 0.0
            for k in range(unknowns):
                m += design[j, k] * x[k]
            d = block[j, p] - m
            total += d * d / noise[j, p]
        freedom = max(1, n - unknowns + (1 if total_one else 0))
        misfit[q] = np.float32(total / freedom)
        # covariance without the bounds: what the data say, also where a bound has the last word
        for k in range(unknowns):
            for i in range(unknowns):
                for c in range(unknowns):
                    a[i, c] = normal[i, c]
                b[i] = 1.0 if i == k else 0.0
            if total_one:
                for i in range(unknowns):
                    a[unknowns, i] = a[i, unknowns] = 1.0 if i < bounded else 0.0
                a[unknowns, unknowns] = 0.0
                b[unknowns] = 0.0
            if not solve(a, b, unknowns + (1 if total_one else 0)):
                good = False
                break
            for i in range(unknowns):
                covariance[i, k] = b[i]
        if not good or not height > 0.0:
            continue
        amplitude[q] = np.float32(height)
        for k in range(bounded):
            share = x[k] / height
            fractions[k, q] = np.float32(share)
            spread = covariance[k, k] if total_one else share_variance(covariance, bounded, k, share, height)
            fractions_sd[k, q] = np.float32(np.sqrt(max(spread, 0.0)))
