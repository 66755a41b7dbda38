"""Several tomograms, each a run of its own that can be reconstructed, and resumed, by itself."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import MsgGenerator

from exitwave.plans.ct.fly import fly_tomography
from exitwave.plans.ct.step import step_tomography
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import PlanInputError, require_count, require_finite
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


def _plan(mode: Mode) -> Callable[..., MsgGenerator[str]]:
    if mode not in ("fly", "step"):
        raise PlanInputError(f"mode: {mode!r} is not one of fly, step")
    return fly_tomography if mode == "fly" else step_tomography


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
        Uids of the runs; each names the series, its place in it, and the number of all.
    """
    plan = _plan(mode)
    require_count("num_repeats", num_repeats, at_least=1)
    require_finite("interval_s", interval_s, "s")
    series = str(uuid.uuid4())

    def repeats() -> MsgGenerator[list[str]]:
        uids: list[str] = []
        yield from beam_on(instrument)
        begin = time.monotonic()
        for i in range(num_repeats):
            arguments = dict(scan)
            about: dict[str, Any] = {"series": {"uid": series, "index": i, "num": num_repeats}, **(md or {})}
            back = snake and i % 2 == 1
            ends = (start_deg, stop_deg)
            if mode == "fly" and snake:
                arguments["direction"] = "backward" if back == (stop_deg > start_deg) else "forward"
            elif back:
                # The same angles from the other end.
                step = (stop_deg - start_deg) / num_projections
                ends = (stop_deg - step, start_deg - step)
            if not flats_each:
                if i:
                    about["references_from"] = uids[0]
                    arguments["num_darks"] = 0
                arguments["flats"] = "before" if i == 0 else "after" if i == num_repeats - 1 else "none"
            left_s = begin + i * interval_s - time.monotonic()
            if left_s > 0:
                yield from bps.sleep(left_s)
            uids.append((yield from plan(instrument, *ends, num_projections, md=about, **arguments)))
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
    plan = _plan(mode)
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
    mosaic = str(uuid.uuid4())

    def take() -> MsgGenerator[list[str]]:
        uids = []
        yield from beam_on(instrument)
        for row, column, x_um, y_um in tiles:
            yield from bps.mv(sample.x, x_um, sample.y, y_um)
            place = {"column": column, "row": row, "x_px": column * step_x, "y_px": row * step_y}
            about = {
                "mosaic": {"uid": mosaic, "columns": columns, "rows": rows, "pixel_um": pixel_um, **place},
                **(md or {}),
            }
            uids.append((yield from plan(instrument, start_deg, stop_deg, num_projections, md=about, **scan)))
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
    """Take a tomogram of each of several samples; their places are checked before the first one moves.

    Returns
    -------
    list of str
        Uids, one a sample; each start document has its name under ``sample``.

    Raises
    ------
    MotionLimitError, PlanInputError
        Before anything moves.
    """
    plan = _plan(mode)
    places = [place if isinstance(place, SamplePlace) else SamplePlace(**place) for place in samples]
    if not places:
        raise PlanInputError("samples: none are given; give SamplePlace(name, x_um, y_um)")
    stage = instrument.microscope.sample
    for place in places:
        for axis, value in ((stage.x, place.x_um), (stage.y, place.y_um), (stage.z, place.z_um)):
            axis.check_value(value)
    uids = []
    for place in places:
        yield from bps.mv(stage.x, place.x_um, stage.y, place.y_um, stage.z, place.z_um)
        about = {**(md or {}), "sample": place.name}
        uids.append((yield from plan(instrument, start_deg, stop_deg, num_projections, md=about, **scan)))
    return uids
