"""The ramp of filtered back-projection and its windows.

A. C. Kak and M. Slaney, Principles of Computerized Tomographic Imaging (1988), ch. 3, eq. 61: the ramp of a
band-limited projection, sampled in space so that its mean is right.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import fft

from exitwave.analysis.errors import OutOfRangeError, require_within

__all__ = ["WINDOWS", "filter_response", "padded_length"]

Array64 = npt.NDArray[np.float64]


def _parzen(x: Array64) -> Array64:
    return np.where(x <= 0.5, 1.0 - 6.0 * x**2 * (1.0 - x), 2.0 * (1.0 - x) ** 3)


WINDOWS: dict[str, Callable[[Array64], Array64]] = {
    "ramp": np.ones_like,
    "shepp-logan": lambda x: np.sinc(0.5 * x),
    "cosine": lambda x: np.cos(0.5 * math.pi * x),
    "hamming": lambda x: 0.54 + 0.46 * np.cos(math.pi * x),
    "hann": lambda x: 0.5 + 0.5 * np.cos(math.pi * x),
    "parzen": _parzen,
}
"""What the ramp is multiplied by, as a function of frequency / cut-off from 0 to 1."""


def padded_length(width: int) -> int:
    """Return an even length, good for transforms, that keeps the two ends of a filtered row apart."""
    length = int(fft.next_fast_len(2 * width))
    while length % 2:
        length = int(fft.next_fast_len(length + 1))
    return length


def filter_response(length: int, name: str = "ramp", cutoff: float = 1.0) -> Array64:
    """Return the filter (length // 2 + 1,) at the frequencies of ``rfft``, cycles per pixel.

    Parameters
    ----------
    length : int
        Even number of samples of the padded row.
    name : str
        "ramp", "shepp-logan", "cosine", "hamming", "hann" or "parzen"; "none" filters nothing.
    cutoff : float
        Where the window ends, as a share of Nyquist's frequency, above 0 and up to 1; nothing passes beyond.

    Raises
    ------
    OutOfRangeError
    """
    cutoff = require_within("cutoff", cutoff, 1e-3, 1.0, "of Nyquist")
    if name == "none":
        return np.ones(length // 2 + 1)
    if name not in WINDOWS:
        raise OutOfRangeError(f"filter {name!r}: must be one of {', '.join([*WINDOWS, 'none'])}")
    n = np.minimum(np.arange(length), length - np.arange(length)).astype(np.float64)
    kernel = np.where(n % 2 == 1, -1.0 / (math.pi * np.maximum(n, 1.0)) ** 2, 0.0)
    kernel[0] = 0.25
    x = np.arange(length // 2 + 1) / (0.5 * length * cutoff)
    return np.where(x <= 1.0, np.asarray(fft.rfft(kernel).real) * WINDOWS[name](np.minimum(x, 1.0)), 0.0)
