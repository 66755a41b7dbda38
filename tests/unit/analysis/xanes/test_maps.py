from __future__ import annotations

from types import ModuleType
from typing import Literal

import h5py
import numpy as np
import pytest

from exitwave.analysis.errors import EnergyListError, FitError, OutOfRangeError, ShapeError
from exitwave.analysis.xanes import (
    Normalisation,
    TemplateShift,
    edge_bound,
    edge_map,
    optical_depth,
)

PRE, POST = (-110.0, -25.0), (30.0, 220.0)


@pytest.fixture(scope="module")
def measured(scene: ModuleType) -> dict[str, np.ndarray]:
    """A stack at 4000 photons per pixel and energy whose edge wanders by +- 1.5 eV."""
    rng = np.random.default_rng(4)
    e = scene.energies()
    shift = rng.uniform(-1.5, 1.5, (60, 60))
    depth = scene.optical_depth(e, shift)
    frames, flats, true_variance = scene.counted(depth, 4000.0, rng)
    mu, variance = np.empty_like(frames), np.empty_like(frames)
    for k in range(len(e)):
        mu[k], variance[k] = optical_depth(frames[k], flats[k], 0.0)
    # the flats are means of ten: their own noise is a tenth
    variance -= 0.9 / flats
    return {"e": e, "shift": shift, "depth": depth, "mu": mu, "variance": variance, "true": true_variance}


def test_variance_of_the_optical_depth_is_that_of_the_counts(measured: dict[str, np.ndarray]) -> None:
    pull = (measured["mu"] - measured["depth"]) / np.sqrt(measured["true"])
    assert pull.std() == pytest.approx(1.0, abs=0.01)
    assert np.median(measured["variance"] / measured["true"]) == pytest.approx(1.0, abs=0.01)


def test_logarithm_of_few_counts_is_not_off() -> None:
    rng = np.random.default_rng(1)
    frames = rng.poisson(60.0, (400, 400)).astype(np.float32)
    flat = np.full((400, 400), 200.0, np.float32)
    depth, _ = optical_depth(frames, flat, 0.0)
    plain, _ = optical_depth(frames, flat, 0.0, debias=False)
    # without: 1/2N = 0.0083; with, what is left is of the order of 1/N^2 and the flat's own half variance
    assert plain.mean() - np.log(200 / 60) == pytest.approx(1 / 120, abs=1e-3)
    assert depth.mean() - np.log(200 / 60) == pytest.approx(1 / 400, abs=6e-4)


@pytest.mark.parametrize("method", ["half", "derivative", "white_line"])
def test_edge_energies_follow_the_shift_and_their_deviations_hold(
    measured: dict[str, np.ndarray], scene: ModuleType, method: Literal["half", "derivative", "white_line"]
) -> None:
    norm = Normalisation(measured["e"], scene.E0, PRE, POST, order=1)
    width = {"half": None, "derivative": 2.0, "white_line": 2.5}[method]
    found = edge_map(measured["mu"], norm, measured["variance"], method=method, smoothing_ev=width)
    # the same estimator on the spectrum without noise: what is left is noise alone
    quiet = edge_map(measured["depth"].astype(np.float32), norm, method=method, smoothing_ev=width)
    assert np.isfinite(found.energy_ev).all()
    pull = (found.energy_ev - quiet.energy_ev) / found.sd_ev
    assert 0.9 < pull.std() < 1.1
    assert abs(pull.mean()) < 0.1
    # and it follows the truth: slope one, to what sampling at 1 eV leaves
    slope = np.polyfit(measured["shift"].ravel(), quiet.energy_ev.ravel(), 1)[0]
    assert slope == pytest.approx(1.0, abs=0.02)


def test_half_height_is_where_the_spectrum_says(scene: ModuleType) -> None:
    e = scene.energies(0.5)
    depth = scene.optical_depth(e, np.zeros((1, 1)))
    norm = Normalisation(e, scene.E0, PRE, POST, order=1)
    found = edge_map(depth.astype(np.float32), norm)
    # independent: the same ranges with polyfit, bisection on the continuous spectrum
    offset, y = e - scene.E0, depth[:, 0, 0]
    before, after = (offset >= PRE[0]) & (offset <= PRE[1]), (offset >= POST[0]) & (offset <= POST[1])
    line = np.polyfit(offset[before], y[before], 1)
    step = np.polyval(np.polyfit(offset[after], y[after] - np.polyval(line, offset[after]), 1), 0.0)
    low, high = -10.0, 4.0
    for _ in range(60):
        mid = 0.5 * (low + high)
        value = scene.optical_depth(np.array([scene.E0 + mid]), np.zeros((1, 1)))[0, 0, 0]
        low, high = (mid, high) if value - np.polyval(line, mid) < 0.5 * step else (low, mid)
    assert found.step[0, 0] == pytest.approx(step, rel=1e-5)
    assert found.energy_ev[0, 0] == pytest.approx(scene.E0 + low, abs=2e-3)


def test_template_reaches_the_bound(measured: dict[str, np.ndarray], scene: ModuleType) -> None:
    x = np.arange(scene.E0 - 130, scene.E0 + 240, 0.2)
    template = TemplateShift(measured["e"], x, scene.spectrum(x - scene.E0))
    norm = Normalisation(measured["e"], scene.E0, PRE, POST, order=1)
    half = edge_map(measured["mu"], norm, measured["variance"])
    start = half.energy_ev - np.median(half.energy_ev)
    found = template.fit(measured["mu"], measured["variance"], start)
    error = found.shift_ev - measured["shift"]
    bound = edge_bound(template, 0.8, measured["true"], measured["shift"])
    assert np.isfinite(error).all()
    assert abs(error.mean()) < 0.01
    assert np.sqrt((error**2).mean()) < 1.05 * np.sqrt((bound**2).mean())
    assert 0.9 < (error / found.shift_sd_ev).std() < 1.1
    assert found.chi2.mean() == pytest.approx(1.0, abs=0.03)
    assert found.step.mean() == pytest.approx(0.8, rel=0.01)
    # half height uses a handful of energies: it can't reach the bound
    rough = half.energy_ev - scene.E0 - measured["shift"]
    assert rough.std() > 1.3 * np.sqrt((bound**2).mean())


def test_bound_is_the_inverse_of_the_fisher_information(scene: ModuleType) -> None:
    e = scene.energies()
    x = np.arange(scene.E0 - 130, scene.E0 + 240, 0.1)
    template = TemplateShift(e, x, scene.spectrum(x - scene.E0))
    variance = scene.optical_depth(e, np.zeros((1, 1))) * 1e-3
    bound = edge_bound(template, 0.7, variance, 0.4)
    offset = e - scene.E0
    slope = (scene.spectrum(offset - 0.4 + 1e-3) - scene.spectrum(offset - 0.4 - 1e-3)) / 2e-3
    columns = np.stack([-0.7 * slope, scene.spectrum(offset - 0.4), np.ones_like(e), offset / 100])
    fisher = (columns / variance[:, 0, 0]) @ columns.T
    assert bound[0, 0] == pytest.approx(np.sqrt(np.linalg.inv(fisher)[0, 0]), rel=1e-3)


def test_weights_from_few_counts_do_not_pull(scene: ModuleType) -> None:
    rng = np.random.default_rng(9)
    e = scene.energies()
    depth = scene.optical_depth(e, np.zeros((60, 60)))
    frames = rng.poisson(200.0 * np.exp(-depth)).astype(np.float32)
    mu, variance = np.empty_like(frames), np.empty_like(frames)
    flat = np.full(frames.shape[1:], 200.0, np.float32)
    for k in range(len(e)):
        mu[k], variance[k] = optical_depth(frames[k], flat, 0.0)
        mu[k] -= 0.5 / flat  # the flat is exact here
        variance[k] -= 1.0 / flat
    x = np.arange(scene.E0 - 130, scene.E0 + 240, 0.2)
    found = TemplateShift(e, x, scene.spectrum(x - scene.E0)).fit(mu, variance)
    good = np.isfinite(found.shift_ev)
    assert good.mean() > 0.99
    error = found.shift_ev[good].mean()
    assert abs(error) < 4 * found.shift_sd_ev[good].mean() / np.sqrt(good.sum()) + 0.01


def test_maps_from_a_file_are_those_from_memory(
    measured: dict[str, np.ndarray], scene: ModuleType, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exitwave.analysis.xanes.blocks.READ_BYTES", 1 << 19)
    norm = Normalisation(measured["e"], scene.E0, PRE, POST)
    with h5py.File(f"{tmp_path}/stack.h5", "w") as file:
        mu = file.create_dataset("mu", data=measured["mu"], chunks=(1, 16, 60))
        variance = file.create_dataset("variance", data=measured["variance"])
        found = edge_map(mu, norm, variance)
    whole = edge_map(measured["mu"], norm, measured["variance"])
    np.testing.assert_array_equal(found.energy_ev, whole.energy_ev)
    np.testing.assert_array_equal(found.sd_ev, whole.sd_ev)


def test_pixels_without_an_edge_stay_empty(scene: ModuleType) -> None:
    e = scene.energies()
    stack = scene.optical_depth(e, np.zeros((4, 4))).astype(np.float32)
    stack[:, 0, 0] = 0.1
    stack[7, 1, 1] = np.nan
    stack[:, 2, 2] *= -1.0
    stack[20, 3, 3] = np.nan
    norm = Normalisation(e, scene.E0, PRE, POST)
    for method in ("half", "derivative", "white_line"):
        found = edge_map(stack, norm, method=method).energy_ev
        assert np.isnan([found[0, 0], found[1, 1], found[2, 2]]).all(), method
        assert np.isfinite(found[0, 1])


def test_normalisation_per_pixel_is_polyfit(scene: ModuleType) -> None:
    rng = np.random.default_rng(2)
    e = scene.energies()
    stack = (scene.optical_depth(e, rng.uniform(-1, 1, (3, 5))) + rng.normal(0, 0.01, (len(e), 3, 5))).astype(
        np.float32
    )
    norm = Normalisation(e, scene.E0, PRE, POST, order=2)
    result = norm(stack, np.full_like(stack, 1e-4))
    offset = e - scene.E0
    before, after = (offset >= PRE[0]) & (offset <= PRE[1]), (offset >= POST[0]) & (offset <= POST[1])
    for y, x in np.ndindex(3, 5):
        values = stack[:, y, x].astype(np.float64)
        flat = values - np.polyval(np.polyfit(offset[before], values[before], 1), offset)
        post = np.polyfit(offset[after], flat[after], 2)
        step = post[-1]
        left = np.concatenate([flat[before], flat[after] - np.polyval(post, offset[after])])
        np.testing.assert_allclose(result.mu[:, y, x], flat / step, atol=2e-5)
        assert result.step[y, x] == pytest.approx(step, rel=1e-5)
        assert result.residual[y, x] == pytest.approx(np.sqrt((left**2).mean()) / step, rel=1e-3)
    assert result.step_sd == pytest.approx(np.sqrt((norm.step_row**2).sum() * 1e-4), rel=1e-5)
    assert result.mask().all()
    assert not result.mask(min_step=2.0).any()
    assert not result.mask(max_residual=1e-4).any()


def test_order_goes_by_range_as_in_larch(scene: ModuleType) -> None:
    e = np.arange(8200.0, 8800.0, 2.0)
    assert Normalisation(e, 8345.0, post_ev=(50, 440)).order == 2
    assert Normalisation(e, 8345.0, post_ev=(50, 340)).order == 1
    assert Normalisation(e, 8345.0, post_ev=(50, 75)).order == 0


def test_what_is_refused(scene: ModuleType) -> None:
    e = scene.energies()
    norm = Normalisation(e, scene.E0, PRE, POST)
    with pytest.raises(ShapeError, match="one frame per energy"):
        edge_map(np.zeros((5, 4, 4), np.float32), norm)
    with pytest.raises(ShapeError, match="variance"):
        edge_map(np.zeros((len(e), 4, 4), np.float32), norm, np.zeros((len(e), 4, 5), np.float32))
    with pytest.raises(OutOfRangeError, match="E0"):
        Normalisation(e, 7112.0)
    with pytest.raises(FitError, match="pre-edge"):
        Normalisation(e, scene.E0, pre_ev=(-19.9, -19.5))
    with pytest.raises(OutOfRangeError, match="below and above"):
        Normalisation(e, scene.E0, pre_ev=(-20, 30))
    with pytest.raises(EnergyListError):
        Normalisation(e[::-1], scene.E0)
    with pytest.raises(OutOfRangeError, match="window"):
        edge_map(np.zeros((len(e), 4, 4), np.float32), norm, window_ev=(-1, 1))
    with pytest.raises(OutOfRangeError, match="covers"):
        TemplateShift(e, e[20:50], np.ones(30))
