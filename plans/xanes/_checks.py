"""What is looked at before a scan of energies acts: other plans' refusals, earlier doses, how focus follows."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.xanes_estimates import Exposed

__all__ = ["DoseFinder", "describe_focus", "lit_area_um2", "tell_focus"]

log = logging.getLogger(__name__)


@runtime_checkable
class DoseFinder(Protocol):
    """Knows what earlier runs of a scan exposed the sample to."""

    def dose_gy(self, uid: str | int) -> float:
        """Return the dose of the runs of a scan that this run belongs to, Gy."""

    def series_dose_gy(self, series: str) -> float:
        """Return the dose of the tomograms of a series, Gy."""


def lit_area_um2(instrument: Instrument, exposed: Exposed | None) -> float:
    """Return the area that the flux falls on: as told, or the field of view of the whole sensor."""
    if exposed is None:
        return math.nan
    if exposed.area_um2 is not None:
        return exposed.area_um2
    microscope = instrument.microscope
    cam = microscope.camera.cam
    pixel_um = 1e-3 * float(microscope.pixel_size.get()) / int(cam.bin_x.get())
    return float(cam.max_size_x.get()) * float(cam.max_size_y.get()) * pixel_um**2


def describe_focus(instrument: Instrument) -> dict[str, Any]:
    """Return how the zone plate follows the energy, for the start document.

    ``kind`` is "calibrated" from two focus points on, "constant" with one (the same correction at all energies), and
    "nominal" with none.
    """
    points = len(instrument.microscope.zone_plate.focus.points)
    return {"points": points, "kind": ("nominal", "constant")[points] if points < 2 else "calibrated"}


def tell_focus(instrument: Instrument, plan_name: str, energies_ev: Iterable[float]) -> dict[str, Any]:
    """Warn in the log where several energies have no calibrated focus, and return `describe_focus`."""
    told = describe_focus(instrument)
    if told["kind"] != "calibrated" and len(set(energies_ev)) > 1:
        name = instrument.microscope.zone_plate.name
        has = "no focus point" if not told["points"] else "one focus point, its correction taken at all energies"
        log.warning(
            "%s: %s has %s, so images may leave focus with the energy; run xanes.calibrate_tracking first",
            plan_name,
            name,
            has,
        )
    return told
