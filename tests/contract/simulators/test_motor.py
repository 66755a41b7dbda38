"""ophyd's EpicsMotor, unmodified, against the motor record."""

from __future__ import annotations

import threading
import time

import pytest
from ophyd import EpicsMotor, EpicsSignal, EpicsSignalRO
from ophyd.status import UnknownStatusFailure
from ophyd.utils import LimitError


@pytest.fixture
def motor(ioc):
    motor = EpicsMotor(f"{ioc.prefix}SAM:X", name="motor")
    motor.wait_for_connection(timeout=30)
    # the end of a move is a change of DMOV; one that came before its first value would not be seen
    heard = threading.Event()
    motor.motor_done_move.subscribe(lambda **_: heard.set())
    assert heard.wait(30)
    motor.set(0.0).wait(30)
    yield motor
    motor.destroy()


def test_metadata(motor):
    assert motor.limits == (-3000.0, 3000.0)
    assert motor.egu == "um"
    assert motor.precision == 3
    assert motor.velocity.get() == 500.0
    assert motor.acceleration.get() == pytest.approx(0.1)


def test_move_takes_the_time_of_its_trapezoid(motor):
    # 100 um at 500 um/s with ramps of 0.1 s: 0.2 s + 0.1 s; other load on the machine adds to it, and not every time
    spent: list[float] = []
    while not spent or (min(spent) >= 0.4 and len(spent) < 10):
        target = 100.0 * ((len(spent) + 1) % 2)
        start = time.monotonic()
        motor.set(target).wait(30)
        spent.append(time.monotonic() - start)
        assert motor.position == pytest.approx(target, abs=1e-3)
        assert not motor.moving
    assert 0.3 <= min(spent) < 0.4


def test_put_completes_when_the_motion_ends(motor, signal):
    done = signal("SAM:X.DMOV", EpicsSignalRO)
    start = time.monotonic()
    motor.user_setpoint.put(50.0, wait=True)
    assert time.monotonic() - start >= 0.2
    assert done.get() == 1
    assert motor.user_readback.get(use_monitor=False) == pytest.approx(50.0, abs=1e-3)


def test_a_move_of_no_length_still_says_done(motor):
    motor.set(0.0).wait(30)
    again = motor.set(0.0)
    again.wait(30)
    assert again.success


def test_client_sees_the_limits(motor):
    with pytest.raises(LimitError):
        motor.set(3001.0)


def test_soft_limit_refuses(motor, signal, wait_until):
    blinks = []
    motor.motor_done_move.subscribe(lambda value, **_: blinks.append(value), run=False)
    violated = signal("SAM:X.LVIO", EpicsSignalRO)
    severity = signal("SAM:X.SEVR", EpicsSignalRO, string=True)
    setpoint = EpicsSignal(f"{motor.prefix}.VAL", name="setpoint")
    setpoint.wait_for_connection(timeout=30)
    setpoint.put(5000.0, wait=True)
    assert violated.get() == 1
    assert severity.get() == "MAJOR"
    assert motor.user_readback.get(use_monitor=False) == pytest.approx(0.0, abs=1e-3)
    assert setpoint.get() == 0.0
    # what becomes of this put is not to be taken for the end of the next move
    wait_until(lambda: 0 in blinks and blinks[-1] == 1, what="the end of the refused move")
    motor.set(1.0).wait(30)
    assert violated.get() == 0
    assert severity.get() == "NO_ALARM"
    setpoint.destroy()


def test_moved_limits_are_seen_in_the_control_limits(motor, wait_until):
    motor.high_limit_travel.put(10.0, wait=True)
    wait_until(lambda: motor.limits == (-3000.0, 10.0), what="the new limit")
    motor.high_limit_travel.put(3000.0, wait=True)
    wait_until(lambda: motor.limits == (-3000.0, 3000.0), what="the old limit")
    assert motor.high_limit_travel.get(use_monitor=False) == 3000.0


def test_stop_decelerates_and_completes_the_put(motor, wait_until):
    status = motor.set(1000.0)
    wait_until(lambda: motor.position > 20.0, what="motion")
    motor.stop()
    status.wait(30)
    stopped = motor.position
    assert 20.0 < stopped < 900.0
    wait_until(lambda: motor.user_setpoint.get() == pytest.approx(motor.position, abs=1e-3))


def test_new_target_on_the_way(motor, wait_until):
    first = motor.set(500.0)
    wait_until(lambda: motor.position > 20.0, what="motion")
    second = motor.set(-50.0)
    second.wait(30)
    assert first.done
    assert motor.position == pytest.approx(-50.0, abs=1e-3)


def test_stall_raises_an_alarm_and_the_put_comes_back(motor, put, signal):
    status_bits = signal("SAM:X.MSTA", EpicsSignalRO)
    put("Sim:Stall", "SAM:X")
    try:
        status = motor.set(200.0)
        with pytest.raises(UnknownStatusFailure):
            status.wait(30)
        assert int(status_bits.get()) & (1 << 6)
        assert int(status_bits.get()) & (1 << 9)
        assert motor.user_readback.alarm_severity == 2
    finally:
        put("Sim:Stall", "")
    motor.set(20.0).wait(30)
    assert motor.user_readback.alarm_severity == 0


def test_set_mode_moves_the_scale_not_the_motor(motor, wait_until):
    motor.set(10.0).wait(30)
    motor.set_current_position(0.0)
    try:
        wait_until(lambda: motor.user_offset.get() == pytest.approx(-10.0, abs=1e-3))
        wait_until(lambda: motor.limits == pytest.approx((-3010.0, 2990.0)))
        wait_until(lambda: motor.position == pytest.approx(0.0, abs=1e-3))
    finally:
        motor.user_offset.put(0.0, wait=True)
    wait_until(lambda: motor.position == pytest.approx(10.0, abs=1e-3))


def test_direction_mirrors_user_coordinates(motor, wait_until):
    motor.set(10.0).wait(30)
    motor.user_offset_dir.put(1, wait=True)
    try:
        wait_until(lambda: motor.position == pytest.approx(-10.0, abs=1e-3))
    finally:
        motor.user_offset_dir.put(0, wait=True)
    wait_until(lambda: motor.position == pytest.approx(10.0, abs=1e-3))


def test_tweak_and_jog_and_home(motor, signal, wait_until):
    step, forward = signal("SAM:X.TWV"), signal("SAM:X.TWF")
    step.put(5.0, wait=True)
    forward.put(1, wait=True)
    assert motor.user_readback.get(use_monitor=False) == pytest.approx(5.0, abs=1e-3)
    jog = signal("SAM:X.JOGF")
    jog.put(1)
    wait_until(lambda: motor.position > 15.0, what="jogging")
    jog.put(0, wait=True)
    wait_until(lambda: motor.motor_done_move.get() == 1, what="the end of jogging")
    assert motor.position > 15.0
    motor.set(20.0).wait(30)
    motor.home("forward", wait=False).wait(30)
    assert motor.position == pytest.approx(0.0, abs=1e-3)


def test_pause_and_go(motor, signal, wait_until):
    mode = signal("SAM:X.SPMG", string=True)
    motor.user_setpoint.put(300.0, wait=False)
    wait_until(lambda: motor.position > 20.0, what="motion")
    mode.put("Pause")
    wait_until(lambda: not motor.moving, what="the pause")
    assert motor.position < 299.0
    mode.put("Go")
    wait_until(lambda: motor.position == pytest.approx(300.0, abs=1e-3), what="the rest of the way")


def test_plain_name_is_the_setpoint(motor, signal):
    plain = signal("SAM:X")
    plain.put(7.0, wait=True)
    assert motor.user_setpoint.get(use_monitor=False) == 7.0
    assert signal("SAM:X.RTYP", EpicsSignalRO, string=True).get() == "motor"


def test_completion_is_prompt(motor, signal):
    plain = signal("SAM:X")

    def median_excess_s():
        excess = []
        for index in range(10):
            start = time.monotonic()
            plain.put(float(10 * ((index + 1) % 2)), wait=True)
            # 10 um with 5000 um/s^2: two ramps of sqrt(10 / 5000) s.
            excess.append(time.monotonic() - start - 2 * (10.0 / 5000.0) ** 0.5)
        return sorted(excess)[len(excess) // 2]

    # other load on the machine delays some rounds, slow polling would delay all of them
    assert any(median_excess_s() < 0.03 for _ in range(5))
