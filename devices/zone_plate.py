"""Zone plates."""

from __future__ import annotations

import math
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device

from exitwave.analysis import optics
from exitwave.devices.focus_calibration import FocusCalibration, FocusPoint
from exitwave.devices.motor import Motor
from exitwave.devices.protocols import EnergyDevice
from exitwave.devices.signals import ComputedSignal, ConstantSignal

__all__ = ["ZonePlate"]


class ZonePlate(Device):
    """A zone plate on an xyz stage: x, y in um, z (distance downstream of the sample stage's zero) in mm.

    Parameters
    ----------
    diameter_um, outermost_zone_nm : float
        The lens.
    mono : EnergyDevice
        What reports the photon energy.
    in_position_um : float
        x at which the lens is on the axis.
    out_position_um : float
        x at which it leaves the beam free.
    """

    x = Cpt(Motor, "X", doc="Horizontal, um")
    y = Cpt(Motor, "Y", doc="Vertical, um")
    z = Cpt(Motor, "Z", doc="Along the beam, mm")
    diameter = Cpt(ConstantSignal, value=math.nan, units="um", kind="config", doc="Diameter, um")
    outermost_zone = Cpt(ConstantSignal, value=math.nan, units="nm", kind="config", doc="Outermost zone width, nm")
    focal_length = Cpt(
        ComputedSignal, func=lambda self: self.focal_length_mm(self._energy()), units="mm", kind="normal"
    )
    numerical_aperture = Cpt(
        ComputedSignal,
        func=lambda self: optics.numerical_aperture(self.outermost_zone_nm, self._energy()),
        units="",
        kind="normal",
    )
    depth_of_focus = Cpt(
        ComputedSignal,
        func=lambda self: optics.depth_of_focus_um(self.outermost_zone_nm, self._energy()),
        units="um",
        kind="normal",
        doc="Half of the depth of focus: in focus within plus or minus this, um",
    )

    def __init__(
        self,
        prefix: str = "",
        *,
        diameter_um: float,
        outermost_zone_nm: float,
        mono: EnergyDevice,
        in_position_um: float = 0.0,
        out_position_um: float = 4000.0,
        **kwargs: Any,
    ):
        super().__init__(prefix, **kwargs)
        self.diameter_um, self.outermost_zone_nm = diameter_um, outermost_zone_nm
        self.in_position_um, self.out_position_um = in_position_um, out_position_um
        self.mono = mono
        self.diameter._readback = diameter_um
        self.outermost_zone._readback = outermost_zone_nm
        self.focus = FocusCalibration(self.name)

    def focal_length_mm(self, energy_kev: float) -> float:
        """Nominal focal length, mm."""
        return optics.focal_length_mm(self.diameter_um, self.outermost_zone_nm, energy_kev)

    def nominal_focus_mm(self, energy_kev: float, detector_mm: float) -> float:
        """Return z in focus from the lens equation alone.

        Parameters
        ----------
        energy_kev : float
        detector_mm : float
            Distance from the sample to the scintillator.
        """
        return optics.zone_plate_position_mm(self.focal_length_mm(energy_kev), detector_mm)

    def focus_mm(self, energy_kev: float, detector_mm: float) -> float:
        """Return z in focus with the calibration applied, mm."""
        return self.nominal_focus_mm(energy_kev, detector_mm) + self.focus.correction_mm(energy_kev)

    def record_focus(
        self, energy_kev: float, z_mm: float, detector_mm: float, uncertainty_mm: float = 0.0, run: str = ""
    ) -> FocusPoint:
        """Add a position found in focus to the calibration and return the point."""
        correction = z_mm - self.nominal_focus_mm(energy_kev, detector_mm)
        point = FocusPoint(energy_kev, correction, uncertainty_mm, zone_plate=self.name, run=run)
        self.focus.add(point)
        return point

    def _energy(self) -> float:
        return float(self.mono.energy.position)
