"""Where the parts of the microscope truly are: detector, lens, specimen, and the moments that make up an exposure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from exitwave.simulators.bl18b.beampath import BeamPath, Inputs
from exitwave.simulators.bl18b.truth import Truth
from exitwave.simulators.physics import imaging
from exitwave.simulators.physics.constants import SIGMA_PER_FWHM, wavelength_nm
from exitwave.simulators.physics.materials import IRIDIUM
from exitwave.simulators.physics.zoneplate import Geometry, ZonePlate

DETECTOR_ZERO_MM = 700.0
MEDIUM_DETECTOR_MM = 2400.0
BLUR_PX, MOST_MOMENTS = 0.3, 8


@dataclass(frozen=True)
class LensState:
    """The lens in the beam at one moment: its name, distances, place, and figures at this energy."""

    name: str
    plate: ZonePlate
    geometry: Geometry
    centre_um: tuple[float, float]
    focal_length_mm: float
    pupil: imaging.Pupil


@dataclass(frozen=True)
class SampleState:
    """The specimen: its origin on the rotation axis (um, in its plane), angle (deg), lean of the axis (rad)."""

    x_um: float
    y_um: float
    theta_deg: float
    lean: float


class Mechanics:
    """True places, from the records' positions and the hidden errors; thread-safe.

    Parameters
    ----------
    inputs, truth, path
        Positions, hidden errors and the beam.
    reach_um
        How far from the rotation axis the specimen is to be seen turning (um).
    """

    def __init__(self, inputs: Inputs, truth: Truth, path: BeamPath, reach_um: float) -> None:
        self._inputs = inputs
        self._truth = truth
        self._path = path
        self._reach_um = reach_um

    def detector_mm(self, camera: str, t: float) -> float:
        """Return the true distance from the stage's zero to a camera's scintillator (mm)."""
        if camera == "MR1":
            return MEDIUM_DETECTOR_MM
        return DETECTOR_ZERO_MM + self._inputs.axis("DET:Z", t) + self._truth.detector_zero_mm

    def lens(self, detector_mm: float, energy_kev: float, bandwidth: float, t: float) -> LensState | None:
        """Return the zone plate in the beam, or ``None`` when both are out."""
        axis = self._inputs.axis
        for name in ("A", "B"):
            true = self._truth.zone_plate(name)
            reading = axis(f"ZP{name}:Z", t)
            run_x, run_y = true.runout_um(reading)
            x, y = axis(f"ZP{name}:X", t) + run_x, axis(f"ZP{name}:Y", t) + run_y
            if math.hypot(x, y) > 0.5 * true.diameter_um:
                continue
            place = reading + true.z_zero_mm
            sample = 1e-3 * (axis("SAM:Z", t) + self._truth.sample_depth_um)
            geometry = Geometry(max(place - sample, 0.5), detector_mm - place)
            plate = ZonePlate(true.diameter_um, true.outermost_zone_nm, true.thickness_um, IRIDIUM)
            focal = plate.focal_length_mm(energy_kev)
            pupil = imaging.Pupil(
                cutoff_per_um=geometry.cutoff_per_um(true.diameter_um, energy_kev),
                central_stop=plate.central_stop,
                wavelength_um=wavelength_nm(energy_kev) * 1e-3,
                defocus_um=geometry.defocus_um(focal),
                defocus_rms_um=focal * 1e3 * bandwidth * SIGMA_PER_FWHM,
            )
            return LensState(name, plate, geometry, (x, y), focal, pupil)
        return None

    def _jitter_um(self, t: float) -> tuple[float, float]:
        """Where the rotation's bearing came to stand: one draw for each rest, one for each moment of a motion."""
        rms = self._truth.stage_jitter_um
        if not any(rms):
            return 0.0, 0.0
        since_s, theta = self._inputs.settled_s("SAM:Theta", t), self._inputs.axis("SAM:Theta", t)
        rng = np.random.default_rng([self._truth.seed, 7, round(max(since_s, 0.0) * 1e6), round(theta * 1e4) % 2**32])
        x, y = rng.normal(0.0, rms)
        return float(x), float(y)

    def sample(self, t: float, frame_s: float | None = None) -> SampleState:
        """Return the true place of the specimen: stage, rotation axis errors, drift, and jitter.

        Parameters
        ----------
        t
            Simulated time (s).
        frame_s
            Time whose jitter holds, that of the frame of which ``t`` is a part; ``t`` itself if left out.
        """
        truth, theta = self._truth, self._inputs.axis("SAM:Theta", t)
        jitter = self._jitter_um(t if frame_s is None else frame_s)
        wobble = sum(
            amplitude * math.sin((n + 1) * math.radians(theta) + phase)
            for n, (amplitude, phase) in enumerate(zip(truth.axis_wobble_um, truth.axis_wobble_phase_rad, strict=True))
        )
        swing = math.sin(2.0 * math.pi * t / 1500.0)
        drift_x = truth.drift_um_h[0] * t / 3600.0 + truth.drift_swing_um[0] * swing
        drift_y = truth.drift_um_h[1] * t / 3600.0 + truth.drift_swing_um[1] * swing
        return SampleState(
            self._inputs.axis("SAM:X", t) + truth.axis_offset_um + wobble + drift_x + jitter[0],
            self._inputs.axis("SAM:Y", t) + drift_y + jitter[1],
            theta,
            1e-3 * truth.axis_tilt_mrad,
        )

    def moments(self, camera: str, pixel_um: float, columns: int, t0: float, exposure_s: float) -> list[float]:
        """Return the times whose images make up an exposure: its middle, or more while the specimen turns fast.

        Parameters
        ----------
        camera
            ``HR1`` or ``MR1``.
        pixel_um
            (Binned) pixel at the scintillator.
        columns
            Width of the sensor in such pixels.
        t0, exposure_s
            Start and length of the exposure (s).

        Returns
        -------
        times
            So many that from one to the next the specimen's edge moves by `BLUR_PX` pixels at most, but no more than
            `MOST_MOMENTS`; evenly spread over the exposure.
        """
        middle = t0 + 0.5 * exposure_s
        turned = abs(self._inputs.axis("SAM:Theta", t0 + exposure_s) - self._inputs.axis("SAM:Theta", t0))
        if turned < 1e-3 or self._reach_um == 0.0:
            return [middle]
        lens = self.lens(self.detector_mm(camera, middle), self._path.energy_kev(middle), 1e-4, middle)
        if lens is None:
            return [middle]
        pitch = pixel_um / lens.geometry.magnification
        arc_px = math.radians(turned) * min(self._reach_um / pitch, 0.5 * columns)
        number = min(max(1, math.ceil(arc_px / BLUR_PX)), MOST_MOMENTS)
        return [t0 + exposure_s * (n + 0.5) / number for n in range(number)]
