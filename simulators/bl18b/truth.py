"""The hidden state of one simulated beamline: what calibration has to find out.

Drawn from a seed, written to a file that no client reads, and compared with what the plans recover.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from exitwave.simulators.bl18b.drift import slow_walk
from exitwave.simulators.physics.constants import HC_KEV_NM
from exitwave.simulators.truth_file import read_fields, tuples, write_truth

COMMISSIONING_KEV = 8.0
"""Energy at which the instrument was set up before its hidden errors were forgotten."""
_BRAGG_WALK = 1


@dataclass(frozen=True)
class EncoderError:
    """Error of one axis's encoder: scale (relative), and a periodic part (amplitude, period in the axis's unit)."""

    scale: float = 0.0
    amplitude: float = 0.0
    period: float = 1.0
    phase_rad: float = 0.0

    def at(self, position: float) -> float:
        """Return reading minus true position, in the axis's unit."""
        return self.scale * position + self.amplitude * math.sin(
            2.0 * math.pi * position / self.period + self.phase_rad
        )


@dataclass(frozen=True)
class TrueZonePlate:
    """A zone plate as made and as mounted.

    ``diameter_um`` and ``outermost_zone_nm`` are true; ``z_zero_mm`` is what its z axis's zero is off (true distance
    = reading + zero); the runout moves it sideways with z: a slope (um/mm) and a periodic part (um, period mm).
    """

    diameter_um: float
    outermost_zone_nm: float
    thickness_um: float
    z_zero_mm: float = 0.0
    runout_slope_um_mm: tuple[float, float] = (0.0, 0.0)
    runout_amplitude_um: tuple[float, float] = (0.0, 0.0)
    runout_period_mm: float = 7.0

    def runout_um(self, z_mm: float) -> tuple[float, float]:
        """Lateral displacement (x, y) of the lens at a z (um)."""
        wave = math.sin(2.0 * math.pi * z_mm / self.runout_period_mm)
        return (
            self.runout_slope_um_mm[0] * (z_mm - 20.0) + self.runout_amplitude_um[0] * wave,
            self.runout_slope_um_mm[1] * (z_mm - 20.0) + self.runout_amplitude_um[1] * wave,
        )


@dataclass(frozen=True)
class Truth:
    """Hidden errors of the beamline; the defaults are a perfect instrument.

    Attributes
    ----------
    seed
        Seed of everything random in the world: noise, maps, drifts.
    bragg_offset_deg
        True Bragg angle minus the axis's position.
    bragg_drift_deg
        Rms change of that offset over 20 min: a slow random walk from 0 at the start, `bragg_offset_at`.
    pitch_optimum_urad
        Second crystal's pitch of best flux at 8 keV, cold.
    pitch_per_deg_urad
        Change of that pitch per degree of Bragg.
    heat_pitch_urad, heat_time_constant_s
        Shift of that pitch by the full heat load, and the time constant with which it comes.
    mono_offset_error_mm
        Exit offset minus 25 mm at the gap that should give 25 mm.
    zone_plate_a, zone_plate_b
        The two zone plates.
    detector_zero_mm
        True scintillator distance minus (700 mm + DET:Z).
    sample_depth_um
        Specimen's distance downstream of the stage's zero.
    axis_offset_um, axis_tilt_mrad
        Where the rotation axis stands beside the optical axis at SAM:X = 0, and its tilt in the image plane.
    axis_wobble_um, axis_wobble_phase_rad
        Radial error motion: amplitudes of the first three harmonics and their phases.
    drift_um_h
        Sample stage's steady drift (x, y), um/h; ``drift_swing_um`` is its slow swing (period 25 min).
    encoders
        Encoder errors by axis name, to be added by the records to the readback.
    gas_pressure_bar
        True pressure in the ion chambers.
    picoammeter_zero_a
        Zero offsets of IC1 and IC2.
    condenser_offset_um, condenser_tilt_urad, condenser_z_mm
        Misalignment of the condenser at zero of its axes (x, y; about y, about x; along the beam).
    ring_lifetime_h
        Lifetime of the stored beam.
    gain_sigma, dust_spots, hot_fraction, zingers_per_mpx_s
        Detector: rms of the gain map, specks on the screen, part of hot pixels, direct hits per megapixel and second.
    flat_structure, flat_drift_s
        Relative rms of the structure in the illumination and the time in which it changes.
    theta_ripple
        Rotation at constant velocity: relative amplitude of the velocity's ripple, its period (deg), phase (rad).
    stage_jitter_um
        Rms (x, y) of where the specimen comes to stand beside where it should, anew with every rotation and, while
        it turns, with every frame (um).
    """

    seed: int = 0
    bragg_offset_deg: float = 0.0
    pitch_optimum_urad: float = 0.0
    pitch_per_deg_urad: float = 0.0
    heat_pitch_urad: float = 0.0
    heat_time_constant_s: float = 240.0
    mono_offset_error_mm: float = 0.0
    zone_plate_a: TrueZonePlate = TrueZonePlate(125.0, 25.0, 0.7)
    zone_plate_b: TrueZonePlate = TrueZonePlate(150.0, 40.0, 0.9)
    detector_zero_mm: float = 0.0
    sample_depth_um: float = 0.0
    axis_offset_um: float = 0.0
    axis_tilt_mrad: float = 0.0
    axis_wobble_um: tuple[float, float, float] = (0.0, 0.0, 0.0)
    axis_wobble_phase_rad: tuple[float, float, float] = (0.0, 0.0, 0.0)
    drift_um_h: tuple[float, float] = (0.0, 0.0)
    drift_swing_um: tuple[float, float] = (0.0, 0.0)
    encoders: dict[str, EncoderError] = field(default_factory=dict)
    gas_pressure_bar: float = 1.0
    picoammeter_zero_a: tuple[float, float] = (0.0, 0.0)
    condenser_offset_um: tuple[float, float] = (0.0, 0.0)
    condenser_tilt_urad: tuple[float, float] = (0.0, 0.0)
    condenser_z_mm: float = 0.0
    ring_lifetime_h: float = 15.0
    gain_sigma: float = 0.0
    dust_spots: int = 0
    hot_fraction: float = 0.0
    zingers_per_mpx_s: float = 0.0
    flat_structure: float = 0.0
    flat_drift_s: float = 1200.0
    theta_ripple: tuple[float, float, float] = (0.0, 6.0, 0.0)
    stage_jitter_um: tuple[float, float] = (0.0, 0.0)
    bragg_drift_deg: float = 0.0

    @classmethod
    def nominal(cls, seed: int = 0) -> Truth:
        """Return a perfect instrument: no hidden errors (noise remains)."""
        return cls(seed=seed)

    @classmethod
    def draw(cls, seed: int) -> Truth:
        """Draw the hidden errors of one instrument from a seed."""
        rng = np.random.default_rng(seed)

        def pair(scale: float) -> tuple[float, float]:
            return float(rng.normal(0.0, scale)), float(rng.normal(0.0, scale))

        def plate(diameter: float, zone: float, thickness: float) -> TrueZonePlate:
            true_diameter = diameter * (1.0 + float(rng.uniform(-0.01, 0.01)))
            true_zone = zone * (1.0 + float(rng.uniform(-0.01, 0.01)))
            # whoever mounted it set the z axis so that 8 keV is nearly sharp at the nominal place: the product of
            # diameter and zone width is then seen only in how the focus moves with energy
            longer_mm = (true_diameter * true_zone - diameter * zone) * 1e-3 * COMMISSIONING_KEV / HC_KEV_NM
            return TrueZonePlate(
                true_diameter,
                true_zone,
                thickness * (1.0 + float(rng.uniform(0.0, 0.05))),
                longer_mm + float(rng.uniform(-0.06, 0.06)),
                pair(0.15),
                pair(0.10),
                float(rng.uniform(5.0, 9.0)),
            )

        encoders = {
            name: EncoderError(
                float(rng.normal(0.0, scale)),
                float(abs(rng.normal(0.0, amplitude))),
                period,
                float(rng.uniform(0.0, 2.0 * math.pi)),
            )
            for name, scale, amplitude, period in (
                ("DCM:Bragg", 0.0, 2e-6, 1.0),
                ("SAM:X", 1e-5, 0.003, 20.0),
                ("SAM:Y", 1e-5, 0.003, 20.0),
                ("SAM:Theta", 0.0, 2e-4, 360.0),
                ("ZPA:Z", 2e-5, 2e-4, 2.0),
                ("ZPB:Z", 2e-5, 2e-4, 2.0),
                ("DET:Z", 2e-5, 2e-3, 10.0),
            )
        }
        wobble = rng.normal(0.0, (0.03, 0.02, 0.01))
        phases = rng.uniform(0.0, 2.0 * math.pi, 3)
        return cls(
            seed=seed,
            bragg_offset_deg=float(rng.uniform(-0.02, 0.02)),
            pitch_optimum_urad=float(rng.uniform(-8.0, 8.0)),
            pitch_per_deg_urad=_away_from_zero(float(rng.uniform(-1.0, 1.0)), 5.0, 10.0),
            heat_pitch_urad=float(rng.uniform(1.0, 4.0)),
            heat_time_constant_s=float(rng.uniform(120.0, 360.0)),
            mono_offset_error_mm=float(rng.normal(0.0, 0.02)),
            zone_plate_a=plate(125.0, 25.0, 0.7),
            zone_plate_b=plate(150.0, 40.0, 0.9),
            detector_zero_mm=float(rng.uniform(-1.0, 1.0)),
            sample_depth_um=float(rng.uniform(-30.0, 30.0)),
            axis_offset_um=float(rng.uniform(-2.0, 2.0)),
            axis_tilt_mrad=float(rng.normal(0.0, 0.3)),
            axis_wobble_um=(float(wobble[0]), float(wobble[1]), float(wobble[2])),
            axis_wobble_phase_rad=(float(phases[0]), float(phases[1]), float(phases[2])),
            drift_um_h=pair(0.05),
            drift_swing_um=pair(0.01),
            encoders=encoders,
            gas_pressure_bar=float(rng.normal(1.0, 0.01)),
            picoammeter_zero_a=pair(5e-12),
            condenser_offset_um=pair(4.0),
            condenser_tilt_urad=pair(60.0),
            condenser_z_mm=float(rng.normal(0.0, 0.5)),
            ring_lifetime_h=float(rng.uniform(10.0, 20.0)),
            gain_sigma=0.012,
            dust_spots=int(rng.integers(25, 60)),
            hot_fraction=2e-5,
            zingers_per_mpx_s=0.5,
            flat_structure=0.03,
            flat_drift_s=float(rng.uniform(900.0, 2400.0)),
            theta_ripple=(
                float(rng.uniform(0.001, 0.004)),
                float(rng.uniform(4.0, 8.0)),
                float(rng.uniform(0.0, 2.0 * math.pi)),
            ),
            stage_jitter_um=(float(rng.uniform(0.015, 0.035)), float(rng.uniform(0.01, 0.025))),
            bragg_drift_deg=float(rng.uniform(3e-5, 8e-5)),
        )

    def bragg_offset_at(self, t: float) -> float:
        """Return the true Bragg angle minus the axis's position at simulated time ``t`` (s), in deg."""
        if self.bragg_drift_deg == 0.0:
            return self.bragg_offset_deg
        return self.bragg_offset_deg + self.bragg_drift_deg * slow_walk(self.seed, _BRAGG_WALK, t)

    def zone_plate(self, name: str) -> TrueZonePlate:
        """Zone plate ``"A"`` or ``"B"``."""
        return {"A": self.zone_plate_a, "B": self.zone_plate_b}[name]

    def encoder_error(self, axis: str, position: float) -> float:
        """Return reading minus true position of an axis (its unit); 0 for axes without an entry."""
        error = self.encoders.get(axis)
        return 0.0 if error is None else error.at(position)

    def to_json(self, path: Path | None = None, *, specimen: Mapping[str, object] | None = None) -> str:
        """Return the truth as JSON text, and write it to ``path`` if given.

        Parameters
        ----------
        path
            File to write.
        specimen
            Figures of the specimen, kept under ``"specimen"``; read by those who compare, and not by `from_json`.
        """
        return write_truth(self, path, None if specimen is None else {"specimen": dict(specimen)})

    @classmethod
    def from_json(cls, source: str | Path) -> Truth:
        """Read a truth from JSON text or a file.

        Raises
        ------
        ValueError
            If the document has a key that is not a field.
        """
        values = read_fields(cls, source, beside=("specimen",))
        for key, value in values.items():
            if key.startswith("zone_plate"):
                values[key] = TrueZonePlate(**{k: tuples(v) for k, v in value.items()})
            elif key == "encoders":
                values[key] = {name: EncoderError(**error) for name, error in value.items()}
            else:
                values[key] = tuples(value)
        return cls(**values)


def _away_from_zero(value: float, low: float, high: float) -> float:
    """Stretch -1 to 1 over -high to -low and low to high."""
    return math.copysign(low + (high - low) * abs(value), value)
