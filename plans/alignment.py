"""Alignment and calibration: every plan finds what is off, records it, and leaves the instrument on it."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.utils import Msg, MsgGenerator

from exitwave.analysis import fitting, optics
from exitwave.analysis.errors import FocusRangeError
from exitwave.devices import Acquisition
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import (
    PlanInputError,
    central_region,
    centred,
    edge_energies,
    extrapolate,
    require_count,
    require_finite,
)
from exitwave.plans.runs import run_with_beam, start_metadata
from exitwave.plans.stubs import (
    close_shutter,
    open_shutter,
    record,
    sample_back,
    sample_out,
    set_region,
    snap,
)
from exitwave.plans.txm import FocusMethod, _through_focus

__all__ = ["FOCUS_PASSES", "FocusPass", "condenser", "energy_calibration", "rocking_curve", "zone_plate_focus"]


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


# Far from focus only the coarsest structure is left, and there is little of it in a small region.
TRIES = 3
"""How often a pass is taken, each time centred on where the one before pointed, before the search is given up."""

# The second may end on one of the two peaks that a phase specimen has beside focus, three depths away; the last reaches
# over both from there.
FOCUS_PASSES = (
    FocusPass(1600.0, 21, 2048),
    FocusPass(240.0, 21, 1024),
    FocusPass(112.0, 25, 1024, "transfer"),
)


def zone_plate_focus(
    instrument: Instrument,
    passes: Sequence[FocusPass] = FOCUS_PASSES,
    *,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[list[str]]:
    """Find focus, from coarse to fine, and record it in the focus calibration of the zone plate.

    Parameters
    ----------
    instrument : Instrument
    passes : sequence of FocusPass
        From coarse to fine; each is centred on what the one before found.

    Returns
    -------
    list of str
        Uids of the runs, one for each pass.

    Raises
    ------
    FitError
        Focus is still not in the range after a pass was moved there twice. Each try is a run of its own.
    """
    microscope = instrument.microscope
    result: dict[str, float] = {}

    def found(position_mm: float, uncertainty_mm: float) -> None:
        result.update(position=position_mm, uncertainty=uncertainty_mm)

    uids = []
    for one in passes:
        centre_mm: float | None = None
        for attempt in range(1, TRIES + 1):
            try:
                uid = yield from _through_focus(
                    instrument,
                    one.span_um,
                    one.num,
                    one.exposure_s,
                    centre_mm,
                    one.region_px,
                    one.method,
                    one.within_um,
                    True,
                    "zone_plate_focus",
                    md,
                    found=found,
                )
            except FocusRangeError as error:
                if attempt == TRIES:
                    raise
                centre_mm = error.towards
            else:
                uids.append(uid)
                break
    if result:
        energy_kev = yield from bps.rd(microscope.energy, default_value=8.0)
        sample_mm = 1e-3 * (yield from bps.rd(microscope.sample.z, default_value=0.0))
        microscope.zone_plate.record_focus(
            energy_kev,
            result["position"] - sample_mm,
            microscope.detector.distance_mm - sample_mm,
            result["uncertainty"],
        )
    return uids


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
        yield from _record_peak(result, peak.centre, peak.centre_sd, peak.fwhm, "rocking")
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
        yield from _record_peak(result, top, fine.centre_sd, fine.fwhm, "rocking")
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


def energy_calibration(
    instrument: Instrument,
    element: str = "Ni",
    *,
    energies_kev: Sequence[float] | None = None,
    integration_s: float = 0.5,
    apply: bool = True,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Find the absorption edge of a foil and correct the offset of the Bragg angle.

    Both ion chambers are read over the edge with the foil in; the edge in ln(I0/I1) is compared with the
    tabulated energy, and the difference, as an angle, goes into the user offset of the Bragg motor record.

    Streams: ``primary`` (energy, Bragg angle, both currents), ``edge`` (energy found, uncertainty, offset).

    Parameters
    ----------
    instrument : Instrument
    element : str
        Foil.
    energies_kev : sequence of float, optional
        Energies to visit, rising; a fine list around the tabulated edge without it.
    integration_s : float
        Integration of each point.
    apply : bool
        Write the offset; otherwise only report it.

    Raises
    ------
    FitError
        No edge in the range.
    """
    mono, foil = instrument.microscope.mono, instrument.foil
    i0, i1 = instrument.i0, instrument.i1
    edge_kev = optics.edge_energy_kev(element)
    energies = list(energies_kev) if energies_kev is not None else edge_energies(edge_kev)
    if len(energies) < 20 or sorted(energies) != energies:
        raise PlanInputError(f"energies_kev: {len(energies)} energies; give at least 20, rising")
    for energy_kev in energies:
        mono.check_energy(energy_kev)
    result = instrument.microscope.peak_result
    start_kev = yield from bps.rd(mono.energy)
    offset_change_deg = 0.0

    def body() -> MsgGenerator[None]:
        nonlocal offset_change_deg
        yield from bps.mv(foil, element)
        # One step below the range first: the screw has play, and all points are to be approached from one side.
        yield from bps.mv(mono.energy, energies[0] - 0.01)
        ratios, angles = [], []
        for energy_kev in energies:
            yield from bps.checkpoint()
            yield from bps.mv(mono.energy, energy_kev)
            yield from bps.trigger_and_read([i0, i1, mono], name="primary")
            current_0 = yield from bps.rd(i0.current, default_value=1.0)
            current_1 = yield from bps.rd(i1.current, default_value=1.0)
            ratios.append(float(fitting.absorbance([current_0], [current_1])[0]))
            angles.append((yield from bps.rd(mono.bragg, default_value=optics.bragg_angle_deg(energy_kev))))
        visited_kev = np.array([optics.bragg_energy_kev(angle) for angle in angles])
        edge = fitting.edge_by_derivative(visited_kev, ratios)
        offset_change_deg = optics.bragg_angle_deg(edge_kev) - optics.bragg_angle_deg(edge.position)
        yield from _record_peak(result, edge.position, edge.position_sd, offset_change_deg, "edge")
        if apply:
            offset = yield from bps.rd(mono.bragg.user_offset, default_value=0.0)
            yield from bps.mv(mono.bragg.user_offset, offset + offset_change_deg)

    def go() -> MsgGenerator[None]:
        yield from bps.mv(foil, "None")
        yield from bps.mv(mono.energy, start_kev)

    yield from bps.mv(i0.integration_time, integration_s, i1.integration_time, integration_s)
    metadata = start_metadata(
        instrument,
        "energy_calibration",
        {"element": element, "integration_s": integration_s, "apply": apply},
        technique="X-ray absorption spectroscopy",
        detectors=[i0, i1],
        motors=[mono.energy],
        num_points=len(energies),
        hints={"dimensions": [([mono.energy.name], "primary")]},
        md={"edge_kev": edge_kev, **(md or {})},
    )
    return (yield from run_with_beam(instrument, body, metadata, stage=[i0, i1], cleanup=go))


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
            yield from _record_peak(microscope.peak_result, peak.centre, peak.centre_sd, peak.fwhm, "peaks")
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


def _record_peak(result: Any, centre: float, uncertainty: float, width: float, stream: str) -> MsgGenerator[None]:
    """Write what was found into a stream of the run."""
    yield from bps.mv(result.centre, centre, result.uncertainty, uncertainty, result.width, width)
    yield from bps.trigger_and_read([result], name=stream)
