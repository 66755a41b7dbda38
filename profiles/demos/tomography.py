"""Nano-CT: a cracked battery particle turned in the simulated beamline, followed live, reconstructed and compared.

The simulator writes what is true into files that only this comparison reads: the particle's voxels, its crack fraction,
and where each frame truly stood.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from exitwave.profiles.demos.stage import Stage, open_stage, run_plan

if TYPE_CHECKING:
    from exitwave.analysis.tomography import Alignment
    from exitwave.profiles.storage.tomogram import Tomogram

__all__ = ["TomographyRequest", "tomography_command"]

Volume = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

ENERGY_KEV = 8.6
OBJECTIVE = "4x"
REGION_PX, SENSOR_PX = 512, 2048
FLATS_EVERY = 60
"""The streaks of the illumination wander: flats at both ends of a tomogram alone leave a tilt of what is between."""


@dataclass(frozen=True)
class TomographyRequest:
    """What to measure.

    Attributes
    ----------
    specimen : str
        Name of a simulated particle: ``ncm-cycled`` or ``ncm-pristine``, with ``+fiducials`` for gold beads beside it.
    num_projections : int
        Over a whole turn: each then has its counterpart, which tells where the axis stands and how it leans.
    exposure_s : float
        Of each.
    fly : bool
        Constant velocity; else step by step.
    methods : bool
        Reconstruct by every method and say what each makes of the cracks.
    seed : int
        Of the instrument's hidden errors.
    speed : float
        How much faster than real the simulated clock runs.
    """

    specimen: str = "ncm-cycled+fiducials"
    num_projections: int = 360
    exposure_s: float = 0.5
    fly: bool = False
    seed: int = 18
    speed: float = 20.0
    methods: bool = False


def tomography_command(request: TomographyRequest, *, json_path: Path | None, out: Path) -> int:
    """Run the demonstration, print its lines, write the figures; returns the exit status."""
    from exitwave.profiles.demos.tomography_voids import method_words

    with tempfile.TemporaryDirectory(prefix="exitwave-truth-") as folder:
        truth = Path(folder)
        arguments = ["--seed", str(request.seed), "--speed", str(request.speed), "--specimen", request.specimen]
        arguments += ["--truth", str(truth / "truth.json"), "--truth-log", str(truth / "frames.jsonl")]
        arguments += ["--truth-volume", str(truth / "volume.h5"), "--truth-pitch-nm", "28"]
        with open_stage("bl18b", arguments, out) as stage:
            figures = _measure(stage, request, out)
            tomogram = stage.session.open_tomogram(figures["uid"])
            with tomogram:
                figures |= _evaluate(stage, tomogram, out, truth, methods=request.methods)
            stage.close()
    figures |= {"specimen": request.specimen, "speed": request.speed, "seed": request.seed}
    figures = stage.finish(figures, json_path)
    print(f"picture     {figures['picture']}")
    print(f"run         {figures['uid']}")
    print(f"volume      {figures['volume']}")
    print(
        f"resolution  {figures['fsc_nm']:.0f} nm (Fourier shell correlation, half-bit); cracks "
        f"{100 * figures['crack_fraction']:.2f} +- {100 * figures['crack_fraction_sd']:.2f} %, "
        f"true {100 * figures['crack_fraction_true']:.2f} %"
    )
    for row in figures.get("methods", []):
        print(f"  {method_words(row)}")
    return 0


# -- measurement ------------------------------------------------------------------------------------------------------


def _measure(stage: Stage, request: TomographyRequest, out: Path) -> dict[str, Any]:
    """Align the instrument, take the tomogram with live analysis beside it, and return what that said."""
    from exitwave.plans.alignment import FocusPass
    from exitwave.plans.pure.positions import central_region
    from exitwave.plans.stubs import set_region
    from exitwave.profiles.live import start_live

    session, times = stage.session, stage.times
    engine, space, microscope = session.RE, session.namespace, session.instrument.microscope
    live = start_live("tomography", session.data)
    try:
        with times.phase("settings"):
            microscope.detector.objective.set(OBJECTIVE).wait(timeout=30)
            engine(space["set_energy"](ENERGY_KEV))
            engine(space["select_zone_plate"]("A"))
        with times.phase("rocking curve"):
            engine(space["alignment"].rocking_curve(160.0, 25))
        with times.phase("condenser"):
            engine(space["alignment"].condenser(400.0, 9, region_px=REGION_PX))
        with times.phase("focus"):
            depth_um = microscope.zone_plate.depth_of_focus.get()
            passes = (
                FocusPass(300.0, 31, REGION_PX, "transfer", exposure_s=2.0),
                FocusPass(14.0 * depth_um, 25, REGION_PX, "transfer", exposure_s=3.0),
            )
            engine(space["alignment"].zone_plate_focus(passes))
        camera = microscope.camera
        size = int(camera.cam.max_size_x.get()), int(camera.cam.max_size_y.get())
        engine(set_region(camera, *central_region(REGION_PX, *size)))
        with times.phase("rotation axis"):
            # Near enough for the field of view: the stage jitters from rest to rest, and only the tomogram itself has
            # enough of them to find the axis to a tenth of a pixel.
            pairs = (0.0, 45.0, 90.0, 135.0)
            run_plan(
                session, space["ct"].align_rotation_axis(pairs, num_frames=1, repeats=1, tolerance_px=2.0, num_flats=5)
            )
        plan = space["ct"].fly_tomography if request.fly else space["ct"].step_tomography
        with times.phase("tomogram"):
            uid = run_plan(
                session,
                plan(
                    0.0,
                    360.0,
                    request.num_projections,
                    exposure_s=request.exposure_s,
                    flats_every=FLATS_EVERY,
                    md={"sample": {"name": request.specimen}},
                ),
            )
        with times.phase("live preview"):
            said = live.wait_finished(uid, 120.0)
    finally:
        live.stop()
    return {
        "uid": uid,
        "first_slices_s": said.get("first_slices_s"),
        "last_frame_to_volume_s": said.get("last_frame_to_volume_s"),
        "live_refresh_s": said.get("refresh_s"),
        "live_picture": str(live.picture(uid)),
    }


# -- evaluation -------------------------------------------------------------------------------------------------------


def _evaluate(stage: Stage, tomogram: Tomogram, out: Path, truth: Path, *, methods: bool) -> dict[str, Any]:
    """Correct, align, reconstruct, and compare with the truth."""
    from exitwave.analysis import figures as pictures
    from exitwave.analysis.resolution import fourier_shell_correlation
    from exitwave.analysis.tomography import Geometry, find_axis, reconstruct, reconstruct_to_file
    from exitwave.analysis.tomography.alignment import align_projections
    from exitwave.analysis.tomography.stripes import remove_all_stripes
    from exitwave.profiles.demos.tomography_voids import method_figures, void_figures

    times, voxel_nm = stage.times, float(tomogram.pixel_nm or 0.0)
    with times.phase("correction"):
        projections = tomogram.line_integrals()
        # where there is nothing the logarithm is zero: what is left of the beam's changes
        projections -= np.median(projections[:, :, :24], axis=(1, 2))[:, None, None]
    with times.phase("stripes"):
        # first: what stands still on the camera would count against the lean of the axis
        projections = remove_all_stripes(projections)
    with times.phase("axis"):
        axis = find_axis(projections, tomogram.angles_deg, finest_px=200)
    with times.phase("alignment"):
        start = Geometry(tomogram.angles_deg, projections.shape[2], axis.centre_px, axis.tilt_deg)
        alignment = align_projections(projections, start)
        geometry = alignment.geometry
    volume_path = out / f"tomogram-{tomogram.uid[:8]}.h5"
    with times.phase("reconstruction"):
        reconstruct_to_file(
            projections, geometry, volume_path, voxel_nm=voxel_nm, source_uid=tomogram.uid, overwrite=True
        )
    with times.phase("halves"):
        halves = [reconstruct(projections[k::2], geometry.select(slice(k, None, 2))) for k in (0, 1)]
        shells = fourier_shell_correlation(halves[0], halves[1], voxel_nm)
    volume = 0.5 * (halves[0] + halves[1])
    figures: dict[str, Any] = {
        "volume": str(volume_path),
        "voxel_nm": voxel_nm,
        "projections": len(geometry),
        "excluded": len(tomogram.excluded),
        **shells.figures(),
        "tilt_sd_deg": axis.tilt_sd_deg,
        **_alignment_figures(tomogram, alignment, truth / "frames.jsonl"),
    }
    with times.phase("voids"):
        figures |= void_figures(halves, voxel_nm, _half_depth_um(tomogram), truth)
    if methods:
        with times.phase("methods"):
            figures["methods"] = method_figures(
                projections, geometry, float(tomogram.exposure_s or 0.0), voxel_nm, truth
            )
    with times.phase("picture"):
        middle = [n // 2 for n in volume.shape]
        picture = pictures.slices_figure(
            volume[middle[0]],
            volume[:, middle[1], :],
            volume[:, :, middle[2]],
            out / f"tomogram-{tomogram.uid[:8]}.png",
            voxel_nm=voxel_nm,
            title=f"{tomogram.start['sample']['name']}, {tomogram.start['energy_kev']:.3f} keV, "
            f"{len(geometry)} x {tomogram.exposure_s:g} s, voxel {voxel_nm:.1f} nm, FSC {figures['fsc_nm']:.0f} nm",
        )
    return figures | {"picture": str(picture)}


def _alignment_figures(tomogram: Tomogram, alignment: Alignment, log: Path) -> dict[str, Any]:
    """Compare centre, tilt and jitter with where each frame truly stood.

    The first harmonic of the shifts is the specimen's place on the stage and no error; the constant is the axis.
    """
    from exitwave.analysis.tomography.alignment import remove_unobservable

    geometry = alignment.geometry
    head, *lines = (json.loads(line) for line in log.read_text().splitlines())
    frames = [line for line in lines if "column" in line]
    wall_s = np.array([head["epoch_s"] + line["t_s"] / head["speed"] for line in frames])
    nearest = [int(np.argmin(np.abs(wall_s - time_s))) for time_s in tomogram.times_s]
    low = (SENSOR_PX - REGION_PX) // 2
    true = np.array([[frames[i]["row"] - low, frames[i]["column"] - low] for i in nearest])
    shifts = geometry.shifts if geometry.shifts is not None else np.zeros((len(geometry), 2))
    found = shifts + np.array([0.0, geometry.centre])
    rest = remove_unobservable(found - true, geometry.angles_deg)
    before = remove_unobservable(true, geometry.angles_deg)
    return {
        "centre_px": geometry.centre,
        "centre_error_px": _constant(found[:, 1] - true[:, 1], geometry.angles_deg),
        "tilt_error_deg": geometry.tilt_deg - frames[nearest[0]]["tilt_deg"],
        "jitter_rms_px": float(np.sqrt(np.mean(rest**2))),
        "jitter_pull": float(np.sqrt(np.mean((rest / alignment.shifts_sd) ** 2))),
        "jitter_before_rms_px": float(np.sqrt(np.mean(before**2))),
    }


def _constant(values: npt.NDArray[np.float64], angles_deg: npt.NDArray[np.float64]) -> float:
    """Return the constant of a constant and a first harmonic, by least squares."""
    turn = np.radians(angles_deg)
    design = np.stack([np.ones_like(turn), np.cos(turn), np.sin(turn)], axis=1)
    return float(np.linalg.lstsq(design, values, rcond=None)[0][0])


def _half_depth_um(tomogram: Tomogram) -> float:
    """Return the depth of focus to either side, by the outermost zone and the energy."""
    from exitwave.analysis import optics

    return float(optics.depth_of_focus_um(tomogram.start["outermost_zone_nm"], float(tomogram.energy_kev or 0.0)))
