from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from scipy import ndimage

from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError
from exitwave.analysis.xanes import (
    StackOperator,
    align,
    correct_stack,
    fit_drift,
    magnification_scales,
    region_spectrum,
)
from exitwave.analysis.xanes.align import solve_pairs

CENTRE = (90.0, 101.0)
SHAPE = (192, 208)


def blobs(y: np.ndarray, x: np.ndarray, seed: int = 3, count: int = 40) -> np.ndarray:
    """A particle of Gaussian grains 4 to 9 pixels wide, known everywhere and not only at pixels."""
    rng = np.random.default_rng(seed)
    total = np.zeros(np.broadcast(y, x).shape)
    for _ in range(count):
        cy, cx = rng.normal(CENTRE[0], 22), rng.normal(CENTRE[1], 22)
        total += rng.uniform(0.2, 1.0) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * rng.uniform(2.0, 4.0) ** 2))
    return total


def test_scale_and_shift_are_taken_out_in_one_go() -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float64)
    truth = blobs(y, x)
    scale, shift = 1.04, np.array([2.3, -4.7])
    # forward: point p of the sample falls on centre + scale (p - centre) + shift
    py = (y - CENTRE[0] - shift[0]) / scale + CENTRE[0]
    px = (x - CENTRE[1] - shift[1]) / scale + CENTRE[1]
    frame = blobs(py, px)
    for kind, limit in (("cubic", 0.02), ("lanczos", 0.006)):
        operator = StackOperator(np.array([scale]), shift[None, :], CENTRE, kind)  # type: ignore[arg-type]
        out, _ = operator.resample(0, frame.astype(np.float32))
        inner = np.s_[20:-20, 20:-20]
        assert np.abs(out - truth)[inner].max() < limit * truth.max()
        # spline interpolation of high order as an independent measure of the place
        other = ndimage.affine_transform(
            frame, [scale, scale], offset=[c * (1 - scale) + s for c, s in zip(CENTRE, shift, strict=True)], order=5
        )
        assert np.abs(out - other)[inner].max() < limit * truth.max()


def test_identity_changes_nothing_and_edges_are_unknown() -> None:
    image = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    operator = StackOperator.identity(2, (40, 50))
    np.testing.assert_array_equal(operator.resample(0, image)[0], image)
    moved, _ = operator.refined([[0.0, 0.0], [3.0, 0.0]]).resample(1, image)
    np.testing.assert_array_equal(moved[:37], image[3:])
    assert np.isnan(moved[37:]).all()


def test_variance_after_resampling_is_that_of_the_noise() -> None:
    rng = np.random.default_rng(5)
    operator = StackOperator(np.array([1.01]), np.array([[0.5, 0.3]]), (31.5, 31.5))
    variance = np.fromfunction(lambda y, x: 1.0 + 0.02 * y + 0.01 * x, (64, 64)).astype(np.float32)
    _, expected = operator.resample(0, variance, variance)
    assert expected is not None
    draws = [
        operator.resample(0, (rng.normal(size=(64, 64)) * np.sqrt(variance)).astype(np.float32))[0] for _ in range(600)
    ]
    ratio = np.var(draws, axis=0) / expected
    assert np.nanmean(ratio) == pytest.approx(1.0, abs=0.01)
    # between pixels noise is averaged: half a pixel off in both directions leaves 0.64^2
    assert np.nanmin((expected / variance)[4:-4, 4:-4]) == pytest.approx(0.64**2, abs=0.03)


def test_magnification_follows_the_lens_formula() -> None:
    # issue: D = 244 um, dr = 30 nm, M = 32.5 at 8.333 keV with the detector at 1698.832 mm
    scales = magnification_scales(
        [8200.0, 8333.0, 8600.0], diameter_um=244, outermost_zone_nm=30, detector_distance_mm=1698.832, reference=1
    )
    # a detector that stays, f proportional to E: M + 1/M + 2 = L / f
    at = 33.5**2 / 32.5
    expected = [(lambda h: h + np.sqrt(h * h - 1))(at * 8333.0 / e / 2 - 1) / 32.5 for e in (8200.0, 8333.0, 8600.0)]
    np.testing.assert_allclose(scales, expected, rtol=2e-4)
    assert scales[0] > 1 > scales[2]


def particle_stack(
    scene: ModuleType, flat: float | None, other: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Optical depths across the edge (41 energies) of a particle of two phases, one without the element."""
    rng = np.random.default_rng(seed)
    e = scene.energies(2.0)[::1]
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float64)
    walk = np.cumsum(rng.normal(0, 0.6, (len(e), 2)), axis=0)
    walk -= walk[0]
    stack = np.empty((len(e), *SHAPE), np.float32)
    for k, energy in enumerate(e):
        with_element = blobs(y - walk[k, 0], x - walk[k, 1], 3)
        without = blobs(y - walk[k, 0], x - walk[k, 1], 8, 25)
        jump = scene.spectrum(np.array([energy - scene.E0]))[0]
        depth = 0.25 * with_element * (0.7 + jump) + other * without
        if flat is not None:
            depth = -np.log(np.maximum(rng.poisson(flat * np.exp(-depth)), 1) / flat)
        stack[k] = depth
    return e, stack, walk


@pytest.mark.parametrize(("flat", "other", "limit"), [(None, 0.05, 0.05), (None, 0.3, 0.05), (2000.0, 0.05, 0.1)])
def test_alignment_across_the_edge(scene: ModuleType, flat: float | None, other: float, limit: float) -> None:
    # below the edge NMC622 absorbs 0.7 of what its nickel adds at it; `other` is a phase without nickel, spread
    # otherwise
    _, stack, walk = particle_stack(scene, flat, other)
    found = align(stack, StackOperator.identity(len(stack), SHAPE))
    error = found.displacement_px - walk
    error -= error.mean(axis=0)
    assert np.sqrt((error**2).sum(axis=1).mean()) < limit
    assert np.abs(found.operator.shift - found.displacement_px).max() < 1e-9
    if flat is not None:
        assert found.displacement_sd_px[1:].max() < limit
        assert found.pair_residual_px < 2 * limit


def test_alignment_keeps_the_magnification(scene: ModuleType) -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float64)
    scale, shift = np.array([1.03, 1.02, 1.01, 1.0]), np.array([[3.0, -2.0], [1.0, 1.0], [-2.0, 4.0], [0.0, 0.0]])
    frames = [
        blobs((y - CENTRE[0] - s[0]) / m + CENTRE[0], (x - CENTRE[1] - s[1]) / m + CENTRE[1]).astype(np.float32)
        for m, s in zip(scale, shift, strict=True)
    ]
    found = align(frames, StackOperator(scale, np.zeros((4, 2)), CENTRE), reference=3)
    np.testing.assert_allclose(found.operator.shift, shift, atol=0.02)


def test_pairs_one_of_which_is_wrong() -> None:
    truth = np.array([0.0, 1.0, 3.0, 2.0, 5.0, 4.0])
    pairs = [(i, j) for span in (1, 2, 4) for i in range(6) for j in [i + span] if j < 6]
    differences = np.array([truth[j] - truth[i] for i, j in pairs]) + np.random.default_rng(1).normal(
        0, 0.01, len(pairs)
    )
    differences[7] += 30.0
    found, sd, _ = solve_pairs(6, pairs, differences, np.full(len(pairs), 0.01))
    assert np.abs(found - truth).max() < 0.5
    assert sd[0] == 0.0
    with pytest.raises(FitError, match="tie"):
        solve_pairs(6, [(0, 1), (2, 3)], [1.0, 1.0], [0.1, 0.1])


def test_drift_that_is_a_polynomial_of_time() -> None:
    t = np.linspace(0, 300, 30)
    truth = np.stack([0.01 * t + 1e-5 * t**2, -0.02 * t], axis=1)
    noisy = truth + np.random.default_rng(0).normal(0, 0.2, truth.shape)
    drift = fit_drift(t, noisy, np.full(truth.shape, 0.2), 2)
    assert np.abs(drift - truth).max() < 0.25
    assert np.sqrt(((drift - truth) ** 2).mean()) < 0.1
    with pytest.raises(FitError, match="order"):
        fit_drift([0, 1], np.zeros((2, 2)), np.ones((2, 2)), 2)


def test_a_drift_of_time_and_of_energy() -> None:
    """Energies as a scan takes them, dense on the edge: no polynomial of either alone describes both."""
    energies = np.concatenate([np.arange(-90, -10, 10.0), np.arange(-10, 10, 1.0), np.arange(10, 240, 30.0)])
    times, rng = np.arange(len(energies), dtype=float), np.random.default_rng(5)
    u, v = energies / 150.0, times / len(times)
    truth = np.stack([0.8 * u + 0.5 * u**2 - 0.6 * v, -1.5 * u + 0.7 * u**3 + 0.4 * v**2], axis=1)
    noisy = truth + rng.normal(0.0, 0.05, truth.shape)
    sd = np.full(truth.shape, 0.05)

    def rms(drift: np.ndarray) -> float:
        rest = drift - truth
        return float(np.sqrt(np.mean((rest - rest.mean(axis=0)) ** 2)))

    # 6 coefficients of 36 displacements: noise is down to sqrt(6 / 36) of itself, within what one draw scatters
    both = rms(fit_drift([energies, times], noisy, sd, (3, 2)))
    assert both < 2.0 * 0.05 * np.sqrt(6 / len(times))
    assert rms(fit_drift(energies, noisy, sd, 2)) > 2.0 * both
    with pytest.raises(FitError, match="polynomial of the other"):
        fit_drift([times, 2.0 * times + 1.0], noisy, sd, (2, 2))
    with pytest.raises(ShapeError, match="one order for each"):
        fit_drift([energies, times], noisy, sd, 2)


def test_counts_become_a_stack(scene: ModuleType) -> None:
    rng = np.random.default_rng(6)
    depth = np.stack([np.full((32, 40), d) for d in (0.2, 1.0, 0.7)])
    frames = [100.0 + rng.poisson(900 * np.exp(-d) * 0.98, (8, 32, 40)) for d in depth]
    flats = [100.0 + rng.poisson(900, (20, 32, 40)) for _ in depth]
    operator = StackOperator.identity(3, (32, 40)).refined([[0.0, 0.0], [0.5, 0.5], [0.0, 0.25]])
    mu, variance = correct_stack(frames, flats, 100.0, operator, beam_ratios=[0.98] * 3)
    pull = (mu - depth) / np.sqrt(variance)
    assert np.nanstd(pull) == pytest.approx(1.0, abs=0.04)
    assert abs(np.nanmean(pull)) < 0.06
    with pytest.raises(ShapeError, match="2 frames"):
        correct_stack(frames[:2], flats, 100.0, operator)
    with pytest.raises(ShapeError, match="out"):
        correct_stack(frames, flats, 100.0, operator, out=np.empty((3, 32, 41), np.float32))
    with pytest.raises(OutOfRangeError, match="scales"):
        StackOperator(np.array([0.0]), np.zeros((1, 2)), (0.0, 0.0))
    with pytest.raises(FitError):
        align([rng.normal(size=(64, 64)).astype(np.float32) for _ in range(3)], StackOperator.identity(3, (64, 64)))


def test_the_mean_of_a_region_is_as_uncertain_as_repeated_noise_says() -> None:
    """Resampled neighbours share noise: of independent pixels the mean would seem surer than it is."""
    shape, rng = (48, 56), np.random.default_rng(3)
    energies = np.array([8300.0, 8340.0, 8400.0])
    operator = StackOperator(np.array([1.02, 1.0, 0.98]), np.array([[0.3, 0.4], [0.5, 0.5], [0.0, 0.2]]), (23.5, 27.5))
    region = np.hypot(np.arange(48)[:, None] - 22.0, np.arange(56)[None, :] - 25.0) < 9.0
    even = np.full(shape, 0.04, np.float32)
    variance = np.empty((3, *shape), np.float32)
    for k in range(3):
        variance[k] = operator.resample(k, even, even)[1]
    means = []
    for _ in range(400):
        noise = rng.normal(0.0, 0.2, (3, *shape)).astype(np.float32)
        means.append([operator.resample(k, noise[k])[0][region].mean() for k in range(3)])
    seen = np.std(means, axis=0)
    stack = np.zeros((3, *shape), np.float32)
    told = region_spectrum("disc", energies, stack, region, variance, operator=operator)
    # the deviation of 400 draws is known to 3.5 %
    np.testing.assert_allclose(told.mu_sd, seen, rtol=0.12)
    naive = region_spectrum("disc", energies, stack, region, variance)
    assert naive.mu_sd[1] < 0.7 * seen[1]
    assert operator.noise_gain(region) == pytest.approx(
        float(np.mean([operator.noise_gain(region, k) for k in range(3)]))
    )
    identity = StackOperator.identity(1, shape)
    assert identity.noise_gain(region) == pytest.approx(1.0)
    with pytest.raises(ShapeError, match="region"):
        operator.noise_gain(np.zeros(shape, bool))
