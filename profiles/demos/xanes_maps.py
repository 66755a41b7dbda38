"""From the runs of the spectroscopic demonstration to edge energies, and their comparison with the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from exitwave.profiles.demos.xanes_measure import CORNER_PX, ELEMENT, FILMS, PARTICLES, REGION_PX
from exitwave.profiles.xanes_depths import AlignedStack, aligned_depths, energies_ev, optical_depths
from exitwave.profiles.xanes_maps import edges_of, normalisation_of, outline_of

if TYPE_CHECKING:
    from exitwave.profiles.storage.xanes_stack import XanesStack

__all__ = ["GOAL_EV", "SURFACE_NM", "evaluate", "standard_of"]

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

SURFACE_NM = 250.0
"""Distance from the outline from which pixels are compared: the outline itself is blurred."""
GOAL_EV = 0.2


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
            standards[name] = standard_of(stack, taken[name]["foil_edge_after_ev"])
    particles: dict[str, dict[str, Any]] = {}
    panels, compared = [], []
    pixel_nm = 0.0
    for name, specimen in PARTICLES.items():
        with open_xanes(taken[name]["uid"]) as stack:
            aligned = aligned_depths(stack, drift_ev=_drift_ev(taken[name]["foil_edge_after_ev"]))
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


def _drift_ev(foil_edge_after_ev: float) -> float:
    """Return how far the energy scale moved since the foil before, which the scan began with."""
    from exitwave.analysis.xanes import edge_energy_ev

    return foil_edge_after_ev - edge_energy_ev(ELEMENT)


def standard_of(stack: XanesStack, foil_edge_after_ev: float) -> tuple[Array, Array]:
    """Return the normalised spectrum of an even film that fills one half of the field, the other half empty."""
    from exitwave.analysis.xanes import edge_energy_ev

    parts = optical_depths(stack)
    energies = energies_ev(stack, drift_ev=_drift_ev(foil_edge_after_ev))
    # well away from the edge and its fringes, and from the ends
    near, far = REGION_PX // 16, REGION_PX // 2 - REGION_PX // 8
    left, right = (
        np.array([float(np.nanmean(one.depth[:, part], dtype=np.float64)) for one in parts])
        for part in (slice(near, far), slice(-far, -near))
    )
    normalisation = normalisation_of(energies, edge_energy_ev(ELEMENT))
    return energies, normalisation.spectrum(np.abs(right - left))[0]


def _map(
    name: str, aligned: AlignedStack, standards: Mapping[str, tuple[Array, Array]], told: Any, truth: Path
) -> tuple[dict[str, Any], Any, tuple[Array, Array, Array, Array]]:
    """Map the edge energy of a particle and compare it with the truth."""
    from exitwave.analysis.figures import EdgePanel
    from exitwave.analysis.xanes import (
        core_minus_shell,
        edge_energy_ev,
        edge_map,
        region_spectrum,
        surface_depth_nm,
    )
    from exitwave.profiles.demos import xanes_truth

    found = edges_of(aligned, edge_energy_ev(ELEMENT), standards=standards)
    normalisation, fit = found.normalisation, found.mixture
    if fit is None:
        raise ValueError("edge energies: no mixture was fitted")
    outline = outline_of(found.step)
    depth_nm = surface_depth_nm(outline, aligned.pixel_nm)
    mask = np.asarray(depth_nm > SURFACE_NM)
    half = edge_map(aligned.depth, normalisation, aligned.variance)
    edge, sd = np.where(mask, found.edge_ev, np.nan), np.where(mask, found.sd_ev, np.nan)
    thickness = xanes_truth.thickness_um(
        truth / "volume.h5", told, aligned.reference, (mask.shape[0], mask.shape[1]), CORNER_PX
    )
    spectra = xanes_truth.true_spectra(truth / "spectra.txt")
    true, _ = xanes_truth.true_edge_map(thickness, spectra, normalisation, mask)
    bound = xanes_truth.true_bound_map(thickness, spectra, normalisation, mask, aligned)
    # A pixel's deviation moves with its edge energy, and weights by it would pull the mean of the noisier shell down.
    even = np.where(np.isfinite(edge) & np.isfinite(true), np.sqrt(np.nanmean(sd**2)), np.nan)
    shared = aligned.operator.noise_gain(mask)
    contrast = core_minus_shell(edge, even, depth_nm, correlation=shared)
    true_contrast = core_minus_shell(true, even, depth_nm)
    figures: dict[str, Any] = {
        **xanes_truth.edge_figures(edge, sd, true, bound),
        "edge_median_ev": float(np.nanmedian(edge)),
        "core_minus_shell_ev": contrast.difference,
        "core_minus_shell_sd_ev": contrast.difference_sd,
        "core_minus_shell_true_ev": true_contrast.difference,
        "misfit": float(np.nanmedian(fit.misfit[mask])),
        "fraction_sd": float(np.nanmedian(fit.fractions_sd[0][mask])),
        "photons": float(np.median(aligned.open_photons)),
        "half_height": xanes_truth.edge_figures(half.energy_ev, half.sd_ev, true, bound),
    }
    regions = {"core": depth_nm > 0.5 * depth_nm.max(), "shell": mask & (depth_nm < 0.25 * depth_nm.max())}
    shown = {}
    for region, chosen in regions.items():
        spectrum = region_spectrum(
            region, aligned.energies_ev, aligned.depth, chosen, aligned.variance, operator=aligned.operator
        )
        shown[region] = (aligned.energies_ev, normalisation.spectrum(spectrum.mu)[0])
    cut = _box(outline)
    panel = EdgePanel(name, edge[cut], sd[cut], shown, bound[cut])
    return figures, panel, (edge, sd, true, bound)


def _box(mask: Mask, rim: int = 8) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return (
        slice(max(0, int(rows[0]) - rim), int(rows[-1]) + rim + 1),
        slice(max(0, int(columns[0]) - rim), int(columns[-1]) + rim + 1),
    )
