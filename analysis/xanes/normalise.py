"""Normalisation of absorption spectra: pre-edge line, post-edge polynomial, edge step at E0.

As is common in the field (M. Newville, J. Phys. Conf. Ser. 430, 012007 (2013)): a line through the pre-edge
range is taken off, a polynomial through the post-edge range gives the height at E0, and the spectrum is
divided by that. Ranges are the same for all pixels, so all but the division is one small matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError
from exitwave.analysis.fitting import edge_by_derivative
from exitwave.analysis.xanes import _map_kernels as kernels
from exitwave.analysis.xanes.blocks import check_stack, for_pixels
from exitwave.analysis.xanes.energies import check_energies

__all__ = ["Normalisation", "Normalised", "bands", "find_e0"]

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def find_e0(energies_ev: npt.ArrayLike, mu: npt.ArrayLike) -> float:
    """Return E0 of one spectrum (n >= 12), eV: where its smoothed derivative is highest, as Larch takes it.

    Raises
    ------
    FitError, ShapeError, OutOfRangeError
        As `edge_by_derivative`.
    """
    return edge_by_derivative(np.asarray(energies_ev, np.float64), np.asarray(mu, np.float64), first_share=1.0).position


def bands(matrix: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return (rows, 2): first non-zero column of each row, and one past the last."""
    result = np.zeros((len(matrix), 2), np.int64)
    for r, row in enumerate(matrix):
        hits = np.flatnonzero(row)
        if hits.size:
            result[r] = hits[0], hits[-1] + 1
    return result


@dataclass(frozen=True)
class Normalised:
    """Edge step per pixel, and the normalised spectra if asked for.

    Attributes
    ----------
    mu : float32 (n, ...) or None
        0 before and about 1 after the edge.
    step, step_sd : float32 (...)
        Height of the edge at E0 and its deviation from the variances given, in the unit of the stack.
    residual : float32 (...)
        Root mean square of what line and polynomial leave in their ranges, in units of the step. Counting
        noise, structure above the edge and misalignment all add to it.
    """

    mu: Any
    step: Image
    step_sd: Image
    residual: Image

    def mask(self, *, min_step: float = 0.0, min_significance: float = 3.0, max_residual: float = math.inf) -> Mask:
        """Return where there is an edge: step > `min_step`, > `min_significance` deviations, residual small."""
        with np.errstate(invalid="ignore"):
            good = (self.step > min_step) & (self.residual <= max_residual)
            known = np.isfinite(self.step_sd)
            return np.asarray(good & (~known | (self.step > min_significance * self.step_sd)))


@dataclass(frozen=True)
class Normalisation:
    """The ranges of a normalisation, and the matrices that follow from them.

    Parameters
    ----------
    energies_ev : (n,), ascending
    e0_ev : float
        Where the edge step is taken.
    pre_ev : (low, high), optional
        Range of the line, eV from E0; from the second energy to half of that if not given.
    post_ev : (low, high), optional
        Range of the polynomial, eV from E0; to the last energy, from a fifteenth of that (in steps of 5 eV, at
        most 25) if not given: the defaults of Larch.
    order : int, optional
        Of the polynomial; by range if not given: 2 from 300 eV on, 1 from 30 eV on, else 0.

    Raises
    ------
    FitError
        When a range holds too few energies.
    OutOfRangeError, EnergyListError
    """

    energies_ev: Array
    e0_ev: float
    pre_ev: tuple[float, float] | None = None
    post_ev: tuple[float, float] | None = None
    order: int | None = None
    coefficients: Array = field(init=False, repr=False)
    """(4 + order, n): line's value at E0, slope (1/eV), edge step, polynomial of (E - E0) / 100 eV."""

    def __post_init__(self) -> None:
        energies = check_energies(self.energies_ev)
        e0 = float(self.e0_ev)
        if not energies[0] < e0 < energies[-1]:
            raise OutOfRangeError(f"E0 = {e0:g} eV is outside ({energies[0]:g}, {energies[-1]:g}) eV")
        offset = energies - e0
        pre = self._default_pre(offset) if self.pre_ev is None else (float(self.pre_ev[0]), float(self.pre_ev[1]))
        post = self._default_post(offset) if self.post_ev is None else (float(self.post_ev[0]), float(self.post_ev[1]))
        span = post[1] - post[0]
        order = (2 if span >= 300 else 1 if span >= 30 else 0) if self.order is None else int(self.order)
        if not 0 <= order <= 5:
            raise OutOfRangeError(f"post-edge polynomial of order {order}: must be 0 to 5")
        if not pre[0] < pre[1] <= 0.0 or not 0.0 <= post[0] < post[1]:
            raise OutOfRangeError(f"ranges {pre} and {post} eV: must lie below and above E0, low before high")
        before = self._inside(offset, pre, "pre-edge", 2)
        after = self._inside(offset, post, "post-edge", order + 1)
        line = np.zeros((2, len(energies)))
        line[:, before] = np.linalg.pinv(np.stack([np.ones(before.sum()), offset[before]], axis=1))
        flat = np.eye(len(energies)) - np.stack([np.ones_like(offset), offset], axis=1) @ line
        polynomial = np.linalg.pinv(np.vander(offset[after] / 100.0, order + 1, increasing=True)) @ flat[after]
        for name, value in (("energies_ev", energies), ("e0_ev", e0), ("pre_ev", pre), ("post_ev", post)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "order", order)
        object.__setattr__(self, "coefficients", np.concatenate([line, polynomial[:1], polynomial]))

    @staticmethod
    def _default_pre(offset: Array) -> tuple[float, float]:
        grain = 5.0 if (offset < 0).sum() > 20 else 2.0
        low = max(grain * round(offset[1] / grain), float(offset[0]))
        return low, 0.5 * low

    @staticmethod
    def _default_post(offset: Array) -> tuple[float, float]:
        high = min(5.0 * round(offset[-1] / 5.0), float(offset[-1]))
        return min(25.0, 5.0 * round(high / 15.0), high - 2.0), high

    @staticmethod
    def _inside(offset: Array, limits: tuple[float, float], what: str, least: int) -> Mask:
        inside = (offset >= limits[0] - 1e-6) & (offset <= limits[1] + 1e-6)
        if inside.sum() < least:
            raise FitError(
                f"{what} range [{limits[0]:g}, {limits[1]:g}] eV from E0 holds {inside.sum()} energies, needs {least}; "
                "widen it"
            )
        return inside

    @property
    def offsets_ev(self) -> Array:
        """Energies from E0, (n,)."""
        return np.asarray(self.energies_ev - self.e0_ev)

    @property
    def step_row(self) -> Array:
        """Weights (n,) that make the edge step of a spectrum."""
        return np.asarray(self.coefficients[2])

    @property
    def flattening(self) -> Array:
        """Matrix (n, n) that takes the pre-edge line off a spectrum."""
        basis = np.stack([np.ones(len(self.energies_ev)), self.offsets_ev], axis=1)
        return np.asarray(np.eye(len(self.energies_ev)) - basis @ self.coefficients[:2])

    def spectrum(self, mu: npt.ArrayLike) -> tuple[Array, float]:
        """Return one spectrum (n,) normalised, float64, and its edge step.

        Raises
        ------
        FitError
            When the spectrum does not rise.
        """
        values = np.asarray(mu, np.float64)
        if values.shape != self.energies_ev.shape:
            raise ShapeError(f"spectrum: shape {values.shape}, expected {self.energies_ev.shape}")
        step = float(self.step_row @ values)
        if not step > 0.0:
            raise FitError(f"normalisation: edge step {step:.3g} is not > 0")
        return np.asarray(self.flattening @ values / step), step

    def __call__(self, stack: Any, variance: Any = None, *, out: Any = None, spectra: bool = True) -> Normalised:
        """Normalise every pixel of a stack (n, ...) of optical depths.

        Parameters
        ----------
        stack, variance : (n, ...), array or data set in a file
        out : float32 (n, ...), C-contiguous, optional
            Where the spectra go (an array or a memory map).
        spectra : bool
            False for edge step and residual alone.

        Raises
        ------
        ShapeError
        """
        n = len(self.energies_ev)
        shape = check_stack(stack, n, variance)
        norm = np.empty((0, 0), np.float32)
        if spectra:
            out = np.empty((n, *shape), np.float32) if out is None else out
            if out.shape != (n, *shape) or out.dtype != np.float32 or not out.flags.c_contiguous:
                raise ShapeError(f"out: must be C-contiguous float32 of shape {(n, *shape)}")
            norm = out.reshape(n, -1)
        size = int(np.prod(shape))
        step, step_sd, residual = (np.full(size, np.nan, np.float32) for _ in range(3))
        offset = self.offsets_ev
        rows = self.coefficients.astype(np.float32)
        row_bands = bands(rows)
        pre, post = (
            bands(self._inside(offset, limits, name, 1)[None, :])
            for limits, name in ((self.pre_ev or (0, 0), "pre-edge"), (self.post_ev or (0, 0), "post-edge"))
        )
        powers = np.vander(offset / 100.0, (self.order or 0) + 1, increasing=True).T.astype(np.float32).copy()
        offset32 = offset.astype(np.float32)

        def work(mu: Image, var: Image, first: int, start: int, stop: int) -> None:
            kernels.normalise(
                mu, var, offset32, rows, row_bands, pre, post, powers, norm, step, step_sd, residual, first, start, stop
            )

        for_pixels(stack, variance, work)
        return Normalised(out if spectra else None, *(a.reshape(shape) for a in (step, step_sd, residual)))
