"""Lattice spots in the Fourier transform of maps, indexed, and compared between maps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from exitwave.analysis.columns.filters import radial_median
from exitwave.analysis.errors import FitError, ShapeError, require_positive

__all__ = ["LatticeSpots", "SpotComparison", "compare_periodicity", "lattice_spots"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LatticeSpots:
    """Spots of one half plane, the strongest first.

    `frequency` (n, 2) is (y, x) in 1/pixel of the map divided by `pixel`, `indices` (n, 2) on the basis `g1`,
    `g2` (rows of `basis`), `significance` the power over that of the noise about it.
    """

    frequency: Array
    indices: npt.NDArray[np.int64]
    significance: Array
    basis: Array
    pixel: float

    @property
    def spacings(self) -> Array:
        """Plane spacings, in the unit of `pixel`."""
        return np.asarray(1.0 / np.hypot(*self.frequency.T))


def _power(image: Array) -> tuple[Array, Array]:
    window = np.outer(np.hanning(image.shape[0]), np.hanning(image.shape[1]))
    data = (image - (image * window).sum() / window.sum()) * window
    # noise of unit variance gives unit power
    spectrum = fft.fft2(data, workers=-1) / math.sqrt(float((window**2).sum()))
    power = fft.fftshift(np.abs(spectrum) ** 2)
    frequencies = [fft.fftshift(fft.fftfreq(n)) for n in image.shape]
    radius = np.hypot(frequencies[0][:, None], frequencies[1][None, :])
    background = radial_median(power, radius, max(8, min(image.shape) // 6))
    return power / np.maximum(background, 1e-30), radius


def _check(image: npt.ArrayLike) -> Array:
    data = np.asarray(image, np.float64)
    if data.ndim != 2 or min(data.shape) < 16 or not np.isfinite(data).all():
        raise ShapeError(f"expected a finite map of at least 16 x 16 pixels, got shape {data.shape}")
    return data


def lattice_spots(
    image: npt.ArrayLike, *, pixel: float = 1.0, false_alarms: float = 0.01, most: int = 40
) -> LatticeSpots:
    """Find and index the lattice spots of a map.

    A spot is a local maximum of the power whose height noise alone (exponentially distributed, known from the
    median of its ring) would reach in a share `false_alarms` of maps. The basis is the pair of short, strong spots that
    indexes the most power.

    Parameters
    ----------
    image : array (rows, cols)
    pixel : float
        Size of a pixel, any unit; frequencies come in its inverse.
    false_alarms : float
    most : int
        Spots kept.

    Raises
    ------
    ShapeError, OutOfRangeError
    FitError
        With fewer than two spots that are not collinear: no lattice is seen.
    """
    data = _check(image)
    require_positive("pixel", pixel, "")
    ratio, radius = _power(data)
    threshold = math.log(ratio.size / false_alarms)
    least = 2.5 / min(data.shape)
    top = (ratio == ndimage.maximum_filter(ratio, size=5)) & (ratio > threshold) & (radius > least) & (radius < 0.48)
    places = np.argwhere(top)
    centre = np.array([n // 2 for n in data.shape])
    offsets = places - centre
    half = (offsets[:, 0] > 0) | ((offsets[:, 0] == 0) & (offsets[:, 1] > 0))
    places = places[half]
    strength = ratio[tuple(places.T)]
    order = np.argsort(-strength)[:most]
    places, strength = places[order], strength[order]
    frequency = np.array([_refine(ratio, p) - centre for p in places]).reshape(-1, 2) / np.array(data.shape)
    basis, indices = _index(frequency, strength, 1.5 / min(data.shape))
    return LatticeSpots(frequency / pixel, indices, strength, basis / pixel, pixel)


def _refine(ratio: Array, place: npt.NDArray[np.int64]) -> Array:
    out = place.astype(np.float64)
    for axis in range(2):
        step = np.array([axis == 0, axis == 1], int)
        low, mid, high = (math.log(max(float(ratio[tuple(place + k * step)]), 1e-9)) for k in (-1, 0, 1))
        bend = low - 2 * mid + high
        if bend < 0:
            out[axis] += min(max(0.5 * (low - high) / bend, -0.5), 0.5)
    return out


def _index(frequency: Array, strength: Array, tolerance: float) -> tuple[Array, npt.NDArray[np.int64]]:
    short = np.argsort(np.hypot(*frequency.T))[:12]
    best: tuple[float, Array, npt.NDArray[np.int64]] | None = None
    weight = np.log(strength)
    for i in short:
        for j in short:
            g1, g2 = frequency[i], frequency[j]
            area = abs(g1[0] * g2[1] - g1[1] * g2[0])
            if i >= j or area < 0.25 * np.hypot(*g1) * np.hypot(*g2):
                continue
            basis = np.stack([g1, g2])
            indices = np.rint(frequency @ np.linalg.inv(basis)).astype(np.int64)
            miss = np.hypot(*(frequency - indices @ basis).T)
            fits = miss < tolerance
            # prefer the larger cell in reciprocal space: fewer coincidences
            score = float(weight[fits].sum()) + 0.5 * math.log(area)
            if best is None or score > best[0]:
                best = (score, basis, np.where(fits[:, None], indices, 0))
    if best is None:
        raise FitError(f"lattice_spots: {len(frequency)} spots found, no two of them span a lattice")
    _, basis, indices = best
    used = (indices != 0).any(axis=1)
    root = np.sqrt(strength[used, None])
    refined, *_ = np.linalg.lstsq(indices[used] * root, frequency[used] * root, rcond=None)
    return np.asarray(refined), indices


@dataclass(frozen=True)
class SpotComparison:
    """Spots of a reference in other maps: arrays (spots,) per map.

    `significance` power over noise at the reference's spots; `offset` distance of the nearest maximum from it,
    in frequency bins; `seen` whether it is a spot there as well (within one bin); `words` says it.
    """

    reference: str
    spots: LatticeSpots
    significance: dict[str, Array]
    offset: dict[str, Array]
    seen: dict[str, npt.NDArray[np.bool_]]
    words: str


def compare_periodicity(
    maps: Mapping[str, npt.ArrayLike], *, reference: str, pixel: float = 1.0, false_alarms: float = 0.01
) -> SpotComparison:
    """Say which lattice spots of one map (HAADF, as a rule) the others have too.

    Where a spot is known, noise has one place to imitate it in, not the whole map: the threshold is lower than
    in a search.

    Raises
    ------
    ShapeError
        If the maps are not of one shape, or the reference is not among them.
    FitError
        If the reference shows no lattice.
    """
    if reference not in maps:
        raise ShapeError(f"reference {reference!r} is not among {', '.join(maps)}")
    images = {name: _check(image) for name, image in maps.items()}
    if len({image.shape for image in images.values()}) != 1:
        raise ShapeError(f"maps have different shapes: { {n: i.shape for n, i in images.items()} }")
    spots = lattice_spots(images[reference], pixel=pixel, false_alarms=false_alarms)
    shape = images[reference].shape
    places = np.rint(spots.frequency * pixel * np.array(shape)).astype(int) + np.array([n // 2 for n in shape])
    significance, offset, seen = {}, {}, {}
    for name, image in images.items():
        ratio, _ = _power(image)
        peak, off = [], []
        for y, x in places:
            patch = ratio[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            top = np.unravel_index(int(patch.argmax()), patch.shape)
            peak.append(float(patch.max()))
            off.append(math.hypot(top[0] + max(y - 2, 0) - y, top[1] + max(x - 2, 0) - x))
        significance[name], offset[name] = np.array(peak), np.array(off)
        seen[name] = (significance[name] > math.log(25 * len(places) / false_alarms)) & (offset[name] < 1.5)
    parts = [f"{name} {int(s.sum())} of {len(places)}" for name, s in seen.items() if name != reference]
    return SpotComparison(
        reference, spots, significance, offset, seen, f"spots of {reference} seen in " + ", ".join(parts)
    )
