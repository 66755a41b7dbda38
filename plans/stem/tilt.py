"""Tilt series: tracked and focused at every tilt, and gone on with where they were broken off."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import MsgGenerator

from exitwave.analysis.errors import FitError
from exitwave.plans.instrument import ElectronMicroscope
from exitwave.plans.pure.positions import PlanInputError, require_count
from exitwave.plans.pure.stem import tilt_list
from exitwave.plans.stem._beam import check_dose, check_planned_dose, make_safe
from exitwave.plans.stem._run import run_frames
from exitwave.plans.stem._tracking import Finder, TiltWork, TrackingError, belongs
from exitwave.plans.stem.imaging import focus

__all__ = ["TrackingError", "resume", "tilt_series"]

log = logging.getLogger(__name__)
_SAME_NM, _SAME_DEG = 0.5, 0.002
"""How far the stage may be from where the series began, and count as there."""


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
    finder = Finder(work, [])
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
    finder = Finder(work, list(progress.places), progress.reference)
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
    finder: Finder,
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
            microscope, work.focus_span_nm, work.focus_num, field_nm=work.field_nm, size=work.focusing.width,
            dwell_us=work.dwell_us, dose_limit_e_a2=work.dose_limit_e_a2, md=belongs(about, md),
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
