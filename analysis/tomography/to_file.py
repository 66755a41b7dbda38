"""From projections of any size to a volume on disk, through bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from exitwave.analysis.io.volumes import VolumeInfo, write_volume
from exitwave.analysis.tomography.geometry import Geometry
from exitwave.analysis.tomography.reconstruct import ProjectionSource, Reconstruction, row_range

__all__ = ["reconstruct_to_file", "volume_info"]


def volume_info(
    geometry: Geometry,
    method: str,
    options: Mapping[str, Any],
    voxel_nm: float,
    source_uid: str,
    first_row: int,
    middle_px: tuple[float, float] = (0.0, 0.0),
) -> VolumeInfo:
    """Return what stands in a volume's file about where it comes from."""
    return VolumeInfo(
        voxel_nm=voxel_nm,
        method=method,
        options=options,
        angles_deg=geometry.angles_deg,
        centre=geometry.centre,
        tilt_deg=geometry.tilt_deg,
        shifts=geometry.shifts,
        source_uid=source_uid,
        first_row=first_row,
        middle_px=middle_px,
    )


def reconstruct_to_file(
    projections: ProjectionSource,
    geometry: Geometry,
    path: str | Path,
    method: str = "fourier",
    *,
    voxel_nm: float,
    source_uid: str = "",
    size: int | None = None,
    rows: tuple[int, int] | None = None,
    middle: float | None = None,
    memory_gb: float = 2.0,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Path:
    """Reconstruct a few slices at a time and write them to a volume; return its path.

    Parameters
    ----------
    projections : array, HDF5 or Zarr dataset (angle, row, column)
        -ln(transmission); read some rows of all angles at a time.
    geometry, method, size, rows, middle, **options
        As in `reconstruct`.
    path
        HDF5, or Zarr where it ends in ``.zarr``; it takes this name once it is whole.
    voxel_nm : float
        Pixel at the sample.
    source_uid : str
        Of the run that the projections belong to.
    memory_gb : float
        For rows, slices and work together; neither projections nor volume are ever in memory as a whole.
    overwrite : bool
        Whether a file of that name may be replaced.
    progress : callable, optional
        Called with (slices done, all slices) after each chunk.

    Raises
    ------
    FileExistsError, ShapeError, OutOfRangeError
        Nothing is left behind.
    """
    work = Reconstruction(geometry, method, size=size, memory_gb=memory_gb, **options)
    chunks = work.chunks(projections, rows=rows, middle=middle)  # checks shapes before the file is made
    first, past = row_range(rows, projections.shape[1])
    info = volume_info(geometry, method, options, voxel_nm, source_uid, first)
    with write_volume(path, (past - first, work.size, work.size), info, overwrite=overwrite) as data:
        for row, slices in chunks:
            data[row - first : row - first + len(slices)] = slices
            if progress is not None:
                progress(row - first + len(slices), past - first)
    return Path(path)
