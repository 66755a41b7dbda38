"""ANXRI: columns of atoms in windows of bremsstrahlung, from scan to statistics, in each of the simulator's modes.

The published measurement claims differences of widths of picometres. The demonstration takes the same measurement where
it is known what is true: widths put in, a null that imitates the result, and what first principles give.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exitwave.profiles.demos.stage import Stage, open_stage, put_control, run_plan

if TYPE_CHECKING:
    from exitwave.profiles.live import LiveAnalysis
    from exitwave.profiles.session import Session

__all__ = ["MODES", "AnxriRequest", "anxri_command"]

MODES = ("first-principles", "phenomenological", "artefact")
FRAMES, DWELL_US = 20, 1000.0
CURRENT_PA = 100.0
OVERVIEW_NM, OVERVIEW_PX, OVERVIEW_SMOOTH_NM = 16.0, 128, 1.5
DEAD_TIME_US, RESOLVING_TIME_US, SHORTEST_US = 2.0, 0.2, 0.1


@dataclass(frozen=True)
class AnxriRequest:
    """What to measure.

    Attributes
    ----------
    specimen : str
        ``SrTiO3`` (Titan G2, 200 kV, 128 columns) or ``NPG-Pd-Pt`` (ARM 300F, 300 kV, 20 columns).
    modes : tuple of str
        Of `MODES`, one after the other.
    counts : float
        1: the published counts per column; 10: ten times as many. Artefact mode has the published ones.
    seed : int
        Of the instrument's hidden errors.
    speed : float
        How much faster than real the simulated clock runs.
    """

    specimen: str = "SrTiO3"
    modes: tuple[str, ...] = MODES
    counts: float = 1.0
    seed: int = 18
    speed: float = 20.0


def anxri_command(request: AnxriRequest, *, json_path: Path | None, out: Path) -> int:
    """Run the demonstration, print its lines, write the figures; returns the exit status.

    Raises
    ------
    PlanInputError
        There is no such specimen or mode.
    """
    from exitwave.plans.pure.positions import PlanInputError, require_finite
    from exitwave.profiles.demos.anxri_specimens import SPECIMENS
    from exitwave.profiles.live import start_live

    if request.specimen not in SPECIMENS:
        raise PlanInputError(f"specimen: {request.specimen!r} is unknown; use one of {', '.join(SPECIMENS)}")
    for mode in request.modes:
        if mode not in MODES:
            raise PlanInputError(f"mode: {mode!r} is unknown; use one of {', '.join(MODES)}")
    require_finite("counts", request.counts, "", positive=True)
    arguments = ["--seed", str(request.seed), "--speed", str(request.speed), "--specimen", request.specimen]
    arguments += ["--mode", request.modes[0]]
    by_mode: dict[str, dict[str, Any]] = {}
    with open_stage(SPECIMENS[request.specimen].profile, arguments, out) as stage:
        live = start_live("spectrum-image", stage.session.data)
        try:
            _prepare(stage)
            live.wait_ready(120.0)
            for mode in request.modes:
                begin = time.perf_counter()
                figures = _measure(stage, live, request, mode)
                by_mode[mode] = _evaluate(stage, request, figures, out)
                by_mode[mode]["wall_s"] = round(time.perf_counter() - begin, 1)
        finally:
            live.stop()
        stage.close()
    whole: Mapping[str, Any] = {"specimen": request.specimen, "speed": request.speed, "seed": request.seed}
    stage.finish({**whole, "modes": by_mode}, json_path)
    for mode, found in by_mode.items():
        print(f"{mode}: {found['columns']} columns, run {found['uid'][:8]}, {found['picture']}")
        print(f"  {found['verdict']}")
    return 0


# -- measurement ------------------------------------------------------------------------------------------------------


def _prepare(stage: Stage) -> None:
    """Find the focus: hidden aberrations are small, an unknown height is not."""
    session, times = stage.session, stage.times
    with times.phase("focus"):
        session.RE(session.namespace["stem"].focus(40.0, 17, field_nm=2.0, size=128, dwell_us=20.0))


def _measure(stage: Stage, live: LiveAnalysis, request: AnxriRequest, mode: str) -> dict[str, Any]:
    """Take the spectrum image with live analysis beside it, and return what that said."""
    from exitwave.profiles.demos.anxri_specimens import E1, E2, SPECIMENS

    session, times = stage.session, stage.times
    specimen, space, eds = SPECIMENS[request.specimen], session.namespace, session.instrument.eds
    # Hours at physical yields become minutes: yields up, and the electronics as much faster, so that dead time and
    # pile-up stay those of the slow measurement (as far as the process time can be set).
    scale = request.counts * specimen.exposure_s[mode] / (FRAMES * 1e-6 * DWELL_US)
    put_control(f"{stage.prefix}Sim:Mode", mode)
    signal_put(f"{stage.prefix}Sim:YieldScale", scale)
    eds.process_time.set(max(DEAD_TIME_US / scale, SHORTEST_US)).wait(timeout=10)
    eds.resolving_time.set(min(RESOLVING_TIME_US / scale, RESOLVING_TIME_US)).wait(timeout=10)
    with times.phase("thickest place"):
        go_to_thickest(session)
    session.RE(space["stem"].new_area())
    with times.phase(f"map {mode[:10]}"):
        plan = space["anxri"].map(
            specimen.field_nm,
            specimen.size,
            FRAMES,
            dwell_us=DWELL_US,
            windows=(E1, E2),
            elements=specimen.elements,
            # Pd L gamma reaches into the published E1: some 1 %, and said so in the run
            accept_lines="Pd" in specimen.elements,
            md={"sample": {"name": request.specimen}, "simulated_mode": mode},
        )
        uid = run_plan(session, plan)
    said = live.wait_finished(uid, 120.0)
    return {
        "uid": uid,
        "live_refresh_s": said.get("refresh_s"),
        "live_fwhm_se_pm": said.get("fwhm_se_pm"),
        "live_picture": str(live.picture(uid)),
    }


def go_to_thickest(session: Session) -> None:
    """Shift the beam to the thickest part of what an overview shows; an even foil is left as it is.

    A ligament is a few nanometres wide, and the specimen drifts by as much while programs start: without this, how
    many counts a column has, and how alike columns are, would depend on the speed of the computer.
    """
    import bluesky.plan_stubs as bps
    from scipy.ndimage import gaussian_filter

    overview = session.namespace["stem"].haadf(OVERVIEW_NM, OVERVIEW_PX, dwell_us=10.0, drift="ignore")
    uid = run_plan(session, overview)
    image = np.asarray(session.open_run(uid).to_xarray("primary")["haadf"].values[0], np.float64)
    pixel_nm = OVERVIEW_NM / OVERVIEW_PX
    smooth = gaussian_filter(image, OVERVIEW_SMOOTH_NM / pixel_nm, mode="nearest")
    if np.ptp(smooth) < 0.1 * smooth.mean():
        return
    row, column = np.unravel_index(int(np.argmax(smooth)), smooth.shape)
    scan, middle = session.instrument.scan, 0.5 * (OVERVIEW_PX - 1)
    x = float(scan.shift_x.get()) + (column - middle) * pixel_nm
    y = float(scan.shift_y.get()) + (row - middle) * pixel_nm
    session.RE(bps.mv(scan.shift_x, x, scan.shift_y, y))


def signal_put(name: str, value: float) -> None:
    """Set a number of the simulator itself."""
    from ophyd import EpicsSignal

    signal = EpicsSignal(name, name="control")
    try:
        signal.wait_for_connection(timeout=10)
        signal.set(value).wait(timeout=10)
    finally:
        signal.destroy()


def _evaluate(stage: Stage, request: AnxriRequest, figures: dict[str, Any], out: Path) -> dict[str, Any]:
    from exitwave.profiles.demos.anxri_evaluation import evaluate
    from exitwave.profiles.demos.anxri_specimens import SPECIMENS
    from exitwave.profiles.storage import open_spectrum_image

    session, times = stage.session, stage.times
    image = open_spectrum_image(figures["uid"], data=session.data)
    measurement = image.measurement
    source_pm = float(session.instrument.column.source_size.get())
    mode = str(measurement.metadata["mode"])
    with times.phase(f"evaluate {mode[:10]}"):
        found = evaluate(
            measurement,
            image.frames,
            SPECIMENS[request.specimen],
            out,
            f"anxri-{request.specimen}-{mode}",
            source_fwhm_pm=source_pm,
            rng=np.random.default_rng(request.seed),
        )
    drift = image.drift_nm
    end_nm = float(np.hypot(*drift[-1])) if drift is not None else 0.0
    return figures | found | {"events": len(measurement.events), "drift_end_nm": end_nm}
