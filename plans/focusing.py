"""The search for focus that plans share: images while the zone plate steps through, and a fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.utils import MsgGenerator

from exitwave.analysis import correction, optics, sharpness
from exitwave.analysis.errors import FocusRangeError
from exitwave.analysis.through_focus import fit_transfer, ring_edges, ring_powers
from exitwave.devices import Acquisition
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import central_region, centred, focus_band, require_count, require_finite
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
)

__all__ = ["FocusMethod", "FocusPass", "mean_reference", "search_focus"]

FocusMethod = Literal["transfer", "symmetry", "peak"]


@dataclass(frozen=True)
class FocusPass:
    """One pass of a search for focus.

    Parameters
    ----------
    span_um : float
        Range of the zone plate's z.
    num : int
        Positions.
    region_px : int
        Side of the square in the middle of the sensor that is looked at.
    method : {"transfer", "symmetry", "peak"}
        What counts as focus, see `exitwave.plans.txm.through_focus`.
    exposure_s : float
        Exposure of each image.
    within_um : float, optional
        For "symmetry": how far from the middle focus may be, where the pass before has told.
    """

    span_um: float
    num: int
    region_px: int
    method: FocusMethod = "peak"
    exposure_s: float = 1.0
    within_um: float | None = None


def search_focus(
    instrument: Instrument,
    one: FocusPass,
    centre_mm: float | None = None,
    *,
    plan_name: str,
    move_to_best: bool = True,
    md: Mapping[str, Any] | None = None,
    found: Callable[[float, float], None] | None = None,
) -> MsgGenerator[str]:
    """Step the zone plate through focus, fit where it is, go there; streams as of `exitwave.plans.txm.through_focus`.

    Parameters
    ----------
    instrument : Instrument
    one : FocusPass
    centre_mm : float, optional
        Middle of the range; where the zone plate is without it.
    plan_name : str
        For the start document.
    move_to_best : bool
        Otherwise back to where it was.
    found : callable, optional
        Called with the best position and its standard deviation, mm.

    Returns
    -------
    str
        The run's uid.

    Raises
    ------
    FitError
        The focus is at an end of the range, or there is none; the zone plate is back where it was.
    """
    span_um, num, exposure_s, method = one.span_um, one.num, one.exposure_s, one.method
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
    region = central_region(one.region_px, int(cam.max_size_x.get()), int(cam.max_size_y.get()))
    region_before = None
    plate = microscope.zone_plate
    aperture, pixel_nm = float(plate.numerical_aperture.get()), float(microscope.pixel_size.get())
    band = focus_band(span_um / (num - 1), aperture, pixel_nm)
    wavelength_nm = optics.wavelength_nm((yield from bps.rd(microscope.energy, default_value=8.0)))
    edges = ring_edges(aperture, wavelength_nm, pixel_nm) if method == "transfer" else None

    def find(measures: list[float], powers: list[np.ndarray]) -> tuple[float, float]:
        if edges is None:
            within_mm = None if one.within_um is None else one.within_um * 1e-3
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
        dark = yield from mean_reference(instrument, "dark", exposure_s)
        flat = yield from mean_reference(instrument, "flat", exposure_s)
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
            # One direct hit has as much power as all fine structure, and takes focus to where it was hit.
            image = correction.remove_zingers(image)[0]
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


def mean_reference(instrument: Instrument, kind: str, exposure_s: float, num: int = 10) -> MsgGenerator[Any]:
    """Take darks or flats (`kind` "dark" or "flat") one by one; return their mean without outliers, float32 (y, x).

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
    frames = []
    for _ in range(num):
        frames.append((yield from snap(camera)))
        yield from record(kind, camera)
    if position_um is not None:
        yield from close_shutter(instrument.fast_shutter)
        yield from sample_back(instrument, position_um)
    return correction.mean_frames(frames)
