"""Differences of widths, with everything that says whether they are there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from exitwave.analysis.errors import OutOfRangeError, ShapeError

__all__ = ["Difference", "Regression", "group_difference", "paired_difference", "width_on_intensity"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A mean difference. Lengths in the unit of what was compared.

    Attributes
    ----------
    kind : "paired" or "groups"
    n : number of pairs, or (n_a, n_b) of groups
    mean : float
    sd : float
        Of the single differences (paired), or of the values within groups.
    se : float
        Standard error of the mean difference, from the scatter.
    expected_se : float
        The same from the standard errors of the single values; NaN without them. Scatter above it is real
        variation from column to column (or errors that are too small).
    interval : (low, high)
        68 % by bootstrap over columns.
    p_value : float
        Two-sided, by permutation: signs of the differences (paired), or labels (groups).
    """

    kind: Literal["paired", "groups"]
    n: tuple[int, int]
    mean: float
    sd: float
    se: float
    expected_se: float
    interval: tuple[float, float]
    p_value: float

    @property
    def sigmas(self) -> float:
        """Mean over its standard error."""
        return self.mean / self.se if self.se > 0 else math.nan


def _finite(name: str, *arrays: npt.ArrayLike) -> list[Array]:
    out = [np.asarray(a, np.float64) for a in arrays]
    if any(a.ndim != 1 or a.shape != out[0].shape for a in out):
        raise ShapeError(f"{name}: expected arrays of one length, got {[a.shape for a in out]}")
    return out


def paired_difference(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    a_se: npt.ArrayLike | None = None,
    b_se: npt.ArrayLike | None = None,
    rng: np.random.Generator,
    permutations: int = 4999,
    resamples: int = 2000,
) -> Difference:
    """Compare two measurements of the same columns, a - b; columns that are not finite in both are left out.

    The p-value is that of exchanging a and b of each column at random: exact if both scatter alike, whatever
    the distribution.

    Raises
    ------
    ShapeError
        Different lengths, or fewer than four columns.
    """
    first, second = _finite("paired_difference", a, b)
    good = np.isfinite(first) & np.isfinite(second)
    d = (first - second)[good]
    n = d.size
    if n < 4:
        raise ShapeError(f"paired_difference: {n} columns measured in both; needs at least 4")
    mean, sd = float(d.mean()), float(d.std(ddof=1))
    signs = rng.integers(0, 2, (permutations, n), dtype=np.int8) * 2 - 1
    null = np.abs(signs @ d) / n
    # a permutation that repeats what was seen counts, rounding or not
    p = (1.0 + float((null >= abs(mean) * (1 - 1e-12)).sum())) / (1.0 + permutations)
    means = d[rng.integers(0, n, (resamples, n))].mean(axis=1)
    expected = math.nan
    if a_se is not None and b_se is not None:
        ea, eb = _finite("paired_difference", a_se, b_se)
        expected = math.sqrt(float((ea[good] ** 2 + eb[good] ** 2).sum())) / n
    low, high = np.quantile(means, [0.16, 0.84])
    return Difference("paired", (n, n), mean, sd, sd / math.sqrt(n), expected, (float(low), float(high)), p)


def group_difference(
    values: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    values_se: npt.ArrayLike | None = None,
    rng: np.random.Generator,
    permutations: int = 4999,
    resamples: int = 2000,
) -> Difference:
    """Compare two kinds of columns, mean of group 0 - mean of group 1; other labels are left out.

    The permutation studentises (A. Janssen, Stat. Probab. Lett. 36, 9 (1997)): labels may be exchanged though the
    kinds scatter differently, as columns with different counts do.

    Raises
    ------
    ShapeError
        Different lengths, or fewer than four columns of a kind.
    """
    y, g = _finite("group_difference", values, groups)
    good = np.isfinite(y) & ((g == 0) | (g == 1))
    y, label = y[good], g[good] == 1
    n1 = int(label.sum())
    n0 = label.size - n1
    if min(n0, n1) < 4:
        raise ShapeError(f"group_difference: {n0} and {n1} columns of the kinds; needs at least 4 of each")

    def studentised(ones: Array) -> tuple[Array, Array]:
        s1, q1 = ones @ y, ones @ (y * y)
        m1, m0 = s1 / n1, (y.sum() - s1) / n0
        v1 = (q1 - n1 * m1**2) / (n1 - 1)
        v0 = ((y * y).sum() - q1 - n0 * m0**2) / (n0 - 1)
        return m0 - m1, np.sqrt(np.maximum(v1 / n1 + v0 / n0, 1e-300))

    means, errors = studentised(label[None, :].astype(np.float64))
    mean, se = float(means[0]), float(errors[0])
    shuffled = rng.permuted(np.broadcast_to(label, (permutations, label.size)), axis=1).astype(np.float64)
    m, e = studentised(shuffled)
    p = (1.0 + float((np.abs(m / e) >= abs(mean / se) * (1 - 1e-12)).sum())) / (1.0 + permutations)
    y0, y1 = y[~label], y[label]
    boot = y0[rng.integers(0, n0, (resamples, n0))].mean(axis=1) - y1[rng.integers(0, n1, (resamples, n1))].mean(axis=1)
    expected = math.nan
    if values_se is not None:
        (s,) = _finite("group_difference", values_se)
        s = s[good]
        expected = math.sqrt(float((s[~label] ** 2).sum()) / n0**2 + float((s[label] ** 2).sum()) / n1**2)
    low, high = np.quantile(boot, [0.16, 0.84])
    sd = math.sqrt(((n0 - 1) * float(y0.var(ddof=1)) + (n1 - 1) * float(y1.var(ddof=1))) / (n0 + n1 - 2))
    return Difference("groups", (n0, n1), mean, sd, se, expected, (float(low), float(high)), p)


@dataclass(frozen=True)
class Regression:
    """A line through width against intensity: slope (width per count), its standard error and two-sided p-value."""

    slope: float
    slope_se: float
    p_value: float
    intercept: float

    def explains(self, counts: float) -> float:
        """Return the difference of widths that a difference of intensities makes along this line."""
        return self.slope * counts


def width_on_intensity(intensity: npt.ArrayLike, width: npt.ArrayLike) -> Regression:
    """Regress width on intensity over columns.

    A fit with a free pedestal leaves a small slope of its own: errors of height and width of one Gaussian are
    anticorrelated, so noise alone tilts it downwards.

    Raises
    ------
    ShapeError
        Fewer than four columns.
    OutOfRangeError
        All intensities the same.
    """
    x, y = _finite("width_on_intensity", intensity, width)
    good = np.isfinite(x) & np.isfinite(y)
    if good.sum() < 4:
        raise ShapeError(f"width_on_intensity: {int(good.sum())} columns; needs at least 4")
    if np.ptp(x[good]) == 0:
        raise OutOfRangeError("width_on_intensity: all intensities are the same")
    line = stats.linregress(x[good], y[good])
    return Regression(float(line.slope), float(line.stderr), float(line.pvalue), float(line.intercept))
