"""Device classes against the simulated beamline: names, units, enumerations, and what may be written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exitwave.devices import Acquisition, Camera, CameraError, Motor, SettingError, ShutterError
from exitwave.profiles.builder import Beamline, build, load_profile

UNITS = {
    "collimating_mirror.pitch": "mrad",
    "collimating_mirror.y": "mm",
    "dcm.bragg": "deg",
    "dcm.gap": "mm",
    "dcm.pitch": "urad",
    "dcm.roll": "urad",
    "source_slits.x_plus": "um",
    "condenser.x": "um",
    "condenser.z": "mm",
    "condenser.pitch": "urad",
    "pinhole.x": "um",
    "sample.x": "um",
    "sample.z": "um",
    "sample.theta": "deg",
    "zone_plate_a.x": "um",
    "zone_plate_a.z": "mm",
    "hr_detector.z": "mm",
    "hr_detector.x": "mm",
    "telescope.x": "mm",
}

ENUMS = {
    "photon_shutter.status": ("Closed", "Open", "Moving", "Fault"),
    "photon_shutter.permit": ("No", "Yes"),
    "ring.beam_available": ("No", "Yes"),
    "vacuum.valve_1": ("Closed", "Open", "Moving", "Fault"),
    "hr_detector.objective": ("2x", "4x", "10x"),
    "ion_chamber_0.range": ("2nA", "20nA", "200nA", "2uA", "20uA", "200uA", "2mA"),
    "hr_camera.cam.image_mode": ("Single", "Multiple", "Continuous"),
    "hr_camera.hdf.file_write_mode": ("Single", "Capture", "Stream"),
    "hr_camera.hdf.write_status": ("Write OK", "Write error"),
}


@pytest.fixture(scope="module")
def line(ioc: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beamline]:
    beamline = build(load_profile("bl18b"), prefix=ioc.prefix, frames_folder=tmp_path_factory.mktemp("frames"))
    beamline.require_connected(20)
    yield beamline
    for device in beamline.devices.values():
        device.destroy()


def test_a_camera_whose_records_are_not_there_is_refused_before_its_first_use(ioc: Any) -> None:
    camera = Camera(f"{ioc.prefix}NOPE:", name="camera")
    with pytest.raises(TimeoutError, match=r"NOPE:cam1:MinY.*NOPE:HDF1:Capture"):
        camera.wait_for_connection(timeout=1.0)
    camera.destroy()


def _find(line: Beamline, dotted: str) -> Any:
    name, _, rest = dotted.partition(".")
    return getattr(line[name], rest)


def test_every_process_variable_is_there(line: Beamline) -> None:
    rows = line.connect(5)
    assert [row.missing for row in rows if not row.ok] == []
    assert sum(row.total for row in rows) > 650


@pytest.mark.parametrize("dotted", UNITS)
def test_axes_are_in_the_units_that_the_devices_state(line: Beamline, dotted: str) -> None:
    motor = _find(line, dotted)
    assert motor.egu == UNITS[dotted]
    low, high = motor.limits
    assert low < high, "soft limits are set"
    assert low <= motor.position <= high


@pytest.mark.parametrize("dotted", ENUMS)
def test_enumerations_agree(line: Beamline, dotted: str) -> None:
    signal = _find(line, dotted)
    strings = tuple(signal.enum_strs)
    # areaDetector pads its records with further states; the first ones are the contract.
    assert strings[: len(ENUMS[dotted])] == ENUMS[dotted]


def test_what_is_read_only_for_the_device_is_so_on_the_wire(line: Beamline) -> None:
    refused = [line["ring"].current, line["photon_shutter"].status, line["hr_camera"].hdf.num_captured]
    for signal in refused:
        assert not signal._read_pv.write_access, f"{signal.pvname} can be written"


def test_a_motor_refuses_what_it_can_not_reach(line: Beamline) -> None:
    motor: Motor = line["sample"].x
    with pytest.raises(ValueError, match=r"sample\.x: 9999 um is outside \[-3000, 3000\] um"):
        motor.set(9999)
    with pytest.raises(ValueError, match=r"sample\.x: target nan um"):
        motor.set(float("nan"))


def test_energy_moves_bragg_and_gap_together(line: Beamline) -> None:
    dcm = line["dcm"]
    dcm.energy.set(8.333).wait(timeout=30)
    assert dcm.bragg.position == pytest.approx(13.7245, abs=1e-3)
    assert dcm.gap.position == pytest.approx(12.867, abs=2e-3)
    assert dcm.energy.position == pytest.approx(8.333, abs=2e-4)
    dcm.energy.set(8.0).wait(timeout=30)


def test_the_microscope_follows_its_distances(line: Beamline) -> None:
    microscope = line["microscope"]
    # 20.168 mm focal length, detector at 1300 mm: M + 1/M + 2 = L/f
    magnification = microscope.magnification.get()
    assert magnification + 1 / magnification + 2 == pytest.approx(1300 / 20.168, rel=2e-3)
    assert microscope.pixel_size.get() == pytest.approx(650 / magnification, rel=1e-6)


def test_a_shutter_opens_closes_and_refuses_words_it_does_not_know(line: Beamline) -> None:
    shutter = line["fast_shutter"]
    shutter.set("open").wait(timeout=30)
    assert shutter.is_open
    shutter.set("close").wait(timeout=30)
    assert not shutter.is_open
    with pytest.raises(SettingError, match="ajar"):
        shutter.set("ajar")


def test_a_shutter_that_sticks_fails_with_a_name(line: Beamline, put: Any) -> None:
    shutter = line["fast_shutter"]
    put("Sim:ShutterFault", "FSH")
    try:
        with pytest.raises(ShutterError, match="fast_shutter"):
            shutter.set("open").wait(timeout=30)
    finally:
        put("Sim:ShutterFault", "None")
        shutter.reset()
        shutter.set("close").wait(timeout=30)


def test_a_burst_is_written_and_referred_to(line: Beamline) -> None:
    camera = line["hr_camera"]
    camera.stage()
    try:
        camera.prepare(Acquisition(0.02, 5))
        camera.kickoff().wait(timeout=30)
        camera.complete().wait(timeout=30)
        documents = list(camera.collect_asset_docs())
        assert camera.get_index() == 5
        assert camera.latest_frame.get().shape == (2048, 2048)
    finally:
        camera.unstage()
    resources = [doc for name, doc in documents if name == "stream_resource"]
    data = [doc for name, doc in documents if name == "stream_datum"]
    assert {doc["data_key"] for doc in resources} == set(camera.describe_collect())
    assert all(doc["indices"] == {"start": 0, "stop": 5} for doc in data)
    assert Path(resources[0]["uri"].removeprefix("file://localhost")).is_file()


def test_a_trigger_without_preparation_is_refused(line: Beamline) -> None:
    camera = line["hr_camera"]
    camera.stage()
    try:
        with pytest.raises(CameraError, match="prepare"):
            camera.trigger()
    finally:
        camera.unstage()
