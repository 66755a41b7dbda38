"""A tomogram at every energy: what is refused before the first of them, and the way from one to the next."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import MsgGenerator

from exitwave.plans import ct
from exitwave.plans.ct._common import axis_figures
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.angles import projection_angles
from exitwave.plans.pure.positions import PlanInputError
from exitwave.plans.pure.rotation import AxisFigures
from exitwave.plans.pure.tomography import Tomography, estimated_s, fly_period_s
from exitwave.plans.pure.xanes_estimates import Exposed, absorbed_dose_gy, check_dose, lit_s
from exitwave.plans.runs import check_arguments, check_only
from exitwave.plans.stubs import beam_off, beam_on
from exitwave.plans.xanes._checks import DoseFinder, lit_area_um2, tell_focus
from exitwave.plans.xanes._moves import move_to_energy
from exitwave.plans.xanes.feedback import Feedback, feed_back

__all__ = ["TomogramsByEnergy", "take_series"]

log = logging.getLogger(__name__)
OWN = ("instrument", "start_deg", "stop_deg", "num_projections", "exposure_s", "num_flats", "num_darks", "md")
"""Arguments of a tomography plan that the series gives itself."""


@dataclass(frozen=True)
class TomogramsByEnergy:
    """What a series of tomograms is.

    Parameters
    ----------
    energies_ev, exposures_s, edges_ev : tuple of float
    numbers : tuple of int
        Which of the energies are taken.
    mode : {"fly", "step"}
    start_deg, stop_deg, num_projections, num_flats, num_darks
        As for the tomography plan.
    options : mapping
        Its further arguments.
    """

    energies_ev: tuple[float, ...]
    exposures_s: tuple[float, ...]
    edges_ev: tuple[float, ...]
    numbers: tuple[int, ...]
    mode: Literal["fly", "step"]
    start_deg: float
    stop_deg: float
    num_projections: int
    num_flats: int
    num_darks: int
    options: Mapping[str, Any]

    @property
    def plan(self) -> Callable[..., MsgGenerator[str]]:
        """What takes one tomogram."""
        return ct.fly_tomography if self.mode == "fly" else ct.step_tomography

    def tomogram(self, instrument: Instrument, k: int, md: Mapping[str, Any] | None = None) -> MsgGenerator[str]:
        """Return the plan that takes the tomogram of an energy."""
        return self.plan(
            instrument,
            self.start_deg,
            self.stop_deg,
            self.num_projections,
            exposure_s=self.exposures_s[k],
            num_flats=self.num_flats,
            num_darks=self.num_darks,
            md=md,
            **self.options,
        )

    def layout(self, k: int, axis: AxisFigures, readout_s: float) -> Tomography:
        """Return what the tomogram of an energy is: its frames, and how long each takes."""
        order = {key: value for key, value in self.options.items() if key in ("order", "interlaces", "exclude_deg")}
        angles = projection_angles(self.start_deg, self.stop_deg, self.num_projections, **order)
        step_deg = (self.stop_deg - self.start_deg) / self.num_projections
        flats = {key: value for key, value in self.options.items() if key in ("flats", "flats_every")}
        period_s = 0.0
        if self.mode == "fly":
            velocity = self.options.get("velocity_deg_s")
            period_s = fly_period_s(self.exposures_s[k], readout_s, step_deg, velocity, axis)
        return Tomography(
            self.mode,
            tuple(angles.tolist()),
            self.exposures_s[k],
            period_s,
            step_deg,
            self.num_flats,
            self.num_darks,
            tolerance_deg=0.45 * abs(step_deg),
            **flats,
        )

    def check_options(self) -> None:
        """Refuse arguments that the tomography plan does not take.

        Raises
        ------
        PlanInputError
        """
        check_arguments(self.plan, self.options, own=OWN)
        if self.options.get("output") is not None and len(self.numbers) > 1:
            raise PlanInputError(
                f"output: one file for {len(self.numbers)} tomograms; leave it out, and export the runs afterwards"
            )


def take_series(
    instrument: Instrument,
    work: TomogramsByEnergy,
    *,
    keep: str | None,
    feedback: Feedback,
    exposed: Exposed | None,
    series: str | None,
    md: Mapping[str, Any] | None,
) -> MsgGenerator[list[str]]:
    """Refuse what can't be done at any of the energies, then take a tomogram at each.

    Returns
    -------
    list of str
        Uids.
    """
    microscope = instrument.microscope
    kept_before = microscope.keep
    if keep not in (None, "detector", "magnification"):
        raise PlanInputError(f"keep: {keep!r} is neither 'detector' nor 'magnification'")
    work.check_options()
    start_kev = float((yield from bps.rd(microscope.energy, default_value=8.0)))
    magnification = microscope.magnification_now() if (keep or kept_before) == "magnification" else None
    microscope.keep = keep or kept_before
    try:
        for k in work.numbers:
            microscope.energy_move(1e-3 * work.energies_ev[k], magnification=magnification)
    finally:
        microscope.keep = kept_before
    for exposure_s in sorted({work.exposures_s[k] for k in work.numbers}):
        yield from check_only(work.tomogram(instrument, work.exposures_s.index(exposure_s)))
    axis = yield from axis_figures(microscope.sample.theta)
    layouts = {k: work.layout(k, axis, microscope.camera.readout_s) for k in work.numbers}
    frames = sum(layout.num_frames for layout in layouts.values())
    microscope.camera.check_storage(frames)
    doses = _doses(instrument, work, layouts, axis, exposed, series)
    readout_s = microscope.camera.readout_s
    estimate = {
        "seconds": round(sum(estimated_s(layout, axis, readout_s) for layout in layouts.values()), 1),
        "frames": frames,
        "gigabytes": frames * microscope.camera.frame_bytes / 1e9,
        "dose_gy": None if exposed is None else sum(told["dose_gy"] for told in doses.values()),
    }
    told_gy = "" if exposed is None else f", {estimate['dose_gy']:.3g} Gy"
    log.info(
        "xanes_tomography: %d energies, %.1f min, %d frames, %.3g GB%s",
        len(work.numbers),
        estimate["seconds"] / 60.0,
        frames,
        estimate["gigabytes"],
        told_gy,
    )
    about = {
        "uid": series or str(uuid.uuid4()),
        "energies_ev": list(work.energies_ev),
        "edges_ev": list(work.edges_ev),
        "exposed": None if exposed is None else dict(vars(exposed)),
        "focus_tracking": tell_focus(instrument, "xanes_tomography", [work.energies_ev[k] for k in work.numbers]),
        "tracking": microscope.zone_plate.focus.describe(),
        "feedback": feedback.describe(),
        # of the tomograms alone: the way from energy to energy is not in it
        "estimate": estimate,
    }
    uids: list[str] = []

    def body() -> MsgGenerator[None]:
        microscope.keep = keep or kept_before
        yield from beam_on(instrument)
        yield from feedback.begin(instrument)
        for count, k in enumerate(work.numbers):
            yield from move_to_energy(instrument, 1e-3 * work.energies_ev[k], magnification=magnification)
            yield from feed_back(instrument, feedback, count)
            yield from feedback.wait_for_intensity(instrument)
            named = {**about, "number": k, "energy_ev": work.energies_ev[k]}
            own = {"exposed": doses[k]} if exposed is not None else {}
            uids.append((yield from work.tomogram(instrument, k, {**own, **(md or {}), "xanes_series": named})))

    def end() -> MsgGenerator[None]:
        try:
            yield from beam_off(instrument)
            yield from move_to_energy(instrument, start_kev, magnification=magnification, beyond=True)
        finally:
            microscope.keep = kept_before

    yield from bpp.finalize_wrapper(body(), end)
    return uids


def _doses(
    instrument: Instrument,
    work: TomogramsByEnergy,
    layouts: Mapping[int, Tomography],
    axis: AxisFigures,
    exposed: Exposed | None,
    series: str | None,
) -> dict[int, dict[str, Any]]:
    """Return what each tomogram's start document says of the dose, and refuse a series that exceeds the limit.

    From ``per_frame_gy`` and the frames that a run took, the ledger knows what it gave, whether it ended well or not.
    """
    if exposed is None:
        return {}
    area_um2 = lit_area_um2(instrument, exposed)
    doses: dict[int, dict[str, Any]] = {}
    for k, layout in layouts.items():
        time_s, num = lit_s(layout, axis), len(layout.angles_deg)
        dose_gy = absorbed_dose_gy(exposed.material, work.energies_ev[k], exposed.flux_per_s, area_um2, time_s)
        doses[k] = {
            **vars(exposed),
            "area_um2": area_um2,
            "dose_gy": dose_gy,
            "per_frame_s": time_s / num,
            "per_frame_gy": dose_gy / num,
        }
    finder = instrument.spectra
    before_gy = finder.series_dose_gy(series) if series is not None and isinstance(finder, DoseFinder) else 0.0
    check_dose(sum(told["dose_gy"] for told in doses.values()), exposed, before_gy=before_gy)
    return doses
