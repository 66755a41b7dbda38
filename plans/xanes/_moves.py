"""Where things go in a scan of energies: to an energy from one side, and the sample out of the way."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import Msg, MsgGenerator

from exitwave.devices import ExitwaveError
from exitwave.plans.instrument import Instrument

__all__ = ["REVERSAL_EV", "move_to_energy", "out_target", "sample_home"]

REVERSAL_EV = 10.0
"""How far beyond an energy the monochromator goes to come to it from its side."""


def out_target(sample: Any, home_um: float) -> float:
    """Return where the sample leaves the field of view, to whichever side it can.

    Raises
    ------
    MotionLimitError
        To neither.
    """
    motor = sample.out_motor
    try:
        motor.check_value(home_um + sample.out_distance_um)
    except ExitwaveError:
        motor.check_value(home_um - sample.out_distance_um)
        return float(home_um - sample.out_distance_um)
    return float(home_um + sample.out_distance_um)


def sample_home(instrument: Instrument) -> Generator[Msg, Any, dict[str, float]]:
    """Return where the sample stage was told to be: a reading has the encoder's noise."""
    sample = instrument.microscope.sample
    home = {}
    for name in ("x", "y", "z", "theta"):
        signal = getattr(sample, name).user_setpoint
        home[name] = float((yield from bps.rd(signal, default_value=0.0)))
    return home


def move_to_energy(
    instrument: Instrument,
    energy_kev: float,
    *,
    magnification: float | None = None,
    rising: bool = True,
    beyond: bool = False,
) -> MsgGenerator[None]:
    """Go to an energy from the side that the scan comes from: the screws of the monochromator have play.

    Raises
    ------
    MotionLimitError, FocusCalibrationError
        Before anything moves.
    """
    microscope = instrument.microscope
    move = microscope.energy_move(energy_kev, beyond=beyond, magnification=magnification)
    here_kev = yield from bps.rd(microscope.mono.energy, default_value=energy_kev)
    side = 1.0 if rising else -1.0
    if side * (here_kev - energy_kev) > -1e-6:
        start = energy_kev - side * REVERSAL_EV * 1e-3
        low, high = microscope.mono.energy_range_kev
        if low <= start <= high:
            yield from bps.mv(microscope.mono.energy, start)
    yield from bps.mv(*(part for pair in microscope.energy_targets(move) for part in pair))
