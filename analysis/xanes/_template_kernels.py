"""Compiled loops of `template`; shapes and dtypes as named, no checks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel
from exitwave.analysis.xanes._solve_kernels import solve

__all__ = ["lookup", "shift_fit"]

Array32 = npt.NDArray[np.float32]
Array64 = npt.NDArray[np.float64]


@kernel
def lookup(table: Array64, position: float) -> tuple[float, float]:
    """Value and slope per table step at a position in steps, straight lines between; ends continue level."""
    last = table.shape[0] - 2
    i = min(max(int(np.floor(position)), 0), last)
    t = min(max(position - i, 0.0), 1.0)
    return (1.0 - t) * table[i, 0] + t * table[i + 1, 0], (1.0 - t) * table[i, 1] + t * table[i + 1, 1]


@kernel
def shift_fit(
    mu: Array32,
    variance: Array32,
    offsets: Array64,
    table: Array64,
    table_first: float,
    table_step: float,
    lines: int,
    guess: Array64,
    reach: float,
    shift: Array64,
    shift_sd: Array32,
    amplitude: Array32,
    chi2: Array32,
    offset: int,
    start: int,
    stop: int,
) -> None:
    """Fit line + amplitude * template(E - shift) with Poisson weights; see `template`.

    `guess` (pixels of the frame) are the shifts to begin with; NaN leaves the pixel out.
    """
    n = mu.shape[0]
    size = 2 + lines
    hessian, work = np.empty((size, size)), np.empty((size, size))
    gradient, parameters, column = np.empty(size), np.empty(size), np.empty(size)
    model = np.empty(n)
    for p in range(start, stop):
        q = offset + p
        shift[q] = np.nan
        shift_sd[q] = np.nan
        amplitude[q] = np.nan
        chi2[q] = np.nan
        s = guess[q]
        usable = np.isfinite(s)
        for j in range(n):
            if not (np.isfinite(mu[j, p]) and variance[j, p] > 0.0):
                usable = False
                break
        if not usable:
            continue
        # amplitude and line at the first shift: linear, with the weights of the data
        hessian[:] = 0.0
        gradient[:] = 0.0
        for j in range(n):
            value, _ = lookup(table, (offsets[j] - s - table_first) / table_step)
            column[0] = value
            for k in range(lines):
                column[1 + k] = (offsets[j] / 100.0) ** k
            w = 1.0 / variance[j, p]
            for a in range(size - 1):
                gradient[a] += w * column[a] * mu[j, p]
                for b in range(size - 1):
                    hessian[a, b] += w * column[a] * column[b]
        if not solve(hessian, gradient, size - 1):
            continue
        parameters[0] = s
        for k in range(size - 1):
            parameters[1 + k] = gradient[k]
        settled = False
        for _ in range(30):
            hessian[:] = 0.0
            gradient[:] = 0.0
            total = 0.0
            for j in range(n):
                value, slope = lookup(table, (offsets[j] - parameters[0] - table_first) / table_step)
                m = parameters[1] * value
                column[0] = -parameters[1] * slope / table_step
                column[1] = value
                for k in range(lines):
                    power = (offsets[j] / 100.0) ** k
                    m += parameters[2 + k] * power
                    column[2 + k] = power
                model[j] = m
                x = min(max(mu[j, p] - m, -3.0), 3.0)
                # weights of the fitted counts: those of the counts themselves follow the noise
                w = np.exp(x) / variance[j, p]
                r = w * x
                total += r * x
                for a in range(size):
                    gradient[a] += r * column[a]
                    for b in range(a + 1):
                        hessian[a, b] += w * column[a] * column[b]
            for a in range(size):
                for b in range(a):
                    hessian[b, a] = hessian[a, b]
            work[:] = hessian
            if not solve(work, gradient, size):
                break
            move = min(max(gradient[0], -1.0), 1.0)
            parameters[0] += move
            for k in range(1, size):
                parameters[k] += gradient[k]
            if not abs(parameters[0] - s) < reach:
                break
            if abs(gradient[0]) < 1e-5:
                settled = True
                break
        if not settled:
            continue
        gradient[:] = 0.0
        gradient[0] = 1.0
        if not solve(hessian, gradient, size) or not gradient[0] > 0.0:
            continue
        shift[q] = parameters[0]
        shift_sd[q] = np.float32(np.sqrt(gradient[0]))
        amplitude[q] = np.float32(parameters[1])
        chi2[q] = np.float32(total / max(1, n - size))
