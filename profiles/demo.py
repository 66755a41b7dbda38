"""First light: the simulated beamline, aligned, and a Siemens star with its resolution."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

    from exitwave.analysis.resolution import ResolutionReport
    from exitwave.profiles.session import Session

__all__ = ["first_light", "first_light_command"]

ENERGY_KEV = 8.0
EXPOSURE_S = 1.0
NUM_FRAMES = 30
DOSES = (1, 10, 30)


def first_light_command(*, json_path: Path | None, out: Path, zone_plate: str, speed: float, seed: int) -> int:
    """Run the demonstration, print the three lines, write the figures; returns the exit status."""
    from rich.console import Console

    from exitwave.profiles.progress import progress_bar
    from exitwave.profiles.session import open_session
    from exitwave.profiles.simulation import SimulatedBeamline

    console = Console(stderr=True, highlight=False)
    begin = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    with console.status("starting the simulated beamline"):
        simulator = SimulatedBeamline("bl18b", ["--seed", str(seed), "--speed", str(speed)])
        session = open_session("bl18b", simulator=simulator)
    with session:
        console.print(f"{len(session.beamline.devices)} devices after {time.perf_counter() - begin:.1f} s")
        with progress_bar() as progress:
            figures, report = first_light(session, out, zone_plate, progress)
    figures |= {"wall_s": round(time.perf_counter() - begin, 1), "speed": speed, "seed": seed}
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=2) + "\n")
    console.print(report.words())
    for dose in DOSES:
        console.print(
            f"{dose:3d} s: half period {figures[f'resolution_{dose}s_nm']:.1f} nm, "
            f"{figures[f'counts_{dose}s']:.0f} counts a pixel in the open field"
        )
    print(f"picture     {figures['picture']}")
    print(f"run         {figures['uid']}")
    print(f"resolution  {figures['resolution_nm']:.1f} +- {figures['resolution_sd_nm']:.1f} nm")
    return 0


def first_light(
    session: Session, out: Path, zone_plate: str, progress: Progress
) -> tuple[dict[str, Any], ResolutionReport]:
    """Align the microscope, image the star and measure it.

    Parameters
    ----------
    session : Session
        On a beamline with a Siemens star in the beam.
    out : Path
        Folder for the picture.
    zone_plate : str
        Which zone plate.
    progress : Progress
        Shows how far it is.

    Returns
    -------
    dict
        Figures for the JSON file.
    ResolutionReport
    """
    from exitwave.profiles.progress import RunProgress

    engine, space = session.RE, session.namespace
    token = engine.subscribe(RunProgress(progress))
    engine(space["set_energy"](ENERGY_KEV))
    engine(space["select_zone_plate"](zone_plate))
    engine(space["alignment"].rocking_curve())
    engine(space["alignment"].condenser())
    engine(space["alignment"].zone_plate_focus())
    space["ion_chamber_0"].trigger().wait(timeout=10)
    (uid,) = engine(
        space["txm"].radiograph(
            EXPOSURE_S, NUM_FRAMES, num_flats=NUM_FRAMES, num_darks=10, md={"sample": {"name": "Siemens star"}}
        )
    )
    engine.unsubscribe(token)
    task = progress.add_task("resolution", total=len(DOSES) + 2)
    return measure(session, uid, out, lambda: progress.advance(task))


def measure(session: Session, uid: str, out: Path, step: Callable[[], None]) -> tuple[dict[str, Any], ResolutionReport]:
    """Measure the resolution of a radiograph of a star against exposure, and draw it.

    Returns
    -------
    dict
        ``uid``, ``picture``, ``resolution_nm`` and its standard deviation, ``frames``, ``photons_per_s`` (in front
        of the first ion chamber), resolution and counts for each of `DOSES`, and the report's figures.
    ResolutionReport
    """
    import numpy as np

    from exitwave.analysis import correction, figures
    from exitwave.analysis.resolution import measure_resolution, power_spectrum

    run = session.open_run(uid)
    dark = correction.mean_frames(run.to_xarray("dark")["hr_camera"].data)
    flat = correction.mean_frames(run.to_xarray("flat")["hr_camera"].data)
    correct = correction.FlatField(flat, dark)
    limit_nm = run.start["outermost_zone_nm"] / 2
    pixel_nm = run.start["pixel_size_nm"]
    step()

    frames = run.to_xarray("primary")["hr_camera"].data
    halves = [np.zeros(frames.shape[1:], np.float32) for _ in range(2)]
    result: dict[str, Any] = {}
    open_counts = float(np.median(flat - dark))
    for i in range(len(frames)):
        image, _ = correction.remove_zingers(correct(np.asarray(frames[i])))
        halves[i % 2] += image
        if i + 1 in DOSES:
            mean = (halves[0] + halves[1]) / np.float32(i + 1)
            spectrum = power_spectrum(mean, pixel_nm, limit_nm=limit_nm)
            result[f"resolution_{i + 1}s_nm"] = spectrum.half_period_nm
            result[f"counts_{i + 1}s"] = open_counts * (i + 1)
            step()
    first = halves[0] / np.float32((len(frames) + 1) // 2)
    second = halves[1] / np.float32(len(frames) // 2)
    report = measure_resolution(
        (halves[0] + halves[1]) / np.float32(len(frames)), pixel_nm, exposures=(first, second), limit_nm=limit_nm
    )
    picture = figures.resolution_figure(
        (halves[0] + halves[1]) / np.float32(len(frames)),
        report,
        out / f"siemens-star-{uid[:8]}.png",
        title=f"Siemens star, {run.start['energy_kev']:.3f} keV, zone plate {run.start['zone_plate']}, "
        f"{len(frames)} x {run.start['exposure_s']:g} s",
    )
    step()
    beam = run.to_xarray("beam")
    result |= {
        "uid": uid,
        "picture": str(picture),
        "resolution_nm": report.resolution_nm,
        "resolution_sd_nm": report.psd.half_period_sd_nm,
        "frames": len(frames),
        "photons_per_s": float(beam["ion_chamber_0_photons_per_s"].values[-1]),
        **report.figures(),
    }
    return result, report
