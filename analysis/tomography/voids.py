"""How much of a particle is void.

A fraction of voids may be had in three ways, for three kinds of data:

- `void_fraction_counted`: label voxels, count them. Wants a voxel's signal-to-noise ratio well above 2, and voids wider
  than the resolution: a crack half as wide is counted twice or not at all.
- `void_fraction_integrated`, whole: ``1 - mu / mu_material`` summed over all of the inside. Noise averages out over
  millions of voxels, and blur moves nothing out; but mu_material must be known to (wanted accuracy) x (fraction), that
  is to 0.3 % for 10 % of a fraction of 3 %.
- `void_fraction_integrated`, within a mask around detected voids: mu_material errs on the masked part only. What was
  not detected is missed. With two independent half volumes (`find_voids`) one finds the mask, the other is
  integrated, so that noise which looked like a void does not count as one.

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
from exitwave.analysis.errors import FitError, OutOfRangeError, require_positive
from exitwave.analysis.tomography.segmentation import (
    Label,
    checked_volume,
    is_void,
    require_same_shape,
    segment,
    smooth,
)

__all__ = [
    "Finding",
    "Fraction",
    "HalfVoids",
    "Shell",
    "find_voids",
    "fractions_by_choice",
    "material_level",
    "void_fraction_by_depth",
    "void_fraction_counted",
    "void_fraction_integrated",
]

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]
VOIDS = (Label.CRACK, Label.PORE)


@dataclass(frozen=True)
class Fraction:
    """A part of a volume.

    Attributes
    ----------
    value : float
    sd : float
        One standard deviation, of the noise.
    voxels : int
        How many it is a part of.
    choices_sd : float
        How far other choices of how voids are found move it (`fractions_by_choice`); NaN where nobody tried.
    """

    value: float
    sd: float
    voxels: int
    choices_sd: float = float("nan")

    @property
    def total_sd(self) -> float:
        """Noise and choices together; noise alone where nobody tried others."""
        return float(np.hypot(self.sd, np.nan_to_num(self.choices_sd)))


@dataclass(frozen=True)
class Shell:
    """Void fraction between two depths (voxels) below the surface."""

    from_px: float
    to_px: float
    fraction: Fraction


def material_level(volume: npt.NDArray[Any], solid: Flags) -> tuple[float, float]:
    """Return the material's attenuation and its standard deviation: the mean over voxels known to be solid.

    Parameters
    ----------
    volume : array (slice, z, x)
        Attenuation per voxel, not the one from which `solid` was found if that can be helped.
    solid : bool array
        Voxels away from all voids and from the surface.

    Raises
    ------
    FitError, ShapeError, OutOfRangeError
    """
    data = checked_volume("volume", volume)
    require_same_shape("solid", solid, data.shape)
    if int(solid.sum()) < 1000:
        raise FitError(f"material: {int(solid.sum())} solid voxels; 1000 are needed")
    level, sd = _block_mean(data, solid)
    if level <= 0.0:
        raise FitError(f"material: attenuation {level:.3g}; must be > 0")
    return level, sd


def _block_mean(data: Floats, mask: Flags, block: int = 16) -> tuple[float, float]:
    """Mean over a mask, and its deviation by the scatter of blocks: noise of a tomogram is not independent."""
    shape = tuple(-(-n // block) for n in data.shape)
    index = np.nonzero(mask)
    which = np.ravel_multi_index(tuple(i // block for i in index), shape)
    values = data[index].astype(np.float64)
    count = np.bincount(which, minlength=int(np.prod(shape))).astype(np.float64)
    total = np.bincount(which, values, minlength=len(count))
    mean = float(values.mean())
    used = count > 0
    pulls = total[used] - mean * count[used]
    n = max(int(used.sum()), 2)
    return mean, float(np.sqrt((pulls**2).sum() * n / (n - 1)) / values.size)


def void_fraction_counted(labels: Labels, *, kinds: tuple[Label, ...] = VOIDS) -> Fraction:
    """Return the part of the inside's voxels that carry one of the labels; its deviation from the scatter of blocks.

    Raises
    ------
    FitError
        If nothing is inside.
    """
    inside = labels != Label.OUTSIDE
    if not inside.any():
        raise FitError("labels: nothing is inside")
    chosen = np.isin(labels, [int(kind) for kind in kinds]).astype(np.float32)
    # the surfaces' voxels are in doubt, half a voxel to either side, at random
    surface = chosen.astype(bool) ^ ndimage.binary_erosion(chosen.astype(bool))
    value = float(chosen[inside].mean())
    return Fraction(value, float(0.5 * np.sqrt(surface.sum()) / inside.sum()), int(inside.sum()))


def void_fraction_integrated(
    volume: npt.NDArray[Any],
    inside: Flags,
    mu_material: float,
    *,
    mu_sd: float = 0.0,
    around: Flags | None = None,
    mu_void: float = 0.0,
    twin: npt.NDArray[Any] | None = None,
) -> Fraction:
    """Return the void fraction of the inside as the deficit of attenuation, aware of partly filled voxels.

    Parameters
    ----------
    volume : array (slice, z, x)
        Attenuation, not denoised: denoising is not needed and may move the mean.
    inside : bool array
        Where the fraction is taken of. Keep away from the blurred surface: erode by two or three resolutions.
    mu_material, mu_sd : float
        From `material_level`.
    around : bool array, optional
        Integrate within it only (voids found, grown by the resolution); the rest counts as solid. Find it in another
        volume than this one: of the other half of the projections.
    mu_void : float
        Attenuation in voids.
    twin : array, optional
        The volume of the other half of the projections: the deviation then comes from the noise alone, by the scatter
        of the difference. Without, it is the scatter of the volume's blocks, which holds their different voids, too:
        that of another particle of the kind.

    Raises
    ------
    FitError, ShapeError, OutOfRangeError
    """
    data = checked_volume("volume", volume)
    require_same_shape("inside", inside, data.shape)
    contrast = require_positive("mu_material - mu_void", mu_material - mu_void, "per voxel")
    n = int(inside.sum())
    if n == 0:
        raise FitError("void fraction: nothing is inside")
    where = inside if around is None else inside & around
    if not where.any():
        return Fraction(0.0, 0.0, n)
    mean, sd = _block_mean(data, where)
    if twin is not None:
        require_same_shape("twin", np.asarray(twin), data.shape)
        sd = _block_mean(data - checked_volume("twin", twin), where)[1] / np.sqrt(2.0)
    share = float(where.sum()) / n
    value = share * (mu_material - mean) / contrast
    by_level = share * mu_sd * (1.0 - (mu_material - mean) / contrast) / contrast
    return Fraction(value, float(np.hypot(share * sd / contrast, by_level)), n)


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
        edges = _rising(edges_px)
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


def _rising(edges_px: npt.ArrayLike) -> npt.NDArray[np.float64]:
    edges = np.asarray(edges_px, np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0.0).all():
        raise OutOfRangeError("edges: at least two depths that rise are needed")
    return edges


def void_fraction_by_depth(
    volume: npt.NDArray[Any],
    inside: Flags,
    edges_px: npt.ArrayLike,
    mu_material: float,
    *,
    mu_sd: float = 0.0,
    around: Flags | None = None,
    twin: npt.NDArray[Any] | None = None,
) -> list[Shell]:
    """Return the void fraction of each shell between depths below the surface (`void_fraction_integrated`).

    `edges_px` rises; begin a few voxels below the surface, where blur ends. Shells that hold no voxel are left out.

    Raises
    ------
    FitError, ShapeError, OutOfRangeError
    """
    edges = _rising(edges_px)
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1]
    shells = []
    for low, high in pairwise(edges):
        part = (depth > low) & (depth <= high)
        if part.any():
            fraction = void_fraction_integrated(volume, part, mu_material, mu_sd=mu_sd, around=around, twin=twin)
            shells.append(Shell(float(low), float(high), fraction))
    return shells
