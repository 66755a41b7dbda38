"""Where a zone plate is in focus: nominal geometry, corrected by positions that were found in focus."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

import numpy as np

from exitwave.devices.errors import FocusCalibrationError

__all__ = ["FocusCalibration", "FocusPoint"]

SAME_KEV = 1e-4


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
    zone_plate : str
        Name of the optic that was in; "" where nobody said.
    x_um, y_um : float, optional
        Where the zone plate's stage takes the lens back to the axis that it has at the other points: what undoes
        the sideways runout of its z axis. None where it was not measured.
    run : str
        Uid of the run that found it.
    """

    energy_kev: float
    correction_mm: float
    uncertainty_mm: float = 0.0
    found: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    zone_plate: str = ""
    x_um: float | None = None
    y_um: float | None = None
    run: str = ""


class FocusCalibration:
    """Correction of the focus position over energy, piecewise linear between the points.

    One point is a constant correction at any energy; from two points on, energies outside of their range
    are refused, because a line through close points leads far off at a distance.

    Parameters
    ----------
    zone_plate : str
        The optic that this calibrates; points of another one are refused. "" takes any.
    tolerance_um : float
        Points further than this (and three of their standard deviations) from the straight line through all of them
        disagree: f is proportional to E, so only a wrong point is off it.
    """

    def __init__(self, zone_plate: str = "", tolerance_um: float = 4.0) -> None:
        self.zone_plate = zone_plate
        self.tolerance_um = tolerance_um
        self.points: list[FocusPoint] = []

    def add(self, point: FocusPoint) -> None:
        """Add a point; one at the same energy (within 0.1 eV) is replaced.

        Raises
        ------
        FocusCalibrationError
            It was found with another zone plate.
        """
        if self.zone_plate and point.zone_plate and point.zone_plate != self.zone_plate:
            raise FocusCalibrationError(
                f"focus point at {point.energy_kev:g} keV comes from zone plate {point.zone_plate}, not from "
                f"{self.zone_plate}; calibrate this one"
            )
        self.points = [p for p in self.points if abs(p.energy_kev - point.energy_kev) > SAME_KEV]
        self.points = sorted([*self.points, point], key=lambda p: p.energy_kev)

    def remove(self, energy_kev: float) -> None:
        """Remove the point at an energy.

        Raises
        ------
        FocusCalibrationError
            There is none.
        """
        kept = [p for p in self.points if abs(p.energy_kev - energy_kev) > SAME_KEV]
        if len(kept) == len(self.points):
            raise FocusCalibrationError(f"no focus point at {energy_kev:g} keV; there are {self._energies()}")
        self.points = kept

    def clear(self) -> None:
        """Remove all points."""
        self.points = []

    def describe(self) -> list[dict[str, Any]]:
        """Return the points as plain data, for documents and files."""
        return [asdict(point) for point in self.points]

    def restore(self, described: Iterable[Mapping[str, Any]]) -> None:
        """Take the points that `describe` told, in place of those that are there.

        Raises
        ------
        FocusCalibrationError
            One is another zone plate's; the points that were there stay.
        """
        known = {f.name for f in fields(FocusPoint)}
        fresh = FocusCalibration(self.zone_plate, self.tolerance_um)
        for point in described:
            fresh.add(FocusPoint(**{key: value for key, value in point.items() if key in known}))
        self.points = fresh.points

    def residuals_um(self) -> list[float]:
        """Return how far each point is from the straight line through all of them, um; zeros for fewer than three.

        The line weighs points by their uncertainties, none less than a third of the tolerance.
        """
        if len(self.points) < 3:
            return [0.0] * len(self.points)
        energies = np.array([p.energy_kev for p in self.points])
        found = 1e3 * np.array([p.correction_mm for p in self.points])
        sd = np.hypot(self.tolerance_um / 3.0, [1e3 * p.uncertainty_mm for p in self.points])
        line = np.polynomial.Polynomial.fit(energies, found, 1, w=1.0 / sd)
        return [float(value) for value in found - line(energies)]

    def check(self) -> None:
        """Refuse points that disagree.

        Raises
        ------
        FocusCalibrationError
            Naming the residual of each.
        """
        residuals = self.residuals_um()
        pairs = list(zip(self.points, residuals, strict=True))
        if any(abs(r) > max(self.tolerance_um, 3e3 * p.uncertainty_mm) for p, r in pairs):
            told = ", ".join(f"{p.energy_kev:g} keV {r:+.2f} um" for p, r in pairs)
            raise FocusCalibrationError(
                f"focus points disagree: off a straight line by {told}, over the limit of {self.tolerance_um:g} um; "
                "remove the wrong one or find focus there again"
            )

    def correction_mm(self, energy_kev: float, *, beyond: bool = False) -> float:
        """Correction to the nominal position at an energy.

        Parameters
        ----------
        beyond : bool
            Outside of the range go on with the nearest two points' line: good enough to look for focus there.

        Raises
        ------
        FocusCalibrationError
            Two or more points, and the energy lies outside of their range; or three or more that disagree.
        """
        points = self.points
        if not points:
            return 0.0
        if len(points) == 1:
            return points[0].correction_mm
        if not beyond:
            self._require(energy_kev)
            self.check()
        low, high, fraction = self._between(energy_kev)
        return low.correction_mm + fraction * (high.correction_mm - low.correction_mm)

    def sideways_um(self, energy_kev: float) -> tuple[float, float] | None:
        """Return x and y of the zone plate's stage that undo its runout at an energy; None where not measured.

        Raises
        ------
        FocusCalibrationError
            The energy lies outside of the range that was measured.
        """
        measured = FocusCalibration(self.zone_plate)
        measured.points = [p for p in self.points if p.x_um is not None and p.y_um is not None]
        if len(measured.points) < 2:
            return None
        measured._require(energy_kev)
        low, high, fraction = measured._between(energy_kev)
        at = [
            float(a or 0.0) + fraction * (float(b or 0.0) - float(a or 0.0))
            for a, b in ((low.x_um, high.x_um), (low.y_um, high.y_um))
        ]
        return at[0], at[1]

    def _require(self, energy_kev: float) -> None:
        points = self.points
        if not points[0].energy_kev - 1e-6 <= energy_kev <= points[-1].energy_kev + 1e-6:
            raise FocusCalibrationError(
                f"focus at {energy_kev:g} keV lies outside of the calibrated range ({self._energies()}); "
                "add a point there or remove points"
            )

    def _between(self, energy_kev: float) -> tuple[FocusPoint, FocusPoint, float]:
        points = self.points
        low, high = next(
            ((a, b) for a, b in itertools.pairwise(points) if energy_kev <= b.energy_kev), (points[-2], points[-1])
        )
        return low, high, (energy_kev - low.energy_kev) / (high.energy_kev - low.energy_kev)

    def _energies(self) -> str:
        return ", ".join(f"{p.energy_kev:g} keV" for p in self.points) or "none"
