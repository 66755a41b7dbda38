"""A mosaic of tiles, each in a light of its own, against the whole that it was cut out of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from exitwave.analysis.io import Frames, open_volume
from exitwave.analysis.tomography import Light, Recipe, reconstruct
from exitwave.analysis.tomography.geometry import Geometry
from exitwave.profiles.storage import NoTomogramError
from exitwave.profiles.storage.mosaic import Mosaic, _likely

SIDE, STEP, ROWS, CENTRE = 120, 66, 90, 92.0
ANGLES = np.arange(0.0, 180.0, 2.0)
MU = 0.004


def _whole() -> np.ndarray:
    """Return line integrals (angle, row, column) of balls all over a picture as wide as two tiles."""
    rng = np.random.default_rng(5)
    c, s = np.cos(np.radians(ANGLES)), np.sin(np.radians(ANGLES))
    row, column = np.arange(ROWS)[:, None], np.arange(SIDE + STEP)[None, :]
    out = np.zeros((len(ANGLES), ROWS, SIDE + STEP))
    for _ in range(40):
        distance, turn, radius, height = (
            rng.uniform(0, 80),
            rng.uniform(0, 2 * np.pi),
            rng.uniform(4, 9),
            rng.uniform(0, ROWS),
        )
        x, z = distance * np.cos(turn), distance * np.sin(turn)
        across = column[None] - (CENTRE + x * c + z * s)[:, None, None]
        out += 2.0 * MU * np.sqrt(np.maximum(radius**2 - across**2 - (row - height)[None] ** 2, 0.0))
    return out


def _tile(whole: np.ndarray, column: int, *, lost: tuple[int, ...] = (), off: Any = 0, seed: int = 0) -> Any:
    """Return what a `Tomogram` is to a mosaic: counts of one tile, in a beam that decays."""
    rng = np.random.default_rng(seed)
    gain = 20_000.0 * (1.0 + 0.2 * rng.random((ROWS, SIDE)))
    gain[:6, :6] = 10.0  # a corner without light
    index = np.setdiff1d(np.arange(len(ANGLES)), lost)
    beam = np.linspace(1.0, 0.8 - 0.1 * column, len(ANGLES))[index]
    first = column * STEP + np.broadcast_to(off, len(ANGLES))[index]
    cut = np.stack([view[:, at : at + SIDE] for view, at in zip(whole[index], first, strict=True)])
    frames = 100.0 + gain * beam[:, None, None] * np.exp(-cut)
    parts = [frames, np.repeat(100.0 + gain[None], 3, axis=0), np.full((2, ROWS, SIDE), 100.0)]
    kinds = [Frames.of_array(part.astype(np.float32)) for part in parts]
    return SimpleNamespace(
        uid=f"tile-{column}",
        start={"mosaic": {"uid": "0123456789", "column": column, "row": 0, "x_px": column * STEP, "y_px": 0}},
        frames=kinds[0], flats=kinds[1], darks=kinds[2], index=index, angles_deg=ANGLES[index],
        light=Light(1000.0 + index, np.array([990.0, 991.0, 992.0]), beam, np.ones(3)),
        energy_kev=8.0, pixel_nm=30.0, exposure_s=1.0,
    )  # fmt: skip


def test_a_mosaic_becomes_the_volume_of_the_whole(tmp_path: Path) -> None:
    whole = _whole()
    mosaic = Mosaic([_tile(whole, 0), _tile(whole, 1, lost=(7, 30), off=-2, seed=1)])
    assert len(mosaic) == len(ANGLES) - 2
    places = mosaic.register()
    assert places.places_px[1][1] - places.places_px[0][1] == pytest.approx(STEP - 2, abs=0.05)
    recipe = Recipe(centre_px=CENTRE, stripes=False, zinger_sigma=None, rows=(10, 80))
    done = mosaic.reconstruct(tmp_path / "mosaic.h5", recipe)
    geometry = Geometry(mosaic.angles_deg, SIDE + STEP, CENTRE)
    direct = reconstruct(whole[mosaic.indices].astype(np.float32), geometry, rows=(10, 80))
    with open_volume(done.path) as (data, info):
        assert (info.source_uid, info.voxel_nm) == ("0123456789", 30.0)
        volume = data[()]
    assert done.shape == (70, SIDE + STEP - 2, SIDE + STEP - 2)
    # the axis is in the middle of both
    inner = direct[:, 1:-1, 1:-1]
    assert np.sqrt(np.mean((volume - inner) ** 2)) < 0.05 * np.sqrt(np.mean(inner**2))


def test_what_a_tile_is_off_at_an_angle_is_followed() -> None:
    whole = _whole()
    jitter = np.random.default_rng(8).integers(-3, 4, len(ANGLES))
    mosaic = Mosaic([_tile(whole, 0), _tile(whole, 1, off=np.minimum(jitter, 0), seed=1)])
    mosaic.register()
    apart = np.diff(np.asarray(mosaic.places_px)[:, 1]) + np.diff(mosaic.moves_px[:, :, 1], axis=1)[:, 0]
    np.testing.assert_allclose(apart, STEP + np.minimum(jitter, 0), atol=0.1)
    np.testing.assert_allclose(mosaic.moves_px[:, :, 0], 0.0, atol=0.1)
    shapes = {mosaic.transmission(k).shape for k in range(len(ANGLES))}
    assert len(shapes) == 1, "all projections have one size"
    # each picture is the whole where both tiles show it, wherever its tiles stood
    for k in (0, 30, 77):
        seen, middle = mosaic.transmission(k), slice(STEP + 10, SIDE - 10)
        shift = float(np.asarray(mosaic.places_px)[0, 1] + mosaic.moves_px[k, 0, 1])
        expected = ndimage.shift(whole[k], (0, shift), order=3, mode="nearest")[:, : seen.shape[1]]
        np.testing.assert_allclose(-np.log(seen[10:-10, middle]), expected[10:-10, middle], atol=0.01)


def test_an_angle_that_tells_nothing_is_taken_for_the_others() -> None:
    moves = np.random.default_rng(1).normal(0, 2.0, (50, 2, 2))
    moves[7] = np.nan
    deviations = np.where(np.isfinite(moves), 0.1, np.nan)
    deviations[3] = 20.0
    likely = _likely(moves, deviations)
    assert (likely[7] == 0).all()
    assert (np.abs(likely[3]) < 0.02 * np.abs(moves[3]) + 1e-9).all()
    np.testing.assert_allclose(likely[8:], moves[8:], rtol=0.01)
    assert (_likely(np.full((4, 2, 2), np.nan), np.full((4, 2, 2), np.nan)) == 0).all()


def test_each_tile_is_seen_in_its_own_light_and_dark_corners_by_the_other() -> None:
    whole = _whole()
    mosaic = Mosaic([_tile(whole, 0), _tile(whole, 1, seed=1)])
    for k in (0, 44, 89):
        seen = mosaic.transmission(k)
        assert np.isnan(seen[:6, :6]).all(), "no other tile shows this corner"
        assert np.isfinite(seen[:6, STEP : STEP + 6]).all(), "the first tile shows the second one's dark corner"
        lit = np.isfinite(seen)
        np.testing.assert_allclose(seen[lit], np.exp(-whole[k])[lit], rtol=2e-4)
    series = mosaic.to_series()
    assert np.isfinite(series.frames[0]).all()
    assert series.frames.shape == (len(ANGLES), ROWS, SIDE + STEP)


def test_tiles_without_a_common_angle_are_refused() -> None:
    whole = _whole()
    odd, even = (tuple(range(first, len(ANGLES), 2)) for first in (0, 1))
    with pytest.raises(NoTomogramError, match="no angle is in every tile"):
        Mosaic([_tile(whole, 0, lost=odd), _tile(whole, 1, lost=even)]).to_series()
