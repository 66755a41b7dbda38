"""Spectra of voxels against a ball that is known: a core and a shell whose edges differ."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from exitwave.analysis.errors import OutOfRangeError, ShapeError
from exitwave.analysis.tomography import DepthOfFocusWarning, Geometry, project
from exitwave.analysis.xanes import (
    EnergyProjections,
    LinearCombination,
    StackOperator,
    VolumeAlignment,
    align_tomograms,
    focus_of_volume,
    reconstruct_energies,
)

E0, SIZE, ANGLES = 8340.0, 64, 48
ENERGIES = E0 + np.concatenate([np.arange(-60, -10, 15.0), np.arange(-8, 12, 2.0), np.arange(20, 120, 20.0)])
PHOTONS = 4000.0


def spectrum(offset: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 + np.arctan(offset / 2.0) / np.pi + 0.5 * np.exp(-(((offset - 5.0) / 3.0) ** 2)))


def states() -> np.ndarray:
    """Density of two states (2, row, z, x): lumps, so that alignment has something to hold on to."""
    rng = np.random.default_rng(2)
    place = np.arange(SIZE) - 0.5 * (SIZE - 1)
    y, z, x = np.meshgrid(place, place, place, indexing="ij")
    radius = np.sqrt(x**2 + 1.2 * y**2 + z**2)
    body = 1.0 / (1.0 + np.exp(radius - 20.0))
    for _ in range(25):
        at = rng.uniform(-14.0, 14.0, 3)
        hole = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2) / 12.0)
        body = body * (1.0 - 0.7 * hole)
    core = 1.0 / (1.0 + np.exp((radius - 13.0) / 0.5))
    return np.stack([body * core, body * (1.0 - core)]).astype(np.float32)


@dataclass(frozen=True)
class Scene:
    parts: np.ndarray
    geometry: Geometry
    scale: np.ndarray
    moved: np.ndarray
    source: list[EnergyProjections]
    standards: dict[str, tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Projections of every energy: magnified, displaced from energy to energy and from angle to angle, with noise."""
    rng, parts = np.random.default_rng(4), states()
    geometry = Geometry(np.arange(ANGLES) * 180.0 / ANGLES, SIZE, 0.5 * (SIZE - 1) + 0.7)
    thick = np.stack([project(part, geometry) for part in parts])
    fine = np.arange(E0 - 80.0, E0 + 150.0, 0.1)
    standards = {name: (fine, spectrum(fine - E0 - move)) for name, move in (("a", -1.0), ("b", 1.0))}
    scale = ENERGIES.mean() / ENERGIES
    moved = rng.normal(0.0, 0.8, (len(ENERGIES), 1, 2)) + rng.normal(0.0, 0.5, (1, ANGLES, 2))
    common_photons, source = 8.0 * PHOTONS, []
    for k, energy in enumerate(ENERGIES):
        mu = [0.02 + 0.04 * float(np.interp(energy, *standards[name])) for name in "ab"]
        depth = mu[0] * thick[0] + mu[1] * thick[1]
        # pixel p of the result is seen at scale p + shift: the measured picture is the inverse of that
        inverse = StackOperator(np.full(ANGLES, 1.0 / scale[k]), -moved[k, :] / scale[k], (0.5 * (SIZE - 1),) * 2)
        seen = np.stack([np.nan_to_num(inverse.resample(j, depth[j])[0]) for j in range(ANGLES)])
        variance = (np.exp(seen) / PHOTONS).astype(np.float32)
        common = np.full(seen.shape[1:], 1.0 / common_photons, np.float32)
        noise = EnergyProjections(seen, variance, common).noise(rng)
        source.append(EnergyProjections(seen + noise, variance, common))
    return Scene(parts, geometry, scale, np.broadcast_to(moved, (len(ENERGIES), ANGLES, 2)), source, standards)


def test_displacements_of_energies_and_angles_are_found(scene: Scene) -> None:
    start = replace(scene.geometry, centre=0.5 * (SIZE - 1))
    found = align_tomograms(scene.source, start, scene.scale, bins=(2, 1))
    told = np.stack([operator.shift for operator in found.operators])
    rest = told - scene.moved
    # one constant and a turn of the whole sample are its place
    theta = np.radians(scene.geometry.angles_deg)
    turn = np.stack([np.ones_like(theta), np.cos(theta), np.sin(theta)], axis=1)
    for i, design in ((0, turn[:, :1]), (1, turn)):
        mean = rest[:, :, i].mean(axis=0)
        rest[:, :, i] -= design @ np.linalg.lstsq(design, mean, rcond=None)[0]
    assert np.sqrt(np.mean(scene.moved**2)) > 0.8
    assert np.sqrt(np.mean(rest**2)) < 0.15
    assert found.geometry.shifts is None


def test_edges_of_voxels_and_their_deviations(scene: Scene) -> None:
    operators = tuple(
        StackOperator(np.full(ANGLES, scale), moved, (0.5 * (SIZE - 1),) * 2)
        for scale, moved in zip(scene.scale, scene.moved, strict=True)
    )
    alignment = VolumeAlignment(operators, scene.geometry, 0.0)
    volumes, variance = reconstruct_energies(scene.source, alignment, bin_px=2)
    assert volumes.shape == variance.shape == (len(ENERGIES), SIZE // 2, SIZE // 2, SIZE // 2)
    fit = LinearCombination(ENERGIES, scene.standards, non_negative=False, sum_to_one=False, background_order=1)
    found = fit.fit(volumes, variance, passes=1)
    blocks = scene.parts.reshape(2, SIZE // 2, 2, SIZE // 2, 2, SIZE // 2, 2).mean(axis=(2, 4, 6))
    true = blocks[0] / np.maximum(blocks.sum(axis=0), 1e-6)
    solid = ndimage.uniform_filter(blocks.sum(axis=0), 3) > 0.7
    # away from the border of the core, which the resolution blurs
    even = solid & (np.abs(ndimage.gaussian_filter(true, 1.0) - true) < 0.02)
    assert even.sum() > 300
    for inside, share in ((even & (true > 0.9), 1.0), (even & (true < 0.1), 0.0)):
        error = (found.fractions[0] - true)[inside]
        assert error.mean() == pytest.approx(0.0, abs=0.06), share
        pull = error / found.fractions_sd[0][inside]
        assert 0.85 < pull.std() < 1.2, share


def test_the_variance_is_that_of_repeated_noise(scene: Scene) -> None:
    """One energy, measured again and again: flats' errors make rings, and the middle is noisier than the rim."""
    given, operator = scene.source[0], StackOperator.identity(ANGLES, (SIZE, SIZE))
    alignment = VolumeAlignment((operator,), scene.geometry, 0.0)
    rng, draws = np.random.default_rng(9), []
    for _ in range(24):
        noisy = EnergyProjections(given.depth + given.noise(rng), given.variance, given.common)
        draws.append(reconstruct_energies([noisy], alignment)[0][0, 20:44])
    variance = reconstruct_energies([given], alignment)[1][0, 20:44]
    seen = np.var(np.stack(draws), axis=0, ddof=1)
    for inner in (True, False):
        place = np.arange(SIZE) - 0.5 * (SIZE - 1)
        away = np.hypot(place[:, None], place[None, :])
        ring = (away > 4.0) & (away < 10.0) if inner else (away > 14.0) & (away < 26.0)
        assert float(seen[:, ring].mean() / variance[:, ring].mean()) == pytest.approx(1.0, abs=0.12)


def test_what_does_not_fit_is_refused(scene: Scene) -> None:
    given: Any = scene.source[0]
    alignment = VolumeAlignment((StackOperator.identity(ANGLES, (SIZE, SIZE)),), scene.geometry, 0.0)
    with pytest.raises(OutOfRangeError, match="linear"):
        reconstruct_energies([given], alignment, method="sirt")
    with pytest.raises(OutOfRangeError, match="bin"):
        reconstruct_energies([given], alignment, bin_px=16)
    with pytest.raises(ShapeError, match="alignment of 1"):
        reconstruct_energies([given, given], alignment)
    with pytest.raises(ShapeError, match="at least two"):
        align_tomograms([given], scene.geometry, [1.0])
    with pytest.raises(ShapeError, match="variance"):
        EnergyProjections(given.depth, given.variance[:3])
    with pytest.raises(ShapeError, match="no variance"):
        EnergyProjections(given.depth).noise(np.random.default_rng(0))
    volumes, variance = reconstruct_energies([EnergyProjections(given.depth)], alignment)
    assert variance is None
    assert volumes.shape == (1, SIZE, SIZE, SIZE)


def test_a_specimen_thicker_than_the_depth_of_focus_is_told() -> None:
    # an elliptic cylinder, 12 um long at 30 deg and 4 um wide, in voxels of 100 nm
    z, x = np.mgrid[-80:81, -80:81] * 0.1
    along, across = z * np.cos(np.pi / 6) + x * np.sin(np.pi / 6), x * np.cos(np.pi / 6) - z * np.sin(np.pi / 6)
    outline = np.zeros((5, 161, 161), np.bool_)
    outline[1:4] = (along / 6.0) ** 2 + (across / 2.0) ** 2 <= 1.0
    fine = focus_of_volume(outline, 100.0, 6.5)
    assert fine.thickness_um == pytest.approx(12.0, abs=0.2)
    assert (fine.depth_of_focus_um, fine.warning) == (13.0, None)
    with pytest.warns(DepthOfFocusWarning, match="depth of focus 10 um"):
        thick = focus_of_volume(outline, 100.0, 5.0)
    assert thick.warning is not None
    with pytest.raises(ShapeError, match="outline"):
        focus_of_volume(np.zeros((3, 4, 5)), 100.0, 5.0)
