"""Pitch and yaw of the condenser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.utils import MsgGenerator

from exitwave.analysis import fitting
from exitwave.devices import Acquisition
from exitwave.plans.alignment._peak import record_peak
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import central_region, centred, require_count, require_finite
from exitwave.plans.runs import run_with_beam, start_metadata
from exitwave.plans.stubs import close_shutter, open_shutter, record, sample_back, sample_out, set_region, snap

__all__ = ["condenser"]


def condenser(
    instrument: Instrument,
    span_urad: float = 400.0,
    num: int = 21,
    *,
    exposure_s: float = 0.2,
    region_px: int = 1024,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Align pitch, then yaw of the condenser to the brightest middle of the field, with the sample out.

    Streams: ``pitch`` and ``yaw`` (angle, mean counts, frame), ``peaks`` (centre, uncertainty, width of each).

    Raises
    ------
    FitError
        No peak in the range; that axis is back where it was.
    """
    require_finite("span_urad", span_urad, "urad", positive=True)
    require_count("num", num, at_least=7)
    microscope, device = instrument.microscope, instrument.condenser
    camera = microscope.camera
    each = Acquisition(exposure_s)
    camera.check_acquisition(each)
    camera.check_storage(2 * num + 1)
    axes = {"pitch": device.pitch, "yaw": device.yaw}
    targets: dict[str, float] = {}
    for name, axis in axes.items():
        targets[name] = yield from bps.rd(axis)
        for position in centred(targets[name], span_urad, num):
            axis.check_value(position)
    sample_um: float | None = None
    region = central_region(region_px, int(camera.cam.max_size_x.get()), int(camera.cam.max_size_y.get()))
    region_before: tuple[int, int, int, int] | None = None

    def body() -> MsgGenerator[None]:
        nonlocal sample_um, region_before
        region_before = yield from set_region(camera, *region)
        yield from close_shutter(instrument.fast_shutter)
        yield from bps.prepare(camera, each, wait=True)
        dark = float(np.mean((yield from snap(camera))))
        yield from record("dark", camera)
        sample_um = yield from sample_out(instrument)
        yield from open_shutter(instrument.fast_shutter)
        for name, axis in axes.items():
            yield from bps.prepare(camera, each, wait=True)
            positions = centred(targets[name], span_urad, num)
            counts = []
            for position in positions:
                yield from bps.checkpoint()
                yield from bps.mv(axis, position)
                counts.append(float(np.mean((yield from snap(camera)))) - dark)
                yield from bps.mv(microscope.intensity, counts[-1])
                yield from record(name, axis, microscope.intensity, camera)
            peak = fitting.fit_peak(positions, counts)
            yield from record_peak(microscope.peak_result, peak.centre, peak.centre_sd, peak.fwhm, "peaks")
            targets[name] = peak.centre
            yield from bps.mv(axis, targets[name])

    def go() -> MsgGenerator[None]:
        if region_before is not None:
            yield from set_region(camera, *region_before)
        if sample_um is not None:
            yield from sample_back(instrument, sample_um)
        yield from bps.mv(device.pitch, targets["pitch"], device.yaw, targets["yaw"])

    metadata = start_metadata(
        instrument,
        "condenser",
        {"span_urad": span_urad, "num": num, "exposure_s": exposure_s},
        technique="transmission X-ray microscopy",
        detectors=[camera],
        motors=list(axes.values()),
        num_points=2 * num,
        md=md,
    )
    return (yield from run_with_beam(instrument, body, metadata, stage=[camera], cleanup=go))
