"""Double-crystal monochromator."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from ophyd import Component as Cpt
from ophyd import PseudoPositioner, PseudoSingle
from ophyd.pseudopos import pseudo_position_argument, real_position_argument

from exitwave.analysis import optics
from exitwave.devices.errors import MotionLimitError
from exitwave.devices.motor import Motor, OrderedMoves
from exitwave.devices.signals import ConstantSignal

__all__ = ["DoubleCrystalMonochromator", "PitchCalibration"]


class PitchCalibration:
    """Pitch of the second crystal at its best over the Bragg angle, and what it has drifted since.

    Straight lines between the points, and the nearest point's value beyond them: the top is flat over some urad, and
    feedback takes out the rest.
    """

    def __init__(self) -> None:
        self.points: list[tuple[float, float]] = []
        self.offset_urad = 0.0

    def set_points(self, points: Iterable[tuple[float, float]]) -> None:
        """Take points (Bragg angle in deg, pitch in urad) in place of those that are there; the drift begins anew."""
        self.points = sorted((float(bragg), float(pitch)) for bragg, pitch in points)
        self.offset_urad = 0.0

    def at(self, bragg_deg: float) -> float | None:
        """Return the pitch at a Bragg angle, urad; None without points."""
        if not self.points:
            return None
        angles, pitches = np.transpose(self.points)
        return float(np.interp(bragg_deg, angles, pitches)) + self.offset_urad


class DoubleCrystalMonochromator(OrderedMoves, PseudoPositioner):
    """Si(111) double-crystal monochromator with fixed exit.

    The pseudo axis ``energy`` (keV) moves ``bragg`` (deg) and ``gap`` (mm) together; ``pitch`` and ``roll``
    (urad) of the second crystal are left to alignment. The calibration of the Bragg angle lives in the user
    offset of its motor record, where every other client of the beamline sees it too.

    Parameters
    ----------
    energy_range_kev : pair of float
        Energies that the monochromator is used at.
    exit_offset_mm : float
        Height between the incoming and the outgoing beam.
    """

    energy = Cpt(PseudoSingle, egu="keV", kind="hinted")
    bragg = Cpt(Motor, "Bragg", doc="Bragg angle, deg")
    gap = Cpt(Motor, "Gap", doc="Perpendicular distance of the crystals, mm")
    pitch = Cpt(Motor, "Pitch", doc="Pitch of the second crystal, urad")
    roll = Cpt(Motor, "Roll", kind="config", doc="Roll of the second crystal, urad")
    crystal = Cpt(ConstantSignal, value="Si(111)", kind="config", doc="Reflection")

    _real = ("bragg", "gap")

    def __init__(
        self,
        prefix: str = "",
        *,
        energy_range_kev: tuple[float, float] = (5.0, 14.0),
        exit_offset_mm: float = 25.0,
        **kwargs: Any,
    ):
        self.energy_range_kev = (float(energy_range_kev[0]), float(energy_range_kev[1]))
        self.exit_offset_mm = exit_offset_mm
        self.pitch_calibration = PitchCalibration()
        super().__init__(prefix, **kwargs)
        self.energy._limits = self.energy_range_kev

    def pitch_at(self, energy_kev: float) -> float | None:
        """Return the calibrated pitch of the second crystal at an energy, urad; None where nobody calibrated it."""
        return self.pitch_calibration.at(optics.bragg_angle_deg(energy_kev))

    def check_energy(self, energy_kev: float) -> None:
        """Refuse an energy outside of the range, or one that an axis can't reach.

        Raises
        ------
        MotionLimitError
        """
        low, high = self.energy_range_kev
        if not (math.isfinite(energy_kev) and low <= energy_kev <= high):
            raise MotionLimitError(
                f"{self.name}.energy: {energy_kev:g} keV is outside [{low:g}, {high:g}] keV; choose an energy inside"
            )
        target = self.forward(self.PseudoPosition(energy=energy_kev))
        self.bragg.check_value(target.bragg)
        self.gap.check_value(target.gap)

    def check_value(self, pos: Any, *args: Any, **kwargs: Any) -> None:
        """Refuse energies outside of the range; see `check_energy`."""
        value = pos[0] if isinstance(pos, tuple) else pos
        self.check_energy(float(value))

    @pseudo_position_argument
    def forward(self, pseudo_pos: Any) -> Any:
        """Bragg angle and gap from the energy."""
        energy_kev = float(pseudo_pos.energy)
        if not math.isfinite(energy_kev) or energy_kev <= 0:
            raise MotionLimitError(f"{self.name}.energy: {energy_kev:g} keV is not an energy; give keV")
        return self.RealPosition(
            bragg=optics.bragg_angle_deg(energy_kev),
            gap=optics.crystal_gap_mm(energy_kev, offset_mm=self.exit_offset_mm),
        )

    @real_position_argument
    def inverse(self, real_pos: Any) -> Any:
        """Energy from the Bragg angle."""
        return self.PseudoPosition(energy=optics.bragg_energy_kev(real_pos.bragg))
