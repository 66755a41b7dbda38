"""Tilt series: tracked and focused at every tilt, and gone on with where they were broken off."""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
from bluesky.utils import MsgGenerator
from numpy.typing import NDArray

from exitwave.analysis.errors import FitError
from exitwave.analysis.registration import Shift, register
from exitwave.devices import Acquisition
from exitwave.devices.stem import ScanSettings
from exitwave.plans.instrument import ElectronMicroscope, TrackReference
from exitwave.plans.pure.positions import PlanInputError, require_count
from exitwave.plans.pure.stem import Exposure, predict_shift_nm, steps_of, tilt_list, tracking_frames
from exitwave.plans.stem._beam import check_dose, check_planned_dose, make_safe
from exitwave.plans.stem._frames import run_in_beam, settle, start_document
from exitwave.plans.stem._run import run_frames
from exitwave.plans.stem.imaging import focus, scan_once
from exitwave.plans.stubs import record

__all__ = ["TrackingError", "resume", "tilt_series"]

log = logging.getLogger(__name__)
_FOCUS_SIZE = 128
_OUTLINE_PER_PX = 0.1
_LOOK_AGAIN_NM = 2.0
_SAME_NM, _SAME_DEG = 0.5, 0.002
"""How far the stage may be from where the series began, and count as there."""


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

    @property
    def focusing(self) -> ScanSettings:
        """Of the frames through focus."""
        return ScanSettings(self.field_nm, _FOCUS_SIZE, _FOCUS_SIZE, self.dwell_us)

    def exposures(self, alphas_deg: Sequence[float], here_deg: float, *, known: bool) -> list[Exposure]:
        """Return what tilts expose the specimen to, tracking and focus (one range at each) included."""
        num, scan, tracking, focusing = len(alphas_deg), self.settings, self.tracking, self.focusing
        found = [Exposure("frames", num, scan.area_a2, scan.num_frames * scan.frame_s)]
        if self.track_field_nm:
            count = tracking_frames(alphas_deg, here_deg, self.first_step_deg, known=known)
            found.append(Exposure("tracking", count, tracking.area_a2, tracking.frame_s))
        if self.focus_span_nm:
            found.append(Exposure("focus", num * self.focus_num, focusing.area_a2, focusing.frame_s))
        return found


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
        Of the whole series, what tracking and focus give included, as the instrument's meter counts it (each over its
        own field). A series that is planned over it is refused; the instrument's own limit is set to it meanwhile.
    md : mapping, optional

    Returns
    -------
    list of str
        Uids of the runs, one for each tilt.

    Raises
    ------
    PlanInputError, SettingError, StorageSpaceError, BeamError
        Before the beam is unblanked; among them a tilt over the limit of the stage, and a dose over its own.
    DoseLimitError
        The limit is reached in between; the tilts that are whole are kept.
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
    about: dict[str, Any] = {"id": str(uuid.uuid4()), "num": len(work.alphas_deg), "work": asdict(work)}
    about["stage"] = yield from _stage(microscope)
    finder = _Finder(work, [])
    return (yield from _take(microscope, work, range(len(work.alphas_deg)), about, finder, md, first=True))


def resume(
    microscope: ElectronMicroscope, uid: str | int = -1, *, md: Mapping[str, Any] | None = None
) -> MsgGenerator[list[str]]:
    """Take the tilts that a series lacks.

    First the beam is blanked and stopped what an interruption may have left running, and the stage goes back to where
    it was. A tracked series finds its region again by its own last frame of tracking, at the tilt of that frame. A
    tilt counts as taken if its run ended well with all its frames; one that was broken off is taken again.

    Parameters
    ----------
    microscope : ElectronMicroscope
    uid : str or int
        Of any run of the series, those of tracking and focus among them; as for `open_run`.
    md : mapping, optional

    Returns
    -------
    list of str
        Uids of all good runs of the series, in the order of its list of tilts.

    Raises
    ------
    PlanInputError
        The session knows no earlier runs, or what is missing goes over the dose.
    NoSeriesError
        The run is part of no series.
    TrackingError
        The region was not found again.
    """
    if microscope.series is None:
        raise PlanInputError("resume: this session does not know earlier runs; open it with open_session")
    progress = microscope.series.progress(uid)
    first = progress.start
    described = dict(progress.about["work"])
    work = TiltWork(**{**described, "alphas_deg": tuple(described["alphas_deg"])})
    yield from make_safe(microscope)
    missing = [i for i in range(len(work.alphas_deg)) if i not in progress.taken]
    if not missing:
        return [progress.taken[i] for i in sorted(progress.taken)]
    _check(microscope, work, len(missing))
    inherited = {key: first[key] for key in ("sample", "proposal", "operator") if key in first}
    finder = _Finder(work, list(progress.places), progress.reference)
    new = yield from _take(microscope, work, missing, dict(progress.about), finder, {**inherited, **(md or {})})
    taken = {**progress.taken, **dict(zip(missing, new, strict=True))}
    return [taken[i] for i in sorted(taken)]


def _stage(microscope: ElectronMicroscope) -> MsgGenerator[dict[str, float]]:
    """Return where the stage is, but for the tilt that the series is about."""
    place = {}
    for axis in ("x", "y", "z", "beta"):
        place[axis] = float((yield from bps.rd(getattr(microscope.goniometer, axis), default_value=0.0)))
    return place


def _return_stage(microscope: ElectronMicroscope, place: Mapping[str, float]) -> MsgGenerator[None]:
    """Go back to where a series began, if the stage was moved since: not without need, for it has play."""
    now = yield from _stage(microscope)
    for axis, wanted in place.items():
        if abs(now[axis] - wanted) > (_SAME_DEG if axis == "beta" else 1e-3 * _SAME_NM):
            yield from bps.mv(getattr(microscope.goniometer, axis), wanted)


def _check(microscope: ElectronMicroscope, work: TiltWork, num_tilts: int) -> None:
    for settings in (work.settings, *([work.tracking] if work.track_field_nm else [])):
        microscope.scan.check_settings(settings)
    microscope.haadf.check_room(num_tilts * (work.num_frames + work.focus_num + 2), work.settings.shape)


def _take(
    microscope: ElectronMicroscope,
    work: TiltWork,
    indices: Sequence[int],
    about: Mapping[str, Any],
    finder: _Finder,
    md: Mapping[str, Any] | None,
    *,
    first: bool = False,
) -> MsgGenerator[list[str]]:
    uids: list[str] = []
    limit = work.dose_limit_e_a2
    here = float((yield from bps.rd(microscope.goniometer.alpha, default_value=0.0)))
    alphas = [work.alphas_deg[index] for index in indices]
    yield from check_planned_dose(microscope, work.exposures(alphas, here, known=finder.knows_the_way), limit)

    def one(index: int) -> MsgGenerator[None]:
        alpha = work.alphas_deg[index]
        series: dict[str, Any] = {**about, "index": index, "alpha_deg": alpha, "first": first and not uids}
        before = float((yield from bps.rd(microscope.dose.accumulated, default_value=0.0)))
        if work.track_field_nm:
            yield from finder.go(microscope, alpha, about, md)
        else:
            yield from bps.mv(microscope.goniometer.alpha, alpha)
        if work.focus_span_nm:
            series["focus"] = yield from _focus(microscope, work, alpha, about, md)
        here = []
        for signal in (microscope.scan.shift_x, microscope.scan.shift_y):
            here.append(float((yield from bps.rd(signal, default_value=0.0))))
        after = float((yield from bps.rd(microscope.dose.accumulated, default_value=0.0)))
        # what it cost to get there, over the fields of tracking and focus
        series |= {"shift_nm": here, "approach_dose_e_a2": after - before}
        uids.append(
            (
                yield from run_frames(
                    microscope,
                    work.settings,
                    plan_name="stem_tilt_series",
                    plan_args={"alpha_deg": alpha, "num_frames": work.num_frames},
                    dose_limit_e_a2=limit,
                    md={"tilt_series": series, **(md or {})},
                )
            )
        )
        if (yield from bps.rd(microscope.scan.summary.taken, default_value=work.num_frames)) < work.num_frames:
            yield from check_dose(microscope, limit)

    def every() -> MsgGenerator[None]:
        if first:
            yield from bps.mv(microscope.scan.shift_x, 0.0, microscope.scan.shift_y, 0.0)
        else:
            yield from _return_stage(microscope, about.get("stage", {}))
            yield from finder.find_again(microscope, about, md)
        for index in indices:
            yield from one(index)

    def unlimited() -> MsgGenerator[None]:
        if limit is not None:
            yield from bps.mv(microscope.dose.hardware_limit, 0.0)

    yield from bpp.finalize_wrapper(every(), unlimited)
    return uids


def _belongs(about: Mapping[str, Any], md: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a run of tracking or focus says of the series that it serves."""
    return {"tilt_series_id": about["id"], "tilt_series_about": dict(about), **(md or {})}


def _focus(
    microscope: ElectronMicroscope,
    work: TiltWork,
    alpha_deg: float,
    about: Mapping[str, Any],
    md: Mapping[str, Any] | None,
) -> MsgGenerator[dict[str, Any]]:
    """Look for focus at a tilt; return what came of it, for the tilt's document."""
    column = microscope.column
    try:
        uid = yield from focus(
            microscope, work.focus_span_nm, work.focus_num, field_nm=work.field_nm, size=_FOCUS_SIZE,
            dwell_us=work.dwell_us, dose_limit_e_a2=work.dose_limit_e_a2, md=_belongs(about, md),
        )  # fmt: skip
    except FitError as error:
        # Off a zone axis there may be nothing to focus by; the defocus stays what it was, and the series says so.
        defocus = float((yield from bps.rd(column.defocus, default_value=0.0)))
        log.warning(
            "%s: no focus was found at %g deg (%s); the frames are taken at %.4g nm", column.name, alpha_deg, error,
            defocus,
        )  # fmt: skip
        return {"found": False, "defocus_nm": defocus, "reason": str(error)}
    found = float((yield from bps.rd(column.focus_result.defocus, default_value=0.0)))
    sd = float((yield from bps.rd(column.focus_result.defocus_sd, default_value=0.0)))
    return {"found": True, "defocus_nm": found, "defocus_sd_nm": sd, "uid": uid}


class _Finder:
    """Goes to a tilt and finds the specimen again."""

    def __init__(
        self, work: TiltWork, places: list[tuple[float, float, float]], earlier: TrackReference | None = None
    ) -> None:
        self._work, self._places, self._earlier = work, places, earlier
        self._reference: NDArray[np.float32] | None = None

    @property
    def knows_the_way(self) -> bool:
        """Whether it can be foretold where the specimen goes with the tilt."""
        return predict_shift_nm(self._places, 0.0)[1]

    def find_again(
        self, microscope: ElectronMicroscope, about: Mapping[str, Any], md: Mapping[str, Any] | None
    ) -> MsgGenerator[None]:
        """Go where an earlier run was last, and see by its own frame what has drifted since."""
        if not self._work.track_field_nm:
            yield from bps.mv(microscope.scan.shift_x, 0.0, microscope.scan.shift_y, 0.0)
            return
        earlier = self._earlier
        if earlier is None:
            self._places.clear()
            yield from bps.mv(microscope.scan.shift_x, 0.0, microscope.scan.shift_y, 0.0)
            return
        self._reference = _moved(np.asarray(earlier.image, np.float32), earlier.dy_px, earlier.dx_px)
        yield from bps.mv(microscope.goniometer.alpha, earlier.alpha_deg)
        yield from self._track(
            microscope, earlier.alpha_deg, about, md, predicted=(earlier.x_nm, earlier.y_nm)
        )  # fmt: skip
        # What drifted meanwhile has nothing to do with the tilt: the way of before is moved along.
        _, x, y = self._places.pop()
        off_x, off_y = x - earlier.x_nm, y - earlier.y_nm
        self._places[:] = [(alpha, px + off_x, py + off_y) for alpha, px, py in self._places]
        self._places.append((earlier.alpha_deg, x, y))

    def go(
        self,
        microscope: ElectronMicroscope,
        alpha_deg: float,
        about: Mapping[str, Any],
        md: Mapping[str, Any] | None,
    ) -> MsgGenerator[None]:
        """Tilt, in steps where the way is not known yet, and shift the beam to the specimen."""
        work, goniometer = self._work, microscope.goniometer
        here = float((yield from bps.rd(goniometer.alpha, default_value=alpha_deg)))
        if self._reference is None:
            yield from self._track(microscope, here, about, md, predicted=None)
        _, known = predict_shift_nm(self._places, alpha_deg)
        steps = 1 if known else steps_of(abs(alpha_deg - here), work.first_step_deg)
        for step in range(1, steps + 1):
            tilt = here + (alpha_deg - here) * step / steps
            yield from bps.mv(goniometer.alpha, tilt)
            predicted, _ = predict_shift_nm(self._places, tilt)
            before = self._reference
            yield from self._track(microscope, tilt, about, md, predicted=predicted)
            if math.dist(predicted, self._places[-1][1:]) > _LOOK_AGAIN_NM:
                # Scales and angles of scan and shift differ by a per cent or two: what was far off is looked at again.
                self._reference = before
                _, x, y = self._places.pop()
                yield from self._track(microscope, tilt, about, md, predicted=(x, y))

    def _track(
        self,
        microscope: ElectronMicroscope,
        alpha_deg: float,
        about: Mapping[str, Any],
        md: Mapping[str, Any] | None,
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
            if work.dose_limit_e_a2 is not None:
                yield from bps.mv(microscope.dose.hardware_limit, work.dose_limit_e_a2)
            yield from bps.prepare(camera, Acquisition(settings.frame_s), wait=True)
            image = yield from scan_once(microscope, work.dose_limit_e_a2)
            yield from record("primary", microscope.goniometer.alpha, camera)
            x = float((yield from bps.rd(scan.shift_x, default_value=0.0)))
            y = float((yield from bps.rd(scan.shift_y, default_value=0.0)))
            dy = dx = 0.0
            if self._reference is not None:
                try:
                    found = _found(self._reference, image, 0.45 * work.track_size)
                except FitError as error:
                    raise TrackingError(
                        f"{camera.name}: the specimen was not found again at {alpha_deg:g} deg: {error}; take smaller "
                        "steps or a larger field, and resume"
                    ) from error
                dy, dx = found.dy, found.dx
                x, y = x + dx * settings.pixel_nm, y + dy * settings.pixel_nm
                scan.check_shift(x, y)
                yield from bps.mv(scan.shift_x, x, scan.shift_y, y)
                # From frame to frame: a specimen looks another one after many tilts. What is left of the shift stays
                # in the frame that follows, so the reference is this frame moved to where the beam now goes.
                image = _moved(image, dy, dx)
            place = scan.track_record
            yield from bps.mv(place.alpha, alpha_deg, place.x, x, place.y, y, place.dx, dx, place.dy, dy)
            yield from record("track", place)
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
            md=_belongs(about, md),
        )
        yield from run_in_beam(microscope, body, metadata, stage=[camera])


def _found(reference: NDArray[np.float32], image: NDArray[np.float32], reach_px: float) -> Shift:
    """Register by what is larger than ten pixels; by finer things where there is nothing else.

    A lattice comes and goes with tilt and focus, edges and thickness stay: for steps of two degrees the correlation of
    a particle's frames is 0.6 by its outline, and 0.2 with the lattice.
    """
    try:
        return register(reference, image, max_shift_px=reach_px, highest_frequency=_OUTLINE_PER_PX)
    except FitError:
        return register(reference, image, max_shift_px=reach_px)


def _moved(image: NDArray[np.float32], dy: float, dx: float) -> NDArray[np.float32]:
    """Return the frame as it would have been with its features back by (dy, dx), edges repeated."""
    rows, columns = image.shape
    y = np.clip(np.arange(rows) + round(dy), 0, rows - 1)
    x = np.clip(np.arange(columns) + round(dx), 0, columns - 1)
    return np.ascontiguousarray(image[np.ix_(y, x)])
