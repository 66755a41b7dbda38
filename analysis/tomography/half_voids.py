"""Voids of a particle found in each half of its projections, and measured in the other.

Noise is not all that a fraction is uncertain by: where a void ends, how small one is no noise, and which one is a crack
are choices, of which others are as good. `fractions_by_choice` makes them, too, and says how far they go apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from exitwave.analysis.compiled import over_blocks
from exitwave.analysis.tomography.segmentation import (
    Label,
    checked_volume,
    is_void,
    require_same_shape,
    segment,
    smooth,
)
from exitwave.analysis.tomography.voids import (
    VOIDS,
    Fraction,
    Shell,
    material_level,
    rising_edges,
    void_fraction_integrated,
)

__all__ = ["Finding", "HalfVoids", "find_voids", "fractions_by_choice"]

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Finding:
    """How voids are found in half volumes.

    Attributes
    ----------
    smooth_px : float
        Gaussian for finding voids; wider than the resolution costs nothing but neighbours.
    grow_px : float
        How far around a void its deficit is looked for: resolution and `smooth_px` together.
    smallest : int
        Voxels of the smallest void that is no noise.
    level : float
        Part of the material's attenuation below which a voxel may be void.
    slenderness : float
        From which a void is a crack, see `segment`.
    """

    smooth_px: float = 2.0
    grow_px: float = 4.0
    smallest: int = 20
    level: float = 0.75
    slenderness: float = 4.0

    def others(self) -> list[tuple[Finding, Finding]]:
        """Return findings as good as this one, in pairs: each choice a step lower, and a step higher."""
        pairs = []
        for name, low, high in (
            ("smooth_px", 0.75, 1.33),
            ("grow_px", 0.75, 1.33),
            ("smallest", 0.5, 2.0),
            ("level", 0.9, 1.1),
            ("slenderness", 0.75, 1.33),
        ):
            value = getattr(self, name)
            kind = type(value)
            pairs.append((replace(self, **{name: kind(value * low)}), replace(self, **{name: kind(value * high)})))
        return pairs


@dataclass(frozen=True)
class _Half:
    """A half volume, what the other one, `finder`, found in it, and how far each voxel is from any void."""

    volume: Floats
    finder: Floats
    labels: Labels
    away: npt.NDArray[np.float32]
    mu: float
    mu_sd: float


class HalfVoids:
    """Voids of two half volumes, found by `find_voids`."""

    def __init__(self, halves: Sequence[_Half], inside: Flags, finding: Finding) -> None:
        self._halves = halves
        self._inside = inside
        self.finding = finding

    def fraction(self, kinds: tuple[Label, ...] = VOIDS) -> Fraction:
        """Return the part of the inside that is void, of these kinds.

        What is nearer to a void of another kind is left to that.

        Raises
        ------
        FitError
        """
        return self._fraction(self._inside, self._around(kinds))

    def by_depth(
        self, depth_px: npt.NDArray[Any], edges_px: npt.ArrayLike, kinds: tuple[Label, ...] = VOIDS
    ) -> list[Shell]:
        """Return the void fraction of each shell between depths; those that hold nothing of the inside are left out.

        Parameters
        ----------
        depth_px : array (slice, z, x)
            Of each voxel below the surface.
        edges_px : array
            Depths between the shells, rising.
        kinds : tuple of Label

        Raises
        ------
        FitError, ShapeError, OutOfRangeError
        """
        edges = rising_edges(edges_px)
        require_same_shape("depth", np.asarray(depth_px), self._inside.shape)
        around = self._around(kinds)
        shells = []
        for low, high in pairwise(edges):
            part = self._inside & (depth_px > low) & (depth_px <= high)
            if part.any():
                shells.append(Shell(float(low), float(high), self._fraction(part, around)))
        return shells

    def _around(self, kinds: tuple[Label, ...]) -> list[Flags | None]:
        """Return where the deficit of these kinds is looked for, in each half; None where it has none of them."""
        found: list[Flags | None] = []
        for half in self._halves:
            chosen = np.isin(half.labels, [int(kind) for kind in kinds])
            if not chosen.any():
                found.append(None)
                continue
            near = np.minimum(half.away, self.finding.grow_px)
            if kinds == VOIDS:
                found.append(half.away <= self.finding.grow_px)
            else:
                found.append(np.asarray(ndimage.distance_transform_edt(~chosen) <= near + 1e-4, bool))
        return found

    def _fraction(self, part: Flags, around: Sequence[Flags | None]) -> Fraction:
        none = Fraction(0.0, 0.0, int(part.sum()))
        found = [
            none
            if where is None
            else void_fraction_integrated(half.volume, part, half.mu, mu_sd=half.mu_sd, around=where, twin=half.finder)
            for half, where in zip(self._halves, around, strict=True)
        ]
        return _mean_of_halves(found)


def find_voids(
    first: npt.NDArray[Any], second: npt.NDArray[Any], inside: Flags, finding: Finding | None = None
) -> HalfVoids:
    """Find voids in two half volumes: each finds those that are integrated in the other.

    Parameters
    ----------
    first, second : array (slice, z, x)
        Reconstructions of every other projection.
    inside : bool array
        Where fractions are taken of, away from the blurred surface.
    finding : Finding, optional

    Raises
    ------
    FitError, ShapeError, OutOfRangeError
    """
    finding = finding or Finding()
    halves = (checked_volume("first", first), checked_volume("second", second))
    require_same_shape("second", halves[1], halves[0].shape)
    require_same_shape("inside", inside, halves[0].shape)
    found = []
    for finder, other in (halves, halves[::-1]):
        soft = smooth(finder, finding.smooth_px)
        level = float(np.median(soft[inside])) if inside.any() else 0.0
        labels = segment(
            soft, inside, threshold=finding.level * level, smallest=finding.smallest, slenderness=finding.slenderness
        )
        away = ndimage.distance_transform_edt(~is_void(labels)).astype(np.float32)
        mu, sd = material_level(other, inside & (away > finding.grow_px + 1.0))
        found.append(_Half(other, finder, labels, away, mu, sd))
    return HalfVoids(found, inside, finding)


def fractions_by_choice(
    first: npt.NDArray[Any],
    second: npt.NDArray[Any],
    inside: Flags,
    measure: Callable[[HalfVoids], Sequence[Fraction]],
    finding: Finding | None = None,
) -> list[Fraction]:
    """Return what `measure` makes of the voids, each with the deviation that other choices give (`choices_sd`).

    Choice by choice, the voids are found once more a step below and above (`Finding.others`): half of the difference
    counts as one standard deviation, or the larger of the two where both go the same way. Independent choices add in
    quadrature. That is eleven times the work of one finding, in threads, as many at once as there are.

    Raises
    ------
    FitError, ShapeError, OutOfRangeError
    """
    finding = finding or Finding()
    findings = [finding, *chain.from_iterable(finding.others())]
    found: list[Sequence[Fraction]] = [()] * len(findings)

    def one(start: int, _stop: int) -> None:
        found[start] = measure(find_voids(first, second, inside, findings[start]))

    over_blocks(one, len(findings), 1)
    values = np.array([[part.value for part in parts] for parts in found])
    off = (values[1:] - values[0]).reshape(-1, 2, values.shape[1])
    low, high = off[:, 0], off[:, 1]
    apart = np.where(low * high < 0.0, 0.5 * np.abs(high - low), np.maximum(np.abs(low), np.abs(high)))
    deviations = np.sqrt((apart**2).sum(axis=0))
    return [replace(part, choices_sd=float(sd)) for part, sd in zip(found[0], deviations, strict=True)]


def _mean_of_halves(found: list[Fraction]) -> Fraction:
    """Return the mean; the halves are independent as far as their noise goes."""
    a, b = found
    return Fraction(0.5 * (a.value + b.value), 0.5 * float(np.hypot(a.sd, b.sd)), a.voxels)
