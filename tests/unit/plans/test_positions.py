"""Positions as data."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitwave.plans.pure.positions import (
    PlanInputError,
    centred,
    edge_energies,
    extrapolate,
    require_count,
    require_finite,
)


@given(centre=st.floats(-1e3, 1e3), span=st.floats(1e-3, 1e3), num=st.integers(3, 500))
def test_centred_positions_span_what_was_asked(centre: float, span: float, num: int) -> None:
    positions = centred(centre, span, num)
    assert len(positions) == num
    assert positions[-1] - positions[0] == pytest.approx(span, rel=1e-9)
    assert sum(positions) / num == pytest.approx(centre, abs=1e-9 * (abs(centre) + span) * num)
    assert all(a < b for a, b in itertools.pairwise(positions))


def test_edge_energies_rise_and_share_borders_once() -> None:
    energies = edge_energies(8.333)
    assert all(b - a > 1e-6 for a, b in itertools.pairwise(energies))
    assert energies[0] == pytest.approx(8.273)
    assert energies[-1] == pytest.approx(8.393)
    fine = [e for e in energies if abs(e - 8.333) < 0.010]
    assert max(b - a for a, b in itertools.pairwise(fine)) == pytest.approx(0.5e-3)


@pytest.mark.parametrize("regions", [((0, -10, 1),), ((0, 10, -1),), ((0, 10, 1), (5, 20, 1))])
def test_regions_that_do_not_rise_are_refused(regions: tuple[tuple[float, float, float], ...]) -> None:
    with pytest.raises(PlanInputError):
        edge_energies(8.333, regions)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 0.0])
def test_numbers_that_can_not_be_meant_are_refused(value: float) -> None:
    with pytest.raises(PlanInputError, match="exposure_s"):
        require_finite("exposure_s", value, "s", positive=True)


@pytest.mark.parametrize("value", [0, -3, 2.5, True])
def test_counts_that_can_not_be_meant_are_refused(value: Any) -> None:
    with pytest.raises(PlanInputError, match="num_frames"):
        require_count("num_frames", value, at_least=1)


def test_what_drifts_is_followed() -> None:
    assert extrapolate((10.0, 1.0), (20.0, 3.0), 25.0) == pytest.approx(4.0)
    assert extrapolate((10.0, 1.0), (20.0, 3.0), 20.0) == 3.0
    for times in ((20.0, 10.0, 30.0), (10.0, 20.0, 15.0), (10.0, 10.0, 20.0)):
        with pytest.raises(PlanInputError):
            extrapolate((times[0], 1.0), (times[1], 3.0), times[2])
