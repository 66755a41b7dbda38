"""The microscope as one coupled world: where the probe truly is, what it is, and what it meets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import constants as codata

from exitwave.simulators.physics.electron_crystals import Crystal, crystal
from exitwave.simulators.physics.electron_probe import ABERRATIONS, Probe
from exitwave.simulators.stem.field import Field, FieldRequest, build_field
from exitwave.simulators.stem.geometry import MAINS_HZ, ScanPlan
from exitwave.simulators.stem.layout import Instrument
from exitwave.simulators.stem.modes import Physics
from exitwave.simulators.stem.truth import StemTruth

__all__ = ["Inputs", "ProbePath", "World"]

Values = npt.NDArray[np.float64]

_SLACK_NM = 0.3


class Inputs(Protocol):
    """What the world sees of the records, at any simulated time, from any thread."""

    def axis(self, name: str, t: float) -> float:
        """Return the true position of an axis."""
        ...

    def setting(self, name: str, t: float) -> float:
        """Return a setting of the column, e.g. ``BeamCurrent``."""
        ...

    def passes(self, t: float) -> bool:
        """Whether voltage, blanker and valves let electrons through."""
        ...


@dataclass(frozen=True)
class ProbePath:
    """Where the probe was along one row, nm from the specimen's origin, shape (columns,)."""

    x_nm: Values
    y_nm: Values


class World:
    """The microscope behind the records.

    Parameters
    ----------
    inputs : Inputs
        True positions and settings.
    truth : StemTruth
        Hidden errors.
    instrument : Instrument
        What stands there.
    specimen : str
        Name of a specimen.
    physics : Physics
        How X-ray images are made.

    Raises
    ------
    UnknownCrystalError
        If there is no such specimen.
    """

    def __init__(
        self, inputs: Inputs, truth: StemTruth, instrument: Instrument, specimen: str, physics: Physics
    ) -> None:
        self._inputs = inputs
        self.truth = truth
        self.instrument = instrument
        self.physics = physics
        self._crystal: Crystal = crystal(specimen)
        self.haadf_mrad = instrument.haadf_mrad
        self._field: Field | None = None
        self._field_of = self._crystal
        self._building = Lock()
        self.segments = tuple(
            dataclasses.replace(segment, solid_angle_sr=segment.solid_angle_sr * (1.0 + error))
            for segment, error in zip(instrument.segments, truth.segment_angle_error, strict=False)
        )

    @property
    def specimen(self) -> str:
        """Name of the specimen in the holder."""
        return self._crystal.name

    def load(self, specimen: str) -> None:
        """Put another specimen in."""
        self._crystal = crystal(specimen)

    # beam ---------------------------------------------------------------------------------------------------

    def current_a(self, t: float) -> float:
        """Return the true current (A) into the specimen's plane if nothing were blanked."""
        lost = math.exp(-self.truth.current_decay_per_h * t / 3600.0)
        return self._inputs.setting("BeamCurrent", t) * 1e-12 * (1.0 + self.truth.current_error) * lost

    def electrons_per_s(self, t: float) -> float:
        """Electrons that reach the specimen, 1/s; 0 when blanked."""
        return self.current_a(t) / codata.e if self._inputs.passes(t) else 0.0

    def nominal_probe(self, t: float) -> Probe:
        """Return the probe that the settings alone would make in the focal plane."""
        setting = self._inputs.setting
        aberrations = {name: setting("Defocus" if name == "C10" else name, t) for name in ABERRATIONS}
        return Probe(setting("HighVoltage", t), setting("ConvergenceAngle", t), setting("SourceSize", t), aberrations)

    def probe(self, t: float) -> Probe:
        """Return the probe as it truly is on the specimen."""
        nominal, truth = self.nominal_probe(t), self.truth
        aberrations = {
            name: value + truth.aberrations_nm.get(name, 0.0) for name, value in nominal.aberrations_nm.items()
        }
        aberrations["C10"] += 1e3 * (self._inputs.axis("STG:Z", t) + truth.height_um + self._rise_um(t))
        return Probe(
            nominal.voltage_kv,
            nominal.convergence_mrad,
            nominal.source_fwhm_pm * (1.0 + truth.source_error),
            aberrations,
        )

    # specimen -----------------------------------------------------------------------------------------------

    def _rise_um(self, t: float) -> float:
        """Change of height by tilting a specimen that is off the tilt axes."""
        alpha, beta = (math.radians(self._inputs.axis(name, t)) for name in ("STG:Alpha", "STG:Beta"))
        high, aside = self.truth.eucentric_um
        return high * (math.cos(alpha) - 1.0) + aside * math.sin(beta)

    def tilt_deg(self, t: float) -> tuple[float, float]:
        """Angles (alpha, beta) of the zone axis against the beam."""
        (a, b), axis = self.truth.misorientation_deg, self._inputs.axis
        return axis("STG:Alpha", t) + a, axis("STG:Beta", t) + b

    def origin_nm(self, t: float) -> tuple[float, float]:
        """Where the specimen's origin is beside the optical axis: stage, drift, eucentric error."""
        axis, truth = self._inputs.axis, self.truth
        alpha, beta = (math.radians(axis(name, t)) for name in ("STG:Alpha", "STG:Beta"))
        high, aside = truth.eucentric_um
        drift = truth.drift_nm(t)
        x = 1e3 * (axis("STG:X", t) + aside * (math.cos(beta) - 1.0)) + truth.origin_nm[0] + drift[0]
        y = 1e3 * (axis("STG:Y", t) - high * math.sin(alpha)) + truth.origin_nm[1] + drift[1]
        return x, y

    # scan ---------------------------------------------------------------------------------------------------

    def probe_path(
        self, plan: ScanPlan, row: int, start_s: float, shift_nm: tuple[float, float], frame: int
    ) -> ProbePath:
        """Return where the probe truly is along a row that starts at ``start_s``."""
        truth = self.truth
        x, y0 = plan.nominal_nm(row)
        y = np.full(x.size, y0)
        half = 0.5 * plan.field_nm
        if truth.scan_barrel:
            swell = 1.0 + truth.scan_barrel * (x**2 + y**2) / half**2
            x, y = x * swell, y * swell
        x = x * (1.0 + truth.scan_scale_error[0]) + truth.scan_shear * y + shift_nm[0]
        y = y * (1.0 + truth.scan_scale_error[1]) + shift_nm[1]
        times = plan.pixel_times_s(row)
        if truth.flyback_pm:
            x = x - 1e-3 * truth.flyback_pm * np.exp(-(times + plan.flyback_s) / (1e-6 * truth.flyback_settling_us))
        turn = math.radians(plan.rotation_deg + truth.scan_rotation_deg)
        x, y = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
        if any(truth.hum_pm):
            hum = 1e-3 * np.sin(2.0 * math.pi * MAINS_HZ * (start_s + times) + truth.hum_phase_rad)
            x, y = x + truth.hum_pm[0] * hum, y + truth.hum_pm[1] * hum
        ox, oy = self.origin_nm(start_s)
        if truth.jitter_pm:
            jx, jy = np.random.default_rng([truth.seed, 7, frame, row]).normal(0.0, 1e-3 * truth.jitter_pm, 2)
            ox, oy = ox + jx, oy + jy
        return ProbePath(x - ox, y - oy)

    def field(self, plan: ScanPlan, t: float, shift_nm: tuple[float, float]) -> Field:
        """Return the maps that a frame from ``t`` on needs; the last ones if they still serve."""
        corners = []
        for row, at in ((0, t), (plan.shape[0] - 1, t + plan.frame_s)):
            path = self.probe_path(plan, row, at, shift_nm, 0)
            corners += [(path.x_nm[i], path.y_nm[i]) for i in (0, -1)]
        places = np.array(corners)
        low, high = places.min(axis=0), places.max(axis=0)
        centre = 0.5 * (low + high)
        half = 0.5 * float((high - low).max())
        with self._building:
            wanted = self._request(plan, t, (float(centre[0]), float(centre[1])), half)
            if self._field is None or not self._serves(self._field.request, wanted):
                # A little more than needed, in steps: a drifting specimen then keeps its maps for many frames.
                room = dataclasses.replace(wanted, half_nm=half + _SLACK_NM)
                self._field = build_field(room, self._crystal)
                self._field_of = self._crystal
            return self._field

    def _serves(self, had: FieldRequest, wanted: FieldRequest) -> bool:
        off = max(abs(a - b) for a, b in zip(had.centre_nm, wanted.centre_nm, strict=True))
        same = dataclasses.replace(had, centre_nm=wanted.centre_nm, half_nm=wanted.half_nm) == wanted
        too_wide = had.half_nm > 1.5 * wanted.half_nm + 2.0 * _SLACK_NM
        return same and not too_wide and off + wanted.half_nm <= had.half_nm + 0.2 and self._field_of is self._crystal

    def _request(self, plan: ScanPlan, t: float, centre: tuple[float, float], half: float) -> FieldRequest:
        axis, instrument = self._inputs.axis, self.instrument
        current_a = self._inputs.setting("BeamCurrent", t) * 1e-12 * (1.0 + self.truth.current_error)
        electrons = current_a / codata.e * plan.dwell_s * max(plan.frames, 1)
        return FieldRequest(
            centre_nm=centre,
            half_nm=half,
            tilt_deg=_rounded(self.tilt_deg(t)),
            probe=self.probe(t),
            physics=self.physics,
            segments=self.segments,
            rim_deg=self.truth.holder_rim_deg,
            holder_deg=_rounded((axis("STG:Alpha", t), axis("STG:Beta", t))),
            haadf_mrad=self.haadf_mrad,
            own_lines=instrument.own_lines,
            grid_lines=instrument.grid_lines,
            electrons=electrons if self.physics.counts_are_given else 0.0,
        )

    def change(self, **settings: object) -> None:
        """Change settings of `Physics`."""
        self.physics = dataclasses.replace(self.physics, **settings)  # type: ignore[arg-type]

    def attributes(self, t: float) -> Mapping[str, float]:
        """Numbers that are kept with a frame."""
        axis = self._inputs.axis
        return {
            "BeamCurrent": self._inputs.setting("BeamCurrent", t),
            "HighVoltage": self._inputs.setting("HighVoltage", t),
            "ConvergenceAngle": self._inputs.setting("ConvergenceAngle", t),
            "Defocus": self._inputs.setting("Defocus", t),
            **{name.replace(":", "_"): axis(name, t) for name in ("STG:X", "STG:Y", "STG:Z", "STG:Alpha", "STG:Beta")},
        }


def _rounded(pair: tuple[float, float]) -> tuple[float, float]:
    # Tilts that differ by less than the stage's noise are the same.
    return round(pair[0], 3), round(pair[1], 3)
