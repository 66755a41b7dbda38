"""Scans of energies as data: lists, order, flats, numbers of shots, refinement, dose and time."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.analysis.errors import AnalysisError
from exitwave.plans.pure.positions import PlanInputError
from exitwave.plans.pure.rotation import AxisFigures, move_time_s
from exitwave.plans.pure.xanes import XanesScan, choose_energies, refine
from exitwave.plans.pure.xanes_estimates import Exposed, absorbed_dose_gy, estimate, scan_dose_gy

ENERGIES = (8320.0, 8333.0, 8340.0, 8400.0)


def scan(**changes: object) -> XanesScan:
    return replace(XanesScan(ENERGIES, (1.0,) * 4, num_flats=2, num_darks=3), **changes)  # type: ignore[arg-type]


def test_ready_made_lists_lie_around_their_edge() -> None:
    for points in (21, 41, 63, 101):
        chosen, edges = choose_energies(points, "Ni")
        assert len(chosen) == points
        assert edges == (pytest.approx(8333.0),)
        assert chosen.energies_ev[0] < 8333.0 < chosen.energies_ev[-1]


def test_several_edges_make_one_list_whatever_their_order() -> None:
    chosen, edges = choose_energies({"Ni": 21, "Mn": 21, "Co": [(-10.0, 10.0, 5.0)]})
    assert len(chosen) == 21 + 21 + 5
    assert np.all(np.diff(chosen.energies_ev) > 0)
    assert edges == tuple(sorted(edges))


@pytest.mark.parametrize(
    ("energies", "element", "message"),
    [
        ([8340.0, 8330.0], None, "out of order"),
        ([8330.0, 8330.0], None, "again"),
        ([8.33, 8.34], None, "not keV"),
        ([], None, "none are given"),
        (41, None, "element"),
        (41, "Xx", "Xx"),
        ([8400.0, 8410.0, 8420.0], "Ni", "edge at 8333"),
        ({"Ni": 41, "Mn": [(1700.0, 1900.0, 50.0)]}, None, "edge|order"),
        ([(-10.0, 10.0, 1.0, -0.5)], "Ni", "exposure"),
    ],
)
def test_lists_that_cannot_be_meant_are_refused_in_one_line(
    energies: object, element: str | None, message: str
) -> None:
    with pytest.raises((PlanInputError, AnalysisError), match=message) as caught:
        choose_energies(energies, element)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_scan_survives_its_description() -> None:
    work = scan(positions_um=((0.0, 1.0), (5.0, 6.0)), repeats=2, angles_deg=(0.0, 90.0), inner="energy", only=(3, 5))
    assert XanesScan.from_description(work.describe()) == work
    with pytest.raises(PlanInputError, match="no scan of energies"):
        XanesScan.from_description({})


@settings(max_examples=50)
@given(
    places=st.integers(0, 3),
    repeats=st.integers(1, 3),
    angles=st.integers(0, 3),
    inner=st.sampled_from(["energy", "angle"]),
)
def test_every_shot_has_its_own_number_and_a_part_keeps_it(places: int, repeats: int, angles: int, inner: str) -> None:
    work = scan(
        positions_um=tuple((float(k), 0.0) for k in range(places)),
        repeats=repeats,
        angles_deg=tuple(10.0 * k for k in range(angles)),
        inner=inner,
    )
    shots = {shot.index: shot for shot in work.shots()}
    assert sorted(shots) == list(range(work.num_shots))
    some = sorted(shots)[::2]
    part = list(work.part(some).shots())
    assert sorted(shot.index for shot in part) == some
    assert all(shot == shots[shot.index] for shot in part)
    assert sum(len(visit.shots) for visit in work.visits()) == work.num_shots


def test_flats_come_where_they_were_asked_for() -> None:
    assert [v.flats for v in scan().visits()] == [True] * 4
    assert [v.flats for v in scan(flats="every", flats_every=3).visits()] == [True, False, False, True]
    assert not any(v.flats for v in scan(flats="none").visits())
    second = scan(flats="pass", repeats=2).visits()
    assert [(v.energy_ev, v.flats, len(v.shots)) for v in second[:8]] == [
        *((e, False, 1) for e in ENERGIES),
        *((e, True, 0) for e in ENERGIES),
    ]
    assert len(second) == 16
    # all energies at every angle: the flats of the first angle serve the others
    turned = scan(angles_deg=(0.0, 60.0, 120.0), inner="energy").visits()
    assert [v.flats for v in turned] == [True] * 4 + [False] * 8
    assert scan().num_frames_by_stream == {"dark": 3, "flat": 8, "primary": 4}


def test_refinement_finds_a_step_and_stops_at_the_smallest() -> None:
    def spectrum(energies: list[float]) -> list[float]:
        return [math.atan((e - 8333.3) / 1.5) for e in energies]

    energies = [8300.0 + 10.0 * k for k in range(8)]
    for _ in range(10):
        added = refine(energies, spectrum(energies), largest_change=0.08, smallest_step_ev=0.4)
        if not added:
            break
        energies = sorted([*energies, *added])
    steps = np.diff(energies)
    assert steps.min() >= 0.4
    changes = np.abs(np.diff(spectrum(energies)))
    assert changes[steps >= 0.8].max() <= 0.08 * np.ptp(spectrum(energies)) * (1 + 1e-9)
    near = np.abs(np.asarray(energies) - 8333.3) < 5.0
    assert near.sum() > 8
    assert refine([1.0, 2.0, 3.0], [1.0, 1.0, 1.0], largest_change=0.1, smallest_step_ev=0.1) == []
    with pytest.raises(PlanInputError, match="part of the range"):
        refine(energies, spectrum(energies), largest_change=1.5, smallest_step_ev=0.4)


def test_added_energies_number_their_shots_on() -> None:
    added = scan().with_energies([8336.0, 8337.0])
    assert [(s.index, s.energy_ev) for s in added.shots()] == [(4, 8336.0), (5, 8337.0)]
    assert [s.index for s in added.with_energies([8338.0]).shots()] == [6]


def test_dose_is_energy_absorbed_over_mass() -> None:
    # Water at 8 keV: photoelectric mu/rho 9.7 to 10.4 cm2/g in the tables (NIST mass energy absorption 9.915 cm2/g).
    # 1e10 photons of 8 keV on 100 um2: 1.2817e-5 J on 1e-10 m2, times 0.99 m2/kg.
    expected = 1e10 * 8000.0 * 1.602177e-19 / 1e-10 * 0.9915
    assert absorbed_dose_gy("H2O", 8000.0, 1e10, 100.0, 1.0) == pytest.approx(expected, rel=0.04)
    exposed = Exposed("LiNi0.6Co0.2Mn0.2O2", 1e10)
    one = scan_dose_gy(scan(), exposed, 400.0, 0.01)
    assert scan_dose_gy(scan(num_frames=3), exposed, 400.0, 0.01) == pytest.approx(3 * one)
    assert scan_dose_gy(scan(positions_um=((0.0, 0.0), (50.0, 0.0))), exposed, 400.0, 0.01) == pytest.approx(one)
    with pytest.raises(PlanInputError, match="no chemical formula"):
        Exposed("Quatsch!")


def test_time_is_exposures_and_the_slowest_axis() -> None:
    axis = AxisFigures("bragg", "deg", 0, 90, 0.5, 0.0, 0.2)
    out = AxisFigures("x", "um", -3000, 3000, 500.0, 0.0, 0.1)
    places = {e: {"bragg": -1e-3 * e} for e in ENERGIES}
    told = estimate(
        scan(flats="none", num_darks=0), {"bragg": axis, "out": out}, places,
        out_um=200.0, readout_s=0.01, frame_bytes=2 * 2048**2,
    )  # fmt: skip
    ways = np.diff(ENERGIES) * 1e-3
    assert told.motion_s == pytest.approx(sum(move_time_s(axis, way) for way in ways), abs=1e-3)
    assert told.exposure_s == pytest.approx(4 * 1.01)
    assert told.frames == 4
    assert told.gigabytes == pytest.approx(4 * 8.388608e-3)
    assert told.seconds >= told.motion_s + told.exposure_s
