"""What the command line does with tomograms: files for other programs, and volumes."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exitwave.analysis.tomography import Recipe, Result
    from exitwave.profiles.storage import DataFolder

__all__ = ["FORMATS", "export_command", "parse_region", "parse_rows", "reconstruct_command", "run_key"]

FORMATS = {"nxtomo": ".nxs", "dx": ".h5"}
"""Formats of exported tomograms, and how their files' names end."""


def export_command(uid: str, *, file_format: str, out: Path | None) -> int:
    """Write the tomogram of a run to one file and print its name.

    Raises
    ------
    ExportFormatError
        An unknown format, or the file exists.
    StorageError
    """
    from exitwave.profiles.storage import ExportFormatError, data_folder, export_tomogram, find_run

    if file_format not in FORMATS:
        raise ExportFormatError(f"format {file_format!r}: must be one of {', '.join(FORMATS)}")
    data = data_folder()
    run = find_run(data.journal, run_key(uid))
    path = out or Path(f"tomogram-{run.uid[:8]}{FORMATS[file_format]}")
    if path.suffix != FORMATS[file_format]:
        raise ExportFormatError(f"{path}: a {file_format} file's name ends in {FORMATS[file_format]}")
    print(export_tomogram(run.uid, path, data=data))
    return 0


def reconstruct_command(
    source: str,
    recipe: Recipe,
    *,
    out: Path | None,
    pixel_nm: float | None,
    overwrite: bool,
    json_path: Path | None,
    mosaic: bool = False,
    data: DataFolder | None = None,
) -> int:
    """Reconstruct a run's tomogram or a file's, draw three slices, and print what came out.

    Parameters
    ----------
    source : str
        A file (Data Exchange, NXtomo, Xradia), a run's uid, its beginning, or -1 for the newest.
    recipe : Recipe
    out : Path, optional
        Of the volume; beside it comes the picture.
    pixel_nm : float, optional
        Size of a pixel at the sample, where the file does not say, or is wrong.
    overwrite : bool
        Whether files of these names may be replaced.
    json_path : Path, optional
        Where the figures go.
    mosaic : bool
        Whether the run is a tile, and all of its mosaic is meant.
    data : DataFolder, optional
        Where the run is; the usual one without it.

    Raises
    ------
    StorageError, AnalysisError
        Before any work is done where a file is there already.
    """
    from exitwave.analysis.figures import slices_figure

    begin = time.perf_counter()
    name, voxel_nm, result = _reconstruct(source, recipe, out, pixel_nm, overwrite, mosaic, data)
    axis = result.axis
    picture = slices_figure(
        *result.planes,
        result.path.with_suffix(".png"),
        voxel_nm=voxel_nm,
        title=f"{name}: {recipe.method}, {len(result.geometry)} projections, voxel {voxel_nm:.4g} nm",
    )
    figures: dict[str, Any] = {
        "source": name,
        "volume": str(result.path),
        "picture": str(picture),
        "shape": list(result.shape),
        "voxel_nm": voxel_nm,
        "method": recipe.method,
        "projections": len(result.geometry),
        "centre_px": axis.centre_px,
        "centre_sd_px": _or_none(axis.centre_sd_px),
        "tilt_deg": axis.tilt_deg,
        "tilt_sd_deg": _or_none(axis.tilt_sd_deg),
        "axis_from": axis.how,
        "wall_s": round(time.perf_counter() - begin, 1),
    }
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=2) + "\n")
    slices, z, x = result.shape
    print(f"picture     {picture}")
    print(f"volume      {result.path}: {slices} x {z} x {x} voxels of {voxel_nm:.4g} nm in {figures['wall_s']:.1f} s")
    print(
        f"axis        column {axis.centre_px:.2f}{_deviation(axis.centre_sd_px)}, "
        f"lean {axis.tilt_deg:+.3f}{_deviation(axis.tilt_sd_deg)} deg ({axis.how})"
    )
    return 0


def _reconstruct(
    source: str,
    recipe: Recipe,
    out: Path | None,
    pixel_nm: float | None,
    overwrite: bool,
    mosaic: bool,
    data: DataFolder | None,
) -> tuple[str, float, Result]:
    """Return the source's name, the voxel, and what became of it."""
    from exitwave.analysis.io import open_series
    from exitwave.analysis.tomography import reconstruct_series
    from exitwave.profiles.progress import step_bar
    from exitwave.profiles.storage import NoTomogramError, open_mosaic, open_tomogram

    file = Path(source)
    if file.is_file():
        if mosaic:
            raise NoTomogramError(f"{file.name}: a file is no mosaic; leave --mosaic out")
        path = _free(out or Path(f"{file.stem}-volume.h5"), overwrite)
        with open_series(file) as opened, step_bar() as tell:
            series = opened if pixel_nm is None else replace(opened, pixel_nm=pixel_nm)
            result = reconstruct_series(series, path, recipe, overwrite=overwrite, progress=tell)
            return file.name, float(series.pixel_nm or 0.0), result
    if pixel_nm is not None:
        raise NoTomogramError(f"run {source}: says itself how large a pixel is; leave --pixel out")
    if mosaic:
        with open_mosaic(run_key(source), data=data) as whole, step_bar() as tell:
            path = _free(out or Path(f"mosaic-{whole.uid[:8]}.h5"), overwrite)
            whole.register(progress=tell)
            result = whole.reconstruct(path, recipe, overwrite=overwrite, progress=tell)
            return f"mosaic {whole.uid[:8]}", float(whole.tiles[0].pixel_nm or 0.0), result
    with open_tomogram(run_key(source), data=data) as tomogram, step_bar() as tell:
        path = _free(out or Path(f"tomogram-{tomogram.uid[:8]}.h5"), overwrite)
        result = tomogram.reconstruct(path, recipe, overwrite=overwrite, progress=tell)
        return tomogram.uid[:8], float(tomogram.pixel_nm or 0.0), result


def _free(volume: Path, overwrite: bool) -> Path:
    """Return the volume's path if it and its picture may be written."""
    from exitwave.profiles.storage import ExportFormatError

    if not volume.parent.is_dir():
        raise ExportFormatError(f"{volume}: there is no folder {volume.parent}; make it first")
    for path in (volume, volume.with_suffix(".png")):
        if path.exists() and not overwrite:
            raise ExportFormatError(f"{path}: exists; choose another name or say --overwrite")
    return volume


def parse_rows(text: str | None) -> tuple[int, int] | None:
    """Return ``first:past`` as numbers; None for None.

    Raises
    ------
    OutOfRangeError
    """
    from exitwave.analysis.errors import OutOfRangeError

    if text is None:
        return None
    first, colon, past = text.partition(":")
    if not (colon and first.isdigit() and past.isdigit()):
        raise OutOfRangeError(f"rows {text!r}: must be FIRST:PAST, as 512:768")
    return int(first), int(past)


def parse_region(text: str | None) -> tuple[int, int, int, int] | None:
    """Return ``first:past,first:past``, along z and along x, as numbers; None for None.

    Raises
    ------
    OutOfRangeError
    """
    from exitwave.analysis.errors import OutOfRangeError

    if text is None:
        return None
    along_z, comma, along_x = text.partition(",")
    try:
        ranges = [parse_rows(part) for part in (along_z, along_x)]
    except OutOfRangeError:
        ranges = []
    if not comma or len(ranges) != 2 or ranges[0] is None or ranges[1] is None:
        raise OutOfRangeError(f"region {text!r}: must be FIRST:PAST along z and along x, as 512:768,300:556")
    return (*ranges[0], *ranges[1])


def run_key(text: str) -> str | int:
    """Return a run's uid as it is, and a small number as one: -1 is the newest run."""
    return int(text) if text.lstrip("-").isdigit() and len(text) < 6 else text


def _or_none(value: float) -> float | None:
    return value if value == value else None


def _deviation(value: float) -> str:
    return f" +- {value:.2g}" if value == value else ""
