"""When an exposure has ended, told by state or by counter, in whatever order they come."""

from __future__ import annotations

import pytest
from ophyd import Device, Signal
from ophyd.utils import WaitTimeoutError

from exitwave.devices import CameraError
from exitwave.devices.exposures import ArmedStatus, ExposureStatus


@pytest.fixture
def camera() -> Device:
    return Device(name="camera")


def signals() -> tuple[Signal, Signal]:
    # A state that was Readout before says nothing of the exposure that is commanded now.
    return Signal(name="state", value="Readout"), Signal(name="counter", value=4)


def test_the_state_tells_the_end(camera: Device) -> None:
    state, counter = signals()
    status = ExposureStatus(camera, state, counter, 5, 1.0)
    state.put("Readout")
    assert not status.done, "the readout of the frame before was taken for this one's"
    state.put("Acquire")
    assert not status.done
    state.put("Readout")
    status.wait(1)
    assert status.success


def test_a_driver_without_states_tells_it_by_the_frame(camera: Device) -> None:
    state, counter = signals()
    status = ExposureStatus(camera, state, counter, 6, 1.0)
    counter.put(5)
    assert not status.done, "the frame before was taken for this one"
    counter.put(6)
    status.wait(1)
    assert status.success


def test_an_error_of_the_driver_is_told(camera: Device) -> None:
    state, counter = signals()
    status = ExposureStatus(camera, state, counter, 5, 1.0)
    state.put("Error")
    with pytest.raises(CameraError, match="camera: Error while it exposed"):
        status.wait(1)


def test_armed_is_when_the_driver_says_so(camera: Device) -> None:
    acquiring = Signal(name="acquiring", value=0)
    status = ArmedStatus(camera, acquiring)
    with pytest.raises(WaitTimeoutError):
        status.wait(0.01)
    acquiring.put(1)
    status.wait(1)
    ArmedStatus(camera, acquiring).wait(1)
