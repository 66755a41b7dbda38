"""Tomography at constant velocity: position compare triggers the camera, the encoder says each frame's angle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.utils import FailedStatus, MsgGenerator
from numpy.typing import NDArray

from exitwave.devices import Acquisition, CompareWindow
from exitwave.plans.ct._common import COLLECT_S, Scan, axis_figures, check_output, run_tomography
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.angles import even_segments, projection_angles
from exitwave.plans.pure.positions import PlanInputError
from exitwave.plans.pure.rotation import AxisFigures, Direction, FlyMotion, fly_motion
from exitwave.plans.pure.tomography import FlatPlaces, Tomography, fly_period_s
from exitwave.plans.stubs import close_shutter, open_shutter, wait_for_beam

__all__ = ["fly_tomography", "run_fly"]

BEYOND_S = 30.0
"""Helical: how long the height could go on beyond the end of the turn, for what it was ahead; it is stopped there."""
RISE = "rise"
START_S, START_POLL_S = 2.0, 0.01
LAST_FRAME_S = 3.0
"""Beyond exposure and readout, how long the driver may take to deliver the frame of the last pulse."""


def fly_tomography(
    instrument: Instrument,
    start_deg: float = 0.0,
    stop_deg: float = 180.0,
    num_projections: int = 900,
    *,
    exposure_s: float = 0.05,
    velocity_deg_s: float | None = None,
    direction: Direction = "auto",
    exclude_deg: Sequence[tuple[float, float]] = (),
    num_flats: int = 20,
    num_darks: int = 20,
    flats: FlatPlaces = "both",
    flats_every: int = 0,
    pitch_um_per_turn: float = 0.0,
    output: str | Path | None = None,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Take a tomogram while the sample turns at constant velocity.

    The position compare of the rotation stage triggers each frame half an exposure before its angle, so that the
    middle of the exposure is at it; the encoder's reading then is written with the frame. A frame that was lost is
    reported in ``frame_audit`` and left out, never filled.

    Streams: as `step_tomography`, and ``pulses`` (how many the box gave, for each pass).

    Parameters
    ----------
    instrument : Instrument
    start_deg, stop_deg : float
        The range; the end itself is left out.
    num_projections : int
    exposure_s : float
    velocity_deg_s : float, optional
        As fast as the exposures allow without it (2 % slack).
    direction : {"auto", "forward", "backward"}
        "auto" begins at the end of the range that is nearer to where the axis is.
    exclude_deg : sequence of (low, high)
        Ranges that are passed without frames.
    num_flats, num_darks, flats, flats_every, pitch_um_per_turn, output, md
        As for `step_tomography`.

    Returns
    -------
    str
        The run's uid.

    Raises
    ------
    PlanInputError, SettingError, StorageSpaceError, MotionLimitError
        Before anything moves: velocity over the limit, exposure over the time per step, range and acceleration
        beyond the limits.
    """
    angles = projection_angles(start_deg, stop_deg, num_projections, exclude_deg=exclude_deg)
    sample = instrument.microscope.sample
    axis = yield from axis_figures(sample.theta)
    step_deg = (stop_deg - start_deg) / num_projections
    work = Tomography(
        "fly",
        tuple(angles.tolist()),
        exposure_s,
        fly_period_s(exposure_s, instrument.microscope.camera.readout_s, step_deg, velocity_deg_s, axis),
        step_deg=step_deg,
        num_flats=num_flats,
        num_darks=num_darks,
        flats=flats,
        flats_every=flats_every,
        direction=direction,
        pitch_um_per_turn=pitch_um_per_turn,
        tolerance_deg=0.45 * abs(step_deg),
    )
    arguments = {
        "start_deg": start_deg,
        "stop_deg": stop_deg,
        "num_projections": num_projections,
        "exposure_s": exposure_s,
        "velocity_deg_s": abs(step_deg) / work.period_s,
    }
    return (
        yield from run_fly(
            instrument, work, plan_name="fly_tomography", plan_args=arguments, output=check_output(output), md=md
        )
    )


def run_fly(
    instrument: Instrument,
    work: Tomography,
    *,
    plan_name: str,
    plan_args: Mapping[str, Any],
    output: str | None = None,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Take a tomogram that was laid out, pass by pass.

    Raises
    ------
    PlanInputError
        As `fly_tomography`, or there is no position compare.
    """
    sample, compare = instrument.microscope.sample, instrument.position_compare
    if compare is None:
        raise PlanInputError(
            "position_compare: this instrument has none, and a fly scan needs one; add the role to the profile, or "
            "take a step scan"
        )
    axis = yield from axis_figures(sample.theta)
    rise = yield from axis_figures(sample.y)
    here = float((yield from bps.rd(sample.theta, default_value=0.0)))
    height = float((yield from bps.rd(sample.y.user_setpoint, default_value=0.0)))
    # Every pass is laid out now, so that what can't be done is refused before anything moves.
    for block in work.blocks():
        for part in even_segments(block):
            motion = _lay_out(work, axis, part, here)
            if work.pitch_um_per_turn:
                rise_um_s = motion.velocity * abs(work.pitch_um_per_turn) / 360.0
                rise.check_velocity(rise_um_s)
                for end in (motion.start, motion.stop):
                    beyond_um = np.copysign(rise_um_s * BEYOND_S, work.rise_um(end))
                    sample.y.check_value(height + work.rise_um(end) + float(beyond_um))
            compare.check_window(_window(motion, work.exposure_s))

    def take(scan: Scan, angles_deg: NDArray[np.float64]) -> MsgGenerator[None]:
        for part in even_segments(angles_deg):
            yield from _take_pass(scan, part, axis, rise)

    def restore(scan: Scan) -> MsgGenerator[None]:
        helical = bool(work.pitch_um_per_turn)
        yield from _stop_moves(compare, sample.theta, group="pass")
        if helical:
            yield from _stop_moves(sample.y, group=RISE)
        yield from bps.mv(sample.theta.velocity, axis.velocity)
        if helical:
            yield from bps.mv(sample.y.velocity, rise.velocity, sample.y.acceleration, rise.acceleration_s)

    return (
        yield from run_tomography(
            instrument,
            work,
            take,
            plan_name=plan_name,
            plan_args=plan_args,
            motors=[sample.theta, *([sample.y] if work.pitch_um_per_turn else [])],
            stage=[compare],
            output=output,
            cleanup=restore,
            md=md,
        )
    )


def _lay_out(work: Tomography, axis: AxisFigures, angles_deg: NDArray[np.float64], here: float) -> FlyMotion:
    return fly_motion(
        axis,
        float(angles_deg[0]),
        float(angles_deg[1] - angles_deg[0]) if len(angles_deg) > 1 else work.step_deg,
        len(angles_deg),
        exposure_s=work.exposure_s,
        period_s=work.period_s,
        here=here,
        direction=work.direction,
    )


def _window(motion: FlyMotion, exposure_s: float) -> CompareWindow:
    return CompareWindow(
        motion.first_pulse,
        motion.step,
        motion.num,
        pulse_width_s=min(1e-3, 0.1 * exposure_s),
        capture_delay_s=exposure_s / 2,
    )


def _take_pass(scan: Scan, angles_deg: NDArray[np.float64], axis: AxisFigures, rise: AxisFigures) -> MsgGenerator[None]:
    """Take one stretch of evenly spaced angles in one pass, into a file of its own."""
    instrument, work = scan.instrument, scan.work
    camera, sample, compare = instrument.microscope.camera, instrument.microscope.sample, instrument.position_compare
    theta = sample.theta
    yield from wait_for_beam(instrument)
    # A pause takes the pass again; what was taken twice counts once.
    yield from bps.checkpoint()
    motion = _lay_out(work, axis, angles_deg, float((yield from bps.rd(theta, default_value=0.0))))
    start, stop = scan.position(motion.start), scan.position(motion.stop)
    rise_um_s = motion.velocity * work.pitch_um_per_turn / 360.0 * np.sign(motion.step)
    yield from bps.mv(theta.velocity, axis.velocity)
    if work.pitch_um_per_turn:
        yield from bps.mv(sample.y.velocity, rise.velocity)
    yield from bps.mv(*start)
    yield from bps.mv(theta.velocity, motion.velocity)
    if work.pitch_um_per_turn:
        # Ramps of one length keep the rise in step with the turn all the way.
        yield from bps.mv(
            sample.y.velocity,
            abs(rise_um_s),
            sample.y.acceleration,
            axis.acceleration_s,
        )
    yield from bps.prepare(
        camera, Acquisition(work.exposure_s, motion.num, work.period_s, trigger="external"), group="ready", wait=False
    )
    yield from bps.prepare(compare, _window(motion, work.exposure_s), group="ready", wait=False)
    yield from bps.wait(group="ready")
    yield from scan.begin_burst()
    yield from bps.kickoff_all(camera, compare, wait=True)
    yield from open_shutter(instrument.fast_shutter)
    if work.pitch_um_per_turn:
        # Two records can't start as one. The height goes first and on beyond the end, so that it rises evenly under
        # every frame; by how much it is ahead stands beside each of them.
        yield from bps.abs_set(sample.y, stop[3] + rise_um_s * BEYOND_S, group=RISE)
        yield from _until_moving(sample.y)
    yield from bps.abs_set(theta, stop[1], group="pass")
    yield from bps.complete(compare, group="pulses", wait=False)
    while not (yield from bps.wait(group="pulses", timeout=COLLECT_S, error_on_timeout=False)):
        yield from scan.look_after()
    yield from _last_frames(scan)
    yield from bps.wait(group="pass")
    if work.pitch_um_per_turn:
        yield from _stop_moves(sample.y, group=RISE)
    yield from close_shutter(instrument.fast_shutter)
    # as many triggers as the box gave, which is not always what it was asked for
    pulses = int((yield from bps.rd(compare.num_captured, default_value=motion.num)))
    yield from scan.enter_burst(pulses)
    yield from bps.trigger_and_read([compare.num_captured], name="pulses")


def _stop_moves(*devices: Any, group: str) -> MsgGenerator[None]:
    """Stop devices whose moves were begun in `group`, and wait until they stand.

    A move that is stopped has failed, and the RunEngine says so at some message after it. Here that is no news, and
    what comes after it in a clean-up has to be done all the same.
    """
    for device in devices:
        yield from _past_failed_moves(bps.stop(device))
    # each failure is told once by the wait and once by the message after it
    for _ in range(2 * len(devices) + 1):
        yield from _past_failed_moves(bps.wait(group=group))


def _past_failed_moves(messages: MsgGenerator[Any]) -> MsgGenerator[None]:
    try:
        yield from messages
    except FailedStatus:
        return


def _until_moving(axis: Any) -> MsgGenerator[None]:
    """Wait until a record says that it moves, for as long as one may take to begin."""
    for _ in range(round(START_S / START_POLL_S)):
        if (yield from bps.rd(axis.motor_is_moving, default_value=1)):
            return
        yield from bps.sleep(START_POLL_S)


def _last_frames(scan: Scan) -> MsgGenerator[None]:
    """Wait for what the driver still delivers after the last pulse, and end it when nothing more comes."""
    camera = scan.instrument.microscope.camera
    yield from bps.complete(camera, group="frames", wait=False)
    limit_s = scan.work.exposure_s + camera.readout_s + LAST_FRAME_S
    delivered = -1
    while not (yield from bps.wait(group="frames", timeout=limit_s, error_on_timeout=False)):
        yield from scan.look_after()
        now = int((yield from bps.rd(camera.audit.acquired, default_value=0)))
        if now == delivered:
            # It waits for pulses that it has missed; the audit says which.
            yield from bps.mv(camera.cam.acquire, 0)
            yield from bps.wait(group="frames")
            return
        delivered = now
