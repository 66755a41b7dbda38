"""The rotation axis from projections half a turn apart: its column and its lean, with their uncertainties."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from exitwave.analysis.binning import block_mean
from exitwave.analysis.compiled import n_threads
from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError, require_positive
from exitwave.analysis.registration import register

__all__ = ["AxisEstimate", "CentreEstimate", "axis_from_pairs", "checked_projections"]

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
_BLOCK = 32


@dataclass(frozen=True)
class CentreEstimate:
    """Column of the axis in the middle row with one standard deviation."""

    centre: float
    centre_sd: float


@dataclass(frozen=True)
class AxisEstimate(CentreEstimate):
    """The axis with its lean (see `Geometry`), too, and that one's standard deviation."""

    tilt_deg: float
    tilt_sd_deg: float


def checked_projections(data: npt.NDArray[Any], least: int) -> Floats:
    """Return projections (angle, row, col) as float32, refusing too few, too small and NaN."""
    pictures = np.asarray(data, dtype=np.float32)
    if pictures.ndim != 3 or pictures.shape[0] < least or min(pictures.shape[1:]) < 32:
        raise ShapeError(
            f"projections: shape {pictures.shape}; at least {least} (angle, row, col) of 32 x 32 are needed"
        )
    if not np.isfinite(pictures).all():
        raise OutOfRangeError("projections: NaN or infinity; correct or fill these pixels first")
    return pictures


def _turned(image: Floats, phi: float, shift: Doubles) -> Floats:
    """Image sampled at middle + R(phi) (x - middle) + shift."""
    c, s = math.cos(phi), math.sin(phi)
    matrix = np.array([[c, -s], [s, c]])
    middle = 0.5 * (np.array(image.shape) - 1.0)
    offset = middle - matrix @ middle + shift
    return np.asarray(ndimage.affine_transform(image, matrix, offset, order=3, mode="nearest"), np.float32)


def _fit_motion(a: Floats, b: Floats, phi: float, shift: Doubles, smooth_px: float) -> tuple[Doubles, Doubles]:
    """Refine b(x) = a(R(phi) x + shift) by least squares; return (rows, columns, phi) and their covariance.

    Both pictures are moved half way, so that interpolation treats them alike, and their smoothed mean gives the
    gradients: its noise does not correlate with that of the difference, which stays unsmoothed.
    """
    ny, nx = a.shape
    rows, cols = (np.arange(n, dtype=np.float32) - 0.5 * (n - 1) for n in (ny, nx))
    covariance = np.full((3, 3), np.inf)
    for _ in range(20):
        turn = np.array([[math.cos(phi), -math.sin(phi)], [math.sin(phi), math.cos(phi)]])
        first = _turned(a, 0.5 * phi, shift - turn @ shift * 0.5)
        second = _turned(b, -0.5 * phi, -0.5 * shift)
        edge = int(np.ceil(0.5 * np.abs(shift).max() + 0.25 * abs(phi) * max(ny, nx))) + 4
        if min(ny, nx) - 2 * edge < 24:
            raise FitError(f"pair: a shift of {shift[1]:.1f} columns leaves too little that both pictures show")
        inside = (slice(edge, ny - edge), slice(edge, nx - edge))
        difference = (second - first)[inside]
        design, sharp = _designs(0.5 * (first + second), smooth_px, rows, cols, inside)
        noise, sharp_noise = _designs(0.5 * (second - first), smooth_px, rows, cols, inside)
        # gradients of noise alone count for nothing, and are many around the object
        energy, of_noise = (
            ndimage.gaussian_filter(np.square(each[:2]).sum(axis=0), 4.0 * smooth_px) for each in (design, noise)
        )
        share = float(np.median(of_noise)) / np.maximum(energy, 1e-30)
        weight = np.clip(1.0 - share, 0.0, 1.0).astype(np.float32)
        # What the unsmoothed pictures do when they move; the smoothed ones do less, and the steps would go too far.
        # Gradients of noise do not answer to a motion at all: with them the steps would be too short to arrive.
        normal = _products(design, weight, sharp)
        normal[:3, :3] = _less(normal[:3, :3], _products(noise, weight, sharp_noise)[:3, :3])
        try:
            inverse = np.linalg.inv(normal)
        except np.linalg.LinAlgError as error:
            raise FitError("pair: nothing in the pictures tells where they are") from error
        step = inverse @ (design * weight).reshape(5, -1).astype(np.float64) @ difference.ravel().astype(np.float64)
        shift = shift + step[:2]
        phi += float(step[2])
        if np.hypot(*step[:2]) < 1e-4 and abs(step[2]) * max(ny, nx) < 1e-4:
            break
    # the pictures answer to a motion with their true gradients only, without the noise in them; of the smoothed ones
    # it can be told apart
    normal = _products(design, weight, design)
    normal[:3, :3] -= _products(noise, weight, noise)[:3, :3]
    inverse = np.linalg.inv(normal)
    if not (np.diag(inverse) > 0.0).all():
        raise FitError("pair: too much noise to tell where the pictures are; average more frames")
    # scatter of the scores of blocks: holds whatever the noise's correlation within them
    part = design * weight * (difference - np.tensordot(step.astype(np.float32), design, 1))
    by, bx = max(1, part.shape[1] // _BLOCK), max(1, part.shape[2] // _BLOCK)
    high, wide = part.shape[1] // by, part.shape[2] // bx
    blocks = part[:, : by * high, : bx * wide].reshape(5, by, high, bx, wide)
    scores = blocks.sum(axis=(2, 4), dtype=np.float64).reshape(5, -1)
    covariance = (inverse @ (scores @ scores.T) @ inverse.T)[:3, :3]
    return np.array([*shift, phi]), covariance


def _less(whole: Doubles, noise: Doubles) -> Doubles:
    """Return a matrix without its noise, but never less than a twentieth of it in any direction."""
    scale = np.sqrt(np.diag(whole))
    part = noise / np.outer(scale, scale)
    values, vectors = np.linalg.eigh(0.5 * (part + part.T))
    kept = whole / np.outer(scale, scale) - part + vectors @ np.diag(np.maximum(values - 0.95, 0.0)) @ vectors.T
    return np.asarray(kept * np.outer(scale, scale))


def _designs(
    image: Floats, smooth_px: float, rows: Floats, cols: Floats, inside: tuple[slice, slice]
) -> tuple[Floats, Floats]:
    """Smoothed and as it is: the picture's gradients, their turning, the picture itself, a constant."""
    both = []
    for one in (np.asarray(ndimage.gaussian_filter(image, smooth_px), np.float32), image):
        gy, gx = np.gradient(one)
        turning = gx * rows[:, None] - gy * cols[None, :]
        each = np.stack([gy, gx, turning, one - one.mean(), np.ones_like(one)])
        both.append(np.asarray(each[:, inside[0], inside[1]], np.float32))
    return both[0], both[1]


def _products(a: Floats, weight: Floats, b: Floats) -> Doubles:
    return np.asarray((a * weight).reshape(len(a), -1).astype(np.float64) @ b.reshape(len(b), -1).T, np.float64)


def _binned(image: Floats, factor: int) -> Floats:
    """Mean over blocks about the middle, so that a mirrored picture has the mirrored blocks."""
    ny, nx = (n // factor * factor for n in image.shape)
    top, left = (image.shape[0] - ny) // 2, (image.shape[1] - nx) // 2
    return block_mean(image[top : top + ny, left : left + nx], (factor, factor))


def axis_from_pairs(
    first: npt.NDArray[Any],
    second: npt.NDArray[Any],
    *,
    smooth_px: float = 1.0,
    max_offset_px: float | None = None,
    finest_px: int = 512,
) -> AxisEstimate:
    """Return the axis from projections at theta and at theta + 180 deg.

    Parameters
    ----------
    first, second : array (row, col), or (pair, row, col)
        -ln(transmission) at theta and at theta + 180 deg. Several pairs give the weighted mean, whose uncertainty
        counts how they scatter, too.
    smooth_px : float
        Smoothing of the template from which gradients are taken; about half of the resolution.
    max_offset_px : float, optional
        Largest distance of the axis from the middle column; a quarter of the width without.
    finest_px : int
        Larger pictures are binned until their shorter side is below twice this. Beyond it finer sampling adds little
        to a shift of structures wider than the smoothing, and costs four times as much.

    Raises
    ------
    FitError
        If the pictures do not determine the axis.
    ShapeError, OutOfRangeError

    Notes
    -----
    A point at u from the axis goes to -u: the second picture, mirrored, is the first one shifted by twice the axis'
    offset and turned by twice its lean. A lift of the sample between the two is fitted and left out. From noise n per
    pixel and gradients g the least uncertainty of a pair is ``n / sqrt(2 sum g_x^2)`` columns and
    ``n / sqrt(2 sum (g_x row - g_y col)^2)`` rad (Cramer-Rao); the fit comes near to it.
    """
    a, b = (np.asarray(image, np.float32) for image in (first, second))
    a, b = (image[None] if image.ndim == 2 else image for image in (a, b))
    if a.shape != b.shape:
        raise ShapeError(f"pairs: shapes {a.shape} and {b.shape} differ")
    a, b = checked_projections(a, 1), checked_projections(b, 1)
    width = a.shape[2]
    reach = 0.25 * width if max_offset_px is None else require_positive("max_offset", max_offset_px, "pixel")

    def each(one: Floats, two: Floats) -> AxisEstimate:
        return _axis_from_pair(one, two[:, ::-1], smooth_px, reach, finest_px)

    # a pool of its own: the kernels that a pair needs use the common one
    with ThreadPoolExecutor(n_threads()) as pool:
        found = list(pool.map(each, a, b))
    if len(found) == 1:
        return found[0]
    centre, centre_sd = _weighted([e.centre for e in found], [e.centre_sd for e in found])
    tilt, tilt_sd = _weighted([e.tilt_deg for e in found], [e.tilt_sd_deg for e in found])
    return AxisEstimate(centre, centre_sd, tilt, tilt_sd)


def _weighted(values: npt.ArrayLike, deviations: npt.ArrayLike) -> tuple[float, float]:
    """Return the weighted mean; its deviation is enlarged where the values scatter more than they should."""
    x, weight = np.asarray(values, np.float64), 1.0 / np.asarray(deviations, np.float64) ** 2
    mean = float((weight * x).sum() / weight.sum())
    chi = float((weight * (x - mean) ** 2).sum()) / max(len(x) - 1, 1)
    return mean, math.sqrt(max(chi, 1.0) / float(weight.sum()))


def _axis_from_pair(a: Floats, flipped: Floats, smooth_px: float, reach: float, finest_px: int) -> AxisEstimate:
    factor = 1
    while min(a.shape) // (2 * factor) >= 96:
        factor *= 2
    reach = min(2.0 * reach / factor, 0.75 * a.shape[1] / factor)
    coarse = register(_binned(a, factor), _binned(flipped, factor), max_shift_px=reach)
    # flipped(x) = a(x - d): here a is sampled at x + shift
    motion = np.array([-coarse.dy, -coarse.dx, 0.0])
    middle = 0.5 * (a.shape[1] - 1)
    while True:
        one, two = (_binned(image, factor) for image in (a, flipped))
        motion, covariance = _fit_motion(one, two, motion[2], motion[:2], smooth_px)
        if factor == 1 or min(one.shape) >= finest_px:
            break
        motion[:2] *= 2.0
        factor //= 2
    phi = float(motion[2])
    centre = middle + factor * motion[1] / (1.0 + math.cos(phi))
    return AxisEstimate(
        centre=float(centre),
        centre_sd=0.5 * factor * math.sqrt(covariance[1, 1]),
        tilt_deg=math.degrees(0.5 * phi),
        tilt_sd_deg=math.degrees(0.5 * math.sqrt(covariance[2, 2])),
    )
