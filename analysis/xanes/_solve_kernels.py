"""Small systems of equations in compiled loops: by elimination, and with bounds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel

__all__ = ["solve", "solve_bounded"]

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
