"""Ellipsoidal monocapillary condenser: hollow cone, focus, and what shaker and misalignment do to both.

Model. A single-bounce ellipsoid images the secondary source into a spot at the specimen; each ring of its wall sends
light under one angle, so the exit is an annulus of angles between ``inner`` and ``outer`` times the aperture of the
zone plate in use (capillaries are made for their zone plate: "matched"). Where the incoming beam is weak the annulus
is weak: the beam is a Gaussian patch at the capillary's entrance, flatter than the entrance is high, so without the
shaker the top and the bottom of the annulus lack light and, with fewer oblique rays, resolution along y. The
shaker rocks the capillary in the beam: over an exposure the patch is swept by `SHAKER_LEVER` times the amplitude, and
the spot at the specimen by the amplitude itself, which widens the field.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from exitwave.simulators.physics.constants import wavelength_nm
from exitwave.simulators.physics.imaging import Source
from exitwave.simulators.physics.materials import GLASS
from exitwave.simulators.physics.mirrors import reflectivity

INNER_FRACTION = 0.60
"""Inner angle of the hollow cone as part of the aperture."""
OUTER_FRACTION = 0.97
"""Outer angle of the hollow cone as part of the aperture; a little inside, so that misalignment costs little."""
FOCUS_MM = 100.0
"""Middle of the capillary to the focus (mm)."""
SOURCE_MM = 2000.0
"""Secondary source to the capillary (mm)."""
SLOPE_BLUR_UM = 3.4
"""Rms blur of the spot by slope errors of the glass (17 urad rms over 2 x 100 mm)."""
SHAKER_LEVER = 40.0
"""Sweep of the incoming beam over the entrance per amplitude of the shaker."""
ANGULAR_ACCEPTANCE_URAD = 150.0
"""Rms pitch or yaw at which the throughput falls by exp(-1/2)."""


@dataclass(frozen=True)
class Illumination:
    """What the condenser is given.

    Attributes
    ----------
    aperture_rad
        Numerical aperture of the zone plate that the capillary is matched to.
    entrance_rms_um
        Rms width of the beam at the entrance (x, y), um.
    source_rms_um
        Rms size of the light in the secondary source (x, y), um.
    offset_um
        Displacement of the capillary's axis from the beam (x, y), um.
    tilt_urad
        Tilt of its axis (about y for x, about x for y), urad.
    z_mm
        Displacement along the beam (mm).
    shaker_um
        Amplitude of the shaker, 0 when it stands (um).
    energy_kev
        Photon energy.
    """

    aperture_rad: float
    entrance_rms_um: tuple[float, float]
    source_rms_um: tuple[float, float]
    offset_um: tuple[float, float]
    tilt_urad: tuple[float, float]
    z_mm: float
    shaker_um: float
    energy_kev: float

    def entrance_sweep_um(self) -> tuple[float, float]:
        """Rms width of the beam at the entrance with the shaker's sweep (x, y)."""
        sweep = SHAKER_LEVER * self.shaker_um / math.sqrt(2.0)
        return math.hypot(self.entrance_rms_um[0], sweep), math.hypot(self.entrance_rms_um[1], sweep)

    def spot_rms_um(self) -> tuple[float, float]:
        """Rms size of the illuminated spot at the specimen (x, y)."""
        demagnification = FOCUS_MM / SOURCE_MM
        mean_angle = 0.5 * (INNER_FRACTION + OUTER_FRACTION) * self.aperture_rad
        blur = math.hypot(SLOPE_BLUR_UM, mean_angle * self.z_mm * 1e3 / math.sqrt(2.0))
        blur = math.hypot(blur, self.shaker_um / math.sqrt(2.0))
        coma = 0.02 * math.hypot(*self.tilt_urad)
        blur = math.hypot(blur, coma)
        return (
            math.hypot(blur, demagnification * self.source_rms_um[0]),
            math.hypot(blur, demagnification * self.source_rms_um[1]),
        )

    def ring_weight(self, radius_rad: np.ndarray, azimuth_rad: np.ndarray) -> np.ndarray:
        """Relative light in each direction of the annulus: the beam at the wall that sends it there."""
        sx, sy = self.entrance_sweep_um()
        wall = radius_rad * FOCUS_MM * 1e3
        x = wall * np.cos(azimuth_rad) - self.offset_um[0]
        y = wall * np.sin(azimuth_rad) - self.offset_um[1]
        return np.asarray(np.exp(-0.5 * ((x / sx) ** 2 + (y / sy) ** 2)) * radius_rad)

    def source_points(self, rings: int, spokes: int) -> Source:
        """Points of the annulus as spatial frequencies (1/um), staggered from ring to ring."""
        edges = np.linspace(INNER_FRACTION, OUTER_FRACTION, rings + 1) * self.aperture_rad
        radius = np.repeat(0.5 * (edges[1:] + edges[:-1]), spokes)
        turn = np.repeat(np.arange(rings) * 0.618034, spokes)
        azimuth = 2.0 * math.pi * (np.tile(np.arange(spokes), rings) + turn) / spokes
        weight = self.ring_weight(radius, azimuth)
        total = float(weight.sum())
        per_rad = 1e3 / wavelength_nm(self.energy_kev)
        return Source(
            (radius * np.cos(azimuth) + self.tilt_urad[0] * 1e-6) * per_rad,
            (radius * np.sin(azimuth) + self.tilt_urad[1] * 1e-6) * per_rad,
            weight / total if total > 0.0 else weight,
        )

    def throughput(self) -> float:
        """Part of the beam at the entrance that arrives in the spot (before the constant of the beam path)."""
        sx, sy = self.entrance_sweep_um()
        edges = np.linspace(INNER_FRACTION, OUTER_FRACTION, 9) * self.aperture_rad
        radius = np.repeat(0.5 * (edges[1:] + edges[:-1]), 64)
        azimuth = 2.0 * math.pi * np.tile(np.arange(64), 8) / 64
        cell = (edges[1] - edges[0]) * (FOCUS_MM * 1e3) ** 2 * 2.0 * math.pi / 64
        caught = float(self.ring_weight(radius, azimuth).sum()) * cell / (2.0 * math.pi * sx * sy)
        tilt = math.exp(-0.5 * sum((t / ANGULAR_ACCEPTANCE_URAD) ** 2 for t in self.tilt_urad))
        graze_mrad = 0.5e3 * 0.5 * (INNER_FRACTION + OUTER_FRACTION) * self.aperture_rad
        return float(caught * tilt) * reflectivity(GLASS, graze_mrad, self.energy_kev, roughness_nm=0.5)
