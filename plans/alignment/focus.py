"""Focus of the zone plate, from coarse to fine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator

from exitwave.analysis.errors import FocusRangeError
from exitwave.plans.focusing import FocusPass, search_focus
from exitwave.plans.instrument import Instrument

__all__ = ["FOCUS_PASSES", "FocusPass", "zone_plate_focus"]

TRIES = 3
"""How often a pass is taken, each time centred on where the one before pointed, before the search is given up."""

# Far from focus only the coarsest structure is left, and there is little of it in a small region: the whole one first.
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
                uid = yield from search_focus(
                    instrument, one, centre_mm, plan_name="zone_plate_focus", md=md, found=found
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
