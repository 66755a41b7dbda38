"""From projections at every energy and angle to a spectrum in every voxel, with its uncertainty.

At one angle the sample shows the same picture at all energies but for its contrast: each projection is registered to
the mean over the energies at its angle (`registration`). The means have the counts of all energies together, and are
what the tomogram is aligned by (`exitwave.analysis.tomography.align_projections`). Magnification, displacement of the
energy and of the angle make one operator, so that every projection is resampled once, and then reconstructed.

Reconstruction is linear, and so noise of known variance that is sent the same way tells the variance of the voxels:
whatever interpolation and filter do to it, and that flats bring the same error into all angles, is in it.

Work goes energy by energy; nothing the size of all of them is made but the results, which may be data sets in files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from exitwave.analysis.binning import block_mean
from exitwave.analysis.errors import OutOfRangeError, ShapeError
from exitwave.analysis.tomography import Geometry, Reconstruction, align_projections
from exitwave.analysis.tomography.phase import depth_of_focus_warning
from exitwave.analysis.xanes.registration import Registration
from exitwave.analysis.xanes.stack import StackOperator

__all__ = [
    "EnergyProjections",
    "ProjectionsByEnergy",
    "VolumeAlignment",
    "VolumeFocus",
    "align_tomograms",
    "focus_of_volume",
    "reconstruct_energies",
]

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
PATCH_VOXELS = 3.0
"""Standard deviation of the neighbourhood over which the square of the noise is averaged: some 1200 voxels."""


@dataclass(frozen=True)
class EnergyProjections:
    """Projections of one energy.

    Attributes
    ----------
    depth : float32 (angle, row, column)
        Optical depths, -ln(transmission).
    variance : float32 (angle, row, column), optional
        Of each projection's own counts.
    common : float32 (row, column), optional
        Variance of what all of them share: the flat's.
    """

    depth: Image
    variance: Image | None = None
    common: Image | None = None

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit."""
        shape = self.depth.shape
        if len(shape) != 3 or 0 in shape:
            raise ShapeError(f"projections: shape {shape}, expected (angle, row, column)")
        for name, given, expected in (("variance", self.variance, shape), ("common", self.common, shape[1:])):
            if given is not None and given.shape != expected:
                raise ShapeError(f"projections: {name} {given.shape}, expected {expected}")

    def noise(self, rng: np.random.Generator) -> Image:
        """Draw an error of the depths, float32 (angle, row, column).

        Raises
        ------
        ShapeError
            No variance is known.
        """
        if self.variance is None:
            raise ShapeError("projections: have no variance; give it, or do without the voxels' variance")
        drawn = rng.standard_normal(self.depth.shape, dtype=np.float32)
        drawn *= np.sqrt(self.variance)
        if self.common is not None:
            drawn += rng.standard_normal(self.common.shape, dtype=np.float32) * np.sqrt(self.common)
        return drawn


class ProjectionsByEnergy(Protocol):
    """Anything indexed by energy: a list, or an object that reads and corrects on demand."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> EnergyProjections: ...


@dataclass(frozen=True)
class VolumeAlignment:
    """Where the pixels of aligned projections lie in those that were measured.

    Attributes
    ----------
    operators : tuple of StackOperator
        For each energy one, whose frames are its projections.
    geometry : Geometry
        Of the aligned projections: nothing is displaced any more.
    registration_rms_px : float
        By how much projections of one angle differed in place from energy to energy, in the last round.
    """

    operators: tuple[StackOperator, ...]
    geometry: Geometry
    registration_rms_px: float


def _resampled(images: Image, operator: StackOperator) -> Iterator[Image]:
    """Yield projections on the pixels of the result; what was not seen is empty."""
    for j in range(len(images)):
        moved, _ = operator.resample(j, images[j])
        yield np.nan_to_num(moved, copy=False)


def align_tomograms(
    source: ProjectionsByEnergy,
    geometry: Geometry,
    scale: npt.ArrayLike,
    *,
    highest_frequency: float = 0.25,
    mismatch_rad: float = 0.2,
    max_shift_px: float | None = None,
    rounds: int = 2,
    **options: Any,
) -> VolumeAlignment:
    """Find how every projection at every energy stands displaced.

    Parameters
    ----------
    source : indexed by energy, ascending
        Read once for each round and once more. All energies have the same angles.
    geometry : Geometry
        Angles, and about where the axis is; its tilt holds, shifts are taken for a start.
    scale : (n,)
        Magnification at each energy over that of the result (`magnification_scales`).
    highest_frequency : float
        Cycles per pixel up to which energies are compared.
    mismatch_rad : float
        As for `exitwave.analysis.xanes.align`.
    max_shift_px : float, optional
        Of an energy; a quarter of the field if not given.
    rounds : int
        Of the comparison of energies.
    **options
        Of `exitwave.analysis.tomography.align_projections`.

    Raises
    ------
    FitError
        When an energy has nothing in common with the others, or the projections nothing to register.
    ShapeError, OutOfRangeError
    """
    scales, n = np.asarray(scale, np.float64), len(source)
    if n < 2 or scales.shape != (n,):
        raise ShapeError(f"alignment of tomograms: {n} energies and {scales.shape} scales; one each, at least two")
    first = source[0].depth
    angles, shape = len(first), (first.shape[1], first.shape[2])
    if (angles, shape[1]) != (len(geometry), geometry.width):
        raise ShapeError(
            f"alignment of tomograms: projections {first.shape}, geometry of {len(geometry)} angles and "
            f"{geometry.width} columns"
        )
    operators = [StackOperator.identity(angles, shape, scale=np.full(angles, s)) for s in scales]
    reach = min(shape) / 4.0 if max_shift_px is None else float(max_shift_px)
    registration = Registration(shape, highest_frequency, mismatch_rad, reach)
    mean, rms = _mean_over_energies(source, operators), math.nan
    for turn in range(max(1, rounds)):
        known = [registration.spectrum(image) for image in mean]
        moved = np.zeros((n, angles, 2))
        for k in range(n):
            for j, image in enumerate(_resampled(source[k].depth, operators[k])):
                moved[k, j] = registration.between(known[j], registration.spectrum(image), turn == 0)[0]
        # where the mean stands is its own matter: what follows finds that
        moved -= moved.mean(axis=0)
        rms = float(np.sqrt(np.mean(moved**2)))
        operators = [operator.refined(shift) for operator, shift in zip(operators, moved, strict=True)]
        mean = _mean_over_energies(source, operators)
    found = align_projections(mean, geometry, **options).geometry
    shifts = np.zeros((angles, 2)) if found.shifts is None else found.shifts
    return VolumeAlignment(tuple(operator.refined(shifts) for operator in operators), replace(found, shifts=None), rms)


def _mean_over_energies(source: ProjectionsByEnergy, operators: list[StackOperator]) -> Image:
    total: Image | None = None
    for k, operator in enumerate(operators):
        depth = source[k].depth
        if total is None:
            total = np.zeros_like(depth)
        if depth.shape != total.shape:
            raise ShapeError(f"energy {k}: projections {depth.shape}, those of the first {total.shape}")
        for j, image in enumerate(_resampled(depth, operator)):
            total[j] += image
    if total is None:
        raise ShapeError("alignment of tomograms: no energies")
    total *= np.float32(1.0 / len(operators))
    return total


def _binned(images: Iterator[Image], count: int, shape: tuple[int, int], factor: int) -> Image:
    out = np.empty((count, shape[0] // factor, shape[1] // factor), np.float32)
    for j, image in enumerate(images):
        out[j] = block_mean(image, (factor, factor))
    return out


def binned_geometry(geometry: Geometry, factor: int) -> Geometry:
    """Return the geometry of projections of which `factor` x `factor` pixels are averaged."""
    shifts = None if geometry.shifts is None else geometry.shifts / factor
    centre = (geometry.centre - 0.5 * (factor - 1)) / factor
    return replace(geometry, width=geometry.width // factor, centre=centre, shifts=shifts)


def reconstruct_energies(
    source: ProjectionsByEnergy,
    alignment: VolumeAlignment,
    *,
    bin_px: int = 1,
    method: str = "fourier",
    out: Any = None,
    out_variance: Any = None,
    seed: int = 0,
    **options: Any,
) -> tuple[Any, Any]:
    """Return the attenuation of every voxel at every energy, float32 (n, row, z, x), and its variance.

    Both are in units of optical depth per voxel. The variance is that of noise which is drawn with the variances of the
    projections and reconstructed along, squared and averaged over a neighbourhood; None where the source has none. It
    holds for single voxels: neighbours share noise, and low frequencies have less of it than high ones.

    Parameters
    ----------
    source : indexed by energy
        Read once.
    alignment : VolumeAlignment
    bin_px : int
        Pixels per side that make a voxel; a voxel of several pixels has less noise than several voxels' mean.
    method : str
        "fourier" or "fbp": the variance holds for linear methods alone.
    out, out_variance : array-like (n, row, z, x), optional
        Where to write: an array, a memory map, a data set in a file. Arrays are made if not given.
    seed : int
        Of the noise.
    **options
        Of `exitwave.analysis.tomography.reconstruct`.

    Raises
    ------
    OutOfRangeError
        For methods that are not linear, or a bin that leaves nothing.
    ShapeError
    """
    if method not in ("fourier", "fbp"):
        raise OutOfRangeError(f"method {method!r}: variances need a linear one, 'fourier' or 'fbp'")
    if bin_px < 1 or alignment.geometry.width // bin_px < 8:
        raise OutOfRangeError(f"bin = {bin_px} pixels of {alignment.geometry.width} columns: leaves less than 8 voxels")
    n = len(source)
    if len(alignment.operators) != n:
        raise ShapeError(f"volumes: {n} energies, alignment of {len(alignment.operators)}")
    geometry = binned_geometry(alignment.geometry, bin_px)
    run = Reconstruction(geometry, method, **options)
    rng = np.random.default_rng(seed)
    for k in range(n):
        given, operator = source[k], alignment.operators[k]
        angles, shape = len(given.depth), (given.depth.shape[1], given.depth.shape[2])
        volume = run(_binned(_resampled(given.depth, operator), angles, shape, bin_px))
        out = _room("out", out, n, volume.shape)
        out[k] = volume
        if given.variance is None:
            continue
        noise = run(_binned(_resampled(given.noise(rng), operator), angles, shape, bin_px))
        out_variance = _room("out_variance", out_variance, n, volume.shape)
        out_variance[k] = ndimage.gaussian_filter(noise**2, PATCH_VOXELS, mode="nearest")
    return out, out_variance


def _room(name: str, given: Any, n: int, shape: tuple[int, ...]) -> Any:
    if given is None:
        return np.empty((n, *shape), np.float32)
    if tuple(given.shape) != (n, *shape):
        raise ShapeError(f"{name}: shape {tuple(given.shape)}, expected {(n, *shape)}")
    return given


@dataclass(frozen=True)
class VolumeFocus:
    """Whether a reconstructed specimen was in focus through and through.

    Attributes
    ----------
    thickness_um : float
        Its largest extent along the beam at any angle.
    depth_of_focus_um : float
        The whole depth.
    warning : str or None
        What `depth_of_focus_warning` says of it.
    """

    thickness_um: float
    depth_of_focus_um: float
    warning: str | None


def focus_of_volume(outline: npt.ArrayLike, voxel_nm: float, half_depth_um: float) -> VolumeFocus:
    """Measure how thick a specimen is along the beam, and warn where that exceeds the depth of focus.

    Parameters
    ----------
    outline : bool (row, z, x)
        Where the specimen is; the axis of rotation is along the rows.
    voxel_nm : float
    half_depth_um : float
        In focus within plus and minus this: 2 dr^2 / lambda, `exitwave.analysis.optics.depth_of_focus_um`.

    Warns
    -----
    DepthOfFocusWarning

    Raises
    ------
    ShapeError
        Not a volume, or nothing in it.
    """
    inside = np.asarray(outline, np.bool_)
    if inside.ndim != 3 or not inside.any():
        raise ShapeError(
            f"outline: shape {inside.shape} with {int(inside.sum())} voxels, expected (row, z, x) with some"
        )
    thickest = 0.0
    angles = np.deg2rad(np.arange(0.0, 180.0, 2.0))
    for plane in inside[inside.any(axis=(1, 2))]:
        z, x = np.nonzero(plane)
        along = np.cos(angles)[:, None] * z + np.sin(angles)[:, None] * x
        thickest = max(thickest, float(np.ptp(along, axis=1).max()) + 1.0)
    thickness_um = 1e-3 * voxel_nm * thickest
    depth_um = 2.0 * half_depth_um
    return VolumeFocus(thickness_um, depth_um, depth_of_focus_warning(thickness_um, depth_um))
