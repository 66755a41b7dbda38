"""Random numbers for images: one stream per row, exact Poisson and fast normal deviates.

Generators: SplitMix64 to seed, xoroshiro128+ to run (D. Blackman and S. Vigna, ACM Trans. Math. Softw. 47 (2021) 36).
Poisson: multiplication of uniforms below a mean of 10, transformed rejection (PTRS) above (W. Hormann, Insurance:
Mathematics and Economics 12 (1993) 39). Normal deviates: Box-Muller.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.simulators.physics._jit import kernel, over_rows

State = npt.NDArray[np.uint64]
Image = npt.NDArray[np.float32]


@kernel
def seed_state(state: State, seed: int, stream: int) -> None:
    """Fill a two-word state from a seed and a stream number (SplitMix64)."""
    z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(stream) * np.uint64(0xD1B54A32D192ED03)
    for i in range(2):
        z += np.uint64(0x9E3779B97F4A7C15)
        v = z
        v = (v ^ (v >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        v = (v ^ (v >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state[i] = v ^ (v >> np.uint64(31))


@kernel
def bits(state: State) -> Any:
    """Next 64 bits of a stream, the low ones rolled up from the high ones (xoroshiro128+)."""
    s0 = state[0]
    s1 = state[1]
    out = s0 + s1
    s1 ^= s0
    state[0] = ((s0 << np.uint64(24)) | (s0 >> np.uint64(40))) ^ s1 ^ (s1 << np.uint64(16))
    state[1] = (s1 << np.uint64(37)) | (s1 >> np.uint64(27))
    return (out >> np.uint64(20)) | (out << np.uint64(44))


@kernel
def uniform(state: State) -> float:
    """Uniform deviate in (0, 1)."""
    return (float(bits(state) >> np.uint64(11)) + 0.5) * (1.0 / 9007199254740992.0)


@kernel
def normal(state: State) -> float:
    """Return a standard normal deviate."""
    return math.sqrt(-2.0 * math.log(uniform(state))) * math.cos(2.0 * math.pi * uniform(state))


@kernel
def poisson(state: State, mean: float) -> int:
    """Poisson deviate of any mean up to 1e9 (exact: inversion below 10, PTRS above)."""
    if mean <= 0.0:
        return 0
    if mean < 10.0:
        p = math.exp(-mean)
        u = uniform(state)
        k = 0
        cumulative = p
        while u > cumulative and k < 100:
            k += 1
            p *= mean / k
            cumulative += p
        return k
    root = math.sqrt(mean)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_r = 0.9277 - 3.6224 / (b - 2.0)
    while True:
        u = uniform(state) - 0.5
        v = uniform(state)
        us = 0.5 - abs(u)
        n = math.floor((2.0 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= v_r:
            return int(n)
        if n < 0 or (us < 0.013 and v > us):
            continue
        accept = math.log(v) + math.log(inverse_alpha) - math.log(a / (us * us) + b)
        if accept <= -mean + n * math.log(mean) - math.lgamma(n + 1.0):
            return int(n)


@kernel
def _poisson_rows(mean: Image, scale: float, out: Image, first: int, last: int, seed: int, frame: int) -> None:
    state = np.empty(2, np.uint64)
    for y in range(first, last):
        seed_state(state, seed, frame * 65536 + y)
        for x in range(mean.shape[1]):
            out[y, x] = poisson(state, mean[y, x] * scale)


def poisson_image(mean: Image, *, seed: int, frame: int, scale: float = 1.0) -> Image:
    """Poisson counts (float32) of an image of means times ``scale``; the same for the same seed and frame."""
    out = np.empty_like(mean)
    over_rows(mean.shape[0], lambda a, b: _poisson_rows(mean, scale, out, a, b, seed, frame))
    return out


@kernel
def _normal_rows(out: Image, first: int, last: int, seed: int, frame: int) -> None:
    state = np.empty(2, np.uint64)
    for y in range(first, last):
        seed_state(state, seed, frame * 65536 + y)
        for x in range(out.shape[1]):
            out[y, x] = normal(state)


def normal_image(shape: tuple[int, int], *, seed: int, frame: int = 0) -> Image:
    """Return standard normal deviates (float32), the same for the same seed and frame."""
    out = np.empty(shape, np.float32)
    over_rows(shape[0], lambda a, b: _normal_rows(out, a, b, seed, frame))
    return out
