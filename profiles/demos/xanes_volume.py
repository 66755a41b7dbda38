"""Spectroscopic tomography: a tomogram at every energy across the nickel edge, and an edge energy in every voxel.

Films of two oxides give the standards. The cycled particle is turned half a turn at each energy; between blocks of
energies a foil tells how far the Bragg angle drifted. The simulator writes what is true into files that only the
comparison reads.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt

from exitwave.profiles.demos.stage import PhaseTimes, open_stage
from exitwave.profiles.demos.xanes_maps import SURFACE_NM, standard_of
from exitwave.profiles.demos.xanes_measure import (
    ELEMENT,
    FILMS,
    MATERIAL,
    PARTICLES,
    SENSOR_PX,
    XanesRequest,
    align_beamline,
    foil_edge_ev,
    in_process_of_its_own,
    measure,
    simulator_arguments,
)
from exitwave.profiles.xanes_depths import photons_per_count
from exitwave.profiles.xanes_maps import mixture_of, normalisation_of, outline_of

if TYPE_CHECKING:
    from exitwave.analysis.figures import EdgePanel
    from exitwave.analysis.xanes import EnergyProjections, VolumeAlignment
    from exitwave.profiles.demos.xanes_volume_truth import Placing
    from exitwave.profiles.storage.tomogram import Tomogram

__all__ = ["volume_command"]

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]

PARTICLE = "cycled"
TURNED_PX, BINNING = 416, 2
"""Sensor pixels per side, which hold the particle at all angles, and how many of them make a pixel of a projection."""
BLOCKS = 3
"""Of energies, with the foil before each and after the last."""
RIM_PX = 12
VOXEL_BINS = (2, 4)
"""Pixels per side of a voxel: at 60 angles a particle of 85 voxels is sampled well; of twice that size each has an
eighth of the noise."""
SHELL_NM = 500.0
OUTLINE = 0.4
"""Of the most attenuation in the volume: what is the particle."""


def volume_command(request: XanesRequest, *, json_path: Path | None, out: Path) -> int:
    """Run the demonstration, print its lines, write the figures; returns the exit status."""
    begin, times = time.perf_counter(), PhaseTimes()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="exitwave-truth-") as folder:
        taken: dict[str, dict[str, Any]] = {}
        for name, specimen in (*FILMS.items(), (PARTICLE, PARTICLES[PARTICLE])):
            with times.phase(name):
                work = measure if name in FILMS else measure_volume
                taken[name] = in_process_of_its_own(work, request, specimen, out, Path(folder) / specimen)
        with times.phase("analysis"):
            figures = evaluate_volume(taken, Path(folder), out, times)
    figures |= {"seed": request.seed, "speed": request.speed, "wall_s": round(time.perf_counter() - begin, 1)}
    figures["phases"] = times.phases | {f"{name}: details": sample["phases"] for name, sample in taken.items()}
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"picture     {figures['picture']}")
    print(f"series      {figures['series']}: {figures['energies']} energies x {figures['projections']} angles")
    for voxel in figures["voxels"]:
        print(
            f"{voxel['voxel_nm']:.0f} nm      bias {voxel['edge_bias_ev']:+.3f} eV, rms {voxel['edge_rms_ev']:.2f} eV, "
            f"expected {voxel['edge_sd_ev']:.2f} eV, pull {voxel['pull_width']:.2f} in {voxel['pixels']} voxels; "
            f"core minus shell {voxel['core_minus_shell_ev']:+.2f} eV, true {voxel['core_minus_shell_true_ev']:+.2f} eV"
        )
    return 0


# -- measurement ------------------------------------------------------------------------------------------------------


def measure_volume(request: XanesRequest, specimen: str, out: Path, truth: Path) -> dict[str, Any]:
    """Start a beamline with a particle, align and calibrate it, take a tomogram at every energy."""
    from exitwave.analysis.xanes import PRESETS, preset_regions, regions_to_energies
    from exitwave.plans.pure.positions import central_region
    from exitwave.plans.stubs import set_binning, set_region
    from exitwave.plans.xanes import Exposed

    if request.num_energies not in PRESETS:
        raise ValueError(f"energies: {request.num_energies} is none of the ready-made lists")
    num = len(regions_to_energies(preset_regions(request.num_energies), edge_ev=8333.0))
    foil: list[tuple[float, float, float]] = []
    uids: list[str] = []
    with open_stage("bl18b", simulator_arguments(request, specimen, truth), out) as stage:
        found = align_beamline(stage, particle=True)
        session, times = stage.session, stage.times
        engine, space = session.RE, session.namespace
        with times.phase("rotation axis"):
            engine(
                space["ct"].align_rotation_axis(
                    (0.0, 45.0, 90.0, 135.0), num_frames=1, repeats=1, tolerance_px=2.0, num_flats=5
                )
            )
        camera = session.instrument.microscope.camera
        size = int(camera.cam.max_size_x.get()), int(camera.cam.max_size_y.get())
        engine(set_region(camera, *central_region(TURNED_PX, *size)))
        engine(set_binning(camera, BINNING))
        series: str | None = None
        for block in np.array_split(np.arange(num), BLOCKS):
            foil.append((time.time(), *foil_edge_ev(stage, apply=not foil)))
            with times.phase(f"energies {block[0] + 1} to {block[-1] + 1}"):
                plan = space["xanes"].tomography(
                    request.num_energies,
                    ELEMENT,
                    0.0,
                    180.0,
                    request.num_projections,
                    exposure_s=request.exposure_s,
                    mode="step",
                    num_flats=8,
                    num_darks=8,
                    only=[int(k) for k in block],
                    series=series,
                    exposed=Exposed(MATERIAL),
                    md={"sample": {"name": specimen}},
                )
                result = engine(plan)
            uids += [str(uid) for uid in (result if isinstance(result, tuple) else result.run_start_uids)]
            series = str(session.open_run(uids[-1]).start["xanes_series"]["uid"])
        foil.append((time.time(), *foil_edge_ev(stage, apply=False)))
        # The first of them was taken off the Bragg angle.
        foil[0] = (foil[0][0], foil_energy_ev(), foil[0][2])
        stage.close()
    return found | {"series": series, "uids": uids, "foil": foil, "phases": stage.times.phases}


def foil_energy_ev() -> float:
    """Return where the foil's edge stands after it was calibrated by."""
    from exitwave.analysis.xanes import edge_energy_ev

    return edge_energy_ev(ELEMENT)


# -- evaluation -------------------------------------------------------------------------------------------------------


@dataclass
class _Stored:
    """Corrected projections in a file, energy by energy."""

    file: h5py.File
    photons: list[float]

    def __len__(self) -> int:
        return int(self.file["depth"].shape[0])

    def __getitem__(self, k: int) -> EnergyProjections:
        from exitwave.analysis.xanes import EnergyProjections

        depth = self.file["depth"][k]
        # variance of the logarithm of counts, and of the flats' mean: by photons, which the flat tells
        flat = self.file["photons"][k]
        return EnergyProjections(depth, np.exp(depth) / flat, 1.0 / (flat * float(self.file["flats"][k])))


def _store(tomograms: Sequence[Tomogram], path: Path) -> _Stored:
    """Correct the projections of all energies into a file."""
    from exitwave.analysis.tomography.attenuation import line_integrals

    file = h5py.File(path, "w")
    stored = _Stored(file, [])
    for k, tomogram in enumerate(tomograms):
        frames, flats, darks = tomogram.frames, tomogram.flats, tomogram.darks
        if frames is None or flats is None or darks is None:
            raise ValueError(f"run {tomogram.uid[:8]}: needs projections, flats and darks")
        depth = line_integrals(
            frames, flats, darks, intensity=tomogram.beam_intensity, flat_intensity=tomogram.flat_intensity
        )
        rim = np.concatenate([depth[:, :, :RIM_PX], depth[:, :, -RIM_PX:]], axis=2)[:, : depth.shape[1] // 2]
        depth -= np.median(rim, axis=(1, 2))[:, None, None]
        dark = np.mean(darks[:], axis=0, dtype=np.float32)
        flat = np.maximum(np.mean(flats[:], axis=0, dtype=np.float32) - dark, 1.0)
        if k == 0:
            shape = (len(tomograms), *depth.shape)
            file.create_dataset("depth", shape, "f4", chunks=(1, 1, *depth.shape[1:]))
            file.create_dataset("photons", (shape[0], *shape[2:]), "f4", chunks=(1, *shape[2:]))
            file.create_dataset("flats", (shape[0],), "i4")
        photons = photons_per_count(flats, dark) * flat
        file["depth"][k], file["photons"][k], file["flats"][k] = depth, photons, len(flats)
        stored.photons.append(float(np.median(photons)))
    return stored


def _energies_ev(tomograms: Sequence[Tomogram], foil: Sequence[Sequence[float]]) -> Array:
    """Return the energies, less what the Bragg angle drifted by the foil."""
    when = np.array([row[0] for row in foil])
    drift_ev = np.array([row[1] for row in foil]) - foil_energy_ev()
    taken_s = np.array([float(np.mean(tomogram.times_s)) for tomogram in tomograms])
    nominal = np.array([1e3 * float(tomogram.energy_kev or 0.0) for tomogram in tomograms])
    return np.asarray(nominal - np.interp(taken_s, when, drift_ev), np.float64)


def _dose_gy(tomograms: Sequence[Tomogram]) -> float:
    """Return the dose of all projections, as the start documents reckon it; the axis turns in the beam, too."""
    return sum(float(tomogram.start["exposed"]["dose_gy"]) for tomogram in tomograms)


def evaluate_volume(
    taken: Mapping[str, Mapping[str, Any]], truth: Path, out: Path, times: PhaseTimes
) -> dict[str, Any]:
    """Reconstruct every energy, find the edge energy of every voxel, and compare it with the truth.

    Parameters
    ----------
    taken : mapping
        What `measure` returned for the films, and `measure_volume` for the particle.
    truth : Path
        Folder with one folder for each specimen.
    out : Path
    times : PhaseTimes
    """
    from exitwave.analysis import figures as pictures
    from exitwave.analysis.tomography import Geometry
    from exitwave.analysis.xanes import align_tomograms
    from exitwave.profiles.demos import xanes_volume_truth
    from exitwave.profiles.storage import open_xanes, open_xanes_series

    standards: dict[str, tuple[Array, Array]] = {}
    for name in FILMS:
        with open_xanes(taken[name]["uid"]) as stack:
            standards[name] = standard_of(stack, taken[name]["foil_edge_after_ev"])
    found = taken[PARTICLE]
    own = truth / PARTICLES[PARTICLE]
    with ExitStack() as opened, tempfile.TemporaryDirectory(prefix="exitwave-volumes-") as folder:
        tomograms = [opened.enter_context(tomogram) for tomogram in open_xanes_series(found["uids"][0])]
        energies_ev = _energies_ev(tomograms, found["foil"])
        with times.phase("correction"):
            source = _store(tomograms, Path(folder) / "projections.h5")
            opened.callback(source.file.close)
        pixel_nm = np.array([float(tomogram.pixel_nm or 0.0) for tomogram in tomograms])
        reference = len(tomograms) // 2
        with times.phase("alignment"):
            shape = source.file["depth"].shape
            start = Geometry(tomograms[0].angles_deg, shape[3], 0.5 * (shape[3] - 1))
            alignment = align_tomograms(source, start, pixel_nm[reference] / pixel_nm, bins=(2, 1))
        corner = (SENSOR_PX - TURNED_PX) // 2
        place = xanes_volume_truth.placing(tomograms, alignment, own / "frames.jsonl", corner, BINNING)
        rows, panels, true_slices = [], [], []
        for bin_px in VOXEL_BINS:
            with times.phase(f"volumes, bin {bin_px}"):
                voxel_nm = bin_px * float(pixel_nm[reference])
                figures, panel, true = _map(
                    source,
                    alignment,
                    energies_ev,
                    standards,
                    bin_px,
                    voxel_nm,
                    place,
                    own,
                    Path(folder),
                    float(found["depth_of_focus_um"]),
                )
            rows.append(figures)
            panels.append(panel)
            true_slices.append(true)
    finest = VOXEL_BINS[0]
    wide = [_enlarged(panel, bin_px // finest) for panel, bin_px in zip(panels, VOXEL_BINS, strict=True)]
    picture = pictures.xanes_figure(
        [*wide, pictures.EdgePanel("true", true_slices[0])],
        out / f"xanes-volume-{str(found['series'])[:8]}.png",
        pixel_nm=finest * float(pixel_nm[reference]),
        standards=standards,
        window_ev=(8310.0, 8390.0),
        title=f"cycled NCM622, {len(tomograms)} energies x {shape[1]} angles: a slice of the voxels' edge energies",
    )
    return {
        "uids": {name: taken[name].get("uid") or taken[name]["uids"] for name in taken},
        "series": found["series"],
        "picture": str(picture),
        "energies": len(tomograms),
        "projections": int(shape[1]),
        "photons": float(np.median(source.photons)),
        "dose_gy": _dose_gy(tomograms),
        "registration_rms_px": alignment.registration_rms_px,
        "alignment_rms_px": place.rms_px,
        "foil_drift_ev": [row[1] - foil_energy_ev() for row in found["foil"]],
        "voxels": rows,
        **{key: rows[0][key] for key in ("edge_bias_ev", "edge_rms_ev", "pull_width")},
        **{key: rows[0][key] for key in ("thickness_um", "depth_of_focus_um", "focus_warning")},
    }


def _map(
    source: _Stored,
    alignment: VolumeAlignment,
    energies_ev: Array,
    standards: Mapping[str, tuple[Array, Array]],
    bin_px: int,
    voxel_nm: float,
    place: Placing,
    truth: Path,
    folder: Path,
    half_depth_um: float,
) -> tuple[dict[str, Any], EdgePanel, Array]:
    """Return the figures of one size of voxels, and slices for the picture: what was found, and the truth."""
    from exitwave.analysis.figures import EdgePanel
    from exitwave.analysis.xanes import (
        core_minus_shell,
        depth_profile,
        focus_of_volume,
        reconstruct_energies,
        surface_depth_nm,
    )
    from exitwave.profiles.demos import xanes_truth, xanes_volume_truth

    n, size = len(source), alignment.geometry.width // bin_px
    height = source.file["depth"].shape[2] // bin_px
    with h5py.File(folder / f"volumes-{bin_px}.h5", "w") as file:
        room = [file.create_dataset(name, (n, height, size, size), "f4") for name in ("attenuation", "variance")]
        volumes, variance = reconstruct_energies(source, alignment, bin_px=bin_px, out=room[0], out_variance=room[1])
        normalisation = normalisation_of(energies_ev, foil_energy_ev())
        # all energies together have the least noise; glass absorbs a sixth of what the particle does
        outline = outline_of(sum(volumes[k] for k in range(n)) / np.float32(n), OUTLINE)
        depth_nm = surface_depth_nm(outline, voxel_nm)
        focus = focus_of_volume(outline, voxel_nm, half_depth_um)
        mixture = mixture_of(energies_ev, standards)
        fit = mixture.fit(volumes, variance, passes=1)
        edge, sd = mixture.edge_energy(fit)
        # deep enough, and no crack
        mask = (depth_nm > SURFACE_NM) & (fit.amplitude > 0.5 * np.nanmedian(fit.amplitude[depth_nm > SURFACE_NM]))
        spectra = {}
        deepest = float(depth_nm.max())
        regions = {"core": mask & (depth_nm > 0.5 * deepest), "shell": mask & (depth_nm < 0.25 * deepest)}
        for name, chosen in regions.items():
            mean = np.array([float(volumes[k][chosen].mean(dtype=np.float64)) for k in range(n)])
            spectra[name] = (energies_ev, normalisation.spectrum(mean)[0])
    edge, sd = np.where(mask, edge, np.nan), np.where(mask, sd, np.nan)
    true = xanes_volume_truth.true_edges(truth, place, mask, voxel_nm, bin_px, normalisation)
    even = np.where(np.isfinite(edge) & np.isfinite(true), np.sqrt(np.nanmean(sd**2)), np.nan)
    contrast, true_contrast = core_minus_shell(edge, even, depth_nm), core_minus_shell(true, even, depth_nm)
    shells, true_shells = (depth_profile(values, even, depth_nm, bin_nm=SHELL_NM) for values in (edge, true))
    figures: dict[str, Any] = {
        "voxel_nm": voxel_nm,
        **xanes_truth.edge_figures(edge, sd, true),
        "edge_spread_true_ev": float(np.nanstd(true[mask])),
        "correlation_with_truth": _correlation(edge, true),
        "core_minus_shell_ev": contrast.difference,
        "core_minus_shell_true_ev": true_contrast.difference,
        "shell_depth_nm": shells.depth_nm.tolist(),
        "shell_edge_ev": shells.mean.tolist(),
        "shell_edge_true_ev": true_shells.mean.tolist(),
        "misfit": float(np.nanmedian(fit.misfit[mask])),
        "thickness_um": focus.thickness_um,
        "depth_of_focus_um": focus.depth_of_focus_um,
        "focus_warning": focus.warning,
    }
    cut = height // 2
    name = f"voxels of {voxel_nm:.0f} nm"
    return figures, EdgePanel(name, edge[cut], sd[cut], spectra), true[cut]


def _correlation(edge: Array, true: Array) -> float:
    known = np.isfinite(edge) & np.isfinite(true)
    return float(np.corrcoef(edge[known], true[known])[0, 1])


def _enlarged(panel: EdgePanel, factor: int) -> EdgePanel:
    """Return a panel whose pixels stand for some of their own, to be shown beside finer ones."""

    def wide(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.repeat(np.repeat(values, factor, axis=0), factor, axis=1)

    return replace(
        panel,
        edge_ev=wide(panel.edge_ev),
        edge_sd_ev=None if panel.edge_sd_ev is None else wide(panel.edge_sd_ev),
    )
