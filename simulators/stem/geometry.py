"""A scan as data: which pixels, when, and where the probe is meant to be."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["MAINS_HZ", "ScanPlan"]

Values = npt.NDArray[np.float64]

MAINS_HZ = 50.0


@dataclass(frozen=True)
class ScanPlan:
    """What the scan generator was told.

    Attributes
    ----------
    field_nm : float
        Width of the full frame.
    width, height : int
        Pixels of the full frame.
    sub : tuple of int
        (x0, y0, width, height) of what is scanned of it.
    rotation_deg : float
        Of the fast direction.
    dwell_s, flyback_s : float
        Per pixel; per line.
    mains : bool
        Whether every line starts with the mains.
    serpentine : bool
        Odd lines backwards.
    frames : int
        0 for no end.
    """

    field_nm: float
    width: int
    height: int
    sub: tuple[int, int, int, int]
    rotation_deg: float
    dwell_s: float
    flyback_s: float
    mains: bool
    serpentine: bool
    frames: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of a frame."""
        return self.sub[3], self.sub[2]

    @property
    def pixel_nm(self) -> float:
        """Side of a pixel."""
        return self.field_nm / self.width

    @property
    def line_s(self) -> float:
        """From one line's start to the next."""
        line = self.sub[2] * self.dwell_s + self.flyback_s
        return math.ceil(line * MAINS_HZ - 1e-9) / MAINS_HZ if self.mains else line

    @property
    def frame_s(self) -> float:
        """From one frame's start to the next."""
        return self.sub[3] * self.line_s

    @property
    def area_nm2(self) -> float:
        """Of what is scanned."""
        return self.sub[2] * self.sub[3] * self.pixel_nm**2

    def first_line_s(self, t_s: float) -> float:
        """Return when a frame that could start at ``t_s`` starts."""
        return math.ceil(t_s * MAINS_HZ - 1e-9) / MAINS_HZ if self.mains else t_s

    def backwards(self, row: int) -> bool:
        """Whether a row of the scanned part runs from its last column to its first."""
        return self.serpentine and row % 2 == 1

    def pixel_times_s(self, row: int) -> Values:
        """Middle of each column's dwell after the line's start, shape (columns,)."""
        steps = (np.arange(self.sub[2], dtype=np.float64) + 0.5) * self.dwell_s
        return steps[::-1] if self.backwards(row) else steps

    def nominal_nm(self, row: int) -> tuple[Values, float]:
        """Return x of the columns and y of a row from the middle of the full frame, along the frame's own axes."""
        x0, y0 = self.sub[:2]
        x = (np.arange(self.sub[2], dtype=np.float64) + x0 + 0.5 - 0.5 * self.width) * self.pixel_nm
        return x, (row + y0 + 0.5 - 0.5 * self.height) * self.pixel_nm
