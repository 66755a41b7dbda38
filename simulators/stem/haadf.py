"""The annular dark-field detector: an areaDetector camera whose images are the frames of the scan."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitwave.simulators.clock import SimClock
from exitwave.simulators.records.acquisition import Acquisition, Recipe
from exitwave.simulators.records.board import Board, rw
from exitwave.simulators.records.camera_driver import CameraDriver
from exitwave.simulators.records.hdf_file import Attribute
from exitwave.simulators.records.hdf_plugin import Hdf5Plugin, WriteFaults
from exitwave.simulators.stem.limits import state_limits

__all__ = ["ATTRIBUTES", "Haadf", "ScanCamera"]

ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("AcquireTime", "s", "Time of the frame"),
    Attribute("ScanFrame", "", "Number of the frame in its scan, from 0"),
    Attribute("FieldOfView", "nm", "Width of the full frame"),
    Attribute("PixelSize", "nm", "Side of a pixel"),
    Attribute("ShiftX", "nm", "Beam shift"),
    Attribute("ShiftY", "nm", "Beam shift"),
    Attribute("Dose", "e/A2", "Accumulated at the frame's end"),
    Attribute("BeamCurrent", "pA", "Asked for"),
    Attribute("HighVoltage", "kV", ""),
    Attribute("ConvergenceAngle", "mrad", "Semi-angle"),
    Attribute("Defocus", "nm", "Setting"),
    Attribute("STG_X", "um", "Goniometer"),
    Attribute("STG_Y", "um", "Goniometer"),
    Attribute("STG_Z", "um", "Goniometer"),
    Attribute("STG_Alpha", "deg", "Goniometer"),
    Attribute("STG_Beta", "deg", "Goniometer"),
)
_SENSOR = (4096, 4096)
_POLL_S = 0.2


class _Source:
    """What a camera says of itself; the images come from the scan."""

    sensor_shape = _SENSOR
    dtype = np.dtype(np.uint16)
    readout_time_s = 0.0
    min_exposure_s = 1e-6
    model = "HAADF detector (simulated)"

    def __init__(self, manufacturer: str) -> None:
        self.manufacturer = manufacturer

    def expose(
        self, t0: float, exposure_s: float, *, roi: tuple[slice, slice], binning: tuple[int, int], gain: str
    ) -> NDArray[Any]:
        """Never called: see `_ScanFrames`."""
        raise NotImplementedError


class _ScanFrames(Acquisition):
    """An acquisition that takes what the scan gives it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._frames: queue.SimpleQueue[tuple[NDArray[Any], float, Mapping[str, float]]] = queue.SimpleQueue()
        self.numbers: Mapping[str, float] = {}

    def take(self, image: NDArray[Any], start_s: float, numbers: Mapping[str, float]) -> None:
        """Accept a frame; any thread."""
        self._frames.put((image, start_s, numbers))

    def run(
        self,
        deliver: Callable[[NDArray[Any], float], None],
        remaining: Callable[[float], None],
        exposing: Callable[[bool], None] | None = None,
    ) -> bool:
        """Deliver frames until there are enough; False if aborted."""
        delivered = 0
        while self.recipe.images is None or delivered < self.recipe.images:
            if self._stop.is_set() and self._frames.empty():
                return False
            try:
                image, start_s, self.numbers = self._frames.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            deliver(image, start_s)
            delivered += 1
        return True


class ScanCamera(CameraDriver):
    """A camera driver that takes its images from the scan generator."""

    def _new_acquisition(self, recipe: Recipe) -> Acquisition:
        return _ScanFrames(recipe, self._source, self._clock, self._pool, self._version)

    def show_scan(self, shape: tuple[int, int], frame_s: float) -> None:
        """Let size and time be those of the scan that is set; event loop only."""
        for name, size in (("SizeX", shape[1]), ("SizeY", shape[0])):
            self._put_geometry(name, size)
        for name in ("AcquireTime", "AcquirePeriod"):
            self.board.set(name, frame_s)

    def take(self, image: NDArray[np.uint16], start_s: float, numbers: Mapping[str, float]) -> None:
        """Accept a frame of the scan and its numbers; any thread. Lost unless the camera is armed."""
        acquisition = self._acquisition
        if isinstance(acquisition, _ScanFrames):
            acquisition.take(image, start_s, numbers)

    def numbers(self, _: float) -> Mapping[str, float]:
        """Return the numbers of the frame that is being delivered; the camera's own thread."""
        acquisition = self._acquisition
        return acquisition.numbers if isinstance(acquisition, _ScanFrames) else {}


class Haadf:
    """Camera, file plugin, and the detector's own settings.

    Parameters
    ----------
    manufacturer : str
        As the instrument names itself.
    clock, pool
        Simulated time; the camera's workers (it needs none).
    faults : WriteFaults
        Of the file plugin.
    angles_mrad : tuple of float
        Inner and outer angle at the start.
    on_angles : callable
        Takes new ones.
    """

    def __init__(
        self,
        manufacturer: str,
        clock: SimClock,
        pool: Executor,
        faults: WriteFaults,
        angles_mrad: tuple[float, float],
        on_angles: Callable[[tuple[float, float]], None],
    ) -> None:
        source = _Source(manufacturer)
        self.plugin = Hdf5Plugin("HAADF_HDF", "HAADF", _SENSOR, source.dtype, attributes=ATTRIBUTES, faults=faults)
        self.camera = ScanCamera(
            "HAADF",
            source,
            clock,
            pool,
            self.plugin,
            attributes=lambda t: self.camera.numbers(t),
            version=lambda: 0,
            gain_modes=("scan",) * 3,
            exposure_s=1.0,
            setpoint_c=20.0,
        )
        self.board = Board(
            [
                rw("Gain", 1.0),
                rw("Offset", 0.02),
                rw("InnerAngle", angles_mrad[0], "mrad"),
                rw("OuterAngle", angles_mrad[1], "mrad"),
            ]
        )
        # Of the angles each ends at the other one, too.
        state_limits(
            self.board,
            {"Gain": (0.0, 1000.0), "Offset": (-1.0, 1.0), "InnerAngle": (5.0, 399.0), "OuterAngle": (6.0, 400.0)},
        )
        self.board.check(["Gain"], lambda value: min(max(value, 0.0), 1000.0))
        self.board.check(["Offset"], lambda value: min(max(value, -1.0), 1.0))
        self.board.check(["InnerAngle"], lambda v: min(max(v, 5.0), self.board.value("OuterAngle_RBV") - 1.0))
        self.board.check(["OuterAngle"], lambda v: min(max(v, self.board.value("InnerAngle_RBV") + 1.0), 400.0))
        self.board.react(
            ["InnerAngle", "OuterAngle"],
            lambda _: on_angles((self.board.value("InnerAngle_RBV"), self.board.value("OuterAngle_RBV"))),
        )

    def pvdb(self, prefix: str) -> dict[str, Any]:
        """Return the channels by full name."""
        return {
            **self.camera.board.pvdb(f"{prefix}HAADF:cam1:"),
            **self.plugin.board.pvdb(f"{prefix}HAADF:HDF1:"),
            **self.board.pvdb(f"{prefix}HAADF:"),
        }

    def take(
        self, electrons: NDArray[np.float32], per_pixel: float, start_s: float, attributes: Mapping[str, float]
    ) -> None:
        """Accept a frame of collected electrons, shape (rows, columns), and what belongs to it; any thread."""
        part = electrons / np.float32(max(per_pixel, 1e-9))
        counts = 65535.0 * (self.board.value("Offset_RBV") + self.board.value("Gain_RBV") * part)
        self.camera.take(np.clip(np.rint(counts), 0.0, 65535.0).astype(np.uint16), start_s, attributes)
