"""Tomography step by step: the axis rests at every angle, and turns while the camera reads out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.utils import MsgGenerator
from numpy.typing import NDArray

from exitwave.devices import Acquisition
from exitwave.plans.ct._common import Scan, check_output, run_tomography
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.angles import AngleOrder, projection_angles
from exitwave.plans.pure.tomography import FlatPlaces, Tomography
from exitwave.plans.stubs import FrameLossError, close_shutter, open_shutter, wait_for_beam

__all__ = ["run_steps", "step_tomography", "take_steps"]

RETAKES = 3


def step_tomography(
    instrument: Instrument,
    start_deg: float = 0.0,
    stop_deg: float = 180.0,
    num_projections: int = 180,
    *,
    exposure_s: float = 1.0,
    order: AngleOrder = "sequential",
    interlaces: int = 4,
    exclude_deg: Sequence[tuple[float, float]] = (),
    num_flats: int = 20,
    num_darks: int = 20,
    flats: FlatPlaces = "both",
    flats_every: int = 0,
    pitch_um_per_turn: float = 0.0,
    output: str | Path | None = None,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Take a tomogram with the sample at rest during each exposure.

    The camera is armed once and triggered at every angle; the axis moves on as soon as an exposure has ended. A
    frame that was lost is found by the angles in the file and taken again.

    Streams: ``dark``, ``flat``, ``primary`` (frames, with the encoder's angle at mid-exposure of each), ``beam``
    (ion chamber and ring), ``audit`` (each burst), ``frame_audit`` (the projections of the whole run).

    Parameters
    ----------
    instrument : Instrument
    start_deg, stop_deg : float
        The range; the end itself is left out: 180 projections over 0 to 180 are 1 deg apart.
    num_projections : int
    exposure_s : float
    order, interlaces, exclude_deg
        See `exitwave.plans.pure.angles.projection_angles`.
    num_flats, num_darks : int
        At each place of flats; darks once, at the beginning.
    flats : {"before", "after", "both", "none"}
    flats_every : int
        Flats also after every so many projections; 0 for not.
    pitch_um_per_turn : float
        Helical: how far the sample rises in a turn.
    output : path, optional
        Export the tomogram here when the run ends: ``.nxs`` NXtomo, ``.h5`` Data Exchange.
    md : mapping, optional

    Returns
    -------
    str
        The run's uid.

    Raises
    ------
    PlanInputError, SettingError, StorageSpaceError, MotionLimitError
        Before anything moves, when the request can't be met.
    FrameLossError
        Frames are still missing after three retakes.
    """
    work = Tomography(
        "step",
        tuple(
            projection_angles(
                start_deg, stop_deg, num_projections, order=order, interlaces=interlaces, exclude_deg=exclude_deg
            ).tolist()
        ),
        exposure_s,
        num_flats=num_flats,
        num_darks=num_darks,
        flats=flats,
        flats_every=flats_every,
        pitch_um_per_turn=pitch_um_per_turn,
    )
    arguments = {
        "start_deg": start_deg,
        "stop_deg": stop_deg,
        "num_projections": num_projections,
        "exposure_s": exposure_s,
        "order": order,
    }
    return (
        yield from run_steps(
            instrument, work, plan_name="step_tomography", plan_args=arguments, output=check_output(output), md=md
        )
    )


def run_steps(
    instrument: Instrument,
    work: Tomography,
    *,
    plan_name: str,
    plan_args: Mapping[str, Any],
    output: str | None = None,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Take a tomogram that was laid out, step by step."""
    sample = instrument.microscope.sample
    return (
        yield from run_tomography(
            instrument,
            work,
            take_steps,
            plan_name=plan_name,
            plan_args=plan_args,
            motors=[sample.theta, *([sample.y] if work.pitch_um_per_turn else [])],
            output=output,
            md=md,
        )
    )


def take_steps(scan: Scan, angles_deg: NDArray[np.float64]) -> MsgGenerator[None]:
    """Take the projections of one block into one file, and again what was lost.

    Raises
    ------
    FrameLossError, BeamLostError, ShutterError
    """
    instrument, camera = scan.instrument, scan.instrument.microscope.camera
    yield from wait_for_beam(instrument)
    yield from bps.mv(*scan.position(angles_deg[0]))
    yield from open_shutter(instrument.fast_shutter)
    yield from bps.checkpoint()
    yield from bps.prepare(camera, Acquisition(scan.work.exposure_s, trigger="software"), wait=True)
    yield from scan.begin_burst()
    yield from bps.kickoff(camera, wait=True)
    wanted, triggered = angles_deg, 0
    for _ in range(1 + RETAKES):
        for angle in wanted:
            yield from bps.checkpoint()
            yield from bps.mv(*scan.position(angle))
            yield from bps.trigger(camera, group="exposure", wait=False)
            yield from scan.look_after()
            yield from bps.wait(group="exposure")
        triggered += len(wanted)
        yield from bps.complete(camera, wait=True)
        yield from scan.see()
        wanted = scan.missing_of(angles_deg)
        if not len(wanted):
            break
    yield from bps.mv(camera.cam.acquire, 0)
    yield from close_shutter(instrument.fast_shutter)
    yield from scan.enter_burst(triggered)
    if len(wanted):
        raise FrameLossError(
            f"{camera.name}: {len(wanted)} of {len(angles_deg)} projections are missing after {RETAKES} retakes, the "
            f"first at {wanted[0]:g} deg; look at the file plugin's queue, then resume the run"
        )
