"""A session on a simulated Titan: spectrum images, aborts, dose limits, tilt series that are gone on with."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
import pytest
from bluesky.utils import FailedStatus, RunEngineInterrupted
from ophyd import EpicsSignal

from exitwave.analysis.eds import EnergyWindow, window_maps
from exitwave.devices import CameraError, SettingError, StorageSpaceError
from exitwave.devices.stem import BeamError, DoseLimitError, EventFileError, ScanError
from exitwave.plans import PlanInputError
from exitwave.profiles.session import open_session
from exitwave.profiles.simulation import SimulatedBeamline
from exitwave.profiles.storage import DataFolder, NoSpectrumImageError, SpectrumImage, open_spectrum_image, runs

from .conftest import Beamline, client_of

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def titan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beamline]:
    """A Titan with hidden errors, its clock twice as fast, and a session without services."""
    folder = tmp_path_factory.mktemp("titan")
    truth = folder / "truth.json"
    simulator = SimulatedBeamline(
        "titan-g2", ["--seed", "7", "--truth", str(truth), "--speed", "2"], log=folder / "simulator.log"
    )
    data = DataFolder(folder / "data")
    with client_of(simulator), open_session("titan_g2", data=data, simulator=simulator, services=False) as session:
        yield Beamline(session, json.loads(truth.read_text()), simulator)


@pytest.fixture(autouse=True)
def _dark_afterwards(titan: Beamline) -> Iterator[None]:
    """Whatever a test did, the beam is blanked when it is over, nothing scans, and the dose begins anew."""
    yield
    assert titan.blanker.is_blanked
    assert titan.scan.busy.get(use_monitor=False) == "Idle"
    assert titan.dose.hardware_limit.get(use_monitor=False) == 0.0
    titan.RE(titan.stem.new_area())
    titan.put("Scan:ShiftX", 0.0)
    titan.put("Scan:ShiftY", 0.0)


def _summary(titan: Beamline, uid: str) -> dict[str, Any]:
    data = titan.open_run(uid).to_xarray("summary")
    return {key.removeprefix("scan_summary_"): value.values[0] for key, value in data.items()}


def _image(titan: Beamline, uid: str) -> SpectrumImage:
    return open_spectrum_image(uid, data=titan.session.data)


def test_a_map_of_three_frames_reads_back(titan: Beamline) -> None:
    (uid,) = titan.RE(
        titan.anxri.map(
            2.0, 128, 3, dwell_us=10.0, windows=[(5.24, 6.0)], elements=["Sr", "Ti", "O"], md={"sample": "S"}
        )
    )
    run = titan.open_run(uid)
    assert run.stop["exit_status"] == "success"
    assert run.start["sample"] == "S"
    assert (run.start["beam_kev"], run.start["shape"]) == (200.0, [128, 128])
    primary = run.to_xarray("primary")
    images = primary["haadf"].values
    assert images.shape == (3, 128, 128)
    assert np.corrcoef(images[0].ravel(), images[2].ravel())[0, 1] > 0.5, "frames of one lattice look alike"
    events = _image(titan, uid).events
    assert (events.n_frames, events.shape, events.n_segments) == (3, (128, 128), 4)
    assert np.array_equal(events.frame_starts[1:], primary["eds_event_stop"].values)
    assert len(events) > 100
    photons = run.to_xarray("events")
    for name in ("pixel", "channel", "segment"):
        assert np.array_equal(photons[f"eds_{name}"].values[0], getattr(events, name))
    # A pulse over the energy range is counted, and has no channel.
    assert 0 <= primary["eds_output_counts"].values.sum() - len(events) <= 0.02 * len(events)
    (image,) = window_maps(events, [EnergyWindow(4.3, 4.7)])
    assert image.sum() > 10, "titanium's line"
    assert (np.diff(primary["haadf_dose"].values) > 0).all()
    assert _summary(titan, uid)["reason"] == "complete"
    frames = run.to_xarray("frames")
    assert frames["scan_frame_record_frame"].values[-1] == 2
    assert np.isfinite(frames["scan_frame_record_drift_x"].values).all()


def test_drift_is_measured_and_followed(titan: Beamline) -> None:
    (uid,) = titan.RE(titan.anxri.map(2.0, 128, 30, dwell_us=10.0))
    run = titan.open_run(uid)
    frames, primary = run.to_xarray("frames"), run.to_xarray("primary")
    number = frames["scan_frame_record_frame"].values
    elapsed_s = run.start["frame_s"] * (number[-1] - number[0])
    # What a frame costs is what current, time and area say; the true current is off by a few per cent, and the
    # simulator counts when it gets to it.
    per_frame = run.start["dose_rate_e_a2_s"] * run.start["frame_s"] * (1.0 + titan.truth["current_error"])
    doses = primary["haadf_dose"].values
    assert (doses[-1] - doses[0]) / 29 == pytest.approx(per_frame, rel=0.15)
    # Over some seconds the swing of 15 minutes is a slope too.
    bound = [abs(v) + 2 * np.pi * 60 * abs(a) / titan.truth["drift_period_s"]
             for v, a in zip(titan.truth["drift_nm_min"], titan.truth["drift_swing_nm"], strict=True)]  # fmt: skip
    for axis, sign, steady, most in zip("xy", (1, 1), titan.truth["drift_nm_min"], bound, strict=True):
        seen = frames[f"scan_frame_record_drift_{axis}"].values[-1]
        assert seen == pytest.approx(sign * steady * elapsed_s / 60.0, abs=0.012)
        assert abs(seen) < most * elapsed_s / 60.0 + 0.012
        shifted = primary[f"haadf_shift_{axis}"].values
        assert shifted[-1] == pytest.approx(seen, abs=0.012), "the scan follows"


def test_a_dose_limit_is_honoured(titan: Beamline) -> None:
    limit = 4.0e6
    (uid,) = titan.RE(titan.anxri.map(2.0, 128, None, dwell_us=10.0, dose_limit_e_a2=limit))
    accumulated = titan.dose.accumulated.get(use_monitor=False)
    run = titan.open_run(uid)
    per_frame = run.start["dose_rate_e_a2_s"] * run.start["frame_s"]
    print(f"dose {accumulated:.6g} of {limit:.6g} e/A2, a frame {per_frame:.4g} e/A2")
    assert limit - 4.0 * per_frame < accumulated <= limit * (1.0 + 1e-9)
    summary = _summary(titan, uid)
    assert summary["exposed"] <= summary["taken"]
    assert summary["dose_limit"] == limit


def test_more_current_than_promised_ends_the_scan_within_a_frame(titan: Beamline) -> None:
    """The current is trebled while the scan runs: what was reckoned before is void, the limit is not."""
    limit = 8.0e7  # frames of 0.8 s: a busy client hears of the limit late
    seen = threading.Event()

    def more(name: str, doc: dict[str, Any]) -> None:
        if name == "event" and "scan_frame_record_frame" in doc["data"] and not seen.is_set():
            seen.set()
            threading.Thread(target=titan.put, args=("Col:BeamCurrent", 300.0)).start()

    token = titan.RE.subscribe(more)
    try:
        (uid,) = titan.RE(titan.anxri.map(2.0, 128, None, dwell_us=100.0, dose_limit_e_a2=limit))
    finally:
        titan.RE.unsubscribe(token)
        titan.put("Col:BeamCurrent", 100.0)
    assert seen.is_set()
    assert titan.dose.accumulated.get(use_monitor=False) == pytest.approx(limit, rel=1e-6)
    summary = _summary(titan, uid)
    assert summary["reason"] == "dose limit"
    assert summary["taken"] < summary["asked"]
    # One more than those that are whole may be in the file: the one in which the limit was reached.
    assert summary["taken"] - summary["exposed"] <= 3


def test_an_abort_in_the_middle_blanks_and_leaves_files_that_can_be_read(titan: Beamline) -> None:
    asked = threading.Event()

    def interrupt(name: str, doc: dict[str, Any]) -> None:
        if name == "event" and doc["data"].get("scan_frame_record_frame", -1) >= 1 and not asked.is_set():
            asked.set()
            # Not from the RunEngine's own thread, which would wait for itself.
            threading.Thread(target=titan.RE.request_pause, daemon=True).start()

    token = titan.RE.subscribe(interrupt)
    try:
        with pytest.raises(RunEngineInterrupted):
            titan.RE(titan.anxri.map(2.0, 128, 400, dwell_us=10.0))
    finally:
        titan.RE.unsubscribe(token)
    if titan.RE.state != "idle":
        titan.RE.abort()
    assert titan.blanker.is_blanked
    uid = next(iter(runs(titan.session.data.journal))).uid
    run = titan.open_run(uid)
    assert run.stop["exit_status"] in ("abort", "fail")
    primary = run.to_xarray("primary")
    taken = primary.sizes["time"]
    assert 2 <= taken < 400
    assert primary["haadf"].values[taken - 1].any()
    image = _image(titan, uid)
    assert image.n_frames == taken
    assert len(image.events)
    assert _summary(titan, uid)["reason"] == "stopped"


def test_a_full_disk_in_the_middle_fails_the_run_and_blanks_within_a_frame(titan: Beamline) -> None:
    """Nothing is exposed for files that do not take it; what was written stays, and the documents say how much."""
    full = EpicsSignal(f"{titan.simulator.prefix}Sim:DiskFull", name="disk_full", string=True)
    full.wait_for_connection(timeout=30)
    told: list[int] = []
    blanked_s: list[float] = []

    def fill(name: str, doc: dict[str, Any]) -> None:
        if name == "event" and doc["data"].get("scan_frame_record_frame", -1) >= 2 and not told:
            told.append(int(doc["data"]["scan_frame_record_frame"]))
            full.put("Full", wait=False)

    def blanked(*, value: Any, timestamp: float, **_: Any) -> None:
        if value == "Blanked" and told:
            blanked_s.append(timestamp)

    token = titan.RE.subscribe(fill)
    watch = titan.blanker.state.subscribe(blanked, run=False)
    try:
        with pytest.raises((EventFileError, CameraError), match=r"can't be written.*No space left") as caught:
            titan.RE(titan.anxri.map(2.0, 256, 400, dwell_us=20.0))
    finally:
        titan.blanker.state.unsubscribe(watch)
        titan.RE.unsubscribe(token)
        full.get(use_monitor=False)
        full_s = full.timestamp  # both times are the server's: load on this process is not its delay
        full.set("No").wait(timeout=30)
        full.destroy()
    words = str(caught.value)
    assert "\n" not in words
    assert words.startswith(("eds: ", "haadf: "))
    assert "see to the disk" in words
    uid = next(iter(runs(titan.session.data.journal))).uid
    run = titan.open_run(uid)
    frame_s = run.start["frame_s"] / 2.0  # the simulated clock runs twice as fast
    print(f"blanked {blanked_s[0] - full_s:.3f} s after the disk was to be full; a frame takes {frame_s:.3f} s")
    assert blanked_s[0] - full_s < frame_s
    assert (run.stop["exit_status"], run.stop["reason"]) == ("fail", words)
    summary = _summary(titan, uid)
    assert summary["reason"] == "write error"
    assert told[0] < summary["taken"] < 400
    primary = run.to_xarray("primary")
    assert primary.sizes["time"] == summary["taken"] == min(summary["images"], summary["event_frames"])
    assert primary["haadf"].values[-1].any()
    image = _image(titan, uid)
    assert image.n_frames == summary["taken"]
    assert primary["eds_event_stop"].values[-1] == len(image.events) > 0
    # the microscope is as good as before
    (again,) = titan.RE(titan.anxri.map(2.0, 64, 2))
    assert _summary(titan, again)["reason"] == "complete"


def test_a_fault_of_the_column_fails_the_run_and_blanks(titan: Beamline) -> None:
    def trip(name: str, doc: dict[str, Any]) -> None:
        if name == "event" and "scan_frame_record_frame" in doc["data"]:
            threading.Thread(target=titan.put, args=("Sim:BeamTrip", 1)).start()

    token = titan.RE.subscribe(trip)
    try:
        with pytest.raises((ScanError, FailedStatus), match="high voltage"):
            titan.RE(titan.anxri.map(2.0, 128, 400, dwell_us=10.0))
        with pytest.raises(BeamError, match="high voltage is off"):
            titan.RE(titan.stem.haadf(2.0, 64))
    finally:
        titan.RE.unsubscribe(token)
        titan.put("Sim:BeamTrip", 0)


def test_a_run_without_photons_is_no_spectrum_image(titan: Beamline) -> None:
    (uid,) = titan.RE(titan.stem.haadf(2.0, 64))
    with pytest.raises(NoSpectrumImageError, match=r"stem_haadf\): holds no frames with X-ray events; RE\(anxri"):
        _image(titan, uid)


def test_a_closed_valve_is_seen_before_anything_is_unblanked(titan: Beamline) -> None:
    titan.RE(titan.stem.close_valves())
    try:
        with pytest.raises(BeamError, match=r"gun_valve: is Closed; open it first"):
            titan.RE(titan.stem.haadf(2.0, 64))
        assert titan.dose.accumulated.get(use_monitor=False) == 0.0
    finally:
        titan.RE(titan.stem.open_valves())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"windows": [(4.3, 4.8)], "elements": ["Sr", "Ti", "O"]}, "Ti K"),
        ({"windows": [(4.3, 4.8)]}, "elements"),
        ({"windows": [(19.0, 22.0)], "elements": ["Sr"]}, "range"),
        ({"dwell_us": 0.0}, "dwell 0 us"),
        ({"field_nm": 0.05}, "resolution"),
        ({"field_nm": 500.0}, "field of view 500 nm"),
        ({"dose_limit_e_a2": 10.0}, "limit"),
        ({"num_frames": None}, "dose_limit_e_a2"),
        ({"num_frames": 10**6}, "GB"),
        ({"num_frames": 10**9}, r"1000000000 frames are outside \[1, 1000000\]"),
        ({"drift": "guess"}, "drift"),
        ({"fwhm_se_pm": 2.5}, "windows"),
        ({"rotation_deg": float("nan")}, r"rotation nan deg is outside \[-360, 360\] deg"),
        ({"rotation_deg": 400.0}, r"rotation 400 deg"),
        ({"dwell_us": 2e7}, r"dwell 2e\+07 us is over the longest"),
        ({"flyback_us": 2e6}, r"flyback 2e\+06 us is outside \[0, 1e\+06\] us"),
        ({"flyback_us": float("nan")}, r"flyback nan us"),
    ],
)
def test_what_can_not_be_meant_is_refused_before_the_beam_is_unblanked(
    titan: Beamline, arguments: dict[str, Any], words: str
) -> None:
    arguments = {"field_nm": 2.0, "size": 128, "num_frames": 2, **arguments}
    before = next(iter(runs(titan.session.data.journal)), None)
    with pytest.raises((PlanInputError, SettingError, StorageSpaceError), match=words) as caught:
        titan.RE(titan.anxri.map(**arguments))
    assert "\n" not in str(caught.value)
    assert titan.dose.accumulated.get(use_monitor=False) == 0.0
    after = next(iter(runs(titan.session.data.journal)), None)
    assert (after and after.uid) == (before and before.uid), "a refused plan opens no run"


def test_a_line_is_scanned_pass_by_pass(titan: Beamline) -> None:
    (uid,) = titan.RE(titan.anxri.line(2.0, 64, 20, dwell_us=100.0))
    events = _image(titan, uid).events
    assert events.shape == (1, 64)
    assert events.n_frames == 20
    assert titan.open_run(uid).to_xarray("primary")["haadf"].shape == (20, 1, 64)


def test_focus_is_found(titan: Beamline) -> None:
    truth = titan.truth
    # What the residual defocus and the specimen's height leave; the height counts in nm.
    (_,) = titan.RE(titan.stem.focus(40.0, 11, dwell_us=3.0))
    found = titan.column.defocus.get(use_monitor=False)
    candidates = [-truth["aberrations_nm"]["C10"] + s * 1e3 * truth["height_um"] for s in (-1, 1)]
    assert min(abs(found - c) for c in candidates) < 2.0
    assert titan.column.focus_result.defocus_sd.get() < 2.0


def test_doses_of_a_series_add_up(titan: Beamline) -> None:
    uids = titan.RE(titan.stem.dose_series([3e5, 6e5], 2.0, 64, dwell_us=5.0))
    assert len(uids) == 2
    starts = [titan.open_run(uid).start for uid in uids]
    assert [s["dose_series"]["index"] for s in starts] == [0, 1]
    assert starts[1]["dose_series"]["first"] == uids[0]


def test_a_tilt_over_the_limit_is_refused(titan: Beamline) -> None:
    with pytest.raises(PlanInputError, match=r"40 deg is outside the stage's \[-35, 35\] deg"):
        titan.RE(titan.stem.tilt_series([0.0, 40.0]))


def test_a_series_over_its_dose_is_refused_before_the_beam_is_unblanked(titan: Beamline) -> None:
    before = next(iter(runs(titan.session.data.journal)))
    with pytest.raises(PlanInputError, match=r"frames .*, tracking .*, focus .* go over the limit of 1e\+05") as caught:
        titan.RE(titan.stem.tilt_series([0.0, 1.0], 3.0, 64, track_field_nm=10.0, dose_limit_e_a2=1e5))
    assert "\n" not in str(caught.value)
    assert titan.dose.accumulated.get(use_monitor=False) == 0.0
    assert next(iter(runs(titan.session.data.journal))).uid == before.uid


def test_tracking_and_focus_count_and_stop_at_the_dose(titan: Beamline) -> None:
    """The current is thirty times as much once focus is looked for: the instrument's limit holds there as well."""
    options: dict[str, Any] = {"num_frames": 1, "dwell_us": 3.0, "track_field_nm": 10.0, "track_size": 256}
    limit = 6e6

    def more(name: str, doc: dict[str, Any]) -> None:
        if name == "start" and doc["plan_name"] == "stem_focus":
            titan.column.beam_current.put(3000.0)

    titan.put("Sim:Specimen", "Pt-particle")  # of which a frame shows more than a lattice
    token = titan.RE.subscribe(more)
    try:
        with pytest.raises(DoseLimitError, match=r"limit of 6e\+06 e/A2 is reached") as caught:
            titan.RE(
                titan.stem.tilt_series([0.0, 0.5, 1.0], 3.0, 64, focus_span_nm=40.0, dose_limit_e_a2=limit, **options)
            )
    finally:
        titan.RE.unsubscribe(token)
        titan.put("Col:BeamCurrent", 100.0)
        titan.put("Sim:Specimen", "SrTiO3")
        titan.goniometer.alpha.set(0.0).wait(timeout=30)
    assert "\n" not in str(caught.value)
    assert titan.dose.accumulated.get(use_monitor=False) == pytest.approx(limit, rel=1e-6)
    newest, before = (run for run, _ in zip(runs(titan.session.data.journal), range(2), strict=False))
    assert newest.stop is not None
    assert (newest.start["plan_name"], newest.stop["exit_status"]) == ("stem_focus", "fail")
    assert before.start["plan_name"] == "stem_track"
    tracked = titan.open_run(before.uid).to_xarray("primary")["haadf_dose"].values[-1]
    assert 0.0 < tracked < limit, "tracking counts"


def test_a_tilt_series_is_interrupted_and_gone_on_with(titan: Beamline) -> None:
    angles = [-1.0, 0.0, 1.0]

    def interrupt(name: str, doc: dict[str, Any]) -> None:
        if name == "start" and doc.get("tilt_series", {}).get("index") == 1:
            # Not from the RunEngine's own thread, which would wait for itself.
            threading.Thread(target=titan.RE.request_pause, daemon=True).start()

    token = titan.RE.subscribe(interrupt)
    try:
        with pytest.raises(RunEngineInterrupted):
            titan.RE(
                titan.stem.tilt_series(
                    angles, 3.0, 64, num_frames=2, track_field_nm=0.0, focus_span_nm=0.0, md={"sample": "tilted"}
                )
            )
    finally:
        titan.RE.unsubscribe(token)
    if titan.RE.state != "idle":
        titan.RE.abort()
    assert titan.blanker.is_blanked
    broken = next(iter(runs(titan.session.data.journal)))
    series = broken.start["tilt_series"]["id"]
    titan.RE(titan.stem.resume(broken.uid))
    progress = titan.session.instrument.series.progress(broken.uid)
    assert sorted(progress.taken) == [0, 1, 2]
    for index, uid in progress.taken.items():
        run = titan.open_run(uid)
        assert run.start["tilt_series"]["id"] == series
        assert run.start["sample"] == "tilted"
        alphas = run.to_xarray("primary")["haadf_alpha"].values
        np.testing.assert_allclose(alphas, angles[index], atol=0.1)
        with h5py.File(_image(titan, uid).path) as file:
            assert file["entry/frames/event_stop"].shape == (2,)
    taken = [
        run.uid for run in runs(titan.session.data.journal) if run.start.get("tilt_series", {}).get("id") == series
    ]
    assert len(taken) == 4, "the first is not taken again, the broken one is"
    titan.goniometer.alpha.set(0.0).wait(timeout=30)
