"""All columns of a crystal fitted at once, on one common pedestal, with the sites that nobody asks about in the model.

A pedestal of its own for every column is the safe choice where columns stand apart. Where they overlap, as in a
perovskite whose oxygen columns stand half-way between the others, it takes up the tails of the neighbours, and widths
come out too small. Here the pedestal is one number for the field, as free as before, and weak or half-seen columns take
part with their heights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg, sparse
from scipy.spatial import cKDTree

from exitwave.analysis.columns.fit import ColumnFit
from exitwave.analysis.columns.lattice import Lattice
from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError, require_positive

__all__ = ["JointFit", "fit_columns_jointly", "minor_sites"]

Array = npt.NDArray[np.float64]

_REACH = 2.0
"""How far a Gaussian is followed, in full widths: 1.5e-5 of its height is left."""
_SETTLED = 0.01
_LITTLE = 0.05
"""Of the log-likelihood: where a step gains less, nothing has moved by more than a tenth of an error."""
_TIE = 0.15
_LEAST = 1e-9


def minor_sites(
    lattice: Lattice,
    positions: npt.ArrayLike,
    shape: tuple[int, int],
    *,
    centred: bool = False,
) -> Array:
    """Return sites of a lattice that hold none of the found columns but reach into the map, float64 (m, 2).

    Parameters
    ----------
    lattice : Lattice
        Of the columns.
    positions : array (n, 2)
        The columns.
    shape : (rows, cols)
        Of the map. Sites just outside of it count: their tails lie inside.
    centred : bool
        Also the middles of the cells: oxygen between the columns of a perovskite along [001].
    """
    where = np.asarray(positions, np.float64)
    cell = np.stack([lattice.a, lattice.b])
    spacing = float(min(np.hypot(*lattice.a), np.hypot(*lattice.b)))
    corners = np.array([(0, 0), (0, shape[1]), (shape[0], 0), shape], np.float64) - lattice.origin
    index = corners @ np.linalg.inv(cell)
    low, high = np.floor(index.min(axis=0)) - 1, np.ceil(index.max(axis=0)) + 1
    h, k = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1), indexing="ij")
    grid = np.stack([h.ravel(), k.ravel()], axis=1)
    sites = lattice.origin + np.vstack([grid, grid + 0.5] if centred else [grid]) @ cell
    good = lattice.on_lattice
    distance, near = (np.asarray(part) for part in cKDTree(where[good]).query(sites, k=min(4, int(good.sum()))))
    # a scan that is not quite straight moves a site with its neighbours
    weight = np.exp(-((distance / spacing) ** 2)) + 1e-12
    residual = lattice.residual[good][near]
    close = distance[:, 0] < 1.5 * spacing
    moved = (weight[:, :, None] * residual).sum(axis=1) / weight.sum(axis=1)[:, None]
    sites[close] += moved[close]
    inside = ((sites > -0.4 * spacing) & (sites < np.array(shape) - 1 + 0.4 * spacing)).all(axis=1)
    free = np.asarray(cKDTree(where).query(sites)[0]) > 0.3 * spacing
    return np.asarray(sites[inside & free])


@dataclass(frozen=True)
class JointFit(ColumnFit):
    """Columns with uncertainties, and what those have in common.

    Attributes
    ----------
    width_covariance : (n, n)
        Of the FWHM of all columns, pixels^2. One pedestal for all makes their errors alike: the mean of many columns is
        known less well than their scatter says.
    height_covariance : (n, n)
        Of the heights, counts^2.
    """

    width_covariance: Array
    height_covariance: Array

    def common_variance(self, weights: npt.ArrayLike) -> float:
        """Return the variance of a weighted sum of widths over what independent errors would give it, pixels^2."""
        return _common(self.width_covariance, np.asarray(weights, np.float64))

    def common_height_variance(self, weights: npt.ArrayLike) -> float:
        """Return the same of a weighted sum of heights, counts^2."""
        return _common(self.height_covariance, np.asarray(weights, np.float64))


def _common(covariance: Array, weights: Array) -> float:
    return float(weights @ covariance @ weights - (weights**2) @ np.diag(covariance))


class _Model:
    """Pixels, and which columns reach them."""

    def __init__(
        self,
        image: Array,
        exposure: Array,
        main: Array,
        minor: Array,
        known: Array,
        fwhm: float,
        radius: float,
    ) -> None:
        y, x = np.indices(image.shape)
        pixels = np.stack([y.ravel(), x.ravel()], axis=1).astype(np.float64)
        used = (np.asarray(cKDTree(main).query(pixels)[0]) <= radius) & (exposure.ravel() > 0)
        self.pixels, self.counts, self.seen = pixels[used], image.ravel()[used], exposure.ravel()[used]
        if self.counts.size < 5 * len(main):
            raise FitError(f"fit_columns_jointly: {self.counts.size} pixels for {len(main)} columns are too few")
        self.n, self.m = len(main), len(minor)
        self.fixed = minor
        self.known = known.ravel()[used]
        tree = cKDTree(self.pixels)
        reached: list[Any] = list(np.asarray(tree.query_ball_point(np.vstack([main, minor]), _REACH * fwhm), object))
        self.column = np.repeat(np.arange(self.n + self.m), [len(r) for r in reached])
        self.pixel = np.concatenate([np.asarray(r, np.int64) for r in reached])
        self.is_main = self.column < self.n

    def expected(self, par: Array, rest: Array) -> tuple[Array, Array, Array, Array]:
        """Return the model, and of each pair of pixel and column the Gaussian and the distances.

        ``rest``: pedestal, log of the minor columns' shape, their heights.
        """
        where = np.vstack([par[:, 1:3], self.fixed])
        tall = np.concatenate([par[:, 0], rest[2:]])
        shape = np.concatenate([par[:, 3], np.full(self.m, math.exp(rest[1]))])
        d = self.pixels[self.pixel] - where[self.column]
        g = np.exp(-shape[self.column] * (d**2).sum(axis=1))
        model = rest[0] + np.bincount(self.pixel, tall[self.column] * g, minlength=self.counts.size)
        model += self.known
        return model, g, d[:, 0], d[:, 1]

    def jacobian(self, par: Array, rest: Array, g: Array, dy: Array, dx: Array) -> sparse.csr_array:
        """Return d model / d parameters: height, y, x, shape of each column, then the rest."""
        own = self.is_main
        j, i, gm, y, x = self.column[own], self.pixel[own], g[own], dy[own], dx[own]
        a = par[j, 0] * gm
        p = par[j, 3]
        minor, at = self.column[~own] - self.n, self.pixel[~own]
        widen = -rest[2 + minor] * g[~own] * math.exp(rest[1]) * (dy[~own] ** 2 + dx[~own] ** 2)
        pixels, ones = np.arange(self.counts.size), np.ones(self.counts.size)
        first, tail = 4 * j, 4 * self.n
        parts = [
            (gm, i, first),
            (2 * a * p * y, i, first + 1),
            (2 * a * p * x, i, first + 2),
            (-a * (y**2 + x**2), i, first + 3),
            (ones, pixels, np.full(pixels.size, tail)),
            (widen, at, np.full(at.size, tail + 1)),
            (g[~own], at, tail + 2 + minor),
        ]
        values, rows, columns = (np.concatenate([part[axis] for part in parts]) for axis in range(3))
        return sparse.csr_array((values, (rows, columns)), shape=(pixels.size, tail + 2 + self.m))


def fit_columns_jointly(
    counts: npt.ArrayLike,
    positions: npt.ArrayLike,
    *,
    minor: npt.ArrayLike | None = None,
    known: npt.ArrayLike | None = None,
    exposure: npt.ArrayLike | None = None,
    fwhm_px: float | None = None,
    radius_px: float | None = None,
    start: ColumnFit | None = None,
    steps: int = 40,
) -> JointFit:
    """Fit Gaussians on one free pedestal to all columns of a map at once, by Poisson likelihood.

    Fisher scoring on all parameters together (Levenberg's damping); the covariance is the inverse of the whole
    Fisher information, so that it is the Cramer-Rao bound at the solution.

    Parameters
    ----------
    counts : array (rows, cols)
        Raw photons.
    positions : array (n, 2)
        Starting (y, x), pixels.
    minor : array (m, 2), optional
        Columns of which heights alone are fitted, and one width for all, loosely tied to the others'
        (`minor_sites`).
    known : array (rows, cols), optional
        Counts expected from something else: the tails of lines above the window.
    exposure : array (rows, cols), optional
        Relative dwell (and live) time of each pixel.
    fwhm_px : float, optional
        Width to start from; 0.4 of the distance to the nearest neighbour without.
    radius_px : float, optional
        Pixels farther from every column are left out; 0.75 of the distance to the nearest neighbour without.
    start : ColumnFit, optional
        Where to begin.
    steps : int
        At most so many.

    Returns
    -------
    JointFit
        Of `positions`; the pedestal is the same for all.

    Raises
    ------
    ShapeError, OutOfRangeError
    FitError
        No minimum within so many steps.
    """
    image, where = np.asarray(counts, np.float64), np.asarray(positions, np.float64)
    if image.ndim != 2 or where.ndim != 2 or where.shape[1] != 2 or len(where) < 2:
        raise ShapeError(f"fit_columns_jointly: expected (rows, cols) and (n, 2), got {image.shape} and {where.shape}")
    if not np.isfinite(image).all() or image.min() < 0:
        raise OutOfRangeError("fit_columns_jointly: counts must be finite and >= 0; pass the raw map")
    seen = np.ones_like(image) if exposure is None else np.asarray(exposure, np.float64)
    if seen.shape != image.shape:
        raise ShapeError(f"exposure: expected shape {image.shape}, got {seen.shape}")
    others = np.zeros((0, 2)) if minor is None else np.asarray(minor, np.float64)
    spacing = float(np.median(np.asarray(cKDTree(where).query(where, k=2)[0])[:, 1]))
    width = require_positive("fwhm_px", 0.4 * spacing if fwhm_px is None else fwhm_px, "px")
    radius = require_positive("radius_px", 0.75 * spacing if radius_px is None else radius_px, "px")
    extra = np.zeros_like(image) if known is None else np.asarray(known, np.float64)
    if extra.shape != image.shape:
        raise ShapeError(f"known: expected shape {image.shape}, got {extra.shape}")
    model = _Model(image, seen, where, others, extra / np.maximum(seen, 1e-9), 1.25 * width, radius)
    par, rest, fisher = _scoring(model, *_start(model, where, width, start), steps)
    try:
        whole = linalg.cho_solve(linalg.cho_factor(fisher, lower=True), np.eye(len(fisher)))
    except linalg.LinAlgError as error:
        raise FitError("fit_columns_jointly: the counts do not determine all columns; leave weak ones out") from error
    n = len(where)
    full = np.column_stack([np.full(n, rest[0]), par])
    block = np.column_stack([np.full(n, 4 * n), 4 * np.arange(n)[:, None] + np.arange(4)])
    covariance = whole[block[:, :, None], block[:, None, :]]
    bad = (par[:, 0] <= 0) | (np.hypot(*(par[:, 1:3] - where).T) > 0.5 * spacing)
    shapes = 4 * np.arange(n) + 3
    slope = -math.sqrt(math.log(2.0)) * par[:, 3] ** -1.5  # of FWHM = 2 sqrt(ln 2 / p)
    widths = whole[np.ix_(shapes, shapes)] * slope[:, None] * slope[None, :]
    heights = whole[np.ix_(shapes - 3, shapes - 3)]
    return JointFit(full, covariance, bad.astype(np.int32) * 2, widths, heights)


def _start(model: _Model, where: Array, width: float, start: ColumnFit | None) -> tuple[Array, Array]:
    rest = np.zeros(2 + model.m)
    if start is not None and len(start) == len(where):
        rest[0] = float(np.median(start.pedestal))
        rest[1] = math.log(float(np.median(start.parameters[:, 4])))
        return start.parameters[:, 1:].copy(), rest
    rest[0] = max(float(np.quantile(model.counts / model.seen, 0.02)), 0.05)
    rest[1] = math.log(4 * math.log(2) / width**2)
    par = np.column_stack([np.ones(len(where)), where, np.full(len(where), 4 * math.log(2) / width**2)])
    _, g, _, _ = model.expected(par, rest)
    excess = (model.counts / model.seen - rest[0])[model.pixel]
    top = np.bincount(model.column, excess * g, minlength=model.n + model.m)[: model.n]
    norm = np.bincount(model.column, g * g, minlength=model.n + model.m)[: model.n]
    par[:, 0] = np.maximum(top / np.maximum(norm, 1e-9), 0.5)
    return par, rest


def _loss(model: _Model, mu: Array, par: Array, rest: Array) -> float:
    """Minus the log-likelihood, and the loose tie of the minor columns' shape to that of the others."""
    tie = (_off(par, rest) / _TIE) ** 2 + float(((rest[2:] / _tallest(par)) ** 2).sum())
    return float((model.seen * mu - model.counts * np.log(mu)).sum()) + 0.5 * tie


def _tallest(par: Array) -> float:
    """Return a height that no column that was not found has: sites beyond the edge are hardly seen."""
    return 2.0 * float(np.median(par[:, 0]))


def _off(par: Array, rest: Array) -> float:
    return float(rest[1]) - math.log(float(np.median(par[:, 3])))


def _scoring(model: _Model, par: Array, rest: Array, steps: int) -> tuple[Array, Array, Array]:
    n = model.n
    floor = 1e-3 * float(model.counts.mean()) + _LEAST
    damping, value = 1e-3, math.inf
    fisher: npt.NDArray[Any] = np.zeros((0, 0))
    score: npt.NDArray[Any] = np.zeros(0)
    current = model.expected(par, rest)
    fresh = True
    for _ in range(steps):
        if fresh:
            mu = np.maximum(current[0], floor)
            value = _loss(model, mu, par, rest)
            jacobian = model.jacobian(par, rest, *current[1:])
            weighted = jacobian * np.sqrt(model.seen / mu)[:, None]
            fisher = (weighted.T @ weighted).toarray()
            score = jacobian.T @ (model.counts / mu - model.seen)
            fisher[4 * n + 1, 4 * n + 1] += 1.0 / _TIE**2
            score[4 * n + 1] -= _off(par, rest) / _TIE**2
            minor = np.arange(4 * n + 2, len(score))
            fisher[minor, minor] += _tallest(par) ** -2
            score[minor] -= rest[2:] / _tallest(par) ** 2
            fisher[np.diag_indices_from(fisher)] += 1e-6  # a column out of sight has no information of its own
        damped = fisher.copy()
        damped[np.diag_indices_from(damped)] *= 1.0 + damping
        try:
            step = linalg.solve(damped, score, assume_a="pos")
        except linalg.LinAlgError:
            damping *= 10.0
            fresh = False
            continue
        new = par + step[: 4 * n].reshape(n, 4)
        new[:, 3] = np.clip(new[:, 3], 0.5 * par[:, 3], 2.0 * par[:, 3])
        after = rest + step[4 * n :]
        after[1] = rest[1] + min(max(float(step[4 * n + 1]), -0.15), 0.15)
        trial = model.expected(new, after)
        fresh = _loss(model, np.maximum(trial[0], floor), new, after) <= value + 1e-9 * abs(value)
        if fresh:
            par, rest, current = new, after, trial
            damping = max(0.1 * damping, 1e-9)
            gained = value - _loss(model, np.maximum(trial[0], floor), new, after)
            if gained < _LITTLE or float((np.abs(step) * np.sqrt(np.diag(fisher)))[: 4 * n + 1].max()) < _SETTLED:
                return par, rest, fisher
        else:
            damping *= 10.0
            if damping > 1e9:
                break
    raise FitError(f"fit_columns_jointly: no minimum within {steps} steps; look at the map and the positions")
