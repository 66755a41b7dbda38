"""From counts to a stack of optical depths in which every energy lies on the same pixels.

Average, reference, logarithm, then magnification and alignment in one resampling: interpolating twice would
blur twice. What the resampling is stands in a `StackOperator`, per energy a scale about the optical axis and
a shift, so that alignment refines the operator and the pixels are touched once. Work goes frame by frame;
the result may be an array on disk, and nothing else the size of a stack is made.

Interpolation: cubic convolution (R. G. Keys, IEEE Trans. ASSP 29, 1153 (1981)), or Lanczos with three lobes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from exitwave.analysis.compiled import over_blocks
from exitwave.analysis.correction import mean_frames
from exitwave.analysis.errors import OutOfRangeError, ShapeError, require_positive
from exitwave.analysis.optics import focal_length_mm, magnification_from_distances
from exitwave.analysis.xanes import _stack_kernels as kernels

__all__ = ["FrameSource", "StackOperator", "correct_stack", "magnification_scales", "optical_depth"]

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Interpolation = Literal["cubic", "lanczos"]

_ROWS = 64


class FrameSource(Protocol):
    """Anything indexed by energy: a list, an array, a data set in a file, an object that reads on demand."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def magnification_scales(
    energies_ev: npt.ArrayLike,
    *,
    diameter_um: float,
    outermost_zone_nm: float,
    detector_distance_mm: npt.ArrayLike,
    reference: int = 0,
) -> Array:
    """Return M(E) / M(E_reference), float64 (n,), of a zone plate kept in focus while the energy changes.

    `detector_distance_mm` is sample -> scintillator, one number or one per energy (a detector that follows
    keeps the scale at 1). Thin lens, f = D dr / lambda.
    """
    energies = np.asarray(energies_ev, dtype=np.float64)
    distances = np.broadcast_to(np.asarray(detector_distance_mm, dtype=np.float64), energies.shape)
    magnification = np.array(
        [
            magnification_from_distances(focal_length_mm(diameter_um, outermost_zone_nm, energy * 1e-3), distance)
            for energy, distance in zip(energies, distances, strict=True)
        ]
    )
    return np.asarray(magnification / magnification[reference])


def _weights(fraction: Array, interpolation: Interpolation) -> Array:
    """Weights of the taps around a position `fraction` beyond the middle-left one; each row sums to one."""
    if interpolation == "cubic":
        t = np.abs(fraction[:, None] - np.arange(-1, 3))
        near = (1.5 * t - 2.5) * t * t + 1.0
        far = ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
        return np.where(t <= 1.0, near, np.where(t < 2.0, far, 0.0))
    t = fraction[:, None] - np.arange(-2, 4)
    weights = np.where(np.abs(t) < 3.0, np.sinc(t) * np.sinc(t / 3.0), 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _taps(
    length: int, scale: float, centre: float, shift: float, interpolation: Interpolation
) -> tuple[npt.NDArray[np.int64], Image, Image]:
    """First source index per target index (-1: beyond the source), weights, and their squares."""
    position = centre + scale * (np.arange(length) - centre) + shift
    # an identity is to stay one to the last bit, at the edges too
    position = np.where(np.abs(position - np.rint(position)) < 1e-9, np.rint(position), position)
    inside = (position >= 0.0) & (position <= length - 1.0)
    position = np.clip(position, 0.0, length - 1.0)
    left = np.minimum(np.floor(position), length - 2)
    weights = _weights(position - left, interpolation)
    taps = weights.shape[1]
    first = left.astype(np.int64) - (taps // 2 - 1)
    # taps that hang over the edge fold onto the outermost pixel
    kept = np.clip(first, 0, length - taps)
    folded = np.zeros_like(weights)
    rows = np.arange(length)
    for k in range(taps):
        place = np.clip(first + k, 0, length - 1) - kept
        np.add.at(folded, (rows[inside], place[inside]), weights[inside, k])
    return np.where(inside, kept, -1), folded.astype(np.float32), (folded**2).astype(np.float32)


def _matrix(length: int, scale: float, centre: float, shift: float, interpolation: Interpolation) -> sparse.csr_array:
    """Return the weights of one axis as a matrix (target, source)."""
    first, weights, _ = _taps(length, scale, centre, shift, interpolation)
    inside = first >= 0
    target = np.repeat(np.flatnonzero(inside), weights.shape[1])
    source = (first[inside, None] + np.arange(weights.shape[1])).ravel()
    return sparse.csr_array((weights[inside].ravel().astype(np.float64), (target, source)), shape=(length, length))


@dataclass(frozen=True)
class StackOperator:
    """Where the pixels of the result lie in each frame.

    Pixel (row, column) p of the result is taken at ``centre + scale[k] (p - centre) + shift[k]`` of frame k;
    0 is the middle of the first pixel.

    Attributes
    ----------
    scale : float64 (n,)
        Magnification of frame k over that of the result (`magnification_scales`).
    shift : float64 (n, 2)
        (dy, dx): how far frame k stands displaced, pixels of frame k.
    centre : (row, column)
        The optical axis on the detector, about which the magnification acts.
    """

    scale: Array
    shift: Array
    centre: tuple[float, float]
    interpolation: Interpolation = "cubic"

    def __post_init__(self) -> None:
        scale, shift = np.asarray(self.scale, np.float64), np.asarray(self.shift, np.float64)
        if scale.ndim != 1 or shift.shape != (len(scale), 2):
            raise ShapeError(f"stack operator: scale {scale.shape} and shift {shift.shape}, expected (n,) and (n, 2)")
        if not (np.isfinite(scale) & (scale > 0.5) & (scale < 2.0)).all() or not np.isfinite(shift).all():
            raise OutOfRangeError("stack operator: scales must lie in (0.5, 2), shifts must be finite")
        if self.interpolation not in ("cubic", "lanczos"):
            raise OutOfRangeError(f"interpolation {self.interpolation!r}: there are 'cubic' and 'lanczos'")
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "shift", shift)

    def __len__(self) -> int:
        return len(self.scale)

    @classmethod
    def identity(cls, n: int, shape: tuple[int, int], *, scale: npt.ArrayLike | None = None) -> StackOperator:
        """Return the operator of n frames of `shape` without shifts, the optical axis in the middle."""
        centre = ((shape[0] - 1) / 2.0, (shape[1] - 1) / 2.0)
        scales = np.ones(n) if scale is None else np.asarray(scale, np.float64)
        return cls(scales, np.zeros((n, 2)), centre)

    def refined(self, displacement: npt.ArrayLike, *, scale: npt.ArrayLike = 1.0) -> StackOperator:
        """Return the operator that also takes out what is left in the result.

        `displacement` (n, 2) is how far frame k still stands displaced, pixels of the result, `scale` (n,)
        by what factor it is still too large.
        """
        factor = self.scale * np.asarray(scale, np.float64)
        shift = self.shift + self.scale[:, None] * np.asarray(displacement, np.float64)
        return replace(self, scale=factor, shift=shift)

    def noise_gain(self, region: npt.ArrayLike, k: int | None = None) -> float:
        """Return by how much the variance of a region's mean exceeds that of independent pixels.

        Neighbours in the result share pixels of the frame. A pixel of a frame whose noise is even counts in the mean by
        the sum of its weights, while the pixels' own variances (`resample`) are sums of their squares.

        Parameters
        ----------
        region : bool (y, x)
            Of the result.
        k : int, optional
            Of this frame; the mean over all frames without it.

        Raises
        ------
        ShapeError
            For a region without a pixel, or of less than 8 x 8.
        """
        chosen = np.asarray(region, np.bool_)
        if chosen.ndim != 2 or min(chosen.shape) < 8 or not chosen.any():
            raise ShapeError(f"region: shape {chosen.shape} with {int(chosen.sum())} pixels, expected (y, x) with some")
        gains = []
        for frame in range(len(self)) if k is None else (k,):
            rows, columns = (
                _matrix(length, self.scale[frame], self.centre[i], self.shift[frame, i], self.interpolation)
                for i, length in enumerate(chosen.shape)
            )
            inside = chosen.astype(np.float64)
            shares = columns.T @ (rows.T @ inside).T
            alone = columns.power(2).T @ (rows.power(2).T @ inside).T
            gains.append(float((shares**2).sum() / alone.sum()))
        return float(np.mean(gains))

    def resample(
        self, k: int, image: Image, variance: Image | None = None, out: Image | None = None
    ) -> tuple[Image, Image | None]:
        """Return frame k (y, x) on the pixels of the result, float32, and its variance if given.

        NaN where the frame ends. The variance is that of each pixel: the sum of the squared weights times
        the variances; that neighbours now share noise does not matter to maps that treat pixels one by one, and
        to means over regions it does (`noise_gain`).

        Raises
        ------
        ShapeError
        """
        data = np.ascontiguousarray(image, dtype=np.float32)
        if data.ndim != 2 or min(data.shape) < 8:
            raise ShapeError(f"frame {k}: shape {data.shape}, expected (y, x) of at least 8 x 8")
        if variance is not None and variance.shape != data.shape:
            raise ShapeError(f"frame {k}: variance {variance.shape} does not fit {data.shape}")
        result = np.empty_like(data) if out is None else out
        taps = [
            _taps(data.shape[i], self.scale[k], self.centre[i], self.shift[k, i], self.interpolation) for i in (0, 1)
        ]
        (fy, wy, wy2), (fx, wx, wx2) = taps

        def rows(start: int, stop: int) -> None:
            kernels.resample_rows(data, fy, wy, fx, wx, result, start, stop)

        over_blocks(rows, data.shape[0], _ROWS)
        if variance is None:
            return result, None
        spread, source = np.empty_like(data), np.ascontiguousarray(variance, dtype=np.float32)

        def squares(start: int, stop: int) -> None:
            kernels.resample_rows(source, fy, wy2, fx, wx2, spread, start, stop)

        over_blocks(squares, data.shape[0], _ROWS)
        return result, spread


def _mean(frames: Any) -> tuple[Image, int]:
    array = np.asarray(frames)
    if array.ndim == 2:
        return np.ascontiguousarray(array, dtype=np.float32), 1
    return mean_frames(array), len(array)


def optical_depth(
    frames: Any,
    flats: Any,
    dark: Any,
    *,
    beam_ratio: float = 1.0,
    photons_per_count: float = 1.0,
    read_noise_counts: float = 0.0,
    debias: bool = True,
    averaged: tuple[int, int] = (1, 1),
) -> tuple[Image, Image]:
    """Return the optical depth ln(flat / frame) of the averaged frames of one energy, and its variance.

    Parameters
    ----------
    frames, flats : array (y, x) or (m, y, x)
        Counts; several are averaged without their outliers (`mean_frames`).
    dark : array (y, x) or number
    beam_ratio : float
        Beam during the frames over beam during the flats.
    photons_per_count, read_noise_counts : float
        Detected photons per count, which set the Poisson noise; noise of one read-out, counts.
    debias : bool
        Take out the half variance by which the mean of a logarithm lies off the logarithm of the mean:
        0.5 % of an optical depth of one at a hundred photons, and more above the edge than below.
    averaged : (frames, flats)
        Of how many frames and flats the images are means already.

    Returns
    -------
    depth, variance : float32 (y, x)
        NaN where there is no light.

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    raw, m = _mean(frames)
    flat, mf = _mean(flats)
    if min(averaged) < 1:
        raise OutOfRangeError(f"averaged: {averaged[0]} frames and {averaged[1]} flats; must be >= 1")
    m, mf = m * averaged[0], mf * averaged[1]
    dark2 = np.ascontiguousarray(np.broadcast_to(np.asarray(dark, np.float32), flat.shape))
    if raw.shape != flat.shape:
        raise ShapeError(f"optical depth: frames {raw.shape} and flats {flat.shape} differ")
    beam = require_positive("beam ratio", beam_ratio, "(1)")
    photons = require_positive("photons per count", photons_per_count, "(1)")
    if not (math.isfinite(read_noise_counts) and read_noise_counts >= 0):
        raise OutOfRangeError(f"read noise = {read_noise_counts:g} counts: must be finite and >= 0")
    noise = float(read_noise_counts)
    depth, variance = np.empty_like(raw), np.empty_like(raw)

    def rows(a: int, b: int) -> None:
        kernels.depth_rows(raw, flat, dark2, beam, float(m), float(mf), photons, noise, debias, depth, variance, a, b)

    over_blocks(rows, raw.shape[0], _ROWS)
    return depth, variance


def correct_stack(
    frames: FrameSource,
    flats: FrameSource,
    dark: Any,
    operator: StackOperator,
    *,
    out: Any = None,
    out_variance: Any = None,
    beam_ratios: Sequence[float] | None = None,
    photons_per_count: float = 1.0,
    read_noise_counts: float = 0.0,
) -> tuple[Any, Any]:
    """Return the stack of optical depths (n, y, x) float32 on common pixels, and its variance.

    Parameters
    ----------
    frames, flats : indexed by energy
        ``frames[k]`` gives counts (y, x) or (m, y, x); read once, one energy at a time.
    operator : StackOperator
    out, out_variance : array-like (n, y, x), optional
        Where to write: an array, a memory map, a data set in a file. Arrays are made if not given.
    beam_ratios, photons_per_count, read_noise_counts
        As `optical_depth` takes them.

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    n = len(operator)
    if len(frames) != n or len(flats) != n:
        raise ShapeError(f"stack: {len(frames)} frames, {len(flats)} flats, operator for {n} energies")
    if beam_ratios is not None and len(beam_ratios) != n:
        raise ShapeError(f"stack: {len(beam_ratios)} beam ratios for {n} energies")
    for k in range(n):
        depth, variance = optical_depth(
            frames[k],
            flats[k],
            dark,
            beam_ratio=1.0 if beam_ratios is None else beam_ratios[k],
            photons_per_count=photons_per_count,
            read_noise_counts=read_noise_counts,
        )
        if out is None:
            out = np.empty((n, *depth.shape), np.float32)
        if out_variance is None:
            out_variance = np.empty((n, *depth.shape), np.float32)
        for name, target in (("out", out), ("out_variance", out_variance)):
            if tuple(target.shape) != (n, *depth.shape):
                raise ShapeError(f"{name}: shape {tuple(target.shape)}, expected {(n, *depth.shape)}")
        moved, spread = operator.resample(k, depth, variance)
        out[k], out_variance[k] = moved, spread
    return out, out_variance
