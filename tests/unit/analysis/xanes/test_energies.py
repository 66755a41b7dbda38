from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitwave.analysis.errors import EnergyListError, FileFormatError, OutOfRangeError
from exitwave.analysis.xanes import (
    PRESETS,
    EnergyRegion,
    check_energies,
    edge_energy_ev,
    preset_regions,
    read_energies,
    regions_to_energies,
)


@pytest.mark.parametrize("points", sorted(PRESETS))
def test_ready_made_lists_are_coarse_fine_coarse(points: int) -> None:
    edge = edge_energy_ev("Ni")
    scan = regions_to_energies(preset_regions(points, 0.5), edge_ev=edge)
    assert len(scan) == points
    step = np.diff(scan.energies_ev)
    at_edge = int(np.searchsorted(scan.energies_ev, edge)) - 1
    assert step[at_edge] == step.min() < step[0]
    assert step.min() < step[-1]
    assert scan.energies_ev[0] < edge - 70
    assert scan.energies_ev[-1] > edge + 200
    assert (scan.exposures_s == 0.5).all()


def test_regions_that_touch_share_an_energy_and_keep_the_longer_exposure() -> None:
    scan = regions_to_energies([(-20, -10, 5, 1.0), EnergyRegion(-10, 0, 2, 3.0), (0, 4, 4)], edge_ev=8333.0)
    np.testing.assert_allclose(scan.energies_ev - 8333.0, [-20, -15, -10, -8, -6, -4, -2, 0, 4])
    np.testing.assert_array_equal(scan.exposures_s, [1, 1, 3, 3, 3, 3, 3, 3, 1])


@given(
    st.lists(st.tuples(st.integers(1, 20), st.sampled_from([0.1, 0.25, 0.3, 0.5, 1.0, 2.0])), min_size=1, max_size=5),
    st.floats(7000, 9000),
)
def test_lists_ascend_whatever_the_regions(parts: list[tuple[int, float]], edge: float) -> None:
    regions, start, count = [], -30.0, 1
    for steps, step in parts:
        regions.append((start, start + steps * step, step))
        start += steps * step
        count += steps
    scan = regions_to_energies(regions, edge_ev=edge)
    assert len(scan) == count
    assert (np.diff(scan.energies_ev) > 0.05).all()


@pytest.mark.parametrize(
    ("regions", "word"),
    [
        ([], "none given"),
        ([(0, 10, 0)], "step"),
        ([(0, 10, -1)], "step"),
        ([(10, 0, 1)], "exchange the ends"),
        ([(0, 10, 1), (5, 20, 1)], "overlap"),
        ([(0, 10, 1, 0.0)], "exposure"),
        ([(0, float("nan"), 1)], "not finite"),
        ([(0, 1e9, 0.01)], "at most"),
    ],
)
def test_regions_that_cannot_be_meant(regions: list[tuple[float, ...]], word: str) -> None:
    with pytest.raises(EnergyListError, match=word):
        regions_to_energies(regions, edge_ev=8333.0)  # type: ignore[arg-type]


def test_what_a_list_is_refused_for() -> None:
    with pytest.raises(EnergyListError, match="out of order"):
        check_energies([8300, 8320, 8310])
    with pytest.raises(EnergyListError, match="again"):
        check_energies([8300, 8320, 8320])
    assert len(check_energies([8300, 8320, 8320, 8310], allow_unsorted=True)) == 4
    with pytest.raises(EnergyListError, match="edge at 8333"):
        check_energies([8340, 8350, 8360], edge_ev=8333.0)
    with pytest.raises(OutOfRangeError, match="14000"):
        check_energies([8300, 14000], low_ev=5000, high_ev=13000)
    with pytest.raises(OutOfRangeError):
        check_energies([8300, float("nan")])
    with pytest.raises(OutOfRangeError, match="Xx"):
        edge_energy_ev("Xx")
    with pytest.raises(EnergyListError, match="points"):
        preset_regions(42)


def test_lists_from_files(tmp_path: Path) -> None:
    path = tmp_path / "scan.txt"
    path.write_text("# energy exposure\n8300 1\n8310.5 2\n8320 1\n")
    scan = read_energies(path)
    np.testing.assert_array_equal(scan.energies_ev, [8300, 8310.5, 8320])
    np.testing.assert_array_equal(scan.exposures_s, [1, 2, 1])
    path.write_text("8.3\n8.31\n")
    with pytest.raises(EnergyListError, match="keV"):
        read_energies(path)
    path.write_text("8320\n8310\n")
    with pytest.raises(EnergyListError, match=r"scan\.txt.*out of order"):
        read_energies(path)
    path.write_text("8300 1\n8310 0\n")
    with pytest.raises(EnergyListError, match="exposure"):
        read_energies(path)
    path.write_text("eight\n")
    with pytest.raises(FileFormatError):
        read_energies(path)


def test_tabulated_edges_are_those_of_the_data_booklet() -> None:
    # X-ray Data Booklet (2009), table 1-1
    for element, edge in (("Mn", 6539), ("Fe", 7112), ("Co", 7709), ("Ni", 8333)):
        assert edge_energy_ev(element) == pytest.approx(edge, abs=1.0)
