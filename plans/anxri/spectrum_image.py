"""Spectrum images: the field is scanned again and again, every photon kept with its place and its frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bluesky.utils import MsgGenerator

from exitwave.devices.stem import ScanSettings
from exitwave.plans.instrument import ElectronMicroscope
from exitwave.plans.pure.positions import require_count
from exitwave.plans.pure.stem import Windows
from exitwave.plans.stem._run import Drift, run_frames

__all__ = ["line", "spectrum_image"]


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
