"""What is true of a particle whose edge energies were mapped, from the files that the simulator writes for comparison.

Along a ray the nickel of each state absorbs by its thickness; the mixture of the states' spectra, with the materials'
own background, has an edge by the same definition as the measured one: half of the edge step, pre-edge line off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from exitwave.analysis.xanes import Normalisation, StackOperator
    from exitwave.profiles.storage.xanes_stack import XanesStack
    from exitwave.profiles.xanes_depths import AlignedStack

__all__ = [
    "FrameTruth",
    "edge_figures",
    "frame_truth",
    "joined",
    "placing_figures",
    "thickness_um",
    "true_bound_map",
    "true_edge_map",
    "true_spectra",
]

Array = npt.NDArray[np.float64]
EPICS_EPOCH_S = 631152000.0
STATES = ("Ni2+", "Ni3+", "Ni4+")
FINE_EV = 0.1
MATERIAL_G_CM3 = 4.75
STATE_STEP = 0.1
"""Of the valence, over which the slope of the edge energy is taken."""


@dataclass(frozen=True)
class FrameTruth:
    """Means over the frames of each energy, (n,) each.

    Attributes
    ----------
    energy_ev, pixel_nm, defocus_um
    row, column
        Where the specimen's origin is seen, pixels of the sensor.
    """

    energy_ev: Array
    pixel_nm: Array
    defocus_um: Array
    row: Array
    column: Array


def frame_truth(stack: XanesStack, log: Path) -> FrameTruth:
    """Find the frames of a stack in the log of the truth, by their times.

    Parameters
    ----------
    stack : XanesStack
        Of one run, one place and one repeat.
    log : Path
    """
    from exitwave.profiles.storage.chain import EPICS_EPOCH_S

    head, *lines = (json.loads(line) for line in log.read_text().splitlines())
    frames = [line for line in lines if "column" in line]
    wall_s = np.array([head["epoch_s"] + line["t_s"] / head["speed"] for line in frames])
    run, camera = stack.runs[0], str(stack.start["camera"])
    times_s = np.asarray(run.to_xarray("primary")[f"{camera}_timestamp"].values, np.float64) + EPICS_EPOCH_S
    events = run.to_xarray("energy")
    prefix = f"{stack.start['energy_record']}_"
    column = {name: events[prefix + name].values for name in ("shot", "first_frame", "num_frames")}
    rows: dict[int, range] = {}
    for shot, first, number in zip(column["shot"], column["first_frame"], column["num_frames"], strict=True):
        rows[int(shot)] = range(int(first), int(first) + int(number))
    keys = ("energy_kev", "pixel_nm", "defocus_um", "row", "column")
    found = np.array(
        [
            np.mean(
                [[frames[int(np.argmin(np.abs(wall_s - times_s[i])))][key] for key in keys] for i in rows[point.shot]],
                axis=0,
            )
            for point in stack.points
        ]
    )
    return FrameTruth(1e3 * found[:, 0], *found[:, 1:].T)


def placing_figures(
    truth: FrameTruth, operator: StackOperator, reference: int, corner_px: float, depth_of_focus_um: float
) -> dict[str, float]:
    """Compare focus, magnification and alignment with the truth.

    The place of the whole stack is of no interest: the mean over the energies is taken off the alignment's errors.

    Parameters
    ----------
    truth : FrameTruth
    operator : StackOperator
        That made the aligned stack.
    reference : int
        The energy whose pixels are those of the result.
    corner_px : float
        First row and column of the region on the sensor.
    depth_of_focus_um : float
    """
    scale = truth.pixel_nm[reference] / truth.pixel_nm
    seen = np.stack([truth.row, truth.column], axis=1) - corner_px
    centre = np.asarray(operator.centre)
    told = centre + operator.scale[:, None] * (seen[reference] - centre) + operator.shift
    rest = seen - told
    rest -= rest.mean(axis=0)
    moved = seen - (centre + scale[:, None] * (seen[reference] - centre))
    half_px = centre[1] + 0.5
    return {
        "focus_error_dof": float(np.abs(truth.defocus_um).max() / depth_of_focus_um),
        "magnification_residual_px": float(np.abs(operator.scale / scale - 1.0).max() * half_px),
        "magnification_before_px": float(np.abs(1.0 / scale - 1.0).max() * half_px),
        "alignment_rms_px": float(np.sqrt(np.mean(rest**2))),
        "alignment_before_rms_px": float(np.sqrt(np.mean((moved - moved.mean(axis=0)) ** 2))),
    }


def true_spectra(path: Path) -> dict[str, Array]:
    """Read the columns of the simulator's file of spectra, by name."""
    names: list[str] = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        names = line.lstrip("# ").split()
    columns = np.loadtxt(path)
    return {name: columns[:, k] for k, name in enumerate(names)}


def thickness_um(volume: Path, truth: FrameTruth, reference: int, shape: tuple[int, int], corner_px: float) -> Array:
    """Return the thickness of each state along the rays of the result's pixels, float64 (states, y, x), um."""
    import h5py
    from scipy import ndimage

    with h5py.File(volume) as file:
        data = file["valence"]
        pitch_nm = float(data.attrs["pitch_nm"])
        size = int(data.shape[0])
        sums = np.zeros((len(STATES), size, size))
        for row in range(size):  # plane by plane: the volume need not fit in memory as float64
            plane = data[row].astype(np.float32)
            for k, valence in enumerate((2.0, 3.0, 4.0)):
                share = np.clip(1.0 - np.abs(plane - np.float32(valence)), 0.0, 1.0)
                sums[k, row] = np.nansum(share, axis=0)
    rows = (np.arange(shape[0]) - (truth.row[reference] - corner_px)) * truth.pixel_nm[reference] / pitch_nm
    columns = (np.arange(shape[1]) - (truth.column[reference] - corner_px)) * truth.pixel_nm[reference] / pitch_nm
    middle = 0.5 * (size - 1)
    where = np.meshgrid(rows + middle, columns + middle, indexing="ij")
    found = [ndimage.map_coordinates(part, where, order=1, mode="constant") for part in sums]
    return np.asarray(1e-3 * pitch_nm * np.stack(found), np.float64)


def true_edge_map(
    thickness: Array, spectra: Mapping[str, Array], normalisation: Normalisation, mask: npt.NDArray[np.bool_]
) -> tuple[Array, Array]:
    """Return the true edge energy (y, x) and mean valence (y, x), NaN outside of the mask.

    Energies as fine as the spectra are known are put between those of the scan around the edge; the ranges of the
    normalisation hold the scan's own energies alone.
    """
    from exitwave.analysis.xanes import Normalisation, edge_map

    scan = normalisation.energies_ev
    pre, post = normalisation.pre_ev, normalisation.post_ev
    e0 = normalisation.e0_ev
    if pre is None or post is None:
        raise ValueError("true edges: the normalisation has no ranges")
    near = np.arange(max(e0 + pre[1] + 0.5, e0 - 19.0), min(e0 + post[0] - 0.5, e0 + 29.0), FINE_EV)
    outside = scan[(scan <= e0 + pre[1]) | (scan >= e0 + post[0])]
    energies = np.unique(np.concatenate([outside, near]))
    fine = Normalisation(energies, e0, pre, post, normalisation.order)
    absorbing = np.stack([np.interp(energies, spectra["energy"], spectra[f"NMC622_{name}"]) for name in STATES])
    inside = mask & (thickness.sum(axis=0) > 0.0)
    parts = thickness[:, inside]
    depth = (1e-4 * MATERIAL_G_CM3 * absorbing.T @ parts).astype(np.float32)
    edge, valence = np.full(mask.shape, np.nan), np.full(mask.shape, np.nan)
    edge[inside] = edge_map(depth, fine).energy_ev
    valence[inside] = (np.array([2.0, 3.0, 4.0]) @ parts) / parts.sum(axis=0)
    return edge, valence


def true_bound_map(
    thickness: Array,
    spectra: Mapping[str, Array],
    normalisation: Normalisation,
    mask: npt.NDArray[np.bool_],
    aligned: AlignedStack,
) -> Array:
    """Return the Cramer-Rao bound (y, x) of the edge energy, eV, at the counts of a scan; NaN outside of the mask.

    What a pixel shows at each energy follows from the true thickness of each state and the true spectra; its counts
    from that and the open beam of the flats. Moved is the state of the nickel, from a whole valence to the next; how
    much there is of the particle, and a line beside it, are unknown. No fit and no deviation of one enters. What else
    absorbs (the support) is the smooth part of what the optical depths have beyond the particle's: it costs counts.
    """
    from scipy import ndimage

    from exitwave.analysis.xanes import information_bound

    energies = normalisation.energies_ev
    absorbing = (
        1e-4
        * MATERIAL_G_CM3
        * np.stack([np.interp(energies, spectra["energy"], spectra[f"NMC622_{name}"]) for name in STATES], axis=1)
    )
    depth = np.tensordot(absorbing, thickness, axes=1)
    beyond = np.nanmean(aligned.depth, axis=0, dtype=np.float64) - depth.mean(axis=0)
    depth += ndimage.gaussian_filter(np.nan_to_num(beyond), 8.0)
    total = thickness.sum(axis=0)
    inside = mask & (total > 0.0)
    valence = np.tensordot([2.0, 3.0, 4.0], thickness, axes=1)[inside] / total[inside]
    higher = valence >= 3.0
    way = np.where(higher, [[0.0], [-1.0], [1.0]], [[-1.0], [1.0], [0.0]]) * total[inside]
    own, offset = absorbing @ thickness[:, inside], (energies - normalisation.e0_ev) / 100.0

    def derivatives(part: slice) -> list[Array]:
        moved = absorbing @ way[:, part]
        return [moved, own[:, part], np.ones_like(moved), np.broadcast_to(offset[:, None], moved.shape)]

    sd = information_bound(derivatives, aligned.expected_variance(depth)[:, inside])
    edges = []
    for sign in (-0.5, 0.5):
        changed = thickness.copy()
        changed[:, inside] += sign * STATE_STEP * way
        edges.append(true_edge_map(changed, spectra, normalisation, inside)[0][inside])
    bound = np.full(mask.shape, np.nan)
    bound[inside] = sd * np.abs(edges[1] - edges[0]) / STATE_STEP
    return bound


def edge_figures(
    edge: Array, sd: npt.NDArray[Any], true: Array, bound: npt.NDArray[Any] | None = None
) -> dict[str, float]:
    """Return bias, rms, the width of the pulls, and the rms over a bound that does not come from the fit.

    The rms is about the truth, bias and all; the pull's width is the standard deviation of error over deviation.
    """
    known = np.isfinite(edge) & np.isfinite(true) & np.isfinite(sd) & (sd > 0)
    if bound is not None:
        known &= np.isfinite(bound) & (bound > 0)
    error = (edge - true)[known]
    figures = {
        "edge_bias_ev": float(error.mean()),
        "edge_rms_ev": float(np.sqrt(np.mean(error**2))),
        "edge_sd_ev": float(np.sqrt(np.mean(sd[known].astype(np.float64) ** 2))),
        "pull_width": float((error / sd[known]).std()),
        "pixels": int(known.sum()),
    }
    if bound is not None:
        figures["edge_rms_over_bound"] = float(np.sqrt(np.mean((error / bound[known]) ** 2)))
        figures["edge_bound_ev"] = float(np.sqrt(np.mean(bound[known].astype(np.float64) ** 2)))
    return figures


def joined(parts: Sequence[tuple[Array, Array, Array, Array]]) -> dict[str, float]:
    """Return `edge_figures` of several particles together."""
    edge, sd, true, bound = (np.concatenate([np.ravel(part[k]) for part in parts]) for k in range(4))
    return edge_figures(edge, sd, true, bound)
