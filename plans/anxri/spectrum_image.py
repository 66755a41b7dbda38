"""Spectrum images: the field is scanned again and again, every photon kept with its place and its frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator

from exitwave.analysis.eds import EnergyAxis, EnergyWindow, Surroundings
from exitwave.devices.stem import ScanSettings
from exitwave.plans.anxri._precision import RunningPrecision
from exitwave.plans.instrument import ElectronMicroscope
from exitwave.plans.pure.positions import PlanInputError, require_count, require_finite
from exitwave.plans.pure.stem import (
    DriftTracker,
    Windows,
    check_windows,
    dose_rate_e_a2_s,
    frames_within,
    named_windows,
    sample_of,
)
from exitwave.plans.stem._frames import (
    FrameScan,
    check_scan,
    finish_frames,
    run_in_beam,
    start_document,
    take_frames,
)

__all__ = ["judge_windows", "line", "run_frames", "settled_frames", "spectrum_image"]

Drift = Literal["follow", "record", "ignore"]


def spectrum_image(
    microscope: ElectronMicroscope,
    field_nm: float = 2.0,
    size: int | tuple[int, int] = 256,
    num_frames: int | None = 20,
    *,
    dwell_us: float = 10.0,
    windows: Windows = (),
    elements: Mapping[str, float] | Sequence[str] = (),
    accept_lines: bool = False,
    dose_limit_e_a2: float | None = None,
    fwhm_se_pm: float | None = None,
    drift: Drift = "follow",
    flyback_us: float = 100.0,
    rotation_deg: float = 0.0,
    line_sync: bool = False,
    serpentine: bool = False,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Take a spectrum image frame by frame: dark-field frames and every X-ray event.

    Streams: ``primary`` (a row for each frame: the dark-field image, dose, beam shift, counters of the X-ray
    detectors), ``frames`` (drift, dose rate and precision as they were seen while the scan went on), ``events`` (the
    photons as columns of one row), ``summary`` (how the scan ended). Images and events lie in two files.

    Parameters
    ----------
    microscope : ElectronMicroscope
    field_nm : float
        Width of the field.
    size : int or (rows, columns)
    num_frames : int, optional
        At most so many; None for as many as the dose limit allows.
    dwell_us : float
        Per pixel and frame.
    windows : sequence of EnergyWindow or (low, high) in keV
        Of which the precision is followed.
    elements : sequence of symbols, or mapping of symbol to atoms
        What the sample is made of: windows are judged by it.
    accept_lines : bool
        Take windows although lines reach into them.
    dose_limit_e_a2 : float, optional
        Of the dose accumulated over this area (`exitwave.plans.stem.new_area`), electrons per square angstrom. The
        scan ends with the beam blanked before it is exceeded; the instrument's own limit is set to it meanwhile.
    fwhm_se_pm : float, optional
        End when the widths of columns are known so well (median standard error of a single column, worst window).
    drift : {"follow", "record", "ignore"}
        Shift the scan along with the specimen, as the dark-field frames show it; or only note where it is.
    flyback_us, rotation_deg, line_sync, serpentine
        See `exitwave.devices.stem.ScanSettings`.
    md : mapping, optional
        Metadata; wins over the plan's own.

    Returns
    -------
    str
        The run's uid.

    Raises
    ------
    PlanInputError, SettingError, StorageSpaceError, BeamError
        Before the beam is unblanked.
    """
    rows, columns = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    settings = ScanSettings(
        field_nm,
        columns,
        rows,
        dwell_us,
        require_count("num_frames", 1 if num_frames is None else num_frames, at_least=1),
        flyback_us,
        rotation_deg,
        line_sync,
        serpentine,
    )
    arguments = {"field_nm": field_nm, "size": [rows, columns], "num_frames": num_frames, "dwell_us": dwell_us}
    return (
        yield from run_frames(
            microscope,
            settings,
            plan_name="anxri_map",
            plan_args=arguments,
            until_limit=num_frames is None,
            windows=windows,
            elements=elements,
            accept_lines=accept_lines,
            dose_limit_e_a2=dose_limit_e_a2,
            fwhm_se_pm=fwhm_se_pm,
            drift=drift,
            md=md,
        )
    )


def line(
    microscope: ElectronMicroscope,
    length_nm: float = 2.0,
    num_points: int = 256,
    num_passes: int | None = 100,
    *,
    dwell_us: float = 100.0,
    angle_deg: float = 0.0,
    windows: Windows = (),
    elements: Mapping[str, float] | Sequence[str] = (),
    accept_lines: bool = False,
    dose_limit_e_a2: float | None = None,
    flyback_us: float = 100.0,
    line_sync: bool = False,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Scan one line through the middle of the field again and again: a spectrum for each point.

    Streams: as `spectrum_image`; a frame is one pass, of one row. Drift is not measured: one row does not show it.

    Parameters
    ----------
    microscope : ElectronMicroscope
    length_nm : float
    num_points : int
    num_passes : int, optional
        None for as many as the dose limit allows. The area of the dose is the line's, a point wide.
    angle_deg : float
        Of the line against the deflectors' x.
    dwell_us, windows, elements, accept_lines, dose_limit_e_a2, flyback_us, line_sync, md
        As for `spectrum_image`.

    Returns
    -------
    str
        The run's uid.

    Raises
    ------
    PlanInputError, SettingError, StorageSpaceError, BeamError
        Before the beam is unblanked.
    """
    points = require_count("num_points", num_points, at_least=8)
    middle = points // 2
    settings = ScanSettings(
        length_nm,
        points,
        points,
        dwell_us,
        require_count("num_passes", 1 if num_passes is None else num_passes, at_least=1),
        flyback_us,
        angle_deg,
        line_sync,
        sub=(0, middle, points, 1),
    )
    return (
        yield from run_frames(
            microscope,
            settings,
            plan_name="anxri_line",
            plan_args={"length_nm": length_nm, "num_points": points, "num_passes": num_passes, "dwell_us": dwell_us},
            until_limit=num_passes is None,
            windows=windows,
            elements=elements,
            accept_lines=accept_lines,
            dose_limit_e_a2=dose_limit_e_a2,
            drift="ignore",
            md=md,
        )
    )


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


def settled_frames(
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
    """Take the frames of a scan in a run of its own; arguments as for `spectrum_image`.

    Returns
    -------
    str
        The run's uid.
    """
    if drift not in ("follow", "record", "ignore"):
        raise PlanInputError(f"drift: {drift!r} is not one of follow, record, ignore")
    microscope.scan.check_settings(settings)
    named, contaminated = yield from judge_windows(microscope, windows, elements, accept_lines=accept_lines)
    settings = yield from settled_frames(microscope, settings, dose_limit_e_a2, until_limit=until_limit)
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
