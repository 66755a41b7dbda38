"""Position compare against the simulated beamline: where the pulses come, what they trigger, how they fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ophyd import EpicsSignal

from exitwave.devices import (
    Acquisition,
    Camera,
    CompareWindow,
    Motor,
    PositionCompare,
    PositionCompareError,
    SettingError,
)

NOISE_DEG = 3e-6
"""Rms of a reading of the rotation's encoder: three counts of 1e-6 deg."""
SPEED_DEG_S = 4.0
Signals = Callable[[str], EpicsSignal]


@pytest.fixture(scope="module")
def fly(fly_ioc: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PositionCompare, Motor, Camera]]:
    prefix = fly_ioc.prefix
    compare = PositionCompare(f"{prefix}PC1:", name="position_compare", settle_s=0.3)
    theta = Motor(f"{prefix}SAM:Theta", name="theta")
    folder = str(tmp_path_factory.mktemp("frames"))
    camera = Camera(f"{prefix}HR1:", name="hr_camera", folder=folder, attributes={"theta": "SAM_Theta"})
    devices = (compare, theta, camera)
    for device in devices:
        device.wait_for_connection(timeout=20)
    theta.velocity.set(SPEED_DEG_S).wait(30)
    yield devices
    for device in devices:
        device.destroy()


@pytest.fixture
def signals(fly_ioc: Any) -> Iterator[Signals]:
    made: list[EpicsSignal] = []

    def make(suffix: str) -> EpicsSignal:
        made.append(EpicsSignal(fly_ioc.prefix + suffix, name="signal"))
        made[-1].wait_for_connection(timeout=30)
        return made[-1]

    yield make
    for signal in made:
        signal.destroy()


def sweep(compare: PositionCompare, theta: Motor, window: CompareWindow, *, beyond_deg: float = 1.0) -> None:
    """Go through a window with the axis, from short of it to beyond it."""
    ahead = np.sign(window.step_deg) * 1.0
    theta.set(window.start_deg - ahead).wait(30)
    compare.prepare(window).wait(30)
    compare.kickoff().wait(30)
    moving = theta.set(window.last_deg + np.sign(window.step_deg) * beyond_deg)
    pulses = compare.complete()
    moving.wait(30)
    pulses.wait(30)


def written(camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return numbers, seconds and angles of the frames in the camera's file."""
    with h5py.File(Path(camera.hdf.full_file_name.get())) as file:
        columns = file["entry/instrument/NDAttributes"]
        names = ("NDArrayUniqueId", "NDArrayTimeStamp", "SAM_Theta")
        numbers, seconds, angles = (columns[name][...] for name in names)
    return numbers, seconds, angles


@pytest.mark.parametrize("step_deg", [0.2, -0.2])
def test_pulses_come_where_the_encoder_passes_their_positions(fly: Any, fly_ioc: Any, step_deg: float) -> None:
    compare, theta, _ = fly
    window = CompareWindow(3.0, step_deg, 60)
    sweep(compare, theta, window)
    positions, times_s = compare.positions.get(), compare.times_s.get()
    assert positions.dtype == np.float64
    assert compare.num_captured.get() == 60
    # comparison and capture read the encoder once each
    assert positions == pytest.approx(3.0 + step_deg * np.arange(60), abs=6 * np.sqrt(2) * NOISE_DEG)
    ripple = fly_ioc.truth["theta_ripple"][0]
    even = np.diff(times_s) * SPEED_DEG_S / 0.2 - 1.0
    assert np.abs(even).max() < 1.1 * ripple
    assert np.abs(even).max() > 0.5 * ripple, "the stage's ripple is in the times"
    assert not compare.armed.get(), "disarmed after the last gate"


def test_each_pulse_starts_a_frame_with_the_angle_of_its_middle(fly: Any) -> None:
    compare, theta, camera = fly
    camera.stage()
    camera.prepare(Acquisition(0.045, 60, trigger="external"))
    camera.kickoff().wait(30)
    sweep(compare, theta, CompareWindow(0.0, 0.2, 60, capture_delay_s=0.0225))
    camera.complete().wait(20)
    camera.unstage()
    numbers, seconds, angles = written(camera)
    times_s = compare.times_s.get()
    assert list(np.diff(numbers)) == [1] * 59
    # a double holds today's epoch to 0.2 us
    assert seconds - seconds[0] == pytest.approx(times_s - times_s[0], abs=1e-6)
    assert angles == pytest.approx(compare.positions.get(), abs=6 * np.sqrt(2) * NOISE_DEG)
    middles = 0.2 * np.arange(60) + SPEED_DEG_S * 0.0225
    assert angles == pytest.approx(middles, abs=1e-3), "but for the ripple within half an exposure"


def test_pulses_during_an_exposure_are_lost_and_counted(fly: Any, signals: Signals) -> None:
    compare, theta, camera = fly
    camera.stage()
    camera.prepare(Acquisition(0.06, 10, trigger="external"))
    camera.kickoff().wait(30)
    sweep(compare, theta, CompareWindow(0.0, 0.2, 20))
    camera.complete().wait(20)
    camera.unstage()
    _, _, angles = written(camera)
    assert np.diff(angles) == pytest.approx(0.4, abs=1e-3), "every other pulse found it exposing"
    assert signals("HR1:cam1:MissedTriggers_RBV").get() == 9


def test_frames_that_the_file_loses_leave_a_gap_in_the_numbers(fly: Any, signals: Signals) -> None:
    compare, theta, camera = fly
    dropping = signals("Sim:DropFrames")
    camera.stage()
    camera.prepare(Acquisition(0.045, 20, trigger="external"))
    camera.kickoff().wait(30)
    dropping.put(3, wait=True)
    sweep(compare, theta, CompareWindow(0.0, 0.2, 20))
    camera.complete().wait(20)
    assert (camera.num_acquired(), camera.get_index(), camera.num_dropped()) == (20, 17, 3)
    camera.unstage()
    _, _, angles = written(camera)
    assert angles[0] == pytest.approx(0.6 + SPEED_DEG_S * 0.0225, abs=1e-3)


def test_an_axis_that_stops_short_is_named_and_a_stop_disarms(fly: Any, wait_until: Callable[..., None]) -> None:
    compare, theta, _ = fly
    with pytest.raises(PositionCompareError, match=r"SAM:Theta came to rest after 16 of 20 pulses"):
        sweep(compare, theta, CompareWindow(0.0, 0.2, 20), beyond_deg=-0.7)
    compare.stop()
    wait_until(lambda: not compare.armed.get(use_monitor=False), what="the disarming of a failed comparison")


def test_an_axis_that_starts_beyond_gives_no_pulse(fly: Any) -> None:
    compare, theta, _ = fly
    theta.set(1.0).wait(30)
    compare.prepare(CompareWindow(0.0, 0.2, 20)).wait(30)
    compare.kickoff().wait(30)
    theta.set(5.0).wait(30)
    with pytest.raises(PositionCompareError, match="after 0 of 20 pulses"):
        compare.complete().wait(30)


def test_disarming_ends_the_pulses(fly: Any, wait_until: Callable[..., None]) -> None:
    compare, theta, _ = fly
    theta.set(-1.0).wait(30)
    compare.prepare(CompareWindow(0.0, 0.2, 40)).wait(30)
    compare.kickoff().wait(30)
    moving = theta.set(9.0)
    wait_until(lambda: compare.num_captured.get() >= 5, what="five pulses")
    compare.stop()
    given = compare.num_captured.get(use_monitor=False)
    with pytest.raises(PositionCompareError, match="disarmed after"):
        compare.complete().wait(30)
    moving.wait(30)
    assert compare.num_captured.get(use_monitor=False) == given < 40


@pytest.mark.parametrize(
    ("window", "said"),
    [
        (CompareWindow(float("nan"), 0.2, 10), "start_deg nan"),
        (CompareWindow(0.0, 0.0, 10), "step 0 deg is below two counts"),
        (CompareWindow(0.0, 0.2, 0), r"0 pulses are outside \[1, 100000\]"),
        (CompareWindow(0.0, 0.2, 10, pulse_width_s=0.0), "pulse width 0 s"),
    ],
)
def test_windows_that_can_not_be_are_refused(fly: Any, window: CompareWindow, said: str) -> None:
    compare, _, _ = fly
    with pytest.raises(SettingError, match=said):
        compare.prepare(window)


def test_nothing_is_armed_unprepared(fly_ioc: Any) -> None:
    compare = PositionCompare(f"{fly_ioc.prefix}PC1:", name="position_compare")
    compare.wait_for_connection(timeout=20)
    with pytest.raises(PositionCompareError, match="prepare"):
        compare.kickoff()
    with pytest.raises(PositionCompareError, match="kickoff"):
        compare.complete()
    compare.destroy()
