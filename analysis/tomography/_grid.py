"""Compiled loops of the reconstruction in Fourier space: samples on spokes spread over a square grid, and back out."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from exitwave.analysis.compiled import kernel

__all__ = ["KERNEL", "OVERSAMPLING", "finish", "kernel_table", "load_pair", "phases", "roll_off", "spread"]

Array32 = npt.NDArray[np.float32]
Array64 = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex64]

KERNEL = 4
"""Grid points along an axis that a sample reaches."""
OVERSAMPLING = 1.5
STEPS = 4096
"""Table entries from one grid point to the next."""

_SHAPE = math.pi * math.sqrt((KERNEL / OVERSAMPLING) ** 2 * (OVERSAMPLING - 0.5) ** 2 - 0.8)
"""Of the Kaiser-Bessel function: P. J. Beatty et al., IEEE Trans. Med. Imaging 24, 799 (2005), eq. 5."""


@lru_cache(maxsize=1)
def kernel_table() -> tuple[Array32, Array32]:
    """Return the Kaiser-Bessel weights of a sample's neighbours, by its place between grid points.

    (STEPS + 1, KERNEL), and the same with each number twice for complex neighbours in a row.
    """
    place = np.arange(STEPS + 1)[:, None] / STEPS
    distance = np.arange(KERNEL)[None, :] - (0.5 * KERNEL - 1.0) - place
    inside = np.maximum(1.0 - (2.0 * distance / KERNEL) ** 2, 0.0)
    table = (np.i0(_SHAPE * np.sqrt(inside)) / np.i0(_SHAPE)).astype(np.float32)
    return np.ascontiguousarray(table), np.repeat(table, 2, axis=1)


def roll_off(index: Array64, grid: int) -> Array64:
    """Return the transform of the Kaiser-Bessel function at pixels `index` from the middle of a grid so wide."""
    root = np.sqrt(np.asarray(_SHAPE**2 - (math.pi * KERNEL * index / grid) ** 2, np.complex128))
    return np.asarray(KERNEL / np.i0(_SHAPE) * (np.sinh(root) / root).real)


@intrinsic
def _add_sample(
    typing: Any, grid: Any, at: Any, stride: Any, pairs: Any, jx: Any, single: Any, jy: Any, re: Any, im: Any
) -> Any:
    """Add a complex number times the outer product of two rows of weights to a square of a flat grid of pairs."""
    long, short = types.intp, types.float32
    signature = types.void(grid, long, long, pairs, long, single, long, short, short)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), 2 * KERNEL)
        order = ir.VectorType(ir.IntType(32), 2 * KERNEL)
        data = [context.make_array(signature.args[n])(context, builder, args[n]).data for n in (0, 3, 5)]

        def run_of(base: Any, index: Any) -> Any:
            return builder.bitcast(builder.gep(base, [index]), vector.as_pointer())

        def filled(values: list[Any], places: list[int]) -> Any:
            out = ir.Constant(vector, ir.Undefined)
            for n, value in enumerate(values):
                out = builder.insert_element(out, value, ir.IntType(32)(n))
            return builder.shuffle_vector(out, ir.Constant(vector, ir.Undefined), ir.Constant(order, places))

        number = filled([args[7], args[8]], [0, 1] * KERNEL)
        along = builder.fmul(number, builder.load(run_of(data[1], args[4]), align=4))
        at = args[1]
        for n in range(KERNEL):
            weight = builder.load(builder.gep(data[2], [builder.add(args[6], args[6].type(n))]))
            target = run_of(data[0], at)
            more = builder.fmul(along, filled([weight], [0] * (2 * KERNEL)), flags=("contract",))
            builder.store(builder.fadd(builder.load(target, align=4), more, flags=("contract",)), target, align=4)
            at = builder.add(at, args[2])
        return context.get_dummy_value()

    return signature, generate


_add = cast(Callable[..., None], _add_sample)


@kernel
def spread(
    samples: Complex, factor: Complex, cosines: Array64, sines: Array64, grid: Array32, single: Array32, pairs: Array32
) -> None:
    """Add samples (angle, frequency) times `factor` to a grid (side, 2 side) whose middle is frequency zero.

    Frequencies are in the order of ``fft``; where `factor` is zero for all angles nothing is done.
    """
    n, length = samples.shape
    side = grid.shape[0]
    reach = KERNEL // 2 - 1
    flat, row = grid.reshape(-1), 2 * side
    flat_single, flat_pairs = single.reshape(-1), pairs.reshape(-1)
    for k in range(n):
        step_x, step_y = cosines[k] * side / length, sines[k] * side / length
        for m in range(length):
            w = factor[k, m]
            if w.real == 0.0 and w.imag == 0.0:
                continue
            value = samples[k, m] * w
            f = m if 2 * m < length else m - length
            x, y = 0.5 * side + f * step_x, 0.5 * side + f * step_y
            ix, iy = int(x), int(y)
            jx, jy = int((x - ix) * STEPS + 0.5), int((y - iy) * STEPS + 0.5)
            ix -= reach
            iy -= reach
            if ix >= 0 and iy >= 0 and ix + KERNEL <= side and iy + KERNEL <= side:
                at = iy * row + 2 * ix
                _add(flat, at, row, flat_pairs, jx * 2 * KERNEL, flat_single, jy * KERNEL, value.real, value.imag)
            else:
                for a in range(KERNEL):
                    yy = (iy + a) % side
                    for b in range(KERNEL):
                        xx = (ix + b) % side
                        weight = single[jy, a] * single[jx, b]
                        grid[yy, 2 * xx] += weight * value.real
                        grid[yy, 2 * xx + 1] += weight * value.imag


@kernel
def phases(offsets: Array64, share: Array64, factor: Complex, start: int, stop: int) -> None:
    """Fill rows start..stop of ``share exp(2 pi i f offset)`` for the frequencies f of ``fft``."""
    length = factor.shape[1]
    for k in range(start, stop):
        turn = 2.0 * math.pi * offsets[k] / length
        step = complex(math.cos(turn), math.sin(turn))
        now = complex(1.0, 0.0)
        factor[k, 0] = share[k, 0]
        for m in range(1, length // 2):
            now *= step
            factor[k, m] = share[k, m] * now
            factor[k, length - m] = share[k, m] * now.conjugate()
        factor[k, length // 2] = 0.0  # Nyquist's frequency has no sign, so a displaced row can't have it


@kernel
def load_pair(first: Array32, second: Array32, out: Complex, edge: bool) -> None:
    """Put two sinograms (angle, column) into the real and imaginary part of rows filled up with nothing, or edges."""
    n, width = first.shape
    length = out.shape[1]
    turn = width + (length - width) // 2
    for k in range(n):
        for c in range(width):
            out[k, c] = complex(first[k, c], second[k, c])
        right = out[k, width - 1] if edge else np.complex64(0.0)
        left = out[k, 0] if edge else np.complex64(0.0)
        for c in range(width, turn):
            out[k, c] = right
        for c in range(turn, length):
            out[k, c] = left


@kernel
def finish(
    image: Complex, scale_z: Array32, scale_x: Array32, half: float, radius: float, first: Array32, second: Array32
) -> None:
    """Undo the grid's roll-off and write real and imaginary part to two slices; nothing outside of the circle.

    Rows of `image` are still in the order of ``fft``, its columns are not. `half`: index of the axis.
    """
    side = image.shape[0]
    nz, nx = first.shape
    for j in range(nz):
        source = (j - nz // 2) % side
        dz = j - half
        room = radius * radius - dz * dz
        reach = math.sqrt(room) if room > 0.0 else -1.0
        for i in range(nx):
            if abs(i - half) > reach:
                first[j, i] = 0.0
                second[j, i] = 0.0
            else:
                w = scale_z[j] * scale_x[i]
                value = image[source, i]
                first[j, i] = value.real * w
                second[j, i] = value.imag * w
