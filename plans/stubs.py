"""Stubs: parts of plans. None of them opens a run."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.preprocessors import finalize_wrapper
from bluesky.utils import FailedStatus, Msg, MsgGenerator
from numpy.typing import NDArray

from exitwave.devices import Acquisition, ExitwaveError, ShutterError
from exitwave.plans.instrument import Instrument, ShutterDevice

__all__ = [
    "BeamLostError",
    "FrameLossError",
    "SampleReturnError",
    "beam_off",
    "beam_on",
    "check_light",
    "close_shutter",
    "count_beam",
    "open_shutter",
    "record",
    "sample_back",
    "sample_out",
    "select_zone_plate",
    "set_binning",
    "set_energy",
    "set_region",
    "snap",
    "take_burst",
    "take_darks",
    "take_flats",
    "take_projections",
    "wait_for_beam",
]


class BeamLostError(ExitwaveError, RuntimeError):
    """The ring's beam went away while frames were taken."""


class SampleReturnError(ExitwaveError, RuntimeError):
    """The sample did not come back from where flats are taken."""


class FrameLossError(ExitwaveError, RuntimeError):
    """Frames were lost between camera and file."""


def set_energy(instrument: Instrument, energy_kev: float) -> MsgGenerator[None]:
    """Move monochromator, zone plate and detector to a photon energy.

    Raises
    ------
    MotionLimitError
        Before anything moves, if one of the axes can't follow.
    """
    microscope = instrument.microscope
    microscope.energy.check_value(energy_kev)
    yield from bps.mv(microscope.energy, energy_kev)


def select_zone_plate(instrument: Instrument, name: str) -> MsgGenerator[None]:
    """Put a zone plate on the axis and in (nominal or calibrated) focus, and the others out of the beam.

    Raises
    ------
    SettingError
        No zone plate of this name.
    """
    microscope = instrument.microscope
    chosen = microscope.find_zone_plate(name)
    moves: list[Any] = []
    for plate in microscope.zone_plates.values():
        moves += [plate.x, plate.in_position_um if plate is chosen else plate.out_position_um]
    yield from bps.mv(microscope.zone_plate_name, name)
    target = microscope.energy_move((yield from bps.rd(microscope.energy, default_value=8.0)))
    yield from bps.mv(*moves, chosen.z, target.zone_plate_mm)


def set_region(camera: Any, x: int, y: int, width: int, height: int) -> MsgGenerator[tuple[int, int, int, int]]:
    """Set the region of interest of a camera, in pixels of its sensor.

    Returns
    -------
    tuple of int
        The region that was set before.

    Raises
    ------
    SettingError
        The region is not on the sensor.
    """
    camera.check_region(x, y, width, height)
    signals = (camera.cam.min_x, camera.cam.min_y, camera.cam.size_x, camera.cam.size_y)
    before = []
    for signal in signals:
        before.append(int((yield from bps.rd(signal, default_value=0))))
    if tuple(before) != (x, y, width, height):
        # To the corner first: a server clips a size that does not fit behind the old one.
        yield from bps.mv(signals[0], 0, signals[1], 0)
        yield from bps.mv(signals[2], width, signals[3], height)
        yield from bps.mv(signals[0], x, signals[1], y)
    return (before[0], before[1], before[2], before[3])


def set_binning(camera: Any, x: int, y: int | None = None) -> MsgGenerator[tuple[int, int]]:
    """Set how many pixels of a camera are summed into one, along x and y (as x without it).

    Returns
    -------
    tuple of int
        The binning that was set before.

    Raises
    ------
    SettingError
        The camera can't bin so.
    """
    y = x if y is None else y
    camera.check_binning(x, y)
    signals = (camera.cam.bin_x, camera.cam.bin_y)
    before = []
    for signal in signals:
        before.append(int((yield from bps.rd(signal, default_value=1))))
    if tuple(before) != (x, y):
        yield from bps.mv(signals[0], x, signals[1], y)
    return (before[0], before[1])


def open_shutter(shutter: ShutterDevice, *, tries: int = 3, pause_s: float = 1.0) -> MsgGenerator[None]:
    """Open a shutter, and try again when it did not.

    Raises
    ------
    ShutterError
        It is still not open after `tries`.
    """
    yield from _drive_shutter(shutter, "open", tries, pause_s)


def close_shutter(shutter: ShutterDevice, *, tries: int = 3, pause_s: float = 1.0) -> MsgGenerator[None]:
    """Close a shutter, and try again when it did not.

    Raises
    ------
    ShutterError
        It is still not closed after `tries`.
    """
    yield from _drive_shutter(shutter, "close", tries, pause_s)


def _drive_shutter(shutter: ShutterDevice, target: str, tries: int, pause_s: float) -> MsgGenerator[None]:
    for attempt in range(1, tries + 1):
        try:
            yield from bps.abs_set(shutter, target, group=f"{shutter.name}-{target}")
            yield from bps.wait(group=f"{shutter.name}-{target}")
        except FailedStatus as error:
            cause = error.__cause__ or error
            if attempt == tries:
                raise ShutterError(f"{shutter.name}: did not {target} in {tries} tries: {cause}") from error
            yield from bps.sleep(pause_s)
        else:
            return


def wait_for_beam(instrument: Instrument, *, poll_s: float = 2.0, limit_s: float = 12 * 3600) -> MsgGenerator[None]:
    """Wait until the ring reports beam.

    Raises
    ------
    BeamLostError
        No beam within `limit_s`.
    """
    waited_s = 0.0
    while (yield from bps.rd(instrument.ring.beam_available, default_value="Yes")) != "Yes":
        if waited_s >= limit_s:
            raise BeamLostError(f"{instrument.ring.name}: no beam for {limit_s:g} s; ask the control room")
        yield from bps.sleep(poll_s)
        waited_s += poll_s


def beam_on(instrument: Instrument) -> MsgGenerator[bool]:
    """Wait for beam, switch the shaker on and open front end and photon shutter.

    Returns
    -------
    bool
        Whether the photon shutter was open before.
    """
    yield from wait_for_beam(instrument)
    was_open = (yield from bps.rd(instrument.photon_shutter.status, default_value="Closed")) == "Open"
    yield from open_shutter(instrument.front_end_shutter)
    yield from open_shutter(instrument.photon_shutter)
    yield from bps.mv(instrument.condenser.shaker.enable, "On")
    return was_open


def beam_off(instrument: Instrument, *, keep_photon_shutter: bool = False) -> MsgGenerator[None]:
    """Close fast and photon shutter and stop the shaker, each of them whatever the others do."""
    failures = []
    shutters = (
        [instrument.fast_shutter] if keep_photon_shutter else [instrument.fast_shutter, instrument.photon_shutter]
    )
    for shutter in shutters:
        try:
            yield from close_shutter(shutter)
        except ShutterError as error:
            failures.append(str(error))
    yield from bps.mv(instrument.condenser.shaker.enable, "Off")
    if failures:
        raise ShutterError("; ".join(failures))


def sample_out(instrument: Instrument) -> Generator[Msg, Any, float]:
    """Take the sample out of the field of view.

    Returns
    -------
    float
        Where it was, um: what `sample_back` needs.

    Raises
    ------
    MotionLimitError
        The stage can't go that far to either side.
    """
    sample = instrument.microscope.sample
    motor = sample.out_motor
    # The setpoint: a reading has the encoder's noise, and a sample brought back to it would wander.
    here = float((yield from bps.rd(motor.user_setpoint, default_value=0.0)))
    target = here + sample.out_distance_um
    try:
        motor.check_value(target)
    except ExitwaveError:
        target = here - sample.out_distance_um
        motor.check_value(target)
    yield from bps.mv(motor, target)
    return here


def sample_back(
    instrument: Instrument, position_um: float, *, tolerance_px: float = 0.1, tries: int = 3
) -> MsgGenerator[None]:
    """Bring the sample back to where it was, see on the encoder that it is there, and correct if it is not.

    Raises
    ------
    SampleReturnError
        It is further off than `tolerance_px` pixels of the camera after `tries` corrections.
    """
    microscope = instrument.microscope
    motor = microscope.sample.out_motor
    pixel_nm = float((yield from bps.rd(microscope.pixel_size, default_value=30.0)))
    tolerance_um = tolerance_px * pixel_nm * 1e-3
    target_um = position_um
    for _ in range(tries + 1):
        yield from bps.mv(motor, target_um)
        away_um = float((yield from bps.rd(motor, default_value=position_um))) - position_um
        if not abs(away_um) > tolerance_um:
            return
        target_um -= away_um
    raise SampleReturnError(
        f"{motor.dotted_name_of()}: {1e3 * away_um:.3g} nm from where it was after {tries} corrections, over the limit "
        f"of {1e3 * tolerance_um:.3g} nm ({tolerance_px:g} pixel); take the flats by hand or mend the stage"
    )


def count_beam(instrument: Instrument, stream: str = "beam") -> MsgGenerator[None]:
    """Record ion chamber and ring in a stream of their own."""
    yield from bps.trigger_and_read([instrument.i0, instrument.ring], name=stream)


def snap(camera: Any) -> MsgGenerator[NDArray[Any]]:
    """Take one frame with a camera that was prepared for points, and return it, shape (y, x), counts.

    The frame is in the camera's file; `record` makes it part of the run.
    """
    yield from bps.trigger(camera, wait=True)
    frame = yield from bps.rd(camera.latest_frame, default_value=np.ones(camera.frame_shape, np.float32))
    return np.asarray(frame)


def record(stream: str, *devices: Any) -> MsgGenerator[None]:
    """Put what devices say now into an event of a stream, without triggering them."""
    yield from bps.create(stream)
    for device in devices:
        yield from bps.read(device)
    yield from bps.save()


def check_light(instrument: Instrument) -> MsgGenerator[None]:
    """See that frames being taken have light.

    Raises
    ------
    BeamLostError
        The ring has no beam.
    ShutterError
        The photon shutter is closed: an interlock or somebody else did it.
    """
    if (yield from bps.rd(instrument.ring.beam_available, default_value="Yes")) != "Yes":
        raise BeamLostError(
            f"{instrument.ring.name}: beam lost while frames were taken; resume the run when it is back"
        )
    shutter = instrument.photon_shutter
    if (yield from bps.rd(shutter.status, default_value="Open")) != "Open":
        raise ShutterError(f"{shutter.name}: closed while frames were taken; see why, and resume the run")


def take_burst(
    instrument: Instrument, acquisition: Acquisition, stream: str, *, allow_loss: bool = False
) -> MsgGenerator[None]:
    """Take a burst of frames into a stream, and record in the stream ``audit`` what became of them.

    Raises
    ------
    FrameLossError
        Fewer frames are in the file than were asked for, and `allow_loss` is false.
    """
    camera = instrument.microscope.camera
    # A pause or a suspension takes the burst again from here, into a new file.
    yield from bps.checkpoint()
    yield from bps.prepare(camera, acquisition, wait=True)
    yield from bps.declare_stream(camera, name=stream, collect=True)
    yield from bps.kickoff_all(camera, wait=True)
    yield from bps.collect_while_completing([camera], [camera], flush_period=0.5, stream_name=stream)
    yield from bps.trigger_and_read([camera.audit], name="audit")
    written = yield from bps.rd(camera.audit.written, default_value=acquisition.num_frames)
    if written < acquisition.num_frames and not allow_loss:
        raise FrameLossError(
            f"{camera.name}: {acquisition.num_frames:d} frames asked for in {stream!r}, {written:g} written; "
            "take the run again, or look at the file plugin's queue"
        )


def take_darks(instrument: Instrument, acquisition: Acquisition) -> MsgGenerator[None]:
    """Take frames with the fast shutter closed into the stream ``dark``."""
    yield from close_shutter(instrument.fast_shutter)
    yield from take_burst(instrument, acquisition, "dark")


def take_flats(instrument: Instrument, acquisition: Acquisition) -> MsgGenerator[None]:
    """Take frames without the sample into the stream ``flat``; the sample is back afterwards, whatever happens."""
    position_um = yield from sample_out(instrument)

    def expose() -> MsgGenerator[None]:
        yield from open_shutter(instrument.fast_shutter)
        yield from count_beam(instrument)
        yield from take_burst(instrument, acquisition, "flat")
        yield from close_shutter(instrument.fast_shutter)

    def put_back() -> MsgGenerator[None]:
        yield from sample_back(instrument, position_um)

    yield from finalize_wrapper(expose(), put_back)


def take_projections(
    instrument: Instrument, acquisition: Acquisition, *, stream: str = "primary"
) -> MsgGenerator[None]:
    """Take frames of the sample into the stream ``primary``.

    Raises
    ------
    BeamLostError
        The ring's beam went away meanwhile.
    """
    yield from wait_for_beam(instrument)
    yield from open_shutter(instrument.fast_shutter)
    yield from count_beam(instrument)
    yield from take_burst(instrument, acquisition, stream)
    yield from close_shutter(instrument.fast_shutter)
    if (yield from bps.rd(instrument.ring.beam_available, default_value="Yes")) != "Yes":
        raise BeamLostError(f"{instrument.ring.name}: beam lost while frames were taken; take the run again")
