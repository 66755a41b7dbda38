"""The simulated microscope as a process: scans, files, aborts, faults."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from exitwave.simulators.physics.electron_crystals import SPECIMENS


@pytest.fixture
def microscope(signal, tmp_path):
    """A rested microscope that writes into a folder of the test's own."""
    made = {}

    def pv(name):
        if name not in made:
            made[name] = signal(name)
        return made[name]

    def put(name, value, *, wait=True):
        pv(name).put(value, wait=wait)

    def rest():
        put("Scan:Stop", 1)
        for name in ("EDS:HDF1:Capture", "HAADF:HDF1:Capture", "HAADF:cam1:Acquire", "EDS:Acquire"):
            put(name, 0)
        for name in ("Sim:BeamTrip", "Sim:DiskFull", "Sim:DetectorStall", "Sim:Mode", "Dose:HardwareLimit"):
            put(name, 0)

    rest()
    settings = {
        "Scan:FieldOfView": 2.0, "Scan:Width": 64, "Scan:Height": 48, "Scan:Dwell": 20.0, "Scan:Flyback": 100.0,
        "Scan:NumFrames": 2, "Scan:SubWidth": 0, "Scan:SubHeight": 0, "Col:BeamCurrent": 2000.0,
        "HAADF:cam1:ImageMode": 1, "HAADF:cam1:NumImages": 2, "HAADF:HDF1:EnableCallbacks": 1,
        "HAADF:HDF1:FileWriteMode": 2, "HAADF:HDF1:NumCapture": 2, "EDS:HDF1:NumCapture": 2, "Scan:BlankOnStop": 1,
    }  # fmt: skip
    for name, value in settings.items():
        put(name, value)
    for plugin, stem in (("HAADF:HDF1:", "haadf"), ("EDS:HDF1:", "eds")):
        put(f"{plugin}FilePath", str(tmp_path))
        put(f"{plugin}FileName", stem)
        put(f"{plugin}FileNumber", 0)
    yield SimpleNamespace(pv=pv, put=put)
    rest()


def text(value):
    return value if isinstance(value, str) else bytes(np.asarray(value, np.uint8)).decode().rstrip("\0")


def arm(put, *, eds=True, haadf=True):
    if eds:
        put("EDS:Acquire", 1)
        put("EDS:HDF1:Capture", 1, wait=False)
    if haadf:
        put("HAADF:HDF1:Capture", 1, wait=False)
        put("HAADF:cam1:Acquire", 1, wait=False)


def test_it_starts_blanked_with_open_valves(ioc, signal):
    assert signal("Blanker:Blank_RBV").get() == 1
    assert signal("CV1:Status").get() == signal("CV2:Status").get() == 1
    assert signal("VAC:Gun:Pressure").get() < 1e-10
    assert signal("Scan:Busy_RBV").get() == 0
    assert signal("Sim:Specimen").enum_strs == SPECIMENS


def test_a_scan_writes_events_and_images(microscope, wait_until, tmp_path):
    pv, put = microscope.pv, microscope.put
    arm(put)
    wait_until(lambda: pv("EDS:HDF1:Capture_RBV").get() == 1 and pv("HAADF:cam1:Acquire_RBV").get() == 1)
    put("Blanker:Blank", 0)
    put("Scan:Start", 1)
    assert pv("Scan:State_RBV").get() == 2
    assert pv("Scan:Busy_RBV").get() == 0
    assert pv("Scan:Frame_RBV").get() == 2
    assert pv("Blanker:Blank_RBV").get() == 0
    wait_until(lambda: pv("EDS:HDF1:Capture_RBV").get() == 0 and pv("HAADF:HDF1:Capture_RBV").get() == 0)
    with h5py.File(text(pv("EDS:HDF1:FullFileName_RBV").get())) as file:
        entry = file["entry"]
        assert entry.attrs["mode"] == "first-principles"
        stops, segments = entry["frames/event_stop"][...], entry["events/segment"][...]
        assert stops.shape == (2,)
        assert stops[-1] == entry["events/pixel"].shape[0] > 500
        assert entry["events/pixel"][...].max() < 48 * 64
        assert set(segments.tolist()) == {0, 1, 2, 3}
        assert np.array_equal(np.repeat([0, 1], np.diff(stops.astype(int), prepend=0)), entry["events/frame"][...])
        assert np.all(entry["frames/output_counts"][...] <= entry["frames/input_counts"][...])
        spectrum = np.bincount(entry["events/channel"][...], minlength=2048)
        assert abs(int(np.argmax(spectrum[400:500])) + 400 - 451) <= 3  # Ti Ka, 4.511 keV
    assert np.array_equal(spectrum, np.asarray(pv("EDS:Spectrum").get(), int))
    with h5py.File(text(pv("HAADF:HDF1:FullFileName_RBV").get())) as file:
        images = file["entry/data/data"]
        assert images.shape == (2, 48, 64)
        assert images[...].std() > 100
        assert list(file["entry/instrument/NDAttributes/ScanFrame"]) == [0, 1]
        assert file["entry/instrument/NDAttributes/PixelSize"][0] == pytest.approx(2.0 / 64)


def test_events_of_a_row_come_when_it_has_been_scanned(microscope, wait_until):
    pv, put = microscope.pv, microscope.put
    for name, value in (("Scan:Dwell", 400.0), ("Scan:NumFrames", 1), ("EDS:HDF1:NumCapture", 1)):
        put(name, value)
    arm(put, haadf=False)
    put("Blanker:Blank", 0)
    put("Scan:Start", 1, wait=False)
    wait_until(lambda: pv("EDS:HDF1:SWMRActive_RBV").get() == 1)
    seen = []
    with h5py.File(text(pv("EDS:HDF1:FullFileName_RBV").get()), "r", swmr=True) as file:
        pixels = file["entry/events/pixel"]

        def grown():
            before = pv("Scan:Row_RBV").get()
            pixels.refresh()
            seen.append(pixels.shape[0])
            last = int(pixels[-1]) // 64 if seen[-1] else 0
            after = pv("Scan:Row_RBV").get()
            # 5 rows in 0.13 s: the channel may be a batch behind the file
            assert pv("Scan:Busy_RBV").get() == 0 or after == 0 or last <= max(before, after) + 8
            return pv("Scan:Busy_RBV").get() == 0

        wait_until(grown, what="the end of the scan")
    assert len(set(seen)) > 3


def test_stop_aborts_at_once_and_blanks(microscope, wait_until):
    pv, put = microscope.pv, microscope.put
    # a frame of minutes: who waited for its end would not get here
    put("Scan:Width", 2048)
    put("Scan:Height", 2048)
    put("Scan:Dwell", 100.0)
    put("Scan:NumFrames", 0)
    put("Blanker:Blank", 0)
    put("Scan:Start", 1, wait=False)
    wait_until(lambda: pv("Scan:Busy_RBV").get() == 1)
    put("Scan:Stop", 1)
    assert pv("Scan:State_RBV").get() == 3
    assert pv("Blanker:Blank_RBV").get() == 1
    assert pv("Blanker:Cause_RBV").get() == "abort"


def test_a_blanked_beam_makes_nothing_and_no_dose(microscope, wait_until):
    pv, put = microscope.pv, microscope.put
    put("Dose:Reset", 1)
    arm(put)
    put("Scan:Start", 1)
    wait_until(lambda: pv("EDS:HDF1:Capture_RBV").get() == 0 and pv("HAADF:HDF1:Capture_RBV").get() == 0)
    assert pv("EDS:HDF1:NumCaptured_RBV").get() == 2
    assert pv("EDS:HDF1:NumEvents_RBV").get() == 0
    assert pv("Dose:Accumulated_RBV").get() == 0.0


def test_the_hardware_dose_limit_blanks_and_the_scan_goes_on_dark(microscope, wait_until):
    pv, put = microscope.pv, microscope.put
    put("Dose:Reset", 1)
    # 2 nA over 2.0 x 1.5 nm: 4.2e7 e/A2/s; the limit comes in the first frame of 0.066 s
    put("Dose:HardwareLimit", 1e6)
    put("Blanker:Blank", 0)
    put("Scan:Start", 1)
    wait_until(lambda: pv("Blanker:Blank_RBV").get() == 1)
    assert pv("Blanker:Cause_RBV").get() == "hardware dose limit"
    assert pv("Dose:Accumulated_RBV").get() == pytest.approx(1e6, rel=1e-6)


def test_a_beam_trip_faults_the_scan_and_blanks(microscope, wait_until):
    pv, put = microscope.pv, microscope.put
    put("Scan:NumFrames", 0)
    put("Blanker:Blank", 0)
    put("Scan:Start", 1, wait=False)
    wait_until(lambda: pv("Scan:Frame_RBV").get() >= 1)
    put("Sim:BeamTrip", 1)
    wait_until(lambda: pv("Scan:Busy_RBV").get() == 0)
    assert pv("Scan:State_RBV").get() == 4
    assert "high voltage" in text(pv("Scan:Message_RBV").get())
    wait_until(lambda: pv("Blanker:Blank_RBV").get() == 1)


def test_a_full_disk_is_told(microscope, wait_until):
    pv, put = microscope.pv, microscope.put
    put("Scan:NumFrames", 0)
    arm(put, haadf=False)
    put("EDS:HDF1:NumCapture", 0)
    put("Blanker:Blank", 0)
    put("Scan:Start", 1, wait=False)
    wait_until(lambda: pv("EDS:HDF1:NumEvents_RBV").get() > 0)
    put("Sim:DiskFull", 1)
    wait_until(lambda: pv("EDS:HDF1:WriteStatus").get() == 1)
    wait_until(lambda: pv("EDS:HDF1:Capture_RBV").get() == 0)
    assert "No space left" in text(pv("EDS:HDF1:WriteMessage").get())
    with h5py.File(text(pv("EDS:HDF1:FullFileName_RBV").get())) as file:
        assert file["entry/events/pixel"].shape[0] > 0


def test_a_stalled_segment_counts_and_delivers_nothing(microscope, wait_until):
    pv, put = microscope.pv, microscope.put
    put("Sim:DetectorStall", 2)  # Seg1
    arm(put, haadf=False)
    put("Blanker:Blank", 0)
    put("Scan:Start", 1)
    wait_until(lambda: pv("EDS:HDF1:Capture_RBV").get() == 0)
    with h5py.File(text(pv("EDS:HDF1:FullFileName_RBV").get())) as file:
        assert 0 not in file["entry/events/segment"][...]
        assert np.all(file["entry/frames/input_counts"][:, 0] > 0)
        assert np.all(file["entry/frames/output_counts"][:, 0] == 0)


def test_the_frame_follows_the_settings(microscope, wait_until):
    pv, put = microscope.pv, microscope.put
    put("Scan:SubX", 8)
    put("Scan:SubWidth", 40)
    put("Scan:SubHeight", 16)
    wait_until(lambda: (pv("Scan:Columns_RBV").get(), pv("Scan:Rows_RBV").get()) == (40, 16))
    assert pv("HAADF:cam1:ArraySizeX_RBV").get() == 40
    assert pv("Scan:FrameTime_RBV").get() == pytest.approx(16 * (40 * 20e-6 + 100e-6))
    put("Scan:Dwell", -5.0)
    assert pv("Scan:Dwell_RBV").get() == pytest.approx(0.1)


def test_tilting_shadows_segments(microscope, wait_until):
    pv, put = microscope.pv, microscope.put
    put("STG:Alpha", 25.0)
    try:
        wait_until(lambda: pv("EDS:Seg1:Shadow_RBV").get() > 20.0)
        assert pv("EDS:Seg3:Shadow_RBV").get() == 0.0
    finally:
        put("STG:Alpha", 0.0)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["--mode", "magic"], "magic"), (["--specimen", "unobtainium"], "unobtainium"), (["--replay", "x.h5"], "replay")],
)
def test_a_wrong_argument_is_one_line_and_status_2(arguments, word):
    command = [sys.executable, "-m", "exitwave.simulators", "arm300f", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert word in done.stderr
