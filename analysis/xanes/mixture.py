"""Linear combination of standards per pixel: fractions with constraints and uncertainties.

Least squares with non-negative fractions (C. L. Lawson and R. J. Hanson, Solving Least Squares Problems,
1974) that sum to one or, on spectra that are not normalised, to an edge step that is fitted with them. With
variances the fit is the maximum likelihood of the counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import interpolate

from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError
from exitwave.analysis.xanes import _mixture_kernels as kernels
from exitwave.analysis.xanes.blocks import check_stack, for_pixels
from exitwave.analysis.xanes.bounds import information_bound
from exitwave.analysis.xanes.energies import check_energies
from exitwave.analysis.xanes.normalise import bands

__all__ = ["LinearCombination", "MixtureMap"]

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
MOST = 10


@dataclass(frozen=True)
class MixtureMap:
    """Fractions per standard and pixel.

    Attributes
    ----------
    names : tuple of str
    fractions, fractions_sd : float32 (standards, ...)
        Summing to one. The deviations are those without the bounds: where a fraction is held at zero they
        say how well the data know that. NaN where there is nothing to fit.
    amplitude : float32 (...)
        Sum of what was fitted: one, or the edge step.
    misfit : float32 (...)
        Reduced chi square with variances, else the mean square of the residuals.
    """

    names: tuple[str, ...]
    fractions: Image
    fractions_sd: Image
    amplitude: Image
    misfit: Image


class LinearCombination:
    """Standards, prepared for a scan.

    Parameters
    ----------
    energies_ev : (n,)
        Of the stack, ascending.
    standards : mapping of name -> (energies_ev, spectrum)
        Normalised spectra, each on its own energies, interpolated by straight lines. At most 10.
    non_negative, sum_to_one : bool
    background_order : int
        Unknown background beside the standards: -1 none, 0 an offset, 1 a line.
    window_ev : (low, high), optional
        Absolute energies to use.

    Raises
    ------
    OutOfRangeError
        For standards that do not cover the energies used.
    FitError
        When standards can't be told from each other or the background.
    ShapeError
    """

    def __init__(
        self,
        energies_ev: npt.ArrayLike,
        standards: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
        *,
        non_negative: bool = True,
        sum_to_one: bool = True,
        background_order: int = -1,
        window_ev: tuple[float, float] | None = None,
    ) -> None:
        self.energies_ev = check_energies(energies_ev)
        used = np.ones(len(self.energies_ev), np.bool_)
        if window_ev is not None:
            used = (self.energies_ev >= window_ev[0] - 1e-6) & (self.energies_ev <= window_ev[1] + 1e-6)
        self.used = used
        e = self.energies_ev[used]
        if not 1 <= len(standards) <= MOST:
            raise ShapeError(f"linear combination: {len(standards)} standards, must be 1 to {MOST}")
        if background_order not in (-1, 0, 1):
            raise OutOfRangeError(f"background of order {background_order}: must be -1, 0 or 1")
        columns = []
        for name, (x, y) in standards.items():
            xs, ys = check_energies(x), np.asarray(y, np.float64)
            if xs.shape != ys.shape or not np.isfinite(ys).all():
                raise ShapeError(f"standard {name}: energies {xs.shape}, spectrum {ys.shape}; one shape, finite")
            if e.size and (xs[0] > e[0] + 1e-3 or xs[-1] < e[-1] - 1e-3):
                raise OutOfRangeError(
                    f"standard {name} covers [{xs[0]:g}, {xs[-1]:g}] eV, the fit needs [{e[0]:g}, {e[-1]:g}] eV; "
                    "narrow the window"
                )
            columns.append(np.interp(e, xs, ys))
        self.names = tuple(standards)
        self.non_negative, self.sum_to_one = non_negative, sum_to_one
        middle = e.mean() if e.size else 0.0
        columns += [((e - middle) / 100.0) ** k for k in range(background_order + 1)]
        self.design = np.stack(columns, axis=1)
        if len(e) < self.design.shape[1] or np.linalg.cond(self.design) > 1e8:
            raise FitError(
                f"linear combination: {len(e)} energies do not tell {', '.join(self.names)} and the background apart"
            )

    def fit(self, stack: Any, variance: Any = None, *, passes: int = 3) -> MixtureMap:
        """Return the fractions of every pixel of a stack (n, ...).

        Parameters
        ----------
        stack, variance : (n, ...), array or data set in a file
            Normalised spectra, or optical depths with ``sum_to_one=False``, for which the variances of the
            counts hold as they are. Without variances the deviations come from the residuals.
        passes : int
            With variances: how often the weights are taken anew, from the fitted counts.

        Raises
        ------
        ShapeError
        """
        shape = check_stack(stack, len(self.energies_ev), variance)
        size, k = int(np.prod(shape)), len(self.names)
        fractions, sd = np.full((k, size), np.nan, np.float32), np.full((k, size), np.nan, np.float32)
        amplitude, misfit = np.full(size, np.nan, np.float32), np.full(size, np.nan, np.float32)
        first, last = int(np.flatnonzero(self.used)[0]), int(np.flatnonzero(self.used)[-1]) + 1
        results = (fractions, sd, amplitude, misfit)
        limits = (k, self.non_negative, self.sum_to_one)
        if variance is None:
            normal = self.design.T @ self.design
            inverse, constant, covariance = self._unbounded(normal)
            inverse32, constant32 = inverse.astype(np.float32), constant.astype(np.float32)
            design32, whole = self.design.astype(np.float32), bands(inverse32)

            def even(mu: Image, _: Image, at: int, a: int, b: int) -> None:
                known = (self.design, design32, normal, inverse32, whole, constant32, covariance)
                kernels.mixture_even(mu[first:last], *known, *limits, *results, at, a, b)

            for_pixels(stack, None, even)
        else:

            def weighted(mu: Image, var: Image, at: int, a: int, b: int) -> None:
                kernels.mixture_weighted(
                    mu[first:last], var[first:last], self.design, *limits, passes, *results, at, a, b
                )

            for_pixels(stack, variance, weighted)
        return MixtureMap(
            self.names,
            fractions.reshape(k, *shape),
            sd.reshape(k, *shape),
            amplitude.reshape(shape),
            misfit.reshape(shape),
        )

    def _unbounded(self, normal: Array) -> tuple[Array, Array, Array]:
        """Return matrix and constant of the solution without bounds, and its covariance at unit variance."""
        unknowns = len(normal)
        if not self.sum_to_one:
            return np.asarray(np.linalg.pinv(self.design)), np.zeros(unknowns), np.asarray(np.linalg.inv(normal))
        total = (np.arange(unknowns) < len(self.names)).astype(np.float64)
        bordered = np.zeros((unknowns + 1, unknowns + 1))
        bordered[:unknowns, :unknowns] = normal
        bordered[unknowns, :unknowns] = bordered[:unknowns, unknowns] = total
        inverse: Array = np.asarray(np.linalg.inv(bordered))
        covariance: Array = np.array(inverse[:unknowns, :unknowns])
        return np.asarray(covariance @ self.design.T), np.array(inverse[:unknowns, unknowns]), covariance

    def edge_energy(self, fit: MixtureMap, *, level: float = 0.5) -> tuple[Array, Array]:
        """Return the half height energy (...) of the fitted mixture of two standards, eV, and its deviation.

        Where the spectra of a sample are mixtures of two, this uses every energy of them: the deviation is
        the Cramer-Rao bound of the fraction, times how fast the edge moves with it.

        Raises
        ------
        ShapeError
            For other than two standards.
        FitError
            When a mixture does not cross the level.
        """
        shares, edges = self._edges(level)
        energy = np.interp(fit.fractions[0], shares, edges, left=np.nan, right=np.nan)
        rate = np.interp(fit.fractions[0], shares, np.gradient(edges, shares), left=np.nan, right=np.nan)
        return energy, np.abs(rate) * fit.fractions_sd[0]

    def edge_bound(
        self, share: npt.ArrayLike, step: npt.ArrayLike, variance: npt.ArrayLike, *, level: float = 0.5
    ) -> Image:
        """Return the Cramer-Rao bound (...) of that energy, eV, float32: from expected counts, and no fit.

        Parameters
        ----------
        share : number or (...)
            Of the first standard, expected.
        step : number or (...)
            Edge step, optical depth.
        variance : (n, ...)
            Expected variances of the optical depths at all energies of the scan.

        Raises
        ------
        ShapeError, FitError
        """
        v = np.asarray(variance, np.float64)
        shape = check_stack(v, len(self.energies_ev))
        shares, edges = self._edges(level)
        part_of = np.broadcast_to(np.asarray(share, np.float64), shape).reshape(-1)
        height = np.broadcast_to(np.asarray(step, np.float64), shape).reshape(-1)
        first, second = self.design[:, :1], self.design[:, 1:2]

        def derivatives(part: slice) -> list[Array]:
            one = np.where(height[part] > 0, height[part], np.nan)
            columns = [one * (first - second)]
            if not self.sum_to_one:
                columns.append(part_of[part] * first + (1.0 - part_of[part]) * second)
            lines = self.design[:, 2:].T
            return [*columns, *(np.broadcast_to(line[:, None], columns[0].shape) for line in lines)]

        rate = np.interp(part_of, shares, np.gradient(edges, shares), left=np.nan, right=np.nan).reshape(shape)
        return np.asarray(np.abs(rate) * information_bound(derivatives, v[self.used]), np.float32)

    def _edges(self, level: float) -> tuple[Array, Array]:
        """Return shares of the first of two standards, and where their mixtures cross the level, eV."""
        if len(self.names) != 2:
            raise ShapeError(f"edge energy of a mixture: {len(self.names)} standards, must be 2")
        shares = np.linspace(-0.5, 1.5, 201)
        e = self.energies_ev[self.used]
        fine = np.arange(e[0], e[-1], 0.02)
        # straight lines between the energies would cut the corners of the foot, and put the edge too low
        pure = [interpolate.PchipInterpolator(e, self.design[:, i])(fine) for i in range(2)]
        edges = np.empty(len(shares))
        for i, share in enumerate(shares):
            curve = share * pure[0] + (1.0 - share) * pure[1] - level
            below = np.flatnonzero(curve[: int(np.argmax(curve)) + 1] < 0.0)
            if not below.size or not curve.max() > 0.0:
                raise FitError(f"edge energy of a mixture: {share:g} of {self.names[0]} does not cross {level:g}")
            j = int(below[-1])
            edges[i] = fine[j] - curve[j] * (fine[j + 1] - fine[j]) / (curve[j + 1] - curve[j])
        return shares, edges
