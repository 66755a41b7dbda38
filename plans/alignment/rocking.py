"""Rocking curve of the double-crystal monochromator."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.utils import Msg, MsgGenerator

from exitwave.analysis import fitting
from exitwave.plans.alignment._peak import record_peak
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import centred, extrapolate, require_count, require_finite
from exitwave.plans.runs import run_with_beam, start_metadata

__all__ = ["rocking_curve"]


def rocking_curve(
    instrument: Instrument,
    span_urad: float = 240.0,
    num: int = 61,
    *,
    integration_s: float = 0.2,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Scan the pitch of the second crystal, fit the rocking curve in the first ion chamber and go to its top.

    Heat moves the top while the crystals warm up, by some urad in minutes. So the top is scanned twice, the whole range
    and then its neighbourhood; each fit tells where the top was when the scan passed it, and both together where it is
    at the end.

    Streams: ``primary`` (pitch, current; both scans), ``rocking`` (centre, width, uncertainty: of the whole range, of
    the neighbourhood, and the top at the end).

    Raises
    ------
    FitError
        No peak in the range; the pitch is back where it was.
    """
    require_finite("span_urad", span_urad, "urad", positive=True)
    require_count("num", num, at_least=7)
    near = max(11, num // 2)
    pitch, i0 = instrument.microscope.mono.pitch, instrument.i0
    result = instrument.microscope.peak_result
    start = yield from bps.rd(pitch)
    positions = centred(start, span_urad, num)
    for position in positions:
        pitch.check_value(position)
    target = start

    def scan(places: Sequence[float]) -> Generator[Msg, Any, tuple[fitting.PeakFit, float]]:
        times_s: list[float] = []
        currents = yield from _step(instrument, pitch, places, [i0, pitch], i0.current, times_s)
        peak = fitting.fit_peak(places, currents)
        yield from record_peak(result, peak.centre, peak.centre_sd, peak.fwhm, "rocking")
        return peak, float(np.interp(peak.centre, places, times_s))

    def body() -> MsgGenerator[None]:
        nonlocal target
        wide, wide_s = yield from scan(positions)
        # as far as the curve falls to its foot, but not out of the range
        places = centred(wide.centre, min(2.0 * wide.fwhm, 0.5 * span_urad), near)
        for place in (*places, 2.0 * places[0] - places[1]):
            pitch.check_value(place)
        fine, fine_s = yield from scan(places)
        top = extrapolate((wide_s, wide.centre), (fine_s, fine.centre), time.monotonic())
        yield from record_peak(result, top, fine.centre_sd, fine.fwhm, "rocking")
        # From below, as the scans came: the screw has play.
        yield from bps.mv(pitch, top - span_urad / 4)
        yield from bps.mv(pitch, top)
        target = top

    def go() -> MsgGenerator[None]:
        yield from bps.mv(pitch, target)

    yield from bps.mv(i0.integration_time, integration_s)
    metadata = start_metadata(
        instrument,
        "rocking_curve",
        {"span_urad": span_urad, "num": num, "integration_s": integration_s},
        technique="rocking curve",
        detectors=[i0],
        motors=[pitch],
        num_points=num + near,
        hints={"dimensions": [([pitch.name], "primary")]},
        md=md,
    )
    return (yield from run_with_beam(instrument, body, metadata, stage=[i0], cleanup=go))


def _step(
    instrument: Instrument,
    axis: Any,
    positions: Sequence[float],
    detectors: Sequence[Any],
    signal: Any,
    times_s: list[float],
) -> MsgGenerator[list[float]]:
    """Visit positions, record the detectors, note the times and return what `signal` said at each."""
    # From one step below, so that every point is approached from the same side.
    yield from bps.mv(axis, positions[0] - (positions[1] - positions[0]))
    values = []
    for position in positions:
        yield from bps.checkpoint()
        yield from bps.mv(axis, position)
        yield from bps.trigger_and_read(list(detectors), name="primary")
        times_s.append(time.monotonic())
        values.append((yield from bps.rd(signal, default_value=1.0)))
    return values
