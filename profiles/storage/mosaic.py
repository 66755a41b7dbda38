"""A mosaic of tomograms, projection by projection as one picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exitwave.analysis.errors import FitError
from exitwave.analysis.io import Frames, Series
from exitwave.analysis.resolution.rings import fill_dead
from exitwave.analysis.stitching import Canvas, TilePlaces, canvas_of, register_tiles, stitch_tiles
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
    moves_px : float64 array (n, tiles, 2)
        By how much each tile stands elsewhere in each projection: every tile was turned with a jitter of its own.
        Zero until `register` finds it.
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
        self.moves_px = np.zeros((len(self.indices), len(tiles), 2))
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
        moved = [(y + dy, x + dx) for (y, x), (dy, dx) in zip(self.places_px, self.moves_px[k], strict=True)]
        return stitch_tiles(self._pictures(k), moved, self._canvas())

    def _canvas(self) -> Canvas:
        """Return what is drawn of every projection: all of the tiles where they stand on the whole."""
        height, width = self._corrections()[0].shape
        return canvas_of(self.places_px, (height, width))

    def _corrections(self) -> list[Normalisation]:
        """Return what corrects each tile, made when it is first asked for."""
        if not self._correct:
            self._correct = [_normalisation(tile) for tile in self.tiles]
        return self._correct

    def _pictures(self, k: int) -> list[NDArray[np.float32]]:
        """Return projection `k` of each tile, corrected."""
        angle = int(self.indices[k])
        pictures = []
        for tile, rows, correct in zip(self.tiles, self._rows, self._corrections(), strict=True):
            frames: Any = tile.frames
            row = rows[angle]
            pictures.append(correct(row, frames[row]))
        return pictures

    def to_series(self) -> Series:
        """Return the stitched projections as a series: transmissions, with flats of 1 and darks of 0.

        A projection is stitched when it is read. Pixels without light in any tile are filled from their surroundings.

        Raises
        ------
        NoTomogramError
            No angle is in every tile, or a tile has no usable projection.
        """
        if not len(self):
            raise NoTomogramError(f"mosaic {self.uid[:8]}: no angle is in every tile; resume the runs of its tiles")
        whole = self._canvas()[2:]
        plain = np.ones((1, *whole), np.float32)
        first = self.tiles[0]
        return Series(
            frames=Frames(
                lambda k: fill_dead(self.transmission(k), largest_share=1.0).astype(np.float32),
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

        Tiles stand where they were sent unless `register` was called before, which finds where they are. What jitter
        they have in common ``Recipe(align=True)`` takes out.

        Raises
        ------
        NoTomogramError, FileExistsError, AnalysisError
        """
        from exitwave.analysis.tomography import reconstruct_series

        return reconstruct_series(
            self.to_series(), path, recipe, source_uid=self.uid, overwrite=overwrite, progress=progress
        )

    def register(self, num: int = 8, *, progress: Callable[[str, int, int], None] | None = None) -> TilePlaces:
        """Find where the tiles stand beside each other, by what they both show, and stitch by that from now on.

        First one place of each tile for all projections, then how far it is off in each of them: as far as the
        projection tells, and otherwise as little as the others say.

        Parameters
        ----------
        num : int
            So many projections, spread over all, are registered for the first.
        progress : callable, optional
            Called with (what is done, how much of it, out of how much).

        Returns
        -------
        TilePlaces
            For all projections.

        Raises
        ------
        FitError
            Some tile shows nothing that another one shows.
        NoTomogramError
        """
        chosen = np.unique(np.linspace(0, len(self) - 1, min(num, len(self))).astype(int))
        pictures = [self._filled(int(k)) for k in chosen]
        stacks = [np.stack([one[n] for one in pictures]) for n in range(len(self.tiles))]
        found = register_tiles(stacks, self.places_px)
        moves = np.full(self.moves_px.shape, np.nan)
        deviations = np.full(self.moves_px.shape, np.nan)
        for k in range(len(self)):
            try:
                one = register_tiles([picture[None] for picture in self._filled(k)], found.places_px)
            except FitError:
                continue  # nothing stands out at this angle
            finally:
                if progress is not None:
                    progress("placing tiles", k + 1, len(self))
            moves[k], deviations[k] = np.asarray(one.places_px) - found.places_px, one.sd_px
        known = np.isfinite(moves[:, 0, 0])
        mean = np.median(moves[known], axis=0) if known.any() else np.zeros(moves.shape[1:])
        self.places_px = [(float(y), float(x)) for y, x in np.asarray(found.places_px) + mean]
        self.moves_px = _likely(moves - mean, deviations)
        return TilePlaces(self.places_px, found.sd_px, found.pairs)

    def _filled(self, k: int) -> list[NDArray[np.float64]]:
        return [fill_dead(one, largest_share=1.0) for one in self._pictures(k)]

    def close(self) -> None:
        """Let go of the files."""
        for tile in self.tiles:
            tile.close()

    def __enter__(self) -> Mosaic:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _likely(moves: NDArray[np.float64], deviations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each move drawn towards none, by its deviation and the scatter of all; none where it is not known."""
    known = np.isfinite(moves[:, 0, 0])
    if not known.any():
        return np.zeros_like(moves)
    noise = deviations**2
    squares = moves[known] ** 2
    # those that tell little must not decide how far the others scatter
    worth = 1.0 / np.maximum(noise[known] + np.median(squares, axis=0), np.finfo(np.float64).tiny) ** 2
    scatter = np.maximum((worth * (squares - noise[known])).sum(axis=0) / worth.sum(axis=0), 0.0)
    weight = scatter / np.maximum(scatter + noise, np.finfo(np.float64).tiny)
    return np.where(known[:, None, None], weight * moves, 0.0)


def _normalisation(tile: Tomogram) -> Normalisation:
    from exitwave.analysis.tomography.attenuation import Normalisation

    if tile.frames is None:
        raise NoTomogramError(f"run {tile.uid[:8]}: a tile without projections; resume it")
    return Normalisation(tile.flats, tile.darks, len(tile.frames), **tile.light.arguments(), least_light=LEAST_LIGHT)


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
