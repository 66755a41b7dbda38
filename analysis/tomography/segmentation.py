"""What a particle is made of: material, cracks, pores, outside."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from exitwave.analysis.compiled import over_blocks
from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError, require_positive

__all__ = [
    "Label",
    "checked_volume",
    "compare_labels",
    "envelope",
    "is_void",
    "require_same_shape",
    "segment",
    "smooth",
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


def checked_volume(name: str, data: npt.NDArray[Any]) -> Floats:
    """Return a volume as float32, refusing what is none (ShapeError, OutOfRangeError)."""
    volume = np.asarray(data, np.float32)
    if volume.ndim != 3 or min(volume.shape) < 8:
        raise ShapeError(f"{name}: shape {volume.shape}; three dimensions of at least 8 voxels are needed")
    if not np.isfinite(volume).all():
        raise OutOfRangeError(f"{name}: NaN or infinity; reconstruct from finite projections")
    return volume


def require_same_shape(name: str, array: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    """Refuse an array of another shape (ShapeError)."""
    if array.shape != shape:
        raise ShapeError(f"{name}: shape {array.shape}, the volume has {shape}")


def smooth(volume: npt.NDArray[Any], sigma_px: float) -> Floats:
    """Return the volume smoothed by a Gaussian, in threads: the simplest of denoisers.

    For thin cracks, which a Gaussian blurs away, give `segment` a volume by total variation instead:
    ``reconstruct(..., method="tv")``.
    """
    data = checked_volume("volume", volume)
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


def segment(
    volume: npt.NDArray[Any],
    inside: Flags,
    *,
    threshold: float | None = None,
    smallest: int = 8,
    slenderness: float = 4.0,
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
    slenderness : float
        A void is a crack if its longest half axis (that of an ellipsoid of its moments) is this many times the radius
        of the largest ball in it, and a pore otherwise. Two round pores that touch have 2.4, three in a row 3.8; a
        network of cracks, which need not be flat as a whole, has far more.
    rim_px : float
        Depth below the surface within which dark voxels alone are partial volume, not voids.

    Returns
    -------
    uint8 array of `Label`

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    data = checked_volume("volume", volume)
    require_same_shape("inside", inside, data.shape)
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
    # a voxel is as wide as itself: 1/12
    longest = np.sqrt(5.0 * (np.linalg.eigvalsh(moments)[:, 2] + 1.0 / 12.0))
    ball = np.zeros(count + 1)
    np.maximum.at(ball, which, ndimage.distance_transform_edt(parts)[index])
    crack = longest > slenderness * ball
    kind = np.where(crack, np.uint8(Label.CRACK), np.uint8(Label.PORE))
    kind[size < smallest] = Label.MATERIAL
    labels[index] = kind[which]
    return labels


def is_void(labels: Labels) -> Flags:
    """Return where a label volume says crack or pore."""
    return np.asarray((labels == Label.CRACK) | (labels == Label.PORE), bool)


def compare_labels(labels: Labels, truth: Labels) -> dict[str, float]:
    """Return, by kind, Dice's coefficient and the ratio of volumes, and those of all voids together.

    Raises
    ------
    ShapeError
    """
    require_same_shape("truth", truth, labels.shape)
    pairs = {kind.name.lower(): (labels == kind, truth == kind) for kind in Label if kind is not Label.OUTSIDE}
    pairs["void"] = (is_void(labels), is_void(truth))
    result = {}
    for name, (found, true) in pairs.items():
        both, total = float((found & true).sum()), float(found.sum() + true.sum())
        result[f"dice_{name}"] = 2.0 * both / total if total else 1.0
        result[f"ratio_{name}"] = float(found.sum()) / float(true.sum()) if true.any() else float("nan")
    return result
