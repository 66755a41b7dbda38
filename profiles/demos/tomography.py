"""Nano-CT: a cracked battery particle turned in the simulated beamline, followed live, reconstructed and compared.

The simulator writes what is true into files that only this comparison reads: the particle's voxels, its crack fraction,
and where each frame truly stood.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping
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
VOID_BIN = 2
"""Voxels are taken together (2 x 2 x 2) where voids are counted: a fraction is linear, and it costs an eighth."""
SURFACE_NM = 170.0
"""Depth below the surface from which fractions are taken: the surface itself is blurred."""
DEPTHS_NM = (SURFACE_NM, 500.0, 1000.0, 1500.0, 2000.0, 3000.0)
"""Between these depths fractions are compared shell by shell."""
CRACK_LABEL = 2
VOID_LABELS = (CRACK_LABEL, 3)


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


def tomography_command(request: TomographyRequest, *, json_path: Path | None, out: Path) -> int:
    """Run the demonstration, print its lines, write the figures; returns the exit status."""
    with tempfile.TemporaryDirectory(prefix="exitwave-truth-") as folder:
        truth = Path(folder)
        arguments = ["--seed", str(request.seed), "--speed", str(request.speed), "--specimen", request.specimen]
        arguments += ["--truth", str(truth / "truth.json"), "--truth-log", str(truth / "frames.jsonl")]
        arguments += ["--truth-volume", str(truth / "volume.h5"), "--truth-pitch-nm", "28"]
        with open_stage("bl18b", arguments, out) as stage:
            figures = _measure(stage, request, out)
            tomogram = stage.session.open_tomogram(figures["uid"])
            with tomogram:
                figures |= _evaluate(stage, tomogram, out, truth)
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


def _evaluate(stage: Stage, tomogram: Tomogram, out: Path, truth: Path) -> dict[str, Any]:
    """Correct, align, reconstruct, and compare with the truth."""
    from exitwave.analysis import figures as pictures
    from exitwave.analysis.resolution import fourier_shell_correlation
    from exitwave.analysis.tomography import Geometry, find_axis, reconstruct, reconstruct_to_file
    from exitwave.analysis.tomography.alignment import align_projections
    from exitwave.analysis.tomography.stripes import remove_all_stripes

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
        figures |= _void_figures(halves, voxel_nm, _half_depth_um(tomogram), truth)
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


def _void_figures(halves: list[Volume], voxel_nm: float, half_depth_um: float, truth: Path) -> dict[str, Any]:
    """Return void fractions by each method beside the true one, over the same inside."""
    import h5py
    from scipy import ndimage

    from exitwave.analysis.binning import block_mean
    from exitwave.analysis.tomography import DepthOfFocusWarning, segmentation, voids
    from exitwave.analysis.xanes import focus_of_volume

    mean = 0.5 * (halves[0] + halves[1])
    box = _box(mean)
    noise = _signal_to_noise([half[box] for half in halves])
    halves = [block_mean(half[box], (VOID_BIN,) * 3) for half in halves]
    mean = 0.5 * (halves[0] + halves[1])
    edge_nm = VOID_BIN * voxel_nm
    whole = segmentation.envelope(mean, smooth_px=1.5, close_px=4.0)
    inside = np.asarray(ndimage.distance_transform_edt(whole) > SURFACE_NM / edge_nm, bool)
    with warnings.catch_warnings():
        # it stands among the figures; here nobody reads warnings
        warnings.simplefilter("ignore", DepthOfFocusWarning)
        focus = focus_of_volume(whole, edge_nm, half_depth_um)
    finding: dict[str, Any] = {"smooth_px": 1.2, "grow_px": 3.0, "smallest": 8}
    best = voids.void_fraction_from_halves(halves[0], halves[1], inside, **finding)
    cracks = voids.void_fraction_from_halves(halves[0], halves[1], inside, kinds=(segmentation.Label.CRACK,), **finding)
    depth_px = np.asarray(ndimage.distance_transform_edt(whole))
    edges_nm = [edge for edge in DEPTHS_NM if edge < edge_nm * float(depth_px.max())]
    shells = voids.void_fractions_from_halves_by_depth(
        halves[0], halves[1], inside, depth_px, np.array(edges_nm) / edge_nm, **finding
    )
    labels = segmentation.segment(segmentation.smooth(mean, 1.0), inside)
    counted = voids.void_fraction_counted(labels)
    with h5py.File(truth / "volume.h5") as file:
        true = file["labels"][()]
        pitch_nm = float(file["labels"].attrs["pitch_nm"])
    particle = np.isin(true, (1, *VOID_LABELS))
    true_depth_nm = pitch_nm * np.asarray(ndimage.distance_transform_edt(particle))
    deep = true_depth_nm > SURFACE_NM
    true_voids = float(np.isin(true[deep], VOID_LABELS).mean())
    true_cracks = float((true[deep] == CRACK_LABEL).mean())
    told: Mapping[str, Any] = json.loads((truth / "truth.json").read_text())["specimen"]
    return {
        "void_fraction": best.value,
        "void_fraction_sd": best.sd,
        "void_fraction_counted": counted.value,
        "void_fraction_true": true_voids,
        "void_fraction_error": best.value / true_voids - 1.0,
        "crack_fraction": cracks.value,
        "crack_fraction_sd": cracks.sd,
        "crack_fraction_true": true_cracks,
        "crack_fraction_error": cracks.value / true_cracks - 1.0 if true_cracks else None,
        "crack_fraction_whole_true": told["crack_fraction"],
        "void_fraction_by_depth": [
            {
                "from_nm": round(shell.from_px * edge_nm),
                "to_nm": round(shell.to_px * edge_nm),
                "fraction": shell.fraction.value,
                "sd": shell.fraction.sd,
                "true": _void_share(true, true_depth_nm, shell.from_px * edge_nm, shell.to_px * edge_nm),
            }
            for shell in shells
        ],
        "signal_to_noise_voxel": noise,
        "thickness_um": focus.thickness_um,
        "depth_of_focus_um": focus.depth_of_focus_um,
        "depth_of_focus_warning": focus.warning,
    }


def _void_share(
    labels: npt.NDArray[Any], depth_nm: npt.NDArray[np.float64], from_nm: float, to_nm: float
) -> float | None:
    """Return the true void fraction between two depths; None where the particle is not so deep."""
    shell = labels[(depth_nm > from_nm) & (depth_nm <= to_nm)]
    return float(np.isin(shell, VOID_LABELS).mean()) if shell.size else None


def _half_depth_um(tomogram: Tomogram) -> float:
    """Return the depth of focus to either side, by the outermost zone and the energy."""
    from exitwave.analysis import optics

    return float(optics.depth_of_focus_um(tomogram.start["outermost_zone_nm"], float(tomogram.energy_kev or 0.0)))


def _box(volume: Volume, rim: int = 16) -> tuple[slice, ...]:
    """Return the box around what attenuates, with a rim: what follows costs by the voxel."""
    from exitwave.analysis.binning import block_mean

    factor = 8
    coarse = block_mean(volume, (factor,) * 3)
    dense = coarse > 0.5 * np.percentile(coarse, 98)
    cuts = []
    for axis in range(3):
        hit = np.flatnonzero(dense.any(axis=tuple(a for a in range(3) if a != axis))) * factor
        cuts.append(slice(max(0, int(hit[0]) - rim), min(volume.shape[axis], int(hit[-1]) + factor + rim)))
    return tuple(cuts)


def _signal_to_noise(halves: list[Volume]) -> float:
    """Return a voxel's mean over its noise in the middle of the whole volume, from the difference of the halves."""
    middle = tuple(slice(n // 2 - n // 8, n // 2 + n // 8) for n in halves[0].shape)
    noise = float(np.std(halves[0][middle] - halves[1][middle])) / 2.0
    return float(np.mean(0.5 * (halves[0][middle] + halves[1][middle]))) / noise
