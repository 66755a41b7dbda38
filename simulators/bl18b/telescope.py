"""In-line telescope: visible light picture of the specimen holder's tip."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from exitwave.simulators.bl18b.beampath import Inputs
from exitwave.simulators.bl18b.camera import Frame, Roi, binned, checked_roi
from exitwave.simulators.bl18b.microscope import Microscope
from exitwave.simulators.bl18b.truth import Truth
from exitwave.simulators.physics.rng import poisson_image

PIXEL_AT_SAMPLE_UM = 2.0
BLUR_UM = 4.0
FULL_WELL_E = 8000.0


class TelescopeCamera:
    """Back-lit view along the beam: the tapered pin below, the specimen's carrier (80 um) on the axis above it.

    A picture needs the telescope in the beam (TEL:X near 0); elsewhere it sees the dark of its housing. The pin is
    slightly bent (by 15 um): it swings as it turns, which is how a specimen is brought onto the axis by eye.
    """

    sensor_shape = (1024, 1024)
    dtype: np.dtype[Any] = np.dtype(np.uint8)
    readout_time_s = 0.02
    min_exposure_s = 1e-4
    model = "telescope (simulated)"
    manufacturer = "exitwave"
    pixel_size_um = 5.5

    def __init__(self, inputs: Inputs, truth: Truth, microscope: Microscope) -> None:
        self._inputs = inputs
        self._truth = truth
        self._microscope = microscope
        self._frames = itertools.count()

    def expose(self, t0: float, exposure_s: float, *, roi: Roi, binning: tuple[int, int], gain: str) -> Frame:
        """Return one frame (uint8)."""
        rows, cols = checked_roi("TEL1", self.sensor_shape, roi, binning)
        t = t0 + 0.5 * exposure_s
        shift = self._inputs.axis("TEL:X", t) * 1e3
        height, width = self.sensor_shape
        x = (np.arange(cols.start, cols.stop) - 0.5 * (width - 1)) * PIXEL_AT_SAMPLE_UM + shift
        y = -(np.arange(rows.start, rows.stop) - 0.5 * (height - 1)) * PIXEL_AT_SAMPLE_UM
        view = np.clip(1.3 - np.hypot(x[None, :] - shift, y[:, None]) / 1100.0, 0.0, 1.0)
        view = view * (np.abs(x - shift) < 1e9) * (abs(shift) < 5e3)
        bright = view * self._bright_field(x[None, :], y[:, None], t)
        mean = (bright * 2e5 * exposure_s + 20.0).astype(np.float32)
        noisy = poisson_image(mean, seed=self._truth.seed * 16 + 3, frame=next(self._frames))
        counts = np.minimum(noisy * (255.0 / FULL_WELL_E), 255.0).astype(np.uint16)
        return np.ascontiguousarray(binned(counts, binning, 255).astype(np.uint8))

    def _bright_field(self, x: np.ndarray, y: np.ndarray, t: float) -> np.ndarray:
        """Transmission of visible light beside pin and carrier, edges blurred by the optics."""
        sample = self._microscope.mechanics.sample(t)
        theta = math.radians(sample.theta_deg)
        swing = 15.0 * math.sin(theta + 0.7)
        below = np.clip(-(y - sample.y_um) - 60.0, 0.0, None)
        half = np.where(below > 0.0, 12.0 + 0.25 * below, 0.0)
        pin = _soft(half - np.abs(x - sample.x_um - swing * np.tanh(below / 200.0)))
        carrier_half = 40.0 * max(abs(math.cos(theta)), 0.1)
        carrier = _soft(np.minimum(carrier_half - np.abs(x - sample.x_um), 60.0 - np.abs(y - sample.y_um)))
        return np.asarray((1.0 - pin * (below > 0.0)) * (1.0 - 0.35 * carrier))


def _soft(inside_um: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(-inside_um / (0.4 * BLUR_UM), -40.0, 40.0))))
