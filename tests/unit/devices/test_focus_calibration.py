"""Focus calibration: interpolation between points, refusal outside of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitwave.devices import FocusCalibration, FocusCalibrationError, FocusPoint


def _calibration(*points: tuple[float, float]) -> FocusCalibration:
    calibration = FocusCalibration()
    for energy_kev, correction_mm in points:
        calibration.add(FocusPoint(energy_kev, correction_mm))
    return calibration


def test_without_points_the_nominal_lens_holds() -> None:
    assert FocusCalibration().correction_mm(8.0) == 0.0


def test_one_point_is_a_constant() -> None:
    calibration = _calibration((8.0, 0.25))
    assert calibration.correction_mm(5.0) == calibration.correction_mm(14.0) == 0.25


@given(fraction=st.floats(0, 1), low=st.floats(-1, 1), high=st.floats(-1, 1))
def test_between_two_points_the_correction_is_linear(fraction: float, low: float, high: float) -> None:
    calibration = _calibration((9.0, high), (8.0, low))
    expected = low + fraction * (high - low)
    assert calibration.correction_mm(8.0 + fraction) == pytest.approx(expected, abs=1e-9)


def test_outside_of_the_points_an_energy_is_refused_by_name() -> None:
    with pytest.raises(FocusCalibrationError, match=r"9.5 keV .*8 keV, 9 keV"):
        _calibration((8.0, 0.1), (9.0, 0.2)).correction_mm(9.5)


def test_a_point_at_the_same_energy_replaces_and_can_be_removed() -> None:
    calibration = _calibration((8.0, 0.1), (9.0, 0.2), (8.00005, 0.3))
    assert [p.correction_mm for p in calibration.points] == [0.3, 0.2]
    calibration.remove(8.00005)
    assert [p.energy_kev for p in calibration.points] == [9.0]
    with pytest.raises(FocusCalibrationError, match="no focus point at 8 keV"):
        calibration.remove(8.0)
