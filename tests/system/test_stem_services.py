"""The electron microscope behind the queue, its runs in the catalog, and the other microscope's session."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
from bluesky.utils import FailedPause, RunEngineInterrupted
from scipy.ndimage import gaussian_filter

from exitwave.analysis.columns import find_columns, fit_columns
from exitwave.analysis.eds import EnergyWindow
from exitwave.analysis.errors import FocusRangeError
from exitwave.profiles.queue import QueueServer
from exitwave.profiles.session import open_session
from exitwave.profiles.simulation import SimulatedBeamline
from exitwave.profiles.storage import (
    DataFolder,
    Services,
    SpectrumImage,
    connect_catalog,
    data_folder,
    embedded_address,
    open_run,
    open_spectrum_image,
    runs,
)

from .conftest import Beamline, client_of

pytestmark = pytest.mark.timeout(240)

MODES = ("follow", "record", "ignore")
WINDOWS = [[3.53, 4.29], [5.24, 6.0]]


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_a_queued_spectrum_image_is_measured_and_served_by_the_catalog(tmp_path: Path) -> None:
    """A map through the RE Manager's worker: frames, photons and findings come out of Tiled as out of the journal."""
    data = data_folder(tmp_path).prepare(needed_mib=64)
    simulator = SimulatedBeamline("titan-g2", ["--seed", "7", "--speed", "5"], log=tmp_path / "simulator.log")
    try:
        with client_of(simulator), QueueServer("titan_g2", prefix=simulator.prefix, data=data) as queue:
            assert {"map", "line", "stem_haadf", "focus", "tilt_series", "dose_series"} <= set(queue.open_environment())
            queue.add_plan("map", field_nm=2.0, size=64, num_frames=3, windows=WINDOWS, elements=["Sr", "Ti", "O"])
            queue.add_plan("map", field_nm=2.0, size=64, num_frames=3, windows=[[4.3, 4.8]], elements=["Sr", "Ti", "O"])
            good, refused = queue.run(60.0)
            assert good["result"]["exit_status"] == "completed", good["result"]
            (uid,) = good["result"]["run_uids"]
            assert refused["result"]["exit_status"] == "failed"
            assert "Ti K" in refused["result"]["msg"]
            assert [run.uid for run in runs(data.journal)] == [uid], "a refused plan opens no run"
            kept = open_run(uid, data=data, source="journal")
            assert kept.stop is not None
            assert kept.stop["exit_status"] == "success"
            Services(data).wait_forwarded(uid, 120.0)
            address = embedded_address(data.tiled)
            assert address is not None
            catalog = connect_catalog(address)
            try:
                served = open_run(uid, catalog=catalog, source="tiled")
                assert set(served.streams) == set(kept.streams) >= {"primary", "frames", "events", "summary"}
                for stream in kept.streams:
                    xarray.testing.assert_equal(served.to_xarray(stream).compute(), kept.to_xarray(stream).compute())
                images = catalog[uid]["primary"].read(["haadf"])["haadf"].values
                assert images.shape[-2:] == (64, 64)
                assert images.any()
                assert served.start["windows"][1] == {"name": "E2", "low_kev": 5.24, "high_kev": 6.0}
            finally:
                catalog.context.close()
    finally:
        simulator.stop()


@contextmanager
def _running_arm(folder: Path) -> Iterator[Beamline]:
    truth = folder / "truth.json"
    arguments = ["--seed", "7", "--truth", str(truth), "--speed", "10"]
    arguments += ["--specimen", "NPG-Pd-Pt", "--mode", "phenomenological"]
    simulator = SimulatedBeamline("arm300f", arguments, log=folder / "simulator.log")
    data = DataFolder(folder / "data")
    with client_of(simulator), open_session("arm300f", data=data, simulator=simulator, services=False) as session:
        yield Beamline(session, json.loads(truth.read_text()), simulator)


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beamline]:
    """The ARM 300F with a nanoporous alloy in it, columns that were put in, and yields that make seconds do."""
    with _running_arm(tmp_path_factory.mktemp("arm")) as line:
        yield line


@pytest.fixture
def fresh_arm(tmp_path: Path) -> Iterator[Beamline]:
    """The same, just started: in an hour of simulated time a specimen drifts out of a small field."""
    with _running_arm(tmp_path) as line:
        yield line


def _map(line: Beamline, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Take a map; return its run and how it ended."""
    arguments = {"windows": WINDOWS, "elements": ["Au", "Pd", "Pt"], "accept_lines": True, **options}
    (uid,) = line.RE(line.anxri.map(2.0, 72, **arguments))
    run = line.open_run(uid)
    summary = {key.removeprefix("scan_summary_"): one.values[0] for key, one in run.to_xarray("summary").items()}
    return run, summary


def _to_the_middle(line: Beamline) -> None:
    """Move the stage to where the middle of the specimen was at the start."""
    for axis, off_nm in zip((line.goniometer.x, line.goniometer.y), line.truth["origin_nm"], strict=True):
        axis.set(-1e-3 * off_nm).wait(timeout=30)


def _focus(line: Beamline) -> None:
    """Focus, and look farther where the stage has carried the specimen meanwhile: the search says where."""
    for _ in range(6):
        try:
            line.RE(line.stem.focus(40.0, 11, size=128, dwell_us=3.0))
        except FocusRangeError as error:
            line.column.defocus.set(error.towards).wait(timeout=30)
        else:
            return
    pytest.fail("no focus within 120 nm of where it was")


def test_a_hole_in_the_specimen_is_a_picture_like_any_other(arm: Beamline) -> None:
    """Where there is nothing, nothing is known of widths or drift, and the map ends as it should."""
    run, summary = _map(arm, num_frames=3, dwell_us=20.0, fwhm_se_pm=4.0)
    assert (run.stop["exit_status"], summary["reason"]) == ("success", "complete")
    assert np.isnan(summary["precision"])
    assert arm.blanker.is_blanked


def test_the_other_microscope_takes_maps_with_two_segments(arm: Beamline) -> None:
    arm.put("Sim:YieldScale", 20.0)
    _to_the_middle(arm)
    run, summary = _map(arm, num_frames=3, dwell_us=100.0)
    assert (run.stop["exit_status"], summary["reason"]) == ("success", "complete")
    assert run.start["beam_kev"] == 300.0
    assert "ARM 300F" in run.start["instrument"]
    assert any("Pd L" in words for words in run.start["contaminated_windows"])
    primary = run.to_xarray("primary")
    assert primary["haadf"].shape == (3, 72, 72)
    image = open_spectrum_image(run.uid, data=arm.session.data)
    measured = image.measurement
    assert measured.beam_kev == 300.0
    assert (measured.events.n_segments, measured.events.shape) == (2, (72, 72))
    assert measured.metadata["specimen"] == "NPG-Pd-Pt"
    assert np.array_equal(measured.events.frame_starts[1:], primary["eds_event_stop"].values)
    (lines,) = image.window_maps([EnergyWindow(1.95, 2.3, "M lines of Au and Pt")])
    assert lines.sum() > 0.1 * len(measured.events)


def test_a_map_ends_when_widths_are_known_well_enough(arm: Beamline) -> None:
    """The scan stops by itself at the precision asked for, with about the frames that its first fits foretold."""
    _to_the_middle(arm)
    _focus(arm)
    arm.put("Sim:YieldScale", 200.0)
    wanted, most = 9.0, 60
    run, summary = _map(arm, num_frames=most, dwell_us=100.0, fwhm_se_pm=wanted)
    assert summary["reason"] == "precision"
    assert summary["precision"] <= wanted
    assert summary["taken"] < most
    assert arm.blanker.is_blanked
    frames = run.to_xarray("frames")
    number, error = frames["scan_frame_record_frame"].values, frames["scan_frame_record_fwhm_se"].values
    print(f"{summary['taken']} of {most} frames for {wanted} pm: {np.c_[number, error].round(2).tolist()}")
    assert (error[np.isfinite(error)][:-2] > wanted).all(), "it did not go on once it was known"


def _width_pm(image: SpectrumImage, drift_nm: np.ndarray | None) -> tuple[float, float]:
    """Mean width of the columns in E1 with the drift taken out, and its standard error; what rounding to pixels adds
    (a twelfth of a pixel's square to the variance) is taken off."""
    window = EnergyWindow(3.53, 4.29)
    counts, exposure = image.window_maps([window], drift_nm=drift_nm)[0], image.exposure(drift_nm=drift_nm)
    where = find_columns(counts / np.maximum(exposure, 0.2), spacing_px=0.2462 / image.pixel_nm)
    fit = fit_columns(counts, where, exposure=exposure)
    whole = np.array([exposure[int(y), int(x)] > 0.95 for y, x in np.clip(where, 0, np.array(counts.shape) - 1)])
    good = fit.ok & whole
    assert good.sum() >= 12
    pixel_pm = 1e3 * image.pixel_nm
    widths = np.sqrt((pixel_pm * fit.fwhm[good]) ** 2 - 8.0 * np.log(2.0) * pixel_pm**2 / 12.0)
    return float(widths.mean()), float(widths.std(ddof=1) / np.sqrt(good.sum()))


@pytest.mark.timeout(420)
def test_drift_that_was_recorded_or_ignored_is_taken_out_afterwards(fresh_arm: Beamline) -> None:
    """The specimen drifts by two columns; the widths are those of a map that the scan kept still."""
    arm = fresh_arm
    arm.put("Sim:Specimen", "NPG-Pd-Pt")
    _to_the_middle(arm)
    _focus(arm)
    arm.put("Sim:YieldScale", 20.0)
    widths: dict[str, tuple[float, float]] = {}
    # one after the other: while they are looked at, the specimen would drift on
    taken = {mode: arm.RE(arm.anxri.map(2.0, 128, 40, dwell_us=120.0, drift=mode))[0] for mode in MODES}
    for mode, uid in taken.items():
        image = open_spectrum_image(uid, data=arm.session.data)
        assert (image.n_frames, image.events.shape, image.frames.shape) == (40, (128, 128), (40, 128, 128))
        assert image.live_s.shape == (40, 2)
        assert (image.live_s > 0.0).all()
        assert image.pixel_nm == pytest.approx(2.0 / 128)
        assert image.scan["dwell_s"] == pytest.approx(120e-6)
        assert (np.diff(image.dose_e_a2) > 0.0).all()
        minutes = image.run.start["frame_s"] * np.arange(40) / 60.0
        true = np.outer(minutes, arm.truth["drift_nm_min"][::-1])
        assert np.hypot(*true[-1]) > 0.4, "or there is nothing to be taken out"
        measured = image.measured_drift_nm()
        assert np.abs(measured - true).max() < 0.04
        if mode == "ignore":
            assert image.drift_nm is None
            assert np.all(image.shifts_px() == 0.0)
            widths["ignored, measured afterwards"] = _width_pm(image, measured)
            smeared, sharp = (
                image.window_maps([EnergyWindow(3.53, 4.29)], drift_nm=one)[0].astype(float) for one in (None, measured)
            )
            # what is of the size of columns, in the part that all frames saw
            size = [gaussian_filter(one, 2.0) - gaussian_filter(one, 10.0) for one in (smeared, sharp)]
            left, there = (one[20:-20, 40:-40].var() for one in size)
            print(f"contrast of the columns {there:.2f}, and {left:.2f} where the drift is not taken out")
            assert left < 0.5 * there
            continue
        assert image.drift_nm is not None
        assert np.abs(image.drift_nm - true).max() < 0.04
        displaced_nm = np.abs(image.shifts_px()).max() * image.pixel_nm
        assert (displaced_nm < 0.1) if mode == "follow" else (displaced_nm > 0.4)
        widths[mode] = _width_pm(image, None)
    print("; ".join(f"{mode}: {width:.2f} +- {se:.2f} pm" for mode, (width, se) in widths.items()))
    followed, se = widths.pop("follow")
    for width, error in widths.values():
        assert abs(width - followed) < 3.0 * np.hypot(se, error)
    arm.put("Sim:YieldScale", 1.0)


@pytest.mark.parametrize("specimen", ["Pt-particle", "NPG-Pd-Pt"])
def test_a_region_is_followed_through_the_tilt(arm: Beamline, specimen: str) -> None:
    """Off the eucentric height a specimen moves by many fields of view; the beam follows it to a fraction of one."""
    arm.put("Sim:Specimen", specimen)
    angles, field_nm = [0.0, 2.0, 4.0], 12.0
    try:
        every = arm.RE(
            arm.stem.tilt_series(
                angles, field_nm, 64, num_frames=1, dwell_us=3.0, focus_span_nm=0.0, first_step_deg=1.0
            )
        )
    finally:
        arm.goniometer.alpha.set(0.0).wait(timeout=30)
    uids = [uid for uid in every if "tilt_series" in arm.open_run(uid).start]
    starts = [arm.open_run(uid).start for uid in uids]
    shifts = np.array([start["tilt_series"]["shift_nm"] for start in starts])
    tilts = np.radians(angles)
    moved = -1e3 * arm.truth["eucentric_um"][0] * np.sin(tilts)
    turn = np.radians(arm.truth["scan_rotation_deg"])
    followed = (shifts - shifts[0]) @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    # the simulated clock runs ten times as fast, and the specimen drifts
    minutes = 10.0 * (starts[-1]["time"] - starts[0]["time"]) / 60.0
    drift = minutes * (np.hypot(*arm.truth["drift_nm_min"]) + 0.5)
    off = np.hypot(followed[:, 0], followed[:, 1] - moved)
    print(
        f"{specimen}: moved by {moved.round(2).tolist()} nm, followed to {off.round(2).tolist()} nm; drift {drift:.1f}"
    )
    assert np.ptp(np.abs(moved)) > 2.0 * field_nm
    assert off.max() < 0.5 + drift
    images = [arm.open_run(uid).to_xarray("primary")["haadf"].values[0].astype(float) for uid in uids]
    if specimen == "Pt-particle":
        middles = np.array([_middle(image) for image in images]) * starts[0]["pixel_size_nm"]
        print(f"the particle's middle in the frames: {middles.round(2).tolist()} nm")
        # what it drifts by from the last look at it to the end of its frame: more on a busy machine
        runs_before = [arm.open_run(every[every.index(uid) - 1]) for uid in uids]
        since = [arm.open_run(uid).stop["time"] - run.start["time"] for uid, run in zip(uids, runs_before, strict=True)]
        drifted = 10.0 * np.array(since) / 60.0 * np.hypot(*arm.truth["drift_nm_min"])
        print(f"drifted by at most {drifted.round(2).tolist()} nm after it was looked at")
        assert np.all(np.abs(middles - middles[0]).max(axis=1) < 0.5 + drifted + drifted[0])


@pytest.mark.timeout(420)
def test_an_interrupted_series_finds_its_region_again(fresh_arm: Beamline) -> None:
    """Broken off while it tracks, off the eucentric height; tilt, shift and stage are elsewhere when it is resumed."""
    arm = fresh_arm
    arm.put("Sim:Specimen", "Pt-particle")
    _to_the_middle(arm)
    _focus(arm)
    angles, field_nm = [0.0, 2.0], 10.0
    taken: list[str] = []
    tracked: list[float] = []

    def interrupt(name: str, doc: dict[str, Any]) -> None:
        if name != "start":
            return
        if "tilt_series" in doc:
            taken.append(doc["uid"])
        elif doc["plan_name"] == "stem_track" and taken:
            tracked.append(doc["plan_args"]["alpha_deg"])
            if tracked[-1] > 1.5:  # half the way was tracked, the rest was not
                # Not from the RunEngine's own thread, which would wait for itself.
                threading.Thread(target=arm.RE.request_pause, daemon=True).start()

    token = arm.RE.subscribe(interrupt)
    try:
        with pytest.raises((RunEngineInterrupted, FailedPause)):
            arm.RE(
                arm.stem.tilt_series(
                    angles, field_nm, 64, num_frames=1, dwell_us=3.0, focus_span_nm=12.0, focus_num=7,
                    first_step_deg=1.0,
                )
            )  # fmt: skip
    finally:
        arm.RE.unsubscribe(token)
    if arm.RE.state != "idle":
        arm.RE.abort()
    # found at one degree, far from where it was, and looked at again there
    assert tracked == pytest.approx([1.0, 1.0, 2.0], abs=0.05)
    broken = next(iter(runs(arm.session.data.journal)))
    assert broken.start["plan_name"] == "stem_track"
    where = arm.goniometer.x.position
    try:
        for signal, value in ((arm.goniometer.x, where + 0.5), (arm.goniometer.alpha, -3.0)):
            signal.set(value).wait(timeout=30)
        for signal, value in ((arm.scan.shift_x, 200.0), (arm.scan.shift_y, -150.0)):
            signal.set(value).wait(timeout=30)
        uids = arm.RE(arm.stem.resume(-1))
    finally:
        arm.goniometer.alpha.set(0.0).wait(timeout=30)
        arm.goniometer.x.set(where).wait(timeout=30)
    progress = arm.session.instrument.series.progress(broken.uid)
    assert sorted(progress.taken) == [0, 1]
    assert progress.taken[0] == taken[0], "what was taken is not taken again"
    every = [arm.open_run(progress.taken[i]) for i in range(2)]
    assert uids[-1] == progress.taken[1]
    shifts = np.array([run.start["tilt_series"]["shift_nm"] for run in every])
    moved = -1e3 * arm.truth["eucentric_um"][0] * np.sin(np.radians(angles))
    turn = np.radians(arm.truth["scan_rotation_deg"])
    followed = (shifts - shifts[0]) @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    minutes = 10.0 * (every[-1].start["time"] - every[0].start["time"]) / 60.0
    drift = minutes * (np.hypot(*arm.truth["drift_nm_min"]) + 0.5)
    off = np.hypot(followed[:, 0], followed[:, 1] - moved)
    images = [run.to_xarray("primary")["haadf"].values[0].astype(float) for run in every]
    middles = np.array([_middle(image) for image in images]) * every[0].start["pixel_size_nm"]
    print(f"moved by {moved.round(2).tolist()} nm, followed to {off.round(2).tolist()} nm; drift {drift:.1f} nm")
    print(f"the particle's middle in the frames: {middles.round(2).tolist()} nm")
    # the stage comes back with 2 nm of play, which the shift takes up
    assert off.max() < 0.5 + drift + 2.0
    assert np.abs(middles - middles[0]).max() < 0.5
    for run in every:
        about = run.start["tilt_series"]
        assert about["approach_dose_e_a2"] > 0.0
        assert about["focus"]["found"] in (True, False)


def _middle(image: np.ndarray) -> tuple[float, float]:
    """Middle of what is brighter than a third, pixels."""
    bright = image - np.quantile(image, 0.05)
    y, x = np.nonzero(bright > 0.33 * np.quantile(bright, 0.99))
    return float(y.mean()), float(x.mean())
