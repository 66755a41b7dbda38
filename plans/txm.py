"""Plans of the full-field transmission X-ray microscope."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.utils import MsgGenerator

from exitwave.analysis import correction, optics, sharpness
from exitwave.analysis.errors import FocusRangeError
from exitwave.analysis.resolution import find_star_centre
from exitwave.analysis.through_focus import fit_transfer, ring_edges, ring_powers
from exitwave.devices import Acquisition
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import (
    PlanInputError,
    central_region,
    centred,
    focus_band,
    require_count,
    require_finite,
)
from exitwave.plans.runs import run_with_beam, start_metadata
from exitwave.plans.stubs import (
    close_shutter,
    count_beam,
    open_shutter,
    record,
    sample_back,
    sample_out,
    set_region,
    snap,
    take_darks,
    take_flats,
    take_projections,
)

__all__ = ["FocusMethod", "centre_star", "radiograph", "through_focus"]

FocusMethod = Literal["transfer", "symmetry", "peak"]


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
        yield from _through_focus(
            instrument,
            span_um,
            num,
            exposure_s,
            centre_mm,
            region_px,
            method,
            None,
            move_to_best,
            "through_focus",
            md,
            found=None,
        )
    )


def _through_focus(
    instrument: Instrument,
    span_um: float,
    num: int,
    exposure_s: float,
    centre_mm: float | None,
    region_px: int,
    method: FocusMethod,
    within_um: float | None,
    move_to_best: bool,
    plan_name: str,
    md: Mapping[str, Any] | None,
    found: Callable[[float, float], None] | None,
) -> MsgGenerator[str]:
    """Do `through_focus`; `found` is called with the best position and its standard deviation, mm."""
    require_finite("span_um", span_um, "um", positive=True)
    require_count("num", num, at_least=5)
    microscope = instrument.microscope
    camera, axis = microscope.camera, microscope.zone_plate.z
    start_mm = yield from bps.rd(axis)
    centre = start_mm if centre_mm is None else require_finite("centre_mm", centre_mm, "mm")
    positions = centred(centre, span_um * 1e-3, num)
    for position in positions:
        axis.check_value(position)
    each = Acquisition(exposure_s)
    camera.check_acquisition(each)
    camera.check_storage(num + 20)
    target_mm = start_mm
    cam = camera.cam
    region = central_region(region_px, int(cam.max_size_x.get()), int(cam.max_size_y.get()))
    region_before = None
    plate = microscope.zone_plate
    aperture, pixel_nm = float(plate.numerical_aperture.get()), float(microscope.pixel_size.get())
    band = focus_band(span_um / (num - 1), aperture, pixel_nm)
    wavelength_nm = optics.wavelength_nm((yield from bps.rd(microscope.energy, default_value=8.0)))
    edges = ring_edges(aperture, wavelength_nm, pixel_nm) if method == "transfer" else None

    def find(measures: list[float], powers: list[np.ndarray]) -> tuple[float, float]:
        if edges is None:
            within_mm = None if within_um is None else within_um * 1e-3
            peak = sharpness.fit_focus(
                positions, measures, method="peak" if method == "peak" else "symmetry", within=within_mm
            )
            return peak.best, peak.best_sd
        away_um = [1e3 * (position - centre) for position in positions]
        try:
            focus = fit_transfer(
                away_um, np.array(powers), edges,
                numerical_aperture=aperture, wavelength_nm=wavelength_nm,
            )  # fmt: skip
        except FocusRangeError as error:
            raise FocusRangeError(str(error), centre + 1e-3 * error.towards) from error
        return centre + 1e-3 * focus.best, 1e-3 * focus.best_sd

    def body() -> MsgGenerator[None]:
        nonlocal target_mm, region_before
        region_before = yield from set_region(camera, *region)
        dark = yield from _reference(instrument, "dark", exposure_s)
        flat = yield from _reference(instrument, "flat", exposure_s)
        signal = flat - dark
        correct = correction.FlatField(flat, dark, min_signal=0.3 * float(np.median(signal)), fill=1.0)
        yield from open_shutter(instrument.fast_shutter)
        yield from count_beam(instrument)
        yield from bps.prepare(camera, each, wait=True)
        measures: list[float] = []
        powers: list[np.ndarray] = []
        for position in positions:
            yield from bps.checkpoint()
            yield from bps.mv(axis, position)
            image = correct((yield from snap(camera)))
            # A zinger or a hot pixel outshines what a focus measure looks for.
            np.clip(image, 0.0, 4.0, out=image)
            measures.append(float(sharpness.band_power(image, band=band)))
            if edges is not None:
                powers.append(ring_powers(image, pixel_nm, edges))
            yield from bps.mv(microscope.sharpness, measures[-1])
            yield from record("primary", axis, microscope.sharpness, camera)
        yield from close_shutter(instrument.fast_shutter)
        best_mm, sd_mm = find(measures, powers)
        if found is not None:
            found(best_mm, sd_mm)
        yield from bps.mv(microscope.focus_result.best, best_mm)
        yield from bps.mv(microscope.focus_result.uncertainty, sd_mm)
        yield from bps.trigger_and_read([microscope.focus_result], name="focus")
        if move_to_best:
            target_mm = best_mm

    def go() -> MsgGenerator[None]:
        if region_before is not None:
            yield from set_region(camera, *region_before)
        yield from bps.mv(axis, target_mm)

    metadata = start_metadata(
        instrument,
        plan_name,
        {"span_um": span_um, "num": num, "exposure_s": exposure_s, "centre_mm": centre_mm},
        technique="transmission X-ray microscopy",
        detectors=[camera],
        motors=[axis],
        num_points=num,
        hints={"dimensions": [([axis.name], "primary")]},
        md=md,
    )
    return (yield from run_with_beam(instrument, body, metadata, stage=[camera], cleanup=go))


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
        dark = yield from _reference(instrument, "dark", exposure_s, num_references)
        flat = yield from _reference(instrument, "flat", exposure_s, num_references)
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


def _reference(instrument: Instrument, kind: str, exposure_s: float, num: int = 10) -> MsgGenerator[Any]:
    """Take darks or flats one by one and return their mean, float32 (y, x).

    Frame by frame, because the mean is needed here and now and the file is read as it grows.
    """
    camera = instrument.microscope.camera
    acquisition = Acquisition(exposure_s)
    position_um = None
    if kind == "flat":
        position_um = yield from sample_out(instrument)
        yield from open_shutter(instrument.fast_shutter)
    else:
        yield from close_shutter(instrument.fast_shutter)
    yield from bps.prepare(camera, acquisition, wait=True)
    total: np.ndarray | None = None
    for _ in range(num):
        frame = yield from snap(camera)
        total = frame.astype(np.float32) if total is None else total + frame
        yield from record(kind, camera)
    if position_um is not None:
        yield from close_shutter(instrument.fast_shutter)
        yield from sample_back(instrument, position_um)
    return (total if total is not None else np.ones(camera.frame_shape, np.float32)) / np.float32(num)
