"""Device classes against the simulated microscope: names, units, enumerations, and what may be written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest

from exitwave.devices import Acquisition, SettingError
from exitwave.devices.stem import EventCapture, ScanError, ScanSettings
from exitwave.profiles.builder import Beamline, build, load_profile

UNITS = {
    "goniometer.x": "um",
    "goniometer.y": "um",
    "goniometer.z": "um",
    "goniometer.alpha": "deg",
    "goniometer.beta": "deg",
}
SIGNAL_UNITS = {
    "column.high_voltage": "kV",
    "column.beam_current": "pA",
    "column.convergence": "mrad",
    "column.defocus": "nm",
    "column.c30": "nm",
    "column.probe_size": "pm",
    "scan.field_of_view": "nm",
    "scan.dwell": "us",
    "scan.shift_x": "nm",
    "scan.frame_time": "s",
    "scan.pixel_size": "pm",
    "dose.rate": "e/A2/s",
    "dose.accumulated": "e/A2",
    "dose.hardware_limit": "e/A2",
    "vacuum.gun": "mbar",
    "haadf.inner_angle": "mrad",
    "eds.channel_width": "eV",
    "eds.process_time": "us",
    "eds.segment_1.solid_angle": "sr",
    "eds.segment_1.take_off": "deg",
}
ENUMS = {
    "blanker.state": ("Unblanked", "Blanked"),
    "gun_valve.status": ("Closed", "Open", "Moving", "Fault"),
    "column.high_tension": ("Off", "On"),
    "scan.state": ("Idle", "Scanning", "Done", "Aborted", "Fault"),
    "scan.busy": ("Idle", "Busy"),
    "scan.line_sync": ("Off", "Mains"),
    "scan.serpentine": ("No", "Yes"),
    "scan.blank_on_stop": ("No", "Yes"),
    "eds.acquire": ("Done", "Acquire"),
    "eds.range": ("20 keV", "40 keV"),
    "eds.dead_time_model": ("Non-paralysable", "Paralysable"),
    "eds.hdf.write_status": ("Write OK", "Write error"),
    "haadf.cam.image_mode": ("Single", "Multiple", "Continuous"),
}


@pytest.fixture(scope="module")
def line(ioc: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beamline]:
    beamline = build(load_profile("titan_g2"), prefix=ioc.prefix, frames_folder=tmp_path_factory.mktemp("frames"))
    beamline.require_connected(20)
    yield beamline
    for device in beamline.devices.values():
        device.destroy()


@pytest.fixture(autouse=True)
def _at_rest(line: Beamline) -> Iterator[None]:
    line["blanker"].set("blanked").wait(timeout=30)
    yield
    line["scan"].stop()
    line["blanker"].set("blanked").wait(timeout=30)


def _find(line: Beamline, dotted: str) -> Any:
    name, _, rest = dotted.partition(".")
    found = line[name]
    for part in rest.split("."):
        found = getattr(found, part)
    return found


def test_every_process_variable_is_there(line: Beamline) -> None:
    rows = line.connect(5)
    assert [row.missing for row in rows if not row.ok] == []
    assert sum(row.total for row in rows) > 230


@pytest.mark.parametrize("dotted", UNITS)
def test_axes_are_in_the_units_that_the_devices_state(line: Beamline, dotted: str) -> None:
    motor = _find(line, dotted)
    assert motor.egu == UNITS[dotted]
    low, high = motor.limits
    assert low < high


@pytest.mark.parametrize("dotted", SIGNAL_UNITS)
def test_numbers_are_in_the_units_that_the_devices_state(line: Beamline, dotted: str) -> None:
    signal = _find(line, dotted)
    signal.wait_for_connection(timeout=30)
    assert signal.describe()[signal.name]["units"] == SIGNAL_UNITS[dotted]


@pytest.mark.parametrize(
    ("dotted", "value", "words"),
    [
        (
            "column.beam_current",
            1e6,
            r"column.beam_current: 1e+06 pA is outside [0.1, 20000] pA; choose a value inside",
        ),
        ("column.high_voltage", 301.0, "column.high_voltage: 301 kV is outside [60, 300] kV; choose a value inside"),
        ("column.convergence", math.nan, "column.convergence: nan mrad is not a finite number; give one"),
        ("column.defocus", -2e4, "column.defocus: -20000 nm is outside [-10000, 10000] nm; choose a value inside"),
        ("scan.shift_x", 1500.0, "scan.shift_x: 1500 nm is outside [-1000, 1000] nm; choose a value inside"),
        ("scan.rotation", 361.0, "scan.rotation: 361 deg is outside [-360, 360] deg; choose a value inside"),
        ("eds.process_time", 60.0, "eds.process_time: 60 us is outside [0.1, 50] us; choose a value inside"),
        ("haadf.gain", -1.0, "haadf.gain: -1 is outside [0, 1000]; choose a value inside"),
        ("dose.hardware_limit", -1.0, "dose.hardware_limit: -1 e/A2 is outside [0, 1e+30] e/A2; choose a value inside"),
    ],
)
def test_a_setting_that_the_server_would_clip_is_refused_before_it_is_put(
    line: Beamline, dotted: str, value: float, words: str
) -> None:
    signal = _find(line, dotted)
    before = signal.get_setpoint(use_monitor=False)
    for ask in (signal.set, signal.put):
        with pytest.raises(SettingError) as caught:
            ask(value)
        assert str(caught.value) == words
    assert signal.get_setpoint(use_monitor=False) == before


@pytest.mark.parametrize("dotted", ENUMS)
def test_enumerations_agree(line: Beamline, dotted: str) -> None:
    signal = _find(line, dotted)
    signal.wait_for_connection(timeout=30)
    assert tuple(signal.enum_strs)[: len(ENUMS[dotted])] == ENUMS[dotted]


def test_what_is_read_only_for_the_device_is_so_on_the_wire(line: Beamline) -> None:
    for signal in (line["dose"].accumulated, line["scan"].state, line["blanker"].state, line["eds"].events):
        assert not signal._read_pv.write_access, f"{signal.pvname} can be written"


def test_the_blanker_follows_and_refuses_words_it_does_not_know(line: Beamline) -> None:
    blanker = line["blanker"]
    assert blanker.is_blanked
    blanker.set("unblanked").wait(timeout=30)
    assert not blanker.is_blanked
    blanker.stop()
    blanker.set("blanked").wait(timeout=30)
    assert blanker.is_blanked
    with pytest.raises(SettingError, match="ajar"):
        blanker.set("ajar")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ScanSettings(0.0, 64, 64, 5.0), "field of view 0 nm"),
        (ScanSettings(60.0, 64, 64, 5.0), "field of view 60 nm"),
        (ScanSettings(1.0, 4096, 4096, 5.0), "resolution of 0.8 pm"),
        (ScanSettings(2.0, 5000, 64, 5.0), "width 5000"),
        (ScanSettings(2.0, 64, 64, 0.0), "dwell 0 us"),
        (ScanSettings(2.0, 64, 64, float("nan")), "dwell nan us"),
        (ScanSettings(2.0, 64, 64, 5.0, flyback_us=-1.0), "flyback"),
        (ScanSettings(2.0, 64, 64, 5.0, num_frames=0), "0 frames"),
        (ScanSettings(2.0, 64, 64, 5.0, sub=(60, 0, 10, 10)), "part"),
    ],
)
def test_scans_that_can_not_be_are_refused(line: Beamline, settings: ScanSettings, words: str) -> None:
    with pytest.raises(SettingError, match=words) as caught:
        line["scan"].prepare(settings)
    assert "\n" not in str(caught.value)


def test_a_scan_says_its_shape_and_its_time_as_the_device_reckons_them(line: Beamline) -> None:
    scan = line["scan"]
    settings = ScanSettings(3.0, 96, 64, 10.0, flyback_us=50.0, line_sync=True, sub=(8, 4, 40, 20))
    scan.prepare(settings).wait(timeout=30)
    assert (scan.rows.get(use_monitor=False), scan.columns.get(use_monitor=False)) == settings.shape
    assert scan.frame_time.get(use_monitor=False) == pytest.approx(settings.frame_s)
    assert scan.pixel_size.get(use_monitor=False) == pytest.approx(1e3 * settings.pixel_nm)
    assert line["haadf"].frame_shape == settings.shape


def test_frames_and_events_are_written_and_referred_to(line: Beamline) -> None:
    scan, haadf, eds = line["scan"], line["haadf"], line["eds"]
    settings = ScanSettings(2.0, 64, 48, 10.0, num_frames=2)
    haadf.stage()
    eds.stage()
    try:
        scan.prepare(settings).wait(timeout=30)
        haadf.prepare(Acquisition(settings.frame_s, 2)).wait(timeout=30)
        eds.prepare(EventCapture(2, settings.frame_s)).wait(timeout=30)
        haadf.kickoff().wait(timeout=30)
        eds.kickoff().wait(timeout=30)
        line["blanker"].set("unblanked").wait(timeout=30)
        scan.kickoff().wait(timeout=30)
        scan.complete().wait(timeout=30)
        haadf.complete().wait(timeout=30)
        eds.complete().wait(timeout=30)
        newest = haadf.newest.get()
        assert newest.number == 1
        assert newest.image.shape == (48, 64)
        assert newest.dose_e_a2 > 0.0
    finally:
        haadf.unstage()
        eds.unstage()
    images, counters = list(haadf.collect_asset_docs()), list(eds.collect_asset_docs())
    photons = list(eds.photons.collect_asset_docs())
    for device, documents in ((haadf, images), (eds, counters), (eds.photons, photons)):
        resources = [doc for name, doc in documents if name == "stream_resource"]
        data = [doc for name, doc in documents if name == "stream_datum"]
        described = device.describe_collect()
        assert {doc["data_key"] for doc in resources} == set(described)
        assert {doc["indices"]["stop"] for doc in data} == {1 if device is eds.photons else 2}
        for doc in resources:
            with h5py.File(Path(doc["uri"].removeprefix("file://localhost"))) as file:
                dataset = file[doc["parameters"]["dataset"]]
                expected = described[doc["data_key"]]
                assert dataset.dtype.str == expected["dtype_numpy"], doc["data_key"]
                per_row = tuple(expected["shape"])
                assert dataset.shape == (per_row if device is eds.photons else (2, *per_row)), doc["data_key"]
    assert list(eds.photons.collect_asset_docs()) == [], "photons are referred to once"


def test_stopping_a_scan_blanks_and_ends_it_well(line: Beamline) -> None:
    scan = line["scan"]
    scan.prepare(ScanSettings(2.0, 64, 64, 20.0, num_frames=500)).wait(timeout=30)
    line["blanker"].set("unblanked").wait(timeout=30)
    scan.kickoff().wait(timeout=30)
    status = scan.complete()
    with pytest.raises(ScanError, match="is scanning"):
        scan.prepare(ScanSettings(2.0, 64, 64, 20.0))
    scan.stop()
    status.wait(timeout=30)
    assert line["blanker"].is_blanked


def test_a_scan_that_somebody_else_stopped_fails_with_a_name(line: Beamline) -> None:
    scan = line["scan"]
    scan.prepare(ScanSettings(2.0, 64, 64, 20.0, num_frames=500)).wait(timeout=30)
    scan.kickoff().wait(timeout=30)
    scan.stop_command.put(1, wait=True)
    with pytest.raises(ScanError, match="scan: Aborted"):
        scan.complete().wait(timeout=30)
