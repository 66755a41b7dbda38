"""Bad input: refused before anything moves, in one line with device, value, limit and unit."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exitwave.devices import DeviceConnectionError
from exitwave.profiles.builder import build, load_profile

from .conftest import Beamline

Case = tuple[Callable[[Beamline], Any], list[str]]

CASES: dict[str, Case] = {
    "energy above the range": (lambda b: b.set_energy(15.0), ["dcm.energy", "15", "[5, 14] keV"]),
    "energy below the range": (lambda b: b.set_energy(4.0), ["dcm.energy", "4", "[5, 14] keV"]),
    "energy NaN": (lambda b: b.set_energy(math.nan), ["dcm.energy", "nan", "keV"]),
    "negative exposure": (lambda b: b.txm.radiograph(-1.0), ["hr_camera", "-1 s", "positive"]),
    "exposure NaN": (lambda b: b.txm.radiograph(math.nan), ["hr_camera", "nan s", "positive"]),
    "exposure over the frame period": (
        lambda b: b.txm.radiograph(1.0, period_s=0.5),
        ["hr_camera", "1 s", "0.5 s", "period"],
    ),
    "period under the readout": (
        lambda b: b.txm.radiograph(0.001, period_s=0.002),
        ["hr_camera", "0.002 s", "0.01 s", "readout"],
    ),
    "no frames": (lambda b: b.txm.radiograph(1.0, 0), ["num_frames", "0", "at least 1"]),
    "focus scan off the travel": (
        lambda b: b.txm.through_focus(span_um=200e3),
        ["zone_plate_a.z", "mm", "outside"],
    ),
    "pitch scan off the travel": (
        lambda b: b.alignment.rocking_curve(span_urad=5000),
        ["dcm.pitch", "urad", "outside"],
    ),
    "no room on the disk": (lambda b: b.txm.radiograph(0.01, 10**8), ["hr_camera", "GB", "free"]),
}


@pytest.mark.parametrize("name", CASES)
def test_refused_before_anything_moves(beamline: Beamline, name: str) -> None:
    request, words = CASES[name]
    moved: list[str] = []
    motors = [beamline.dcm.bragg, beamline.dcm.pitch, beamline.zone_plate_a.z, beamline.sample.x]
    tokens = [(motor, motor.motor_is_moving.subscribe(_note_moves(motor.name, moved))) for motor in motors]
    runs_before = _num_runs(beamline)
    try:
        with pytest.raises((ValueError, OSError)) as caught:
            beamline.RE(request(beamline))
    finally:
        for motor, token in tokens:
            motor.motor_is_moving.unsubscribe(token)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    assert not moved
    assert _num_runs(beamline) == runs_before, "no run is opened for a request that is refused"


def _note_moves(name: str, moved: list[str]) -> Callable[..., None]:
    def note(value: int, **_: object) -> None:
        if value:
            moved.append(name)

    return note


def _num_runs(beamline: Beamline) -> int:
    return len(list(beamline.session.data.journal.rglob("*.jsonl")))


def test_a_region_off_the_sensor(beamline: Beamline) -> None:
    with pytest.raises(ValueError, match=r"hr_camera: region x 1500\.\.2524.*2048 x 2048 pixels"):
        beamline.hr_camera.set_region(1500, 0, 1024, 1024)


def test_an_unknown_zone_plate(beamline: Beamline) -> None:
    with pytest.raises(ValueError, match=r"microscope: no zone plate 'C'; there are A, B"):
        beamline.microscope.find_zone_plate("C")


def test_a_folder_that_can_not_be_written(beamline: Beamline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beamline.hr_camera, "folder", "/proc/exitwave")
    with pytest.raises(OSError, match=r"hr_camera: folder /proc/exitwave can't be written"):
        beamline.RE(beamline.txm.radiograph(0.1))


def test_an_absent_ioc_is_named_with_what_is_missing(tmp_path: Path) -> None:
    absent = build(load_profile("bl18b"), prefix="ABSENT:", frames_folder=tmp_path)
    with pytest.raises(DeviceConnectionError, match=r"process variables did not connect .*ABSENT:SR:Current"):
        absent.require_connected(1.0)
