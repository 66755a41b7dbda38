"""What a detector lost and what it mixed up: dead time and pile-up, segment by segment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import fft, special

from exitwave.analysis.eds.axis import EnergyAxis
from exitwave.analysis.errors import OutOfRangeError, ShapeError, require_positive

__all__ = ["SegmentRates", "asymmetry", "input_rate", "remove_pile_up"]


def input_rate(output_cps: float, dead_time_s: float, *, model: Literal["paralysable", "non-paralysable"]) -> float:
    """Return the true rate of pulses behind an output rate, 1/s.

    Non-paralysable: m = n / (1 + n tau). Paralysable: m = n exp(-n tau), of whose two solutions the one below
    the maximum is taken (G. F. Knoll, Radiation Detection and Measurement, 4th ed., chapter 4.VII).

    Raises
    ------
    OutOfRangeError
        If no input rate gives this output rate.
    """
    m, tau = float(output_cps), require_positive("dead_time_s", dead_time_s, "s")
    if not (math.isfinite(m) and m >= 0.0):
        raise OutOfRangeError(f"output_cps = {m:g} 1/s: must be finite and >= 0 1/s")
    if model == "non-paralysable":
        if m * tau >= 1.0:
            raise OutOfRangeError(f"output_cps = {m:g} 1/s: at most {1 / tau:g} 1/s with a dead time of {tau:g} s")
        return m / (1.0 - m * tau)
    if model != "paralysable":
        raise OutOfRangeError(f"model = {model!r}: must be 'paralysable' or 'non-paralysable'")
    if m * tau > math.exp(-1.0):
        raise OutOfRangeError(f"output_cps = {m:g} 1/s: at most {1 / (math.e * tau):g} 1/s, paralysable, {tau:g} s")
    return float(-special.lambertw(-m * tau).real / tau)


@dataclass(frozen=True)
class SegmentRates:
    """What one segment reported of an acquisition.

    `real_s` and `live_s` are its clocks; `input_cps` and `output_cps` the rates it showed (at the end, often).
    `resolution_s` is the time within which two pulses are taken for one.
    """

    name: str
    counts: int
    real_s: float
    live_s: float
    input_cps: float = math.nan
    output_cps: float = math.nan
    resolution_s: float = 5e-7

    def __post_init__(self) -> None:
        if not (0.0 < self.live_s <= self.real_s * (1 + 1e-9) and math.isfinite(self.real_s)):
            raise OutOfRangeError(f"{self.name}: live time {self.live_s:g} s must lie in (0, {self.real_s:g}] s")

    @property
    def dead_share(self) -> float:
        """Share of the time in which the segment was deaf, by its clocks."""
        return 1.0 - self.live_s / self.real_s

    @property
    def dead_share_by_rates(self) -> float:
        """The same by its rates: 1 - output / input; NaN without them."""
        return 1.0 - self.output_cps / self.input_cps if self.input_cps > 0 else math.nan

    @property
    def correction(self) -> float:
        """Factor from counts to photons that arrived: real time / live time."""
        return self.real_s / self.live_s

    @property
    def true_cps(self) -> float:
        """Photons that arrived per second, counts / live time."""
        return self.counts / self.live_s

    @property
    def pile_up_share(self) -> float:
        """Share of recorded pulses that are two or more photons at once, 1 - exp(-rate x resolution)."""
        return -math.expm1(-self.true_cps * self.resolution_s)

    def dead_time_s(self, model: Literal["paralysable", "non-paralysable"] = "paralysable") -> float:
        """Return the dead time per pulse that explains live and real time."""
        n, m = self.true_cps, self.counts / self.real_s
        return math.log(n / m) / n if model == "paralysable" else (n / m - 1.0) / n


def remove_pile_up(
    spectrum: npt.ArrayLike, axis: EnergyAxis, *, true_cps: float, resolution_s: float
) -> npt.NDArray[np.float64]:
    """Take sum peaks and their tails out of the spectrum of one segment.

    Pulses within `resolution_s` of the first are added to it. With t the true spectrum of unit sum and
    x = rate x resolution, what is recorded is s = sum_k exp(-x) x^k / k! t^(*(k+1)), in Fourier space
    s = t exp(x (t - 1)); hence x t = W(x exp(x) s) with Lambert's W: all orders at once.

    Parameters
    ----------
    spectrum : array (n_channels,)
        Counts.
    axis : EnergyAxis
        Energies add, not channels: its offset is heeded to a channel.
    true_cps : float
        Rate of photons in the segment, 1/s.
    resolution_s : float
        Pulse pair resolution.

    Returns
    -------
    float64 array (n_channels,)
        Photons, dead time not corrected: the sum is larger than before, by one photon for each pair. Noise
        makes some channels negative, which keeps sums unbiased.

    Raises
    ------
    ShapeError, OutOfRangeError
        Also where more than half of the pulses would be piled up.
    """
    counts = np.asarray(spectrum, np.float64)
    if counts.shape != (axis.n_channels,):
        raise ShapeError(f"spectrum: expected ({axis.n_channels},), got {counts.shape}")
    x = float(true_cps) * float(resolution_s)
    if not (math.isfinite(x) and 0.0 <= x < 0.5):
        raise OutOfRangeError(f"rate x resolution = {x:g}: must lie in [0, 0.5); lower the beam current")
    total = counts.sum()
    if x == 0.0 or total <= 0.0:
        return counts.copy()
    offset = round(axis.offset_kev / axis.gain_kev)
    # from energy zero, and long enough for sums of three not to come round
    size = fft.next_fast_len(3 * (axis.n_channels + abs(offset)), real=True)
    shifted = np.zeros(size)
    np.add.at(shifted, np.maximum(np.arange(axis.n_channels) + offset, 0), counts)
    s = fft.rfft(shifted / total)
    lambert_w: Any = special.lambertw  # its stubs know no arrays of complex numbers
    t = lambert_w(x * math.exp(x) * s) / x
    true = fft.irfft(t, size)
    out = np.zeros(axis.n_channels)
    source = np.arange(axis.n_channels) + offset
    inside = source >= 0
    out[inside] = true[source[inside]]
    # each recorded pulse held 1 + x photons on average
    return np.asarray(out * total * (1.0 + x))


def asymmetry(rates: list[SegmentRates]) -> dict[str, float]:
    """Return the true rate of each segment over the mean of all: 1 means an even share, less is shadowed.

    Raises
    ------
    ShapeError
        With fewer than two segments.
    """
    if len(rates) < 2:
        raise ShapeError(f"asymmetry: needs at least two segments, got {len(rates)}")
    mean = sum(r.true_cps for r in rates) / len(rates)
    return {r.name: r.true_cps / mean for r in rates}
