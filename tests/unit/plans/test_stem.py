"""Scans of an electron microscope as data: dose, windows, tilts, drift."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitwave.analysis.drift import small_shift
from exitwave.analysis.eds import EnergyAxis, EnergyWindow, Surroundings
from exitwave.analysis.errors import FitError
from exitwave.devices.stem import ScanSettings
from exitwave.plans import PlanInputError
from exitwave.plans.pure.stem import (
    DriftTracker,
    check_windows,
    dose_rate_e_a2_s,
    frames_within,
    named_windows,
    predict_shift_nm,
    sample_of,
    tilt_list,
)

AXIS = EnergyAxis(2048, 0.01, 0.005, 130.0)
PT_PD = Surroundings(("Pd", "Pt"), 300.0, ("Ti", "Fe", "Co"), ("Cu",))


def lattice(dy: float, dx: float, *, seed: int | None = None) -> np.ndarray:
    """Columns 25 pixels apart, and between them others half as high."""
    y, x = np.mgrid[:128, :128].astype(float)
    image = np.zeros((128, 128))
    for height, offset in ((400.0, 0.0), (200.0, 12.5)):
        a, b = ((v - s - offset) % 25.0 for v, s in ((y, dy), (x, dx)))
        a, b = np.minimum(a, 25.0 - a), np.minimum(b, 25.0 - b)
        image += height * np.exp(-(a**2 + b**2) / (2 * 3.0**2))
    image += 50.0
    return image if seed is None else np.random.default_rng(seed).poisson(image).astype(float)


def test_a_dose_is_current_over_charge_and_area() -> None:
    # 1 nA is 6.2415e9 electrons a second; over 1 nm2 = 100 A2.
    assert dose_rate_e_a2_s(1000.0, 100.0) == pytest.approx(6.2415e7, rel=1e-4)


def test_frame_time_and_area_of_a_part_of_a_frame() -> None:
    whole = ScanSettings(10.0, 100, 50, 10.0, flyback_us=100.0)
    assert whole.area_a2 == pytest.approx(10.0 * 5.0 * 100.0)
    assert whole.frame_s == pytest.approx(50 * 1.1e-3)
    part = ScanSettings(10.0, 100, 50, 10.0, sub=(10, 10, 20, 5))
    assert part.shape == (5, 20)
    assert part.area_a2 == pytest.approx(2.0 * 0.5 * 100.0)
    synchronised = ScanSettings(10.0, 100, 50, 10.0, line_sync=True)
    assert synchronised.frame_s == pytest.approx(50 * 0.02)


@given(
    rate=st.floats(1.0, 1e7),
    frame_s=st.floats(1e-3, 100.0),
    accumulated=st.floats(0.0, 1e7),
    room=st.floats(1.01, 1e4),
)
def test_as_many_frames_as_the_limit_allows_do_not_exceed_it(
    rate: float, frame_s: float, accumulated: float, room: float
) -> None:
    limit = accumulated + room * rate * frame_s
    frames = frames_within(None, rate, frame_s, accumulated=accumulated, limit=limit)
    assert frames >= 1
    assert accumulated + frames * rate * frame_s <= limit * (1.0 + 1e-6)
    assert frames >= room - 2.0 - 1e-3


@pytest.mark.parametrize(
    ("num", "limit", "words"),
    [(11, 1000.0, "at most 10"), (1, 50.0, "less current"), (None, None, "dose_limit"), (3, -1.0, "positive")],
)
def test_frames_over_the_dose_are_refused(num: int | None, limit: float | None, words: str) -> None:
    with pytest.raises(PlanInputError, match=words) as caught:
        frames_within(num, 100.0, 1.0, limit=limit)
    assert "\n" not in str(caught.value)


def test_the_windows_of_the_paper_hold_no_line_of_its_sample() -> None:
    windows = named_windows([(3.53, 4.29), EnergyWindow(5.24, 6.0, "high")])
    assert [w.name for w in windows] == ["E1", "high"]
    # Pd L lines end at 3.55 keV: the judge is to say what reaches in, and the user may accept it.
    found = check_windows(windows, PT_PD, AXIS, accept_lines=True)
    assert all("Pd" in words or "Ti" in words for words in found[:1])


def test_a_window_over_a_line_needs_consent() -> None:
    over = named_windows([(4.3, 4.8)])
    sample = Surroundings(("Sr", "Ti", "O"), 200.0, ("Fe",), ("Cu",))
    with pytest.raises(PlanInputError, match=r"Ti K.*accept_lines=True") as caught:
        check_windows(over, sample, AXIS)
    assert "\n" not in str(caught.value)
    assert len(check_windows(over, sample, AXIS, accept_lines=True)) == 1
    assert check_windows(named_windows([(10.0, 10.5)]), sample, AXIS) == []


@pytest.mark.parametrize("window", [(19.0, 21.0), (-1.0, 2.0), (0.0, 1.0)])
def test_a_window_outside_of_the_range_is_refused_whatever_is_accepted(window: tuple[float, float]) -> None:
    with pytest.raises(PlanInputError, match="range"):
        check_windows(named_windows([window]), PT_PD, AXIS, accept_lines=True)


def test_a_window_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(PlanInputError, match="upper end"):
        named_windows([(6.0, 5.0)])


def test_a_sample_is_symbols_or_a_formula() -> None:
    assert sample_of(["Sr", "Ti"]) == {"Sr": 1.0, "Ti": 1.0}
    assert sample_of({"O": 3}) == {"O": 3.0}


@pytest.mark.parametrize(
    ("angles", "words"),
    [([], "no angles"), ([0, 36], r"36 deg is outside .*\[-35, 35\]"), ([1, 1], "twice"), ([math.nan], "nan")],
)
def test_tilts_that_can_not_be_taken_are_refused(angles: list[float], words: str) -> None:
    with pytest.raises(PlanInputError, match=words):
        tilt_list(angles, -35.0, 35.0)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.4, -0.7), (-3.3, 2.2), (5.0, 6.0)])
def test_the_shift_of_a_noisy_lattice_is_found(shift: tuple[float, float]) -> None:
    found = small_shift(lattice(0, 0, seed=1), lattice(*shift, seed=2), reach_px=9.0)
    # Following it, a tracker measures what is left again: 3 % of it is allowed besides the noise.
    for value, true, sd in ((found.dy, shift[0], found.dy_sd), (found.dx, shift[1], found.dx_sd)):
        assert abs(value - true) < 0.03 * abs(true) + 4.0 * max(sd, 0.01)
        assert sd < 0.2


def test_pictures_with_nothing_in_common_have_no_shift() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(FitError):
        small_shift(rng.normal(size=(128, 128)), rng.normal(size=(128, 128)), reach_px=3.0)


def test_a_tracker_that_is_followed_keeps_the_specimen_where_it_was() -> None:
    """A specimen drifts by 0.4 pixels a frame; its frames are shifted as the tracker says, one frame late."""
    pixel_nm, shift = 0.02, (0.0, 0.0)
    tracker = DriftTracker(pixel_nm)
    seen = []
    for frame in range(25):
        true_nm = 0.4 * pixel_nm * frame
        off_px = (true_nm - shift[0]) / pixel_nm
        drift = tracker.follow(lattice(0.0, off_px, seed=frame), shift)
        assert drift.x_nm == pytest.approx(true_nm, abs=0.15 * pixel_nm)
        shift = (drift.shift_x_nm, drift.shift_y_nm)
        seen.append(off_px)
    # More than one column's spacing may be passed in all; no frame is off by more than a frame's drift and noise.
    assert max(abs(off) for off in seen) < 0.6


def test_a_tracker_that_is_not_followed_counts_the_columns_that_go_by() -> None:
    """A specimen drifts by more than a spacing (25 pixels) in all, by 0.7 pixels a frame; the beam stays."""
    pixel_nm = 0.02
    tracker = DriftTracker(pixel_nm)
    off = []
    for frame in range(60):
        true_px = (-0.2 * frame, 0.7 * frame)
        drift = tracker.follow(lattice(*true_px, seed=frame), (1.0, 2.0))
        off.append((drift.y_nm / pixel_nm - true_px[0], drift.x_nm / pixel_nm - true_px[1]))
    assert np.abs(off).max() < 0.3, "a frame taken for its neighbour would be off by half a spacing"


def test_a_specimen_that_has_left_the_frame_is_said_to_have() -> None:
    tracker = DriftTracker(0.02)
    tracker.follow(lattice(0, 0), (0.0, 0.0))
    with pytest.raises(FitError, match="left the first frame"):
        tracker.follow(lattice(0, 0), (-2.4, 0.0))


def test_the_first_shift_of_the_beam_counts_for_nothing() -> None:
    tracker = DriftTracker(0.02)
    first = tracker.follow(lattice(0, 0), (5.0, -7.0))
    assert (first.x_nm, first.y_nm, first.shift_x_nm, first.shift_y_nm) == (0.0, 0.0, 5.0, -7.0)
    again = tracker.follow(lattice(0, 0), (5.0, -7.0))
    assert (again.x_nm, again.y_nm) == pytest.approx((0.0, 0.0), abs=1e-6)


@given(height_nm=st.floats(-3000, 3000), aside_nm=st.floats(-3000, 3000))
def test_where_a_specimen_goes_with_the_tilt_is_foretold(height_nm: float, aside_nm: float) -> None:
    def place(alpha: float) -> tuple[float, float, float]:
        a = math.radians(alpha)
        return alpha, aside_nm * (math.cos(a) - 1.0), -height_nm * math.sin(a)

    few = [place(a) for a in (0.0, 0.5)]
    (_, y), known = predict_shift_nm(few, 3.0)
    assert known
    assert y == pytest.approx(place(3.0)[2], abs=1e-6 + 1e-9 * abs(height_nm))
    many = [place(a) for a in (0.0, 2.0, 4.0, 6.0, 8.0)]
    (x, y), _ = predict_shift_nm(many, 20.0)
    assert (x, y) == pytest.approx(place(20.0)[1:], abs=1e-6)


def test_without_places_nothing_is_foretold() -> None:
    assert predict_shift_nm([], 5.0) == ((0.0, 0.0), False)
    assert predict_shift_nm([(0.0, 1.0, 2.0)], 5.0) == ((1.0, 2.0), False)
