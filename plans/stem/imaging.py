"""Dark-field images, focus, and series of doses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.utils import MsgGenerator

from exitwave.analysis.errors import FocusRangeError
from exitwave.analysis.sharpness import fit_focus, normalised_variance
from exitwave.devices import Acquisition
from exitwave.devices.stem import ScanSettings
from exitwave.plans.instrument import ElectronMicroscope
from exitwave.plans.pure.positions import PlanInputError, centred, require_count, require_finite
from exitwave.plans.pure.stem import Exposure, Windows, dose_rate_e_a2_s
from exitwave.plans.stem._beam import blank, check_dose, check_planned_dose, unblank
from exitwave.plans.stem._frames import check_scan, run_in_beam, settle, start_document
from exitwave.plans.stem._run import Drift, run_frames
from exitwave.plans.stubs import record

__all__ = ["dose_series", "focus", "haadf", "scan_once"]


def haadf(
    microscope: ElectronMicroscope,
    field_nm: float = 2.0,
    size: int | tuple[int, int] = 512,
    num_frames: int = 1,
    *,
    dwell_us: float = 5.0,
    dose_limit_e_a2: float | None = None,
    drift: Drift = "record",
    flyback_us: float = 100.0,
    rotation_deg: float = 0.0,
    line_sync: bool = False,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Take dark-field frames without X-rays; arguments and streams as for `exitwave.plans.anxri.map`.

    Returns
    -------
    str
        The run's uid.
    """
    rows, columns = (size, size) if isinstance(size, int) else size
    settings = ScanSettings(
        field_nm, columns, rows, dwell_us, require_count("num_frames", num_frames, at_least=1), flyback_us,
        rotation_deg, line_sync,
    )  # fmt: skip
    return (
        yield from run_frames(
            microscope,
            settings,
            plan_name="stem_haadf",
            plan_args={
                "field_nm": field_nm,
                "size": [rows, columns],
                "num_frames": num_frames,
                "dwell_us": dwell_us,
            },
            dose_limit_e_a2=dose_limit_e_a2,
            drift=drift,
            eds=False,
            technique="high-angle annular dark-field scanning transmission electron microscopy",
            md=md,
        )
    )


def scan_once(microscope: ElectronMicroscope, dose_limit_e_a2: float | None = None) -> MsgGenerator[np.ndarray]:
    """Scan one frame with what is set, and return it, float32 (rows, columns); beam on for just as long.

    The camera was prepared for points. Put the frame into the run with `record`.

    Raises
    ------
    DoseLimitError
        The limit, which the instrument was told, was reached before the frame was over: it is dark from there on.
    """
    yield from check_dose(microscope, dose_limit_e_a2)
    camera, scan = microscope.haadf, microscope.scan
    yield from bps.trigger(camera, group="frame", wait=False)
    while not (yield from bps.rd(camera.cam.acquiring, default_value=1)):
        yield from bps.sleep(0.005)
    yield from unblank(microscope)
    yield from bps.kickoff(scan, wait=True)
    yield from bps.complete(scan, group="scanned", wait=False)
    yield from bps.wait(group="scanned")
    yield from blank(microscope)
    yield from check_dose(microscope, dose_limit_e_a2)
    yield from bps.wait(group="frame")
    newest = yield from bps.rd(camera.newest, default_value=None)
    return np.ones(camera.frame_shape, np.float32) if newest is None else np.asarray(newest.image)


def focus(
    microscope: ElectronMicroscope,
    span_nm: float = 40.0,
    num: int = 17,
    *,
    field_nm: float = 2.0,
    size: int = 128,
    dwell_us: float = 5.0,
    centre_nm: float | None = None,
    tries: int = 3,
    dose_limit_e_a2: float | None = None,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Scan frames through focus, find the defocus of the sharpest and go there.

    Sharpness is the normalised variance of the dark-field frame. Where it is highest at an end of the range, the range
    is moved there and the frames are taken again.

    Streams: ``primary`` (defocus, sharpness, frame), ``focus`` (the best defocus and its standard deviation).

    Parameters
    ----------
    microscope : ElectronMicroscope
    span_nm : float
        Range of defocus.
    num : int
        Frames over it.
    field_nm, size, dwell_us
        Of each frame.
    centre_nm : float, optional
        Middle of the range; the present defocus without.
    tries : int
        Ranges to look in, at most.
    dose_limit_e_a2 : float, optional
        Of the dose accumulated over this area; the instrument's own limit is set to it meanwhile.
    md : mapping, optional

    Returns
    -------
    str
        The run's uid.

    Raises
    ------
    PlanInputError, SettingError, StorageSpaceError, BeamError
        Before the beam is unblanked.
    DoseLimitError
        The limit is reached in between.
    FitError
        There is no sharpest frame; the defocus is what it was.
    """
    require_finite("span_nm", span_nm, "nm", positive=True)
    require_count("num", num, at_least=7)
    require_count("tries", tries, at_least=1)
    column, camera = microscope.column, microscope.haadf
    settings = ScanSettings(field_nm, size, size, dwell_us)
    before = float((yield from bps.rd(column.defocus, default_value=0.0)))
    centre = before if centre_nm is None else require_finite("centre_nm", centre_nm, "nm")
    for end in (-1, 1):
        column.check_defocus(centre + end * (0.5 + 0.5 * (tries - 1)) * span_nm)
    microscope.scan.check_settings(settings)
    camera.check_room(num * tries, settings.shape)
    yield from check_planned_dose(
        microscope, [Exposure("focus", num, settings.area_a2, settings.frame_s)], dose_limit_e_a2
    )
    target = before

    def body() -> MsgGenerator[None]:
        nonlocal target
        yield from settle(microscope, settings)
        if dose_limit_e_a2 is not None:
            yield from bps.mv(microscope.dose.hardware_limit, dose_limit_e_a2)
        yield from bps.prepare(camera, Acquisition(settings.frame_s), wait=True)
        middle = centre
        for attempt in range(tries):
            positions = centred(middle, span_nm, num)
            measures = []
            for position in positions:
                yield from bps.mv(column.defocus, position)
                image = yield from scan_once(microscope, dose_limit_e_a2)
                measures.append(normalised_variance(image))
                yield from bps.mv(column.focus_result.sharpness, measures[-1])
                yield from record("primary", column.defocus, column.focus_result.sharpness, camera)
            try:
                found = fit_focus(positions, measures, method="peak")
            except FocusRangeError as error:
                if attempt == tries - 1:
                    raise
                middle = error.towards
            else:
                break
        yield from bps.mv(column.focus_result.defocus, found.best, column.focus_result.defocus_sd, found.best_sd)
        yield from record("focus", column.focus_result.defocus, column.focus_result.defocus_sd)
        target = found.best

    def go() -> MsgGenerator[None]:
        if dose_limit_e_a2 is not None:
            yield from bps.mv(microscope.dose.hardware_limit, 0.0)
        yield from bps.mv(column.defocus, target)

    metadata = yield from start_document(
        microscope,
        "stem_focus",
        {"span_nm": span_nm, "num": num, "centre_nm": centre},
        settings,
        technique="scanning transmission electron microscopy",
        detectors=[camera],
        motors=[column.defocus],
        num_points=num,
        md={"hints": {"dimensions": [([column.defocus.name], "primary")]}, **(md or {})},
    )
    return (yield from run_in_beam(microscope, body, metadata, stage=[camera], cleanup=go))


def dose_series(
    microscope: ElectronMicroscope,
    doses_e_a2: Sequence[float],
    field_nm: float = 2.0,
    size: int | tuple[int, int] = 256,
    *,
    dwell_us: float = 5.0,
    dose_limit_e_a2: float | None = None,
    windows: Windows = (),
    elements: Mapping[str, float] | Sequence[str] = (),
    accept_lines: bool = False,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[list[str]]:
    """Take spectrum images of rising dose on one area: what the beam changes shows from one to the next.

    Each is a run of its own, of as many frames as its dose takes; the runs name the series.

    Parameters
    ----------
    microscope : ElectronMicroscope
    doses_e_a2 : sequence of float
        Dose of each, electrons per square angstrom.
    field_nm, size, dwell_us, windows, elements, accept_lines
        As for `exitwave.plans.anxri.map`.
    dose_limit_e_a2 : float, optional
        Of all of them together, on top of what the area has had.
    md : mapping, optional

    Returns
    -------
    list of str
        Uids of the runs.

    Raises
    ------
    PlanInputError, SettingError, StorageSpaceError, BeamError
        Before the beam is unblanked: a dose under that of a frame, or all of them over the limit.
    """
    if not doses_e_a2:
        raise PlanInputError("doses_e_a2: none is given; give at least one")
    rows, columns = (size, size) if isinstance(size, int) else size
    one = ScanSettings(field_nm, columns, rows, dwell_us)
    microscope.scan.check_settings(one)
    current_pa = float((yield from bps.rd(microscope.column.beam_current, default_value=100.0)))
    per_frame = dose_rate_e_a2_s(current_pa, one.area_a2) * one.frame_s
    counts = []
    for dose in doses_e_a2:
        require_finite("doses_e_a2", dose, "e/A2", positive=True)
        if dose < per_frame:
            raise PlanInputError(
                f"doses_e_a2: {dose:.4g} e/A2 is less than the {per_frame:.4g} e/A2 of a frame; take less current, a "
                "larger field or a shorter dwell"
            )
        counts.append(round(dose / per_frame))
    accumulated = float((yield from bps.rd(microscope.dose.accumulated, default_value=0.0)))
    total = per_frame * sum(counts)
    if dose_limit_e_a2 is not None and accumulated + total > dose_limit_e_a2:
        raise PlanInputError(
            f"dose: {total:.4g} e/A2 in all on top of {accumulated:.4g} e/A2 go over the limit of "
            f"{dose_limit_e_a2:.4g} e/A2; leave some out"
        )
    uids: list[str] = []
    for index, count in enumerate(counts):
        settings = ScanSettings(field_nm, columns, rows, dwell_us, count)
        if index == 0:
            check_scan(microscope, ScanSettings(field_nm, columns, rows, dwell_us, sum(counts)), eds=True)
        about = {"index": index, "num": len(counts), "dose_e_a2": count * per_frame, "first": uids[0] if uids else None}
        uids.append(
            (
                yield from run_frames(
                    microscope,
                    settings,
                    plan_name="stem_dose_series",
                    plan_args={"doses_e_a2": [float(d) for d in doses_e_a2], "index": index},
                    windows=windows,
                    elements=elements,
                    accept_lines=accept_lines,
                    dose_limit_e_a2=dose_limit_e_a2,
                    md={"dose_series": about, **(md or {})},
                )
            )
        )
    return uids
