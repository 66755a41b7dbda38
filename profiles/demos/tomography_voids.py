"""What a tomogram makes of a particle's voids, beside the truth: fractions, by depth, and by method."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from exitwave.analysis.tomography import Geometry

__all__ = ["method_figures", "method_words", "void_figures"]

Volume = npt.NDArray[np.float32]

VOID_BIN = 2
"""Voxels are taken together (2 x 2 x 2) where voids are counted: a fraction is linear, and it costs an eighth."""
SURFACE_NM = 170.0
"""Depth below the surface from which fractions are taken: the surface itself is blurred."""
DEPTHS_NM = (SURFACE_NM, 500.0, 1000.0, 1500.0, 2000.0, 3000.0)
"""Between these depths fractions are compared shell by shell."""
CRACK_LABEL = 2
VOID_LABELS = (CRACK_LABEL, 3)
FINDING: Mapping[str, Any] = {"smooth_px": 1.2, "grow_px": 3.0, "smallest": 8}
"""How voids are found, as `exitwave.analysis.tomography.Finding` takes it."""
COUNTING_SNR = 2.0
"""Signal-to-noise of a voxel from which voids can be counted one by one."""
SLAB = 48
"""Slices, binned as voids are, of which methods are compared."""
METHODS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("fourier", {}),
    ("fbp", {}),
    ("fbp", {"filter_name": "hann", "cutoff": 0.5}),
    ("sirt", {"iterations": 40}),
    ("cgls", {}),
    ("tv", {"iterations": 60}),
)
"""Reconstructions that are compared, of projections binned as voids are."""


def void_figures(halves: list[Volume], voxel_nm: float, half_depth_um: float, truth: Path) -> dict[str, Any]:
    """Return void fractions by each method beside the true one, over the same inside."""
    from exitwave.analysis.binning import block_mean
    from exitwave.analysis.tomography import DepthOfFocusWarning, half_voids, segmentation, voids
    from exitwave.analysis.xanes import focus_of_volume, surface_depth_nm

    mean = 0.5 * (halves[0] + halves[1])
    box = _box(mean)
    noise = _signal_to_noise([half[box] for half in halves])
    halves = [block_mean(half[box], (VOID_BIN,) * 3) for half in halves]
    mean = 0.5 * (halves[0] + halves[1])
    edge_nm = VOID_BIN * voxel_nm
    whole = segmentation.envelope(mean, smooth_px=1.5, close_px=4.0)
    depth_nm = surface_depth_nm(whole, edge_nm)
    inside = depth_nm > SURFACE_NM
    with warnings.catch_warnings():
        # it stands among the figures; here nobody reads warnings
        warnings.simplefilter("ignore", DepthOfFocusWarning)
        focus = focus_of_volume(whole, edge_nm, half_depth_um)
    edges_nm = [edge for edge in DEPTHS_NM if edge < float(depth_nm.max())]
    depth_px, edges_px = depth_nm / edge_nm, np.array(edges_nm) / edge_nm
    crack = (segmentation.Label.CRACK,)

    def measure(found: half_voids.HalfVoids) -> list[voids.Fraction]:
        shells = found.by_depth(depth_px, edges_px)
        return [found.fraction(), found.fraction(crack), *(shell.fraction for shell in shells)]

    finding = half_voids.Finding(**FINDING)
    best, cracks, *by_depth = half_voids.fractions_by_choice(halves[0], halves[1], inside, measure, finding)
    shells = list(zip(edges_nm[:-1], edges_nm[1:], by_depth, strict=True))
    labels = segmentation.segment(segmentation.smooth(mean, 1.0), inside)
    counted = voids.void_fraction_counted(labels)
    true, true_depth_nm, _ = _true_labels(truth)
    deep = true_depth_nm > SURFACE_NM
    true_voids = float(np.isin(true[deep], VOID_LABELS).mean())
    true_cracks = float((true[deep] == CRACK_LABEL).mean())
    told: Mapping[str, Any] = json.loads((truth / "truth.json").read_text())["specimen"]
    return {
        "void_fraction": best.value,
        "void_fraction_sd": best.total_sd,
        "void_fraction_noise_sd": best.sd,
        "void_fraction_counted": counted.value,
        "void_fraction_true": true_voids,
        "void_fraction_error": best.value / true_voids - 1.0 if true_voids else None,
        "crack_fraction": cracks.value,
        "crack_fraction_sd": cracks.total_sd,
        "crack_fraction_noise_sd": cracks.sd,
        "crack_fraction_true": true_cracks,
        "crack_fraction_error": cracks.value / true_cracks - 1.0 if true_cracks else None,
        "crack_fraction_whole_true": told["crack_fraction"],
        "void_fraction_by_depth": [
            {
                "from_nm": round(low),
                "to_nm": round(high),
                "fraction": part.value,
                "sd": part.total_sd,
                "true": _void_share(true, true_depth_nm, low, high),
            }
            for low, high, part in shells
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


def _true_labels(truth: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64], float]:
    """Return the simulator's labels of voxels, the depth of each below the particle's surface, and their edge; nm."""
    import h5py

    from exitwave.analysis.xanes import surface_depth_nm

    with h5py.File(truth / "volume.h5") as file:
        labels = file["labels"][()]
        pitch_nm = float(file["labels"].attrs["pitch_nm"])
    particle = np.isin(labels, (1, *VOID_LABELS))
    return labels, surface_depth_nm(particle, pitch_nm), pitch_nm


def method_figures(
    projections: Volume, geometry: Geometry, exposure_s: float, voxel_nm: float, truth: Path
) -> list[dict[str, Any]]:
    """Return what each method makes of the cracks about the particle's middle, and the exposure that counting wants.

    Iterations cost by the slice: `SLAB` of them stand for all. Noise falls as one over the root of the exposure, so
    that a voxel whose signal-to-noise is s has 2 with (2 / s)^2 times the exposure.
    """
    from time import perf_counter

    from exitwave.analysis.binning import block_mean
    from exitwave.analysis.tomography import half_voids, reconstruct, segmentation, voids
    from exitwave.analysis.xanes import surface_depth_nm
    from exitwave.analysis.xanes.volumes import binned_geometry

    edge_nm = VOID_BIN * voxel_nm
    small = block_mean(projections, (1, VOID_BIN, VOID_BIN))
    binned = binned_geometry(geometry, VOID_BIN)
    parts = [(small[k::2], binned.select(slice(k, None, 2))) for k in (0, 1)]
    whole = segmentation.envelope(reconstruct(small, binned), smooth_px=1.5, close_px=4.0)
    slab = _about_middle(whole, SLAB)
    inside = (surface_depth_nm(whole, edge_nm) > SURFACE_NM)[slab]
    true, true_depth_nm, pitch_nm = _true_labels(truth)
    true_slab = _about_middle(true_depth_nm > 0, round(SLAB * edge_nm / pitch_nm))
    true_cracks = float((true[true_slab][true_depth_nm[true_slab] > SURFACE_NM] == CRACK_LABEL).mean())
    crack = (segmentation.Label.CRACK,)
    rows = []
    for method, options in METHODS:
        begin = perf_counter()
        halves = [
            reconstruct(part, where, method, rows=(slab.start, slab.stop), **options) / VOID_BIN
            for part, where in parts
        ]
        seconds = perf_counter() - begin
        mean = 0.5 * (halves[0] + halves[1])
        noise = float(np.std((halves[0] - halves[1])[inside])) / 2.0
        snr = float(np.median(mean[inside])) / noise
        best = half_voids.find_voids(halves[0], halves[1], inside, half_voids.Finding(**FINDING)).fraction(crack)
        labels = segmentation.segment(segmentation.smooth(mean, 1.0), inside)
        counted = voids.void_fraction_counted(labels, kinds=crack)
        rows.append(
            {
                "method": method,
                "options": dict(options),
                "seconds": round(seconds, 1),
                "voxel_nm": edge_nm,
                "signal_to_noise_voxel": snr,
                "crack_fraction": best.value,
                "crack_fraction_counted": counted.value,
                "crack_fraction_true": true_cracks,
                "counting_wants_exposure_s": exposure_s * max(1.0, (COUNTING_SNR / snr) ** 2),
            }
        )
    return rows


def _about_middle(where: npt.NDArray[Any], count: int) -> slice:
    """Return so many slices about the middle of what is there."""
    held = np.flatnonzero(where.any(axis=(1, 2)))
    middle = 0.5 * (held[0] + held[-1] + 1)
    first = max(0, round(middle - 0.5 * count))
    return slice(first, min(first + count, where.shape[0]))


def method_words(row: Mapping[str, Any]) -> str:
    """Return a row of `method_figures` as a line."""
    options = ", ".join(f"{name} {value}" for name, value in row["options"].items())
    return (
        f"{row['method']}{f' ({options})' if options else ''}: signal-to-noise {row['signal_to_noise_voxel']:.2f}, "
        f"cracks {100 * row['crack_fraction']:.2f} % (counted {100 * row['crack_fraction_counted']:.2f}, true "
        f"{100 * row['crack_fraction_true']:.2f}); counting wants {row['counting_wants_exposure_s']:.2g} s an angle; "
        f"{row['seconds']:.0f} s"
    )


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
