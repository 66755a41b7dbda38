"""Tilt series: tracked and focused at every tilt, and gone on with where they were broken off."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.utils import MsgGenerator
from numpy.typing import NDArray

from exitwave.analysis.errors import FitError
from exitwave.analysis.registration import register
from exitwave.devices import Acquisition
from exitwave.devices.stem import ScanSettings
from exitwave.plans.instrument import ElectronMicroscope
from exitwave.plans.pure.positions import PlanInputError, require_count
from exitwave.plans.pure.stem import predict_shift_nm, tilt_list
from exitwave.plans.stem._beam import make_safe
from exitwave.plans.stem._frames import run_in_beam, settle, start_document
from exitwave.plans.stem._run import run_frames
from exitwave.plans.stem.imaging import focus, scan_once
from exitwave.plans.stubs import record

__all__ = ["TrackingError", "resume", "tilt_series"]


class TrackingError(FitError, RuntimeError):
    """A specimen that was not found again after a tilt."""


@dataclass(frozen=True)
class TiltWork:
    """A tilt series as data.

    Parameters
    ----------
    alphas_deg : tuple of float
        In the order in which they are taken.
    field_nm, rows, columns, num_frames, dwell_us
        Of the frames at every tilt.
    track_field_nm, track_size
        Of the frame by which the specimen is found again; 0 for no tracking.
    focus_span_nm : float
        Of the focus series at every tilt; 0 for none.
    first_step_deg : float
        Steps until it is known how the specimen moves with the tilt.
    """

    alphas_deg: tuple[float, ...]
    field_nm: float
    rows: int
    columns: int
    num_frames: int
    dwell_us: float
    track_field_nm: float
    track_size: int
    focus_span_nm: float
    focus_num: int
    first_step_deg: float
    dose_limit_e_a2: float | None = None

    @property
    def settings(self) -> ScanSettings:
        """Of the frames at a tilt."""
        return ScanSettings(self.field_nm, self.columns, self.rows, self.dwell_us, self.num_frames)

    @property
    def tracking(self) -> ScanSettings:
        """Of the frame for tracking."""
        return ScanSettings(self.track_field_nm, self.track_size, self.track_size, min(self.dwell_us, 5.0))


def tilt_series(
    microscope: ElectronMicroscope,
    alphas_deg: Sequence[float],
    field_nm: float = 10.0,
    size: int | tuple[int, int] = 256,
    *,
    num_frames: int = 4,
    dwell_us: float = 5.0,
    track_field_nm: float | None = None,
    track_size: int = 512,
    focus_span_nm: float = 60.0,
    focus_num: int = 13,
    first_step_deg: float = 0.5,
    dose_limit_e_a2: float | None = None,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[list[str]]:
    """Take dark-field frames and X-ray events at every tilt of a list.

    At each: the stage goes there, the specimen is found again by a frame of a larger field (the beam is shifted to it;
    where it will be is foretold from the tilts before), focus is looked for, and the frames are taken in a run of
    their own, which names the series. Where it is interrupted, `resume` goes on.

    Parameters
    ----------
    microscope : ElectronMicroscope
    alphas_deg : sequence of float
        Tilts in the order in which they are to be taken.
    field_nm, size, num_frames, dwell_us
        Of the frames at every tilt.
    track_field_nm : float, optional
        Field of the frame for tracking: the largest that the scan has without, 0 for no tracking.
    track_size : int
        Its pixels along a side. They should resolve the lattice: one that is sampled too coarsely makes fringes that
        move by themselves.
    focus_span_nm : float
        Range of the focus series at every tilt, 0 for none.
    focus_num : int
        Frames of it.
    first_step_deg : float
        Largest step while it is not yet known how the specimen moves with the tilt.
    dose_limit_e_a2 : float, optional
        Of the whole series, counted over the present field.
    md : mapping, optional

    Returns
    -------
    list of str
        Uids of the runs, one for each tilt.

    Raises
    ------
    PlanInputError, SettingError, StorageSpaceError, BeamError
        Before the beam is unblanked; among them a tilt over the limit of the stage.
    TrackingError
        The specimen was not found again.
    """
    goniometer, scan = microscope.goniometer, microscope.scan
    rows, columns = (size, size) if isinstance(size, int) else size
    low, high = goniometer.alpha.limits
    work = TiltWork(
        tilt_list(alphas_deg, low, high, "alphas_deg"), field_nm, rows, columns,
        require_count("num_frames", num_frames, at_least=1), dwell_us,
        scan.largest_field_nm if track_field_nm is None else track_field_nm, track_size, focus_span_nm, focus_num,
        first_step_deg, dose_limit_e_a2,
    )  # fmt: skip
    _check(microscope, work, len(work.alphas_deg))
    about = {"id": str(uuid.uuid4()), "num": len(work.alphas_deg), "work": asdict(work)}
    return (yield from _take(microscope, work, range(len(work.alphas_deg)), about, [], md, first=True))


def resume(
    microscope: ElectronMicroscope, uid: str | int = -1, *, md: Mapping[str, Any] | None = None
) -> MsgGenerator[list[str]]:
    """Take the tilts that a series lacks.

    First the beam is blanked and stopped what an interruption may have left running. A tilt counts as taken if its
    run ended well; one that was broken off is taken again.

    Parameters
    ----------
    microscope : ElectronMicroscope
    uid : str or int
        Of any run of the series; as for `open_run`.
    md : mapping, optional

    Returns
    -------
    list of str
        Uids of all good runs of the series, in the order of its list of tilts.

    Raises
    ------
    PlanInputError
        The session knows no earlier runs.
    NoSeriesError
        The run is part of no series.
    """
    if microscope.series is None:
        raise PlanInputError("resume: this session does not know earlier runs; open it with open_session")
    progress = microscope.series.progress(uid)
    first = progress.start
    described = dict(first["tilt_series"]["work"])
    work = TiltWork(**{**described, "alphas_deg": tuple(described["alphas_deg"])})
    yield from make_safe(microscope)
    missing = [i for i in range(len(work.alphas_deg)) if i not in progress.taken]
    _check(microscope, work, max(len(missing), 1))
    about = {key: first["tilt_series"][key] for key in ("id", "num", "work")}
    inherited = {key: first[key] for key in ("sample", "proposal", "operator") if key in first}
    new = yield from _take(microscope, work, missing, about, list(progress.places), {**inherited, **(md or {})})
    taken = {**progress.taken, **dict(zip(missing, new, strict=True))}
    return [taken[i] for i in sorted(taken)]


def _check(microscope: ElectronMicroscope, work: TiltWork, num_tilts: int) -> None:
    for settings in (work.settings, *([work.tracking] if work.track_field_nm else [])):
        microscope.scan.check_settings(settings)
    microscope.haadf.check_room(num_tilts * (work.num_frames + work.focus_num + 2), work.settings.shape)


def _take(
    microscope: ElectronMicroscope,
    work: TiltWork,
    indices: Sequence[int],
    about: Mapping[str, Any],
    places: list[tuple[float, float, float]],
    md: Mapping[str, Any] | None,
    *,
    first: bool = False,
) -> MsgGenerator[list[str]]:
    uids: list[str] = []
    finder = _Finder(work, places)
    yield from bps.mv(microscope.scan.shift_x, 0.0, microscope.scan.shift_y, 0.0)
    for index in indices:
        alpha = work.alphas_deg[index]
        series = {**about, "index": index, "alpha_deg": alpha, "first": first and not uids}
        if work.track_field_nm:
            yield from finder.go(microscope, alpha, series)
        else:
            yield from bps.mv(microscope.goniometer.alpha, alpha)
        if work.focus_span_nm:
            try:
                yield from focus(
                    microscope, work.focus_span_nm, work.focus_num, field_nm=work.field_nm, size=128,
                    dwell_us=work.dwell_us, md={"tilt_series_id": about["id"]},
                )  # fmt: skip
            except FitError:
                # Off a zone axis there may be nothing to focus by; the defocus stays what it was.
                yield from bps.null()
        here = []
        for signal in (microscope.scan.shift_x, microscope.scan.shift_y):
            here.append(float((yield from bps.rd(signal, default_value=0.0))))
        uids.append(
            (
                yield from run_frames(
                    microscope,
                    work.settings,
                    plan_name="stem_tilt_series",
                    plan_args={"alpha_deg": alpha, "num_frames": work.num_frames},
                    dose_limit_e_a2=work.dose_limit_e_a2,
                    md={"tilt_series": {**series, "shift_nm": here}, **(md or {})},
                )
            )
        )
    return uids


class _Finder:
    """Goes to a tilt and finds the specimen again."""

    def __init__(self, work: TiltWork, places: list[tuple[float, float, float]]) -> None:
        self._work, self._places = work, places
        self._reference: NDArray[np.float32] | None = None

    def go(self, microscope: ElectronMicroscope, alpha_deg: float, series: Mapping[str, Any]) -> MsgGenerator[None]:
        """Tilt, in steps where the way is not known yet, and shift the beam to the specimen."""
        work, goniometer = self._work, microscope.goniometer
        here = float((yield from bps.rd(goniometer.alpha, default_value=alpha_deg)))
        if self._reference is None:
            yield from self._track(microscope, here, series, predicted=None)
        _, known = predict_shift_nm(self._places, alpha_deg)
        steps = 1 if known else max(1, math.ceil(abs(alpha_deg - here) / work.first_step_deg - 1e-9))
        for step in range(1, steps + 1):
            tilt = here + (alpha_deg - here) * step / steps
            yield from bps.mv(goniometer.alpha, tilt)
            predicted, _ = predict_shift_nm(self._places, tilt)
            yield from self._track(microscope, tilt, series, predicted=predicted)

    def _track(
        self,
        microscope: ElectronMicroscope,
        alpha_deg: float,
        series: Mapping[str, Any],
        *,
        predicted: tuple[float, float] | None,
    ) -> MsgGenerator[None]:
        """Scan a frame of the larger field and compare it with the one before."""
        work, scan, camera = self._work, microscope.scan, microscope.haadf
        settings = work.tracking
        if predicted is not None:
            scan.check_shift(*predicted)
            yield from bps.mv(scan.shift_x, predicted[0], scan.shift_y, predicted[1])

        def body() -> MsgGenerator[None]:
            yield from settle(microscope, settings)
            yield from bps.prepare(camera, Acquisition(settings.frame_s), wait=True)
            image = yield from scan_once(microscope)
            yield from record("primary", microscope.goniometer.alpha, camera)
            x = float((yield from bps.rd(scan.shift_x, default_value=0.0)))
            y = float((yield from bps.rd(scan.shift_y, default_value=0.0)))
            if self._reference is not None:
                try:
                    found = register(self._reference, image, max_shift_px=0.45 * work.track_size)
                except FitError as error:
                    raise TrackingError(
                        f"{camera.name}: the specimen was not found again at {alpha_deg:g} deg: {error}; take smaller "
                        "steps or a larger field, and resume"
                    ) from error
                x, y = x + found.dx * settings.pixel_nm, y + found.dy * settings.pixel_nm
                scan.check_shift(x, y)
                yield from bps.mv(scan.shift_x, x, scan.shift_y, y)
                # From frame to frame: a specimen looks another one after many tilts. What is left of the shift stays
                # in the frame that follows, so the reference is this frame moved to where the beam now goes.
                image = _moved(image, found.dy, found.dx)
            self._reference = image
            self._places.append((alpha_deg, x, y))

        metadata = yield from start_document(
            microscope,
            "stem_track",
            {"alpha_deg": alpha_deg},
            settings,
            technique="scanning transmission electron microscopy",
            detectors=[camera],
            motors=[microscope.goniometer.alpha],
            md={"tilt_series_id": series["id"]},
        )
        yield from run_in_beam(microscope, body, metadata, stage=[camera])


def _moved(image: NDArray[np.float32], dy: float, dx: float) -> NDArray[np.float32]:
    """Return the frame as it would have been with its features back by (dy, dx), edges repeated."""
    rows, columns = image.shape
    y = np.clip(np.arange(rows) + round(dy), 0, rows - 1)
    x = np.clip(np.arange(columns) + round(dx), 0, columns - 1)
    return np.ascontiguousarray(image[np.ix_(y, x)])
