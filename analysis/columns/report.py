"""Two windows, or two kinds of columns, compared: every difference beside its nulls, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from exitwave.analysis.columns.compare import (
    Difference,
    Regression,
    group_difference,
    paired_difference,
    width_on_intensity,
)
from exitwave.analysis.columns.fit import ColumnFit, fit_columns
from exitwave.analysis.columns.joint import JointFit
from exitwave.analysis.columns.nulls import Measure, Null, common_width_null, half_split_null, thinning_null
from exitwave.analysis.columns.recipe import paper_recipe
from exitwave.analysis.errors import ShapeError, require_positive

__all__ = ["Comparison", "IntensityRatio", "Verdict", "compare_species", "compare_windows", "intensity_ratio"]

Array = npt.NDArray[np.float64]
Fitter = Callable[[Array, int], ColumnFit]
"""From a map, and the number of the window that it is of (0, 1; -1 for photons of both), to fitted columns."""
SIGNIFICANT = 0.01
"""A report makes five comparisons: at 0.05 one report in four would claim a difference that is not there."""


@dataclass(frozen=True)
class Verdict:
    """What the comparison says: nothing is there, a difference is, or the recipe makes one."""

    kind: Literal["nothing", "difference", "artefact"]
    words: str

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Comparison:
    """A difference of widths in pm: by the fit, by the published recipe, each with nulls, and what physics expects.

    `half_split` and `thinning` belong to the fit, `recipe_null` to the recipe (thinning for windows, one common
    width for species). The recipe's parts are None where it was not asked for, or read no widths.
    `common_se` is what all columns err by together, as where one pedestal serves them all (`JointFit`): their scatter
    does not show it.
    """

    what: str
    fit: Difference
    regression: Regression | None
    half_split: Null | None
    thinning: Null | None
    recipe: Difference | None
    recipe_null: Null | None
    expected_pm: float
    expected_se_pm: float
    common_se: float
    verdict: Verdict

    @property
    def scatter_se(self) -> float:
        """Standard error of the difference by the columns' scatter, or by their own errors where those are larger."""
        return _scatter_se(self.fit)

    @property
    def se(self) -> float:
        """Standard error of the difference: scatter, and what all columns have in common."""
        return math.hypot(self.scatter_se, self.common_se)

    def figures(self) -> dict[str, Any]:
        """Return plain numbers for JSON, lengths in pm."""
        out: dict[str, Any] = {
            "difference_pm": self.fit.mean,
            "sd_pm": self.fit.sd,
            "se_pm": self.se,
            "scatter_se_pm": self.fit.se,
            "common_se_pm": self.common_se,
            "expected_se_pm": self.fit.expected_se,
            "interval_68_pm": list(self.fit.interval),
            "permutation_p_value": self.fit.p_value,
            "first_principles_pm": self.expected_pm,
            "first_principles_se_pm": self.expected_se_pm,
            "verdict": self.verdict.kind,
            "words": self.verdict.words,
        }
        if self.half_split is not None:
            out |= {"half_split_sd_pm": self.half_split.sd, "null_p_value": self.half_split.p_value(self.fit.mean)}
        if self.thinning is not None:
            out |= {"thinning_pm": self.thinning.mean, "thinning_se_pm": self.thinning.mean_se}
        if self.regression is not None:
            out |= {"slope_pm_per_count": self.regression.slope, "slope_p_value": self.regression.p_value}
        if self.recipe is not None:
            out |= {"recipe_difference_pm": self.recipe.mean, "recipe_p_value": self.recipe.p_value}
        if self.recipe_null is not None:
            out["recipe_null_pm"] = self.recipe_null.mean
        return out


def _scatter_se(fit: Difference) -> float:
    return max(fit.se, fit.expected_se) if math.isfinite(fit.expected_se) else fit.se


def _common_se(fits: Sequence[ColumnFit], weights: Array, pixel_pm: float) -> float:
    """Return the standard error of a weighted sum of widths that its columns share, pm; 0 for fits one by one."""
    variance = sum(fit.common_variance(weights) for fit in fits if isinstance(fit, JointFit))
    return pixel_pm * math.sqrt(max(variance, 0.0))


def _judge(
    what: str,
    fit: Difference,
    common_se: float,
    half_split: Null | None,
    recipe: Difference | None,
    recipe_null: Null | None,
    expected: float,
    expected_se: float,
) -> Verdict:
    scatter = _scatter_se(fit)
    se = math.hypot(scatter, common_se)
    # The permutation knows the scatter alone; where there is more, the difference has to stand out of both.
    p = max(fit.p_value, 2.0 * float(stats.norm.sf(abs(fit.mean) / se)) if common_se > 0 else 0.0)
    if half_split is not None:
        p = max(p, half_split.p_value(fit.mean))
    parts = f"scatter {scatter:.2f}, common to all columns {common_se:.2f}; " if common_se > 0 else ""
    size = f"{fit.mean:+.2f} ± {se:.2f} pm ({parts}p = {p:.2g}, {fit.n[0]} and {fit.n[1]} columns)"
    known = math.isfinite(expected)
    range_ = f" ± {expected_se:.2f}" if expected_se >= 0.005 else ""
    physics = f"first principles expect {expected:+.2f}{range_} pm" if known else "no expectation was given"
    if p < SIGNIFICANT:
        end = "."
        if known and abs(fit.mean - expected) > 2.5 * math.hypot(se, expected_se):
            end = ", which is not what was found: another cause is needed."
        elif known:
            end = ", in agreement."
        return Verdict("difference", f"{what}: a difference of {size} is in the counts; {physics}{end}")
    if recipe is not None and recipe.p_value < SIGNIFICANT and abs(recipe.mean) > 2.0 * recipe.se:
        words = [
            f"{what}: the recipe (fixed base) reads {recipe.mean:+.2f} ± {recipe.se:.2f} pm, the fit with a free",
            f"pedestal {size}: an artefact of the recipe, no difference is shown.",
        ]
        if recipe_null is not None:
            made = f"{recipe_null.mean:+.2f} ± {recipe_null.sd:.2f} pm"
            words.append(f"Where nothing differs but the counts, the recipe makes {made}.")
        return Verdict("artefact", " ".join([*words, physics[0].upper() + physics[1:] + "."]))
    end = "."
    if known and expected != 0.0 and abs(expected) < 2.0 * se:
        more = (3.0 * se / abs(expected)) ** 2
        end = f", below this precision: {more:.2g} times the counts would show it at three sigmas."
    elif known and expected != 0.0:
        end = ", which this precision would have shown."
    return Verdict("nothing", f"{what}: no difference is shown, {size}; {physics}{end}")


def _recipe(positions: Array, pixel_pm: float, base: float, radius_px: float) -> Measure:
    def measure(counts: Array) -> Array:
        return pixel_pm * paper_recipe(counts, positions, base=base, radius_px=radius_px).fwhm

    return measure


def _fitted(fitter: Fitter, pixel_pm: float, window: int) -> Measure:
    def measure(counts: Array) -> Array:
        fit = fitter(counts, window)
        return np.where(fit.ok, pixel_pm * fit.fwhm, np.nan)

    return measure


def _local(positions: Array, options: dict[str, Any]) -> Fitter:
    return lambda counts, _: fit_columns(counts, positions, **options)


def _radius(positions: Array) -> float:
    from scipy.spatial import cKDTree

    return 0.55 * float(np.median(np.asarray(cKDTree(positions).query(positions, k=2)[0])[:, 1]))


def _readable(widths: Array) -> bool:
    return int(np.isfinite(widths).sum()) >= 8


def compare_windows(
    counts_1: npt.ArrayLike,
    counts_2: npt.ArrayLike,
    positions: npt.ArrayLike,
    *,
    pixel_pm: float,
    expected_pm: float = math.nan,
    expected_se_pm: float = 0.0,
    recipe_base: float | None = None,
    choose: npt.NDArray[np.bool_] | None = None,
    repeats: int = 20,
    rng: np.random.Generator,
    fitter: Fitter | None = None,
    **options: Any,
) -> Comparison:
    """Compare the widths of the same columns in two windows, FWHM(1) - FWHM(2).

    Parameters
    ----------
    counts_1, counts_2 : array (rows, cols)
        Raw counts.
    positions : array (n, 2)
        Of columns, pixels; found on the sum of the windows or on HAADF, not on one of them.
    pixel_pm : float
    expected_pm : float
        What first principles expect (`expected_fwhm_pm`).
    expected_se_pm : float
        How far that depends on what is not known, the probe's aberrations above all.
    recipe_base : float, optional
        The fixed base of the published recipe; without it the recipe is left out.
    choose : bool array (n,), optional
        Columns to compare; all are in the fit.
    repeats : int
        Of each null; 0 leaves the nulls out.
    rng : numpy Generator
    fitter : callable, optional
        ``fitter(map, window)`` returns a `ColumnFit` of `positions` in place of `fit_columns`; window is 0 or 1, -1 for
        a map dealt from the photons of both.
    **options
        For `fit_columns`.

    Returns
    -------
    Comparison

    Raises
    ------
    ShapeError, OutOfRangeError, FitError
    """
    where = np.asarray(positions, np.float64)
    scale = require_positive("pixel_pm", pixel_pm, "pm")
    pick = np.ones(len(where), bool) if choose is None else np.asarray(choose, bool)
    if pick.shape != (len(where),):
        raise ShapeError(f"choose: shape {pick.shape} for {len(where)} columns")
    images = [np.asarray(c, np.float64) for c in (counts_1, counts_2)]
    by = fitter or _local(where, options)
    fits = [by(image, window) for window, image in enumerate(images)]
    widths = [np.where(f.ok & pick, scale * f.fwhm, np.nan) for f in fits]
    difference = paired_difference(
        *widths, a_se=scale * fits[0].fwhm_se, b_se=scale * fits[1].fwhm_se, rng=rng
    )  # fmt: skip
    intensity = np.concatenate([f.intensity for f in fits])
    regression = width_on_intensity(np.where(np.concatenate([pick, pick]), intensity, np.nan), np.concatenate(widths))

    def chosen(measure: Measure) -> Measure:
        return lambda counts: np.where(pick, measure(counts), np.nan)

    half_split = thinning = recipe = recipe_null = None
    if repeats > 1:
        mixed = chosen(_fitted(by, scale, -1))
        half_split = half_split_null(images[0], images[1], mixed, rng=rng, repeats=repeats)
        richer = chosen(_fitted(by, scale, int(images[0].sum() < images[1].sum())))
        thinning = thinning_null(images[0], images[1], richer, rng=rng, repeats=repeats)
    if recipe_base is not None:
        read = chosen(_recipe(where, scale, recipe_base, _radius(where)))
        seen = [read(image) for image in images]
        if _readable(seen[0] - seen[1]):
            recipe = paired_difference(*seen, rng=rng)
            if repeats > 1:
                recipe_null = thinning_null(images[0], images[1], read, rng=rng, repeats=repeats)
    both = np.isfinite(widths[0] - widths[1])
    common = _common_se(fits, both / both.sum(), scale)
    verdict = _judge(
        "Between the windows", difference, common, half_split, recipe, recipe_null, expected_pm, expected_se_pm
    )
    return Comparison(
        "windows", difference, regression, half_split, thinning, recipe, recipe_null, expected_pm, expected_se_pm,
        common, verdict,
    )  # fmt: skip


def compare_species(
    counts: npt.ArrayLike,
    positions: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    pixel_pm: float,
    expected_pm: float = math.nan,
    expected_se_pm: float = 0.0,
    recipe_base: float | None = None,
    names: Sequence[str] = ("kind 0", "kind 1"),
    repeats: int = 20,
    rng: np.random.Generator,
    fitter: Fitter | None = None,
    **options: Any,
) -> Comparison:
    """Compare the widths of two kinds of columns of one map, FWHM(kind 0) - FWHM(kind 1).

    Parameters are those of `compare_windows`; `groups` int (n,) holds 0, 1, or anything else for columns that
    take part in the fit alone. The null gives all columns one width and their own brightness (`common_width_null`).

    Raises
    ------
    ShapeError, OutOfRangeError, FitError
    """
    where, kind = np.asarray(positions, np.float64), np.asarray(groups, np.int64)
    if kind.shape != (len(where),):
        raise ShapeError(f"groups: shape {kind.shape} for {len(where)} columns")
    scale = require_positive("pixel_pm", pixel_pm, "pm")
    image = np.asarray(counts, np.float64)
    by = fitter or _local(where, options)
    fit = by(image, 0)
    width = np.where(fit.ok, scale * fit.fwhm, np.nan)
    difference = group_difference(width, kind, values_se=scale * fit.fwhm_se, rng=rng)
    regression = width_on_intensity(np.where((kind == 0) | (kind == 1), fit.intensity, np.nan), width)
    null = recipe = recipe_null = None
    shape = (image.shape[0], image.shape[1])
    if repeats > 1:
        null = common_width_null(fit, shape, _fitted(by, scale, 0), kind, rng=rng, repeats=repeats)
    if recipe_base is not None:
        read = _recipe(where, scale, recipe_base, _radius(where))
        seen = read(image)
        if _readable(seen[kind == 0]) and _readable(seen[kind == 1]):
            recipe = group_difference(seen, kind, rng=rng)
            if repeats > 1:
                recipe_null = common_width_null(fit, shape, read, kind, rng=rng, repeats=repeats)
    ours = [(kind == k) & fit.ok for k in (0, 1)]
    common = _common_se([fit], ours[0] / ours[0].sum() - ours[1] / ours[1].sum(), scale)
    verdict = _judge(
        f"{names[0]} - {names[1]}", difference, common, null, recipe, recipe_null, expected_pm, expected_se_pm
    )
    return Comparison(
        "species", difference, regression, null, None, recipe, recipe_null, expected_pm, expected_se_pm, common, verdict
    )


@dataclass(frozen=True)
class IntensityRatio:
    """Mean peak intensities of two kinds of columns: their ratio, its standard error, and the scatter within kinds.

    The error holds the scatter and what all heights have in common (`JointFit`).
    """

    ratio: float
    se: float
    means: tuple[float, float]
    sds: tuple[float, float]


def intensity_ratio(fit: ColumnFit, groups: npt.ArrayLike, *, with_pedestal: bool = False) -> IntensityRatio:
    """Return the ratio of the mean peak intensities of kinds 0 and 1.

    `with_pedestal` adds the pedestal to each peak, as a height read off a map does.

    Raises
    ------
    ShapeError
        Fewer than two columns of a kind.
    """
    kind = np.asarray(groups)
    peak = fit.intensity + (fit.pedestal if with_pedestal else 0.0)
    parts = [peak[(kind == k) & fit.ok] for k in (0, 1)]
    if min(p.size for p in parts) < 2:
        raise ShapeError(f"intensity_ratio: {parts[0].size} and {parts[1].size} columns of the kinds; needs 2 of each")
    m0, m1 = (float(p.mean()) for p in parts)
    sds = tuple(float(p.std(ddof=1)) for p in parts)
    relative = sum((s / m) ** 2 / p.size for s, m, p in zip(sds, (m0, m1), parts, strict=True))
    if isinstance(fit, JointFit) and not with_pedestal:
        share = [((kind == k) & fit.ok) / (p.size * m) for k, p, m in zip((0, 1), parts, (m0, m1), strict=True)]
        relative += max(fit.common_height_variance(share[0] - share[1]), 0.0)
    return IntensityRatio(m0 / m1, abs(m0 / m1) * math.sqrt(relative), (m0, m1), (sds[0], sds[1]))
