"""What is true of a particle whose voxels were mapped: where it stood in every projection, and each voxel's edge."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from exitwave.profiles.demos.xanes_truth import STATES, true_edge_map, true_spectra

if TYPE_CHECKING:
    from exitwave.analysis.xanes import Normalisation, VolumeAlignment
    from exitwave.profiles.storage.tomogram import Tomogram

__all__ = ["Placing", "placing", "true_edges"]

Array = npt.NDArray[np.float64]
VOXELS_AT_ONCE = 20_000


@dataclass(frozen=True)
class Placing:
    """Where the specimen's origin stands in the aligned projections, and how well they are aligned.

    Attributes
    ----------
    row : float
        Pixels of the aligned projections.
    x, z : float
        From the rotation axis, pixels.
    rms_px : float
        Of what is left when this is taken off, over all energies and angles, rows and columns.
    """

    row: float
    x: float
    z: float
    rms_px: float


def placing(
    tomograms: Sequence[Tomogram], alignment: VolumeAlignment, log: Path, corner_px: float, binning: int
) -> Placing:
    """Find the frames of all tomograms in the log of the truth, by their times, and compare.

    Parameters
    ----------
    tomograms : sequence of Tomogram
        By energy, as the alignment has them.
    alignment : VolumeAlignment
    log : Path
    corner_px : float
        First row and column of the region on the sensor.
    binning : int
        Of the camera.
    """
    head, *lines = (json.loads(line) for line in log.read_text().splitlines())
    frames = [line for line in lines if "column" in line]
    wall_s = np.array([head["epoch_s"] + line["t_s"] / head["speed"] for line in frames])
    order = np.argsort(wall_s)
    geometry = alignment.geometry
    seen = np.empty((len(tomograms), len(geometry), 2))
    for k, (tomogram, operator) in enumerate(zip(tomograms, alignment.operators, strict=True)):
        at = np.searchsorted(wall_s[order], tomogram.times_s)
        near = np.clip(np.stack([at - 1, at]), 0, len(order) - 1)
        nearest = near[np.argmin(np.abs(wall_s[order][near] - tomogram.times_s), axis=0), np.arange(len(at))]
        sensor = np.array([[frames[order[i]]["row"], frames[order[i]]["column"]] for i in nearest])
        measured = (sensor - corner_px + 0.5) / binning - 0.5
        centre = np.asarray(operator.centre)
        # the operator says where a pixel of the result lies in the frame; this is the way back
        seen[k] = centre + (measured - centre - operator.shift) / operator.scale[:, None]
    design = np.stack([geometry.cosines, geometry.sines], axis=1)
    columns = seen[:, :, 1] - geometry.centre
    (x, z), *_ = np.linalg.lstsq(design, columns.mean(axis=0), rcond=None)
    row = float(seen[:, :, 0].mean())
    rest = np.stack([seen[:, :, 0] - row, columns - design @ np.array([x, z])])
    return Placing(row, float(x), float(z), float(np.sqrt(np.mean(rest**2))))


def true_edges(
    truth: Path,
    place: Placing,
    mask: npt.NDArray[np.bool_],
    voxel_nm: float,
    bin_px: int,
    normalisation: Normalisation,
) -> Array:
    """Return the true edge energy of voxels (row, z, x), eV: of the states that each holds, together; NaN elsewhere.

    Parameters
    ----------
    truth : Path
        Folder with the particle's voxels and the spectra of its states.
    place : Placing
    mask : bool (row, z, x)
        Voxels to look at.
    voxel_nm : float
    bin_px : int
        Pixels of the projections per side of a voxel.
    normalisation : Normalisation
    """
    where = np.argwhere(mask).astype(np.float64)
    size = mask.shape[1]
    origin = [(place.row - 0.5 * (bin_px - 1)) / bin_px] + [0.5 * (size - 1) + v / bin_px for v in (place.z, place.x)]
    with h5py.File(truth / "volume.h5") as file:
        data = file["valence"]
        pitch_nm = float(data.attrs["pitch_nm"])
        valence = data[()].astype(np.float32)
    middle = 0.5 * (np.array(valence.shape) - 1.0)
    points = (middle + (where - origin) * (voxel_nm / pitch_nm)).T
    parts = np.empty((len(STATES), len(where)))
    for k, state in enumerate((2.0, 3.0, 4.0)):
        share = np.nan_to_num(np.clip(1.0 - np.abs(valence - np.float32(state)), 0.0, 1.0))
        # a voxel holds the mean over its cube
        share = ndimage.uniform_filter(share, max(1, round(voxel_nm / pitch_nm)), output=np.float32)
        parts[k] = ndimage.map_coordinates(share, points, order=1, mode="constant")
    spectra = true_spectra(truth / "spectra.txt")
    edge = np.full(mask.shape, np.nan)
    found = np.full(len(where), np.nan)
    for start in range(0, len(where), VOXELS_AT_ONCE):
        part = slice(start, start + VOXELS_AT_ONCE)
        thickness = 1e-3 * voxel_nm * parts[:, part]
        solid = thickness.sum(axis=0) > 0.25e-3 * voxel_nm
        found[part] = true_edge_map(thickness, spectra, normalisation, solid)[0]
    edge[mask] = found
    return edge
