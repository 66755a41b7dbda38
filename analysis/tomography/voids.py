"""How much of a particle is void.

A fraction of voids may be had in three ways, for three kinds of data:

- `void_fraction_counted`: label voxels, count them. Wants a voxel's signal-to-noise ratio well above 2, and voids wider
  than the resolution: a crack half as wide is counted twice or not at all.
- `void_fraction_integrated`, whole: ``1 - mu / mu_material`` summed over all of the inside. Noise averages out over
  millions of voxels, and blur moves nothing out; but mu_material must be known to (wanted accuracy) x (fraction), that
  is to 0.3 % for 10 % of a fraction of 3 %.
- `void_fraction_integrated`, within a mask around detected voids: mu_material errs on the masked part only. What was
  not detected is missed. With two independent half volumes (`half_voids.find_voids`) one finds the mask, the other is
  integrated, so that noise which looked like a void does not count as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from exitwave.analysis.errors import FitError, OutOfRangeError, require_positive
from exitwave.analysis.tomography.segmentation import Label, checked_volume, require_same_shape

__all__ = [
    "VOIDS",
    "Fraction",
    "Shell",
    "material_level",
    "rising_edges",
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


def rising_edges(edges_px: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return depths between shells as an array.

    Raises
    ------
    OutOfRangeError
        Fewer than two, or not rising.
    """
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
    edges = rising_edges(edges_px)
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1]
    shells = []
    for low, high in pairwise(edges):
        part = (depth > low) & (depth <= high)
        if part.any():
            fraction = void_fraction_integrated(volume, part, mu_material, mu_sd=mu_sd, around=around, twin=twin)
            shells.append(Shell(float(low), float(high), fraction))
    return shells
