"""Compiled loops of `stack` and `align`; shapes and dtypes as named, no checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel

__all__ = ["depth_rows", "phase_sums", "resample_rows"]

Array32 = npt.NDArray[np.float32]
Array64 = npt.NDArray[np.float64]


@kernel
def depth_rows(
    raw: Array32,
    flat: Array32,
    dark: Array32,
    beam: float,
    frames: float,
    flats: float,
    photons: float,
    read_noise: float,
    debias: bool,
    depth: Array32,
    variance: Array32,
    start: int,
    stop: int,
) -> None:
    """ln(flat / raw) and its variance from the counts of the means; NaN where there is no light."""
    for y in range(start, stop):
        for x in range(raw.shape[1]):
            d = dark[y, x]
            s = np.float64(raw[y, x] - d)
            f = np.float64(flat[y, x] - d)
            if not (s > 0.0 and f > 0.0):
                depth[y, x] = np.nan
                variance[y, x] = np.nan
                continue
            vs = (1.0 / (photons * s) + (read_noise / s) ** 2) / frames
            vf = (1.0 / (photons * f) + (read_noise / f) ** 2) / flats
            value = np.log(np.float32(f * beam / s))
            if debias:
                value = value - np.float32(0.5 * (vs - vf))
            depth[y, x] = value
            variance[y, x] = np.float32(vs + vf)


@kernel
def resample_rows(
    image: Array32,
    first_y: npt.NDArray[np.int64],
    weight_y: Array32,
    first_x: npt.NDArray[np.int64],
    weight_x: Array32,
    out: Array32,
    start: int,
    stop: int,
) -> None:
    """Separable interpolation: rows first, into one line, then columns; NaN where the source ends."""
    taps = weight_y.shape[1]
    width = image.shape[1]
    line = np.empty(width, np.float32)
    for y in range(start, stop):
        y0 = first_y[y]
        if y0 < 0:
            for x in range(out.shape[1]):
                out[y, x] = np.nan
            continue
        w = weight_y[y, 0]
        for x in range(width):
            line[x] = w * image[y0, x]
        for k in range(1, taps):
            w = weight_y[y, k]
            for x in range(width):
                line[x] += w * image[y0 + k, x]
        for x in range(out.shape[1]):
            x0 = first_x[x]
            if x0 < 0:
                out[y, x] = np.nan
                continue
            total = np.float32(0.0)
            for k in range(taps):
                total += weight_x[x, k] * line[x0 + k]
            out[y, x] = total


@kernel
def phase_sums(
    cross: npt.NDArray[Any], fy: Array64, fx: Array64, weight: Array32, shift: Array64, sums: Array64
) -> None:
    """Slope and curvature of sum w Re(c exp(2 pi i f s)) at shift s, and the scatter of the slope's terms.

    `sums` takes gy, gx, hyy, hyx, hxx, syy, syx, sxx.
    """
    sums[:] = 0.0
    two_pi = 2.0 * np.pi
    turn_x = np.exp(1j * two_pi * fx * shift[1])
    for i in range(fy.size):
        gy = two_pi * fy[i]
        turn = np.exp(1j * gy * shift[0])
        for j in range(fx.size):
            w = weight[i, j]
            if w == 0.0:
                continue
            gx = two_pi * fx[j]
            c = np.complex128(cross[i, j]) * turn * turn_x[j]
            s, p = w * c.imag, w * c.real
            sums[0] += gy * s
            sums[1] += gx * s
            sums[2] += gy * gy * p
            sums[3] += gy * gx * p
            sums[4] += gx * gx * p
            sums[5] += gy * gy * s * s
            sums[6] += gy * gx * s * s
            sums[7] += gx * gx * s * s
