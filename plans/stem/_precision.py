"""How precisely the widths of columns are known by now, from the counts in a file that still grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from exitwave.analysis.columns import find_columns, fit_columns
from exitwave.analysis.eds import EnergyWindow, window_maps
from exitwave.analysis.errors import AnalysisError
from exitwave.analysis.io.eds_files import read_acquisition

__all__ = ["RunningPrecision"]

_MARGIN = 1.03


class RunningPrecision:
    """Standard error of a column's FWHM in the window with the fewest counts, while frames come.

    Columns are found on the dark-field frame and fitted with a free pedestal to the counts of each window, after 1,
    2, 4 ... frames; in between the error falls with the root of the frames. When that reaches what was asked for, a
    fit has the last word.

    Parameters
    ----------
    windows : sequence of EnergyWindow
    pixel_pm : float
    wanted_pm : float, optional
        The median standard error of a single column's width at which the scan may end.
    """

    def __init__(self, windows: Sequence[EnergyWindow], pixel_pm: float, wanted_pm: float | None = None) -> None:
        self._windows, self._pixel_pm, self._wanted_pm = tuple(windows), pixel_pm, wanted_pm
        self._next = 1
        self._last = (0, float("nan"))

    def __call__(self, path: str, image: Any, frames: int) -> tuple[float, bool]:
        """Return the standard error after so many frames, pm, and whether it is small enough."""
        expected = self._scaled(frames)
        hopeful = self._wanted_pm is not None and expected <= self._wanted_pm
        if frames >= self._next or (hopeful and frames > self._last[0]):
            fitted = self._fit(path, image)
            if np.isfinite(fitted):
                self._last = (frames, fitted)
            self._next = max(2 * frames, self._next)
            if self._wanted_pm is not None:
                return fitted, bool(fitted <= self._wanted_pm)
            return fitted, False
        return expected, False

    def _scaled(self, frames: int) -> float:
        then, fitted = self._last
        return fitted * float(np.sqrt(then / frames)) * _MARGIN if then else float("nan")

    def _fit(self, path: str, image: Any) -> float:
        try:
            events = read_acquisition(path).events
            where = find_columns(image, noise="estimate")
            worst = 0.0
            for counts in window_maps(events, self._windows):
                fit = fit_columns(counts, where)
                worst = max(worst, float(np.median(fit.fwhm_se[fit.ok])))
        except (AnalysisError, np.linalg.LinAlgError):
            # Too few counts yet: nothing is known of the widths.
            return float("nan")
        return worst * self._pixel_pm

    def warm_up(self) -> None:
        """Compile what a fit needs, before the beam waits for it."""
        y, x = np.indices((24, 24))
        bump = np.exp(-((y - 11.5) ** 2 + (x - 11.5) ** 2) / 18.0)
        fit_columns((20.0 * bump + 2.0).astype(np.float32), np.array([[11.5, 11.5]]))
