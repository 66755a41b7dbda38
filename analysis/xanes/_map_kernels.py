"""Compiled loops of `normalise` and `maps`; shapes and dtypes as named, no checks.

A spectrum is a column of `mu` (n, pixels). All that is linear in it is a product with a matrix that is the
same for every pixel; `bands` (rows, 2) holds where a row of that matrix begins and ends to be non-zero.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel

__all__ = ["crossing", "normalise", "peak"]

Array32 = npt.NDArray[np.float32]
Array64 = npt.NDArray[np.float64]
Bands = npt.NDArray[np.int64]

BLOCK = 512
"""Pixels whose spectra, curves and noise lie in the second-level cache together."""


@kernel
def gather(source: Array32, start: int, stop: int) -> Array32:
    """Copy a block of pixels out of a stack, whose frames all fall on the same lines of the cache."""
    n, size = source.shape[0], stop - start
    block = np.empty((n, size), np.float32)
    for j in range(n):
        for p in range(size):
            block[j, p] = source[j, start + p]
    return block


@kernel
def products(mu: Array32, matrix: Array32, bands: Bands, out: Array32) -> None:
    """Make out (rows, pixels) = matrix (rows, n) @ mu (n, pixels), four rows and two energies at a time."""
    size, rows = mu.shape[1], matrix.shape[0]
    r = 0
    while r + 4 <= rows:
        first = min(min(bands[r, 0], bands[r + 1, 0]), min(bands[r + 2, 0], bands[r + 3, 0]))
        last = max(max(bands[r, 1], bands[r + 1, 1]), max(bands[r + 2, 1], bands[r + 3, 1]))
        out[r : r + 4] = np.float32(0.0)
        o0, o1, o2, o3 = out[r], out[r + 1], out[r + 2], out[r + 3]
        j = first
        while j + 2 <= last:
            a0, a1, a2, a3 = matrix[r, j], matrix[r + 1, j], matrix[r + 2, j], matrix[r + 3, j]
            b0, b1, b2, b3 = matrix[r, j + 1], matrix[r + 1, j + 1], matrix[r + 2, j + 1], matrix[r + 3, j + 1]
            u, v = mu[j], mu[j + 1]
            for p in range(size):
                x, y = u[p], v[p]
                o0[p] += a0 * x + b0 * y
                o1[p] += a1 * x + b1 * y
                o2[p] += a2 * x + b2 * y
                o3[p] += a3 * x + b3 * y
            j += 2
        if j < last:
            a0, a1, a2, a3 = matrix[r, j], matrix[r + 1, j], matrix[r + 2, j], matrix[r + 3, j]
            u = mu[j]
            for p in range(size):
                x = u[p]
                o0[p] += a0 * x
                o1[p] += a1 * x
                o2[p] += a2 * x
                o3[p] += a3 * x
        r += 4
    while r < rows:
        out[r] = np.float32(0.0)
        o0 = out[r]
        for j in range(bands[r, 0], bands[r, 1]):
            a0 = matrix[r, j]
            if a0 == 0.0:
                continue
            u = mu[j]
            for p in range(size):
                o0[p] += a0 * u[p]
        r += 1


@kernel
def highest(h: Array32, rows: int, best: Array32, top: npt.NDArray[np.int32]) -> None:
    """Largest of the first `rows` rows per column, and which."""
    for p in range(h.shape[1]):
        best[p] = h[0, p]
        top[p] = 0
    for r in range(1, rows):
        for p in range(h.shape[1]):
            larger = h[r, p] > best[p]
            best[p] = h[r, p] if larger else best[p]
            top[p] = np.int32(r) if larger else top[p]


@kernel
def normalise(
    mu: Array32,
    variance: Array32,
    offsets: Array32,
    coefficients: Array32,
    bands: Bands,
    pre: Bands,
    post: Bands,
    powers: Array32,
    norm: Array32,
    step: Array32,
    step_sd: Array32,
    residual: Array32,
    offset: int,
    start: int,
    stop: int,
) -> None:
    """Pre-edge line, edge step and misfit per pixel; the normalised spectrum where `norm` has room.

    `coefficients` rows: line's value at E0, its slope, the edge step, then the post-edge polynomial's
    coefficients, to be multiplied by `powers` (order + 1, n); `offsets` (n,) are E - E0.
    """
    n, size = mu.shape[0], stop - start
    rows = coefficients.shape[0]
    c = np.empty((rows, size), np.float32)
    block = gather(mu, start, stop)
    products(block, coefficients, bands, c)
    total = np.zeros(size, np.float32)
    for j in range(pre[0, 0], pre[0, 1]):
        e = offsets[j]
        for p in range(size):
            d = block[j, p] - c[0, p] - c[1, p] * e
            total[p] += d * d
    left = np.empty(size, np.float32)
    for j in range(post[0, 0], post[0, 1]):
        e = offsets[j]
        for p in range(size):
            left[p] = block[j, p] - c[0, p] - c[1, p] * e
        for k in range(rows - 3):
            w = powers[k, j]
            for p in range(size):
                left[p] -= c[3 + k, p] * w
        for p in range(size):
            total[p] += left[p] * left[p]
    count = np.float32((pre[0, 1] - pre[0, 0]) + (post[0, 1] - post[0, 0]))
    for p in range(size):
        step[offset + start + p] = c[2, p]
        residual[offset + start + p] = np.sqrt(total[p] / count) / abs(c[2, p])
    if variance.shape[0] > 0:
        total[:] = np.float32(0.0)
        for j in range(n):
            w = coefficients[2, j] * coefficients[2, j]
            if w > 0.0:
                for p in range(size):
                    total[p] += w * variance[j, start + p]
        for p in range(size):
            step_sd[offset + start + p] = np.sqrt(total[p])
    if norm.shape[0] > 0:
        for j in range(n):
            e = offsets[j]
            for p in range(size):
                norm[j, offset + start + p] = (block[j, p] - c[0, p] - c[1, p] * e) / c[2, p]


@kernel
def _crossing_block(
    mu: Array32,
    variance: Array32,
    smooth: Array32,
    smooth_bands: Bands,
    nodes: Array64,
    coefficients: Array32,
    bands: Bands,
    level: float,
    edge: Array32,
    edge_sd: Array32,
    step: Array32,
    offset: int,
    start: int,
    stop: int,
) -> None:
    """Do a block that fits the cache; see `crossing`."""
    m, n, size = smooth.shape[0], mu.shape[0], stop - start
    h, c = np.empty((m, size), np.float32), np.empty((3, size), np.float32)
    block = gather(mu, start, stop)
    plain = True
    for r in range(m):
        plain = plain and smooth_bands[r, 1] - smooth_bands[r, 0] == 1
    if not plain:
        products(block, smooth, smooth_bands, h)
    products(block, coefficients, bands, c)
    best, top = np.empty(size, np.float32), np.empty(size, np.int32)
    base = np.float32(level)
    for p in range(size):
        c[0, p] += base * c[2, p]
    c0, c1 = c[0], c[1]
    for r in range(m):
        e = np.float32(nodes[r])
        # without smoothing a node is an energy of the scan
        row, target = block[smooth_bands[r, 0]] if plain else h[r], h[r]
        for p in range(size):
            target[p] = row[p] - (c0[p] + c1[p] * e)
    highest(h, m, best, top)
    noise = gather(variance, start, stop) if variance.shape[0] > 0 else variance
    gaps = np.empty(4)
    share = np.empty(4)
    for p in range(size):
        q = offset + start + p
        step[q] = c[2, p]
        edge[q] = np.nan
        edge_sd[q] = np.nan
        i = top[p] - 1
        while i >= 0 and h[i, p] >= 0.0:
            i -= 1
        if i < 0 or not (best[p] > 0.0) or not (c[2, p] > 0.0):
            continue
        k = min(max(i - 1, 0), m - 4)
        x0, x1, x2, x3 = nodes[k], nodes[k + 1], nodes[k + 2], nodes[k + 3]
        y0, y1, y2, y3 = np.float64(h[k, p]), np.float64(h[k + 1, p]), np.float64(h[k + 2, p]), np.float64(h[k + 3, p])
        # Newton's form of the cubic through the four nodes
        d01, d12, d23 = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1), (y3 - y2) / (x3 - x2)
        d012, d123 = (d12 - d01) / (x2 - x0), (d23 - d12) / (x3 - x1)
        d0123 = (d123 - d012) / (x3 - x0)
        low, high = nodes[i], nodes[i + 1]
        ylow, yhigh = np.float64(h[i, p]), np.float64(h[i + 1, p])
        x = low - ylow * (high - low) / (yhigh - ylow)
        slope = (yhigh - ylow) / (high - low)
        for _ in range(12):
            a, b, g = x - x0, x - x1, x - x2
            value = y0 + a * (d01 + b * (d012 + g * d0123))
            slope = d01 + d012 * (a + b) + d0123 * (a * b + a * g + b * g)
            if value < 0.0:
                low = x
            else:
                high = x
            fresh = x - value / slope
            if not (low <= fresh <= high):
                fresh = 0.5 * (low + high)
            done = abs(fresh - x) < 1e-7
            x = fresh
            if done:
                break
        edge[q] = np.float32(x)
        if variance.shape[0] == 0 or not (slope > 0.0):
            continue
        for t in range(4):
            gaps[t] = x - nodes[k + t]
        for t in range(4):
            w = 1.0
            for u in range(4):
                if u != t:
                    w *= gaps[u] / (nodes[k + t] - nodes[k + u])
            share[t] = w
        total = 0.0
        for j in range(n):
            w = -np.float64(coefficients[0, j]) - x * coefficients[1, j] - level * coefficients[2, j]
            for t in range(4):
                w += share[t] * smooth[k + t, j]
            total += w * w * noise[j, p]
        edge_sd[q] = np.float32(np.sqrt(total) / slope)


@kernel
def crossing(
    mu: Array32,
    variance: Array32,
    smooth: Array32,
    smooth_bands: Bands,
    nodes: Array64,
    coefficients: Array32,
    bands: Bands,
    level: float,
    edge: Array32,
    edge_sd: Array32,
    step: Array32,
    offset: int,
    start: int,
    stop: int,
) -> None:
    """Where the spectrum last rises through `level` of its edge step below its maximum in the window.

    `smooth` (m, n) gives the spectrum at the window's `nodes` (eV from E0); between four of them a cubic.
    """
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        _crossing_block(
            mu,
            variance,
            smooth,
            smooth_bands,
            nodes,
            coefficients,
            bands,
            level,
            edge,
            edge_sd,
            step,
            offset,
            first,
            last,
        )


@kernel
def peak(
    mu: Array32,
    variance: Array32,
    matrix: Array32,
    bands: Bands,
    first: float,
    spacing: float,
    edge: Array32,
    edge_sd: Array32,
    step: Array32,
    offset: int,
    start: int,
    stop: int,
) -> None:
    """Where matrix[:-1] @ spectrum, a curve on an even grid, is highest; the matrix's last row is the edge step."""
    m, n, size = matrix.shape[0] - 1, mu.shape[0], stop - start
    h = np.empty((m + 1, size), np.float32)
    products(gather(mu, start, stop), matrix, bands, h)
    best, tops = np.empty(size, np.float32), np.empty(size, np.int32)
    highest(h, m, best, tops)
    noise = gather(variance, start, stop) if variance.shape[0] > 0 else variance
    for p in range(size):
        q = offset + start + p
        step[q] = h[m, p]
        edge[q] = np.nan
        edge_sd[q] = np.nan
        top = tops[p]
        if top == 0 or top == m - 1 or best[p] != best[p] or not (h[m, p] > 0.0):
            continue
        a, b, c = np.float64(h[top - 1, p]), np.float64(h[top, p]), np.float64(h[top + 1, p])
        bend = a - 2.0 * b + c
        if not (bend < 0.0):
            continue
        t = 0.5 * (a - c) / bend
        edge[q] = np.float32(first + spacing * (top + t))
        if variance.shape[0] == 0:
            continue
        da, db, dc = (0.5 - t) / bend, 2.0 * t / bend, (-0.5 - t) / bend
        total = 0.0
        for j in range(n):
            w = da * matrix[top - 1, j] + db * matrix[top, j] + dc * matrix[top + 1, j]
            total += w * w * noise[j, p]
        edge_sd[q] = np.float32(spacing * np.sqrt(total))
