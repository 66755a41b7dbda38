"""A scan of frames as a run of its own: what is refused, what is noted, and what it is taken with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator

from exitwave.analysis.eds import EnergyAxis, EnergyWindow, Surroundings
from exitwave.devices.stem import ScanSettings
from exitwave.plans.instrument import ElectronMicroscope
from exitwave.plans.pure.positions import PlanInputError, require_finite
from exitwave.plans.pure.stem import (
    DriftTracker,
    Windows,
    check_windows,
    dose_rate_e_a2_s,
    frames_within,
    named_windows,
    sample_of,
)
from exitwave.plans.stem._frames import FrameScan, check_scan, finish_frames, run_in_beam, start_document, take_frames
from exitwave.plans.stem._precision import RunningPrecision

__all__ = ["Drift", "allowed_frames", "judge_windows", "run_frames"]

Drift = Literal["follow", "record", "ignore"]


def judge_windows(
    microscope: ElectronMicroscope,
    windows: Windows,
    elements: Mapping[str, float] | Sequence[str],
    *,
    accept_lines: bool,
) -> MsgGenerator[tuple[tuple[EnergyWindow, ...], list[str]]]:
    """Return the windows with names, and what contaminates them.

    Raises
    ------
    PlanInputError
        Lines reach into one without consent, one is outside of the detector's range, or nobody said what the sample
        is made of.
    """
    named = named_windows(windows)
    if not named:
        return named, []
    sample = sample_of(elements)
    if not sample:
        raise PlanInputError("elements: windows can't be judged without them; say what the sample is made of")
    eds = microscope.eds
    channels = int((yield from bps.rd(eds.num_channels, default_value=2048)))
    width_kev = 1e-3 * float((yield from bps.rd(eds.channel_width, default_value=10.0)))
    beam_kev = float((yield from bps.rd(microscope.column.high_voltage, default_value=300.0)))
    axis = EnergyAxis(channels, width_kev, 0.5 * width_kev, eds.resolution_ev)
    surroundings = Surroundings(sample, beam_kev, eds.own_lines, eds.grid_lines)
    return named, check_windows(named, surroundings, axis, accept_lines=accept_lines)


def allowed_frames(
    microscope: ElectronMicroscope, settings: ScanSettings, dose_limit_e_a2: float | None, *, until_limit: bool
) -> MsgGenerator[ScanSettings]:
    """Return the settings with as many frames as the dose allows, if that is asked for.

    Raises
    ------
    PlanInputError
        They go over the limit.
    """
    current_pa = float((yield from bps.rd(microscope.column.beam_current, default_value=100.0)))
    accumulated = float((yield from bps.rd(microscope.dose.accumulated, default_value=0.0)))
    count = frames_within(
        None if until_limit else settings.num_frames,
        dose_rate_e_a2_s(current_pa, settings.area_a2),
        settings.frame_s,
        accumulated=accumulated,
        limit=dose_limit_e_a2,
    )
    return replace(settings, num_frames=count)


def run_frames(
    microscope: ElectronMicroscope,
    settings: ScanSettings,
    *,
    plan_name: str,
    plan_args: Mapping[str, Any],
    until_limit: bool = False,
    windows: Windows = (),
    elements: Mapping[str, float] | Sequence[str] = (),
    accept_lines: bool = False,
    dose_limit_e_a2: float | None = None,
    fwhm_se_pm: float | None = None,
    drift: Drift = "follow",
    eds: bool = True,
    technique: str = "scanning transmission electron microscopy with energy-dispersive X-ray spectroscopy",
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Take the frames of a scan in a run of its own; arguments as for `exitwave.plans.anxri.map`.

    Returns
    -------
    str
        The run's uid.
    """
    if drift not in ("follow", "record", "ignore"):
        raise PlanInputError(f"drift: {drift!r} is not one of follow, record, ignore")
    microscope.scan.check_settings(settings)
    named, contaminated = yield from judge_windows(microscope, windows, elements, accept_lines=accept_lines)
    settings = yield from allowed_frames(microscope, settings, dose_limit_e_a2, until_limit=until_limit)
    check_scan(microscope, settings, eds=eds)
    precise = None
    if fwhm_se_pm is not None:
        require_finite("fwhm_se_pm", fwhm_se_pm, "pm", positive=True)
        if not named:
            raise PlanInputError("fwhm_se_pm: there are no windows whose widths could be followed; give windows")
    if named and eds and settings.shape[0] >= 32:
        precise = RunningPrecision(named, 1e3 * settings.pixel_nm, fwhm_se_pm)
        precise.warm_up()
    work = FrameScan(
        settings,
        eds=eds,
        tracker=None if drift == "ignore" or min(settings.shape) < 32 else DriftTracker(settings.pixel_nm),
        follow=drift == "follow",
        dose_limit_e_a2=dose_limit_e_a2,
        precise=precise,
    )
    about = {
        "num_frames": settings.num_frames,
        "windows": [{"name": w.name, "low_kev": w.low_kev, "high_kev": w.high_kev} for w in named],
        "elements": sample_of(elements),
        "contaminated_windows": contaminated,
        "dose_limit_e_a2": dose_limit_e_a2,
        "fwhm_se_pm": fwhm_se_pm,
        "drift": drift,
        **(md or {}),
    }
    metadata = yield from start_document(
        microscope,
        plan_name,
        plan_args,
        settings,
        technique=technique,
        detectors=work.detectors(microscope),
        num_points=settings.num_frames,
        md=about,
    )
    return (
        yield from run_in_beam(
            microscope,
            lambda: take_frames(microscope, work),
            metadata,
            stage=work.detectors(microscope),
            cleanup=lambda: finish_frames(microscope, work),
        )
    )
