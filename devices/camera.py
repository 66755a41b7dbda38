"""A camera with areaDetector's driver and HDF5 file plugin, that never moves a pixel through documents.

Frames go from the detector's server to an HDF5 file; documents carry references to them (stream resources).
One class serves bursts (``kickoff``, ``complete``, ``collect``) and points (``trigger``, ``read``).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, DeviceStatus

from exitwave.devices.area_detector import Acquisition, CameraDriver, HDF5Writer
from exitwave.devices.camera_checks import CameraChecks
from exitwave.devices.errors import CameraError, StorageSpaceError
from exitwave.devices.exposures import ArmedStatus, ExposureStatus, WrittenStatus
from exitwave.devices.frame_audit import FrameAudit, RunAudit
from exitwave.devices.frame_documents import FrameDocuments
from exitwave.devices.frames import FrameColumn, LatestFrame
from exitwave.devices.signals import put_setting
from exitwave.devices.status import FirstStatus

__all__ = ["Camera"]


class Camera(CameraChecks, FrameDocuments, Device):
    """A camera that writes its frames to HDF5 beside the documents.

    Documents: data key ``<name>`` for the frames, shape (y, x), and one more for each attribute that the server
    writes with every frame (frame number, timestamp, positions at mid-exposure), all external to the events.

    Parameters
    ----------
    folder : str
        Folder for frames, as the detector's server sees it.
    pixel_um : float
        Pixel of the sensor.
    readout_s : float
        Shortest time between the starts of two frames.
    attributes : mapping of name to attribute
        Which attributes of the server's file become data keys: ``{"theta": "SAM_Theta"}`` gives ``<name>_theta``.
    """

    cam = Cpt(CameraDriver, "cam1:", kind="config")
    hdf = Cpt(HDF5Writer, "HDF1:", kind="config")
    audit = Cpt(FrameAudit, "", kind="omitted")
    run_audit = Cpt(RunAudit, "", kind="omitted")
    latest_frame = Cpt(LatestFrame, kind="omitted", doc="Newest frame in the file that is being written")
    frame_numbers = Cpt(
        FrameColumn, key="number", attribute="NDArrayUniqueId", kind="omitted", doc="Numbers of the frames in the file"
    )
    frame_angles = Cpt(FrameColumn, key="theta", kind="omitted", doc="Rotation at each frame's mid-exposure, deg")

    def __init__(
        self,
        prefix: str = "",
        *,
        folder: str = "",
        pixel_um: float = 6.5,
        readout_s: float = 0.01,
        attributes: Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(prefix, **kwargs)
        self.folder = folder
        self.pixel_um = pixel_um
        self.readout_s = readout_s
        self.attributes = dict(attributes or {})
        self.acquisition: Acquisition | None = None
        self._forget_file()
        self._dropped_before = 0
        self._acquired_before = 0
        self.frames_asked = 0

    def set_region(self, x: int = 0, y: int = 0, width: int | None = None, height: int | None = None) -> None:
        """Set the region of interest, in sensor pixels; without arguments the whole sensor."""
        width = int(self.cam.max_size_x.get()) - x if width is None else width
        height = int(self.cam.max_size_y.get()) - y if height is None else height
        self.check_region(x, y, width, height)
        # To zero first: a server clips a size that does not fit behind the old corner.
        for signal, value in (
            (self.cam.min_x, 0),
            (self.cam.min_y, 0),
            (self.cam.size_x, width),
            (self.cam.size_y, height),
            (self.cam.min_x, x),
            (self.cam.min_y, y),
        ):
            put_setting(signal, value)

    # -- preparation ------------------------------------------------------------------------------------------

    def stage(self) -> list[object]:
        """Stop whatever runs and bring driver and file plugin into a known state."""
        staged = super().stage()
        self._stop_hardware()
        for signal, value in (
            (self.cam.array_callbacks, "Enable"),
            (self.hdf.enable, "Enable"),
            (self.hdf.create_directory, -3),
            (self.hdf.auto_increment, "No"),
            (self.hdf.file_write_mode, "Stream"),
            (self.hdf.lazy_open, "Yes"),
            (self.hdf.swmr_mode, "On"),
            (self.hdf.file_template, "%s%s_%3.3d.h5"),
        ):
            put_setting(signal, value)
        self.acquisition = None
        self._reset_file()
        return staged

    def unstage(self) -> list[object]:
        """Stop, and close the file."""
        self._stop_hardware()
        self.latest_frame.close()
        self.acquisition = None
        return super().unstage()

    def stop(self, *, success: bool = False) -> None:
        """Stop exposing; the file is closed and stays readable."""
        self._stop_hardware()
        super().stop(success=success)

    def _stop_hardware(self) -> None:
        self.cam.acquire.put(0)
        self._stop_capture()

    def _stop_capture(self) -> None:
        if self.hdf.capturing.get():
            self.hdf.capture.put(0)
            _wait_until(lambda: not self.hdf.capturing.get(), 10, f"{self.name}: file plugin did not stop")

    def prepare(self, acquisition: Acquisition) -> DeviceStatus:
        """Set the camera up and open a new file.

        Raises
        ------
        SettingError, StorageSpaceError
            See the checks.
        CameraError
            The server could not open its file.
        """
        self.check_acquisition(acquisition)
        self.check_storage(max(acquisition.num_frames, 1))
        status = DeviceStatus(self)
        self._stop_capture()
        per_point = acquisition.num_frames == 0
        # Where pulses set the pace, a camera that insists on the period would lose one that comes a moment early.
        paced = acquisition.trigger == "internal" and acquisition.period_s is not None
        period_s = (acquisition.period_s or 0.0) if paced else acquisition.exposure_s
        image_mode = "Continuous" if acquisition.trigger == "software" else "Single" if per_point else "Multiple"
        for signal, value in (
            (self.cam.acquire_time, acquisition.exposure_s),
            (self.cam.acquire_period, max(period_s, self.readout_s)),
            (self.cam.image_mode, image_mode),
            (self.cam.num_images, 1 if per_point else acquisition.num_frames),
            (self.cam.trigger_mode, acquisition.trigger.capitalize()),
        ):
            put_setting(signal, value)
        folder = PurePosixPath(self.folder) / time.strftime("%Y-%m-%d")
        put_setting(self.hdf.file_path, f"{folder}/")
        self.hdf.file_name.put(f"{self.name}-{time.strftime('%H%M%S')}-{uuid.uuid4().hex[:8]}")
        put_setting(self.hdf.num_capture, acquisition.num_frames)
        if not self.hdf.file_path_exists.get():
            raise StorageSpaceError(
                f"{self.name}: the detector's server can't write to {folder}; choose another frames_folder"
            )
        self._reset_file()
        self._dropped_before = int(self.hdf.dropped.get())
        self._acquired_before = int(self.cam.array_counter.get())
        self.frames_asked = 0
        self.hdf.capture.put(1)
        _wait_until(lambda: bool(self.hdf.capturing.get()), 10, f"{self.name}: file plugin did not start")
        self.acquisition = acquisition
        status.set_finished()
        return status

    def _reset_file(self) -> None:
        self._forget_file()
        self.latest_frame.close()

    # -- documents --------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Describe points; frames are external."""
        return {**super().describe(), **self.data_keys()}

    # -- points -----------------------------------------------------------------------------------------------

    def trigger(self) -> DeviceStatus:
        """Take one frame.

        Done when it is in the file; of a camera that is armed for commands (``trigger="software"``, `kickoff`),
        done when its exposure has ended: readout and writing go on while the sample moves.

        Raises
        ------
        CameraError
            Nothing is prepared, or the file plugin has given up meanwhile.
        """
        if self.acquisition is not None and self.acquisition.trigger == "software":
            return self._command()
        if self.acquisition is None or self.acquisition.num_frames:
            raise CameraError(f"{self.name}: prepare(Acquisition(exposure_s)) comes before a trigger")
        return self._acquire(1, self.acquisition.exposure_s)

    def _command(self) -> DeviceStatus:
        if not self.hdf.capturing.get():
            raise CameraError(
                f"{self.name}: the file plugin has stopped: {self.hdf.write_message.get() or 'nobody said why'}; "
                "see to the disk and take the run again"
            )
        if self.acquisition is None or not self.cam.acquiring.get():
            raise CameraError(f"{self.name}: is not armed; kickoff comes before a trigger")
        self.frames_asked += 1
        status = ExposureStatus(
            self,
            self.cam.detector_state,
            self.cam.array_counter,
            self.frames_before + self.frames_asked,
            self.acquisition.exposure_s,
        )
        self.cam.software_trigger.put(1)
        return status

    def _acquire(self, num_frames: int, exposure_s: float) -> DeviceStatus:
        """Start the driver; the status is done when all frames are written or known to be lost."""
        self.frames_asked += num_frames
        limit_s = 30 + 2 * num_frames * max(exposure_s, self.readout_s)
        status = WrittenStatus(self, self.frames_asked, limit_s)
        self.cam.acquire.set(1).add_callback(lambda _: status.acquired(self.num_acquired()))
        return status

    # -- bursts -----------------------------------------------------------------------------------------------

    def kickoff(self) -> DeviceStatus:
        """Start the burst that was prepared; done at once."""
        a = self.acquisition
        if a is not None and a.trigger == "software":
            return self._arm()
        if a is None or not a.num_frames:
            raise CameraError(f"{self.name}: prepare(Acquisition(exposure_s, num_frames)) comes before a kickoff")
        self._burst = self._acquire(a.num_frames, max(a.exposure_s, a.period_s or 0.0))
        if a.trigger == "external":
            # The first pulse must not come before the camera waits for it.
            return ArmedStatus(self, self.cam.acquiring)
        status = DeviceStatus(self)
        status.set_finished()
        return status

    def _arm(self) -> DeviceStatus:
        self.cam.acquire.put(1)
        return ArmedStatus(self, self.cam.acquiring)

    def complete(self) -> DeviceStatus:
        """Return the status of the burst: done when its last frame is written.

        Of a camera armed for commands: done when every frame that was commanded so far is written or lost.
        """
        if self.acquisition is not None and self.acquisition.trigger == "software":
            return self._settle()
        return self._burst

    def _settle(self) -> DeviceStatus:
        status = FirstStatus(self, timeout=30.0)

        def check(**_: Any) -> None:
            if int(self.hdf.num_captured.get()) + self.num_dropped() >= self.frames_asked:
                status.finish()
            elif not self.hdf.capturing.get():
                status.fail(CameraError(f"{self.name}: frames can't be written: {self.hdf.write_message.get()}"))

        tokens = [(s, s.subscribe(check, run=False)) for s in (self.hdf.num_captured, self.hdf.capturing)]
        status.add_callback(lambda _: [signal.unsubscribe(token) for signal, token in tokens])
        check()
        return status

    @property
    def frames_emitted(self) -> int:
        """Frames of the current file that documents refer to."""
        return self._emitted

    @property
    def frames_before(self) -> int:
        """Number of the last frame before the current file: frame k of a burst, from 0, has this plus k plus 1."""
        return self._acquired_before

    def get_index(self) -> int:
        """Frames written to the current file."""
        return int(self.hdf.num_captured.get())

    def num_acquired(self) -> int:
        """Frames that the driver delivered since the file was opened."""
        return int(self.cam.array_counter.get(use_monitor=False)) - self._acquired_before

    def num_dropped(self) -> int:
        """Frames of the current file that the server lost between driver and file."""
        return int(self.hdf.dropped.get(use_monitor=False)) - self._dropped_before


def _wait_until(condition: Any, timeout_s: float, message: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise CameraError(f"{message} within {timeout_s:g} s")
        time.sleep(0.002)
