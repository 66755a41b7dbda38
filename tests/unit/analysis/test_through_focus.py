"""Focus by the lens's transfer: images made by an Abbe sum, which knows nothing of transfer functions."""

from __future__ import annotations

from types import ModuleType
from typing import TypedDict

import numpy as np
import pytest

from exitwave.analysis.correction import remove_zingers
from exitwave.analysis.errors import FitError, FocusRangeError, OutOfRangeError, ShapeError
from exitwave.analysis.sharpness import band_power, fit_focus
from exitwave.analysis.through_focus import fit_transfer, ring_edges, ring_powers, transfer_parts

PIXEL_NM, DEPTH_UM = 10.0, 8.07
WAVELENGTH_NM = 0.15498
APERTURE = WAVELENGTH_NM / 50.0


class Lens(TypedDict):
    numerical_aperture: float
    wavelength_nm: float


LENS: Lens = {"numerical_aperture": APERTURE, "wavelength_nm": WAVELENGTH_NM}
EDGES = ring_edges(APERTURE, WAVELENGTH_NM, PIXEL_NM)


def powers(images: np.ndarray, rng: np.random.Generator, counts: float) -> np.ndarray:
    return np.array([ring_powers(rng.poisson(image * counts), PIXEL_NM, EDGES) for image in images])


@pytest.mark.parametrize(("gold_um", "depths"), [(0.05, 0.05), (0.3, 0.1), (0.7, 0.15)])
@pytest.mark.parametrize("true", [-11.0, 5.5])
def test_absorption_and_phase_together_do_not_shift_it(
    gold_um: float, depths: float, true: float, rng: np.random.Generator, scenes: ModuleType
) -> None:
    z = np.linspace(-56, 56, 25)
    images = scenes.gold_star_through_focus(z - true, gold_um=gold_um)
    # the scene's light comes in rings of 0.75 and 0.95
    fit = fit_transfer(z, powers(images, rng, 3e5 if gold_um < 0.1 else 3e3), EDGES, cone=(0.65, 1.0), **LENS)
    assert abs(fit.best - true) < depths * DEPTH_UM
    assert fit.explained > 0.8
    mirrored = fit_transfer(-z, powers(images, rng, 3e5 if gold_um < 0.1 else 3e3), EDGES, cone=(0.65, 1.0), **LENS)
    assert mirrored.best == pytest.approx(-fit.best, abs=0.3)


def test_a_direct_hit_outshines_fine_structure_until_it_is_taken_out(
    rng: np.random.Generator, scenes: ModuleType
) -> None:
    (image,) = scenes.gold_star_through_focus(np.array([3.0]), gold_um=0.02)
    image = rng.poisson(image * 3e3) / 3e3
    hit = image.copy()
    for row, column in ((40, 70), (90, 33), (61, 61)):
        hit[row, column : column + 2] = 4.0
    plain, spoilt, cleaned = (ring_powers(one, PIXEL_NM, EDGES)[-5:] for one in (image, hit, remove_zingers(hit)[0]))
    assert (spoilt > 1.5 * plain).all()
    np.testing.assert_allclose(cleaned, plain, rtol=0.02)


def test_it_is_nearer_than_symmetry(rng: np.random.Generator, scenes: ModuleType) -> None:
    z, true = np.linspace(-56, 56, 29), 3.0
    images = scenes.gold_star_through_focus(z - true, gold_um=0.3)
    by_symmetry = fit_focus(z, [band_power(rng.poisson(image * 3000)) for image in images]).best
    by_transfer = fit_transfer(z, powers(images, rng, 3000), EDGES, cone=(0.65, 1.0), **LENS).best
    assert abs(by_transfer - true) < 0.5 * abs(by_symmetry - true)


def test_parts_at_their_known_places() -> None:
    even, odd = transfer_parts(np.array([0.0, 6.0, -6.0]), np.array([1e-6, 10.0, 20.0, 41.0]), **LENS)
    assert even[:, 0] == pytest.approx([1, 1, 1], abs=1e-3)
    assert odd[0] == pytest.approx([0, 0, 0, 0])  # no phase contrast in focus
    assert even[1] == pytest.approx(even[2])
    assert odd[1] == pytest.approx(-odd[2])
    assert even[:, 3] == pytest.approx([0, 0, 0])  # beyond twice the aperture
    full, _ = transfer_parts(np.array([0.0]), np.array([10.0, 20.0, 30.0]), cone=(0.0, 1.0), **LENS)
    s = np.array([10.0, 20.0, 30.0]) / 40.0  # incoherent: the overlap of two circles
    assert full[0] == pytest.approx(2 / np.pi * (np.arccos(s) - s * np.sqrt(1 - s * s)), abs=0.02)


def test_focus_in_the_outer_fifth_is_pointed_at(rng: np.random.Generator, scenes: ModuleType) -> None:
    true = 36.0
    z = np.linspace(-56, 56, 25)
    data = powers(scenes.gold_star_through_focus(z - true, gold_um=0.3), rng, 3000)
    with pytest.raises(FocusRangeError) as caught:
        fit_transfer(z, data, EDGES, cone=(0.65, 1.0), **LENS)
    assert caught.value.towards == pytest.approx(true, abs=4)


def test_coarse_rings_decide_where_fine_ones_are_empty(rng: np.random.Generator, scenes: ModuleType) -> None:
    z, true = np.linspace(-56, 56, 25), 7.0
    data = powers(scenes.gold_star_through_focus(z - true, gold_um=0.3), rng, 3000)
    fine = EDGES[:-1] > 0.59 * APERTURE / WAVELENGTH_NM * 1e3
    data[:, fine] = data[:, fine].mean() * rng.normal(1.0, 0.05, data[:, fine].shape)
    fit = fit_transfer(z, data, EDGES, cone=(0.65, 1.0), **LENS)
    assert abs(fit.best - true) < 0.15 * DEPTH_UM
    assert np.isnan(fit.model[:, fine]).all()
    assert np.isfinite(fit.model[:, ~fine]).all()


def test_what_is_no_through_focus_series_is_refused(rng: np.random.Generator) -> None:
    z = np.linspace(-56, 56, 25)
    noise = np.array([ring_powers(rng.poisson(1000, (256, 256)), PIXEL_NM, EDGES) for _ in z])
    with pytest.raises(FitError):
        fit_transfer(z, noise, EDGES, **LENS)
    with pytest.raises(ShapeError):
        fit_transfer(z[:4], noise[:4], EDGES, **LENS)
    with pytest.raises(OutOfRangeError):
        ring_edges(APERTURE, WAVELENGTH_NM, 60.0)
