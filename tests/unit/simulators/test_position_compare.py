"""Position compare on one axis, without Channel Access: pulses against the closed form of the trapezoid."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.simulators.clock import SimClock
from exitwave.simulators.records.motion import Axis, AxisErrors, Ripple
from exitwave.simulators.records.motor import Motor, MotorSettings
from exitwave.simulators.records.position_compare import PositionCompare

SETTINGS = MotorSettings("Theta", "deg", -200.0, 380.0, 30.0, 0.2, 5, 0.0)
RIPPLE = Ripple(0.004, 6.0, 1.0)


def test_passing_times_are_those_of_the_trapezoid():
    axis = Axis(0.0)
    axis.move(1.0, 10.0, speed=2.0, acceleration=4.0)
    # ramp of 0.5 s over 0.5 deg, then 2 deg/s
    assert axis.passes(0.125, 0.0, upwards=True) == pytest.approx(1.25, abs=1e-12)
    assert axis.passes(0.5, 0.0, upwards=True) == pytest.approx(1.5, abs=1e-12)
    assert axis.passes(7.5, 0.0, upwards=True) == pytest.approx(5.0, abs=1e-12)
    assert axis.passes(7.5, 0.0, upwards=False) is None
    assert axis.passes(10.5, 0.0, upwards=True) is None
    assert axis.passes(7.5, 5.5, upwards=True) is None


@given(
    target=st.floats(-50.0, 50.0).filter(lambda value: abs(value) > 0.5),
    part=st.floats(0.02, 0.98),
    speed=st.floats(0.05, 30.0),
    ripple=st.floats(0.0, 0.02),
)
@settings(max_examples=60, deadline=None)
def test_the_encoder_reads_a_position_when_it_passes_it(target, part, speed, ripple):
    axis = Axis(0.0, AxisErrors(ripple=Ripple(ripple, 6.0, 0.3)))
    axis.move(0.0, target, speed=speed, acceleration=speed / 0.2)
    t = axis.passes(part * target, 0.0, upwards=target > 0)
    assert t is not None
    assert axis.reading(t) == pytest.approx(part * target, abs=1e-9)


def test_ripple_is_in_the_velocity_and_gone_at_rest():
    axis = Axis(0.0, AxisErrors(ripple=RIPPLE))
    end_s = axis.move(0.0, 60.0, speed=4.0, acceleration=20.0)
    t = np.linspace(3.0, 12.0, 2000)
    readings = np.array([axis.reading(one) for one in t])
    velocity = np.diff(readings) / np.diff(t)
    assert np.abs(velocity / 4.0 - 1.0).max() == pytest.approx(0.004, rel=0.02)
    assert axis.reading(end_s) == pytest.approx(60.0, abs=1e-9)
    assert axis.position(end_s) == pytest.approx(60.0, abs=1e-9)


def put(channel: Any, value: float) -> Any:
    """Do what a client's put does."""
    return channel.on_put(value)


class Bench:
    """A motor, a position compare on it, and the pulses that came out."""

    def __init__(self, ripple=RIPPLE):
        self.clock = SimClock(20.0)
        self.motor = Motor(SETTINGS, self.clock, Axis(0.0, AxisErrors(ripple=ripple)))
        self.pulses: list[float] = []
        self.compare = PositionCompare([("Theta", self.motor)], self.clock, [self.pulses.append])
        self.put(PC_GATE_WID=100.0, PC_PULSE_STEP=1.0, PC_GATE_START=2.0)

    def put(self, **values):
        for name, value in values.items():
            put(self.compare.board.channels[name], value)

    def value(self, name):
        return self.compare.board.value(name)

    async def go(self, target):
        done = put(self.motor.fields["VAL"], target)
        if done is not None:
            await done


def test_a_stop_on_the_way_neither_doubles_nor_loses_a_pulse():
    async def run():
        bench = Bench()
        bench.put(PC_PULSE_MAX=40, PC_ARM=1)
        moving = asyncio.ensure_future(bench.go(60.0))
        while len(bench.pulses) < 7:
            await asyncio.sleep(0.001)
        stopping = bench.motor.stop()
        if stopping is not None:
            await stopping
        await moving
        await bench.go(60.0)
        return bench

    bench = asyncio.run(run())
    readings = [bench.motor.axis.reading(t) for t in bench.pulses]
    assert len(readings) == 40
    # those around the stop may have found the encoder where the ripple left it
    assert readings == pytest.approx(2.0 + np.arange(40), abs=2 * 0.004 * 6.0 / (2 * math.pi))
    assert bench.value("PC_NUM_CAP") == 40


def test_gates_repeat_and_the_box_disarms_itself():
    async def run():
        bench = Bench()
        bench.put(PC_GATE_WID=2.5, PC_GATE_STEP=10.0, PC_GATE_NGATE=3, PC_ARM=1)
        assert bench.value("PC_ARM_OUT") == 1
        await bench.go(40.0)
        return bench

    bench = asyncio.run(run())
    readings = [bench.motor.axis.reading(t) for t in bench.pulses]
    assert readings == pytest.approx([2, 3, 4, 12, 13, 14, 22, 23, 24], abs=1e-9)
    assert bench.value("PC_ARM_OUT") == 0


def test_pulses_by_time_and_the_capture_after_its_delay():
    async def run():
        bench = Bench(Ripple())
        put(bench.motor.fields["VELO"], 5.0)
        bench.put(PC_PULSE_SEL=1, PC_PULSE_STEP=0.25, PC_PULSE_MAX=8, PC_PULSE_DLY=0.1, PC_ARM=1)
        await bench.go(20.0)
        return bench

    bench = asyncio.run(run())
    assert np.diff(bench.pulses) == pytest.approx(0.25, abs=1e-12)
    captured = bench.compare._captured["PC_ENC1"]
    assert captured == pytest.approx(2.0 + 1.25 * np.arange(8) + 0.5, abs=1e-6)


def test_going_back_gives_no_pulses_and_the_negative_direction_does():
    async def run():
        bench = Bench()
        bench.put(PC_DIR=1, PC_GATE_START=20.0, PC_PULSE_MAX=5, PC_ARM=1)
        await bench.go(30.0)
        upwards = len(bench.pulses)
        await bench.go(10.0)
        return bench, upwards

    bench, upwards = asyncio.run(run())
    assert upwards == 0
    assert [bench.motor.axis.reading(t) for t in bench.pulses] == pytest.approx([20, 19, 18, 17, 16], abs=1e-9)
