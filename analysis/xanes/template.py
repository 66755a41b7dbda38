"""Edge energy by shifting a reference spectrum onto the data: maximum likelihood, and its Cramer-Rao bound.

The optical depth of a pixel is taken as ``line(E) + step * T(E - shift)`` with a reference spectrum T. All
energies, weighted by their counts, then say where the edge is, and when the spectra of a sample do differ by
a shift, nothing unbiased does better: the deviation that is returned is the bound itself, the inverse of the
Fisher information with line and step unknown too (C. R. Rao, Bull. Calcutta Math. Soc. 37, 81 (1945)).
Where they differ in shape, `mixture` is the right model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import interpolate

from exitwave.analysis.errors import OutOfRangeError, ShapeError
from exitwave.analysis.xanes import _template_kernels as kernels
from exitwave.analysis.xanes.blocks import check_stack, for_pixels
from exitwave.analysis.xanes.bounds import information_bound
from exitwave.analysis.xanes.energies import check_energies

__all__ = ["ShiftMap", "TemplateShift", "edge_bound"]

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
TABLE_EV = 0.02
"""Step of the table of the reference: what straight lines between leave out is below 1e-5 of the step."""


@dataclass(frozen=True)
class ShiftMap:
    """Shifts (...) against the reference in eV, their Cramer-Rao bounds, edge steps and reduced chi squares.

    `shift_sd_ev` is the bound at the fitted spectrum and the counts used. NaN where the fit did not settle.
    """

    shift_ev: Array
    shift_sd_ev: Image
    step: Image
    chi2: Image


class TemplateShift:
    """A reference spectrum that is shifted onto the spectra of pixels.

    Parameters
    ----------
    energies_ev : (n,)
        Of the stack, ascending.
    reference_energies_ev, reference : (m,)
        A normalised spectrum (0 before, about 1 after the edge) on its own energies, which cover those of the
        stack but for the shift; it continues level beyond its ends.
    background_order : int
        -1 for no background, 0 a constant, 1 a line (default).

    Raises
    ------
    ShapeError, OutOfRangeError
        For a reference that is not finite or covers less than the energies.
    """

    def __init__(
        self,
        energies_ev: npt.ArrayLike,
        reference_energies_ev: npt.ArrayLike,
        reference: npt.ArrayLike,
        *,
        background_order: int = 1,
    ) -> None:
        self.energies_ev = check_energies(energies_ev)
        x, y = check_energies(reference_energies_ev), np.asarray(reference, np.float64)
        if x.shape != y.shape or len(x) < 8:
            raise ShapeError(f"reference: energies {x.shape} and spectrum {y.shape}, expected one shape, at least (8,)")
        if not np.isfinite(y).all():
            raise OutOfRangeError("reference: the spectrum must be finite")
        slack = 10.0
        if x[0] > self.energies_ev[0] + slack or x[-1] < self.energies_ev[-1] - slack:
            raise OutOfRangeError(
                f"reference covers [{x[0]:g}, {x[-1]:g}] eV, the scan [{self.energies_ev[0]:g}, "
                f"{self.energies_ev[-1]:g}] eV; take a reference that covers it"
            )
        if background_order not in (-1, 0, 1, 2):
            raise OutOfRangeError(f"background of order {background_order}: must be -1, 0, 1 or 2")
        self.lines = background_order + 1
        self._origin = float(self.energies_ev.mean())
        curve = interpolate.PchipInterpolator(x, y) if len(x) < 12 else interpolate.CubicSpline(x, y)
        grid = np.arange(x[0], x[-1], TABLE_EV)
        self._first = float(x[0]) - self._origin
        slope = curve(grid, 1) * TABLE_EV
        self._table = np.stack([curve(grid), slope], axis=1)
        # level beyond the ends: the table's own slope there would say otherwise
        self._table[0, 1] = self._table[-1, 1] = 0.0

    def model(self, shift_ev: npt.ArrayLike) -> tuple[Array, Array]:
        """Return the reference moved by a shift (...), and its derivative after the shift, (n, ...)."""
        moved = np.asarray(shift_ev, np.float64)[None, ...]
        offset = (self.energies_ev - self._origin).reshape(-1, *([1] * (moved.ndim - 1)))
        position = (offset - moved - self._first) / TABLE_EV
        value = np.interp(position, np.arange(len(self._table)), self._table[:, 0])
        slope = np.interp(position, np.arange(len(self._table)), self._table[:, 1])
        return value, -slope / TABLE_EV

    def fit(self, stack: Any, variance: Any, start_ev: npt.ArrayLike = 0.0, *, reach_ev: float = 10.0) -> ShiftMap:
        """Return the shift of every pixel of a stack (n, ...) of optical depths with variances.

        Parameters
        ----------
        stack, variance : (n, ...), array or data set in a file
            Not normalised, as `optical_depth` gives them. Variances follow the counts; the fit replaces the
            counts in them by the fitted ones, which takes away the bias of weights that follow the noise.
        start_ev : number or (...)
            Shifts to begin with, e.g. from the half heights; within some eV of the answer. NaN leaves a pixel
            out.
        reach_ev : float
            A shift farther than this from its start is given up.

        Raises
        ------
        ShapeError
        """
        shape = check_stack(stack, len(self.energies_ev), variance)
        if variance is None:
            raise ShapeError("template: needs the variances of the stack")
        size = int(np.prod(shape))
        guess = np.ascontiguousarray(np.broadcast_to(np.asarray(start_ev, np.float64), shape)).reshape(-1)
        shift = np.full(size, np.nan)
        sd, step, chi2 = (np.full(size, np.nan, np.float32) for _ in range(3))
        offsets = self.energies_ev - self._origin

        def work(mu: Image, var: Image, at: int, a: int, b: int) -> None:
            kernels.shift_fit(
                mu,
                var,
                offsets,
                self._table,
                self._first,
                TABLE_EV,
                self.lines,
                guess,
                reach_ev,
                shift,
                sd,
                step,
                chi2,
                at,
                a,
                b,
            )

        for_pixels(stack, variance, work)
        return ShiftMap(shift.reshape(shape), sd.reshape(shape), step.reshape(shape), chi2.reshape(shape))


def edge_bound(
    template: TemplateShift, step: npt.ArrayLike, variance: npt.ArrayLike, shift_ev: npt.ArrayLike = 0.0
) -> Image:
    """Return the Cramer-Rao bound (...) of the edge energy, eV, float32: what no unbiased estimate undercuts.

    Parameters
    ----------
    template : TemplateShift
        The shape of the spectrum, and what is unknown beside the shift.
    step : (...)
        Edge step of each pixel, optical depth.
    variance : (n, ...)
        Expected variances of the optical depths, 1 / photons and what the flats add.
    shift_ev : number or (...)

    Raises
    ------
    ShapeError
    """
    v = np.asarray(variance, np.float64)
    shape = check_stack(v, len(template.energies_ev))
    height = np.broadcast_to(np.asarray(step, np.float64), shape).reshape(-1)
    shift = np.broadcast_to(np.asarray(shift_ev, np.float64), shape).reshape(-1)
    offset = (template.energies_ev - template.energies_ev.mean()) / 100.0

    def derivatives(part: slice) -> list[Array]:
        value, slope = template.model(shift[part])
        lines = [np.broadcast_to((offset**k)[:, None], value.shape) for k in range(template.lines)]
        return [np.where(height[part] > 0, height[part], np.nan) * slope, value, *lines]

    return information_bound(derivatives, v)
