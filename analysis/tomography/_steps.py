"""Compiled steps of the iterative methods on packed slices (z, x, lane) and sinograms (angle, column, lane).

Rows start to stop each; every lane by itself, in an order that does not depend on how many there are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel

__all__ = [
    "add_scaled",
    "add_turned",
    "dual_data",
    "dual_gradient",
    "primal",
    "scale_add",
    "sirt_update",
    "squares",
    "weighted_residual",
]

Array32 = npt.NDArray[np.float32]


@kernel
def add_turned(straight: Array32, turned: Array32, start: int, stop: int) -> None:
    """Add (x, z, lane) to (z, x, lane)."""
    _, nx, lanes = straight.shape
    for i0 in range(0, nx, 8):
        for j in range(start, stop):
            for i in range(i0, min(i0 + 8, nx)):
                for q in range(lanes):
                    straight[j, i, q] += turned[i, j, q]


@kernel
def weighted_residual(data: Array32, fit: Array32, weights: Array32, start: int, stop: int) -> None:
    """Write (data - fit) weights over `fit`."""
    for k in range(start, stop):
        for c in range(data.shape[1]):
            w = weights[k, c]
            for q in range(data.shape[2]):
                fit[k, c, q] = (data[k, c, q] - fit[k, c, q]) * w


@kernel
def sirt_update(
    v: Array32, straight: Array32, turned: Array32, weights: Array32, nonnegative: bool, start: int, stop: int
) -> None:
    """Add weights (straight + turned) to the slices."""
    _, nx, lanes = v.shape
    floor = np.float32(0.0) if nonnegative else np.float32(-np.inf)
    for i0 in range(0, nx, 8):
        for j in range(start, stop):
            for i in range(i0, min(i0 + 8, nx)):
                w = weights[j, i]
                for q in range(lanes):
                    v[j, i, q] = max(v[j, i, q] + w * (straight[j, i, q] + turned[i, j, q]), floor)


@kernel
def squares(a: Array32) -> npt.NDArray[np.float64]:
    """Return the sum of squares of each lane."""
    total = np.zeros(a.shape[2])
    for j in range(a.shape[0]):
        for i in range(a.shape[1]):
            for q in range(a.shape[2]):
                total[q] += np.float64(a[j, i, q]) * np.float64(a[j, i, q])
    return total


@kernel
def add_scaled(a: Array32, b: Array32, scale: Array32, start: int, stop: int) -> None:
    """Add b times a scale for each lane to a."""
    for j in range(start, stop):
        for i in range(a.shape[1]):
            for q in range(a.shape[2]):
                a[j, i, q] += scale[q] * b[j, i, q]


@kernel
def scale_add(a: Array32, scale: Array32, b: Array32, start: int, stop: int) -> None:
    """Multiply a by a scale for each lane and add b."""
    for j in range(start, stop):
        for i in range(a.shape[1]):
            for q in range(a.shape[2]):
                a[j, i, q] = scale[q] * a[j, i, q] + b[j, i, q]


@kernel
def dual_data(y: Array32, fit: Array32, data: Array32, sigma: Array32, start: int, stop: int) -> None:
    """Step of the data's dual variable: the proximal map of the conjugate of half the squared distance."""
    for k in range(start, stop):
        for c in range(y.shape[1]):
            w = sigma[k, c]
            shrink = np.float32(1.0) / (np.float32(1.0) + w)
            for q in range(y.shape[2]):
                y[k, c, q] = (y[k, c, q] + w * (fit[k, c, q] - data[k, c, q])) * shrink if w > 0.0 else 0.0


@kernel
def dual_gradient(
    gz: Array32, gx: Array32, v: Array32, scale: float, step: float, limit: Array32, start: int, stop: int
) -> None:
    """Step of the gradient's dual variable, then back into the ball of radius `limit`."""
    nz, nx, lanes = v.shape
    gain = np.float32(scale) * np.float32(step)
    for j in range(start, stop):
        for i in range(nx):
            for q in range(lanes):
                radius = limit[q]
                here = v[j, i, q]
                a = gz[j, i, q] + (gain * (v[j + 1, i, q] - here) if j + 1 < nz else np.float32(0.0))
                b = gx[j, i, q] + (gain * (v[j, i + 1, q] - here) if i + 1 < nx else np.float32(0.0))
                length = np.sqrt(a * a + b * b)
                if length > radius:
                    shrink = radius / length
                    a *= shrink
                    b *= shrink
                gz[j, i, q] = a
                gx[j, i, q] = b


@kernel
def primal(
    v: Array32,
    ahead: Array32,
    straight: Array32,
    turned: Array32,
    gz: Array32,
    gx: Array32,
    scale: float,
    tau: Array32,
    nonnegative: bool,
    start: int,
    stop: int,
) -> None:
    """Step of the slices against both dual variables, and their extrapolation `ahead`."""
    _, nx, lanes = v.shape
    nu = np.float32(scale)
    floor = np.float32(0.0) if nonnegative else np.float32(-np.inf)
    for i0 in range(0, nx, 8):
        for j in range(start, stop):
            for i in range(i0, min(i0 + 8, nx)):
                w = tau[j, i]
                for q in range(lanes):
                    slope = -gz[j, i, q] - gx[j, i, q]
                    if j > 0:
                        slope += gz[j - 1, i, q]
                    if i > 0:
                        slope += gx[j, i - 1, q]
                    old = v[j, i, q]
                    new = max(old - w * (straight[j, i, q] + turned[i, j, q] + nu * slope), floor)
                    v[j, i, q] = new
                    ahead[j, i, q] = np.float32(2.0) * new - old
