"""Compiled Poisson fits of columns: Gaussians on a pedestal, neighbours in the model.

Parameters of a column: pedestal, height, y, x, then its shape: one number p (circular, exp(-p r^2)) or three
(pyy, pxy, pxx of exp(-(pyy dy^2 + 2 pxy dy dx + pxx dx^2))). Pixels belong to the nearest column and carry its
pedestal; a column's Gaussian reaches into its neighbours' pixels. `exposure` scales the expectation of each pixel.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Image = npt.NDArray[np.float32]
FARTHEST = 12.5  # exponents beyond this add less than 4e-6 of a height


@kernel
def label_pixels(positions: Floats, radius: float, rows: int, cols: int) -> Ints:
    """Return the nearest column of each pixel within radius, -1 for none."""
    labels = np.full((rows, cols), -1, np.int32)
    nearest = np.full((rows, cols), np.float32(1e30), np.float32)
    for j in range(positions.shape[0]):
        cy, cx = positions[j, 0], positions[j, 1]
        for y in range(max(0, math.ceil(cy - radius)), min(rows, math.floor(cy + radius) + 1)):
            for x in range(max(0, math.ceil(cx - radius)), min(cols, math.floor(cx + radius) + 1)):
                d = np.float32((y - cy) ** 2 + (x - cx) ** 2)
                if d <= radius * radius and d < nearest[y, x]:
                    nearest[y, x] = d
                    labels[y, x] = j
    return labels


@kernel
def _exponent(par: Floats, dy: float, dx: float) -> float:
    if par.size == 5:
        return float(par[4] * (dy * dy + dx * dx))
    return float(par[4] * dy * dy + 2.0 * par[5] * dy * dx + par[6] * dx * dx)


@kernel
def _gradient(par: Floats, own: bool, dy: float, dx: float, out: Floats) -> float:
    """Fill d model / d parameters at a pixel; return the column's part of the model."""
    e = _exponent(par, dy, dx)
    g = math.exp(-e) if e < 2 * FARTHEST else 0.0
    a = par[1] * g
    out[0] = 1.0 if own else 0.0
    out[1] = g
    if par.size == 5:
        out[2] = 2.0 * a * par[4] * dy
        out[3] = 2.0 * a * par[4] * dx
        out[4] = -a * (dy * dy + dx * dx)
    else:
        out[2] = 2.0 * a * (par[4] * dy + par[5] * dx)
        out[3] = 2.0 * a * (par[5] * dy + par[6] * dx)
        out[4] = -a * dy * dy
        out[5] = -2.0 * a * dy * dx
        out[6] = -a * dx * dx
    return float(a + (par[0] if own else 0.0))


@kernel
def _factor(matrix: Floats, low: Floats) -> bool:
    """Fill the lower Cholesky factor; False if the matrix is not positive definite."""
    n = matrix.shape[0]
    for i in range(n):
        for j in range(i + 1):
            s = matrix[i, j]
            for k in range(j):
                s -= low[i, k] * low[j, k]
            if i == j:
                if not s > 0.0:
                    return False
                low[i, i] = math.sqrt(s)
            else:
                low[i, j] = s / low[j, j]
    return True


@kernel
def _substitute(low: Floats, vector: Floats, out: Floats) -> None:
    """Solve with a factor."""
    n = vector.size
    for i in range(n):
        s = vector[i]
        for k in range(i):
            s -= low[i, k] * out[k]
        out[i] = s / low[i, i]
    for r in range(n):
        i = n - 1 - r
        s = out[i]
        for k in range(i + 1, n):
            s -= low[k, i] * out[k]
        out[i] = s / low[i, i]


@kernel
def _gather(
    j: int, image: Image, exposure: Image, labels: Ints, start: Floats, radius: float, before: Floats, after: Floats,
    first: int, last: int, nbrs: Ints, ys: Ints, xs: Ints, counts: Floats, scale: Floats, rest: Floats,
    own: npt.NDArray[np.bool_],
) -> int:  # fmt: skip
    """Collect the pixels about column j and what the other columns give there; return how many.

    Columns of the block, first to last, are taken as they are now, the others as before the sweep: the result
    does not depend on the order in which threads come.
    """
    rows, cols = image.shape
    cy, cx = start[j, 0], start[j, 1]
    m = 0
    for y in range(max(0, math.ceil(cy - radius)), min(rows, math.floor(cy + radius) + 1)):
        for x in range(max(0, math.ceil(cx - radius)), min(cols, math.floor(cx + radius) + 1)):
            if (y - cy) ** 2 + (x - cx) ** 2 > radius * radius or exposure[y, x] <= 0.0:
                continue
            label = labels[y, x]
            ys[m], xs[m], counts[m], scale[m] = y, x, image[y, x], exposure[y, x]
            own[m] = label == j
            total = 0.0
            if label != j:
                total = after[label, 0] if first <= label < last else before[label, 0]
            for k in range(nbrs.size):
                other = nbrs[k]
                if other < 0:
                    break
                par = after[other] if first <= other < last else before[other]
                e = _exponent(par, y - par[2], x - par[3])
                if e < FARTHEST:
                    total += par[1] * math.exp(-e)
            rest[m] = total
            m += 1
    return m


@kernel
def _accumulate(
    par: Floats, m: int, ys: Ints, xs: Ints, counts: Floats, scale: Floats, rest: Floats, own: npt.NDArray[np.bool_],
    fisher: Floats, score: Floats, gradient: Floats,
) -> float:  # fmt: skip
    """Return minus the log-likelihood, infinite where a pixel expects nothing; fill Fisher and score."""
    n = par.size
    value = 0.0
    fisher[:] = 0.0
    score[:] = 0.0
    for i in range(m):
        model = rest[i] + _gradient(par, own[i], ys[i] - par[2], xs[i] - par[3], gradient)
        if model <= 1e-6:
            return math.inf
        value += scale[i] * model - (counts[i] * math.log(model) if counts[i] > 0.0 else 0.0)
        w = scale[i] / model
        r = counts[i] / model - scale[i]
        for a in range(n):
            score[a] += r * gradient[a]
            ga = w * gradient[a]
            for b in range(a + 1):
                fisher[a, b] += ga * gradient[b]
    for a in range(n):
        for b in range(a):
            fisher[b, a] = fisher[a, b]
    return value


@kernel
def fit_block(
    first: int, last: int, image: Image, exposure: Image, labels: Ints, start: Floats, radius: float, before: Floats,
    neighbours: Ints, free: npt.NDArray[np.bool_], n_steps: int, settled: float, floor: float, after: Floats,
    changed_before: Floats, changed: Floats, status: npt.NDArray[np.int32],
) -> None:  # fmt: skip
    """Fit columns first to last, one by one, the others held: Fisher scoring with damping.

    No pedestal goes below `floor`: one that is pressed against it is held for the step.
    Columns that changed by less than `settled` errors in the last sweep, and whose neighbours did, are left.

    Status: 0 converged, 1 not yet, 2 no descent or singular, 3 too few pixels.
    """
    n = before.shape[1]
    most = (2 * int(radius) + 3) ** 2
    ys, xs = np.empty(most, np.int32), np.empty(most, np.int32)
    counts, scale, rest = np.empty(most), np.empty(most), np.empty(most)
    own = np.empty(most, np.bool_)
    fisher, score, gradient, step, trial = np.zeros((n, n)), np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    damped, low = np.zeros((n, n)), np.zeros((n, n))
    trial_fisher, trial_score = np.zeros((n, n)), np.zeros(n)
    for j in range(first, last):
        after[j] = before[j]
    for j in range(first, last):
        quiet = status[j] == 0 and changed_before[j] < settled
        for k in range(neighbours.shape[1]):
            other = neighbours[j, k]
            quiet = quiet and (other < 0 or changed_before[other] < settled)
        if quiet:
            changed[j] = 0.0
            continue
        par = before[j].copy()
        m = _gather(
            j, image, exposure, labels, start, radius, before, after, first, last, neighbours[j], ys, xs, counts, scale,
            rest, own,
        )  # fmt: skip
        status[j] = 3
        changed[j] = 0.0
        if m < 2 * n:
            continue
        damping = 1e-3
        status[j] = 1
        value = _accumulate(par, m, ys, xs, counts, scale, rest, own, fisher, score, gradient)
        if not math.isfinite(value):
            # neighbours moved under it: begin from a flat place
            par[0] = max(par[0], 0.0) + 1.0
            par[1] = max(par[1], 0.1)
            value = _accumulate(par, m, ys, xs, counts, scale, rest, own, fisher, score, gradient)
            if not math.isfinite(value):
                status[j] = 2
                continue
        for _ in range(n_steps):
            pressed = par[0] <= floor and score[0] < 0.0
            for a in range(n):
                for b in range(n):
                    damped[a, b] = fisher[a, b] if free[a] and free[b] else 0.0
                    if pressed and (a == 0 or b == 0):
                        damped[a, b] = 0.0
                if free[a] and not (pressed and a == 0):
                    damped[a, a] += damping * fisher[a, a] + 1e-300
                else:
                    damped[a, a] = 1.0
                    score[a] = 0.0
            if not _factor(damped, low):
                status[j] = 2
                break
            _substitute(low, score, step)
            gain = 0.0
            for a in range(n):
                gain += step[a] * score[a]
            good = True
            for a in range(n):
                trial[a] = par[a] + step[a]
            if free[0]:
                trial[0] = max(trial[0], floor)
            # a width that would double or halve, a position that would leave: shorter steps
            for a in range(4, n):
                if n == 5 or a != 5:
                    good = good and 0.3 * par[a] < trial[a] < 3.0 * par[a]
            if n == 7 and trial[4] * trial[6] <= trial[5] ** 2:
                good = False
            if abs(trial[2] - start[j, 0]) > radius or abs(trial[3] - start[j, 1]) > radius:
                good = False
            if good:
                new = _accumulate(trial, m, ys, xs, counts, scale, rest, own, trial_fisher, trial_score, gradient)
                good = new <= value + 1e-9 * abs(value)
            if good:
                par[:] = trial
                fisher[:] = trial_fisher
                score[:] = trial_score
                damping = max(damping * 0.1, 1e-9)
                value = new
                if gain < 1e-6:
                    status[j] = 0
                    break
            else:
                damping *= 10.0
                if damping > 1e9:
                    status[j] = 0 if gain < 1e-3 else 2
                    break
        change = 0.0
        for a in range(n):
            if free[a]:
                change = max(change, abs(par[a] - before[j, a]) * math.sqrt(max(fisher[a, a], 0.0)))
        changed[j] = change
        after[j] = par


@kernel
def cross_fisher(
    first: int, last: int, exposure: Image, labels: Ints, start: Floats, radius: float, par: Floats, neighbours: Ints,
    own_fisher: Floats, out: Floats,
) -> None:  # fmt: skip
    """Fill own_fisher[j] and out[j, k], the Fisher information between column j and its k-th neighbour."""
    n = par.shape[1]
    rows, cols = exposure.shape
    ga, gb = np.zeros(n), np.zeros(n)
    width = neighbours.shape[1]
    seen = np.zeros(width, np.bool_)
    for j in range(first, last):
        own_fisher[j] = 0.0
        out[j] = 0.0
        cy, cx = start[j, 0], start[j, 1]
        for y in range(max(0, math.ceil(cy - radius)), min(rows, math.floor(cy + radius) + 1)):
            for x in range(max(0, math.ceil(cx - radius)), min(cols, math.floor(cx + radius) + 1)):
                if (y - cy) ** 2 + (x - cx) ** 2 > radius * radius or exposure[y, x] <= 0.0:
                    continue
                label = labels[y, x]
                model = _gradient(par[j], label == j, y - par[j, 2], x - par[j, 3], ga)
                if label != j:
                    model += par[label, 0]
                for k in range(width):
                    other = neighbours[j, k]
                    seen[k] = False
                    if other < 0:
                        continue
                    e = _exponent(par[other], y - par[other, 2], x - par[other, 3])
                    if e < FARTHEST:
                        model += par[other, 1] * math.exp(-e)
                    seen[k] = e < FARTHEST or label == other
                w = exposure[y, x] / max(model, 1e-6)
                for a in range(n):
                    for b in range(n):
                        own_fisher[j, a, b] += w * ga[a] * ga[b]
                for k in range(width):
                    if not seen[k]:
                        continue
                    other = neighbours[j, k]
                    _gradient(par[other], label == other, y - par[other, 2], x - par[other, 3], gb)
                    for a in range(n):
                        for b in range(n):
                            out[j, k, a, b] += w * ga[a] * gb[b]


@kernel
def covariances(
    first: int, last: int, own: Floats, cross: Floats, neighbours: Ints, free: npt.NDArray[np.bool_], out: Floats
) -> None:
    """Fill out[j] with the covariance of column j, its neighbours' parameters being free as well."""
    n = own.shape[1]
    width = neighbours.shape[1]
    for j in range(first, last):
        members = [j]
        for k in range(width):
            if neighbours[j, k] >= 0:
                members.append(neighbours[j, k])
        size = n * len(members)
        joint = np.zeros((size, size))
        for p in range(len(members)):
            mp = members[p]
            joint[p * n : p * n + n, p * n : p * n + n] = own[mp]
            for q in range(len(members)):
                if q == p:
                    continue
                for k in range(width):
                    if neighbours[mp, k] == members[q]:
                        joint[p * n : p * n + n, q * n : q * n + n] = cross[mp, k]
        scale = np.empty(size)
        for i in range(size):
            scale[i] = 1.0 / math.sqrt(joint[i, i]) if joint[i, i] > 0 else 1.0
        for i in range(size):
            for k in range(size):
                both = free[i % n] and free[k % n]
                joint[i, k] = (
                    0.5 * (joint[i, k] + joint[k, i]) * scale[i] * scale[k] if both and k >= i else joint[i, k]
                )
        for i in range(size):
            for k in range(i):
                joint[i, k] = joint[k, i]
        for i in range(size):
            if not free[i % n]:
                for k in range(size):
                    joint[i, k] = 0.0
                    joint[k, i] = 0.0
                joint[i, i] = 1.0
        unit, solution = np.zeros(size), np.zeros(size)
        low = np.zeros((size, size))
        good = _factor(joint, low)
        for a in range(n):
            unit[:] = 0.0
            unit[a] = 1.0
            if good:
                _substitute(low, unit, solution)
            for b in range(n):
                value = solution[b] * scale[a] * scale[b] if good else math.nan
                out[j, a, b] = value if free[a] and free[b] else (math.nan if not good else 0.0)
