"""From raw frames to a volume on disk, by a recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from exitwave.analysis.errors import FileFormatError, FitError, OutOfRangeError
from exitwave.analysis.io import Frames, Series, VolumeInfo, open_volume, write_volume
from exitwave.analysis.tomography import Recipe, find_axis, reconstruct_series

WIDTH, ROWS = 96, 40
CENTRE, TILT_DEG = 44.2, 0.0
MU = 0.01
BALLS = [(8.0, 16.0, -12.0, 11.0), (-14.0, 22.0, 9.0, 9.0), (3.0, 28.0, 18.0, 6.0)]
FLAT, DARK = 30_000.0, 100.0


def integrals(angles: np.ndarray, rises_px: np.ndarray | None = None, rows: int = ROWS) -> np.ndarray:
    """Return line integrals (angle, row, column) through balls (x, row, z, radius)."""
    c, s = np.cos(np.radians(angles)), np.sin(np.radians(angles))
    dy = np.zeros(len(angles)) if rises_px is None else -rises_px
    row, column = np.arange(rows)[:, None], np.arange(WIDTH)[None, :]
    out = np.zeros((len(angles), rows, WIDTH))
    for x, h, z, radius in BALLS:
        for k in range(len(angles)):
            across = column - (CENTRE + x * c[k] + z * s[k])
            out[k] += 2.0 * MU * np.sqrt(np.maximum(radius**2 - across**2 - (row - h - dy[k]) ** 2, 0.0))
    return out


def series_of(angles: np.ndarray, seed: int = 1, **more: Any) -> Series:
    """Return raw frames with the counts of photons, stripes of the camera included."""
    rng = np.random.default_rng(seed)
    gain = 1.0 + 0.03 * rng.standard_normal((1, WIDTH))
    frames = rng.poisson(FLAT * gain * np.exp(-integrals(angles, **more))) + DARK
    flats = rng.poisson(FLAT * gain, (8, ROWS, WIDTH)) + DARK
    darks = np.full((2, ROWS, WIDTH), DARK)
    kinds = [Frames.of_array(part.astype(np.uint16)) for part in (frames, flats, darks)]
    return Series(kinds[0], kinds[1], kinds[2], angles_deg=angles, pixel_nm=50.0)


HALF, TURN = np.arange(0.0, 180.0, 1.5), np.arange(0.0, 360.0, 3.0)


@pytest.mark.parametrize(("angles", "how"), [(TURN, "pairs"), (HALF, "wedge"), (HALF[[*range(0, 120, 2), 1]], "score")])
def test_the_axis_is_found_by_what_the_scan_offers(angles: np.ndarray, how: str) -> None:
    rng = np.random.default_rng(3)
    found = find_axis((integrals(angles) + rng.normal(0, 0.005, (len(angles), ROWS, WIDTH))).astype("f4"), angles)
    assert found.how == how
    assert found.centre_px == pytest.approx(CENTRE, abs=0.1)
    assert found.tilt_deg == pytest.approx(TILT_DEG, abs=0.1)


@pytest.mark.parametrize("size", [(ROWS, WIDTH), (ROWS - 1, WIDTH - 1)])
def test_an_axis_found_in_binned_pairs_is_where_it_was(size: tuple[int, int]) -> None:
    fine = np.kron(integrals(TURN), np.ones((1, 4, 4)))[:, : 4 * size[0] - 1, : 4 * size[1] + 2].astype("f4")
    found = find_axis(fine, TURN, finest_px=size[0])
    assert found.centre_px == pytest.approx(4 * (CENTRE + 0.5) - 0.5, abs=0.15)
    few = find_axis(fine, TURN, finest_px=size[0], memory_gb=1e-4)
    assert few.centre_px == pytest.approx(found.centre_px, abs=0.3)


@pytest.mark.parametrize("memory_gb", [2.0, 0.003])
def test_a_series_becomes_a_volume_in_memory_or_through_a_scratch_file(tmp_path: Path, memory_gb: float) -> None:
    said: list[tuple[str, int, int]] = []
    # balls so near to the axis are stripes of their own
    recipe = Recipe(memory_gb=memory_gb, method="fbp", stripes=False)
    result = reconstruct_series(
        series_of(TURN), tmp_path / "volume.h5", recipe, source_uid="run", progress=lambda *step: said.append(step)
    )
    assert result.axis.centre_px == pytest.approx(CENTRE, abs=0.1)
    with open_volume(result.path) as (data, info):
        volume = data[()]
        assert (info.voxel_nm, info.source_uid, info.centre) == (50.0, "run", result.axis.centre_px)
    assert volume.shape == result.shape == (ROWS, WIDTH, WIDTH)
    for x, h, z, _ in BALLS:
        i, j = round(z + 0.5 * (WIDTH - 1)), round(x + 0.5 * (WIDTH - 1))
        core = volume[round(h) - 2 : round(h) + 3, i - 2 : i + 3, j - 2 : j + 3]
        assert core.mean() == pytest.approx(MU, rel=0.05)
    np.testing.assert_array_equal(result.planes[0], volume[ROWS // 2])
    np.testing.assert_array_equal(result.planes[1], volume[:, WIDTH // 2])
    np.testing.assert_array_equal(result.planes[2], volume[:, :, WIDTH // 2])
    assert said[-1] == ("reconstructing", ROWS, ROWS)
    assert ("correcting", len(TURN), len(TURN)) in said
    assert sorted(each.name for each in tmp_path.iterdir()) == ["volume.h5"], "nothing is left beside it"


def test_a_region_of_the_slices_is_what_the_whole_has_there(tmp_path: Path) -> None:
    recipe = Recipe(centre_px=CENTRE, rows=(10, 30))
    whole = reconstruct_series(series_of(TURN), tmp_path / "whole.h5", recipe)
    region = reconstruct_series(series_of(TURN), tmp_path / "region.h5", replace(recipe, region=(20, 50, 40, 80)))
    assert region.shape == (20, 30, 40)
    with open_volume(whole.path) as (all_of_it, _), open_volume(region.path) as (part, info):
        np.testing.assert_array_equal(part[()], all_of_it[:, 20:50, 40:80])
        assert info.middle_px == (35.0 - WIDTH / 2, 60.0 - WIDTH / 2)
        for axis, cut in (("z", slice(20, 50)), ("x", slice(40, 80))):
            places = all_of_it.parent[axis][cut]
            np.testing.assert_allclose(part.parent[axis][()], places)
        for plane, expected in zip(region.planes, (part[10], part[:, 15], part[:, :, 20]), strict=True):
            np.testing.assert_array_equal(plane, expected)
    with pytest.raises(OutOfRangeError, match=r"region 20:50,40:97: must be within 0:96 along z and x"):
        reconstruct_series(series_of(TURN), tmp_path / "no.h5", replace(recipe, region=(20, 50, 40, 97)))
    assert not (tmp_path / "no.h5").exists()


def test_a_volume_in_zarr_is_the_one_in_hdf5(tmp_path: Path) -> None:
    recipe = Recipe(centre_px=CENTRE, rows=(10, 30), region=(20, 50, 40, 80), options={"filter_name": "hann"})
    paths = [tmp_path / name for name in ("volume.h5", "volume.zarr")]
    for path in paths:
        reconstruct_series(series_of(TURN), path, recipe, source_uid="run")
    with open_volume(paths[0]) as (there, about_there), open_volume(paths[1]) as (here, about_here):
        np.testing.assert_array_equal(here[:], there[()])
        for name in ("voxel_nm", "method", "options", "centre", "tilt_deg", "source_uid", "first_row", "middle_px"):
            assert getattr(about_here, name) == getattr(about_there, name), name
        np.testing.assert_array_equal(about_here.angles_deg, about_there.angles_deg)
        assert about_here.shifts is about_there.shifts is None
        ome: Any = zarr.open_group(paths[1], mode="r").attrs["ome"]
        (scales,) = ome["multiscales"]
        scale, translation = scales["datasets"][0]["coordinateTransformations"]
        assert scale["scale"] == [50.0, 50.0, 50.0]
        np.testing.assert_allclose(translation["translation"], [there.parent[axis][0] for axis in "yzx"])
    with pytest.raises(FileExistsError, match=r"volume\.zarr: exists already"):
        reconstruct_series(series_of(TURN), paths[1], recipe)
    reconstruct_series(series_of(TURN), paths[1], replace(recipe, rows=(10, 14)), overwrite=True)
    with open_volume(paths[1]) as (again, _):
        assert again.shape == (4, 30, 40)


def test_of_a_volume_in_zarr_that_failed_nothing_is_left(tmp_path: Path) -> None:
    def fail() -> None:
        with write_volume(tmp_path / "v.zarr", (2, 3, 3), VolumeInfo(1.0)) as data:
            data[0] = 1.0
            raise RuntimeError("power")

    with pytest.raises(RuntimeError, match="power"):
        fail()
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="no such folder"), open_volume(tmp_path / "v.zarr"):
        pass
    (tmp_path / "v.zarr").mkdir()
    with pytest.raises(FileFormatError, match=r"v\.zarr: no volume in Zarr"), open_volume(tmp_path / "v.zarr"):
        pass


def test_stripes_are_taken_out_row_by_row_however_many_rows_fit(tmp_path: Path) -> None:
    planes = {}
    for memory_gb in (2.0, 0.002):
        recipe = Recipe(centre_px=CENTRE, memory_gb=memory_gb)
        planes[memory_gb] = reconstruct_series(series_of(HALF), tmp_path / f"{memory_gb}.h5", recipe).planes
    plain = reconstruct_series(series_of(HALF), tmp_path / "plain.h5", Recipe(centre_px=CENTRE, stripes=False)).planes
    for many, few, without in zip(planes[2.0], planes[0.002], plain, strict=True):
        np.testing.assert_allclose(many, few, atol=1e-6)
        assert np.abs(many - without).max() > 1e-4


def test_rows_and_a_given_axis_are_kept_to(tmp_path: Path) -> None:
    recipe = Recipe(rows=(12, 20), centre_px=CENTRE, stripes=False, size=64)
    result = reconstruct_series(series_of(HALF), tmp_path / "part.h5", recipe)
    assert (result.shape, result.first_row, result.axis.how) == ((8, 64, 64), 12, "given")


def test_what_is_left_of_the_beam_is_read_where_nothing_is(tmp_path: Path) -> None:
    plain = series_of(HALF)
    bright = np.stack([frame.astype(float) for frame in plain.frames])
    bright = DARK + (bright - DARK) * (1.0 + 0.5 * np.sin(2.3 * np.arange(len(HALF))))[:, None, None]
    flickering = replace(plain, frames=Frames.of_array(bright.astype(np.uint16)))
    apart = {}
    for empty in (0, 8):
        recipe = Recipe(centre_px=CENTRE, empty_px=empty, stripes=False)
        steady, changed = (
            reconstruct_series(one, tmp_path / f"{name}-{empty}.h5", recipe).planes[0]
            for name, one in (("steady", plain), ("flickering", flickering))
        )
        apart[empty] = float(np.std(changed - steady))
    assert apart[8] < 0.2 * apart[0]


def test_a_helical_scan_is_longer_than_a_picture(tmp_path: Path) -> None:
    angles = np.arange(0.0, 1080.0, 3.0)
    rises = angles / 360.0 * 12.0
    series = series_of(angles, rises_px=rises)
    with pytest.raises(FitError, match="give its column"):
        reconstruct_series(series, tmp_path / "helix.h5", rises_px=rises)
    result = reconstruct_series(series, tmp_path / "helix.h5", Recipe(centre_px=CENTRE), rises_px=rises)
    assert result.shape[0] > 60
    with open_volume(result.path) as (data, info):
        assert info.first_row == result.first_row
        for x, h, z, _ in BALLS:
            i, j, k = round(z + 0.5 * (WIDTH - 1)), round(x + 0.5 * (WIDTH - 1)), round(h) - result.first_row
            assert data[k - 2 : k + 3, i - 2 : i + 3, j - 2 : j + 3].mean() == pytest.approx(MU, rel=0.06)


@pytest.mark.parametrize(
    ("change", "recipe", "error", "said"),
    [
        ({"flats": None}, Recipe(), FileFormatError, "no flats"),
        ({"angles_deg": None}, Recipe(), FileFormatError, "no angles"),
        ({"pixel_nm": None}, Recipe(), FileFormatError, "no size of a pixel"),
        ({}, Recipe(method="art"), OutOfRangeError, "must be one of"),
        ({}, Recipe(centre_px=200.0), OutOfRangeError, "centre"),
    ],
)
def test_what_can_not_be_reconstructed_is_said_and_leaves_nothing(
    tmp_path: Path, change: dict[str, Any], recipe: Recipe, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        reconstruct_series(replace(series_of(HALF), **change), tmp_path / "volume.h5", recipe)
    assert not list(tmp_path.iterdir())


def test_a_volume_that_is_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "volume.h5"
    path.write_text("kept")
    with pytest.raises(FileExistsError, match="exists already"):
        reconstruct_series(series_of(HALF), path)
    assert path.read_text() == "kept"
