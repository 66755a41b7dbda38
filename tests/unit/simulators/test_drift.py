"""What moves while an energy scan runs: the Bragg angle's walk, and the second crystal's peak over the range."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from exitwave.simulators.bl18b.drift import SPAN_S, slow_walk
from exitwave.simulators.bl18b.rest import Rest
from exitwave.simulators.bl18b.truth import Truth
from exitwave.simulators.bl18b.world import World


def test_a_walk_starts_at_zero_and_repeats_itself():
    assert slow_walk(3, 1, 0.0) == 0.0
    assert slow_walk(3, 1, 777.0) == slow_walk(3, 1, 777.0)
    assert slow_walk(3, 1, 777.0) != slow_walk(4, 1, 777.0)
    assert slow_walk(3, 1, 777.0) != slow_walk(3, 2, 777.0)


def test_its_rms_change_is_one_over_the_span_and_grows_as_a_root():
    seeds = range(400)
    change = {
        span: float(np.sqrt(np.mean([(slow_walk(s, 1, 5000.0 + span) - slow_walk(s, 1, 5000.0)) ** 2 for s in seeds])))
        for span in (SPAN_S, 4.0 * SPAN_S)
    }
    # 400 walks: their rms is known to 1 / sqrt(800), 3.5 %
    assert change[SPAN_S] == pytest.approx(1.0, rel=0.15)
    assert change[4.0 * SPAN_S] / change[SPAN_S] == pytest.approx(2.0, rel=0.25)


def test_it_is_slow():
    steps = [slow_walk(s, 1, 610.0) - slow_walk(s, 1, 600.0) for s in range(200)]
    assert float(np.std(steps)) < 0.05, "a step of 10 s is far below sqrt(10 / 1200)"


def test_the_energy_drifts_with_the_bragg_offset():
    truth = dataclasses.replace(Truth.nominal(seed=5), bragg_drift_deg=5e-5)
    rest = Rest(8.333)
    world = World(rest, truth, specimen="none")
    assert world.energy_kev(0.0) == pytest.approx(8.333, abs=1e-9)
    later = 1500.0
    moved_ev = 1e3 * (world.energy_kev(later) - 8.333)
    # dE = -E cot(theta) dtheta: 596 eV/deg
    expected = -596.0 * 5e-5 * slow_walk(5, 1, later)
    assert moved_ev == pytest.approx(expected, rel=0.02)
    assert Truth.nominal(5).bragg_offset_at(later) == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_the_pitch_needs_its_peak_again_over_the_nickel_range(seed):
    truth = Truth.draw(seed)
    assert 3e-5 <= truth.bragg_drift_deg <= 8e-5
    slope = dataclasses.replace(Truth.nominal(), pitch_per_deg_urad=truth.pitch_per_deg_urad)
    fluxes = {}
    rest = Rest(8.2)
    rest.axes["DCM:Pitch"] = World(rest, slope, specimen="none").pitch_optimum_urad(0.0)
    for energy in (8.2, 8.6):
        other = Rest(energy)
        world = World(other, slope, specimen="none")
        other.axes["DCM:Pitch"] = rest.axes["DCM:Pitch"]
        fluxes[energy] = world.flux_at_sample(0.0)
        other.axes["DCM:Pitch"] = world.pitch_optimum_urad(0.0)
        fluxes[energy] /= world.flux_at_sample(0.0)
    assert fluxes[8.2] == pytest.approx(1.0)
    assert 0.7 < fluxes[8.6] < 0.97
