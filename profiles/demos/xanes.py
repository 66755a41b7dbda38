"""Spectroscopic imaging: a pristine and a cycled battery particle across the nickel edge, from counts to edge energies.

Films of two oxides give the standards, then each particle is measured: crystals and energy calibrated, focus tracked
over the energy, images at every energy with flats. Each sample has a beamline of its own, in a process of its own. The
simulator writes what is true into files that only the comparison reads.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from exitwave.profiles.demos.stage import PhaseTimes, Stage, open_stage, run_plan

if TYPE_CHECKING:
    from exitwave.analysis.xanes import LinearCombination, Normalisation, StackOperator
    from exitwave.profiles.storage.xanes_stack import XanesStack

__all__ = ["XanesRequest", "xanes_command"]

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

ELEMENT = "Ni"
OBJECTIVE = "4x"
MATERIAL = "LiNi0.6Co0.2Mn0.2O2"
REGION_PX, SENSOR_PX = 512, 2048
CORNER_PX = (SENSOR_PX - REGION_PX) // 2
CALIBRATION_KEV = (8.2, 8.4, 8.6)
PARTICLES = {"pristine": "ncm-pristine", "cycled": "ncm-cycled"}
FILMS = {"Ni2+ (NiO)": "film-Ni2+", "Ni3+ (LiNiO2)": "film-Ni3+"}
FOIL_EV = ((-45.0, -10.0, 5.0), (-10.0, 14.0, 0.5), (14.0, 44.0, 5.0))
PRE_EV, POST_EV = (-200.0, -28.0), (45.0, 400.0)
"""From the edge: where the line and the polynomial are fitted."""
SURFACE_NM = 250.0
"""Distance from the outline from which pixels are compared: the outline itself is blurred."""
BAND, SPANS = 0.12, (1, 2, 4, 8, 16, 32)
"""Of the alignment: cycles per pixel, and pairs of energies that are compared."""
DRIFT_ORDERS = (3, 2)
"""What moves the image: the lens on its rail, by the energy, and the stage's drift, by the time."""
FILM_EDGE_UM = 20.0
"""A film is put so that its edge stands in the middle of the field: half of it is empty and gives the beam's level."""
GOAL_EV = 0.2


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
        At each energy; as many flats are taken there.
    seed : int
        Of the instrument's hidden errors.
    speed : float
        How much faster than real the simulated clock runs.
    """

    num_energies: int = 41
    exposure_s: float = 2.0
    num_frames: int = 4
    seed: int = 18
    speed: float = 20.0


def xanes_command(request: XanesRequest, *, json_path: Path | None, out: Path) -> int:
    """Run the demonstration, print its lines, write the figures; returns the exit status."""
    import json
    import time

    begin, times = time.perf_counter(), PhaseTimes()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="exitwave-truth-") as folder:
        taken = {}
        for name, specimen in (FILMS | PARTICLES).items():
            with times.phase(name):
                taken[name] = _in_process_of_its_own(request, specimen, out, Path(folder) / specimen)
        with times.phase("analysis"):
            figures = evaluate(taken, Path(folder), out)
    figures |= {"seed": request.seed, "speed": request.speed, "wall_s": round(time.perf_counter() - begin, 1)}
    figures["phases"] = times.phases | {f"{name}: details": sample["phases"] for name, sample in taken.items()}
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"picture     {figures['picture']}")
    print(f"runs        {', '.join(figures['uids'].values())}")
    for name in PARTICLES:
        part = figures["particles"][name]
        print(
            f"{name:<12}edge {part['edge_median_ev']:.2f} eV, core minus shell "
            f"{part['core_minus_shell_ev']:+.2f} +- {part['core_minus_shell_sd_ev']:.2f} eV, "
            f"true {part['core_minus_shell_true_ev']:+.2f} eV"
        )
    print(
        f"edge        bias {figures['edge_bias_ev']:+.3f} eV, rms {figures['edge_rms_ev']:.3f} eV = "
        f"{figures['edge_rms_over_bound']:.2f} x the bound; {GOAL_EV} eV a pixel by the bound at "
        f"{figures['photons_for_goal']:.0f} photons a pixel and energy in the open field, "
        f"{figures['dose_for_goal_gy']:.2g} Gy"
    )
    return 0


# -- measurement ------------------------------------------------------------------------------------------------------


def _in_process_of_its_own(request: XanesRequest, specimen: str, out: Path, truth: Path) -> dict[str, Any]:
    """Measure a sample in a new process: a client of Channel Access stays with the beamline that it found first."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        found: dict[str, Any] = pool.submit(measure, request, specimen, out, truth).result()
    return found


def measure(request: XanesRequest, specimen: str, out: Path, truth: Path) -> dict[str, Any]:
    """Start a beamline with a specimen, align and calibrate it, take the scan; returns the run's uid and figures."""
    truth.mkdir(parents=True, exist_ok=True)
    arguments = ["--seed", str(request.seed), "--speed", str(request.speed), "--specimen", specimen]
    arguments += ["--truth-log", str(truth / "frames.jsonl"), "--truth-spectra", str(truth / "spectra.txt")]
    particle = specimen in PARTICLES.values()
    if particle:
        arguments += ["--truth-volume", str(truth / "volume.h5"), "--truth-pitch-nm", "28"]
    with open_stage("bl18b", arguments, out) as stage:
        found = _align(stage, particle)
        # The Bragg angle drifts by a tenth of an eV within the hour: the foil right before the scan, and again after.
        _foil_edge_ev(stage, apply=True)
        found |= _scan(stage, request, specimen, particle=particle)
        edge_ev, sd_ev = _foil_edge_ev(stage, apply=False)
        found |= {"foil_edge_after_ev": edge_ev, "calibration_sd_ev": sd_ev}
        stage.close()
    return found | {"phases": stage.times.phases}


def _align(stage: Stage, particle: bool) -> dict[str, Any]:
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


def _foil_edge_ev(stage: Stage, *, apply: bool) -> tuple[float, float]:
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


# -- evaluation -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Aligned:
    """A stack of optical depths on common pixels."""

    energies_ev: Array
    depth: Image
    variance: Image
    operator: StackOperator
    reference: int
    pixel_nm: float
    photons: Array
    """In the open field, detected per pixel and energy, median; all frames of the energy together."""


def evaluate(taken: Mapping[str, Mapping[str, Any]], truth: Path, out: Path) -> dict[str, Any]:
    """Make maps of both particles from their runs, and compare them with the truth.

    Parameters
    ----------
    taken : mapping
        What `measure` returned, by the names of `FILMS` and `PARTICLES`.
    truth : Path
        Folder with one folder for each specimen.
    """
    from exitwave.analysis import figures as pictures
    from exitwave.analysis.xanes import edge_energy_ev
    from exitwave.profiles.demos import xanes_truth
    from exitwave.profiles.storage import open_xanes

    standards: dict[str, tuple[Array, Array]] = {}
    for name in FILMS:
        with open_xanes(taken[name]["uid"]) as stack:
            standards[name] = _standard(stack, taken[name]["foil_edge_after_ev"])
    particles: dict[str, dict[str, Any]] = {}
    panels, compared = [], []
    pixel_nm = 0.0
    for name, specimen in PARTICLES.items():
        with open_xanes(taken[name]["uid"]) as stack:
            aligned = _aligned(stack, taken[name]["foil_edge_after_ev"])
        told = xanes_truth.frame_truth(stack, truth / specimen / "frames.jsonl")
        figures, panel, parts = _map(name, aligned, standards, told, truth / specimen)
        figures |= xanes_truth.placing_figures(
            told, aligned.operator, aligned.reference, CORNER_PX, taken[name]["depth_of_focus_um"]
        )
        figures["energy_scale_error_ev"] = float(np.mean(aligned.energies_ev - told.energy_ev))
        figures["live"] = taken[name]["live"]
        # variances fall as the counts grow, and the dose grows with them
        dose_gy, more = float(stack.start["estimate"]["dose_gy"]), (figures["edge_bound_ev"] / GOAL_EV) ** 2
        figures |= {
            "dose_gy": dose_gy,
            "dose_for_goal_gy": more * dose_gy,
            "photons_for_goal": more * figures["photons"],
        }
        particles[name] = figures
        panels.append(panel)
        compared.append(parts)
        pixel_nm = aligned.pixel_nm
    whole = xanes_truth.joined(compared)
    worst = {
        key: max(particle[key] for particle in particles.values())
        for key in ("focus_error_dof", "magnification_residual_px", "alignment_rms_px")
    }
    uid = taken["cycled"]["uid"]
    picture = pictures.xanes_figure(
        panels,
        out / f"xanes-{uid[:8]}.png",
        pixel_nm=pixel_nm,
        standards=standards,
        window_ev=(8310.0, 8390.0),
        title=f"NCM622 across the {ELEMENT} K edge: edge energy by linear combination of the standards, pixel "
        f"{pixel_nm:.1f} nm; rms error {whole['edge_rms_ev']:.2f} eV, bias {whole['edge_bias_ev']:+.3f} eV",
    )
    return {
        "uid": uid,
        "picture": str(picture),
        **whole,
        "core_minus_shell_ev": {name: particles[name]["core_minus_shell_ev"] for name in particles},
        **worst,
        **{key: max(p[key] for p in particles.values()) for key in ("photons_for_goal", "dose_for_goal_gy", "dose_gy")},
        "particles": particles,
        "uids": {name: taken[name]["uid"] for name in taken},
        "foil_drift_ev": {name: taken[name]["foil_edge_after_ev"] - edge_energy_ev(ELEMENT) for name in taken},
        "calibration_sd_ev": max(float(sample["calibration_sd_ev"]) for sample in taken.values()),
    }


def _photons_per_count(stack: XanesStack, k: int) -> float:
    """Return detected photons per count from how two flats of one energy differ: variance equals mean in photons."""
    flats, dark = stack.flats(k), stack.dark(k)
    if flats is None or dark is None:
        raise ValueError("photon transfer: needs flats and darks")
    first, second = (np.asarray(flats[i], np.float64) - dark for i in (0, 1))
    first *= np.median(second) / np.median(first)
    difference = (first - second) / np.sqrt(np.maximum(first + second, 1.0))
    # hot pixels and cosmic rays are no photon noise
    return float(1.0 / (1.4826 * np.median(np.abs(difference - np.median(difference)))) ** 2)


def _depths(stack: XanesStack) -> tuple[list[tuple[Image, Image]], Array]:
    """Return optical depth and variance of each energy, and the photons of the open field."""
    from exitwave.analysis.xanes import optical_depth

    photons_per_count = float(np.median([_photons_per_count(stack, k) for k in range(len(stack))]))
    found, photons = [], []
    for k, point in enumerate(stack.points):
        frames, flats, dark = stack.frames(k), stack.flats(k), stack.dark(k)
        if flats is None or dark is None or len(flats) != len(frames):
            raise ValueError("optical depth: needs darks, and as many flats as frames at each energy")
        # Plain means: to leave outliers out of a few frames costs more photons than it saves.
        light, flat = stack.image(k), np.mean(flats[:], axis=0, dtype=np.float32)
        known = point.beam_intensity > 0 and point.flat_intensity > 0
        together = len(frames) * photons_per_count
        depth, variance = optical_depth(
            light,
            flat,
            dark,
            beam_ratio=point.beam_intensity / point.flat_intensity if known else 1.0,
            photons_per_count=together,
        )
        found.append((depth, variance))
        photons.append(together * float(np.median(flat - dark)))
    return found, np.asarray(photons)


def _energies_ev(stack: XanesStack, foil_edge_after_ev: float) -> Array:
    """Return the energies by the readback, less what the Bragg angle drifted since the foil: straight over the scan."""
    from exitwave.analysis.xanes import edge_energy_ev

    drift_ev = foil_edge_after_ev - edge_energy_ev(ELEMENT)
    passed = (np.arange(len(stack)) + 0.5) / len(stack)
    return np.asarray(1e3 * stack.energies_kev - drift_ev * passed)


def _levelled(depth: Image, rim_px: int = 24) -> Image:
    """Take off what a frame has on both sides, where there is nothing but what is left of the beam's changes."""
    rim = np.concatenate(
        [depth[: depth.shape[0] // 2, :rim_px].ravel(), depth[: depth.shape[0] // 2, -rim_px:].ravel()]
    )
    return np.asarray(depth - np.float32(np.nanmedian(rim)), np.float32)


def _aligned(stack: XanesStack, foil_edge_after_ev: float) -> _Aligned:
    """Correct, bring to one magnification and align, in one resampling."""
    from exitwave.analysis.xanes import StackOperator, align

    pairs, photons = _depths(stack)
    depths = [_levelled(depth) for depth, _ in pairs]
    energies_ev = _energies_ev(stack, foil_edge_after_ev)
    reference = len(energies_ev) // 2
    shape = depths[0].shape
    scale = stack.pixel_nm[reference] / stack.pixel_nm
    start = StackOperator.identity(len(depths), (shape[0], shape[1]), scale=scale)
    # Beyond the band there is little but noise. What moves the image is smooth; single registrations scatter by more.
    found = align(
        depths,
        start,
        reference=reference,
        spans=SPANS,
        highest_frequency=BAND,
        drift_order=DRIFT_ORDERS,
        drift_along=[energies_ev, stack.times_s],
    )
    moved = [found.operator.resample(k, depths[k], pairs[k][1]) for k in range(len(depths))]
    return _Aligned(
        energies_ev,
        np.stack([image for image, _ in moved]),
        np.stack([spread for _, spread in moved if spread is not None]),
        found.operator,
        reference,
        float(stack.pixel_nm[reference]),
        photons,
    )


def _standard(stack: XanesStack, foil_edge_after_ev: float) -> tuple[Array, Array]:
    """Return the normalised spectrum of an even film that fills one half of the field, the other half empty."""
    pairs, _ = _depths(stack)
    energies_ev = _energies_ev(stack, foil_edge_after_ev)
    # well away from the edge and its fringes, and from the ends
    near, far = REGION_PX // 16, REGION_PX // 2 - REGION_PX // 8
    left, right = (
        np.array([float(np.nanmean(depth[:, part], dtype=np.float64)) for depth, _ in pairs])
        for part in (slice(near, far), slice(-far, -near))
    )
    return energies_ev, _normalisation(energies_ev).spectrum(np.abs(right - left))[0]


def _normalisation(energies_ev: Array) -> Normalisation:
    from exitwave.analysis.xanes import Normalisation, edge_energy_ev

    e0 = edge_energy_ev(ELEMENT)
    offset = energies_ev - e0
    pre = max(PRE_EV[0], float(offset[0])), PRE_EV[1]
    post = POST_EV[0], min(POST_EV[1], float(offset[-1]))
    return Normalisation(energies_ev, e0, pre, post, order=1)


def _mixture(energies_ev: Array, standards: Mapping[str, tuple[Array, Array]]) -> LinearCombination:
    """Prepare the fit; energies of runs differ by millielectronvolts, and the ends have to be covered."""
    from exitwave.analysis.xanes import LinearCombination

    widened = {}
    for name, (energies, values) in standards.items():
        ends = np.concatenate([[energies[0] - 1.0], energies, [energies[-1] + 1.0]])
        widened[name] = (ends, np.concatenate([values[:1], values, values[-1:]]))
    return LinearCombination(energies_ev, widened, non_negative=False, sum_to_one=False, background_order=1)


def _map(
    name: str, aligned: _Aligned, standards: Mapping[str, tuple[Array, Array]], told: Any, truth: Path
) -> tuple[dict[str, Any], Any, tuple[Array, Array, Array, Array]]:
    """Map the edge energy of a particle and compare it with the truth."""
    from exitwave.analysis.figures import EdgePanel
    from exitwave.analysis.xanes import core_minus_shell, edge_map, region_spectrum, surface_depth_nm
    from exitwave.profiles.demos import xanes_truth

    normalisation = _normalisation(aligned.energies_ev)
    normal = normalisation(aligned.depth, aligned.variance, spectra=False)
    outline = _outline(normal.step)
    depth_nm = surface_depth_nm(outline, aligned.pixel_nm)
    mask = np.asarray(depth_nm > SURFACE_NM)
    half = edge_map(aligned.depth, normalisation, aligned.variance)
    mixture = _mixture(aligned.energies_ev, standards)
    fit = mixture.fit(aligned.depth, aligned.variance)
    edge, sd = mixture.edge_energy(fit)
    edge, sd = np.where(mask, edge, np.nan), np.where(mask, sd, np.nan)
    thickness = xanes_truth.thickness_um(
        truth / "volume.h5", told, aligned.reference, (mask.shape[0], mask.shape[1]), CORNER_PX
    )
    spectra = xanes_truth.true_spectra(truth / "spectra.txt")
    true, _ = xanes_truth.true_edge_map(thickness, spectra, normalisation, mask)
    # A pixel's deviation moves with its edge energy, and weights by it would pull the mean of the noisier shell down.
    even = np.where(np.isfinite(edge) & np.isfinite(true), np.sqrt(np.nanmean(sd**2)), np.nan)
    contrast = core_minus_shell(edge, even, depth_nm)
    true_contrast = core_minus_shell(true, even, depth_nm)
    figures: dict[str, Any] = {
        **xanes_truth.edge_figures(edge, sd, true, sd),
        "edge_median_ev": float(np.nanmedian(edge)),
        "core_minus_shell_ev": contrast.difference,
        "core_minus_shell_sd_ev": contrast.difference_sd,
        "core_minus_shell_true_ev": true_contrast.difference,
        "misfit": float(np.nanmedian(fit.misfit[mask])),
        "fraction_sd": float(np.nanmedian(fit.fractions_sd[0][mask])),
        "photons": float(np.median(aligned.photons)),
        "half_height": xanes_truth.edge_figures(half.energy_ev, half.sd_ev, true, sd),
    }
    regions = {"core": depth_nm > 0.5 * depth_nm.max(), "shell": mask & (depth_nm < 0.25 * depth_nm.max())}
    shown = {}
    for region, chosen in regions.items():
        spectrum = region_spectrum(region, aligned.energies_ev, aligned.depth, chosen, aligned.variance)
        shown[region] = (aligned.energies_ev, normalisation.spectrum(spectrum.mu)[0])
    cut = _box(outline)
    panel = EdgePanel(name, edge[cut], sd[cut], shown)
    return figures, panel, (edge, sd, true, sd)


def _outline(step: Image) -> Mask:
    """Return where the particle is: one piece, holes filled, where the edge step is a fifth of its largest."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(np.nan_to_num(step), 1.5)
    labels, number = ndimage.label(smooth > 0.2 * np.quantile(smooth, 0.995))
    if not number:
        raise ValueError("no particle in the field")
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(labels == largest), np.bool_)


def _box(mask: Mask, rim: int = 8) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return (
        slice(max(0, int(rows[0]) - rim), int(rows[-1]) + rim + 1),
        slice(max(0, int(columns[0]) - rim), int(columns[-1]) + rim + 1),
    )
