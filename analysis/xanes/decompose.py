"""What spectra a stack is made of, without standards: principal components, clusters, non-negative factors.

Principal components come from the covariance of the energies, summed up in one pass (60 x 60, whatever the
number of pixels). Clusters are those of k-means (S. P. Lloyd, IEEE Trans. Inf. Theory 28, 129 (1982)), begun
as D. Arthur and S. Vassilvitskii do it (k-means++, SODA 2007). Non-negative factors are found by alternating
over single factors (A. Cichocki and A.-H. Phan, IEICE Trans. Fundam. E92-A, 708 (2009)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel, over_blocks
from exitwave.analysis.errors import FitError, ShapeError
from exitwave.analysis.xanes.blocks import check_stack

__all__ = ["Clusters", "Components", "Factors", "cluster", "non_negative_factors", "principal_components"]

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
_PIXELS = 1 << 16


def _columns(stack: Any, mask: npt.ArrayLike | None) -> tuple[Image, Mask]:
    """Return the spectra (n, pixels) of the pixels that are in the mask and known, and which they are."""
    data = np.asarray(stack, dtype=np.float32)
    shape = check_stack(data, len(data))
    flat = data.reshape(len(data), -1)
    use = np.isfinite(flat).all(axis=0)
    if mask is not None:
        given = np.asarray(mask, np.bool_)
        if given.shape != shape:
            raise ShapeError(f"mask: shape {given.shape} does not fit frames of {shape}")
        use &= given.reshape(-1)
    if use.sum() <= len(data):
        raise FitError(f"decomposition: {use.sum()} pixels for {len(data)} energies; widen the mask")
    return np.ascontiguousarray(flat[:, use]), use.reshape(shape)


def _back(values: npt.NDArray[Any], mask: Mask, fill: Any) -> npt.NDArray[Any]:
    whole = np.full((*values.shape[:-1], *mask.shape), fill, values.dtype)
    whole[..., mask] = values
    return whole


@dataclass(frozen=True)
class Components:
    """Principal components.

    Attributes
    ----------
    mean : float64 (n,)
    spectra : float64 (k, n)
        Orthonormal, by falling variance.
    scores : float32 (k, ...)
        NaN outside of the mask.
    variances : float64 (n,)
        Of all components.
    """

    mean: Array
    spectra: Array
    scores: Image
    variances: Array

    def significant(self, noise_variance: float) -> int:
        """Return how many components stand above noise of this variance per energy.

        Compares with the upper edge of the spectrum that noise alone would give (V. A. Marchenko and L. A.
        Pastur, Math. USSR Sb. 1, 457 (1967)), for noise that is alike at all energies.
        """
        n = len(self.variances)
        pixels = int(np.isfinite(self.scores[0]).sum())
        edge = noise_variance * (1.0 + np.sqrt(n / pixels)) ** 2 * (1.0 + 3.0 * np.sqrt(2.0 / pixels))
        return int((self.variances > edge).sum())


def principal_components(stack: Any, count: int, *, mask: npt.ArrayLike | None = None) -> Components:
    """Return the first `count` principal components of a stack (n, ...).

    Raises
    ------
    ShapeError, FitError
    """
    data, use = _columns(stack, mask)
    n = len(data)
    if not 1 <= count <= n:
        raise ShapeError(f"principal components: {count}, must be 1 to {n}")
    mean = data.mean(axis=1, dtype=np.float64)
    covariance = np.zeros((n, n))
    for start in range(0, data.shape[1], _PIXELS):
        part = data[:, start : start + _PIXELS].astype(np.float64) - mean[:, None]
        covariance += part @ part.T
    values, vectors = np.linalg.eigh(covariance / (data.shape[1] - 1))
    spectra = vectors[:, ::-1].T[:count].copy()
    # a sign of its own: the largest part of each points up
    spectra *= np.sign(spectra[np.arange(count), np.abs(spectra).argmax(axis=1)])[:, None]
    base = spectra.astype(np.float32)
    scores = base @ data - (spectra @ mean).astype(np.float32)[:, None]
    return Components(mean, spectra, _back(scores, use, np.float32(np.nan)), values[::-1].copy())


@kernel
def _nearest(
    points: Image, centres: Array, label: npt.NDArray[np.int32], distance: Array, start: int, stop: int
) -> None:
    for p in range(start, stop):
        best, chosen = np.inf, 0
        for c in range(centres.shape[0]):
            total = 0.0
            for k in range(points.shape[0]):
                d = points[k, p] - centres[c, k]
                total += d * d
            if total < best:
                best, chosen = total, c
        label[p] = chosen
        distance[p] = best


@dataclass(frozen=True)
class Clusters:
    """Clusters: `label` int32 (...), -1 outside of the mask; `centres` float64 (k, dimensions), `counts` (k,)."""

    label: npt.NDArray[np.int32]
    centres: Array
    counts: npt.NDArray[np.int64]
    spread: float


def cluster(
    features: Any, count: int, *, mask: npt.ArrayLike | None = None, starts: int = 4, rounds: int = 100, seed: int = 0
) -> Clusters:
    """Sort pixels into `count` clusters by k-means, largest cluster first.

    Parameters
    ----------
    features : (dimensions, ...)
        Scores of principal components, best; or the stack itself, or maps (edge energy, step) of like scale.
    starts : int
        The best of so many beginnings is taken.

    Raises
    ------
    ShapeError, FitError
    """
    data, use = _columns(features, mask)
    pixels = data.shape[1]
    if not 1 <= count <= pixels:
        raise ShapeError(f"clusters: {count}, must be 1 to {pixels}")
    rng = np.random.default_rng(seed)
    best: tuple[float, npt.NDArray[np.int32], Array] | None = None
    for _ in range(max(1, starts)):
        label, distance = np.empty(pixels, np.int32), np.empty(pixels)
        centres = data[:, rng.integers(pixels)][None, :].astype(np.float64)

        def sort(centres: Array, label: npt.NDArray[np.int32] = label, distance: Array = distance) -> float:
            over_blocks(lambda a, b: _nearest(data, centres, label, distance, a, b), pixels, 8192)
            return float(distance.sum())

        while len(centres) < count:
            total = sort(centres)
            if total == 0.0:
                raise FitError(f"clusters: {len(centres)} different pixels, asked for {count}")
            pick = rng.choice(pixels, p=distance / total)
            centres = np.concatenate([centres, data[:, pick][None, :].astype(np.float64)])
        before = sort(centres)
        for _ in range(rounds):
            counts = np.bincount(label, minlength=count)
            sums = np.stack([np.bincount(label, weights=row, minlength=count) for row in data], axis=1)
            filled = counts > 0
            centres[filled] = sums[filled] / counts[filled, None]
            # an empty cluster begins again at the pixel that lies farthest off
            centres[~filled] = data[:, int(np.argmax(distance))]
            after = sort(centres)
            if before - after <= 1e-7 * before:
                break
            before = after
        if best is None or after < best[0]:
            best = after, label, centres
    spread, label, centres = best if best is not None else (0.0, np.empty(0, np.int32), np.empty((0, 0)))
    counts = np.bincount(label, minlength=count)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(count, np.int32)
    rank[order] = np.arange(count)
    return Clusters(_back(rank[label], use, np.int32(-1)), centres[order], counts[order], spread / pixels)


@dataclass(frozen=True)
class Factors:
    """Non-negative factors: `spectra` float64 (k, n) of unit mean, `amounts` float32 (k, ...), `residual` (rms)."""

    spectra: Array
    amounts: Image
    residual: float


def non_negative_factors(
    stack: Any,
    count: int,
    *,
    mask: npt.ArrayLike | None = None,
    start: npt.ArrayLike | None = None,
    rounds: int = 500,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> Factors:
    """Return spectra and amounts, none negative, whose product is nearest to a stack (n, ...).

    Without standards such factors are not unique: where no pixel holds one phase alone, mixtures of the
    phases fit as well. Begin at standards (`start`, (k, n)) to stay near them.

    Raises
    ------
    ShapeError, FitError
    """
    data, use = _columns(stack, mask)
    n = len(data)
    if not 1 <= count <= n:
        raise ShapeError(f"factors: {count}, must be 1 to {n}")
    if start is None:
        label = cluster(data, count, starts=1, seed=seed)
        spectra = np.maximum(label.centres, 1e-6)
    else:
        spectra = np.maximum(np.asarray(start, np.float64), 1e-9)
        if spectra.shape != (count, n):
            raise ShapeError(f"factors: start of shape {spectra.shape}, expected {(count, n)}")
    spectra = spectra / spectra.mean(axis=1, keepdims=True)
    amounts = np.maximum(np.linalg.lstsq(spectra.T, data.astype(np.float64), rcond=None)[0], 0.0).astype(np.float32)
    power = float(np.vdot(data, data))
    before = np.inf
    for _ in range(rounds):
        gram = (amounts @ amounts.T).astype(np.float64)
        cross = (amounts @ data.T).astype(np.float64)
        for k in range(count):
            step = (cross[k] - gram[k] @ spectra) / max(gram[k, k], 1e-30)
            spectra[k] = np.maximum(spectra[k] + step, 1e-12)
        scale = spectra.mean(axis=1)
        spectra /= scale[:, None]
        amounts *= scale.astype(np.float32)[:, None]
        gram = spectra @ spectra.T
        cross32 = spectra.astype(np.float32) @ data
        for k in range(count):
            move = (cross32[k] - gram[k].astype(np.float32) @ amounts) / np.float32(gram[k, k])
            np.maximum(amounts[k] + move, 0.0, out=amounts[k])
        left = power - 2.0 * float(np.vdot(amounts, cross32)) + float((gram * (amounts @ amounts.T)).sum())
        if before - left <= tolerance * abs(before) and np.isfinite(before):
            break
        before = left
    difference = data - spectra.astype(np.float32).T @ amounts
    residual = float(np.sqrt(np.vdot(difference, difference) / data.size))
    return Factors(spectra, _back(amounts, use, np.float32(np.nan)), residual)
