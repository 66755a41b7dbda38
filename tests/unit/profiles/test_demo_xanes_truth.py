"""The comparison with the truth of spectroscopic imaging, against numbers put in by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from exitwave.analysis.xanes import LinearCombination, Normalisation, StackOperator, optical_depth
from exitwave.profiles.demos import xanes_truth
from exitwave.profiles.xanes_depths import AlignedStack

N, SIZE, CORNER = 5, 64, 100.0


def truth(shift: np.ndarray[Any, Any]) -> xanes_truth.FrameTruth:
    """Return places of a specimen 10 pixels off the middle, seen larger and larger, and displaced."""
    pixel_nm = 28.0 / (1.0 + 0.01 * np.arange(N, dtype=np.float64))
    middle = 0.5 * (SIZE - 1)
    scale = pixel_nm[2] / pixel_nm
    seen = middle + scale[:, None] * np.array([10.0, -5.0]) + shift
    defocus = np.array([0.0, 1.0, -3.0, 0.5, 0.0])
    return xanes_truth.FrameTruth(
        8300.0 + np.arange(N, dtype=np.float64), pixel_nm, defocus, CORNER + seen[:, 0], CORNER + seen[:, 1]
    )


def test_an_operator_that_is_true_has_no_error() -> None:
    rng = np.random.default_rng(3)
    shift = rng.normal(0.0, 2.0, (N, 2))
    shift[2] = 0.0
    told = truth(shift)
    operator = StackOperator(told.pixel_nm[2] / told.pixel_nm, shift, (0.5 * (SIZE - 1),) * 2)
    figures = xanes_truth.placing_figures(told, operator, 2, CORNER, 9.0)
    assert figures["focus_error_dof"] == pytest.approx(3.0 / 9.0)
    assert figures["magnification_residual_px"] == pytest.approx(0.0, abs=1e-9)
    assert figures["alignment_rms_px"] == pytest.approx(0.0, abs=1e-9)
    assert figures["alignment_before_rms_px"] > 0.5


def test_errors_of_shift_and_scale_are_seen() -> None:
    told = truth(np.zeros((N, 2)))
    wrong = np.array([[0.3, 0.0], [-0.3, 0.0], [0.0, 0.0], [0.3, 0.0], [-0.3, 0.0]])
    scale = told.pixel_nm[2] / told.pixel_nm
    scale[4] *= 1.001
    operator = StackOperator(scale, wrong, (0.5 * (SIZE - 1),) * 2)
    figures = xanes_truth.placing_figures(told, operator, 2, CORNER, 9.0)
    assert figures["magnification_residual_px"] == pytest.approx(0.001 * 0.5 * SIZE, rel=1e-6)
    assert figures["alignment_rms_px"] == pytest.approx(0.3 * math.sqrt(0.4), rel=0.05)


def test_bias_rms_and_pull_of_errors_that_are_known() -> None:
    rng = np.random.default_rng(8)
    true = np.full((200, 200), 8340.0)
    true[:5] = np.nan
    sd = rng.uniform(0.1, 0.3, true.shape)
    edge = true + 0.05 + sd * rng.normal(size=true.shape)
    figures = xanes_truth.edge_figures(edge, sd, true, 0.5 * sd)
    assert figures["pixels"] == 195 * 200
    assert figures["edge_bias_ev"] == pytest.approx(0.05, abs=0.005)
    assert figures["edge_rms_ev"] == pytest.approx(math.sqrt(0.05**2 + (0.1**2 + 0.1 * 0.3 + 0.3**2) / 3), rel=0.02)
    assert figures["edge_rms_over_bound"] == pytest.approx(2.07, abs=0.06)
    assert figures["pull_width"] == pytest.approx(1.0, abs=0.03)
    assert figures["edge_sd_ev"] == pytest.approx(2 * figures["edge_bound_ev"], rel=1e-6)
    # without a bound of its own there is none: the fit's deviation is no bound
    assert "edge_rms_over_bound" not in xanes_truth.edge_figures(edge, sd, true)


def test_the_bound_of_a_map_is_what_likeliest_fits_scatter_by() -> None:
    rng, side, photons = np.random.default_rng(12), 64, 5000.0
    fine = np.arange(8133.0, 8700.0, 0.1)

    def spectrum(edge_ev: float, white: float) -> np.ndarray[Any, Any]:
        peak = white * np.exp(-(((fine - edge_ev - 4.0) / 2.5) ** 2))
        return 40.0 + 200.0 * (0.5 + np.arctan((fine - edge_ev) / 1.5) / math.pi + peak)

    pure = [spectrum(8340.0, 0.9), spectrum(8341.5, 0.7), spectrum(8343.0, 0.5)]
    spectra = {"energy": fine} | {f"NMC622_{n}": s for n, s in zip(xanes_truth.STATES, pure, strict=True)}
    scan = np.concatenate([np.arange(8240, 8306, 15.0), np.arange(8308, 8364, 1.0), np.arange(8380, 8580, 30.0)])
    normalisation = Normalisation(scan, 8333.0, (-95.0, -27.0), (45.0, 240.0), 1)
    # half of each column is of the lower states, half of the higher: 20 um, an edge step of two
    thickness, share = np.zeros((3, side, side)), rng.uniform(0.2, 0.8, (side, side))
    left, right = np.s_[:, : side // 2], np.s_[:, side // 2 :]
    for half, (low, high) in ((left, (0, 1)), (right, (1, 2))):
        thickness[low][half], thickness[high][half] = 20.0 * share[half], 20.0 * (1.0 - share[half])
    absorbing = 1e-4 * xanes_truth.MATERIAL_G_CM3 * np.stack([np.interp(scan, fine, s) for s in pure], axis=1)
    depth = np.tensordot(absorbing, thickness, axes=1)
    light = rng.poisson(photons * np.exp(-depth)).astype(np.float32)
    flats = (rng.poisson(4 * photons, depth.shape) / 4).astype(np.float32)
    pairs = [optical_depth(a, b, 0.0, averaged=(1, 4)) for a, b in zip(light, flats, strict=True)]
    aligned = AlignedStack(
        scan,
        np.stack([pair[0] for pair in pairs]),
        np.stack([pair[1] for pair in pairs]),
        StackOperator.identity(len(scan), (side, side)),
        0,
        20.0,
        np.full(depth.shape, photons, np.float32),
        np.full(len(scan), 0.25),
    )
    variance = aligned.expected_variance(depth)
    np.testing.assert_allclose(variance, (np.exp(depth) + 0.25) / photons, rtol=1e-5)
    mask = np.ones((side, side), np.bool_)
    bound = xanes_truth.true_bound_map(thickness, spectra, normalisation, mask, aligned)
    true, _ = xanes_truth.true_edge_map(thickness, spectra, normalisation, mask)
    # the pair that each half is made of, normalised as a standard is: a fit of it is the likeliest
    for half, states in ((left, (0, 1)), (right, (1, 2))):
        known = {str(k): (scan, normalisation.spectrum(absorbing[:, k])[0]) for k in states}
        mixture = LinearCombination(scan, known, non_negative=False, sum_to_one=False, background_order=1)
        edge, _ = mixture.edge_energy(mixture.fit(aligned.depth[:, *half], aligned.variance[:, *half]))
        error = edge - true[half]
        ratio = float(np.sqrt(np.mean(((error - error.mean()) / bound[half]) ** 2)))
        # 2048 pixels scatter by 1.6 %
        assert ratio == pytest.approx(1.0, abs=0.06)


def test_a_bound_counts_what_resampling_averages() -> None:
    n, side = 4, 32
    shift = np.zeros((n, 2))
    shift[1:] = 0.5
    operator = StackOperator(np.ones(n), shift, (0.5 * (side - 1),) * 2)
    stack = np.zeros((n, side, side), np.float32)
    aligned = AlignedStack(
        8300.0 + np.arange(n, dtype=np.float64),
        stack,
        stack,
        operator,
        0,
        20.0,
        np.full(stack.shape, 100.0, np.float32),
        np.ones(n),
    )
    rng = np.random.default_rng(5)
    expected = aligned.expected_variance(np.zeros(stack.shape))
    assert expected[0, 16, 16] == pytest.approx(0.02)
    noise = np.stack([operator.resample(1, rng.normal(0, 1, (side, side)).astype(np.float32))[0] for _ in range(400)])
    assert expected[1, 16, 16] / 0.02 == pytest.approx(noise[:, 8:24, 8:24].var(), rel=0.02)


def test_a_mixture_has_its_edge_between_those_of_its_states() -> None:
    energies = np.arange(8133.0, 8700.0, 0.1)

    def spectrum(edge_ev: float) -> np.ndarray[Any, Any]:
        return 40.0 + 200.0 * (0.5 + np.arctan((energies - edge_ev) / 2.0) / math.pi)

    spectra = {"energy": energies} | {
        f"NMC622_{name}": spectrum(edge)
        for name, edge in zip(xanes_truth.STATES, (8340.0, 8341.5, 8343.0), strict=True)
    }
    scan = np.concatenate(
        [np.arange(8240.0, 8306.0, 15.0), np.arange(8308.0, 8364.0, 2.0), np.arange(8380, 8580, 30.0)]
    )
    normalisation = Normalisation(scan, 8333.0, (-95.0, -27.0), (45.0, 240.0), 1)
    thickness = np.zeros((3, 1, 4))
    thickness[0, 0, :3] = 6.0, 0.0, 3.0
    thickness[1, 0, :3] = 0.0, 4.0, 3.0
    edge, valence = xanes_truth.true_edge_map(thickness, spectra, normalisation, np.ones((1, 4), np.bool_))
    np.testing.assert_allclose(valence[0, :3], [2.0, 3.0, 2.5])
    assert np.isnan(edge[0, 3])
    assert edge[0, 1] - edge[0, 0] == pytest.approx(1.5, abs=0.02)
    assert edge[0, 2] - edge[0, 0] == pytest.approx(0.75, abs=0.05)
    assert edge[0, 0] == pytest.approx(8340.0, abs=0.3)
