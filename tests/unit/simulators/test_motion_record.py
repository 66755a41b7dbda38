"""The motor record without Channel Access."""

from __future__ import annotations

import asyncio
import math

import pytest

from exitwave.simulators.clock import SimClock
from exitwave.simulators.records.motion import Axis, AxisErrors
from exitwave.simulators.records.motor import Motor, MotorSettings

SETTINGS = MotorSettings("M", "mm", -10.0, 10.0, 5.0, 0.1, 3, 0.0, "A motor")


class Bench:
    def __init__(self, **kwargs):
        self.axis = Axis(0.0, kwargs.pop("errors", None))
        self.motor = Motor(SETTINGS, SimClock(100.0), self.axis, **kwargs)
        self.history: list[object] = []
        done = self.motor.fields["DMOV"]
        post = done.post

        def record(value, **metadata):
            self.history.append(value)
            post(value, **metadata)

        done.__dict__["post"] = record  # of this one field, not of its class

    def __getitem__(self, name):
        return self.motor.fields[name].now

    async def put(self, name, value):
        """As a client's put with completion."""
        await asyncio.wait_for(self.motor.fields[name].write(value), 5.0)


def run(scenario):
    async def with_bench():
        bench = Bench()
        await scenario(bench)

    asyncio.run(with_bench())


def test_every_field_named_in_the_record_reference_is_there():
    # fmt: off
    names = {
        "VAL", "RBV", "DVAL", "RVAL", "DMOV", "MOVN", "STOP", "SPMG", "VELO", "VBAS", "ACCL", "BDST",
        "BVEL", "HLM", "LLM", "DHLM", "DLLM", "HLS", "LLS", "LVIO", "OFF", "DIR", "SET", "EGU",
        "PREC", "DESC", "MSTA", "STAT", "SEVR", "RDBD", "TWV", "TWF", "TWR", "JOGF", "JOGR", "HOMF",
        "HOMR", "CNEN", "VMAX", "RTYP", "VERS", "TDIR", "FOFF", "DRBV", "DIFF", "MRES",
    }
    # fmt: on
    fields = Bench().motor.fields
    assert names <= fields.keys()
    assert "BL:M" in Bench().motor.pvdb("BL:")
    assert "BL:M.RBV" in Bench().motor.pvdb("BL:")


def test_the_put_ends_with_the_motion_and_dmov_blinks():
    async def scenario(bench):
        await bench.put("VAL", 2.0)
        assert bench["RBV"] == pytest.approx(2.0)
        assert bench["DVAL"] == 2.0
        assert bench["RVAL"] == 20000
        assert bench["DMOV"] == 1
        assert bench["MOVN"] == 0
        assert bench.history[0] == 0
        assert bench.history[-1] == 1

    run(scenario)


def test_a_move_of_no_length_blinks_dmov():
    async def scenario(bench):
        await bench.put("VAL", 0.0)
        assert bench.history == [0, 1]

    run(scenario)


@pytest.mark.parametrize("target", [10.001, -11.0, math.nan, math.inf])
def test_soft_limit_refuses(target):
    async def scenario(bench):
        await bench.put("VAL", 1.0)
        await bench.put("VAL", target)
        assert bench["LVIO"] == 1
        assert bench["VAL"] == 1.0
        assert bench["DMOV"] == 1
        assert bench.axis.destination == pytest.approx(1.0)
        assert int(bench.motor.fields["VAL"].alarm.severity) == 2
        await bench.put("VAL", 2.0)
        assert bench["LVIO"] == 0
        assert int(bench.motor.fields["VAL"].alarm.severity) == 0

    run(scenario)


def test_equal_dial_limits_mean_none_but_the_switch_stops_it():
    async def scenario(bench):
        await bench.put("DHLM", 0.0)
        await bench.put("DLLM", 0.0)
        await bench.put("VAL", 50.0)
        assert bench["HLS"] == 1
        assert bench["RBV"] == pytest.approx(10.2)
        assert int(bench["MSTA"]) & (1 << 2)
        assert int(bench.motor.fields["RBV"].alarm.severity) == 2
        await bench.put("VAL", 0.0)
        assert bench["HLS"] == 0
        assert int(bench.motor.fields["RBV"].alarm.severity) == 0

    run(scenario)


def test_offset_and_direction_hold_together():
    async def scenario(bench):
        await bench.put("VAL", 4.0)
        await bench.put("DIR", 1)
        assert bench["VAL"] == -4.0
        assert bench["RBV"] == pytest.approx(-4.0)
        assert bench["DVAL"] == 4.0
        await bench.put("OFF", 1.0)
        assert bench["VAL"] == -3.0
        assert (bench["LLM"], bench["HLM"]) == (-9.0, 11.0)
        assert (bench["DLLM"], bench["DHLM"]) == (-10.0, 10.0)
        await bench.put("VAL", 0.0)
        assert bench.axis.drive(1e6) == pytest.approx(1.0)
        assert bench["RBV"] == pytest.approx(0.0)

    run(scenario)


def test_set_mode_changes_the_offset_and_moves_nothing():
    async def scenario(bench):
        await bench.put("VAL", 4.0)
        await bench.put("SET", 1)
        await bench.put("VAL", 0.0)
        await bench.put("SET", 0)
        assert bench["OFF"] == -4.0
        assert bench.axis.destination == pytest.approx(4.0)
        await bench.put("VAL", 1.0)
        assert bench.axis.destination == pytest.approx(5.0)

    run(scenario)


def test_set_mode_with_a_frozen_offset_redefines_the_dial():
    async def scenario(bench):
        await bench.put("VAL", 4.0)
        await bench.put("FOFF", 1)
        await bench.put("SET", 1)
        await bench.put("VAL", 0.0)
        await bench.put("SET", 0)
        assert bench["OFF"] == 0.0
        assert bench["DRBV"] == pytest.approx(0.0)
        assert bench.axis.destination == pytest.approx(4.0)

    run(scenario)


def test_stop_completes_waiting_puts_short_of_the_target():
    async def scenario(bench):
        moving = asyncio.ensure_future(bench.put("VAL", 10.0))
        await asyncio.sleep(0.005)
        await bench.put("STOP", 1)
        await moving
        assert 0.0 < bench["RBV"] < 10.0
        assert bench["VAL"] == pytest.approx(bench["RBV"])
        assert bench["STOP"] == 0

    run(scenario)


def test_a_stalled_drive_gives_up_with_an_alarm():
    async def scenario(bench):
        bench.motor.stall(True)
        await bench.put("VAL", 5.0)
        assert bench["RBV"] == pytest.approx(0.0)
        assert int(bench["MSTA"]) & (1 << 6)
        assert int(bench["MSTA"]) & (1 << 9)
        assert int(bench.motor.fields["RBV"].alarm.severity) == 2
        bench.motor.stall(False)
        await bench.put("VAL", 5.0)
        assert bench["RBV"] == pytest.approx(5.0)
        assert int(bench.motor.fields["RBV"].alarm.severity) == 0

    run(scenario)


def test_pause_keeps_the_target_and_stop_drops_it():
    async def scenario(bench):
        moving = asyncio.ensure_future(bench.put("VAL", 10.0))
        await asyncio.sleep(0.005)
        await bench.put("SPMG", 1)
        await moving
        assert bench["VAL"] == 10.0
        assert bench["RBV"] < 10.0
        await bench.put("SPMG", 3)
        assert bench["RBV"] == pytest.approx(10.0)
        await bench.put("SPMG", 0)
        await bench.put("VAL", 0.0)
        assert bench["RBV"] == pytest.approx(10.0)

    run(scenario)


def test_disabled_torque_is_a_problem_not_a_motion():
    async def scenario(bench):
        await bench.put("CNEN", 0)
        await bench.put("VAL", 5.0)
        assert bench["RBV"] == pytest.approx(0.0)
        assert int(bench.motor.fields["RBV"].alarm.severity) == 2
        await bench.put("CNEN", 1)
        await bench.put("VAL", 5.0)
        assert bench["RBV"] == pytest.approx(5.0)

    run(scenario)


def test_jog_runs_into_the_soft_limit():
    async def scenario(bench):
        await bench.put("JOGR", 1)
        assert bench["RBV"] == pytest.approx(-10.0)
        assert bench["VAL"] == pytest.approx(-10.0)
        assert bench["LVIO"] == 1
        assert bench["JOGR"] == 0

    run(scenario)


def test_encoder_noise_is_in_the_readback_alone():
    async def scenario(_):
        bench = Bench(errors=AxisErrors(encoder_noise_rms=0.01), seed=3)
        readings = []
        for _ in range(20):
            await bench.put("VAL", 1.0)
            readings.append(bench["RBV"])
        assert len(set(readings)) > 5
        assert max(abs(reading - 1.0) for reading in readings) < 0.06
        assert bench.axis.position(1e9) == pytest.approx(1.0)

    run(scenario)


def test_commands_are_announced_before_the_axis_changes():
    async def scenario(_):
        seen: list[float] = []
        bench: Bench = Bench(on_command=lambda: seen.append(bench.axis.destination))
        await bench.put("VAL", 1.0)
        assert seen == [0.0]

    run(scenario)


@pytest.mark.parametrize("name", ["OFF", "BDST", "VELO", "ACCL", "HLM", "DLY", "MRES", "TWV"])
def test_not_a_number_changes_nothing(name):
    async def scenario(bench):
        before = bench[name]
        await bench.put(name, math.nan)
        assert bench[name] == before
        await bench.put("VAL", 1.0)
        assert bench["RBV"] == pytest.approx(1.0)

    run(scenario)
