"""Where a zone plate is in focus: nominal geometry, corrected by positions that were found in focus."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime

from exitwave.devices.errors import FocusCalibrationError

__all__ = ["FocusCalibration", "FocusPoint"]


@dataclass(frozen=True)
class FocusPoint:
    """One position found in focus.

    Parameters
    ----------
    energy_kev : float
        Photon energy.
    correction_mm : float
        Position found minus position expected from the nominal geometry.
    uncertainty_mm : float
        Standard deviation of the position found.
    found : str
        Time, ISO 8601.
    """

    energy_kev: float
    correction_mm: float
    uncertainty_mm: float = 0.0
    found: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


class FocusCalibration:
    """Correction of the focus position over energy, piecewise linear between the points.

    One point is a constant correction at any energy; from two points on, energies outside of their range
    are refused, because a line through close points leads far off at a distance.
    """

    def __init__(self) -> None:
        self.points: list[FocusPoint] = []

    def add(self, point: FocusPoint) -> None:
        """Add a point; one at the same energy (within 0.1 eV) is replaced."""
        self.points = [p for p in self.points if abs(p.energy_kev - point.energy_kev) > 1e-4]
        self.points = sorted([*self.points, point], key=lambda p: p.energy_kev)

    def remove(self, energy_kev: float) -> None:
        """Remove the point at an energy.

        Raises
        ------
        FocusCalibrationError
            There is none.
        """
        kept = [p for p in self.points if abs(p.energy_kev - energy_kev) > 1e-4]
        if len(kept) == len(self.points):
            raise FocusCalibrationError(f"no focus point at {energy_kev:g} keV; there are {self._energies()}")
        self.points = kept

    def correction_mm(self, energy_kev: float) -> float:
        """Correction to the nominal position at an energy.

        Raises
        ------
        FocusCalibrationError
            Two or more points, and the energy lies outside of their range.
        """
        points = self.points
        if not points:
            return 0.0
        if len(points) == 1:
            return points[0].correction_mm
        if not points[0].energy_kev - 1e-6 <= energy_kev <= points[-1].energy_kev + 1e-6:
            raise FocusCalibrationError(
                f"focus at {energy_kev:g} keV lies outside of the calibrated range ({self._energies()}); "
                "add a point there or remove points"
            )
        low, high = next(
            ((a, b) for a, b in itertools.pairwise(points) if energy_kev <= b.energy_kev), (points[-2], points[-1])
        )
        fraction = (energy_kev - low.energy_kev) / (high.energy_kev - low.energy_kev)
        return low.correction_mm + fraction * (high.correction_mm - low.correction_mm)

    def _energies(self) -> str:
        return ", ".join(f"{p.energy_kev:g} keV" for p in self.points) or "none"
