"""How well the widths are measured beside the Cramer-Rao bound, and how much the columns themselves differ.

The scatter of widths over columns is no measure of the estimator: columns of a specimen of uneven thickness and mixed
composition are not alike, and tails of the probe under thick neighbours make thin columns narrower. Halves of the very
same photons show the same columns; what differs between them is counting alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exitwave.analysis.columns import JointFit
from exitwave.profiles.demos.anxri_scene import Scene

__all__ = ["WidthPrecision", "width_precision"]

_SIGMAS = 3.0


@dataclass(frozen=True)
class WidthPrecision:
    """Errors of single widths.

    Attributes
    ----------
    se_over_bound, se_over_bound_se : float
        Root mean square difference between halves over what the bound allows it, and how far chance moves that; NaN
        without halves.
    scatter_over_bound : float
        Scatter of columns of one kind in a map over the bound, mean of both windows.
    columns_differ_pm : float
        What of the scatter counting does not explain, root of the difference of squares; 0 where chance (three standard
        deviations) makes as much.
    """

    se_over_bound: float
    se_over_bound_se: float
    scatter_over_bound: float
    columns_differ_pm: float

    @property
    def words(self) -> str:
        """Say that columns differ."""
        return (
            f"Columns of one kind differ by {self.columns_differ_pm:.1f} pm (one standard deviation) beyond counting: "
            "thickness, composition and what their neighbours' tails leave."
        )


def width_precision(
    scene: Scene, fits: Sequence[JointFit], halves: Sequence[JointFit], kinds: npt.NDArray[np.int64]
) -> WidthPrecision:
    """Compare errors of widths with their bound.

    Parameters
    ----------
    scene : Scene
    fits : sequence of JointFit
        Of both windows.
    halves : sequence of JointFit
        Of maps dealt at random from the same photons, two by two. Given the photons, every deal is a new one: `n` of
        them tell the ratio to 1 / sqrt(2 n columns).
    kinds : int array (n,)
        Of the columns; scatter is taken within a kind.
    """
    ratio = ratio_se = math.nan
    squares, allowed = [], []
    for first, second in zip(halves[::2], halves[1::2], strict=True):
        good = scene.chosen & first.ok & second.ok
        squares.append((first.fwhm - second.fwhm)[good] ** 2)
        allowed.append((first.fwhm_se**2 + second.fwhm_se**2)[good])
    if squares:
        # column by column: a weak column's large error is not to drown the others
        parts = np.concatenate(squares) / np.concatenate(allowed)
        ratio = math.sqrt(float(parts.mean()))
        ratio_se = ratio / math.sqrt(2.0 * parts.size)
    over, beyond, freedom = [], [], 0
    for fit in fits:
        for kind in np.unique(kinds[scene.chosen]):
            here = scene.chosen & (kinds == kind) & fit.ok
            width, se = scene.pixel_pm * fit.fwhm[here], scene.pixel_pm * fit.fwhm_se[here]
            weight = 1.0 / se**2
            pulls = (width - np.average(width, weights=weight)) / se
            over.append(float((pulls**2).sum()) / (width.size - 1))
            beyond.append(float(width.var(ddof=1) - (se**2).mean()))
            freedom += width.size - 1
    scatter = float(np.mean(over))
    usual = 1.0 if math.isnan(ratio) else ratio**2
    chance = _SIGMAS * usual * math.sqrt(2.0 / freedom)
    differ = math.sqrt(max(float(np.mean(beyond)), 0.0)) if scatter > usual + chance else 0.0
    return WidthPrecision(ratio, ratio_se, math.sqrt(scatter), differ)
