"""From raw projections to a volume on disk, step by step, at any size: what a recipe asks for.

Where projections fit into the memory that is allowed they are kept there; where they don't, the corrected ones lie in a
scratch file, angle by angle, of which every step reads some rows or some angles at a time.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import FileFormatError, FitError, OutOfRangeError, ScratchSpaceError
from exitwave.analysis.io import Series
from exitwave.analysis.io.volumes import write_volume
from exitwave.analysis.tomography.alignment import align_projections
from exitwave.analysis.tomography.attenuation import line_integrals
from exitwave.analysis.tomography.axis import AxisFound, find_axis
from exitwave.analysis.tomography.geometry import Geometry
from exitwave.analysis.tomography.helical import HelicalReconstruction
from exitwave.analysis.tomography.reconstruct import Reconstruction, row_range
from exitwave.analysis.tomography.stripes import remove_all_stripes
from exitwave.analysis.tomography.to_file import volume_info

__all__ = ["Light", "Recipe", "Result", "reconstruct_series"]

Array32 = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Recipe:
    """What is done with projections.

    Attributes
    ----------
    method : str
        One of `METHODS`.
    centre_px, tilt_deg : float, optional
        Column of the axis in the middle row, and its lean; found in the projections without them.
    zinger_sigma : float, optional
        As in `line_integrals`.
    stripes : bool
        Whether stripes are removed from the sinograms.
    empty_px : int
        So many columns at the left border show nothing at any angle: their median is what is left of the beam's
        changes and is subtracted. 0 for none.
    align : bool
        Whether the projections are aligned to their reprojections; holds them in memory.
    rows : (int, int), optional
        First and past-the-last row of the detector; all without. Not for helical scans.
    size : int, optional
        Voxels along either side of a slice; the width of the detector without.
    region : (int, int, int, int), optional
        First and past-the-last voxel of the slices to be kept along z, and along x; all without.
    memory_gb : float
        Working memory besides the libraries'.
    options : mapping
        Of the method.
    """

    method: str = "fourier"
    centre_px: float | None = None
    tilt_deg: float | None = None
    zinger_sigma: float | None = 8.0
    stripes: bool = True
    empty_px: int = 0
    align: bool = False
    rows: tuple[int, int] | None = None
    size: int | None = None
    region: tuple[int, int, int, int] | None = None
    memory_gb: float = 2.0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Light:
    """When frames were taken and in what beam, as `line_integrals` takes it; None where nobody knows."""

    times_s: Doubles | None = None
    flat_times_s: Doubles | None = None
    intensity: Doubles | None = None
    flat_intensity: Doubles | None = None

    def arguments(self) -> dict[str, Any]:
        """Return them by the names that `line_integrals` has for them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class Result:
    """What became of it.

    Attributes
    ----------
    path : Path
        The volume.
    shape : (int, int, int)
        Slices, z, x.
    geometry : Geometry
    axis : AxisFound
    first_row : int
        Row of the detector that slice 0 is.
    planes : tuple of float32 arrays
        The three through the middle: (z, x), (slice, x), (slice, z).
    """

    path: Path
    shape: tuple[int, int, int]
    geometry: Geometry
    axis: AxisFound
    first_row: int
    planes: tuple[Array32, Array32, Array32]


@contextlib.contextmanager
def _room(shape: tuple[int, ...], memory_gb: float, folder: Path) -> Iterator[Array32]:
    """Make room for corrected projections: half of the memory, or a scratch file beside the volume.

    Raises
    ------
    ScratchSpaceError
        The disk has no room for it.
    """
    needed = 4 * int(np.prod(shape))
    if needed <= 0.5e9 * memory_gb:
        yield np.empty(shape, np.float32)
        return
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ScratchSpaceError(
            f"{folder}: {needed / 1e9:.1f} GB needed for corrected projections, {free / 1e9:.1f} GB free; free some "
            f"space or allow {2e-9 * needed:.1f} GB of memory"
        )
    with tempfile.NamedTemporaryFile(prefix="projections-", suffix=".f32", dir=folder) as file:
        yield np.memmap(file, np.float32, "w+", shape=shape)


def _take_stripes_out(projections: Array32, memory_gb: float) -> None:
    """Remove stripes in place, some rows at a time."""
    n, rows, width = projections.shape
    count = max(1, int(0.25e9 * memory_gb / (12.0 * n * width)))
    for start in range(0, rows, count):
        part = projections[:, start : start + count]
        part[...] = remove_all_stripes(np.ascontiguousarray(part))


def reconstruct_series(
    series: Series,
    path: str | Path,
    recipe: Recipe | None = None,
    *,
    light: Light | None = None,
    rises_px: Doubles | None = None,
    source_uid: str = "",
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Result:
    """Correct, find the axis, reconstruct, and write the volume.

    Parameters
    ----------
    series : Series
        Raw projections with flats, darks, angles and the size of a pixel.
    path
        Of the volume, HDF5, or Zarr where it ends in ``.zarr``; it takes its name once it is whole.
    recipe : Recipe, optional
        What is done; all defaults without it.
    light : Light, optional
        Times and beam of the frames.
    rises_px : float64 (n,), optional
        Helical scans: by how many rows the sample stands higher at each projection than at the first.
    source_uid : str
        Of the run.
    overwrite : bool
        Whether a file of that name may be replaced.
    progress : callable, optional
        Called with (what is done, how much of it, out of how much).

    Raises
    ------
    FileExistsError
        Before any work is done.
    FileFormatError
        No angles, flats, darks or size of a pixel.
    FitError
        The axis can't be found in these projections; give it.
    ScratchSpaceError, OutOfRangeError, ShapeError
    """
    recipe = recipe or Recipe()
    path, light = Path(path), light or Light()
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path}: exists already; choose another name or overwrite it")
    if series.angles_deg is None:
        raise FileFormatError("tomogram: no angles; nothing can be reconstructed")
    if series.pixel_nm is None:
        raise FileFormatError("tomogram: no size of a pixel at the sample; give it, in nm")
    if rises_px is not None and recipe.rows is not None:
        raise OutOfRangeError("rows: a helical scan has slices, not rows, of its own; leave them out")
    angles = np.asarray(series.angles_deg, np.float64)
    n, rows, width = series.frames.shape
    trial = Geometry(angles, width, 0.5 * (width - 1))
    _region(recipe, Reconstruction(trial, recipe.method, size=recipe.size, **recipe.options).size)
    row_range(recipe.rows, rows)
    tell = progress or (lambda *_: None)
    with _room((n, rows, width), recipe.memory_gb, path.parent) as projections:
        line_integrals(
            series.frames,
            series.flats,
            series.darks,
            **light.arguments(),
            zinger_sigma=recipe.zinger_sigma if min(rows, width) >= 3 else None,  # a neighbourhood is 3 x 3
            out=_Watched(projections, tell),
        )
        if recipe.empty_px:
            for k in range(n):
                projections[k] -= np.median(projections[k, :, : recipe.empty_px])
        if recipe.stripes and rises_px is None:
            tell("removing stripes", 0, 1)
            _take_stripes_out(projections, recipe.memory_gb)
        tell("finding the axis", 0, 1)
        axis = _axis(projections, angles, recipe, helical=rises_px is not None)
        geometry = Geometry(angles, width, axis.centre_px, axis.tilt_deg)
        if recipe.align:
            tell("aligning", 0, 1)
            geometry = align_projections(projections, geometry).geometry
        if rises_px is not None:
            shifts = np.zeros((n, 2)) if geometry.shifts is None else np.array(geometry.shifts)
            shifts[:, 0] -= rises_px  # rows count downwards
            geometry = Geometry(angles, width, geometry.centre, geometry.tilt_deg, shifts)
        return _write(projections, geometry, axis, path, recipe, series.pixel_nm, source_uid, rises_px, overwrite, tell)


class _Watched:
    """Where corrected frames go, telling how many have come."""

    def __init__(self, target: Array32, tell: Callable[[str, int, int], None]) -> None:
        self._target = target
        self._tell = tell

    def __setitem__(self, k: int, frame: Array32) -> None:
        self._target[k] = frame
        self._tell("correcting", k + 1, len(self._target))


def _axis(projections: Array32, angles: Doubles, recipe: Recipe, *, helical: bool) -> AxisFound:
    nan = float("nan")
    if recipe.centre_px is not None:
        return AxisFound(recipe.centre_px, nan, recipe.tilt_deg or 0.0, nan, "given")
    if helical:
        raise FitError("axis: a helical scan shows no two pictures of the same slices to find it in; give its column")
    found = find_axis(projections, angles, memory_gb=recipe.memory_gb)
    if recipe.tilt_deg is None:
        return found
    return AxisFound(found.centre_px, found.centre_sd_px, recipe.tilt_deg, nan, found.how)


def _write(
    projections: Array32,
    geometry: Geometry,
    axis: AxisFound,
    path: Path,
    recipe: Recipe,
    voxel_nm: float,
    source_uid: str,
    rises_px: Doubles | None,
    overwrite: bool,
    tell: Callable[[str, int, int], None],
) -> Result:
    settings: dict[str, Any] = {"size": recipe.size, "memory_gb": 0.5 * recipe.memory_gb, **recipe.options}
    if rises_px is not None:
        spiral = HelicalReconstruction(geometry, projections.shape[1], recipe.method, **settings)
        size, (first, past), chunks = spiral.size, spiral.rows, spiral.chunks(projections)
    else:
        plain = Reconstruction(geometry, recipe.method, **settings)
        first, past = row_range(recipe.rows, projections.shape[1])
        size, chunks = plain.size, plain.chunks(projections, rows=recipe.rows)
    upper, lower, left, right = _region(recipe, size)
    shape = (past - first, lower - upper, right - left)
    middle_px = (0.5 * (upper + lower - size), 0.5 * (left + right - size))
    info = volume_info(geometry, recipe.method, recipe.options, voxel_nm, source_uid, first, middle_px)
    axial = np.zeros(shape[1:], np.float32)
    coronal, sagittal = (np.zeros((shape[0], side), np.float32) for side in (shape[2], shape[1]))
    with write_volume(path, shape, info, overwrite=overwrite) as data:
        for row, whole in chunks:
            at, slices = row - first, whole[:, upper:lower, left:right]
            data[at : at + len(slices)] = slices
            coronal[at : at + len(slices)] = slices[:, shape[1] // 2]
            sagittal[at : at + len(slices)] = slices[:, :, shape[2] // 2]
            if at <= shape[0] // 2 < at + len(slices):
                axial[...] = slices[shape[0] // 2 - at]
            tell("reconstructing", at + len(slices), shape[0])
    return Result(path, shape, geometry, axis, first, (axial, coronal, sagittal))


def _region(recipe: Recipe, size: int) -> tuple[int, int, int, int]:
    """Return the first and past-the-last voxel along z, and along x, that are kept of a slice."""
    if recipe.region is None:
        return 0, size, 0, size
    upper, lower, left, right = (int(n) for n in recipe.region)
    if not (0 <= upper < lower <= size and 0 <= left < right <= size):
        raise OutOfRangeError(
            f"region {upper}:{lower},{left}:{right}: must be within 0:{size} along z and x, each end above its start"
        )
    return upper, lower, left, right
