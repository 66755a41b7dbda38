"""The hidden state of one simulated microscope: what alignment and drift correction have to find out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from exitwave.simulators.physics.electron_probe import ABERRATIONS
from exitwave.simulators.truth_file import read_fields, tuples, write_truth

__all__ = ["StemTruth"]


def _pair(value: Any) -> tuple[float, float]:
    first, second = value
    return float(first), float(second)


@dataclass(frozen=True)
class StemTruth:
    """Hidden errors of the microscope; the defaults are a perfect instrument.

    Attributes
    ----------
    seed
        Seed of everything random: noise, hidden errors.
    aberrations_nm
        Residual coefficients by name, on top of the settings.
    source_error
        Relative error of the source size.
    current_error, current_decay_per_h
        Relative error of the beam current, and its relative loss per hour.
    scan_scale_error, scan_shear, scan_rotation_deg, scan_barrel
        Of the deflectors: relative errors (x, y), shear, rotation, and relative displacement at half the field's width
        that grows with the cube of the distance.
    hum_pm, hum_phase_rad
        Deflection by the 50 Hz mains (x, y).
    flyback_pm, flyback_settling_us
        Displacement at a line's start and the time constant of its decay.
    jitter_pm
        RMS of the random displacement of a line.
    drift_nm_min, drift_swing_nm, drift_period_s
        Stage drift (x, y): steady, and a slow swing.
    eucentric_um
        Height of the specimen over the tilt axis (alpha) and beside that of beta.
    height_um
        Specimen's height over the focal plane at STG:Z = 0.
    misorientation_deg
        Zone axis against the beam (alpha, beta) at zero tilts.
    origin_nm
        Where the specimen's origin is beside the optical axis at STG:X = STG:Y = 0.
    encoder_scale
        Relative error of each axis' encoder.
    segment_angle_error
        Relative error of each segment's solid angle.
    segment_gain, segment_offset_ev
        Of each segment's energy scale.
    holder_rim_deg
        Elevation of the holder's rim, which shadows the detectors.
    """

    seed: int = 0
    aberrations_nm: dict[str, float] = field(default_factory=dict)
    source_error: float = 0.0
    current_error: float = 0.0
    current_decay_per_h: float = 0.0
    scan_scale_error: tuple[float, float] = (0.0, 0.0)
    scan_shear: float = 0.0
    scan_rotation_deg: float = 0.0
    scan_barrel: float = 0.0
    hum_pm: tuple[float, float] = (0.0, 0.0)
    hum_phase_rad: float = 0.0
    flyback_pm: float = 0.0
    flyback_settling_us: float = 100.0
    jitter_pm: float = 0.0
    drift_nm_min: tuple[float, float] = (0.0, 0.0)
    drift_swing_nm: tuple[float, float] = (0.0, 0.0)
    drift_period_s: float = 900.0
    eucentric_um: tuple[float, float] = (0.0, 0.0)
    height_um: float = 0.0
    misorientation_deg: tuple[float, float] = (0.0, 0.0)
    origin_nm: tuple[float, float] = (0.0, 0.0)
    encoder_scale: dict[str, float] = field(default_factory=dict)
    segment_angle_error: tuple[float, ...] = (0.0,) * 4
    segment_gain: tuple[float, ...] = (1.0,) * 4
    segment_offset_ev: tuple[float, ...] = (0.0,) * 4
    holder_rim_deg: float = 5.0

    @classmethod
    def nominal(cls, seed: int = 0) -> StemTruth:
        """Return a perfect instrument: no hidden errors (counting noise remains)."""
        return cls(seed=seed)

    @classmethod
    def draw(cls, seed: int) -> StemTruth:
        """Draw the hidden errors of one instrument from a seed."""
        rng = np.random.default_rng(seed)
        spread = {1: 1.0, 2: 15.0, 3: 400.0}
        residual = {name: float(rng.normal(0.0, spread[n])) for name, (n, _) in ABERRATIONS.items() if name != "C10"}
        residual["C10"] = float(rng.uniform(-15.0, 15.0))
        return cls(
            seed=seed,
            aberrations_nm=residual,
            source_error=float(rng.normal(0.0, 0.05)),
            current_error=float(rng.normal(0.0, 0.03)),
            current_decay_per_h=float(rng.uniform(0.0, 0.05)),
            scan_scale_error=_pair(rng.normal(0.0, 0.01, 2)),
            scan_shear=float(rng.normal(0.0, 0.005)),
            scan_rotation_deg=float(rng.normal(0.0, 1.0)),
            scan_barrel=float(rng.normal(0.0, 0.002)),
            hum_pm=_pair(np.abs(rng.normal(0.0, 4.0, 2))),
            hum_phase_rad=float(rng.uniform(0.0, 2.0 * math.pi)),
            flyback_pm=float(rng.uniform(5.0, 40.0)),
            flyback_settling_us=float(rng.uniform(50.0, 200.0)),
            jitter_pm=float(rng.uniform(1.0, 4.0)),
            drift_nm_min=_pair(rng.normal(0.0, 0.15, 2)),
            drift_swing_nm=_pair(rng.normal(0.0, 0.05, 2)),
            drift_period_s=float(rng.uniform(600.0, 1500.0)),
            eucentric_um=_pair(rng.normal(0.0, 1.0, 2)),
            height_um=float(rng.normal(0.0, 0.01)),
            misorientation_deg=_pair(rng.normal(0.0, 0.1, 2)),
            origin_nm=_pair(rng.uniform(-5.0, 5.0, 2)),
            encoder_scale={name: float(rng.normal(0.0, 1e-3)) for name in ("STG:X", "STG:Y", "STG:Z")},
            segment_angle_error=tuple(rng.normal(0.0, 0.05, 4).tolist()),
            segment_gain=tuple(rng.normal(1.0, 5e-4, 4).tolist()),
            segment_offset_ev=tuple(rng.normal(0.0, 3.0, 4).tolist()),
            holder_rim_deg=float(rng.uniform(4.0, 9.0)),
        )

    def drift_nm(self, t_s: float) -> tuple[float, float]:
        """Return where the drift has carried the specimen by simulated time ``t_s``."""
        swing = math.sin(2.0 * math.pi * t_s / self.drift_period_s)
        (vx, vy), (ax, ay) = self.drift_nm_min, self.drift_swing_nm
        return vx * t_s / 60.0 + ax * swing, vy * t_s / 60.0 + ay * swing

    def encoder_error(self, axis: str, position: float) -> float:
        """Return reading minus true position of an axis, in its unit."""
        return self.encoder_scale.get(axis, 0.0) * position

    def to_json(self, path: Path | None = None) -> str:
        """Return the truth as JSON text, and write it to ``path`` if given."""
        return write_truth(self, path)

    @classmethod
    def from_json(cls, source: str | Path) -> StemTruth:
        """Read a truth from JSON text or a file.

        Raises
        ------
        ValueError
            If the document has a key that is not a field.
        """
        return cls(**{key: tuples(value) for key, value in read_fields(cls, source).items()})
