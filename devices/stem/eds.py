"""X-ray detectors: segments that count, and one list of events in a file."""

from __future__ import annotations

import math
import shutil
import time
import uuid
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, DeviceStatus, EpicsSignal, EpicsSignalRO, EpicsSignalWithRBV

from exitwave.devices.errors import StorageSpaceError
from exitwave.devices.signals import put_setting
from exitwave.devices.status import FirstStatus
from exitwave.devices.stem.errors import EventFileError
from exitwave.devices.stem.event_documents import FrameCounters, PhotonList
from exitwave.devices.stem.event_writer import EventCapture, EventWriter
from exitwave.devices.stem.setting import Setting

__all__ = ["EdsDetector", "EdsSegment", "FourSegmentEds", "TwoSegmentEds"]

_EVENT_BYTES = 11
_RESERVE_BYTES = 100_000_000


class EdsSegment(Device):
    """One detector crystal with its electronics."""

    enable = Cpt(EpicsSignalWithRBV, "Enable", kind="config", string=True)
    input_rate = Cpt(EpicsSignalRO, "InputRate_RBV", kind="omitted", auto_monitor=True, doc="1/s")
    output_rate = Cpt(EpicsSignalRO, "OutputRate_RBV", kind="omitted", auto_monitor=True, doc="1/s")
    dead_fraction = Cpt(EpicsSignalRO, "DeadFraction_RBV", kind="omitted", auto_monitor=True, doc="%")
    solid_angle = Cpt(EpicsSignalRO, "SolidAngle_RBV", kind="config", doc="sr")
    take_off = Cpt(EpicsSignalRO, "TakeOff_RBV", kind="config", doc="deg")
    azimuth = Cpt(EpicsSignalRO, "Azimuth_RBV", kind="config", doc="deg")
    area = Cpt(EpicsSignalRO, "Area_RBV", kind="config", doc="mm2")
    resolution = Cpt(EpicsSignalRO, "Resolution_RBV", kind="config", doc="FWHM at Mn Ka, eV")
    shadow = Cpt(EpicsSignalRO, "Shadow_RBV", kind="normal", auto_monitor=True, doc="Of the solid angle, %")


class EdsDetector(FrameCounters, Device):
    """X-ray detectors about the specimen, writing events while the scan runs.

    ``prepare(EventCapture(...))`` opens a file, ``kickoff()`` arms, ``complete()`` is done when all frames are
    written; `collect_asset_docs` refers to the counters of each frame, that of ``photons`` to the events.

    Parameters
    ----------
    folder : str
        Folder for files, as the detector's server sees it.
    resolution_ev : float
        FWHM at Mn Ka: what energy windows are judged with.
    expected_rate_cps : float
        All segments together: what the room for a file is reckoned with.
    own_lines, grid_lines : sequence of str
        Elements of instrument and grid whose lines are in every spectrum.
    """

    num_segments = 0

    acquire = Cpt(EpicsSignalWithRBV, "Acquire", kind="omitted", string=True, doc="Done, Acquire")
    clear_on_acquire = Cpt(EpicsSignalWithRBV, "ClearOnAcquire", kind="omitted", string=True)
    channel_width = Cpt(EpicsSignalRO, "ChannelWidth_RBV", kind="config", doc="eV")
    range = Cpt(EpicsSignalWithRBV, "Range", kind="config", string=True, doc="20 keV, 40 keV")
    num_channels = Cpt(EpicsSignalRO, "NumChannels_RBV", kind="config")
    segment_count = Cpt(EpicsSignalRO, "NumSegments_RBV", kind="config")
    dead_time_model = Cpt(EpicsSignalWithRBV, "DeadTimeModel", kind="config", string=True)
    process_time = Cpt(Setting, "ProcessTime", kind="config", doc="us")
    dead_time = Cpt(EpicsSignalRO, "DeadTime_RBV", kind="config", doc="Per pulse, us")
    resolving_time = Cpt(Setting, "ResolvingTime", kind="config", doc="us")
    input_rate = Cpt(EpicsSignalRO, "InputRate_RBV", kind="omitted", auto_monitor=True, doc="All segments, 1/s")
    output_rate = Cpt(EpicsSignalRO, "OutputRate_RBV", kind="omitted", auto_monitor=True, doc="All segments, 1/s")
    dead_fraction = Cpt(EpicsSignalRO, "DeadFraction_RBV", kind="omitted", auto_monitor=True, doc="Mean, %")
    events = Cpt(EpicsSignalRO, "Events_RBV", kind="omitted", auto_monitor=True, doc="Since cleared")
    spectrum = Cpt(EpicsSignalRO, "Spectrum", kind="omitted", doc="Counts per channel, since cleared")
    energies = Cpt(EpicsSignalRO, "Energies", kind="omitted", doc="Middles of the channels, keV")
    clear_command = Cpt(EpicsSignal, "Clear", kind="omitted")
    hdf = Cpt(EventWriter, "HDF1:", kind="config")
    photons = Cpt(PhotonList, "", kind="omitted")

    def __init__(
        self,
        prefix: str = "",
        *,
        folder: str = "",
        resolution_ev: float = 130.0,
        expected_rate_cps: float = 1e5,
        own_lines: Sequence[str] = (),
        grid_lines: Sequence[str] = ("Cu",),
        **kwargs: Any,
    ):
        super().__init__(prefix, **kwargs)
        self.folder = folder
        self.resolution_ev = resolution_ev
        self.expected_rate_cps = expected_rate_cps
        self.own_lines, self.grid_lines = tuple(own_lines), tuple(grid_lines)
        self._target = 0
        self._forget_file()

    def check_storage(self, capture: EventCapture) -> None:
        """Refuse a folder that can't be written or that has no room for the events expected.

        Raises
        ------
        StorageSpaceError
        """
        if not self.folder:
            raise StorageSpaceError(f"{self.name}: no folder for events; set frames_folder in the profile")
        folder = Path(self.folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(folder).free
        except OSError as error:
            raise StorageSpaceError(
                f"{self.name}: folder {folder} can't be written ({error.strerror}); choose another frames_folder"
            ) from error
        needed = _EVENT_BYTES * self.expected_rate_cps * capture.num_frames * capture.frame_s + _RESERVE_BYTES
        if not math.isfinite(needed) or needed > free:
            raise StorageSpaceError(
                f"{self.name}: {capture.num_frames} frames of {capture.frame_s:.3g} s may need {needed / 1e9:.3g} GB, "
                f"{folder} has {free / 1e9:.3g} GB free; free some space or take fewer frames"
            )

    def stage(self) -> list[object]:
        """Stop whatever runs."""
        staged = super().stage()
        self._stop_hardware()
        self._forget_file()
        return staged

    def unstage(self) -> list[object]:
        """Stop, and close the file."""
        self._stop_hardware()
        return super().unstage()

    def stop(self, *, success: bool = False) -> None:
        """Stop; the file is closed and stays readable."""
        self._stop_hardware()

    def _stop_hardware(self) -> None:
        self.acquire.put("Done", wait=True)
        self._stop_capture()

    def _stop_capture(self) -> None:
        if self.hdf.capturing.get(use_monitor=False):
            self.hdf.capture.put(0)
            self._wait_capture(False)

    def _wait_capture(self, wanted: bool) -> None:
        deadline = time.monotonic() + 10.0
        while bool(self.hdf.capturing.get(use_monitor=False)) != wanted:
            if time.monotonic() > deadline:
                reason = self.hdf.write_message.get() or "no reason was given"
                raise EventFileError(
                    f"{self.name}: file of events did not {'open' if wanted else 'close'} within 10 s: {reason}; "
                    "look at the detector's server"
                )
            time.sleep(0.002)

    def prepare(self, capture: EventCapture) -> DeviceStatus:
        """Open a new file.

        Raises
        ------
        StorageSpaceError
            See `check_storage`.
        EventFileError
            The server could not open its file.
        """
        self.check_storage(capture)
        self._stop_capture()
        hdf = self.hdf
        folder = PurePosixPath(self.folder) / time.strftime("%Y-%m-%d")
        for signal, value in (
            (hdf.enable, "Enable"),
            (hdf.create_directory, -3),
            (hdf.auto_increment, "No"),
            (hdf.file_template, "%s%s_%3.3d.h5"),
            (hdf.file_path, f"{folder}/"),
            (hdf.file_name, f"{self.name}-{time.strftime('%H%M%S')}-{uuid.uuid4().hex[:8]}"),
            (hdf.num_capture, int(capture.num_frames)),
            (self.clear_on_acquire, "Yes"),
        ):
            put_setting(signal, value)
        if not hdf.file_path_exists.get(use_monitor=False):
            raise StorageSpaceError(
                f"{self.name}: the detector's server can't write to {folder}; choose another frames_folder"
            )
        self._forget_file()
        hdf.capture.put(1)
        self._wait_capture(True)
        self._target = capture.num_frames
        status = DeviceStatus(self)
        status.set_finished()
        return status

    def kickoff(self) -> DeviceStatus:
        """Arm: from now on scans make events."""
        put_setting(self.acquire, "Acquire", always=True)
        status = DeviceStatus(self)
        status.set_finished()
        return status

    def complete(self) -> DeviceStatus:
        """Return a status that is done when all frames asked for are written, or the file was closed.

        It fails with `EventFileError` where they could not be written.
        """
        status = FirstStatus(self)
        hdf = self.hdf

        def check(**_: Any) -> None:
            if hdf.write_status.get() == "Write error":
                status.fail(self.write_error(str(hdf.write_message.get())))
            elif int(hdf.num_captured.get()) >= self._target or not hdf.capturing.get():
                status.finish()

        tokens = [(s, s.subscribe(check, run=False)) for s in (hdf.num_captured, hdf.capturing, hdf.write_status)]
        status.add_callback(lambda _: [signal.unsubscribe(token) for signal, token in tokens])
        check()
        return status

    def write_error(self, message: str) -> EventFileError:
        """Return the error that says why there are no more events in the file."""
        return EventFileError(
            f"{self.name}: events can't be written: {message or 'nobody said why'}; see to the disk and scan again"
        )

    def get_index(self) -> int:
        """Complete frames in the current file."""
        return int(self.hdf.num_captured.get(use_monitor=False))


class FourSegmentEds(EdsDetector):
    """Four segments around the specimen."""

    num_segments = 4
    segment_1 = Cpt(EdsSegment, "Seg1:", kind="config")
    segment_2 = Cpt(EdsSegment, "Seg2:", kind="config")
    segment_3 = Cpt(EdsSegment, "Seg3:", kind="config")
    segment_4 = Cpt(EdsSegment, "Seg4:", kind="config")


class TwoSegmentEds(EdsDetector):
    """Two segments that face each other."""

    num_segments = 2
    segment_1 = Cpt(EdsSegment, "Seg1:", kind="config")
    segment_2 = Cpt(EdsSegment, "Seg2:", kind="config")
