"""Several tomograms, each a run of its own that can be reconstructed, and resumed, by itself."""

from __future__ import annotations

import inspect
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import MsgGenerator

from exitwave.plans.ct.fly import fly_tomography
from exitwave.plans.ct.step import step_tomography
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import PlanInputError, require_count, require_finite
from exitwave.plans.runs import check_arguments, check_only
from exitwave.plans.stubs import beam_off, beam_on

__all__ = ["SamplePlace", "mosaic_tomography", "sample_list", "time_series"]

Mode = Literal["fly", "step"]


@dataclass(frozen=True)
class SamplePlace:
    """A sample on the stage.

    Parameters
    ----------
    name : str
    x_um, y_um, z_um : float
        Where the stage has it in the field of view.
    """

    name: str
    x_um: float
    y_um: float
    z_um: float = 0.0


@dataclass(frozen=True)
class _Request:
    """One tomogram of several."""

    plan: Callable[..., MsgGenerator[str]]
    range_deg: tuple[float, float]
    num_projections: int
    scan: Mapping[str, Any]
    about: Mapping[str, Any]

    def take(self, instrument: Instrument, **about: Any) -> MsgGenerator[str]:
        """Take it."""
        return (
            yield from self.plan(
                instrument, *self.range_deg, self.num_projections, md={**self.about, **about}, **self.scan
            )
        )

    @property
    def num_frames(self) -> int:
        """Most frames that it has."""
        taken = {name: p.default for name, p in inspect.signature(self.plan).parameters.items()} | dict(self.scan)
        between = self.num_projections // taken["flats_every"] if taken["flats_every"] else 0
        return int(self.num_projections + taken["num_darks"] + taken["num_flats"] * (2 + between))


def _requests(
    mode: Mode,
    scan: Mapping[str, Any],
    ranges_deg: Sequence[tuple[float, float]],
    num_projections: int,
    changes: Sequence[Mapping[str, Any]],
    abouts: Sequence[Mapping[str, Any]],
) -> list[_Request]:
    """Lay out several tomograms, each with an output of its own.

    Raises
    ------
    PlanInputError
        A mode or a keyword that no plan has.
    """
    if mode not in ("fly", "step"):
        raise PlanInputError(f"mode: {mode!r} is not one of fly, step")
    plan = fly_tomography if mode == "fly" else step_tomography
    check_arguments(plan, scan, own=("instrument", "md"))
    requests = []
    for i, (ends, change, about) in enumerate(zip(ranges_deg, changes, abouts, strict=True)):
        arguments = {**scan, **change}
        if arguments.get("output") is not None and len(abouts) > 1:
            path = Path(arguments["output"])
            arguments["output"] = path.with_name(f"{path.stem}-{i + 1:03d}{path.suffix}")
        requests.append(_Request(plan, ends, num_projections, arguments, about))
    return requests


def _check_all(instrument: Instrument, requests: Sequence[_Request]) -> MsgGenerator[None]:
    """Refuse what one of the tomograms, or all of them together, can't be.

    Raises
    ------
    PlanInputError, SettingError, StorageSpaceError, MotionLimitError
        Before anything moves.
    """
    for request in requests:
        yield from check_only(request.take(instrument))
    instrument.microscope.camera.check_storage(sum(request.num_frames for request in requests))


def time_series(
    instrument: Instrument,
    num_repeats: int,
    start_deg: float = 0.0,
    stop_deg: float = 180.0,
    num_projections: int = 180,
    *,
    mode: Mode = "fly",
    snake: bool = True,
    interval_s: float = 0.0,
    flats_each: bool = False,
    md: Mapping[str, Any] | None = None,
    **scan: Any,
) -> MsgGenerator[list[str]]:
    """Take the same tomogram again and again.

    Parameters
    ----------
    instrument : Instrument
    num_repeats : int
    start_deg, stop_deg, num_projections, **scan
        As for `fly_tomography` or `step_tomography`.
    mode : {"fly", "step"}
    snake : bool
        Every other one backwards, so that no time goes into turning back.
    interval_s : float
        From the start of one to the start of the next; as soon as possible if that is longer.
    flats_each : bool
        Darks and flats with each; otherwise the first has them before, the last after, and the others refer to the
        first (``references_from``).

    Returns
    -------
    list of str
        Uids of the runs; each names the series, its place in it, and the number of all. Of an ``output`` scan.nxs
        there come scan-001.nxs and so on.

    Raises
    ------
    PlanInputError, SettingError, StorageSpaceError, MotionLimitError
        Before anything moves.
    """
    require_count("num_repeats", num_repeats, at_least=1)
    require_count("num_projections", num_projections, at_least=1)
    require_finite("interval_s", interval_s, "s")
    series = str(uuid.uuid4())
    ranges, changes, abouts = [], [], []
    for i in range(num_repeats):
        back = snake and i % 2 == 1
        # backwards: the same angles from the other end
        step = (stop_deg - start_deg) / num_projections
        turned = back and mode != "fly"
        ranges.append((stop_deg - step, start_deg - step) if turned else (start_deg, stop_deg))
        change: dict[str, Any] = {}
        if mode == "fly" and snake:
            change["direction"] = "backward" if back == (stop_deg > start_deg) else "forward"
        if not flats_each:
            change["flats"] = "before" if i == 0 else "after" if i == num_repeats - 1 else "none"
            if i:
                change["num_darks"] = 0
        changes.append(change)
        abouts.append({"series": {"uid": series, "index": i, "num": num_repeats}, **(md or {})})
    if not flats_each and "flats" in scan:
        raise PlanInputError(
            "flats: a series that shares its references has them before and after; say flats_each=True to choose"
        )
    requests = _requests(mode, scan, ranges, num_projections, changes, abouts)
    yield from _check_all(instrument, requests)

    def repeats() -> MsgGenerator[list[str]]:
        uids: list[str] = []
        yield from beam_on(instrument)
        begin = time.monotonic()
        for i, request in enumerate(requests):
            left_s = begin + i * interval_s - time.monotonic()
            if left_s > 0:
                yield from bps.sleep(left_s)
            shared = {"references_from": uids[0]} if i and not flats_each else {}
            uids.append((yield from request.take(instrument, **shared)))
        return uids

    def end() -> MsgGenerator[None]:
        yield from beam_off(instrument)

    return (yield from bpp.finalize_wrapper(repeats(), end))


def mosaic_tomography(
    instrument: Instrument,
    columns: int = 2,
    rows: int = 1,
    start_deg: float = 0.0,
    stop_deg: float = 180.0,
    num_projections: int = 180,
    *,
    overlap: float = 0.1,
    mode: Mode = "fly",
    md: Mapping[str, Any] | None = None,
    **scan: Any,
) -> MsgGenerator[list[str]]:
    """Take a sample that is larger than the field of view in tiles, centred on where the sample is.

    The stage under the rotation carries axis and sample together, so a tile's projections are those of the whole,
    displaced by the same distance at every angle: side by side they are the projections of the whole.

    Parameters
    ----------
    columns, rows : int
        Tiles along x and y.
    overlap : float
        Part of a tile that the next one shows again, 0 to 0.9.

    Returns
    -------
    list of str
        Uids, row by row. Each start document has ``mosaic``: uid, column, row, and the tile's place on the whole
        picture in pixels (``x_px``, ``y_px``).

    Raises
    ------
    MotionLimitError, PlanInputError
        Before anything moves.
    """
    columns, rows = require_count("columns", columns, at_least=1), require_count("rows", rows, at_least=1)
    if not 0.0 <= overlap <= 0.9:
        raise PlanInputError(f"overlap: {overlap:g} is outside [0, 0.9]; 0.1 is a tenth of a tile")
    microscope = instrument.microscope
    sample, camera = microscope.sample, microscope.camera
    pixel_um = 1e-3 * float((yield from bps.rd(microscope.pixel_size, default_value=30.0)))
    height, width = camera.frame_shape
    step_x, step_y = round(width * (1 - overlap)), round(height * (1 - overlap))
    x0 = float((yield from bps.rd(sample.x.user_setpoint, default_value=0.0)))
    y0 = float((yield from bps.rd(sample.y.user_setpoint, default_value=0.0)))
    tiles = []
    for row in range(rows):
        for column in range(columns):
            # To see what is to the right and above, the sample goes to the left and down.
            x_um = x0 - (column - (columns - 1) / 2) * step_x * pixel_um
            y_um = y0 + (row - (rows - 1) / 2) * step_y * pixel_um
            sample.x.check_value(x_um)
            sample.y.check_value(y_um)
            tiles.append((row, column, x_um, y_um))
    whole = {"uid": str(uuid.uuid4()), "columns": columns, "rows": rows, "pixel_um": pixel_um}
    abouts = [
        {
            "mosaic": {**whole, "column": column, "row": row, "x_px": column * step_x, "y_px": row * step_y},
            **(md or {}),
        }
        for row, column, _, _ in tiles
    ]
    num = len(tiles)
    requests = _requests(mode, scan, [(start_deg, stop_deg)] * num, num_projections, [{}] * num, abouts)
    yield from _check_all(instrument, requests)

    def take() -> MsgGenerator[list[str]]:
        uids = []
        yield from beam_on(instrument)
        for (_, _, x_um, y_um), request in zip(tiles, requests, strict=True):
            yield from bps.mv(sample.x, x_um, sample.y, y_um)
            uids.append((yield from request.take(instrument)))
        return uids

    def end() -> MsgGenerator[None]:
        yield from beam_off(instrument)
        yield from bps.mv(sample.x, x0, sample.y, y0)

    return (yield from bpp.finalize_wrapper(take(), end))


def sample_list(
    instrument: Instrument,
    samples: Sequence[SamplePlace | Mapping[str, Any]],
    start_deg: float = 0.0,
    stop_deg: float = 180.0,
    num_projections: int = 180,
    *,
    mode: Mode = "fly",
    md: Mapping[str, Any] | None = None,
    **scan: Any,
) -> MsgGenerator[list[str]]:
    """Take a tomogram of each of several samples; afterwards the stage goes back to where it was.

    Returns
    -------
    list of str
        Uids, one a sample; each start document has its name under ``sample``.

    Raises
    ------
    MotionLimitError, PlanInputError
        Before anything moves.
    """
    places = [_place(place) for place in samples]
    if not places:
        raise PlanInputError("samples: none are given; give SamplePlace(name, x_um, y_um)")
    stage = instrument.microscope.sample
    for place in places:
        for axis, value in ((stage.x, place.x_um), (stage.y, place.y_um), (stage.z, place.z_um)):
            axis.check_value(value)
    abouts = [{**(md or {}), "sample": place.name} for place in places]
    num = len(places)
    requests = _requests(mode, scan, [(start_deg, stop_deg)] * num, num_projections, [{}] * num, abouts)
    yield from _check_all(instrument, requests)
    before = []
    for axis in (stage.x, stage.y, stage.z):
        before += [axis, float((yield from bps.rd(axis.user_setpoint, default_value=0.0)))]

    def take() -> MsgGenerator[list[str]]:
        uids = []
        for place, request in zip(places, requests, strict=True):
            yield from bps.mv(stage.x, place.x_um, stage.y, place.y_um, stage.z, place.z_um)
            uids.append((yield from request.take(instrument)))
        return uids

    def back() -> MsgGenerator[None]:
        yield from bps.mv(*before)

    return (yield from bpp.finalize_wrapper(take(), back))


def _place(place: SamplePlace | Mapping[str, Any]) -> SamplePlace:
    """Return a place, of whatever kind it was given as."""
    if isinstance(place, SamplePlace):
        return place
    known = [field.name for field in fields(SamplePlace)]
    for name in place:
        if name not in known:
            raise PlanInputError(f"samples: {name!r} is no part of a place; there are {', '.join(known)}")
    missing = [name for name in known[:3] if name not in place]
    if missing:
        raise PlanInputError(f"samples: {place.get('name', place)} lacks {missing[0]}; give name, x_um and y_um")
    return SamplePlace(**place)
