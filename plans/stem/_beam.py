"""Stubs about the beam: what it needs, and that it is on the specimen only while it is wanted there."""

from __future__ import annotations

from collections.abc import Sequence

import bluesky.plan_stubs as bps
from bluesky.utils import FailedStatus, MsgGenerator

from exitwave.devices.stem import BeamError, DoseLimitError
from exitwave.plans.instrument import ElectronMicroscope
from exitwave.plans.pure.stem import Exposure, require_dose
from exitwave.plans.stubs import close_shutter, open_shutter

__all__ = [
    "blank",
    "check_column",
    "check_dose",
    "check_planned_dose",
    "close_valves",
    "make_safe",
    "new_area",
    "open_valves",
    "unblank",
]


def check_column(microscope: ElectronMicroscope) -> MsgGenerator[None]:
    """See that there can be beam: high voltage, valves, vacuum.

    Raises
    ------
    BeamError
        The first that is missing, and what to do.
    """
    column = microscope.column
    if (yield from bps.rd(column.high_tension, default_value="On")) != "On":
        raise BeamError(f"{column.name}: high voltage is off; bring it up first")
    for valve in (microscope.gun_valve, microscope.column_valve):
        state = yield from bps.rd(valve.status, default_value="Open")
        if state != "Open":
            raise BeamError(f"{valve.name}: is {state}; open it first: RE(stem.open_valves())")
    vacuum = microscope.vacuum
    for place, limit in vacuum.limits_mbar.items():
        pressure = float((yield from bps.rd(getattr(vacuum, place), default_value=0.0)))
        if not pressure <= limit:
            raise BeamError(f"{vacuum.name}.{place}: {pressure:.2g} mbar is over {limit:g} mbar; wait for the pumps")


def unblank(microscope: ElectronMicroscope) -> MsgGenerator[None]:
    """Let the beam onto the specimen.

    Raises
    ------
    BeamError
        There can be none, or the blanker does not follow.
    """
    yield from check_column(microscope)
    yield from bps.mv(microscope.blanker, "unblanked")


def blank(microscope: ElectronMicroscope, *, tries: int = 3) -> MsgGenerator[None]:
    """Keep the beam from the specimen; where the blanker does not follow, close the column valve.

    Raises
    ------
    BeamError
        The blanker did not follow; the valve was closed in its place.
    """
    blanker = microscope.blanker
    for attempt in range(1, tries + 1):
        try:
            yield from bps.mv(blanker, "blanked")
        except FailedStatus as error:
            if attempt == tries:
                yield from close_shutter(microscope.column_valve)
                raise BeamError(
                    f"{blanker.name}: did not blank in {tries} tries; {microscope.column_valve.name} was closed instead"
                ) from error
        else:
            return


def open_valves(microscope: ElectronMicroscope) -> MsgGenerator[None]:
    """Blank the beam and open the valves of the column."""
    yield from blank(microscope)
    for valve in (microscope.gun_valve, microscope.column_valve):
        yield from open_shutter(valve)


def close_valves(microscope: ElectronMicroscope) -> MsgGenerator[None]:
    """Blank the beam and close the valves of the column."""
    yield from blank(microscope)
    for valve in (microscope.column_valve, microscope.gun_valve):
        yield from close_shutter(valve)


def new_area(microscope: ElectronMicroscope) -> MsgGenerator[None]:
    """Say that the beam now meets a fresh area of the specimen: its dose begins at zero.

    Raises
    ------
    BeamError
        The dose does not stay at zero.
    """
    yield from blank(microscope)
    yield from bps.mv(microscope.dose.reset_command, 1)
    # The meter shows it a moment later, and what it shows is what plans reckon with.
    for _ in range(100):
        if not (yield from bps.rd(microscope.dose.accumulated, default_value=0.0)):
            return
        yield from bps.sleep(0.02)
    raise BeamError(f"{microscope.dose.name}: did not begin anew within 2 s; is the beam blanked?")


def check_dose(microscope: ElectronMicroscope, limit_e_a2: float | None) -> MsgGenerator[None]:
    """See that the dose is below a limit.

    Raises
    ------
    DoseLimitError
        It is not.
    """
    if limit_e_a2 is None:
        return
    accumulated = float((yield from bps.rd(microscope.dose.accumulated, default_value=0.0)))
    if accumulated >= limit_e_a2 * (1.0 - 1e-9):
        raise DoseLimitError(
            f"{microscope.dose.name}: {accumulated:.4g} e/A2, the limit of {limit_e_a2:.4g} e/A2 is reached and the "
            "beam blanked; give a higher limit, or RE(stem.new_area()) where the beam meets a fresh area"
        )


def check_planned_dose(
    microscope: ElectronMicroscope, exposures: Sequence[Exposure], limit_e_a2: float | None
) -> MsgGenerator[None]:
    """Refuse exposures that would go over a limit, before the beam is unblanked.

    Raises
    ------
    PlanInputError
    """
    if limit_e_a2 is None:
        return
    current_pa = float((yield from bps.rd(microscope.column.beam_current, default_value=100.0)))
    accumulated = float((yield from bps.rd(microscope.dose.accumulated, default_value=0.0)))
    require_dose(exposures, current_pa, accumulated=accumulated, limit=limit_e_a2)


def make_safe(microscope: ElectronMicroscope) -> MsgGenerator[None]:
    """Blank the beam and stop whatever an interrupted plan may have left running."""
    yield from blank(microscope)
    stage = microscope.goniometer
    axes = (stage.x, stage.y, stage.z, stage.alpha, stage.beta)
    for device in (microscope.scan, microscope.haadf, microscope.eds, *axes):
        yield from bps.stop(device)
    yield from bps.mv(microscope.dose.hardware_limit, 0.0)
