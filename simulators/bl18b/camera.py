"""Cameras: what the areaDetector records take their frames from. All are called from worker threads."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from exitwave.simulators.bl18b.microscope import Microscope
from exitwave.simulators.bl18b.place_log import PlaceLog
from exitwave.simulators.bl18b.truth import Truth
from exitwave.simulators.physics.detector import (
    GAIN_MODES,
    OBJECTIVES,
    Objective,
    Scintillator,
    Sensor,
    electrons_per_photon,
    expose,
    spread_kernel,
)

Frame = npt.NDArray[Any]
Roi = tuple[slice, slice]
BORDER_PX = 3


class CameraRequestError(ValueError):
    """A frame was asked for that the camera can't give."""


class Camera(Protocol):
    """Source of frames.

    ``expose`` returns a C-contiguous array (rows, columns) of ``dtype``. ``roi`` counts unbinned sensor pixels;
    binning sums; the result has ``len(roi) // binning`` pixels. ``t0`` is simulated time (s): the world is looked at in
    the middle of the exposure.
    """

    sensor_shape: tuple[int, int]
    dtype: np.dtype[Any]
    readout_time_s: float
    min_exposure_s: float
    model: str
    manufacturer: str
    pixel_size_um: float

    def expose(self, t0: float, exposure_s: float, *, roi: Roi, binning: tuple[int, int], gain: str) -> Frame:
        """Return one raw frame."""
        ...


def checked_roi(name: str, sensor: tuple[int, int], roi: Roi, binning: tuple[int, int]) -> Roi:
    """Return the region with its ends filled in, cut to whole bins.

    Raises
    ------
    CameraRequestError
        If it lies outside the sensor, is empty, or the binning is below one.
    """
    if min(binning) < 1:
        raise CameraRequestError(f"{name}: binning {binning} is below 1; use 1, 2, 3, 4 or 8")
    whole = []
    for part, size, step in zip(roi, sensor, binning, strict=True):
        start = 0 if part.start is None else int(part.start)
        stop = size if part.stop is None else int(part.stop)
        if start < 0 or stop > size or (stop - start) // step < 1:
            raise CameraRequestError(
                f"{name}: region {start}..{stop} with binning {step} does not fit the sensor's {size} pixels; "
                "set MinX/MinY and SizeX/SizeY inside it"
            )
        whole.append(slice(start, start + (stop - start) // step * step))
    return whole[0], whole[1]


def binned(frame: npt.NDArray[np.uint16], binning: tuple[int, int], top: int) -> npt.NDArray[np.uint16]:
    """Sum of the pixels of each bin, saturating at ``top``."""
    if binning == (1, 1):
        return frame
    by, bx = binning
    blocks = frame.reshape(frame.shape[0] // by, by, frame.shape[1] // bx, bx)
    return np.minimum(blocks.sum(axis=(1, 3), dtype=np.uint32), top).astype(np.uint16)


def gain_mode(name: str, gain: str) -> Sensor:
    """Sensor figures of a gain mode.

    Raises
    ------
    CameraRequestError
        If the mode is not one of `GAIN_MODES`.
    """
    mode = GAIN_MODES.get(gain)
    if mode is None:
        raise CameraRequestError(f"{name}: gain mode {gain!r} is unknown; use one of {', '.join(GAIN_MODES)}")
    return mode


@dataclass(frozen=True)
class SensorMaps:
    """Pixel-to-pixel response and relative dark current of one sensor (float32)."""

    gain: npt.NDArray[np.float32]
    dark: npt.NDArray[np.float32]


@lru_cache(maxsize=4)
def sensor_maps(
    shape: tuple[int, int], seed: int, gain_sigma: float, dust_spots: int, hot_fraction: float
) -> SensorMaps:
    """Draw a sensor's maps: column and pixel gain, dust on the screen, hot pixels."""
    rng = np.random.default_rng([seed, *shape])
    gain = np.ones(shape, np.float32)
    if gain_sigma > 0.0:
        gain += rng.normal(0.0, gain_sigma, shape).astype(np.float32)
        gain *= (1.0 + rng.normal(0.0, 0.3 * gain_sigma, shape[1])).astype(np.float32)
    for _ in range(dust_spots):
        radius = float(rng.uniform(2.0, 9.0))
        row, col = rng.uniform(0.0, shape[0]), rng.uniform(0.0, shape[1])
        depth = float(rng.uniform(0.05, 0.4))
        r0, r1 = max(0, int(row - 3 * radius)), min(shape[0], int(row + 3 * radius) + 1)
        c0, c1 = max(0, int(col - 3 * radius)), min(shape[1], int(col + 3 * radius) + 1)
        distance = np.hypot(np.arange(r0, r1)[:, None] - row, np.arange(c0, c1)[None, :] - col)
        gain[r0:r1, c0:c1] *= (1.0 - depth / (1.0 + np.exp((distance - radius) / 0.7))).astype(np.float32)
    dark = np.ones(shape, np.float32)
    hot = rng.random(shape) < hot_fraction
    dark[hot] = rng.uniform(50.0, 3000.0, int(hot.sum())).astype(np.float32)
    return SensorMaps(np.maximum(gain, np.float32(0.05)), dark)


class XrayCamera:
    """An indirect X-ray detector at the end of the microscope.

    Parameters
    ----------
    name
        ``HR1`` (objectives on a turret) or ``MR1`` (fixed, 1:1 optics).
    microscope, truth, light
        Image formation, hidden errors, and ``light(t)``: whether X-rays reach this camera.
    objective
        Name of the objective in use at a time; ``None`` for the fixed one.
    log
        Where the truth of each frame is noted.
    """

    sensor_shape = (2048, 2048)
    dtype: np.dtype[Any] = np.dtype(np.uint16)
    readout_time_s = 0.01
    min_exposure_s = 1e-5
    pixel_size_um = 6.5

    def __init__(
        self, name: str, microscope: Microscope, truth: Truth, light: Light, number: int, log: PlaceLog | None = None
    ) -> None:
        self._name = name
        self._microscope = microscope
        self._truth = truth
        self._light = light
        self._log = log
        self._seed = truth.seed * 16 + number
        self._frames = itertools.count()
        self._lock = Lock()
        high = name == "HR1"
        self.model = "Zyla 4.2 PLUS (simulated)" if high else "C12849-111U (simulated)"
        self.manufacturer = "Andor" if high else "Hamamatsu"

    def _optics(self, t: float) -> tuple[Objective, Scintillator]:
        if self._name == "MR1":
            return Objective(1.0, 0.25), Scintillator(20.0)
        return OBJECTIVES[self._light.objective(t)]

    def pixel_at_screen_um(self, t: float) -> float:
        """Return the sensor's pixel as the objective sees it on the scintillator (um)."""
        return self.pixel_size_um / self._optics(t)[0].magnification

    def _exposed(
        self, roi: Roi, pixel_um: float, binning: tuple[int, int], t0: float, exposure_s: float
    ) -> tuple[npt.NDArray[np.float32], float]:
        """Mean of the light over an exposure: image and scale as of the microscope's `photons_per_pixel`."""
        columns = self.sensor_shape[1] // binning[1]
        times = self._microscope.mechanics.moments(self._name, pixel_um * binning[1], columns, t0, exposure_s)
        middle = t0 + 0.5 * exposure_s
        images = [
            self._microscope.photons_per_pixel(self._name, pixel_um, self.sensor_shape, roi, BORDER_PX, t, middle)
            for t in times
        ]
        image, scale = images[0]
        if len(images) == 1 or scale <= 0.0:
            return image, scale
        total = image.copy()
        for part, other in images[1:]:
            total += part * np.float32(other / scale)
        total /= np.float32(len(images))
        return total, scale

    def expose(self, t0: float, exposure_s: float, *, roi: Roi, binning: tuple[int, int], gain: str) -> Frame:
        """Return one raw frame (uint16), blurred by the rotation if the specimen turns meanwhile."""
        rows, cols = checked_roi(self._name, self.sensor_shape, roi, binning)
        sensor = gain_mode(self._name, gain)
        t = t0 + 0.5 * exposure_s
        with self._lock:
            frame = next(self._frames)
        truth = self._truth
        maps = sensor_maps(self.sensor_shape, self._seed, truth.gain_sigma, truth.dust_spots, truth.hot_fraction)
        objective, screen = self._optics(t)
        energy = self._light.energy_kev(t)
        pixel = self.pixel_at_screen_um(t)
        image, photons = None, 0.0
        if self._light.reaches(self._name, t):
            image, photons = self._exposed((rows, cols), pixel, binning, t0, exposure_s)
            photons *= screen.absorbed(energy) * exposure_s
            if self._log is not None:
                seen = self._microscope.truth_of_frame(self._name, pixel, self.sensor_shape, t)
                self._log.write({"camera": self._name, "t_s": t0, "exposure_s": exposure_s, **(seen or {})})
        raw = expose(
            image,
            photons,
            exposure_s,
            spread=spread_kernel(objective, screen, round(energy, 1), pixel),
            electrons=electrons_per_photon(objective, screen, energy, sensor.quantum_efficiency),
            sensor=sensor,
            gain_map=np.ascontiguousarray(maps.gain[rows, cols]),
            dark_map=np.ascontiguousarray(maps.dark[rows, cols]),
            zingers_per_pixel_s=truth.zingers_per_mpx_s * 1e-6,
            seed=self._seed,
            frame=frame,
        )
        return binned(raw, binning, sensor.saturation_adu)


class Light(Protocol):
    """What a camera needs to know of the beamline."""

    def reaches(self, camera: str, t: float) -> bool:
        """Whether shutters and the detectors' places let X-rays reach a camera."""
        ...

    def objective(self, t: float) -> str:
        """Name of the objective in the beam."""
        ...

    def energy_kev(self, t: float) -> float:
        """Photon energy (keV)."""
        ...


class MemoryCamera:
    """Noisy frames from memory: costs nothing, for measuring what stands around it. Regions are copied."""

    sensor_shape = (2048, 2048)
    dtype: np.dtype[Any] = np.dtype(np.uint16)
    readout_time_s = 0.01
    min_exposure_s = 1e-5
    model = "frames from memory"
    manufacturer = "exitwave"
    pixel_size_um = 6.5

    def __init__(self, seed: int = 0, depth: int = 4) -> None:
        rng = np.random.default_rng(seed)
        self._ring = [rng.poisson(800.0, self.sensor_shape).astype(np.uint16) for _ in range(depth)]
        for frame in self._ring:
            frame.flags.writeable = False
        self._turn = itertools.count()

    def expose(self, t0: float, exposure_s: float, *, roi: Roi, binning: tuple[int, int], gain: str) -> Frame:
        """Return the next frame of the ring (read-only when the region is the whole sensor)."""
        rows, cols = checked_roi("memory", self.sensor_shape, roi, binning)
        frame = self._ring[next(self._turn) % len(self._ring)]
        return binned(np.ascontiguousarray(frame[rows, cols]), binning, 65535)
