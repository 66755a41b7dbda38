"""Frames of a scan in one run: armed detectors, drift, dose, and an end with the beam blanked."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
from bluesky.utils import FailedStatus, MsgGenerator

import exitwave
from exitwave.analysis.errors import FitError
from exitwave.devices import Acquisition, ExitwaveError
from exitwave.devices.stem import EventCapture, ScanSettings
from exitwave.plans.instrument import ElectronMicroscope
from exitwave.plans.pure.stem import DriftTracker, dose_rate_e_a2_s
from exitwave.plans.stem._beam import blank, check_column, unblank
from exitwave.plans.stubs import record

__all__ = ["FrameScan", "check_scan", "finish_frames", "run_in_beam", "settle", "start_document", "take_frames"]

POLL_S = 0.1
_WATCH_S = 0.02
_LAST_FRAMES_S = 30.0


@dataclass
class FrameScan:
    """Frames to take, and how far that has come.

    Parameters
    ----------
    settings : ScanSettings
    eds : bool
        With X-ray events.
    tracker : DriftTracker, optional
        Measures drift; without it none is.
    follow : bool
        Shift the scan along with the drift; it is recorded only, otherwise.
    dose_limit_e_a2 : float, optional
        Ends the scan before it is exceeded.
    precise : callable, optional
        Called with a file of events, a frame and the number of frames; returns the standard error that a column's
        width has by now, pm, and whether that is enough.
    """

    settings: ScanSettings
    eds: bool = True
    tracker: DriftTracker | None = None
    follow: bool = True
    dose_limit_e_a2: float | None = None
    precise: Callable[[str, Any, int], tuple[float, bool]] | None = None
    seen: int = 0
    declared: bool = False
    started: bool = False
    reason: str = "complete"
    precision_pm: float = math.nan
    _dose: tuple[int, float] = field(default=(-1, 0.0))

    def detectors(self, microscope: ElectronMicroscope) -> tuple[Any, ...]:
        """Those that write files."""
        return (microscope.haadf, microscope.eds) if self.eds else (microscope.haadf,)


def check_scan(microscope: ElectronMicroscope, settings: ScanSettings, *, eds: bool) -> None:
    """Refuse what the scan generator can't do, and a disk without room, before anything is set.

    Raises
    ------
    SettingError, StorageSpaceError
    """
    microscope.scan.check_settings(settings)
    microscope.haadf.check_room(settings.num_frames, settings.shape)
    if eds:
        microscope.eds.check_storage(EventCapture(settings.num_frames, settings.frame_s))


def start_document(
    microscope: ElectronMicroscope,
    plan_name: str,
    plan_args: Mapping[str, Any],
    settings: ScanSettings,
    *,
    technique: str,
    detectors: Sequence[Any],
    motors: Sequence[Any] = (),
    num_points: int = 1,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[dict[str, Any]]:
    """Return the metadata of a start document; what the user says in `md` wins."""
    column = microscope.column
    voltage_kv = float((yield from bps.rd(column.high_voltage, default_value=300.0)))
    current_pa = float((yield from bps.rd(column.beam_current, default_value=100.0)))
    return {
        "plan_name": plan_name,
        "plan_args": dict(plan_args),
        "technique": technique,
        "detectors": [d.name for d in detectors],
        "motors": [m.name for m in motors],
        "num_points": num_points,
        "hints": {},
        "beam_kev": voltage_kv,
        "beam_current_pa": current_pa,
        "field_nm": settings.field_nm,
        "shape": list(settings.shape),
        "pixel_size_nm": settings.pixel_nm,
        "dwell_us": settings.dwell_us,
        "frame_s": settings.frame_s,
        "dose_rate_e_a2_s": dose_rate_e_a2_s(current_pa, settings.area_a2),
        "versions": {"exitwave": exitwave.__version__},
        **(md or {}),
    }


def run_in_beam(
    microscope: ElectronMicroscope,
    body: Callable[[], MsgGenerator[Any]],
    metadata: Mapping[str, Any],
    *,
    stage: Sequence[Any],
    cleanup: Callable[[], MsgGenerator[Any]] | None = None,
) -> MsgGenerator[str]:
    """Stage detectors, open a run and do `body`; blank the beam whatever happens, then clean up.

    A pause ends the run: a scan can't be taken up in the middle of a frame, and the beam must not wait on the
    specimen.

    Returns
    -------
    str
        The run's uid.
    """
    yield from blank(microscope)
    yield from check_column(microscope)

    def inside() -> MsgGenerator[None]:
        try:
            yield from bps.clear_checkpoint()
            yield from body()
        except FailedStatus as error:
            # What the device said is the reason of the run's end, not that some status failed.
            if isinstance(error.__cause__, ExitwaveError):
                raise error.__cause__ from error
            raise

    def end() -> MsgGenerator[None]:
        yield from bpp.finalize_wrapper(_dark(microscope), cleanup() if cleanup else bps.null())

    return (
        yield from bpp.stage_wrapper(
            bpp.run_wrapper(bpp.finalize_wrapper(inside(), end), md=dict(metadata)), list(stage)
        )
    )


def _dark(microscope: ElectronMicroscope) -> MsgGenerator[None]:
    yield from blank(microscope)
    yield from bps.stop(microscope.scan)


def settle(microscope: ElectronMicroscope, settings: ScanSettings) -> MsgGenerator[None]:
    """Scan with the beam blanked until rows come: the coils settle, and nothing waits on the specimen after."""
    scan = microscope.scan
    yield from bps.prepare(scan, settings, wait=True)
    yield from bps.kickoff(scan, wait=True)
    yield from bps.complete(scan, group="settled", wait=False)
    while not (yield from bps.wait(group="settled", timeout=0.02, error_on_timeout=False)):
        rows = yield from bps.rd(scan.row, default_value=1)
        if rows or (yield from bps.rd(scan.frame, default_value=1)):
            yield from bps.stop(scan)
            yield from bps.wait(group="settled")
            return


def take_frames(microscope: ElectronMicroscope, work: FrameScan) -> MsgGenerator[None]:
    """Take the frames of a scan into the open run, with the beam on for just as long.

    Streams: ``primary`` (a row for each frame: the image and what came with it, counters of the X-ray detectors),
    ``frames`` (drift, beam shift, dose and precision, for the frames that were looked at while the scan went on).
    `finish_frames` is to follow whatever happens.
    """
    scan, haadf, eds, settings = microscope.scan, microscope.haadf, microscope.eds, work.settings
    yield from settle(microscope, settings)
    if work.dose_limit_e_a2 is not None:
        # The hardware is faster than any plan, and outlives it.
        yield from bps.mv(microscope.dose.hardware_limit, work.dose_limit_e_a2)
    yield from bps.prepare(haadf, Acquisition(settings.frame_s, settings.num_frames, settings.frame_s), wait=True)
    if work.eds:
        yield from bps.prepare(eds, EventCapture(settings.num_frames, settings.frame_s), wait=True)
    if not work.declared:
        yield from bps.declare_stream(*work.detectors(microscope), name="primary", collect=True)
        work.declared = True
    yield from bps.kickoff_all(*work.detectors(microscope), wait=True)
    while not (yield from bps.rd(haadf.cam.acquiring, default_value=1)):
        yield from bps.sleep(0.005)
    work.started = True
    yield from unblank(microscope)
    yield from bps.kickoff(scan, wait=True)
    yield from bps.complete(scan, group="scan", wait=False)
    looked_s = time.monotonic()
    while not (yield from bps.wait(group="scan", timeout=_WATCH_S, error_on_timeout=False)):
        yield from _check_written(microscope, work)
        if time.monotonic() - looked_s < POLL_S:
            continue
        yield from _look(microscope, work)
        looked_s = time.monotonic()
        if work.reason != "complete":
            yield from bps.stop(scan)
    yield from blank(microscope)
    yield from _last_frames(microscope, work)
    yield from _look(microscope, work)


def _check_written(microscope: ElectronMicroscope, work: FrameScan) -> MsgGenerator[None]:
    """See that what is scanned can be written: nothing is exposed for a file that does not take it.

    Raises
    ------
    CameraError, EventFileError
        A detector's server could not write; the beam is blanked.
    """
    for detector in work.detectors(microscope):
        if (yield from bps.rd(detector.hdf.write_status, default_value="Write OK")) != "Write error":
            continue
        yield from blank(microscope)
        work.reason = "write error"
        raise detector.write_error(str((yield from bps.rd(detector.hdf.write_message, default_value=""))))


def _last_frames(microscope: ElectronMicroscope, work: FrameScan) -> MsgGenerator[None]:
    """Wait until the complete frames of the scan are in the files.

    Raises
    ------
    CameraError, EventFileError
        They are not, within half a minute.
    """
    taken = int((yield from bps.rd(microscope.scan.frame, default_value=work.settings.num_frames)))
    deadline = time.monotonic() + _LAST_FRAMES_S
    for detector in work.detectors(microscope):
        while (written := (yield from bps.rd(detector.hdf.num_captured, default_value=taken))) < taken:
            yield from _check_written(microscope, work)
            if time.monotonic() > deadline:
                work.reason = "write error"
                raise detector.write_error(f"{written} of {taken} frames are in the file after {_LAST_FRAMES_S:g} s")
            yield from bps.sleep(0.02)
    # Frames may all be there, and what came after them not.
    yield from _check_written(microscope, work)
    if taken >= work.settings.num_frames:
        for detector in work.detectors(microscope):
            # What could not be written fails here, with the reason.
            yield from bps.complete(detector, group="written", wait=False)
        yield from bps.wait(group="written")


def finish_frames(microscope: ElectronMicroscope, work: FrameScan, *, photons: bool = True) -> MsgGenerator[None]:
    """Close the files, refer to what is in them, and say how the scan ended; after the beam is blanked.

    Streams: ``events`` (the photons, one row), ``summary``.
    """
    if work.dose_limit_e_a2 is not None:
        yield from bps.mv(microscope.dose.hardware_limit, 0.0)
    if not work.started:
        return
    work.started = False
    for detector in work.detectors(microscope):
        yield from bps.stop(detector)
    yield from bps.collect(*work.detectors(microscope), name="primary")
    events = 0
    if work.eds:
        events = int((yield from bps.rd(microscope.eds.hdf.num_events, default_value=0)))
        if events and photons:
            yield from bps.declare_stream(microscope.eds.photons, name="events", collect=True)
            yield from bps.collect(microscope.eds.photons, name="events")
    summary = microscope.scan.summary
    images = int((yield from bps.rd(microscope.haadf.hdf.num_captured, default_value=0)))
    event_frames = int((yield from bps.rd(microscope.eds.hdf.num_captured, default_value=0))) if work.eds else 0
    taken = min(images, event_frames) if work.eds else images
    dose = float((yield from bps.rd(microscope.dose.accumulated, default_value=0.0)))
    limit = work.dose_limit_e_a2
    if work.reason == "complete" and limit is not None and dose >= limit * (1.0 - 1e-9):
        work.reason = "dose limit"
    if work.reason == "complete" and taken < work.settings.num_frames:
        work.reason = "stopped"
    doses = np.asarray((yield from bps.rd(microscope.haadf.frame_doses, default_value=np.empty(0))))
    exposed = taken if limit is None else min(taken, int(np.count_nonzero(doses < limit * (1.0 - 1e-9))))
    yield from bps.mv(
        summary.asked, work.settings.num_frames,
        summary.taken, taken,
        summary.images, images,
        summary.event_frames, event_frames,
        summary.exposed, exposed,
        summary.events, events,
        summary.reason, work.reason,
        summary.dose, dose,
        summary.dose_limit, work.dose_limit_e_a2 or 0.0,
        summary.precision, work.precision_pm,
    )  # fmt: skip
    yield from record("summary", summary)


def _look(microscope: ElectronMicroscope, work: FrameScan) -> MsgGenerator[None]:
    """Emit what was written, look at the newest frame, and see whether the scan is to end."""
    yield from bps.collect(*work.detectors(microscope), name="primary")
    yield from _watch_dose(microscope, work)
    newest = yield from bps.rd(microscope.haadf.newest, default_value=None)
    if newest is None or newest.number < work.seen:
        return
    work.seen = newest.number + 1
    frame_s = work.settings.frame_s
    before, last = work._dose
    if before >= 0:
        rate = (newest.dose_e_a2 - last) / (frame_s * (newest.number - before))
    else:
        # Of the first frames alone nobody knows when they began; the meter shows 0 once the beam is blanked.
        rate = float((yield from bps.rd(microscope.dose.rate, default_value=0.0))) or math.nan
    work._dose = (newest.number, newest.dose_e_a2)
    result = microscope.scan.frame_record
    seen = (math.nan, math.nan, math.nan)
    if work.tracker is not None:
        # A frame without contrast says nothing about drift; the next one may.
        with contextlib.suppress(FitError):
            drift = work.tracker.follow(newest.image, (newest.shift_x_nm, newest.shift_y_nm))
            seen = (drift.x_nm, drift.y_nm, drift.sd_nm)
            if work.follow:
                microscope.scan.check_shift(drift.shift_x_nm, drift.shift_y_nm)
                yield from bps.mv(microscope.scan.shift_x, drift.shift_x_nm, microscope.scan.shift_y, drift.shift_y_nm)
    if work.precise is not None:
        path = str((yield from bps.rd(microscope.eds.hdf.full_file_name, default_value="")))
        work.precision_pm, enough = work.precise(path, newest.image, newest.number + 1)
        if enough and work.reason == "complete":
            work.reason = "precision"
    yield from bps.mv(
        result.frame, newest.number,
        result.shift_x, newest.shift_x_nm,
        result.shift_y, newest.shift_y_nm,
        result.dose, newest.dose_e_a2,
        result.dose_rate, rate,
        result.fwhm_se, work.precision_pm,
        # NaN, too, has to be said: what the run before saw still stands there
        result.drift_x, seen[0],
        result.drift_y, seen[1],
        result.drift_sd, seen[2],
    )  # fmt: skip
    yield from record("frames", result)


def _watch_dose(microscope: ElectronMicroscope, work: FrameScan) -> MsgGenerator[None]:
    """End the scan where less than what the rest of a frame gives is left to the limit."""
    limit = work.dose_limit_e_a2
    if limit is None or work.reason != "complete":
        return
    accumulated = float((yield from bps.rd(microscope.dose.accumulated, default_value=0.0)))
    state = yield from bps.rd(microscope.blanker.state, default_value="Unblanked")
    scanning = (yield from bps.rd(microscope.scan.busy, default_value="Idle")) == "Busy"
    if scanning and (accumulated >= limit * (1.0 - 1e-9) or state == "Blanked"):
        work.reason = "dose limit"
