"""The lattice that columns stand on: basis, indices, sites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from exitwave.analysis.errors import FitError, ShapeError

__all__ = ["Lattice", "classify_sites", "fit_lattice"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Lattice:
    """Columns at ``origin + h a + k b``; vectors (y, x) in pixels.

    `indices` int64 (n, 2) are h, k of each column, `on_lattice` bool (n,) whether it fits, `residual` (n, 2) how
    far it stands from its site.
    """

    origin: Array
    a: Array
    b: Array
    indices: npt.NDArray[np.int64]
    on_lattice: npt.NDArray[np.bool_]
    residual: Array

    @property
    def rms_px(self) -> float:
        """Root mean square distance of columns from their sites, per axis."""
        return float(np.sqrt((self.residual[self.on_lattice] ** 2).mean()))


def _basis(positions: Array) -> tuple[Array, Array]:
    """Return the two shortest difference vectors, not collinear, that many columns share."""
    k = min(9, len(positions))
    distance, index = (np.asarray(part) for part in cKDTree(positions).query(positions, k=k))
    vectors = (positions[index[:, 1:]] - positions[:, None, :]).reshape(-1, 2)
    length = np.hypot(*vectors.T)
    nearest = float(np.median(distance[:, 1]))
    vectors, length = vectors[length > 0], length[length > 0]
    # one of each pair of opposites
    flip = (vectors[:, 0] < -1e-9) | ((np.abs(vectors[:, 0]) <= 1e-9) & (vectors[:, 1] < 0))
    vectors[flip] *= -1
    tree = cKDTree(np.vstack([vectors, -vectors]))
    doubled = np.vstack([vectors, -vectors])
    votes = np.array([len(found) for found in tree.query_ball_point(vectors, 0.15 * nearest)])
    clusters: list[tuple[Array, int]] = []
    left = np.ones(len(vectors), bool)
    while left.any() and len(clusters) < 8:
        best = int(np.argmax(np.where(left, votes, -1)))
        members = np.asarray(tree.query_ball_point(vectors[best], 0.2 * nearest))
        mean = doubled[members].mean(axis=0)
        clusters.append((mean, int(votes[best])))
        near = np.minimum(np.hypot(*(vectors - mean).T), np.hypot(*(vectors + mean).T)) < 0.25 * nearest
        left &= ~near
        left[best] = False
    most = max(v for _, v in clusters)
    strong = sorted((c for c, v in clusters if v > 0.4 * most), key=lambda c: float(np.hypot(*c)))
    a = strong[0]
    for b in strong[1:]:
        if abs(a[0] * b[1] - a[1] * b[0]) > 0.3 * np.hypot(*a) * np.hypot(*b):
            return a, b
    raise FitError("fit_lattice: neighbours lie along one direction only; no basis")


def _spread(
    seed: int, where: Array, tree: cKDTree, a: Array, b: Array, reach: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return indices, spread from neighbour to neighbour, and which columns were reached."""
    indices, known = np.zeros((len(where), 2), np.int64), np.zeros(len(where), bool)
    known[seed] = True
    front = [seed]
    while front:
        after: list[int] = []
        for here in front:
            for dh, dk in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                distance, other = tree.query(where[here] + dh * a + dk * b)
                if distance < reach and not known[other]:
                    known[other] = True
                    indices[other] = indices[here] + (dh, dk)
                    after.append(int(other))
        front = after
    return indices, known


def fit_lattice(positions: npt.ArrayLike, *, tolerance: float = 0.25) -> Lattice:
    """Fit a lattice with one column per cell to positions.

    Indices spread from the middle column from neighbour to neighbour, so that a slow bend of the scan does
    not spoil them; the lattice is then fitted to all by least squares.

    Parameters
    ----------
    positions : array (n, 2)
    tolerance : float
        How far a column may stand from where its neighbour predicts it, in units of the shorter basis vector.

    Raises
    ------
    ShapeError, FitError
        Fewer than six columns, or no basis.
    """
    where = np.asarray(positions, np.float64)
    if where.ndim != 2 or where.shape[1] != 2 or len(where) < 6:
        raise ShapeError(f"fit_lattice: expected at least six positions (n, 2), got {where.shape}")
    a, b = _basis(where)
    tree = cKDTree(where)
    reach = tolerance * float(np.hypot(*a))
    indices, known = np.zeros((len(where), 2), np.int64), np.zeros(len(where), bool)
    # a first column that stands off the lattice reaches nobody: try the next
    _, order = tree.query(where.mean(axis=0), k=min(12, len(where)))
    for seed in np.atleast_1d(order):
        found, reached = _spread(int(seed), where, tree, a, b, reach)
        if reached.sum() > known.sum():
            indices, known = found, reached
        if known.sum() > len(where) // 2:
            break
    if known.sum() < 6:
        raise FitError(f"fit_lattice: only {int(known.sum())} of {len(where)} columns follow one lattice")
    design = np.column_stack([np.ones(len(where)), indices])
    solution, *_ = np.linalg.lstsq(design[known], where[known], rcond=None)
    residual = where - design @ solution
    residual[~known] = np.nan
    return Lattice(solution[0], solution[1], solution[2], indices, known, residual)


def classify_sites(lattice: Lattice, intensity: npt.ArrayLike, *, period: int = 2) -> npt.NDArray[np.int64]:
    """Return the kind of site of each column, the brightest kind 0; -1 off the lattice.

    Columns whose indices agree in ``(h + k) mod period`` (Sr and Ti/O of a perovskite along [001] alternate like
    the squares of a chess board) or in one index alone form a kind; of these three ways the one with the
    clearest difference of intensities is taken. Position decides, not the noisy intensity of one column.
    """
    values = np.asarray(intensity, np.float64)
    if values.shape != (len(lattice.indices),):
        raise ShapeError(f"classify_sites: {values.shape} intensities for {len(lattice.indices)} columns")
    h, k = lattice.indices.T
    good = lattice.on_lattice & np.isfinite(values)
    best, clearest = np.zeros(len(values), np.int64), -np.inf
    for way in (h + k, h, k):
        kind = way % period
        groups = [values[good & (kind == p)] for p in range(period)]
        if min(g.size for g in groups) < 2:
            continue
        means = np.array([g.mean() for g in groups])
        noise = np.sqrt(np.mean([g.var(ddof=1) for g in groups])) + 1e-12
        clear = float(np.ptp(means) / noise)
        if clear > clearest:
            rank = np.argsort(np.argsort(-means))
            best, clearest = rank[kind], clear
    return np.where(lattice.on_lattice, best, -1)
