"""X-ray detectors: resolution, dead time, pile-up, statistics, shadows."""

import math

import numpy as np
import pytest

from exitwave.simulators.physics.constants import SIGMA_PER_FWHM
from exitwave.simulators.physics.eds_detector import (
    FANO_FACTOR,
    PAIR_EV,
    Segment,
    efficiency,
    escape,
    resolution_fwhm_ev,
    seen_fraction,
)
from exitwave.simulators.physics.eds_events import detect, draw_row, quantiles
from exitwave.simulators.physics.materials import Material
from exitwave.simulators.physics.rng import seed_state

SEGMENT = Segment(30.0, 0.175, 18.0, 90.0)


def electronics(times_s, energies_kev, *, paralysable=False, dead_s=0.0, fast_s=0.0, shelf=0.0):
    """Put pulses of one segment through `detect`; return channels (10 eV), input and output counts."""
    n = len(times_s)
    noise = np.array([(1e-3 * resolution_fwhm_ev(0.0, 130.0) * SIGMA_PER_FWHM) ** 2])
    rng = np.empty(2, np.uint64)
    seed_state(rng, 5, 6)
    channel = np.zeros(n, np.uint16)
    inputs, outputs = np.zeros(1, np.int64), np.zeros(1, np.int64)
    kept = detect(
        n, np.zeros(n, np.uint32), np.zeros(n, np.uint8), np.array(energies_kev, np.float32), np.array(times_s),
        paralysable, dead_s, fast_s, noise, 1e-3 * FANO_FACTOR * PAIR_EV, np.ones(1), np.zeros(1), shelf, 0.01, 4096,
        np.zeros(1, np.bool_), np.full(1, -1.0), np.full(1, -1.0), np.full(1, -1, np.int64), inputs, outputs, rng,
        channel,
    )  # fmt: skip
    return channel[:kept], int(inputs[0]), int(outputs[0])


def arrivals(rate, count, seed=1):
    return np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate, count))


@pytest.mark.parametrize(("energy_ev", "fwhm_ev"), [(5895.0, 130.0), (525.0, 66.0), (15000.0, 197.0)])
def test_resolution_follows_fano_statistics(energy_ev, fwhm_ev):
    channel, _, _ = electronics(np.arange(100000.0), np.full(100000, energy_ev * 1e-3))
    measured = 10.0 * channel.std() / SIGMA_PER_FWHM
    expected = resolution_fwhm_ev(energy_ev, 130.0)
    assert measured == pytest.approx(math.hypot(expected, 10.0 / math.sqrt(12) / SIGMA_PER_FWHM), rel=0.01)
    assert expected == pytest.approx(fwhm_ev, rel=0.05)
    assert 10.0 * (channel.mean() + 0.5) == pytest.approx(energy_ev, abs=2.0)


@pytest.mark.parametrize("load", [0.05, 0.3, 1.0])
def test_dead_time_of_both_kinds(load):
    dead_s, count = 2e-6, 400000
    times = arrivals(load / dead_s, count)
    for paralysable, expected in ((False, 1.0 / (1.0 + load)), (True, math.exp(-load))):
        _, came, went = electronics(times, np.full(count, 5.0), paralysable=paralysable, dead_s=dead_s)
        assert came == count
        # counting statistics of what is left, with room for their correlation
        assert went / came == pytest.approx(expected, abs=5.0 / math.sqrt(count))


def test_pulses_that_follow_at_once_pile_up():
    rate, fast_s, count = 1e5, 0.2e-6, 1_000_000
    channel, _, went = electronics(arrivals(rate, count), np.full(count, 4.0), dead_s=2e-6, fast_s=fast_s)
    summed = np.count_nonzero(np.abs(channel * 0.01 - 8.0) < 0.3) / went
    # expected counts of pairs 20000 x 0.98: statistics 0.7 %
    assert summed == pytest.approx(1.0 - math.exp(-rate * fast_s), rel=0.04)


def test_incomplete_charge_lies_below_the_peak():
    channel, _, _ = electronics(np.arange(50000.0), np.full(50000, 8.0), shelf=0.1)
    below = np.count_nonzero(channel < 740) / channel.size
    assert below == pytest.approx(0.1 * 7.4 / 8.0, rel=0.1)


def row(mean, width=256, segments=4, seed=3, stream=0, electrons=1000.0):
    """Draw a row of an even field whose mean is given."""
    room = 1 << 18
    pixel, segment = np.zeros(room, np.uint32), np.zeros(room, np.uint8)
    energy, time_s = np.zeros(room, np.float32), np.zeros(room)
    maps = np.zeros((8, 8, 2), np.float32)
    maps[..., 0] = 0.25 * mean / electrons
    maps[..., 1] = 0.1
    dark = np.zeros(width, np.float32)
    energies = np.array([1.0, 2.0])
    count = draw_row(
        maps, np.linspace(0.0, 7.0, width), np.full(width, 3.3), np.array([0.75 * mean / electrons]), np.ones(1),
        np.cumsum(np.full((1, segments), 1.0 / segments), axis=1), quantiles(energies, np.array([3.0, 1.0]))[None],
        np.zeros(1, np.bool_), electrons, 1e-5, 7.0, False, seed, stream, dark, pixel, 1000, segment, energy, time_s,
    )  # fmt: skip
    return pixel[:count], segment[:count], energy[:count], time_s[:count], dark


def test_photons_of_a_pixel_are_poisson():
    counts = np.concatenate([np.bincount(row(2.5, stream=s)[0] - 1000, minlength=256) for s in range(200)])
    n = counts.size
    assert counts.mean() == pytest.approx(2.5, abs=4.0 * math.sqrt(2.5 / n))
    # variance of the sample variance of a Poisson number: (mean + 2 mean^2) / n
    assert counts.var() == pytest.approx(2.5, abs=4.0 * math.sqrt((2.5 + 2 * 2.5**2) / n))


def test_photons_come_in_order_within_their_dwell():
    pixel, _, _, time_s, _ = row(3.0)
    assert np.all(np.diff(time_s) >= 0.0)
    assert np.array_equal(np.floor((time_s - 7.0) / 1e-5).astype(int), pixel - 1000)


def test_photons_are_shared_between_segments_and_energies():
    _, segment, energy, _, dark = row(200.0)
    n = segment.size
    assert np.bincount(segment, minlength=4) / n == pytest.approx(np.full(4, 0.25), abs=4 * math.sqrt(0.1875 / n))
    assert np.mean(energy < 1.5) == pytest.approx(0.75, abs=4 * math.sqrt(0.1875 / n))
    expected = 1000.0 * -math.expm1(-0.1)
    assert dark.mean() == pytest.approx(expected, abs=4 * math.sqrt(expected / 256))


def test_a_full_buffer_is_told_and_the_row_comes_again_the_same():
    first, second = row(3.0), row(3.0)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_windowless_detector_sees_oxygen_and_loses_hard_photons():
    seen = efficiency(np.array([0.525, 5.0, 20.0]))
    assert seen[0] > 0.7
    assert seen[1] > 0.97
    assert seen[2] < 0.5


def test_soft_photons_stay_in_a_thick_foil():
    gold = Material("Au", 19.3)
    leaves = escape(gold, 100.0, 20.0, np.array([0.5, 2.0, 10.0]))
    assert np.all(np.diff(leaves) > 0)
    # 0.29 um of gold at 228 / cm: (1 - exp(-x)) / x with x = 0.067
    assert leaves[2] == pytest.approx(0.967, abs=0.005)


def test_tilting_towards_a_segment_brings_it_out_of_the_shadow():
    seen = [seen_fraction(SEGMENT, 10.0, alpha, 0.0) for alpha in (-30.0, -10.0, 0.0, 10.0, 30.0)]
    assert seen == sorted(seen, reverse=True)
    assert seen[0] == 1.0
    assert seen[-1] == 0.0
    assert seen_fraction(SEGMENT, SEGMENT.take_off_deg, 0.0, 0.0) == pytest.approx(0.5)
