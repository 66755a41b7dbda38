"""Scaler, picoammeters, shutters, selectors, ring, against clients."""

from __future__ import annotations

import time

import bluesky.plans as bp
import pytest
from bluesky import RunEngine
from ophyd import EpicsScaler, EpicsSignalRO


@pytest.fixture
def beam(put):
    """Open the way from the ring to the ion chambers."""
    for name in ("FES", "PSH"):
        put(f"{name}:Open", 1)
    yield
    for name in ("PSH", "FES"):
        put(f"{name}:Close", 1)


def test_scaler_counts_for_its_preset_time(ioc, beam):
    scaler = EpicsScaler(f"{ioc.prefix}SCAL1", name="scaler")
    scaler.wait_for_connection(timeout=20)
    scaler.preset_time.set(0.5).wait(30)
    documents = []
    start = time.monotonic()
    RunEngine({})(bp.count([scaler], 1), lambda name, document: documents.append((name, document)))
    assert time.monotonic() - start >= 0.5
    data = next(document for name, document in documents if name == "event")["data"]
    assert data["scaler_channels_chan1"] == 5_000_000
    assert data["scaler_channels_chan2"] > data["scaler_channels_chan3"] > 0
    assert scaler.time.get() == pytest.approx(0.5)
    scaler.destroy()


def test_scaler_stops_early(ioc, signal, wait_until):
    count = signal("SCAL1.CNT")
    preset = signal("SCAL1.TP")
    elapsed = signal("SCAL1.T", EpicsSignalRO)
    preset.put(30.0, wait=True)
    before = elapsed.get(use_monitor=False)  # of the last count, and still there when this one begins
    count.put(1)
    wait_until(lambda: elapsed.get() != before and elapsed.get() > 0.1, what="counting")
    count.put(0, wait=True)
    wait_until(lambda: count.get() == 0)
    assert 0.1 < elapsed.get() < 5.0


def test_picoammeter_reading_is_fresh_when_the_put_completes(signal, beam, put):
    current = signal("IC1:Current", EpicsSignalRO)
    put("IC1:IntegrationTime", 0.2)
    acquire = signal("IC1:Acquire")
    start = time.monotonic()
    acquire.put(1, wait=True)
    assert time.monotonic() - start >= 0.2
    assert current.get(use_monitor=False) > 1e-10
    assert current.metadata["units"] == "A"


def test_picoammeter_overload_and_range(signal, beam, put):
    overload = signal("IC1:Overload", EpicsSignalRO, string=True)
    current = signal("IC1:Current", EpicsSignalRO)
    full_scale = {"2nA": 2e-9, "20nA": 20e-9, "200nA": 200e-9, "2uA": 2e-6}
    put("IC1:AutoRange", 1)
    put("IC1:Acquire", 1)
    put("IC1:AutoRange", 0)
    reading = current.get(use_monitor=False)
    small = [name for name, full in full_scale.items() if full < reading]
    chosen = signal("IC1:Range", EpicsSignalRO, string=True).get()
    assert full_scale[chosen] * 0.95 >= reading
    if small:
        put("IC1:Range", small[-1])
        put("IC1:Acquire", 1)
        assert overload.get(use_monitor=False) == "Yes"
        assert current.get(use_monitor=False) == pytest.approx(1.05 * full_scale[small[-1]], rel=1e-4)
    put("IC1:AutoRange", 1)


def test_shutter_takes_its_time_and_completes(signal, put):
    status = signal("FSH:Status", EpicsSignalRO, string=True)
    start = time.monotonic()
    put("PSH:Open", 1)
    assert time.monotonic() - start >= 1.5
    assert signal("PSH:Status", EpicsSignalRO, string=True).get(use_monitor=False) == "Open"
    put("PSH:Close", 1)
    put("FSH:Open", 1)
    assert status.get(use_monitor=False) == "Open"
    put("FSH:Close", 1)
    assert status.get(use_monitor=False) == "Closed"


def test_beam_dump_takes_permit_and_beam(signal, put, wait_until):
    put("FES:Open", 1)
    status = signal("FES:Status", EpicsSignalRO, string=True)
    current = signal("SR:Current", EpicsSignalRO)
    permit = signal("FES:Permit", EpicsSignalRO, string=True)
    assert current.get() > 100.0
    put("Sim:BeamDump", 1)
    try:
        wait_until(lambda: current.get() < 1.0 and permit.get() == "No", what="the loss of the beam")
        wait_until(lambda: status.get() == "Closed", what="the closing of the front end")
        put("FES:Open", 1)
        assert status.get(use_monitor=False) == "Closed"
        wait_until(lambda: status.alarm_severity == 2, what="the alarm")
    finally:
        put("Sim:BeamDump", 0)
    wait_until(lambda: current.get() > 100.0 and permit.get() == "Yes", what="the refill")


def test_a_stuck_shutter_is_a_fault_until_reset(signal, put, wait_until):
    status = signal("FSH:Status", EpicsSignalRO, string=True)
    put("Sim:ShutterFault", "FSH")
    try:
        put("FSH:Open", 1)
        assert status.get(use_monitor=False) == "Fault"
        put("FSH:Reset", 1)
        assert status.get(use_monitor=False) == "Fault"
    finally:
        put("Sim:ShutterFault", "None")
    put("FSH:Reset", 1)
    assert status.get(use_monitor=False) == "Closed"


def test_objective_turns_and_the_readback_follows(signal, put):
    readback = signal("DET:Objective_RBV", EpicsSignalRO, string=True)
    assert readback.enum_strs == ("2x", "4x", "10x")
    start = time.monotonic()
    put("DET:Objective", "4x")
    assert time.monotonic() - start >= 1.5
    assert readback.get(use_monitor=False) == "4x"
    put("DET:Objective", "10x")


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("SR:Current", "mA"),
        ("SR:Energy", "GeV"),
        ("SR:Lifetime", "h"),
        ("VAC:FE:Pressure", "mbar"),
        ("COND:Shaker:Amplitude", "um"),
        ("COND:Shaker:Frequency", "Hz"),
        ("IC2:ZeroOffset", "A"),
        ("HR1:cam1:AcquireTime", "s"),
    ],
)
def test_units(signal, name, units):
    one = signal(name, EpicsSignalRO)
    assert one.metadata["units"] == units
    assert isinstance(one.get(), float)
