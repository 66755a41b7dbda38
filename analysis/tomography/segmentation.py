"""What a particle is made of: material, cracks, pores, outside; and how much of it is void.

A fraction of voids may be had in three ways, for three kinds of data:

- `void_fraction_counted`: label voxels, count them. Wants a voxel's signal-to-noise ratio well above 2, and voids wider
  than the resolution: a crack half as wide is counted twice or not at all.
- `void_fraction_integrated`, whole: ``1 - mu / mu_material`` summed over all of the inside. Noise averages out over
  millions of voxels, and blur moves nothing out; but mu_material must be known to (wanted accuracy) x (fraction), that
  is to 0.3 % for 10 % of a fraction of 3 %.
- `void_fraction_integrated`, within a mask around detected voids: mu_material errs on the masked part only. What was
  not detected is missed. With two independent half volumes (`void_fraction_from_halves`) one finds the mask, the
  other is integrated, so that noise which looked like a void does not count as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from exitwave.analysis.compiled import over_blocks
from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError, require_positive

__all__ = [
    "Fraction",
    "Label",
    "Shell",
    "compare_labels",
    "envelope",
    "material_level",
    "segment",
    "smooth",
    "void_fraction_by_depth",
    "void_fraction_counted",
    "void_fraction_from_halves",
    "void_fraction_integrated",
]

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]


class Label(IntEnum):
    """Values of a label volume."""

    OUTSIDE = 0
    MATERIAL = 1
    CRACK = 2
    PORE = 3


@dataclass(frozen=True)
class Fraction:
    """A part of a volume, with one standard deviation, and how many voxels it is a part of."""

    value: float
    sd: float
    voxels: int


@dataclass(frozen=True)
class Shell:
    """Void fraction between two depths (voxels) below the surface."""

    from_px: float
    to_px: float
    fraction: Fraction


def _volume(name: str, data: npt.NDArray[Any]) -> Floats:
    volume = np.asarray(data, np.float32)
    if volume.ndim != 3 or min(volume.shape) < 8:
        raise ShapeError(f"{name}: shape {volume.shape}; three dimensions of at least 8 voxels are needed")
    if not np.isfinite(volume).all():
        raise OutOfRangeError(f"{name}: NaN or infinity; reconstruct from finite projections")
    return volume


def _same(name: str, array: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ShapeError(f"{name}: shape {array.shape}, the volume has {shape}")


def smooth(volume: npt.NDArray[Any], sigma_px: float) -> Floats:
    """Return the volume smoothed by a Gaussian, in threads: the simplest of denoisers.

    For thin cracks, which a Gaussian blurs away, give `segment` a volume by total variation instead:
    ``reconstruct(..., method="tv")``.
    """
    data = _volume("volume", volume)
    sigma = require_positive("sigma", sigma_px, "voxels")
    out = np.empty_like(data)
    reach = int(4.0 * sigma + 0.5)

    def block(start: int, stop: int) -> None:
        low, high = max(0, start - reach), min(len(data), stop + reach)
        out[start:stop] = ndimage.gaussian_filter(data[low:high], sigma, mode="nearest", truncate=4.0)[
            start - low : stop - low
        ]

    over_blocks(block, len(data), max(8, len(data) // 8))
    return out


def _two_means(values: Floats) -> float:
    """Threshold between two kinds of values, halfway between the means of what it parts (iterated; Ridler, Calvard)."""
    threshold = float(values.mean())
    for _ in range(100):
        above = values > threshold
        if not above.any() or above.all():
            raise FitError("volume: all voxels are alike, there is no particle in it")
        new = 0.5 * (float(values[above].mean()) + float(values[~above].mean()))
        if abs(new - threshold) < 1e-6 * abs(new):
            break
        threshold = new
    return threshold


def envelope(volume: npt.NDArray[Any], *, smooth_px: float = 2.0, close_px: float = 6.0) -> Flags:
    """Return what lies within the particle's surface, its cracks and pores included.

    Parameters
    ----------
    volume : array (slice, z, x)
        Attenuation, noisy or not.
    smooth_px : float
        Gaussian before the threshold (which lies between the two means); more for noisier volumes.
    close_px : float
        Radius of the ball that closes cracks open to the outside: more than half of their width.

    Raises
    ------
    FitError
        If there are not two kinds of voxels.
    ShapeError, OutOfRangeError
    """
    soft = smooth(volume, smooth_px)
    solid = soft > _two_means(soft)
    parts, count = ndimage.label(solid)
    if count > 1:
        solid = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    pad = int(np.ceil(close_px)) + 1
    solid = np.pad(solid, pad)
    grown = ndimage.distance_transform_edt(~solid) <= close_px
    closed = ndimage.distance_transform_edt(grown) > close_px
    for axis in range(3):
        # a tunnel through the particle is no hole in three dimensions, but is one in its slices
        closed |= _fill_slices(closed, axis)
    cut = (slice(pad, -pad),) * 3
    return np.asarray(ndimage.binary_fill_holes(closed | solid)[cut], bool)


def _fill_slices(mask: Flags, axis: int) -> Flags:
    planes = np.moveaxis(mask, axis, 0)
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in planes])
    return np.asarray(np.moveaxis(filled, 0, axis), bool)


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
    data = _volume("volume", volume)
    _same("solid", solid, data.shape)
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


def segment(
    volume: npt.NDArray[Any],
    inside: Flags,
    *,
    threshold: float | None = None,
    smallest: int = 8,
    flatness: float = 2.5,
    rim_px: float = 2.0,
) -> Labels:
    """Label outside, material, cracks and pores.

    Parameters
    ----------
    volume : array (slice, z, x)
        Attenuation, denoised as the noise requires: total variation, or `smooth`.
    inside : bool array
        From `envelope`.
    threshold : float, optional
        Below it a voxel is void; half of the material's level without (its median over the inside).
    smallest : int
        Voids of fewer voxels are taken for noise.
    flatness : float
        A void is a crack if its longest half axis (of its moments) is this many times its shortest, or if it reaches
        the surface; a pore otherwise.
    rim_px : float
        Depth below the surface within which dark voxels alone are partial volume, not voids.

    Returns
    -------
    uint8 array of `Label`

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    data = _volume("volume", volume)
    _same("inside", inside, data.shape)
    labels = np.where(inside, np.uint8(Label.MATERIAL), np.uint8(Label.OUTSIDE))
    if not inside.any():
        return labels
    level = 0.5 * float(np.median(data[inside])) if threshold is None else float(threshold)
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1]
    dark = inside & (data < level)
    parts, count = ndimage.label(dark & (depth > rim_px), np.ones((3, 3, 3)))
    if count == 0:
        return labels
    index = np.nonzero(parts)
    which = parts[index]
    size = np.bincount(which, minlength=count + 1).astype(np.float64)
    at = [np.bincount(which, i, minlength=count + 1) / np.maximum(size, 1.0) for i in index]
    moments = np.empty((count + 1, 3, 3))
    for a in range(3):
        for b in range(a, 3):
            product = (index[a] - at[a][which]) * (index[b] - at[b][which])
            moments[:, a, b] = moments[:, b, a] = np.bincount(which, product, count + 1) / np.maximum(size, 1.0)
    # a voxel is as wide as itself: 1/12 keeps a single layer from being endlessly flat
    axes = np.sqrt(np.maximum(np.linalg.eigvalsh(moments) + 1.0 / 12.0, 1e-12))
    shallow = np.full(count + 1, np.inf)
    np.minimum.at(shallow, which, depth[index])
    crack = (axes[:, 2] > flatness * axes[:, 0]) | (shallow <= rim_px + 1.0)
    kind = np.where(crack, np.uint8(Label.CRACK), np.uint8(Label.PORE))
    kind[size < smallest] = Label.MATERIAL
    labels[index] = kind[which]
    return labels


def _is_void(labels: Labels) -> Flags:
    return np.asarray((labels == Label.CRACK) | (labels == Label.PORE), bool)


def void_fraction_counted(labels: Labels, *, kinds: tuple[Label, ...] = (Label.CRACK, Label.PORE)) -> Fraction:
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
    data = _volume("volume", volume)
    _same("inside", inside, data.shape)
    contrast = require_positive("mu_material - mu_void", mu_material - mu_void, "per voxel")
    n = int(inside.sum())
    if n == 0:
        raise FitError("void fraction: nothing is inside")
    where = inside if around is None else inside & around
    if not where.any():
        return Fraction(0.0, 0.0, n)
    mean, sd = _block_mean(data, where)
    if twin is not None:
        _same("twin", np.asarray(twin), data.shape)
        sd = _block_mean(data - _volume("twin", twin), where)[1] / np.sqrt(2.0)
    share = float(where.sum()) / n
    value = share * (mu_material - mean) / contrast
    by_level = share * mu_sd * (1.0 - (mu_material - mean) / contrast) / contrast
    return Fraction(value, float(np.hypot(share * sd / contrast, by_level)), n)


def void_fraction_from_halves(
    first: npt.NDArray[Any],
    second: npt.NDArray[Any],
    inside: Flags,
    *,
    smooth_px: float = 2.0,
    grow_px: float = 4.0,
    smallest: int = 20,
) -> Fraction:
    """Return the void fraction from two half volumes: each finds the voids that are integrated in the other.

    Parameters
    ----------
    first, second : array (slice, z, x)
        Reconstructions of every other projection.
    inside : bool array
        Where the fraction is taken of, away from the blurred surface.
    smooth_px : float
        Gaussian for finding voids; wider than the resolution costs nothing but neighbours.
    grow_px : float
        How far around a void its deficit is looked for: resolution and `smooth_px` together.
    smallest : int
        Voxels of the smallest void that is no noise.

    Raises
    ------
    FitError, ShapeError, OutOfRangeError
    """
    halves = (_volume("first", first), _volume("second", second))
    _same("second", halves[1], halves[0].shape)
    _same("inside", inside, halves[0].shape)
    found = []
    for finder, other in (halves, halves[::-1]):
        soft = smooth(finder, smooth_px)
        level = float(np.median(soft[inside])) if inside.any() else 0.0
        labels = segment(soft, inside, threshold=0.75 * level, smallest=smallest)
        away = ndimage.distance_transform_edt(~_is_void(labels))
        mu, sd = material_level(other, inside & (away > grow_px + 1.0))
        around = away <= grow_px
        found.append(void_fraction_integrated(other, inside, mu, mu_sd=sd, around=around, twin=finder))
    a, b = found
    # the halves are independent as far as their noise goes
    return Fraction(0.5 * (a.value + b.value), 0.5 * float(np.hypot(a.sd, b.sd)), a.voxels)


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
    edges = np.asarray(edges_px, np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0.0).all():
        raise OutOfRangeError("edges: at least two depths that rise are needed")
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1]
    shells = []
    for low, high in pairwise(edges):
        part = (depth > low) & (depth <= high)
        if part.any():
            fraction = void_fraction_integrated(volume, part, mu_material, mu_sd=mu_sd, around=around, twin=twin)
            shells.append(Shell(float(low), float(high), fraction))
    return shells


def compare_labels(labels: Labels, truth: Labels) -> dict[str, float]:
    """Return, by kind, Dice's coefficient and the ratio of volumes, and those of all voids together.

    Raises
    ------
    ShapeError
    """
    _same("truth", truth, labels.shape)
    pairs = {kind.name.lower(): (labels == kind, truth == kind) for kind in Label if kind is not Label.OUTSIDE}
    pairs["void"] = (_is_void(labels), _is_void(truth))
    result = {}
    for name, (found, true) in pairs.items():
        both, total = float((found & true).sum()), float(found.sum() + true.sum())
        result[f"dice_{name}"] = 2.0 * both / total if total else 1.0
        result[f"ratio_{name}"] = float(found.sum()) / float(true.sum()) if true.any() else float("nan")
    return result
