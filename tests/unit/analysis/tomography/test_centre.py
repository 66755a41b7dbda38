"""The axis against the simulator's bodies and photon counts."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from exitwave.analysis import tomography as axis
from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError

SIZE, PIXEL_NM, N = 256, 40.0, 90
CENTRE, TILT = 131.83, 0.35
ANGLES = np.arange(N) * 180.0 / N


@pytest.fixture(scope="module")
def pair(particles: ModuleType) -> np.ndarray:
    """A particle with gold beads, half a turn apart, about a leaning axis."""
    specimen = particles.with_beads(particles.particle(), particles.beads(reach_um=3.6))
    return particles.integrals(specimen, [20.0, 200.0], PIXEL_NM, (SIZE, SIZE), centre=CENTRE, tilt_deg=TILT)


@pytest.fixture(scope="module")
def scan(particles: ModuleType) -> np.ndarray:
    exact = particles.integrals(particles.particle(), ANGLES, PIXEL_NM, (SIZE, SIZE), centre=CENTRE)
    return particles.second(PIXEL_NM).expose(exact, np.random.default_rng(11))


def test_pair_at_the_beamlines_photon_count(particles, pair):
    """Beads, and 20 frames of 1 s at either angle: centre to 0.1 pixel, tilt to 0.01 deg (one frame: 0.03 deg)."""
    noisy = particles.second(PIXEL_NM).times(20).expose(pair, np.random.default_rng(1))
    found = axis.axis_from_pairs(noisy[0], noisy[1])
    assert abs(found.centre - CENTRE) < 0.1
    assert abs(found.tilt_deg - TILT) < 0.01
    assert found.centre_sd < 0.05
    assert found.tilt_sd_deg < 0.01


def test_pairs_uncertainty_is_the_scatter(particles, pair):
    exposures = [particles.second(PIXEL_NM).expose(pair, np.random.default_rng(k)) for k in range(10)]
    found = [axis.axis_from_pairs(a, b) for a, b in exposures]
    for name, truth in (("centre", CENTRE), ("tilt_deg", TILT)):
        pulls = np.array([(getattr(f, name) - truth) / getattr(f, name.replace("_deg", "") + s) for f, s in
                          ((f, "_sd_deg" if name == "tilt_deg" else "_sd") for f in found)])  # fmt: skip
        # 10 numbers of unit variance: 99.9 % have a mean square of 0.15 to 3
        assert 0.15 < np.mean(pulls**2) < 3.0
    stack = np.stack(exposures)
    mean = axis.axis_from_pairs(stack[:, 0], stack[:, 1])
    assert mean.tilt_sd_deg < 0.5 * np.median([f.tilt_sd_deg for f in found])


@pytest.mark.parametrize(
    "method",
    [
        axis.centre_from_mass,
        axis.centre_from_wedge,
        axis.centre_from_score,
        lambda p, a: axis.centre_from_score(p, a, score="absolute"),
    ],
    ids=["mass", "wedge", "negativity", "absolute"],
)
def test_centre_without_a_pair_at_the_beamlines_photon_count(method, scan):
    found = method(scan, ANGLES)
    assert abs(found.centre - CENTRE) < 0.1
    assert 0.0 < found.centre_sd < 0.1
    assert abs(found.centre - CENTRE) < 4.0 * found.centre_sd


def test_entropy_says_that_it_is_less_sure(scan):
    found = axis.centre_from_score(scan, ANGLES, score="entropy")
    assert abs(found.centre - CENTRE) < 4.0 * found.centre_sd
    assert abs(found.centre - CENTRE) < 0.5


def test_bad_input_is_refused_by_name(scan, pair):
    with pytest.raises(ShapeError, match="differ"):
        axis.axis_from_pairs(pair[0], pair[1, 1:])
    with pytest.raises(OutOfRangeError, match="NaN"):
        axis.axis_from_pairs(pair[0] * np.nan, pair[1])
    with pytest.raises(ShapeError, match="angles"):
        axis.centre_from_mass(scan, ANGLES[1:])
    with pytest.raises(OutOfRangeError, match="half a turn"):
        axis.centre_from_wedge(scan[:40], ANGLES[:40])
    with pytest.raises(OutOfRangeError, match="equal steps"):
        axis.centre_from_wedge(scan, np.random.default_rng(0).permutation(ANGLES))
    with pytest.raises(OutOfRangeError, match="score"):
        axis.centre_from_score(scan, ANGLES, score="beauty")
    with pytest.raises(FitError):
        axis.axis_from_pairs(*np.random.default_rng(0).normal(size=(2, 128, 128)))
