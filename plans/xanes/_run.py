"""One run that scans energies: what is refused before it, what its start document says, and its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from typing import Any, Literal

import bluesky.plan_stubs as bps
from bluesky.utils import Msg, MsgGenerator

from exitwave.devices import Acquisition
from exitwave.plans.ct._common import axis_figures
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import PlanInputError
from exitwave.plans.pure.rotation import AxisFigures
from exitwave.plans.pure.xanes import XanesScan
from exitwave.plans.pure.xanes_estimates import Estimate, Exposed, check_dose, estimate, scan_dose_gy
from exitwave.plans.runs import run_with_beam, start_metadata
from exitwave.plans.xanes._checks import lit_area_um2, tell_focus
from exitwave.plans.xanes._moves import move_to_energy, out_target, sample_home
from exitwave.plans.xanes._scan import Look, Taken, Walk
from exitwave.plans.xanes.feedback import Feedback

__all__ = ["Keep", "run_scan"]

log = logging.getLogger(__name__)
Keep = Literal["detector", "magnification"]
Body = Callable[[Walk], MsgGenerator[None]]


def run_scan(
    instrument: Instrument,
    work: XanesScan,
    *,
    plan_name: str,
    plan_args: Mapping[str, Any],
    keep: Keep | None = None,
    feedback: Feedback | None = None,
    exposed: Exposed | None = None,
    calibration: str | None = None,
    body: Body | None = None,
    look: Look | None = None,
    most_frames: int | None = None,
    before_gy: float = 0.0,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Check a scan, then take it in one run; the instrument ends at the energy it began with.

    Parameters
    ----------
    body : callable, optional
        Walks otherwise than straight through.
    most_frames : int, optional
        That the disk must hold, if more than the scan says.
    before_gy : float
        What earlier runs of the scan gave the sample; it counts against the limit.

    Returns
    -------
    str
        The run's uid.
    """
    microscope = instrument.microscope
    camera = microscope.camera
    feedback = feedback or Feedback()
    kept_before = microscope.keep
    if keep not in (None, "detector", "magnification"):
        raise PlanInputError(f"keep: {keep!r} is neither 'detector' nor 'magnification'")
    home = yield from sample_home(instrument)
    microscope.keep = keep or kept_before
    try:
        magnification = microscope.magnification_now() if microscope.keep == "magnification" else None
        moves = _check(instrument, work, home, magnification)
    finally:
        microscope.keep = kept_before
    frames = max(work.num_frames_in_all, most_frames or 0)
    camera.check_storage(frames)
    area_um2 = lit_area_um2(instrument, exposed)
    dose_gy = None if exposed is None else scan_dose_gy(work, exposed, area_um2, camera.readout_s)
    if exposed is not None and dose_gy is not None:
        check_dose(dose_gy, exposed, before_gy=before_gy)
    told = yield from _estimate(instrument, work, moves, camera, dose_gy)
    log.info("%s: %s", plan_name, told)
    focus = tell_focus(instrument, plan_name, work.energies_ev)
    start_kev = yield from bps.rd(microscope.energy, default_value=8.0)
    integration_s = yield from bps.rd(instrument.i0.integration_time, default_value=0.1)
    asked = tuple(shot.index for shot in work.shots())
    taken = Taken(asked, before_gy=before_gy)
    walk = Walk(instrument, work, home, magnification, feedback, exposed, area_um2, taken, look)

    def inside() -> MsgGenerator[None]:
        microscope.keep = keep or kept_before
        shortest_s = min(work.exposures_s)
        yield from bps.mv(instrument.i0.integration_time, min(max(0.9 * shortest_s, 0.01), 1.0))
        if body is None:
            yield from walk.take(work)
        else:
            yield from body(walk)

    def end() -> MsgGenerator[None]:
        yield from walk.end(walk.taken.asked)
        yield from bps.mv(instrument.i0.integration_time, integration_s)
        try:
            beyond = len(microscope.zone_plate.focus.points) > 1 and not _in_range(microscope, start_kev)
            yield from move_to_energy(instrument, start_kev, magnification=magnification, beyond=beyond)
        finally:
            microscope.keep = kept_before

    metadata = start_metadata(
        instrument,
        plan_name,
        plan_args,
        technique="X-ray absorption near edge structure imaging",
        detectors=[camera, instrument.i0],
        motors=[microscope.energy],
        num_points=work.num_frames_by_stream["primary"],
        hints={"dimensions": [([microscope.energy_record.setpoint.name], "energy")]},
        md={
            "xanes": work.describe(),
            "num_frames": work.num_frames_by_stream,
            "keep": keep or kept_before,
            "feedback": feedback.describe(),
            "tracking": microscope.zone_plate.focus.describe(),
            "focus_tracking": focus,
            "pitch_calibration": [list(point) for point in microscope.mono.pitch_calibration.points],
            "energy_calibration": calibration or _calibration(instrument),
            "estimate": told.describe(),
            "estimated_s": told.seconds,
            "exposed": None if exposed is None else {**vars(exposed), "area_um2": area_um2},
            "beam_monitor": {"intensity": instrument.i0.current.name, "ring": instrument.ring.current.name},
            "energy_record": microscope.energy_record.name,
            **(md or {}),
        },
    )
    return (yield from run_with_beam(instrument, inside, metadata, stage=[camera, instrument.i0], cleanup=end))


def _in_range(microscope: Any, energy_kev: float) -> bool:
    points = microscope.zone_plate.focus.points
    return bool(points[0].energy_kev <= energy_kev <= points[-1].energy_kev)


def _check(
    instrument: Instrument, work: XanesScan, home: Mapping[str, float], magnification: float | None
) -> dict[float, Any]:
    """Refuse what an axis or the camera can't do, and return where everything goes at each energy."""
    microscope, sample = instrument.microscope, instrument.microscope.sample
    for exposure_s in set(work.exposures_s):
        microscope.camera.check_acquisition(Acquisition(exposure_s, trigger="software"))
    moves = {
        energy_ev: microscope.energy_move(1e-3 * energy_ev, magnification=magnification)
        for energy_ev in sorted(set(work.energies_ev))
    }
    for x_um, y_um in work.positions_um:
        sample.x.check_value(x_um)
        sample.y.check_value(y_um)
    for angle_deg in work.angles_deg:
        sample.theta.check_value(angle_deg)
    if work.num_flats and work.flats != "none":
        axis = sample.out_axis
        places = [dict(zip("xy", place, strict=True)).get(axis, home[axis]) for place in work.positions_um]
        for place_um in places or [home[axis]]:
            out_target(sample, place_um)
    return moves


def _estimate(
    instrument: Instrument, work: XanesScan, moves: Mapping[float, Any], camera: Any, dose_gy: float | None
) -> Generator[Msg, Any, Estimate]:
    microscope = instrument.microscope
    mono, sample = microscope.mono, microscope.sample
    axes: dict[str, AxisFigures] = {}
    devices = {"bragg": mono.bragg, "gap": mono.gap, "zone_plate": microscope.zone_plate.z, "out": sample.out_motor}
    if any(move.track_mm is not None for move in moves.values()):
        devices["track"] = microscope.detector.z
    for name, axis in devices.items():
        axes[name] = yield from _figures(axis)
    places = {}
    for energy_ev, move in moves.items():
        real = mono.forward(mono.PseudoPosition(energy=1e-3 * energy_ev))
        places[energy_ev] = {"bragg": real.bragg, "gap": real.gap, "zone_plate": move.zone_plate_mm}
        if move.track_mm is not None:
            places[energy_ev]["track"] = move.track_mm
    return estimate(
        work,
        axes,
        places,
        out_um=sample.out_distance_um,
        readout_s=camera.readout_s,
        frame_bytes=camera.frame_bytes,
        dose_gy=dose_gy,
    )


def _figures(axis: Any) -> Generator[Msg, Any, AxisFigures]:
    """Ask an axis what it can do; one that has no largest velocity says so with 0."""
    if hasattr(axis, "max_velocity"):
        return (yield from axis_figures(axis))
    low, high = axis.limits
    velocity = float((yield from bps.rd(axis.velocity, default_value=1.0)))
    ramp_s = float((yield from bps.rd(axis.acceleration, default_value=0.1)))
    return AxisFigures(axis.dotted_name_of(), axis.egu, low, high, velocity, 0.0, ramp_s)


def _calibration(instrument: Instrument) -> str | None:
    """Return the uid of the newest run that calibrated the energy with a foil, where the session knows of one."""
    finder = instrument.spectra
    return None if finder is None else finder.newest("energy_calibration")
