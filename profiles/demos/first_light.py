"""First light: the simulated beamline, aligned, and a Siemens star with its resolution."""

from __future__ import annotations

import contextlib
import importlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exitwave.profiles.demos.stage import PhaseTimes, open_stage, put_control, run_plan

if TYPE_CHECKING:
    from exitwave.analysis.resolution import ResolutionReport
    from exitwave.profiles.session import Session
    from exitwave.profiles.storage.reader import RunReader

__all__ = ["Exposures", "first_light_command", "measure"]

ENERGY_KEV = 8.0
REGION_PX = 1024
"""Side of the square of the sensor that is read: with zone plate A, 10.7 um around the star's finest spokes."""


@dataclass(frozen=True)
class Exposures:
    """What a radiograph is made of; even numbers, because everything is halved for the measurement."""

    exposure_s: float
    num_frames: int
    num_flats: int
    num_darks: int

    @property
    def total_s(self) -> float:
        """Exposure of the sample."""
        return self.exposure_s * self.num_frames


# Four times as many flats as frames: with as many, half of the noise in a corrected image would be that of the flats.
MAIN = Exposures(3.0, 10, 40, 8)
SHORTER = (Exposures(0.5, 2, 8, 8), Exposures(5.0, 2, 8, 8))


def first_light_command(*, json_path: Path | None, out: Path, zone_plate: str, speed: float, seed: int) -> int:
    """Run the demonstration, print the three lines, write the figures; returns the exit status."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    # what does not read the address of the beamline when it is imported is imported while the beamline starts
    threading.Thread(target=_import_analysis, daemon=True).start()
    with open_stage("bl18b", ["--seed", str(seed), "--speed", str(speed)], out) as stage:
        session, times = stage.session, stage.times
        align(session, zone_plate, times)
        # What follows is measured: images by the exact sum over source points, as strong phase objects need it.
        put_control(stage.prefix + "Sim:Optics", "coherent-sum")
        with times.phase("radiograph"):
            uid = radiograph(session, MAIN)
        with times.phase("analysis"):
            figures, report = measure(session, uid, out)
        first_picture_s = stage.passed_s
        with times.phase("shorter"):
            for exposures in SHORTER:
                figures |= dose_figures(session, radiograph(session, exposures))
        stage.close()
    figures |= {"first_picture_s": round(first_picture_s, 1), "speed": speed, "seed": seed}
    figures = stage.finish(figures, json_path)
    console.print(report.words())
    for dose in (*(f"{each.total_s:g}" for each in SHORTER), f"{MAIN.total_s:g}"):
        half_period = figures[f"resolution_{dose}s_nm"]
        said = "nothing above the noise" if half_period is None else f"half period {half_period:.1f} nm"
        console.print(f"{dose:>3} s: {said}, {figures[f'counts_{dose}s']:.0f} counts a pixel in the open field")
    print(f"picture     {figures['picture']}")
    print(f"run         {figures['uid']}")
    print(f"resolution  {figures['resolution_nm']:.1f} +- {figures['resolution_sd_nm']:.1f} nm")
    return 0


def _import_analysis() -> None:
    for name in ("analysis.correction", "analysis.resolution", "analysis.figures"):
        importlib.import_module(f"exitwave.{name}")
    importlib.import_module("matplotlib.figure")


def align(session: Session, zone_plate: str, times: PhaseTimes) -> None:
    """Set energy and zone plate; align the second crystal's pitch, the condenser, focus and the place of the star."""
    from exitwave.plans.alignment import FocusPass

    engine, space = session.RE, session.namespace
    with times.phase("settings"):
        engine(space["set_energy"](ENERGY_KEV))
        engine(space["select_zone_plate"](zone_plate))
    with times.phase("rocking curve"):
        engine(space["alignment"].rocking_curve(160.0, 25))
    with times.phase("condenser"):
        engine(space["alignment"].condenser(400.0, 9, region_px=512))
    depth_um = session.instrument.microscope.zone_plate.depth_of_focus.get()
    with times.phase("focus"):
        # The first may end on one of the two peaks that a phase specimen has beside focus, three depths away; the
        # second has to reach over both from there.
        passes = (
            FocusPass(480.0, 21, REGION_PX, exposure_s=0.3),
            FocusPass(14.0 * depth_um, 25, 512, "transfer", exposure_s=0.5),
        )
        engine(space["alignment"].zone_plate_focus(passes))
    with times.phase("centring"):
        engine(space["txm"].centre_star(0.5, region_px=REGION_PX))


def radiograph(session: Session, exposures: Exposures) -> str:
    """Take a radiograph of the middle of the sensor; returns its uid."""
    from exitwave.plans.pure.positions import central_region
    from exitwave.plans.stubs import set_region

    camera = session.instrument.microscope.camera
    size = int(camera.cam.max_size_x.get()), int(camera.cam.max_size_y.get())
    session.RE(set_region(camera, *central_region(REGION_PX, *size)))
    session.namespace["ion_chamber_0"].trigger().wait(timeout=10)
    plan = session.namespace["txm"].radiograph(
        exposures.exposure_s,
        exposures.num_frames,
        num_flats=exposures.num_flats,
        num_darks=exposures.num_darks,
        md={"sample": {"name": "Siemens star"}},
    )
    return run_plan(session, plan)


def corrected_halves(run: RunReader) -> tuple[tuple[Any, Any], float]:
    """Correct even and odd frames of a radiograph, each with the even and odd flats and darks.

    Returns
    -------
    pair of float32 arrays (y, x)
        Transmissions with nothing in common but the specimen.
    float
        Counts a pixel in the open field, of the whole exposure.
    """
    import numpy as np

    from exitwave.analysis import correction

    darks, flats, frames = (run.to_xarray(stream)["hr_camera"].data for stream in ("dark", "flat", "primary"))
    halves = []
    counts = 0.0
    for k in (0, 1):
        # four or more of each: the mean then leaves out what hit the camera during one of them
        dark, flat = (
            correction.mean_frames(np.asarray(stack[i]) for i in range(k, len(stack), 2)) for stack in (darks, flats)
        )
        correct = correction.FlatField(flat, dark)
        total = np.zeros_like(dark)
        for i in range(k, len(frames), 2):
            total += correction.remove_zingers(correct(np.asarray(frames[i])))[0]
        halves.append(total / np.float32(len(range(k, len(frames), 2))))
        counts += 0.5 * float(np.median(flat - dark)) * len(frames)
    return (halves[0], halves[1]), counts


def dose_figures(session: Session, uid: str) -> dict[str, Any]:
    """Return half period (None where nothing rises above the noise) and counts, by the exposure in s."""
    from exitwave.analysis.errors import FitError
    from exitwave.analysis.resolution import power_spectrum

    run = session.open_run(uid)
    halves, counts = corrected_halves(run)
    half_period: float | None = None
    with contextlib.suppress(FitError):
        limit_nm = run.start["outermost_zone_nm"] / 2
        half_period = power_spectrum(
            halves, run.start["pixel_size_nm"], noise="halves", limit_nm=limit_nm
        ).half_period_nm
    exposure = f"{run.start['exposure_s'] * run.start['num_points']:g}s"
    return {f"resolution_{exposure}_nm": half_period, f"counts_{exposure}": counts}


def measure(session: Session, uid: str, out: Path) -> tuple[dict[str, Any], ResolutionReport]:
    """Measure the resolution of a radiograph of a star, and draw it.

    Returns
    -------
    dict
        ``uid``, ``picture``, ``resolution_nm`` and its standard deviation, ``frames``, ``photons_per_s`` (in front
        of the first ion chamber), and the report's figures.
    ResolutionReport
    """
    from exitwave.analysis import figures
    from exitwave.analysis.resolution import measure_resolution

    run = session.open_run(uid)
    halves, counts = corrected_halves(run)
    image = 0.5 * (halves[0] + halves[1])
    start = run.start
    report = measure_resolution(
        image, start["pixel_size_nm"], exposures=halves, limit_nm=start["outermost_zone_nm"] / 2
    )
    frames, exposure_s = int(start["num_points"]), float(start["exposure_s"])
    picture = figures.resolution_figure(
        image,
        report,
        out / f"siemens-star-{uid[:8]}.png",
        title=f"Siemens star, {start['energy_kev']:.3f} keV, zone plate {start['zone_plate']}, "
        f"{frames} x {exposure_s:g} s, pixel {start['pixel_size_nm']:.2f} nm",
    )
    beam = run.to_xarray("beam")
    exposure = f"{exposure_s * frames:g}s"
    result = {
        "uid": uid,
        "picture": str(picture),
        "resolution_nm": report.resolution_nm,
        "resolution_sd_nm": report.psd.half_period_sd_nm,
        "frames": frames,
        "photons_per_s": float(beam["ion_chamber_0_photons_per_s"].values[-1]),
        **report.figures(),
        f"resolution_{exposure}_nm": report.resolution_nm,
        f"counts_{exposure}": counts,
    }
    return result, report
