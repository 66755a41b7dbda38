"""Resolution of the simulated microscope from first principles: the world itself, without EPICS.

Images by the exact sum over source points: a gold star shifts the phase by more than a radian.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from exitwave.simulators.bl18b.truth import Truth

LENS_LIMIT_NM = {"A": 12.5, "B": 20.0}


def _benchmark() -> Any:
    place = Path(__file__).parents[1] / "benchmarks" / "resolution.py"
    spec = importlib.util.spec_from_file_location("exitwave_benchmark_resolution", place)
    if spec is None or spec.loader is None:
        raise ImportError(f"{place} can't be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bench = _benchmark()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("truth", [Truth.nominal(), Truth.draw(18)], ids=["nominal", "drawn"])
def test_the_star_is_resolved_as_far_as_its_photons_go(truth: Truth) -> None:
    rows = [bench.figures(truth, "A", exposure) for exposure in (1.0, 10.0, 30.0)]
    half_periods = [row["psd_nm"] for row in rows]
    assert half_periods[2] <= 20.0
    assert min(half_periods) > LENS_LIMIT_NM["A"]
    assert half_periods[0] > 1.2 * half_periods[1] > 1.2 * 1.1 * half_periods[2]
    correlation = [row["frc_half_bit_nm"] for row in rows]
    assert correlation == sorted(correlation, reverse=True)
    assert correlation[2] > half_periods[2]  # agreement asks for more photons than presence does
    assert rows[2]["reversed_nm"] == ()
    assert rows[2]["star_nm"] == pytest.approx(30.0, rel=0.1)  # the star has nothing finer


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [5, 7, 11])
def test_a_focus_that_is_a_little_off_still_gives_twenty_nanometres(seed: int) -> None:
    # a tenth of a depth of focus to the side on which phase and absorption work against each other
    row = bench.figures(Truth.draw(seed), "A", 30.0, depths_out=-0.1)
    print(f"{row['psd_nm']:.1f} +- {row['psd_sd_nm']:.1f} nm")
    assert row["psd_nm"] <= 20.0


@pytest.mark.timeout(240)
def test_the_coarser_zone_plate_resolves_less() -> None:
    fine, coarse = (bench.figures(Truth.nominal(), plate, 30.0) for plate in ("A", "B"))
    assert coarse["counts"] > fine["counts"]
    assert coarse["psd_nm"] > LENS_LIMIT_NM["B"]
    assert coarse["psd_nm"] > 1.2 * fine["psd_nm"]


@pytest.mark.timeout(240)
def test_power_does_not_see_defocus_and_ring_contrast_does() -> None:
    focused = bench.figures(Truth.nominal(), "A", 30.0)
    near, far = (bench.figures(Truth.nominal(), "A", 30.0, depths_out=n) for n in (-3.0, 3.0))
    for row in (near, far):
        assert row["psd_nm"] == pytest.approx(focused["psd_nm"], rel=0.25)
        # nor does correlation: reversed contrast is the same in both halves
        assert row["frc_half_bit_nm"] == pytest.approx(focused["frc_half_bit_nm"], rel=0.25)
    # on this side of focus phase and absorption work against each other
    assert near["reversed_nm"]
    assert near["star_nm"] > 3.0 * focused["star_nm"]
    assert not focused["reversed_nm"]
