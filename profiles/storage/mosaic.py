"""A mosaic of tomograms, projection by projection as one picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitwave.analysis import correction
from exitwave.analysis.io import Frames
from exitwave.analysis.stitching import TilePlaces, register_tiles, stitch_tiles
from exitwave.profiles.storage.history import find_run, runs
from exitwave.profiles.storage.paths import DataFolder, data_folder
from exitwave.profiles.storage.tomogram import NoTomogramError, Tomogram, open_tomogram

__all__ = ["Mosaic", "open_mosaic"]


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
        self._correct: list[correction.FlatField] = []

    def __len__(self) -> int:
        return len(self.indices)

    def transmission(self, k: int) -> NDArray[np.float32]:
        """Return projection `k` (of `indices`) of the whole, flat corrected, float32 (Y, X).

        Raises
        ------
        NoTomogramError
            A tile has no flats or no darks.
        """
        return stitch_tiles(self._pictures(k), self.places_px)

    def _pictures(self, k: int) -> list[NDArray[np.float32]]:
        """Return projection `k` of each tile, flat corrected."""
        if not self._correct:
            self._correct = [_flat_field(tile) for tile in self.tiles]
        angle = int(self.indices[k])
        pictures = []
        for tile, rows, correct in zip(self.tiles, self._rows, self._correct, strict=True):
            frames: Any = tile.frames
            pictures.append(correct(frames[rows[angle]]))
        return pictures

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
        pictures = [self._pictures(int(k)) for k in chosen]
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


def _mean(frames: Frames) -> NDArray[np.float32]:
    return np.asarray(np.mean(frames[:], axis=0, dtype=np.float32), np.float32)


def _flat_field(tile: Tomogram) -> correction.FlatField:
    if tile.flats is None or tile.darks is None:
        raise NoTomogramError(f"run {tile.uid[:8]}: a tile without flats or darks can't be stitched; take them again")
    flat, dark = _mean(tile.flats), _mean(tile.darks)
    return correction.FlatField(flat, dark, min_signal=0.1 * float(np.median(flat - dark)), fill=1.0)


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
