"""Plans of the full-field transmission X-ray microscope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.utils import MsgGenerator

from exitwave.analysis import correction
from exitwave.analysis.resolution import find_star_centre
from exitwave.devices import Acquisition
from exitwave.plans.focusing import FocusMethod, FocusPass, mean_reference, search_focus
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import (
    PlanInputError,
    central_region,
    require_count,
)
from exitwave.plans.runs import run_with_beam, start_metadata
from exitwave.plans.stubs import (
    close_shutter,
    open_shutter,
    record,
    set_region,
    snap,
    take_darks,
    take_flats,
    take_projections,
)

__all__ = ["centre_star", "radiograph", "through_focus"]


def radiograph(
    instrument: Instrument,
    exposure_s: float = 1.0,
    num_frames: int = 1,
    *,
    num_flats: int = 10,
    num_darks: int = 10,
    flat_exposure_s: float | None = None,
    period_s: float | None = None,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Take an image of the sample, with darks and sample-out flats.

    Streams: ``dark``, ``flat``, ``primary`` (frames, one row a frame), ``beam`` (ion chamber and ring before each
    burst), ``audit`` (frames asked, acquired, written, dropped for each burst).

    Parameters
    ----------
    instrument : Instrument
    exposure_s : float
        Exposure of a frame.
    num_frames, num_flats, num_darks : int
        How many.
    flat_exposure_s : float, optional
        Exposure of a flat, if it is not that of the frames; darks are then taken at the exposure of the frames.
    period_s : float, optional
        Frame period; as short as the camera can without it.
    md : mapping, optional
        Metadata; wins over the plan's own.

    Returns
    -------
    str
        The run's uid.

    Raises
    ------
    SettingError, StorageSpaceError, MotionLimitError, PlanInputError
        Before anything moves, when the request can't be met.
    """
    num_frames = require_count("num_frames", num_frames, at_least=1)
    num_flats = require_count("num_flats", num_flats, at_least=0)
    num_darks = require_count("num_darks", num_darks, at_least=0)
    camera = instrument.microscope.camera
    frames = Acquisition(exposure_s, num_frames, period_s)
    flats = Acquisition(exposure_s if flat_exposure_s is None else flat_exposure_s, num_flats, period_s)
    for acquisition in (frames, flats):
        camera.check_acquisition(acquisition)
    if flats.exposure_s != frames.exposure_s and num_flats and num_darks:
        raise PlanInputError(
            f"flat_exposure_s: {flats.exposure_s:g} s differs from the frames' {frames.exposure_s:g} s, and darks of "
            "one exposure do not fit the other; use one exposure and more flats"
        )
    camera.check_storage(num_frames + num_flats + num_darks)

    def body() -> MsgGenerator[None]:
        if num_darks:
            yield from take_darks(instrument, Acquisition(exposure_s, num_darks, period_s))
        if num_flats:
            yield from take_flats(instrument, flats)
        yield from take_projections(instrument, frames)

    metadata = start_metadata(
        instrument,
        "radiograph",
        {"exposure_s": exposure_s, "num_frames": num_frames, "num_flats": num_flats, "num_darks": num_darks},
        technique="transmission X-ray microscopy",
        detectors=[camera],
        num_points=num_frames,
        md={"num_flats": num_flats, "num_darks": num_darks, "exposure_s": exposure_s, **(md or {})},
    )
    return (yield from run_with_beam(instrument, body, metadata, stage=[camera]))


def through_focus(
    instrument: Instrument,
    span_um: float = 120.0,
    num: int = 25,
    *,
    exposure_s: float = 1.0,
    centre_mm: float | None = None,
    region_px: int = 1024,
    method: FocusMethod = "transfer",
    move_to_best: bool = True,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Image the sample while the zone plate steps through focus, find the sharpest position and go there.

    Streams: ``dark``, ``flat``, ``primary`` (zone plate z, sharpness, frame), ``focus`` (best z, its standard
    deviation).

    Parameters
    ----------
    instrument : Instrument
    span_um : float
        Range of the zone plate's z.
    num : int
        Positions.
    exposure_s : float
        Exposure of each image; flat and dark are taken once, ten of each.
    centre_mm : float, optional
        Middle of the range; where the zone plate is without it.
    region_px : int
        Side of the square in the middle of the sensor that is looked at.
    method : {"transfer", "symmetry", "peak"}
        What is taken for focus: the place that the lens's even and odd transfer explain best, exact for absorption
        and phase (`exitwave.analysis.through_focus`; the range should be some fourteen depths of focus, in steps of
        about half of one); or, see `exitwave.analysis.sharpness.fit_focus`, the centre of symmetry, or the highest
        peak, enough for a coarse scan.
    move_to_best : bool
        Go to the best position; otherwise back to where it was.

    Returns
    -------
    str
        The run's uid.

    Raises
    ------
    FitError
        The focus is at an end of the range, or there is none; the zone plate is back where it was.
    """
    return (
        yield from search_focus(
            instrument,
            FocusPass(span_um, num, region_px, method, exposure_s),
            centre_mm,
            move_to_best=move_to_best,
            plan_name="through_focus",
            md=md,
        )
    )


def centre_star(
    instrument: Instrument,
    exposure_s: float = 1.0,
    *,
    region_px: int = 1024,
    num_references: int = 4,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Find the centre of a Siemens star in one image and move the sample so that it is in the middle of the sensor.

    Streams: ``dark``, ``flat``, ``primary`` (sample x, y and the frame before the move), ``centred`` (x, y after it).

    Parameters
    ----------
    instrument : Instrument
    exposure_s : float
    region_px : int
        Side of the square in the middle of the sensor in which the centre is looked for.
    num_references : int
        Darks, and flats, one exposure each.

    Returns
    -------
    str
        The run's uid.

    Raises
    ------
    FitError
        The edges do not meet within the image; the sample is where it was.
    """
    require_count("num_references", num_references, at_least=1)
    microscope = instrument.microscope
    camera, sample = microscope.camera, microscope.sample
    each = Acquisition(exposure_s)
    camera.check_acquisition(each)
    camera.check_storage(2 * num_references + 1)
    region = central_region(region_px, int(camera.cam.max_size_x.get()), int(camera.cam.max_size_y.get()))
    region_before = None
    pixel_um = 1e-3 * float(microscope.pixel_size.get())

    def body() -> MsgGenerator[None]:
        nonlocal region_before
        region_before = yield from set_region(camera, *region)
        dark = yield from mean_reference(instrument, "dark", exposure_s, num_references)
        flat = yield from mean_reference(instrument, "flat", exposure_s, num_references)
        correct = correction.FlatField(flat, dark, min_signal=0.3 * float(np.median(flat - dark)), fill=1.0)
        yield from open_shutter(instrument.fast_shutter)
        yield from bps.prepare(camera, each, wait=True)
        image = correct((yield from snap(camera)))
        yield from record("primary", sample.x, sample.y, camera)
        yield from close_shutter(instrument.fast_shutter)
        np.clip(image, 0.0, 4.0, out=image)
        row, column = find_star_centre(image)
        right_um = (column - 0.5 * (image.shape[1] - 1)) * pixel_um
        down_um = (row - 0.5 * (image.shape[0] - 1)) * pixel_um
        # from setpoints: readings have the encoder's noise; rows run down and y runs up
        x = yield from bps.rd(sample.x.user_setpoint, default_value=0.0)
        y = yield from bps.rd(sample.y.user_setpoint, default_value=0.0)
        sample.x.check_value(x - right_um)
        sample.y.check_value(y + down_um)
        yield from bps.mv(sample.x, x - right_um, sample.y, y + down_um)
        yield from record("centred", sample.x, sample.y)

    def go() -> MsgGenerator[None]:
        if region_before is not None:
            yield from set_region(camera, *region_before)

    metadata = start_metadata(
        instrument,
        "centre_star",
        {"exposure_s": exposure_s, "region_px": region_px, "num_references": num_references},
        technique="transmission X-ray microscopy",
        detectors=[camera],
        motors=[sample.x, sample.y],
        md=md,
    )
    return (yield from run_with_beam(instrument, body, metadata, stage=[camera], cleanup=go))
