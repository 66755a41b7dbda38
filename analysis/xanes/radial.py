"""How a map varies with the distance from the surface of a particle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from exitwave.analysis.errors import FitError, ShapeError, require_positive

__all__ = ["CoreMinusShell", "DepthProfile", "core_minus_shell", "depth_profile", "surface_depth_nm"]

Array = npt.NDArray[np.float64]


def surface_depth_nm(mask: npt.ArrayLike, pixel_nm: float) -> Array:
    """Return how deep each pixel or voxel of a particle lies, nm: distance to the nearest one outside.

    The surface runs half a pixel before the first pixel outside. The edge of the array is outside, too. In a
    projection this is the distance from the outline, not from the surface.
    """
    inside = np.pad(np.asarray(mask, np.bool_), 1)
    depth = ndimage.distance_transform_edt(inside)
    cut = (slice(1, -1),) * inside.ndim
    pixel = require_positive("pixel", pixel_nm, "nm")
    return np.asarray(np.maximum(depth[cut] - 0.5, 0.0) * pixel)


@dataclass(frozen=True)
class DepthProfile:
    """Mean of a map in shells below the surface.

    Attributes
    ----------
    depth_nm, low_nm, high_nm : float64 (bins,)
        Mean depth of the pixels of a shell, and its limits.
    mean, mean_sd : float64 (bins,)
        Weighted mean and its deviation from the deviations of the pixels; ``mean_sd`` grows by the scatter
        where pixels differ by more than their deviations (reduced chi square above one).
    scatter : float64 (bins,)
        Standard deviation between pixels beyond their own deviations: real differences.
    count : int64 (bins,)
    slope, slope_sd : float
        Straight line through the means, per nm.
    """

    depth_nm: Array
    low_nm: Array
    high_nm: Array
    mean: Array
    mean_sd: Array
    scatter: Array
    count: npt.NDArray[np.int64]
    slope: float
    slope_sd: float


def _mean(values: Array, sd: Array, correlation: float) -> tuple[float, float, float]:
    """Return weighted mean, its deviation, and the scatter beyond the deviations."""
    w = 1.0 / sd**2
    mean = float((w * values).sum() / w.sum())
    chi2 = float((w * (values - mean) ** 2).sum()) / max(1, len(values) - 1)
    spread = math.sqrt(max(0.0, float(((values - mean) ** 2).mean() - (sd**2).mean())))
    return mean, math.sqrt(max(1.0, chi2) * correlation / float(w.sum())), spread


def _take(name: str, values: Any, sd: Any, depth: Array) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
    v, s = np.asarray(values, np.float64), np.asarray(sd, np.float64)
    if v.shape != depth.shape or s.shape != depth.shape:
        raise ShapeError(f"{name}: map {v.shape}, deviations {s.shape}, depths {depth.shape}; must be one shape")
    return v, s, np.isfinite(v) & np.isfinite(s) & (s > 0) & (depth > 0)


def depth_profile(
    values: Any, sd: Any, depth_nm: Array, *, bin_nm: float, least: int = 5, correlation: float = 1.0
) -> DepthProfile:
    """Return the mean of a map (...) in shells `bin_nm` thick, with uncertainties.

    Parameters
    ----------
    values, sd : (...)
        E.g. edge energy, fraction, and their deviations per pixel; NaN is left out.
    depth_nm : (...)
        From `surface_depth_nm`; 0 is outside.
    least : int
        Shells with fewer pixels are left out.
    correlation : float
        By how much the variance of a mean exceeds that of independent pixels (`StackOperator.noise_gain`).

    Raises
    ------
    FitError
        When fewer than two shells hold enough pixels.
    ShapeError, OutOfRangeError
    """
    width = require_positive("shell", bin_nm, "nm")
    depth = np.asarray(depth_nm, np.float64)
    v, s, use = _take("depth profile", values, sd, depth)
    number = np.floor(depth / width).astype(np.int64)
    rows = []
    for k in np.unique(number[use]):
        part = use & (number == k)
        if part.sum() >= least:
            rows.append(
                (depth[part].mean(), k * width, (k + 1) * width, *_mean(v[part], s[part], correlation), part.sum())
            )
    if len(rows) < 2:
        raise FitError(f"depth profile: {len(rows)} shells of {width:g} nm hold {least} pixels; take thinner shells")
    middle, low, high, mean, mean_sd, scatter, count = (
        np.asarray(column, np.float64) for column in zip(*rows, strict=True)
    )
    w = 1.0 / mean_sd**2
    centre = float((w * middle).sum() / w.sum())
    lever = float((w * (middle - centre) ** 2).sum())
    slope = float((w * (middle - centre) * mean).sum()) / lever
    misfit = mean - (w * mean).sum() / w.sum() - slope * (middle - centre)
    chi2 = float((w * misfit**2).sum()) / max(1, len(rows) - 2)
    slope_sd = math.sqrt(max(1.0, chi2) / lever)
    return DepthProfile(middle, low, high, mean, mean_sd, scatter, count.astype(np.int64), slope, slope_sd)


@dataclass(frozen=True)
class CoreMinusShell:
    """Mean of the core minus mean of the shell, with deviation, in the unit of the map."""

    difference: float
    difference_sd: float
    core: float
    shell: float


def core_minus_shell(
    values: Any,
    sd: Any,
    depth_nm: Array,
    *,
    shell_nm: float | None = None,
    core_nm: float | None = None,
    correlation: float = 1.0,
) -> CoreMinusShell:
    """Compare the pixels deeper than `core_nm` with those less deep than `shell_nm`.

    By default the deeper and the shallower half of the pixels' depths: beyond 50 % and within 25 % of the
    greatest depth. `correlation` as for `depth_profile`; the deviation is that of the pixels' noise and scatter.

    Raises
    ------
    FitError
        When one of the two has fewer than three pixels.
    ShapeError
    """
    depth = np.asarray(depth_nm, np.float64)
    require_positive("correlation", correlation, "(1)")
    v, s, use = _take("core minus shell", values, sd, depth)
    deepest = float(depth.max())
    inner = use & (depth >= (0.5 * deepest if core_nm is None else core_nm))
    outer = use & (depth <= (0.25 * deepest if shell_nm is None else shell_nm))
    if min(inner.sum(), outer.sum()) < 3:
        raise FitError(f"core minus shell: {inner.sum()} and {outer.sum()} pixels, needs 3 each; change the depths")
    core, core_sd, _ = _mean(v[inner], s[inner], correlation)
    shell, shell_sd, _ = _mean(v[outer], s[outer], correlation)
    return CoreMinusShell(core - shell, math.hypot(core_sd, shell_sd), core, shell)
