from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.analysis.errors import EnergyListError, FileFormatError, FitError, OutOfRangeError, ShapeError
from exitwave.analysis.io import read_columns
from exitwave.analysis.xanes import (
    LinearCombination,
    Normalisation,
    areal_density,
    cluster,
    core_minus_shell,
    depth_profile,
    edge_jump_cm2_g,
    k_edge_subtraction,
    non_negative_factors,
    principal_components,
    region_spectrum,
    surface_depth_nm,
    write_spectrum,
)


def standards(scene: ModuleType, e: np.ndarray, count: int = 3) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    shapes = [(0.0, 0.6), (2.0, 0.4), (-1.5, 0.9), (3.5, 0.2)][:count]
    return {f"s{i}": (e, scene.spectrum(e - scene.E0 - move, white)) for i, (move, white) in enumerate(shapes)}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_non_negative_fractions_are_those_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 6))
    e = 8000.0 + np.arange(20.0)
    spectra = {f"s{i}": (e, rng.normal(size=20)) for i in range(count)}
    fit = LinearCombination(e, spectra, sum_to_one=False)
    y = rng.normal(size=(20, 6)).astype(np.float32)
    found = fit.fit(y)
    for p in range(6):
        expected, _ = scipy.optimize.nnls(fit.design, y[:, p].astype(np.float64))
        if expected.sum() == 0.0:
            assert np.isnan(found.amplitude[p])
            continue
        np.testing.assert_allclose(found.fractions[:, p] * found.amplitude[p], expected, atol=2e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_sum_to_one_is_the_minimum_on_the_simplex(seed: int) -> None:
    rng = np.random.default_rng(seed)
    e = 8000.0 + np.arange(15.0)
    fit = LinearCombination(e, {f"s{i}": (e, rng.normal(size=15)) for i in range(3)})
    y = rng.normal(size=(15, 1)).astype(np.float32)
    for variance in (None, np.full((15, 1), 0.04, np.float32)):
        f = fit.fit(y, variance, passes=1).fractions[:, 0].astype(np.float64)
        assert f.min() >= 0.0
        assert f.sum() == pytest.approx(1.0, abs=1e-5)
        best = ((fit.design @ f - y[:, 0]) ** 2).sum()
        trial = rng.dirichlet(np.ones(3) * 0.5, 2000)
        assert (((trial @ fit.design.T - y[:, 0]) ** 2).sum(axis=1) > best - 1e-5).all()


def test_fractions_of_counts_and_their_deviations(scene: ModuleType) -> None:
    rng = np.random.default_rng(11)
    e = scene.energies()
    known = standards(scene, e, 2)
    share = rng.uniform(0.2, 0.8, (50, 50))
    pure = [spectrum[:, None, None] for _, spectrum in known.values()]
    depth = 0.3 + 0.9 * (share * pure[0] + (1 - share) * pure[1])
    variance = np.exp(depth) / 2000.0
    mu = (depth + rng.normal(size=depth.shape) * np.sqrt(variance)).astype(np.float32)
    fit = LinearCombination(e, known, sum_to_one=False, background_order=1)
    found = fit.fit(mu, variance.astype(np.float32))
    pull = (found.fractions[0] - share) / found.fractions_sd[0]
    assert 0.9 < pull.std() < 1.1
    assert abs(pull.mean()) < 0.08
    np.testing.assert_allclose(found.fractions.sum(axis=0), 1.0, atol=1e-5)
    assert found.amplitude.mean() == pytest.approx(0.9, rel=0.01)
    assert found.misfit.mean() == pytest.approx(1.0, abs=0.02)
    # without variances, for noise that is alike at all energies, the residuals say how far off
    even = (depth + rng.normal(0, 0.03, depth.shape)).astype(np.float32)
    plain = fit.fit(even)
    pull = (plain.fractions[0] - share) / plain.fractions_sd[0]
    assert 0.9 < pull.std() < 1.1
    # the edge energy of the mixture reaches the bound of the fraction
    energy, sd = fit.edge_energy(found)
    fine = np.linspace(scene.E0 - 8, scene.E0 + 6, 14001)
    table = []
    for s in np.linspace(0.1, 0.9, 81):
        curve = sum(w * np.interp(fine, e, p[:, 0, 0]) for w, p in zip((s, 1 - s), pure, strict=True))
        table.append(fine[np.flatnonzero(curve < 0.5)[-1]])
    truth = np.interp(share, np.linspace(0.1, 0.9, 81), table)
    assert 0.9 < ((energy - truth) / sd).std() < 1.1


@pytest.mark.realdata
def test_fractions_of_nickel_oxides(realdata: Path) -> None:
    """0.3 NiO + 0.7 LiNiO2 + 0.05, 8.325 to 8.375 keV by 1 eV; sigma 0.05 gives a deviation of 0.041."""
    tables = {name: read_columns(realdata / "xas" / f"ref_{name}.txt").values for name in ("NiO", "LiNiO2")}
    e = np.arange(8325.0, 8375.5, 1.0)
    known = {name: (1e3 * t[:, 0], t[:, 1]) for name, t in tables.items()}
    fit = LinearCombination(e, known, background_order=0)
    clean = 0.3 * fit.design[:, 0] + 0.7 * fit.design[:, 1] + 0.05
    exact = fit.fit(clean.astype(np.float32))
    assert exact.fractions == pytest.approx(np.array([0.3, 0.7]), abs=2e-5)
    repeats = 40_000
    noisy = clean[:, None] + np.random.default_rng(0).normal(0, 0.05, (len(e), repeats))
    found = fit.fit(noisy.astype(np.float32))
    assert found.fractions[0].std() == pytest.approx(0.041, rel=0.05)
    assert found.fractions[0].mean() == pytest.approx(0.3, abs=4 * 0.041 / np.sqrt(repeats))
    assert found.fractions_sd[0].mean() == pytest.approx(0.041, rel=0.05)


def test_standards_that_do_not_do(scene: ModuleType) -> None:
    e = scene.energies()
    known = standards(scene, e, 2)
    with pytest.raises(OutOfRangeError, match="s0 covers"):
        LinearCombination(np.append(e, e[-1] + 50), known)
    with pytest.raises(FitError, match="apart"):
        LinearCombination(e, {"a": known["s0"], "b": known["s0"]})
    three = LinearCombination(e, standards(scene, e, 3))
    fitted = three.fit(np.ones((len(e), 2), np.float32))
    with pytest.raises(ShapeError, match="must be 2"):
        three.edge_energy(fitted)
    bad = np.ones((len(e), 3), np.float32)
    bad[4, 1] = np.nan
    found = LinearCombination(e, known).fit(bad)
    assert np.isnan(found.fractions[:, 1]).all()
    assert np.isfinite(found.fractions[:, 0]).all()


def test_components_clusters_and_factors_find_the_phases(scene: ModuleType) -> None:
    rng = np.random.default_rng(3)
    e = scene.energies(2.0)
    pure = np.stack([s for _, s in standards(scene, e, 3).values()])
    label = rng.integers(0, 3, (60, 70))
    mask = np.ones(label.shape, bool)
    mask[:5] = False
    amounts = np.eye(3)[label] * rng.uniform(0.8, 1.2, (*label.shape, 1))
    stack = np.moveaxis(amounts @ pure, -1, 0) + rng.normal(0, 0.02, (len(e), *label.shape))
    stack[3, 20, 20] = np.nan
    components = principal_components(stack, 5, mask=mask)
    assert components.significant(0.02**2) == 3
    np.testing.assert_allclose(components.spectra @ components.spectra.T, np.eye(5), atol=1e-10)
    assert np.isnan(components.scores[:, :5]).all()
    assert np.isnan(components.scores[:, 20, 20]).all()
    # independent: singular values of the centred matrix
    use = mask & np.isfinite(stack).all(axis=0)
    centred = stack[:, use] - stack[:, use].mean(axis=1, keepdims=True)
    singular = np.linalg.svd(centred, compute_uv=False)
    np.testing.assert_allclose(components.variances[:5], (singular**2 / (use.sum() - 1))[:5], rtol=1e-4)

    normalised = stack / stack[-8:].mean(axis=0)
    groups = cluster(principal_components(normalised, 2, mask=mask).scores, 3)
    assert (groups.label[:5] == -1).all()
    agree = [np.bincount(label[groups.label == k], minlength=3).max() / (groups.label == k).sum() for k in range(3)]
    assert min(agree) > 0.99
    assert (np.diff(groups.counts) <= 0).all()

    factors = non_negative_factors(stack, 3, mask=mask)
    assert factors.residual < 0.022
    assert np.nanmin(factors.amounts) >= 0.0
    begun = non_negative_factors(stack, 3, mask=mask, start=pure)
    shape = pure / pure.mean(axis=1, keepdims=True)
    assert begun.residual < 0.022
    assert np.abs(begun.spectra - shape).max() < 0.1
    with pytest.raises(FitError, match="widen"):
        principal_components(stack, 2, mask=np.zeros_like(mask))


def test_profile_from_the_surface() -> None:
    rng = np.random.default_rng(8)
    y, x = np.mgrid[-60:61, -60:61]
    radius = np.hypot(y, x)
    mask = radius <= 50.5
    depth = surface_depth_nm(mask, 20.0)
    inside = mask & (radius > 1)
    # a disc: depth is radius minus distance from the middle, to a pixel
    assert np.abs(depth - 20.0 * (50.5 - radius))[inside].max() < 20.0
    sd = np.full(mask.shape, 0.3)
    values = 8344.0 - 1e-3 * depth + rng.normal(0, 0.3, mask.shape)
    values[60, 60] = np.nan
    profile = depth_profile(values, sd, depth, bin_nm=100.0)
    assert abs(profile.slope + 1e-3) < 4 * profile.slope_sd
    assert profile.slope_sd < 5e-5
    pull = (profile.mean - (8344.0 - 1e-3 * profile.depth_nm)) / profile.mean_sd
    assert np.abs(pull).max() < 3.5
    result = core_minus_shell(values, sd, depth)
    truth = -1e-3 * (
        depth[mask & (depth >= 0.5 * depth.max())].mean() - depth[(depth > 0) & (depth <= 0.25 * depth.max())].mean()
    )
    assert abs(result.difference - truth) < 4 * result.difference_sd
    assert result.difference < 0
    with pytest.raises(FitError, match="thinner"):
        depth_profile(values, sd, depth, bin_nm=1e5)
    with pytest.raises(ShapeError):
        depth_profile(values[1:], sd, depth, bin_nm=100.0)


def test_shells_with_real_differences_say_so() -> None:
    rng = np.random.default_rng(8)
    depth = np.broadcast_to(np.arange(1.0, 41.0), (200, 40))
    quiet = depth_profile(rng.normal(0, 0.1, depth.shape), np.full(depth.shape, 0.1), depth, bin_nm=10)
    rough = depth_profile(rng.normal(0, 0.3, depth.shape), np.full(depth.shape, 0.1), depth, bin_nm=10)
    assert rough.scatter == pytest.approx(np.sqrt(0.3**2 - 0.1**2), rel=0.05)
    assert (quiet.scatter < 0.1 * (2 / 200) ** 0.25 * 1.5).all()  # what chance leaves of 200 pixels or more
    assert rough.mean_sd == pytest.approx(3.0 * quiet.mean_sd, rel=0.1)


def test_nickel_by_its_edge() -> None:
    import xraydb

    # Hubbell and Seltzer (NIST, 1995): mu/rho of Ni is 44.3 below and 329 above 8.333 keV
    assert edge_jump_cm2_g("Ni") == pytest.approx(329.4 - 44.28, rel=0.03)
    grams = 8.908 * 0.5e-4  # half a micrometre of nickel
    found = areal_density([grams * edge_jump_cm2_g("Ni")], [0.01], "Ni")
    assert found.density_g_cm2[0] == pytest.approx(grams, rel=1e-6)
    # with carbon around it, which falls off on its own
    low, high = 8250.0, 8450.0
    depth = [
        grams * xraydb.mu_elam("Ni", e, kind="photo") + 2e-3 * xraydb.mu_elam("C", e, kind="photo") for e in (low, high)
    ]
    pair = k_edge_subtraction([depth[0]], [depth[1]], low, high, "Ni", variance_below=[1e-4], variance_above=[2e-4])
    assert pair.density_g_cm2[0] == pytest.approx(grams, rel=1e-3)
    jump = xraydb.mu_elam("Ni", high, kind="photo") - (high / low) ** -3 * xraydb.mu_elam("Ni", low, kind="photo")
    assert pair.density_sd_g_cm2[0] == pytest.approx(np.sqrt(2e-4 + (high / low) ** -6 * 1e-4) / jump, rel=1e-4)
    with pytest.raises(EnergyListError, match="between"):
        k_edge_subtraction([1.0], [1.0], 8400, 8500, "Ni")
    with pytest.raises(OutOfRangeError):
        areal_density([1.0], [0.1], "Xy")


def test_spectrum_of_a_region_comes_back_from_its_file(scene: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    e = scene.energies()
    depth = scene.optical_depth(e, np.zeros((20, 20)))
    stack = (depth + rng.normal(0, 0.05, depth.shape)).astype(np.float32)
    stack[5, 3, 3] = np.nan
    region = np.zeros((20, 20), bool)
    region[2:12, 2:12] = True
    spectrum = region_spectrum("core", e, stack, region, np.full_like(stack, 0.05**2))
    assert spectrum.pixels == 99
    pull = (spectrum.mu - depth[:, 0, 0]) / spectrum.mu_sd
    assert pull.std() == pytest.approx(1.0, abs=0.25)
    norm = Normalisation(e, scene.E0)
    for name in ("core.xdi", "core.dat"):
        write_spectrum(tmp_path / name, spectrum, element="Ni", normalisation=norm, metadata={"Sample.formula": "NMC"})
        table = read_columns(tmp_path / name)
        np.testing.assert_array_equal(table.column("energy"), e)
        np.testing.assert_array_equal(table.column("mutrans"), spectrum.mu)
        np.testing.assert_array_equal(table.column("norm"), norm.spectrum(spectrum.mu)[0])
        assert table.metadata["Element.symbol"] == "Ni"
    bare = region_spectrum("core", e, stack, region)
    write_spectrum(tmp_path / "bare.xdi", bare, element="Ni")
    assert read_columns(tmp_path / "bare.xdi").names == ("energy", "mutrans")
    with pytest.raises(FitError, match="no pixel"):
        region_spectrum("none", e, stack, np.zeros((20, 20), bool))
    with pytest.raises(FileFormatError):
        read_columns(tmp_path / "bare.xdi").column("norm")
