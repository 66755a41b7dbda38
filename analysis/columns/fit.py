"""Columns fitted on raw counts: Gaussians with a free pedestal, neighbours together, by Poisson likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from exitwave.analysis.columns import _kernels
from exitwave.analysis.compiled import over_blocks
from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError, require_positive

__all__ = ["ColumnFit", "fit_columns"]

Array = npt.NDArray[np.float64]
_SIGMA_OF_FWHM = 1.0 / (2.0 * math.sqrt(2.0 * math.log(2.0)))
_SETTLED = 0.02  # change in a sweep, over the standard error, that no longer matters
_WORDS = ("converged", "not converged", "no minimum", "too few pixels")


@dataclass(frozen=True)
class ColumnFit:
    """Columns with uncertainties; arrays (n,) unless said otherwise, lengths in pixels.

    Attributes
    ----------
    parameters : (n, 5 or 7)
        Pedestal, height (peak intensity, PI), y, x, then shape (see `_kernels`).
    covariance : (n, k, k)
        Of the parameters, those of the neighbours being free as well. NaN where it is singular.
    status : int32
        0 where the fit can be used.
    """

    parameters: Array
    covariance: Array
    status: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.parameters)

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """Where the fit converged and has a finite covariance."""
        return np.asarray((self.status == 0) & np.isfinite(self.covariance[:, 1, 1]))

    @property
    def positions(self) -> Array:
        """(n, 2): y, x."""
        return self.parameters[:, 2:4]

    @property
    def pedestal(self) -> Array:
        """Counts per pixel under the column."""
        return self.parameters[:, 0]

    @property
    def intensity(self) -> Array:
        """Peak intensity over the pedestal, counts per pixel."""
        return self.parameters[:, 1]

    @property
    def intensity_se(self) -> Array:
        """Standard error of the peak intensity."""
        return np.asarray(np.sqrt(self.covariance[:, 1, 1]))

    @property
    def position_se(self) -> Array:
        """(n, 2): standard errors of y, x."""
        return np.asarray(np.sqrt(np.stack([self.covariance[:, 2, 2], self.covariance[:, 3, 3]], axis=1)))

    def _determinant(self) -> Array:
        p = self.parameters
        return p[:, 4] ** 2 if p.shape[1] == 5 else p[:, 4] * p[:, 6] - p[:, 5] ** 2

    @property
    def fwhm(self) -> Array:
        """Full width at half maximum over the pedestal; of an ellipse the geometric mean."""
        return np.asarray(2.0 * math.sqrt(math.log(2.0)) * self._determinant() ** -0.25)

    @property
    def fwhm_se(self) -> Array:
        """Standard error of the width."""
        p, c = self.parameters, self.covariance
        if p.shape[1] == 5:
            return np.asarray(0.5 * self.fwhm / p[:, 4] * np.sqrt(c[:, 4, 4]))
        gradient = np.stack([p[:, 6], -2.0 * p[:, 5], p[:, 4]], axis=1)
        variance = np.einsum("na,nab,nb->n", gradient, c[:, 4:, 4:], gradient)
        return np.asarray(0.25 * self.fwhm / self._determinant() * np.sqrt(variance))

    @property
    def volume(self) -> Array:
        """Counts over the pedestal, all pixels."""
        return np.asarray(math.pi * self.intensity / np.sqrt(self._determinant()))

    def table(self, pixel_pm: float | None = None) -> dict[str, npt.NDArray[Any]]:
        """Return columns of a table: number from 1, position, PI, FWHM, their standard errors, pedestal, status.

        With `pixel_pm` lengths are in pm, else in pixels; the names say which.
        """
        scale, unit = (1.0, "px") if pixel_pm is None else (require_positive("pixel_pm", pixel_pm, "pm"), "pm")
        return {
            "number": np.arange(1, len(self) + 1),
            f"y_{unit}": scale * self.parameters[:, 2],
            f"x_{unit}": scale * self.parameters[:, 3],
            "intensity": self.intensity,
            "intensity_se": self.intensity_se,
            f"fwhm_{unit}": scale * self.fwhm,
            f"fwhm_se_{unit}": scale * self.fwhm_se,
            "pedestal": self.pedestal,
            "status": np.array([_WORDS[s] for s in self.status]),
        }


def _neighbours(positions: Array, reach: float, most: int) -> npt.NDArray[np.int32]:
    """Return up to `most` neighbours within reach, nearest first, -1 where there are fewer, int32 (n, most)."""
    n = len(positions)
    if n == 1:
        return np.full((1, 1), -1, np.int32)
    k = min(most + 1, n)
    found = cKDTree(positions).query(positions, k=k, distance_upper_bound=reach)
    distance, index = (np.asarray(part) for part in found)
    near = np.where(np.isfinite(distance[:, 1:]), index[:, 1:], -1)
    return np.ascontiguousarray(near, dtype=np.int32)


def fit_columns(
    counts: npt.ArrayLike,
    positions: npt.ArrayLike,
    *,
    fwhm_px: float | None = None,
    radius_px: float | None = None,
    elliptic: bool = False,
    pedestal: float | None = None,
    exposure: npt.ArrayLike | None = None,
    sweeps: int = 20,
) -> ColumnFit:
    """Fit a Gaussian with a free pedestal to every column of a map of counts.

    All columns are one model: each pixel expects the pedestal of the nearest column and the Gaussians of all
    columns near it. The Poisson likelihood is maximised column by column (Fisher scoring, damped), the others
    held, in sweeps until none changes by 2 % of its error. The covariance is the inverse of the Fisher
    information of a column and its neighbours together.

    Parameters
    ----------
    counts : array (rows, cols)
        Raw photons: neither filtered nor smoothed, or errors and widths are wrong.
    positions : array (n, 2)
        Starting (y, x), pixels, to about half a width.
    fwhm_px : float, optional
        Width to start from; 0.4 of the distance to the nearest neighbour without.
    radius_px : float, optional
        Pixels farther from a column are left out; 0.7 of the distance to the fourth neighbour (lower
        quartile) without.
    elliptic : bool
        Fit an ellipse at any angle instead of a circle.
    pedestal : float, optional
        Hold the pedestal at this, instead of fitting it.
    exposure : array (rows, cols), optional
        Relative dwell time of each pixel, such as ``coverage(...) / frames``; pixels of zero are left out.
    sweeps : int
        At most so many.

    Returns
    -------
    ColumnFit

    Raises
    ------
    ShapeError, OutOfRangeError
        Counts that are negative or not finite, positions outside of the map.
    FitError
        If no column could be fitted.
    """
    image = np.ascontiguousarray(counts, dtype=np.float32)
    where = np.array(positions, np.float64, ndmin=2)
    if image.ndim != 2 or where.shape[1] != 2 or len(where) == 0:
        raise ShapeError(f"fit_columns: expected (rows, cols) and (n, 2), got {image.shape} and {where.shape}")
    if not np.isfinite(image).all() or image.min() < 0:
        raise OutOfRangeError("fit_columns: counts must be finite and >= 0; pass the raw map, not a filtered one")
    rows, cols = image.shape
    if not np.isfinite(where).all() or (where < -0.5).any() or (where > np.array([rows, cols]) - 0.5).any():
        raise OutOfRangeError(f"fit_columns: positions must lie within the map of {rows} x {cols} pixels")
    seen = np.ones_like(image) if exposure is None else np.ascontiguousarray(exposure, dtype=np.float32)
    if seen.shape != image.shape or not np.isfinite(seen).all() or seen.min() < 0:
        raise ShapeError(f"exposure: expected finite numbers >= 0 of shape {image.shape}, got {seen.shape}")
    spacing = _spacing(where, 1) if len(where) > 1 else 0.5 * min(rows, cols)
    if radius_px is None:
        # the lower quartile, since columns at the edge of a small field have their fourth neighbour far away
        radius_px = 0.7 * _spacing(where, 4, 0.25) if len(where) > 4 else 0.7 * spacing
    radius = require_positive("radius_px", radius_px, "px")
    width = require_positive("fwhm_px", 0.4 * spacing if fwhm_px is None else fwhm_px, "px")

    labels = _kernels.label_pixels(where, radius, rows, cols)
    near = _neighbours(where, radius + max(radius, 2.2 * width), 12)
    parameters = _start(image, seen, labels, where, width, elliptic, pedestal)
    n, size = parameters.shape
    free = np.ones(size, np.bool_)
    free[0] = pedestal is None
    changed, status = np.full(n, np.inf), np.full(n, 1, np.int32)
    floor = 1e-3 * max(float(image.mean()), 1e-3)
    block = 256  # not by the number of threads: the result shall not depend on it
    for sweep in range(sweeps):
        after, moved = np.empty_like(parameters), np.zeros(n)
        steps = 3 if sweep < 2 else 12

        def work(
            a: int,
            b: int,
            old: Array = parameters,
            new: Array = after,
            steps: int = steps,
            last: Array = changed,
            now: Array = moved,
        ) -> None:
            _kernels.fit_block(
                a,
                b,
                image,
                seen,
                labels,
                where,
                radius,
                old,
                near,
                free,
                steps,
                _SETTLED,
                floor,
                new,
                last,
                now,
                status,
            )

        over_blocks(work, n, block)
        parameters, changed = after, moved
        if sweep > 0 and (changed[status < 2].max(initial=0.0) < _SETTLED and not (status == 1).any()):
            break
    fisher = np.zeros((n, size, size))
    cross = np.zeros((n, near.shape[1], size, size))
    covariance = np.zeros((n, size, size))
    over_blocks(
        lambda a, b: _kernels.cross_fisher(a, b, seen, labels, where, radius, parameters, near, fisher, cross), n, block
    )
    over_blocks(lambda a, b: _kernels.covariances(a, b, fisher, cross, near, free, covariance), n, block)
    diagonal = np.einsum("naa->na", covariance)
    covariance[(diagonal < 0).any(axis=1)] = np.nan
    result = ColumnFit(parameters, covariance, np.where((changed > 0.5) & (status == 0), 1, status).astype(np.int32))
    if not result.ok.any():
        raise FitError(f"fit_columns: none of {n} columns could be fitted: {_WORDS[int(np.bincount(status).argmax())]}")
    return result


def _spacing(positions: Array, neighbour: int, quantile: float = 0.5) -> float:
    distance = np.asarray(cKDTree(positions).query(positions, k=neighbour + 1)[0])
    return float(np.quantile(distance[:, neighbour], quantile))


def _start(
    image: npt.NDArray[np.float32],
    exposure: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int32],
    where: Array,
    width: float,
    elliptic: bool,
    pedestal: float | None,
) -> Array:
    """Return parameters to begin with: heights and pedestals by weighted least squares over each cell."""
    n = len(where)
    inside = (labels >= 0) & (exposure > 0)
    y, x = np.nonzero(inside)
    cell = labels[inside]
    value = np.asarray(image[inside] / exposure[inside], np.float64)
    sigma = width * _SIGMA_OF_FWHM
    p = 0.5 / sigma**2
    g: Array = np.asarray(np.exp(-p * ((y - where[cell, 0]) ** 2 + (x - where[cell, 1]) ** 2)), np.float64)

    def total(weights: Array) -> Array:
        return np.asarray(np.bincount(cell, weights, minlength=n), np.float64)

    s1, sg, sgg = total(np.ones(len(g))), total(g), total(np.asarray(g * g))
    sv, sgv = total(value), total(np.asarray(g * value))
    determinant = np.where(s1 * sgg - sg**2 > 1e-9, s1 * sgg - sg**2, np.inf)
    height = (s1 * sgv - sg * sv) / determinant
    base = (sv - height * sg) / np.maximum(s1, 1)
    mean = sv / np.maximum(s1, 1)
    height = np.maximum(height, 0.05 * np.maximum(mean, 0.1))
    base = np.maximum(base, 0.02 * np.maximum(mean, 0.1))
    out = np.zeros((n, 7 if elliptic else 5))
    out[:, 0] = base if pedestal is None else pedestal
    out[:, 1] = height if pedestal is None else np.maximum(mean + height - pedestal, 0.1)
    out[:, 2:4] = where
    out[:, 4] = p
    if elliptic:
        out[:, 6] = p
    return out
