"""A mosaic of tomograms, projection by projection as one picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exitwave.analysis.io import Frames, Series
from exitwave.analysis.stitching import TilePlaces, register_tiles, stitch_tiles
from exitwave.profiles.storage.history import find_run, runs
from exitwave.profiles.storage.paths import DataFolder, data_folder
from exitwave.profiles.storage.tomogram import NoTomogramError, Tomogram, open_tomogram

if TYPE_CHECKING:
    from exitwave.analysis.tomography import Recipe, Result
    from exitwave.analysis.tomography.attenuation import Normalisation

__all__ = ["Mosaic", "open_mosaic"]

LEAST_LIGHT = 0.1
"""Part of the median flat: what has less shows nothing, and another tile is asked."""


class Mosaic:
    """The tiles of a mosaic, opened by `open_mosaic`.

    Attributes
    ----------
    tiles : list of Tomogram
        Row by row.
    places_px : list of (row, column)
        First pixel of each tile on the whole picture.
    indices : intp array (n,)
        Angles that every tile has.
    angles_deg : float64 array (n,)
        Mean of the tiles' encoder angles.
    """

    def __init__(self, tiles: list[Tomogram]) -> None:
        self.tiles = tiles
        about = [tile.start["mosaic"] for tile in tiles]
        self.places_px: list[tuple[float, float]] = [(int(one["y_px"]), int(one["x_px"])) for one in about]
        common = set(tiles[0].index.tolist())
        for tile in tiles[1:]:
            common &= set(tile.index.tolist())
        self.indices = np.array(sorted(common), np.intp)
        self._rows = [{int(i): row for row, i in enumerate(tile.index)} for tile in tiles]
        angles = [
            [tile.angles_deg[rows[int(i)]] for i in self.indices] for tile, rows in zip(tiles, self._rows, strict=True)
        ]
        self.angles_deg = np.mean(angles, axis=0)
        self._correct: list[Normalisation] = []

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def uid(self) -> str:
        """Uid of the mosaic, which every tile's start document names."""
        return str(self.tiles[0].start["mosaic"]["uid"])

    def transmission(self, k: int) -> NDArray[np.float32]:
        """Return projection `k` (of `indices`) of the whole, float32 (Y, X); NaN where no tile has light.

        Each tile is corrected by the flat and the beam of its moment.

        Raises
        ------
        FileFormatError
            A tile has no flats or no darks.
        NoTomogramError
            A tile has no projections.
        """
        return stitch_tiles(self._pictures(k), self.places_px)

    def _pictures(self, k: int) -> list[NDArray[np.float32]]:
        """Return projection `k` of each tile, corrected."""
        if not self._correct:
            self._correct = [_normalisation(tile) for tile in self.tiles]
        angle = int(self.indices[k])
        pictures = []
        for tile, rows, correct in zip(self.tiles, self._rows, self._correct, strict=True):
            frames: Any = tile.frames
            row = rows[angle]
            pictures.append(correct(row, frames[row]))
        return pictures

    def to_series(self) -> Series:
        """Return the stitched projections as a series: transmissions, with flats of 1 and darks of 0.

        A projection is stitched when it is read. Pixels without light in any tile are clear (1).

        Raises
        ------
        NoTomogramError
            No angle is in every tile, or a tile has no usable projection.
        """
        if not len(self):
            raise NoTomogramError(f"mosaic {self.uid[:8]}: no angle is in every tile; resume the runs of its tiles")
        shape = self.transmission(0).shape
        whole = (int(shape[0]), int(shape[1]))
        plain = np.ones((1, *whole), np.float32)
        first = self.tiles[0]
        return Series(
            frames=Frames(
                lambda k: np.nan_to_num(self.transmission(k), copy=False, nan=1.0),
                np.arange(len(self)),
                whole,
                np.float32,
            ),
            flats=Frames.of_array(plain),
            darks=Frames.of_array(np.zeros_like(plain)),
            angles_deg=self.angles_deg,
            energy_kev=first.energy_kev,
            pixel_nm=first.pixel_nm,
            exposure_s=first.exposure_s,
            title=f"mosaic {self.uid[:8]}",
        )

    def reconstruct(
        self,
        path: str | Path,
        recipe: Recipe | None = None,
        *,
        overwrite: bool = False,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Result:
        """Reconstruct the whole from stitched projections; as `Tomogram.reconstruct`.

        Tiles stand where they were sent unless `register` was called before, which finds where they are.

        Raises
        ------
        NoTomogramError, FileExistsError, AnalysisError
        """
        from exitwave.analysis.tomography import reconstruct_series

        return reconstruct_series(
            self.to_series(), path, recipe, source_uid=self.uid, overwrite=overwrite, progress=progress
        )

    def register(self, num: int = 8) -> TilePlaces:
        """Find where the tiles stand beside each other, by what they both show, and stitch by that from now on.

        Parameters
        ----------
        num : int
            So many projections, spread over all, are registered; a tile has one place for all of them.

        Raises
        ------
        FitError
            Some tile shows nothing that another one shows.
        NoTomogramError
        """
        chosen = np.unique(np.linspace(0, len(self) - 1, min(num, len(self))).astype(int))
        pictures = [[np.nan_to_num(one, nan=1.0) for one in self._pictures(int(k))] for k in chosen]
        stacks = [np.stack([one[n] for one in pictures]) for n in range(len(self.tiles))]
        found = register_tiles(stacks, self.places_px)
        self.places_px = found.places_px
        return found

    def close(self) -> None:
        """Let go of the files."""
        for tile in self.tiles:
            tile.close()

    def __enter__(self) -> Mosaic:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _normalisation(tile: Tomogram) -> Normalisation:
    from exitwave.analysis.tomography.attenuation import Normalisation

    if tile.frames is None:
        raise NoTomogramError(f"run {tile.uid[:8]}: a tile without projections; resume it")
    return Normalisation(
        tile.flats, tile.darks, len(tile.frames), **tile.light.arguments(), least_light=LEAST_LIGHT
    )  # fmt: skip


def open_mosaic(key: str | int = -1, *, data: DataFolder | None = None) -> Mosaic:
    """Open the mosaic that a run is a tile of.

    Raises
    ------
    NoTomogramError
        The run is no tile, or tiles are missing.
    RunNotFoundError, FramesMissingError
    """
    data = data or data_folder()
    one = find_run(data.journal, key)
    about = one.start.get("mosaic")
    if about is None:
        raise NoTomogramError(f"run {one.uid[:8]}: is no tile of a mosaic; open_tomogram reads it")
    tiles = [
        run.start
        for run in runs(data.journal)
        if run.start.get("mosaic", {}).get("uid") == about["uid"] and "resumes" not in run.start
    ]
    if len(tiles) < about["columns"] * about["rows"]:
        raise NoTomogramError(
            f"mosaic {about['uid'][:8]}: {len(tiles)} of {about['columns'] * about['rows']} tiles are there"
        )
    tiles.sort(key=lambda start: (start["mosaic"]["row"], start["mosaic"]["column"]))
    return Mosaic([open_tomogram(start["uid"], data=data) for start in tiles])
