"""Compiled loops of `template` and `mixture`; shapes and dtypes as named, no checks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel
from exitwave.analysis.xanes._map_kernels import gather, products

__all__ = ["mixture_even", "mixture_weighted", "shift_fit", "solve_bounded"]

Array32 = npt.NDArray[np.float32]
Array64 = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


@kernel
def solve(a: Array64, b: Array64, n: int) -> bool:
    """Solve a x = b in place (x in b) for a symmetric a of size n by elimination; False when it is singular."""
    for i in range(n):
        best = i
        for r in range(i + 1, n):
            if abs(a[r, i]) > abs(a[best, i]):
                best = r
        if not abs(a[best, i]) > 1e-14:
            return False
        if best != i:
            for c in range(n):
                a[i, c], a[best, c] = a[best, c], a[i, c]
            b[i], b[best] = b[best], b[i]
        for r in range(i + 1, n):
            f = a[r, i] / a[i, i]
            for c in range(i, n):
                a[r, c] -= f * a[i, c]
            b[r] -= f * b[i]
    for i in range(n - 1, -1, -1):
        for c in range(i + 1, n):
            b[i] -= a[i, c] * b[c]
        b[i] /= a[i, i]
    return True


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


@kernel
def _passive(
    normal: Array64,
    moment: Array64,
    active: Booleans,
    total_one: bool,
    bounded: int,
    x: Array64,
    a: Array64,
    b: Array64,
) -> bool:
    """Minimise with the given unknowns held at zero (and those in `bounded` summing to one); x takes the result."""
    n = moment.size
    m = 0
    for i in range(n):
        if active[i]:
            c = 0
            for k in range(n):
                if active[k]:
                    a[m, c] = normal[i, k]
                    c += 1
            b[m] = moment[i]
            m += 1
    size = m
    if total_one:
        c = 0
        for k in range(n):
            if active[k]:
                a[m, c] = a[c, m] = 1.0 if k < bounded else 0.0
                c += 1
        a[m, m] = 0.0
        b[m] = 1.0
        size = m + 1
    if not solve(a, b, size):
        return False
    m = 0
    for i in range(n):
        x[i] = 0.0
        if active[i]:
            x[i] = b[m]
            m += 1
    x[n] = b[m] if total_one else 0.0
    return True


@kernel
def solve_bounded(
    normal: Array64,
    moment: Array64,
    bounded: int,
    non_negative: bool,
    total_one: bool,
    active: Booleans,
    x: Array64,
    a: Array64,
    b: Array64,
) -> bool:
    """Minimise x N x / 2 - m x with the first `bounded` unknowns >= 0 and, if asked, summing to one.

    An active-set walk that ends where the conditions of Karush, Kuhn and Tucker hold, as in C. L. Lawson and
    R. J. Hanson, Solving Least Squares Problems (1974), chapter 23, but from above: all unknowns first. Should
    it walk in a circle, all sets are tried. `x` has room for the multiplier of the sum behind the unknowns.
    """
    n = moment.size
    for i in range(n):
        active[i] = True
    for _ in range(3 * bounded + 1):
        if not _passive(normal, moment, active, total_one, bounded, x, a, b):
            break
        if not non_negative:
            return True
        worst, lowest = -1, 0.0
        for i in range(bounded):
            if active[i] and x[i] < lowest:
                worst, lowest = i, x[i]
        if worst >= 0:
            active[worst] = False
            continue
        best, highest = -1, 1e-10
        for i in range(bounded):
            if not active[i]:
                pull = moment[i] - x[n]
                for k in range(n):
                    pull -= normal[i, k] * x[k]
                if pull > highest * max(1.0, abs(moment[i])):
                    best, highest = i, pull
        if best < 0:
            return True
        active[best] = True
    least = np.inf
    chosen = -1
    for code in range(1 if total_one else 0, 1 << bounded):
        for i in range(n):
            active[i] = i >= bounded or ((code >> i) & 1) == 1
        if not _passive(normal, moment, active, total_one, bounded, x, a, b):
            continue
        cost, feasible = 0.0, True
        for i in range(n):
            if i < bounded and x[i] < -1e-12:
                feasible = False
            cost -= moment[i] * x[i]
            for k in range(n):
                cost += 0.5 * x[i] * normal[i, k] * x[k]
        if feasible and cost < least:
            least, chosen = cost, code
    if chosen < 0:
        return False
    for i in range(n):
        active[i] = i >= bounded or ((chosen >> i) & 1) == 1
    return _passive(normal, moment, active, total_one, bounded, x, a, b)


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
