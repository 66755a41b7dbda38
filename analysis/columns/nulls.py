"""What a way of measuring widths finds where nothing differs: nulls made from the measured counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from exitwave.analysis.columns.fit import ColumnFit
from exitwave.analysis.errors import OutOfRangeError, ShapeError

__all__ = ["Measure", "Null", "common_width_null", "half_split_null", "thinning_null"]

Array = npt.NDArray[np.float64]
Measure = Callable[[Array], Array]
"""From a map of counts to the width of each column, NaN where it cannot be read."""


@dataclass(frozen=True)
class Null:
    """Mean differences found where there is none: `values` (repeats,)."""

    name: str
    values: Array

    @property
    def mean(self) -> float:
        """What the way of measuring makes out of nothing."""
        return float(self.values.mean())

    @property
    def sd(self) -> float:
        """How far it scatters."""
        return float(self.values.std(ddof=1))

    @property
    def mean_se(self) -> float:
        """Standard error of the mean."""
        return self.sd / math.sqrt(self.values.size)

    def p_value(self, observed: float) -> float:
        """Return the two-sided p-value of an observed difference, the null's scatter taken for normal."""
        spread = self.sd * math.sqrt(1.0 + 1.0 / self.values.size)
        if not spread > 0:
            return 1.0 if observed == self.mean else 0.0
        return float(2.0 * stats.t.sf(abs(observed - self.mean) / spread, self.values.size - 1))


def _whole(name: str, counts: npt.ArrayLike) -> npt.NDArray[np.int64]:
    image = np.asarray(counts)
    whole = np.rint(image).astype(np.int64)
    if image.ndim != 2 or (whole < 0).any() or np.abs(image - whole).max(initial=0) > 1e-3:
        raise OutOfRangeError(f"{name}: needs whole counts >= 0 (photons), correct drift without bilinear sharing")
    return np.asarray(whole)


def _mean_difference(a: Array, b: Array) -> float:
    d = a - b
    return float(np.nanmean(d)) if np.isfinite(d).any() else math.nan


def half_split_null(
    counts_a: npt.ArrayLike, counts_b: npt.ArrayLike, measure: Measure, *, rng: np.random.Generator, repeats: int = 30
) -> Null:
    """Deal the photons of both windows at random into two maps with the windows' shares, and compare those.

    With equal counts these are two random halves of one map. What differs between them is noise and whatever the way of
    measuring makes of unequal counts; the scatter is that of the comparison itself.

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    a, b = _whole("half_split_null", counts_a), _whole("half_split_null", counts_b)
    if a.shape != b.shape:
        raise ShapeError(f"half_split_null: maps of {a.shape} and {b.shape}")
    both = a + b
    share = a.sum() / max(int(both.sum()), 1)
    values = []
    for _ in range(repeats):
        part = rng.binomial(both, share)
        values.append(_mean_difference(measure(part.astype(float)), measure((both - part).astype(float))))
    return Null("half split", np.array(values))


def thinning_null(
    counts_a: npt.ArrayLike, counts_b: npt.ArrayLike, measure: Measure, *, rng: np.random.Generator, repeats: int = 30
) -> Null:
    """Thin the map with more photons to the number of the other, and compare it with itself, a - b by sign.

    The mean is what unequal counts alone do to widths; it does not know the other window's photons.

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    a, b = _whole("thinning_null", counts_a), _whole("thinning_null", counts_b)
    if a.shape != b.shape:
        raise ShapeError(f"thinning_null: maps of {a.shape} and {b.shape}")
    sign = 1.0 if a.sum() >= b.sum() else -1.0
    rich, poor = (a, b) if sign > 0 else (b, a)
    share = min(poor.sum() / max(int(rich.sum()), 1), 1.0)
    full = measure(rich.astype(float))
    values = [sign * _mean_difference(full, measure(rng.binomial(rich, share).astype(float))) for _ in range(repeats)]
    return Null("thinning", np.array(values))


def common_width_null(
    fit: ColumnFit,
    shape: tuple[int, int],
    measure: Measure,
    groups: npt.NDArray[np.integer],
    *,
    rng: np.random.Generator,
    repeats: int = 30,
) -> Null:
    """Give all columns one width, their fitted heights and pedestals, and Poisson noise; compare the groups 0 - 1.

    The mean is what different brightness alone does to widths.
    """
    model = _render(fit, shape)
    values = []
    for _ in range(repeats):
        widths = measure(rng.poisson(model).astype(float))
        values.append(float(np.nanmean(widths[groups == 0]) - np.nanmean(widths[groups == 1])))
    return Null("common width", np.array(values))


def _render(fit: ColumnFit, shape: tuple[int, int]) -> Array:
    """Return expected counts with the median width for all, pedestals of the nearest column."""
    from scipy.spatial import cKDTree

    good = fit.ok
    width = float(np.median(fit.fwhm[good]))
    p = 4.0 * math.log(2.0) / width**2
    y, x = np.indices(shape)
    where = fit.positions[good]
    nearest = cKDTree(where).query(np.stack([y.ravel(), x.ravel()], axis=1))[1].reshape(shape)
    image = np.maximum(fit.pedestal[good][nearest], 0.0)
    reach = math.ceil(2.2 * width)
    for (cy, cx), height in zip(where, np.maximum(fit.intensity[good], 0.0), strict=True):
        rows = slice(max(round(cy) - reach, 0), round(cy) + reach + 1)
        cols = slice(max(round(cx) - reach, 0), round(cx) + reach + 1)
        image[rows, cols] += height * np.exp(-p * ((y[rows, cols] - cy) ** 2 + (x[rows, cols] - cx) ** 2))
    return np.asarray(image)
