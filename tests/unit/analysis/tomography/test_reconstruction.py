"""Reconstruction of slices whose truth and projections are known in closed form."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from exitwave.analysis.errors import OutOfRangeError, ShapeError
from exitwave.analysis.io import open_volume
from exitwave.analysis.tomography import METHODS, Geometry, Reconstruction, reconstruct, reconstruct_to_file
from exitwave.analysis.tomography.reconstruct import slices_per_chunk
from exitwave.simulators.physics.bodies import Ellipsoid

SIZE = 128
CENTRE = 60.7
DENSE = np.arange(0.0, 180.0, 1.0)


def phantom(ellipses: ModuleType, angles: np.ndarray, rows: int = 1, **more: Any) -> tuple[np.ndarray, Any, np.ndarray]:
    """Return projections, geometry and truth of the Shepp-Logan phantom."""
    bodies = ellipses.shepp_logan(58.0, 0.02)
    geometry = Geometry(angles, SIZE, CENTRE, **more)
    columns = np.arange(SIZE)[None, :] - (CENTRE + geometry.dx[:, None])
    one = ellipses.sinogram(bodies, angles, columns)
    return np.repeat(one[:, None], rows, axis=1), geometry, ellipses.section(bodies, SIZE)


@pytest.mark.parametrize("method", METHODS)
def test_a_disc_has_the_attenuation_that_it_has(ellipses: ModuleType, method: str) -> None:
    mu = 0.004
    disc = [ellipses.Ellipse(mu, 7.0, -12.0, 30.0, 30.0)]
    projections = ellipses.sinogram(disc, DENSE, np.arange(SIZE) - CENTRE)[:, None]
    found = reconstruct(projections, Geometry(DENSE, SIZE, CENTRE), method)
    assert found.shape == (1, SIZE, SIZE)
    assert found.dtype == np.float32
    inside = ellipses.section([ellipses.Ellipse(1.0, 7.0, -12.0, 24.0, 24.0)], SIZE) > 0.999
    outside = (ellipses.section([ellipses.Ellipse(1.0, 7.0, -12.0, 36.0, 36.0)], SIZE) == 0.0) & ellipses.circle(
        SIZE, 58.0
    )
    assert found[0][inside].mean() == pytest.approx(mu, rel=0.01)
    assert abs(found[0][outside].mean()) < 0.01 * mu


def test_the_default_is_as_near_to_the_truth_as_direct_back_projection(ellipses: ModuleType) -> None:
    projections, geometry, truth = phantom(ellipses, DENSE)
    mask = ellipses.circle(SIZE, 59.0)
    for name in ("ramp", "shepp-logan", "hann", "parzen"):
        gridded = reconstruct(projections, geometry, filter_name=name)[0]
        direct = reconstruct(projections, geometry, "fbp", filter_name=name)[0]
        assert ellipses.rms(gridded, truth, mask) <= 1.05 * ellipses.rms(direct, truth, mask)
        smooth = ellipses.circle(SIZE, 59.0) & (np.abs(truth - 0.004) < 1e-6)
        assert gridded[smooth].mean() == pytest.approx(direct[smooth].mean(), rel=5e-3)


@pytest.mark.parametrize("method", ["fourier", "fbp"])
def test_a_whole_turn_is_as_good_as_half_of_one(ellipses: ModuleType, method: str) -> None:
    half, geometry, truth = phantom(ellipses, DENSE)
    turn, around, _ = phantom(ellipses, np.arange(0.0, 360.0, 1.0))
    first = reconstruct(half, geometry, method)[0]
    mask = ellipses.circle(SIZE, 59.0)
    # with the axis between columns the second half sees the object between the samples of the first
    assert ellipses.rms(reconstruct(turn, around, method)[0], truth, mask) < ellipses.rms(first, truth, mask)
    # with the same samples twice nothing changes
    mirrored = np.concatenate([half, half[:, :, ::-1]])
    there = Geometry(
        np.concatenate([DENSE, DENSE + 180.0]),
        SIZE,
        63.5,
        0.0,
        np.repeat([[0.0, CENTRE - 63.5], [0.0, 63.5 - CENTRE]], 180, axis=0),
    )
    alone = Geometry(DENSE, SIZE, 63.5, 0.0, np.repeat([[0.0, CENTRE - 63.5]], 180, axis=0))
    np.testing.assert_allclose(
        reconstruct(mirrored, there, method), reconstruct(half, alone, method), atol=2e-3 * truth.max()
    )


@pytest.mark.parametrize("method", ["fourier", "fbp", "sirt"])
def test_order_and_jitter_of_the_encoder_do_not_matter(ellipses: ModuleType, method: str) -> None:
    random = np.random.default_rng(5)
    even, geometry, truth = phantom(ellipses, DENSE)
    angles = random.permutation(DENSE + random.uniform(-0.3, 0.3, DENSE.size))
    projections, jittered, _ = phantom(ellipses, angles)
    mask = ellipses.circle(SIZE, 59.0)
    options: dict[str, Any] = {"iterations": 20} if method == "sirt" else {}
    known = ellipses.rms(reconstruct(projections, jittered, method, **options)[0], truth, mask)
    assert known < 1.1 * ellipses.rms(reconstruct(even, geometry, method, **options)[0], truth, mask)


@pytest.mark.parametrize("method", ["fourier", "fbp", "cgls"])
def test_shifts_along_the_rows_are_taken_out(ellipses: ModuleType, method: str) -> None:
    random = np.random.default_rng(6)
    shifts = np.zeros((DENSE.size, 2))
    shifts[:, 1] = random.normal(0.0, 2.0, DENSE.size)
    still, geometry, truth = phantom(ellipses, DENSE)
    projections, shaken, _ = phantom(ellipses, DENSE, shifts=shifts)
    mask = ellipses.circle(SIZE, 59.0)
    best = ellipses.rms(reconstruct(still, geometry, method)[0], truth, mask)
    assert ellipses.rms(reconstruct(projections, shaken, method)[0], truth, mask) < 1.1 * best
    assert ellipses.rms(reconstruct(projections, geometry, method)[0], truth, mask) > 1.3 * best


def leaning_pictures(ball: Ellipsoid, geometry: Geometry, shape: tuple[int, int]) -> np.ndarray:
    """Return what a detector of 1 um pixels sees of a simulator's body on a leaning, jittering axis."""
    tilt = np.radians(geometry.tilt_deg)
    pictures = np.empty((len(geometry), *shape), np.float32)
    for k, theta in enumerate(geometry.angles_deg):
        down = np.arange(shape[0])[:, None] - 0.5 * (shape[0] - 1) - geometry.dy[k]
        right = np.arange(shape[1])[None, :] - geometry.centre - geometry.dx[k]
        along = down * np.cos(tilt) + right * np.sin(tilt)
        across = right * np.cos(tilt) - down * np.sin(tilt)
        pictures[k] = ball.chord(across, -along, float(theta))
    return pictures


@pytest.mark.parametrize("method", ["fourier", "fbp"])
def test_sense_of_rotation_tilt_and_shifts_are_the_simulators(method: str) -> None:
    random = np.random.default_rng(7)
    centre, axes = (14.0, 6.0, -9.0), (7.0, 9.0, 12.0)  # x, y (up), z in um
    angles = np.arange(0.0, 180.0, 1.5)
    geometry = Geometry(angles, 80, 38.4, 2.0, random.normal(0.0, 1.5, (angles.size, 2)))
    projections = leaning_pictures(Ellipsoid(centre, axes), geometry, (50, 80))
    volume = reconstruct(projections, geometry, method)
    r, z, x = np.meshgrid(np.arange(50) - 24.5, np.arange(80) - 39.5, np.arange(80) - 39.5, indexing="ij")
    distance = np.sqrt(((x - 14.0) / 7.0) ** 2 + ((r + 6.0) / 9.0) ** 2 + ((z + 9.0) / 12.0) ** 2)
    assert volume[distance < 0.8].mean() == pytest.approx(1.0, abs=0.01)
    assert volume[distance < 0.8].min() > 0.8
    near = (distance > 1.3) & (distance < 2.0) & (np.hypot(x, z) < 37.0)
    assert abs(volume[near].mean()) < 0.02
    weights = np.clip(volume, 0.0, None) * (distance < 1.5)
    for axis, expected in ((x, 14.0), (r, -6.0), (z, -9.0)):
        assert (weights * axis).sum() / weights.sum() == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("angles", [np.arange(-60.0, 61.0, 3.0), np.arange(0.0, 180.0, 7.2)])
def test_total_variation_sees_more_in_few_views_and_missing_wedges(ellipses: ModuleType, angles: np.ndarray) -> None:
    projections, geometry, truth = phantom(ellipses, angles)
    random = np.random.default_rng(8)
    projections = projections + random.normal(0.0, 0.01, projections.shape).astype(np.float32)
    mask = ellipses.circle(SIZE, 59.0)
    error = {m: ellipses.rms(reconstruct(projections, geometry, m)[0], truth, mask) for m in ("fbp", "sirt", "tv")}
    assert error["sirt"] < 0.8 * error["fbp"]
    assert error["tv"] < 0.6 * error["fbp"]


@pytest.mark.parametrize("method", ["sirt", "tv"])
def test_nothing_is_negative_unless_allowed(ellipses: ModuleType, method: str) -> None:
    projections, geometry, _ = phantom(ellipses, DENSE[::9])
    assert reconstruct(projections, geometry, method, iterations=10).min() >= 0.0
    assert reconstruct(projections, geometry, method, iterations=10, nonnegative=False).min() < 0.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tilt", [0.0, 1.0])
def test_chunks_make_the_whole_bit_for_bit(method: str, tilt: float) -> None:
    random = np.random.default_rng(9)
    n, rows, width = 24, 37, 32
    shifts = random.normal(0.0, 1.0, (n, 2))
    geometry = Geometry(np.linspace(0.0, 172.5, n), width, 15.2, tilt, shifts if tilt else None)
    projections = random.normal(1.0, 0.3, (n, rows, width)).astype(np.float32)
    options: dict[str, Any] = {} if method in ("fourier", "fbp") else {"iterations": 3}
    whole = reconstruct(projections, geometry, method, **options)
    parts = np.zeros_like(whole)
    prepared = Reconstruction(geometry, method, memory_gb=1e-6, **options)
    starts = []
    for start, slices in prepared.chunks(projections):
        parts[start : start + len(slices)] = slices
        starts.append(start)
    assert starts == [0, 16, 32]
    np.testing.assert_array_equal(parts, whole)
    some = reconstruct(projections, geometry, method, rows=(16, 21), **options)
    np.testing.assert_array_equal(some[:4], whole[16:20])


def test_a_file_is_streamed_to_a_file(tmp_path: Path) -> None:
    random = np.random.default_rng(10)
    geometry = Geometry(np.arange(0.0, 180.0, 10.0), 40, 18.0, 0.0, random.normal(0.0, 0.5, (18, 2)))
    projections = random.normal(1.0, 0.3, (18, 35, 40)).astype(np.float32)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        source = file.create_dataset("p", data=projections, chunks=(1, 35, 40))
        done: list[tuple[int, int]] = []
        path = reconstruct_to_file(
            source,
            geometry,
            tmp_path / "volume.h5",
            voxel_nm=30.0,
            source_uid="4f2c",
            memory_gb=1e-6,
            progress=lambda *count: done.append(count),
            filter_name="hann",
        )
        with pytest.raises(FileExistsError, match=r"volume\.h5: exists already"):
            reconstruct_to_file(source, geometry, path, voxel_nm=30.0)
        bad = projections.copy()
        bad[3, 20, 7] = np.nan
        with pytest.raises(OutOfRangeError, match=r"projections\[3, 20, 7\] is not finite"):
            reconstruct_to_file(bad, geometry, tmp_path / "other.h5", voxel_nm=30.0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.h5", "volume.h5"]
    assert done == [(16, 35), (32, 35), (35, 35)]
    with open_volume(path) as (data, info):
        np.testing.assert_array_equal(data[()], reconstruct(projections, geometry, filter_name="hann"))
        assert data.attrs["units"] == "1/pixel"
        assert (info.voxel_nm, info.method, info.source_uid) == (30.0, "fourier", "4f2c")
        assert info.options == {"filter_name": "hann"}
        assert info.centre == 18.0
        np.testing.assert_array_equal(info.angles_deg, geometry.angles_deg)
        np.testing.assert_array_equal(info.shifts, geometry.shifts)


def test_a_wider_object_than_the_detector_keeps_its_level(ellipses: ModuleType) -> None:
    disc = [ellipses.Ellipse(0.01, 0.0, 0.0, 90.0, 90.0)]
    projections = ellipses.sinogram(disc, DENSE, np.arange(SIZE) - CENTRE)[:, None]
    geometry = Geometry(DENSE, SIZE, CENTRE)
    mask = ellipses.circle(SIZE, 55.0)
    for method in ("fourier", "fbp"):
        cut = reconstruct(projections, geometry, method)[0][mask]
        going_on = reconstruct(projections, geometry, method, edge=True)[0][mask]
        assert np.ptp(going_on) < 0.5 * np.ptp(cut)


def test_what_cannot_be_reconstructed_is_refused() -> None:
    geometry = Geometry(DENSE, SIZE, CENTRE)
    good = np.zeros((180, 2, SIZE), np.float32)
    with pytest.raises(ShapeError, match=r"none of them empty, got \(180, 0, 128\)"):
        reconstruct(good[:, :0], geometry)
    with pytest.raises(ShapeError, match="179 of 128 columns"):
        reconstruct(good[1:], geometry)
    with pytest.raises(ShapeError, match="180 of 100 columns"):
        reconstruct(good[:, :, :100], geometry)
    with pytest.raises(ShapeError, match="rows"):
        reconstruct(good, geometry, rows=(1, 3))
    with pytest.raises(ShapeError, match="out"):
        reconstruct(good, geometry, out=np.zeros((2, 5, 5), np.float32))
    with pytest.raises(OutOfRangeError, match="method 'art'"):
        reconstruct(good, geometry, "art")
    with pytest.raises(OutOfRangeError, match="no option 'iterations'"):
        reconstruct(good, geometry, iterations=5)
    with pytest.raises(OutOfRangeError, match="filter 'ramlak'"):
        reconstruct(good, geometry, filter_name="ramlak")
    with pytest.raises(OutOfRangeError, match="iterations = 0"):
        reconstruct(good, geometry, "sirt", iterations=0)
    good[7, 1, 3] = np.inf
    with pytest.raises(OutOfRangeError, match=r"projections\[7, 1, 3\] is not finite"):
        reconstruct(good, geometry)


def test_a_large_volume_fits_the_memory_that_it_is_given() -> None:
    geometry = Geometry(np.linspace(0.0, 180.0, 2048, endpoint=False), 2048, 1023.5)
    for memory_gb in (2.0, 4.0):
        count = slices_per_chunk(geometry, 2048, memory_gb)
        assert count >= 16
        assert count * 3 * 4 * 2048**2 < memory_gb * 1e9
