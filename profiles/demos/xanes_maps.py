"""From the runs of the spectroscopic demonstration to edge energies, and their comparison with the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from exitwave.profiles.demos.xanes_measure import CORNER_PX, ELEMENT, FILMS, PARTICLES, REGION_PX

if TYPE_CHECKING:
    from exitwave.analysis.xanes import LinearCombination, Normalisation, StackOperator
    from exitwave.profiles.storage.xanes_stack import XanesStack

__all__ = [
    "GOAL_EV",
    "SURFACE_NM",
    "evaluate",
    "mixture_of",
    "normalisation_of",
    "outline_of",
    "photons_per_count",
    "standard_of",
]

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

PRE_EV, POST_EV = (-200.0, -28.0), (45.0, 400.0)
"""From the edge: where the line and the polynomial are fitted."""
SURFACE_NM = 250.0
"""Distance from the outline from which pixels are compared: the outline itself is blurred."""
BAND, SPANS = 0.12, (1, 2, 4, 8, 16, 32)
"""Of the alignment: cycles per pixel, and pairs of energies that are compared."""
DRIFT_ORDERS = (3, 2)
"""What moves the image: the lens on its rail, by the energy, and the stage's drift, by the time."""
GOAL_EV = 0.2


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
            standards[name] = standard_of(stack, taken[name]["foil_edge_after_ev"])
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


def photons_per_count(flats: Any, dark: Any) -> float:
    """Return detected photons per count from how two flats of one energy differ: variance equals mean in photons."""
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

    per_count = float(np.median([photons_per_count(stack.flats(k), stack.dark(k)) for k in range(len(stack))]))
    found, photons = [], []
    for k, point in enumerate(stack.points):
        frames, flats, dark = stack.frames(k), stack.flats(k), stack.dark(k)
        if flats is None or dark is None or len(flats) != len(frames):
            raise ValueError("optical depth: needs darks, and as many flats as frames at each energy")
        # Plain means: to leave outliers out of a few frames costs more photons than it saves.
        light, flat = stack.image(k), np.mean(flats[:], axis=0, dtype=np.float32)
        known = point.beam_intensity > 0 and point.flat_intensity > 0
        together = len(frames) * per_count
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


def standard_of(stack: XanesStack, foil_edge_after_ev: float) -> tuple[Array, Array]:
    """Return the normalised spectrum of an even film that fills one half of the field, the other half empty."""
    pairs, _ = _depths(stack)
    energies_ev = _energies_ev(stack, foil_edge_after_ev)
    # well away from the edge and its fringes, and from the ends
    near, far = REGION_PX // 16, REGION_PX // 2 - REGION_PX // 8
    left, right = (
        np.array([float(np.nanmean(depth[:, part], dtype=np.float64)) for depth, _ in pairs])
        for part in (slice(near, far), slice(-far, -near))
    )
    return energies_ev, normalisation_of(energies_ev).spectrum(np.abs(right - left))[0]


def normalisation_of(energies_ev: Array) -> Normalisation:
    """Return the normalisation of a scan: its ranges as far as the energies go."""
    from exitwave.analysis.xanes import Normalisation, edge_energy_ev

    e0 = edge_energy_ev(ELEMENT)
    offset = energies_ev - e0
    pre = max(PRE_EV[0], float(offset[0])), PRE_EV[1]
    post = POST_EV[0], min(POST_EV[1], float(offset[-1]))
    return Normalisation(energies_ev, e0, pre, post, order=1)


def mixture_of(energies_ev: Array, standards: Mapping[str, tuple[Array, Array]]) -> LinearCombination:
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

    normalisation = normalisation_of(aligned.energies_ev)
    normal = normalisation(aligned.depth, aligned.variance, spectra=False)
    outline = outline_of(normal.step)
    depth_nm = surface_depth_nm(outline, aligned.pixel_nm)
    mask = np.asarray(depth_nm > SURFACE_NM)
    half = edge_map(aligned.depth, normalisation, aligned.variance)
    mixture = mixture_of(aligned.energies_ev, standards)
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
    shared = aligned.operator.noise_gain(mask)
    contrast = core_minus_shell(edge, even, depth_nm, correlation=shared)
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
        spectrum = region_spectrum(
            region, aligned.energies_ev, aligned.depth, chosen, aligned.variance, operator=aligned.operator
        )
        shown[region] = (aligned.energies_ev, normalisation.spectrum(spectrum.mu)[0])
    cut = _box(outline)
    panel = EdgePanel(name, edge[cut], sd[cut], shown)
    return figures, panel, (edge, sd, true, sd)


def outline_of(absorbing: Image, share: float = 0.2) -> Mask:
    """Return where the particle is, in a map or a volume: one piece, holes filled, above a share of the most."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(np.nan_to_num(absorbing), 1.5)
    labels, number = ndimage.label(smooth > share * np.quantile(smooth, 0.995))
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
