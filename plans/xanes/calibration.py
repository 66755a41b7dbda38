"""Before a scan: where every energy is in focus, where the lens stands sideways there, and the crystals' best pitch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
from bluesky.utils import MsgGenerator
from numpy.typing import NDArray

from exitwave.analysis.xanes import StackOperator, align
from exitwave.devices import FocusPoint
from exitwave.plans.alignment import FOCUS_PASSES, FocusPass, rocking_curve, zone_plate_focus
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import PlanInputError, require_finite
from exitwave.plans.pure.xanes import Shot, XanesScan
from exitwave.plans.runs import start_metadata
from exitwave.plans.xanes._moves import move_to_energy
from exitwave.plans.xanes._run import run_scan
from exitwave.plans.xanes._scan import Walk

__all__ = ["calibrate_pitch", "calibrate_tracking", "image_shifts_um", "lens_offset_um", "restore_tracking"]

Image = NDArray[Any]
BAND = 0.15
"""Cycles per pixel up to which pictures are compared: beyond, a single frame has little but noise."""


def image_shifts_um(pictures: Sequence[Image], pixels_nm: Sequence[float]) -> list[tuple[float, float]]:
    """Return how far each picture stands from the first one, to the right and up, um at the sample.

    Every two of them are registered, and all displacements together give the places: pictures on either side of an
    absorption edge have little in common, and more with one another's neighbours.

    Parameters
    ----------
    pictures : optical depths (y, x)
        By energy; of one shape.
    pixels_nm : sequence of float
        Of each picture, at the sample.

    Raises
    ------
    FitError
        Two of them have nothing in common.
    """
    pixels, shape = np.asarray(pixels_nm, np.float64), pictures[0].shape
    start = StackOperator.identity(len(pictures), (shape[0], shape[1]), scale=pixels[0] / pixels)
    found = align(pictures, start, spans=range(1, len(pictures)), highest_frequency=BAND)
    return [(1e-3 * pixels[0] * dx, -1e-3 * pixels[0] * dy) for dy, dx in found.displacement_px]


def lens_offset_um(shift_um: tuple[float, float], magnification: float) -> tuple[float, float]:
    """Return how far a lens stands off the axis, from how far its image does (both to the right and up, um).

    A lens that is moved by L moves the image of a fixed object by L (1 + M) on the detector, against the sense of an
    upright picture; that is L (1 + 1/M) at the object.
    """
    back = -magnification / (magnification + 1.0)
    return back * shift_um[0], back * shift_um[1]


def calibrate_tracking(
    instrument: Instrument,
    energies_kev: Sequence[float],
    passes: Sequence[FocusPass] = FOCUS_PASSES,
    *,
    runout: bool = True,
    exposure_s: float = 1.0,
    num_frames: int = 4,
    add: bool = False,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[list[str]]:
    """Find focus at several energies, and what the zone plate's z axis does sideways between them.

    At each energy focus is searched as by `exitwave.plans.alignment.zone_plate_focus`. Then the sample is imaged once
    more at all energies, one after the other, and at the first one again; the images, brought to one magnification,
    tell how far the lens ran out, and the last one how far the sample drifted meanwhile. The points go into the focus
    calibration of the zone plate (``zone_plate.focus``), each with its date, optics and run; remove one by
    ``zone_plate.focus.remove(energy_kev)``.

    Streams of the last run: as of `exitwave.plans.xanes.imaging`, and ``tracking``: one event for each point.

    Parameters
    ----------
    instrument : Instrument
    energies_kev : sequence of float
        Two or more, rising; scans may then go from the first to the last.
    passes : sequence of FocusPass
        Of each search; those after the first energy leave the coarsest out, for the calibration so far leads close.
    runout : bool
        Measure sideways runout too.
    exposure_s, num_frames
        Of the images that tell it.
    add : bool
        Keep the points that are there and add these; otherwise they replace them.

    Returns
    -------
    list of str
        Uids of the runs.

    Raises
    ------
    PlanInputError, MotionLimitError
        Before anything moves.
    FitError
        Focus was not found at an energy; the calibration is what it was before.
    FocusCalibrationError
        The points disagree; likewise.
    """
    microscope = instrument.microscope
    plate = microscope.zone_plate
    energies = [require_finite("energy", energy, "keV", positive=True) for energy in energies_kev]
    if len(energies) < 2 or any(b - a < 1e-4 for a, b in itertools.pairwise(energies)):
        raise PlanInputError(f"energies_kev: {energies} are not two or more that rise; give them in keV")
    for energy_kev in energies:
        microscope.energy_move(energy_kev, beyond=True)
    before = list(plate.focus.points)
    uids: list[str] = []
    done = False

    def body() -> MsgGenerator[None]:
        nonlocal done
        if not add:
            plate.focus.clear()
        for number, energy_kev in enumerate(energies):
            yield from move_to_energy(instrument, energy_kev, beyond=True)
            near = number > 0 and len(passes) > 1
            uids.extend((yield from zone_plate_focus(instrument, passes[1:] if near else passes, md=md)))
        plate.focus.check()
        if runout:
            uids.append((yield from _measure_runout(instrument, energies, exposure_s, num_frames, md)))
        else:
            uids.append((yield from _write_down(instrument, energies, md)))
        found = [replace(point, run=uids[-1]) if _among(point, energies) else point for point in plate.focus.points]
        plate.focus.restore(vars(point) for point in found)
        done = True

    def end() -> MsgGenerator[None]:
        if not done:
            plate.focus.points = before
        yield from bps.null()

    yield from bpp.finalize_wrapper(body(), end)
    return uids


def _among(point: FocusPoint, energies: Sequence[float]) -> bool:
    return any(abs(point.energy_kev - energy) < 1e-4 for energy in energies)


def _record_point(instrument: Instrument, point: FocusPoint, seen: tuple[float, float]) -> MsgGenerator[None]:
    record, plate = instrument.microscope.tracking_record, instrument.microscope.zone_plate
    # Where the sideways place is not known it is the present one.
    x_um = float((yield from bps.rd(plate.x.user_setpoint, default_value=0.0))) if point.x_um is None else point.x_um
    y_um = float((yield from bps.rd(plate.y.user_setpoint, default_value=0.0))) if point.y_um is None else point.y_um
    yield from bps.mv(
        record.energy, point.energy_kev, record.correction, point.correction_mm,
        record.uncertainty, point.uncertainty_mm, record.x, x_um, record.y, y_um,
        record.shift_x, seen[0], record.shift_y, seen[1], record.sideways, int(point.x_um is not None),
    )  # fmt: skip
    yield from bps.trigger_and_read([record], name="tracking")


def _write_down(instrument: Instrument, energies: Sequence[float], md: Mapping[str, Any] | None) -> MsgGenerator[str]:
    """Put the points into a run of their own, for `restore_tracking` to find; nothing moves."""
    microscope = instrument.microscope

    def body() -> MsgGenerator[None]:
        for point in microscope.zone_plate.focus.points:
            if _among(point, energies):
                yield from _record_point(instrument, point, (0.0, 0.0))

    metadata = start_metadata(
        instrument,
        "calibrate_tracking",
        {"energies_kev": list(energies)},
        technique="transmission X-ray microscopy",
        detectors=[],
        num_points=len(energies),
        md=md,
    )
    return (yield from bpp.run_wrapper(body(), md=metadata))


def restore_tracking(instrument: Instrument, uid: str | int | None = None) -> MsgGenerator[None]:
    """Take the focus calibration of an earlier run of `calibrate_tracking` again, in place of the present one.

    Parameters
    ----------
    instrument : Instrument
    uid : str or int, optional
        The last of the runs that `calibrate_tracking` made, as for `open_run`; the newest there is without it.

    Raises
    ------
    PlanInputError
        There is no such run.
    FocusCalibrationError
        The points are another zone plate's than the one in use.
    """
    finder = instrument.spectra
    found = None if finder is None else (finder.newest("calibrate_tracking") if uid is None else uid)
    if finder is None or found is None:
        raise PlanInputError("restore_tracking: no run of calibrate_tracking is known; calibrate, or give its uid")
    plate = instrument.microscope.zone_plate
    name, points = finder.tracking(found)
    theirs = instrument.microscope.find_zone_plate(name).name
    plate.focus.restore({**point, "zone_plate": theirs} for point in points)
    yield from bps.null()


def _measure_runout(
    instrument: Instrument, energies: Sequence[float], exposure_s: float, num: int, md: Mapping[str, Any] | None
) -> MsgGenerator[str]:
    microscope = instrument.microscope
    plate = microscope.zone_plate
    steps_ev = tuple(1e3 * energy for energy in energies)
    work = XanesScan(steps_ev, (exposure_s,) * len(steps_ev), num_frames=num, num_flats=num, num_darks=0)
    back = XanesScan(steps_ev[:1], (exposure_s,), num_frames=num, num_flats=num, num_darks=0)
    images: list[tuple[Image, float]] = []
    for point in plate.focus.points:
        if _among(point, energies):
            plate.focus.add(replace(point, x_um=None, y_um=None))

    def look(shot: Shot, frame: Image, flat: Image | None, told: Mapping[str, float]) -> None:
        light = np.maximum(frame, 1).astype(np.float32)
        if flat is not None:
            light /= np.maximum(flat, 1).astype(np.float32)
        images.append((-np.log(light), told["pixel"]))

    def body(walk: Walk) -> MsgGenerator[None]:
        yield from walk.go(work)
        yield from walk.go(back, darks=False)
        if len(images) != len(energies) + 1:
            return
        x_um = float((yield from bps.rd(plate.x.user_setpoint, default_value=0.0)))
        y_um = float((yield from bps.rd(plate.y.user_setpoint, default_value=0.0)))
        # it changes by some percent over a scan, and goes in as 1 + 1/M
        magnification = microscope.magnification_now()
        *shifts, drift = image_shifts_um([picture for picture, _ in images], [pixel_nm for _, pixel_nm in images])
        for number, (energy_kev, shift) in enumerate(zip(energies, shifts, strict=True)):
            share = number / len(energies)
            seen = (shift[0] - share * drift[0], shift[1] - share * drift[1])
            offset = lens_offset_um(seen, magnification)
            point = next(p for p in plate.focus.points if abs(p.energy_kev - energy_kev) < 1e-4)
            point = replace(point, x_um=x_um - offset[0], y_um=y_um - offset[1])
            plate.x.check_value(point.x_um)
            plate.y.check_value(point.y_um)
            plate.focus.add(point)
            yield from _record_point(instrument, point, seen)

    return (
        yield from run_scan(
            instrument,
            work,
            plan_name="calibrate_tracking",
            plan_args={"energies_kev": list(energies), "exposure_s": exposure_s},
            body=body,
            look=look,
            most_frames=work.num_frames_in_all + back.num_frames_in_all,
            md={"num_frames": {}, "num_points": None, **(md or {})},
        )
    )


def calibrate_pitch(
    instrument: Instrument,
    energies_kev: Sequence[float],
    *,
    span_urad: float = 120.0,
    num: int = 31,
    integration_s: float = 0.2,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[list[str]]:
    """Find the best pitch of the second crystal at several energies; it then follows the energy.

    Returns
    -------
    list of str
        Uids of the rocking curves.

    Raises
    ------
    PlanInputError, MotionLimitError
        Before anything moves.
    FitError
        No peak at an energy; the calibration is what it was before.
    """
    microscope = instrument.microscope
    mono = microscope.mono
    if not energies_kev:
        raise PlanInputError("energies_kev: none are given; give one or more, keV")
    energies = sorted(require_finite("energy", energy, "keV", positive=True) for energy in energies_kev)
    for energy_kev in energies:
        microscope.energy_move(energy_kev, beyond=True)
    uids: list[str] = []
    points: list[tuple[float, float]] = []
    for energy_kev in energies:
        yield from move_to_energy(instrument, energy_kev, beyond=True)
        uids.append((yield from rocking_curve(instrument, span_urad, num, integration_s=integration_s, md=md)))
        bragg = float((yield from bps.rd(mono.bragg, default_value=float(len(points)))))
        points.append((bragg, float((yield from bps.rd(mono.pitch.user_setpoint, default_value=0.0)))))
    mono.pitch_calibration.set_points(points)
    return uids
