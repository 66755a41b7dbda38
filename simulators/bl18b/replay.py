"""A camera that serves a recorded series, bit for bit."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import numpy as np

from exitwave.simulators.bl18b.beampath import Inputs
from exitwave.simulators.bl18b.camera import CameraRequestError, Frame, Light, Roi, checked_roi
from exitwave.simulators.bl18b.series import Series, open_series

__all__ = ["ReplayCamera", "open_series"]

log = logging.getLogger(__name__)
FIELD_UM = 15.0
"""Half the field of view where the file does not give its pixel: beyond it the specimen is out."""


class ReplayCamera:
    """Frames of a recorded series, chosen by what the beamline does.

    Shutter closed: the darks in turn. Specimen out of the field (SAM:X or SAM:Y): the flats in turn. Else the
    projection whose angle is nearest to SAM:Theta (angles equal modulo 360). Frames come in the file's dtype and
    without added noise. What the file lacks is said once in the log: darks are then zeros, flats the largest value of
    the first projection everywhere.
    """

    readout_time_s = 0.01
    min_exposure_s = 1e-5
    manufacturer = "exitwave"

    def __init__(self, series: Series, inputs: Inputs, light: Light) -> None:
        self._series = series
        self._inputs = inputs
        self._light = light
        self._darks, self._flats = itertools.count(), itertools.count()
        self.sensor_shape = series.shape
        self.dtype: np.dtype[Any] = series.dtype
        self.model = f"replay of {series.description}"
        pixel = series.pixel_um
        self.pixel_size_um = 6.5 if pixel is None else pixel
        self._field_um = FIELD_UM if pixel is None else 0.5 * pixel * max(series.shape)
        self._no_dark = np.zeros(series.shape, series.dtype)
        brightest = series.frame("projection", 0).max()
        self._no_flat = np.full(series.shape, brightest, series.dtype)
        if series.count("dark") == 0:
            log.warning("%s has no darks: zeros are served with the shutter closed", self.model)
        if series.count("flat") == 0:
            log.warning("%s has no flats: %s everywhere is served with the specimen out", self.model, brightest)

    def expose(self, t0: float, exposure_s: float, *, roi: Roi, binning: tuple[int, int], gain: str) -> Frame:
        """Return the frame of the series that belongs to the state of the beamline.

        Raises
        ------
        CameraRequestError
            If binning is asked for: recorded frames are served as they are.
        """
        if binning != (1, 1):
            raise CameraRequestError(f"replay: binning {binning}; recorded frames are served unbinned, use (1, 1)")
        rows, cols = checked_roi("replay", self.sensor_shape, roi, binning)
        frame = self._choose(t0 + 0.5 * exposure_s)
        return np.ascontiguousarray(frame[rows, cols])

    def _choose(self, t: float) -> Frame:
        if not self._light.reaches("HR1", t):
            n = self._series.count("dark")
            return self._series.frame("dark", next(self._darks) % n) if n else self._no_dark
        if max(abs(self._inputs.axis("SAM:X", t)), abs(self._inputs.axis("SAM:Y", t))) > self._field_um:
            n = self._series.count("flat")
            return self._series.frame("flat", next(self._flats) % n) if n else self._no_flat
        away = (self._series.theta_deg - self._inputs.axis("SAM:Theta", t) + 180.0) % 360.0 - 180.0
        return self._series.frame("projection", int(np.argmin(np.abs(away))))
