"""Voxel phantoms: projections through a sampled volume at any angle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from exitwave.simulators.physics._jit import kernel, over_rows
from exitwave.simulators.physics.materials import GOLD, Material
from exitwave.simulators.physics.specimen import Grid

Image = npt.NDArray[np.float32]
Volume = npt.NDArray[np.float32]


class SpecimenFileError(ValueError):
    """A specimen's file can't be used."""


@kernel
def _project_rows(
    volume: Volume, voxel: float, out: Image, left: float, top: float, pitch: float, lean: float, c: float, s: float,
    first: int, last: int,
) -> None:  # fmt: skip
    ny, nz, nx = volume.shape
    steps = math.ceil(math.hypot(nx, nz))
    cosine = math.cos(lean) / voxel
    sine = math.sin(lean) / voxel
    for row in range(first, last):
        for col in range(out.shape[1]):
            u = cosine * (left + col * pitch) - sine * (top - row * pitch)
            v = 0.5 * (ny - 1) - sine * (left + col * pitch) - cosine * (top - row * pitch)
            if abs(u) > 0.5 * steps + 1.0 or v <= -1.0 or v >= ny:
                continue
            iy = math.floor(v)
            fy = v - iy
            total = 0.0
            for n in range(steps):
                w = n - 0.5 * (steps - 1)
                xs = u * c - w * s + 0.5 * (nx - 1)
                zs = u * s + w * c + 0.5 * (nz - 1)
                if xs <= -1.0 or zs <= -1.0 or xs >= nx or zs >= nz:
                    continue
                ix = math.floor(xs)
                iz = math.floor(zs)
                fx = xs - ix
                fz = zs - iz
                for a in range(2):
                    y = iy + a
                    wy = fy if a else 1.0 - fy
                    if y < 0 or y >= ny or wy == 0.0:
                        continue
                    for b in range(2):
                        z = iz + b
                        wz = fz if b else 1.0 - fz
                        if z < 0 or z >= nz:
                            continue
                        for d in range(2):
                            x = ix + d
                            wx = fx if d else 1.0 - fx
                            if x < 0 or x >= nx:
                                continue
                            total += wy * wz * wx * volume[y, z, x]
            out[row, col] = total * voxel


@dataclass(frozen=True, eq=False)
class VoxelSpecimen:
    """A volume of filling fractions (0 to 1) of one material, trilinear between the voxels' centres.

    Attributes
    ----------
    volume
        float32 (y, z, x), y downwards as rows of an image, centred on the rotation axis.
    voxel_um
        Edge of a voxel (um).
    """

    name: str
    volume: Volume
    voxel_um: float
    material: Material

    @property
    def reach_um(self) -> float:
        """How far the volume's corners are from the axis (um)."""
        return 0.5 * self.voxel_um * math.hypot(self.volume.shape[1], self.volume.shape[2])

    def layers(self, grid: Grid, theta_deg: float) -> list[tuple[Material, Image]]:
        """Line integrals with one sample per voxel edge along the ray."""
        out = np.zeros(grid.shape, np.float32)
        c, s = math.cos(math.radians(theta_deg)), math.sin(math.radians(theta_deg))
        over_rows(
            grid.shape[0],
            lambda a, b: _project_rows(
                self.volume, self.voxel_um, out, grid.left_um, grid.top_um, grid.pitch_um, grid.lean_rad, c, s, a, b
            ),
        )
        return [(self.material, out)]


def load_voxels(path: Path, *, voxel_um: float = 0.05, material: Material = GOLD) -> VoxelSpecimen:
    """Read a volume from ``.npy`` or from the dataset ``volume`` of an HDF5 file.

    HDF5 attributes of the dataset ``voxel_um``, ``formula`` and ``density_g_cm3`` override the arguments.

    Raises
    ------
    SpecimenFileError
        If the file's kind is unknown, or its data are not a finite volume of three dimensions.
    """
    if path.suffix == ".npy":
        data = np.load(path)
    elif path.suffix in {".h5", ".hdf5"}:
        with h5py.File(path, "r") as file:
            if "volume" not in file:
                raise SpecimenFileError(f"{path}: no dataset 'volume'; store the voxels under that name")
            dataset = file["volume"]
            voxel_um = float(dataset.attrs.get("voxel_um", voxel_um))
            if "formula" in dataset.attrs:
                material = Material(str(dataset.attrs["formula"]), float(dataset.attrs["density_g_cm3"]))
            data = dataset[()]
    else:
        raise SpecimenFileError(f"{path}: a voxel phantom is a .npy or .h5 file")
    volume = np.ascontiguousarray(data, np.float32)
    if volume.ndim != 3 or not np.isfinite(volume).all():
        raise SpecimenFileError(f"{path}: shape {volume.shape}; a finite volume (y, z, x) is needed")
    return VoxelSpecimen(path.stem, volume, voxel_um, material)
