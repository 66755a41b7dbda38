"""How the samples of the spectroscopic demonstrations are measured: calibration, foil, and the scan."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exitwave.profiles.demos.stage import Stage, open_stage, run_plan

__all__ = [
    "CORNER_PX",
    "ELEMENT",
    "FILMS",
    "PARTICLES",
    "REGION_PX",
    "SENSOR_PX",
    "XanesRequest",
    "align_beamline",
    "foil_edge_ev",
    "in_process_of_its_own",
    "measure",
    "simulator_arguments",
]

ELEMENT = "Ni"
OBJECTIVE = "4x"
MATERIAL = "LiNi0.6Co0.2Mn0.2O2"
REGION_PX, SENSOR_PX = 512, 2048
CORNER_PX = (SENSOR_PX - REGION_PX) // 2
CALIBRATION_KEV = (8.2, 8.4, 8.6)
PARTICLES = {"pristine": "ncm-pristine", "cycled": "ncm-cycled"}
FILMS = {"Ni2+ (NiO)": "film-Ni2+", "Ni3+ (LiNiO2)": "film-Ni3+"}
FOIL_EV = ((-45.0, -10.0, 5.0), (-10.0, 14.0, 0.5), (14.0, 44.0, 5.0))
FILM_EDGE_UM = 20.0
"""A film is put so that its edge stands in the middle of the field: half of it is empty and gives the beam's level."""


@dataclass(frozen=True)
class XanesRequest:
    """What to measure.

    Attributes
    ----------
    num_energies : int
        A ready-made list: 21, 41, 63 or 101.
    exposure_s : float
        Of each frame.
    num_frames : int
        At each energy; as many flats are taken there. Of a tomogram one at each angle.
    num_projections : int
        Over half a turn, of a tomogram.
    seed : int
        Of the instrument's hidden errors.
    speed : float
        How much faster than real the simulated clock runs.
    """

    num_energies: int = 41
    exposure_s: float = 2.0
    num_frames: int = 4
    num_projections: int = 60
    seed: int = 18
    speed: float = 20.0


def in_process_of_its_own(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Measure a sample in a new process: a client of Channel Access stays with the beamline that it found first."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        found: dict[str, Any] = pool.submit(work, *arguments).result()
    return found


def simulator_arguments(request: XanesRequest, specimen: str, truth: Path) -> list[str]:
    """Return the arguments of a sample's beamline, which writes what is true into a folder."""
    truth.mkdir(parents=True, exist_ok=True)
    arguments = ["--seed", str(request.seed), "--speed", str(request.speed), "--specimen", specimen]
    arguments += ["--truth-log", str(truth / "frames.jsonl"), "--truth-spectra", str(truth / "spectra.txt")]
    if specimen in PARTICLES.values():
        arguments += ["--truth-volume", str(truth / "volume.h5"), "--truth-pitch-nm", "28"]
    return arguments


def measure(request: XanesRequest, specimen: str, out: Path, truth: Path) -> dict[str, Any]:
    """Start a beamline with a specimen, align and calibrate it, take the scan; returns the run's uid and figures."""
    particle = specimen in PARTICLES.values()
    with open_stage("bl18b", simulator_arguments(request, specimen, truth), out) as stage:
        found = align_beamline(stage, particle)
        # The Bragg angle drifts by a tenth of an eV within the hour: the foil right before the scan, and again after.
        foil_edge_ev(stage, apply=True)
        found |= _scan(stage, request, specimen, particle=particle)
        edge_ev, sd_ev = foil_edge_ev(stage, apply=False)
        found |= {"foil_edge_after_ev": edge_ev, "calibration_sd_ev": sd_ev}
        stage.close()
    return found | {"phases": stage.times.phases}


def align_beamline(stage: Stage, particle: bool) -> dict[str, Any]:
    """Bring the beam to its best and the energy to the foil's; track focus where there is something to focus on."""
    from exitwave.plans.alignment import FocusPass
    from exitwave.plans.pure.positions import central_region
    from exitwave.plans.stubs import set_region

    session, times = stage.session, stage.times
    engine, space, microscope = session.RE, session.namespace, session.instrument.microscope
    with times.phase("settings"):
        microscope.detector.objective.set(OBJECTIVE).wait(timeout=30)
        engine(space["set_energy"](8.333))
        engine(space["select_zone_plate"]("A"))
    with times.phase("energy"):
        engine(space["alignment"].rocking_curve(160.0, 25))
        engine(space["alignment"].energy_calibration(ELEMENT, integration_s=0.2))
    with times.phase("pitch"):
        engine(space["xanes"].calibrate_pitch(CALIBRATION_KEV))
    with times.phase("condenser"):
        engine(space["alignment"].condenser(400.0, 9, region_px=REGION_PX))
    camera = microscope.camera
    size = int(camera.cam.max_size_x.get()), int(camera.cam.max_size_y.get())
    engine(set_region(camera, *central_region(REGION_PX, *size)))
    depth_um = float(microscope.zone_plate.depth_of_focus.get())
    if particle:
        with times.phase("tracking"):
            passes = (
                FocusPass(300.0, 31, REGION_PX, "transfer", exposure_s=2.0),
                FocusPass(112.0, 25, REGION_PX, "transfer", exposure_s=3.0),
            )
            engine(space["xanes"].calibrate_tracking(CALIBRATION_KEV, passes, runout=False))
    return {"depth_of_focus_um": depth_um}


def foil_edge_ev(stage: Stage, *, apply: bool) -> tuple[float, float]:
    """Find the foil's edge, and take the difference to the table off the Bragg angle if asked to; eV and deviation."""
    from exitwave.analysis.optics import edge_energy_kev
    from exitwave.plans.pure.positions import edge_energies

    plan = stage.session.namespace["alignment"].energy_calibration
    energies = edge_energies(edge_energy_kev(ELEMENT), FOIL_EV)
    with stage.times.phase("foil before" if apply else "foil after"):
        stage.session.RE(plan(ELEMENT, energies_kev=energies, integration_s=0.2, apply=apply))
    found = stage.session.open_run(-1).to_xarray("edge")
    centre, sd = (float(found[f"microscope_peak_result_{key}"].values[-1]) for key in ("centre", "uncertainty"))
    return 1e3 * centre, 1e3 * sd


def _scan(stage: Stage, request: XanesRequest, specimen: str, *, particle: bool) -> dict[str, Any]:
    """Take the scan, with live analysis beside it."""
    from exitwave.plans.xanes import Exposed
    from exitwave.profiles.live import start_live

    session, times = stage.session, stage.times
    # of a film there are pixels enough
    number = request.num_frames if particle else 2
    follower = start_live("xanes", session.data) if particle else None
    try:
        with times.phase("scan"):
            uid = run_plan(
                session,
                session.namespace["xanes"].imaging(
                    request.num_energies,
                    ELEMENT,
                    exposure_s=request.exposure_s,
                    num_frames=number,
                    num_flats=number,
                    num_darks=20,
                    positions_um=() if particle else ((FILM_EDGE_UM, 0.0),),
                    exposed=Exposed(MATERIAL) if particle else None,
                    md={"sample": {"name": specimen}},
                ),
            )
        said: Mapping[str, Any] = {}
        if follower is not None:
            with times.phase("live map"):
                said = follower.wait_finished(uid, 120.0)
    finally:
        if follower is not None:
            follower.stop()
    return {"uid": uid, "live": dict(said)}
