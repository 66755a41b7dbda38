"""Cracks and pores of a known particle, from projections at the beamline's photon count."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError
from exitwave.analysis.tomography import Geometry, half_voids, reconstruct, voids
from exitwave.analysis.tomography import segmentation as seg
from exitwave.simulators.physics.bodies import Difference, Ellipsoid
from exitwave.simulators.physics.materials import NMC622

SIZE, ROWS, N, PIXEL_NM = 128, 48, 120, 62.0
RIM = 4.0


@dataclass(frozen=True)
class Case:
    """A particle measured and known."""

    volume: np.ndarray
    halves: tuple[np.ndarray, np.ndarray]
    whole: np.ndarray
    holes: np.ndarray
    mu: float


def covered(body: Ellipsoid) -> np.ndarray:
    """Voxels (slice, z, x) of half the size whose centre lies in the ellipsoid."""
    x, y = ((np.arange(2 * n) + 0.5) / 2 - 0.5 * n for n in (SIZE, ROWS))
    axes = [
        ((sign * grid * PIXEL_NM * 1e-3 - body.centre[i]) / body.semi_axes[i]) ** 2
        for i, grid, sign in ((1, y, -1), (2, x, 1), (0, x, 1))
    ]
    return axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :] < 1.0


def filled(fine: np.ndarray) -> np.ndarray:
    return fine.reshape(ROWS, 2, SIZE, 2, SIZE, 2).mean(axis=(1, 3, 5), dtype=np.float32)


@pytest.fixture(scope="module", params=[True, False], ids=["cycled", "pristine"])
def case(request: pytest.FixtureRequest, particles: ModuleType) -> Case:
    specimen = particles.particle(cracked=request.param)
    body = specimen.parts[0][0]
    assert isinstance(body, Difference)
    assert isinstance(body.whole, Ellipsoid)
    whole = covered(body.whole)
    holes = np.zeros_like(whole)
    for hole in body.holes:
        assert isinstance(hole, Ellipsoid)
        holes |= covered(hole) & whole
    angles = np.arange(N) * 180.0 / N
    exact = particles.integrals(specimen, angles, PIXEL_NM, (ROWS, SIZE))
    noisy = particles.second(PIXEL_NM).expose(exact, np.random.default_rng(2))
    geometry = Geometry(angles, SIZE, 0.5 * (SIZE - 1))
    a, b = (reconstruct(noisy[k::2], geometry.select(slice(k, None, 2))) for k in (0, 1))
    mu = NMC622.attenuation_per_um(particles.ENERGY_KEV, "total") * PIXEL_NM * 1e-3
    return Case(0.5 * (a + b), (a, b), filled(whole), filled(holes), mu)


def deep(mask: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.distance_transform_edt(mask) > RIM)


def test_envelope_holds_cracks_and_pores(case):
    inside = seg.envelope(case.volume, close_px=4.0)
    true = case.whole > 0.5
    assert 2 * (inside & true).sum() / (inside.sum() + true.sum()) > 0.99
    assert inside[(case.holes > 0.9) & deep(true)].mean() > 0.99


def test_void_fraction_within_a_tenth_of_the_truth(case):
    inside = deep(seg.envelope(case.volume, close_px=4.0))
    truth = case.holes[inside].mean()
    found = half_voids.find_voids(case.halves[0], case.halves[1], inside).fraction()
    if truth > 0.01:
        assert abs(found.value / truth - 1) < 0.1
        assert found.sd / found.value < 0.1
    else:
        # pores alone, 0.2 % or less: what is no crack must not become one
        assert abs(found.value - truth) < 0.003


def test_shells_add_up_and_follow_the_truth(case):
    inside = seg.envelope(case.volume, close_px=4.0)
    edges = [RIM, 12, 20, 60]
    solid = deep(inside) & (ndimage.maximum_filter(case.holes, 3) == 0)
    mu, sd = voids.material_level(case.volume, solid)
    assert mu == pytest.approx(case.mu, rel=0.01)
    shells = voids.void_fraction_by_depth(case.volume, inside, edges, mu, mu_sd=sd, twin=case.halves[0])
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1]
    for shell in shells:
        true = case.holes[(depth > shell.from_px) & (depth <= shell.to_px)].mean()
        assert abs(shell.fraction.value - true) < 0.005 + 0.1 * true
    whole = voids.void_fraction_integrated(case.volume, depth > RIM, mu)
    mean = sum(s.fraction.value * s.fraction.voxels for s in shells) / sum(s.fraction.voxels for s in shells)
    assert mean == pytest.approx(whole.value, abs=1e-6)


def test_voids_found_once_are_told_by_depth(case):
    whole = seg.envelope(case.volume, close_px=4.0)
    inside = deep(whole)
    depth = ndimage.distance_transform_edt(whole)
    halves = half_voids.find_voids(case.halves[0], case.halves[1], inside)
    found, shells = halves.fraction(), halves.by_depth(depth, [RIM, 12, 20, 60, 200])
    for shell in shells:
        true = case.holes[(depth > shell.from_px) & (depth <= shell.to_px)].mean()
        assert abs(shell.fraction.value - true) < 0.005 + 0.1 * true
    total = sum(s.fraction.voxels for s in shells)
    assert total == found.voxels, "no voxel is left out, none counts twice"
    mean = sum(s.fraction.value * s.fraction.voxels for s in shells) / total
    assert mean == pytest.approx(found.value, abs=1e-6)
    with pytest.raises(OutOfRangeError, match="rise"):
        halves.by_depth(depth, [3.0, 2.0])


def test_choices_count_as_well_as_noise(case):
    whole = seg.envelope(case.volume, close_px=4.0)
    inside = deep(whole)
    depth = ndimage.distance_transform_edt(whole)

    def measure(found: half_voids.HalfVoids) -> list[voids.Fraction]:
        return [found.fraction(), *(shell.fraction for shell in found.by_depth(depth, [RIM, 20, 200]))]

    fractions = half_voids.fractions_by_choice(case.halves[0], case.halves[1], inside, measure)
    truths = [
        case.holes[inside & (depth > low) & (depth <= high)].mean() for low, high in ((0, 200), (RIM, 20), (20, 200))
    ]
    assert fractions[0] == replace(
        half_voids.find_voids(case.halves[0], case.halves[1], inside).fraction(), choices_sd=fractions[0].choices_sd
    )
    for found, true in zip(fractions, truths, strict=True):
        assert found.total_sd == np.hypot(found.sd, found.choices_sd)
        assert abs(found.value - true) < 3 * found.total_sd + 0.002, "0.2 %: pores that are smaller than the resolution"
    noise_alone = half_voids.find_voids(case.halves[0], case.halves[1], inside).fraction()
    assert np.isnan(noise_alone.choices_sd)
    assert noise_alone.total_sd == noise_alone.sd


def test_labels_of_a_clean_volume():
    z, y, x = np.mgrid[:40, :48, :48] - np.array([19.5, 23.5, 23.5]).reshape(3, 1, 1, 1)
    truth = np.where(x**2 + y**2 + z**2 < 18**2, np.uint8(seg.Label.MATERIAL), np.uint8(seg.Label.OUTSIDE))
    truth[(np.abs(x) < 2) & (y**2 + z**2 < 81)] = seg.Label.CRACK
    truth[(x - 10) ** 2 + (y - 3) ** 2 + z**2 < 9] = seg.Label.PORE
    volume = (truth == seg.Label.MATERIAL).astype(np.float32)
    labels = seg.segment(volume, truth != seg.Label.OUTSIDE)
    np.testing.assert_array_equal(labels, truth)
    scores = seg.compare_labels(labels, truth)
    assert scores["dice_crack"] == scores["dice_pore"] == scores["ratio_void"] == 1.0
    counted = voids.void_fraction_counted(labels)
    inside = truth != seg.Label.OUTSIDE
    assert counted.value == pytest.approx((volume[inside] == 0).mean())


@settings(max_examples=25, deadline=None)
@given(st.floats(0.0, 0.9), st.floats(0.01, 2.0), st.floats(0.0, 1.0), st.integers(0, 2**31))
def test_integral_counts_parts_of_voxels(fraction, mu, noise, seed):
    """Voxels filled in part, whatever their pattern: the deficit is the fraction, within its deviation."""
    rng = np.random.default_rng(seed)
    fill = np.clip(rng.normal(1 - fraction, 0.05, (24, 24, 24)), 0, 1)
    volume = mu * (fill + noise * rng.normal(size=fill.shape))
    inside = np.ones(fill.shape, bool)
    found = voids.void_fraction_integrated(volume, inside, mu)
    assert abs(found.value - (1 - fill.mean())) < 6 * noise / np.sqrt(fill.size) + 1e-4


def test_bad_input_is_refused_by_name():
    volume, inside = np.ones((16, 16, 16)), np.ones((16, 16, 16), bool)
    with pytest.raises(ShapeError, match="volume"):
        seg.envelope(volume[0])
    with pytest.raises(FitError, match="alike"):
        seg.envelope(volume)
    with pytest.raises(OutOfRangeError, match="mu_material"):
        voids.void_fraction_integrated(volume, inside, 0.0)
    with pytest.raises(FitError, match="nothing is inside"):
        voids.void_fraction_integrated(volume, ~inside, 1.0)
    with pytest.raises(FitError, match="solid voxels"):
        voids.material_level(volume, ~inside)
    with pytest.raises(OutOfRangeError, match="edges"):
        voids.void_fraction_by_depth(volume, inside, [3.0, 2.0], 1.0)
    with pytest.raises(ShapeError, match="inside"):
        seg.segment(volume, inside[1:])
