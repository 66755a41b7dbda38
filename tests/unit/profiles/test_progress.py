"""What somebody at a prompt is told of a run."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from exitwave.profiles.progress import RunReport, step_bar


@pytest.fixture
def told() -> tuple[RunReport, io.StringIO]:
    text = io.StringIO()
    return RunReport(Console(file=text, width=200)), text


def tell(
    report: RunReport, start: dict[str, Any], events: list[tuple[str, dict[str, Any]]], stop: dict[str, Any]
) -> None:
    report("start", {"uid": "0123456789", "time": 100.0, "num_points": 4, **start})
    for stream in {stream for stream, _ in events}:
        report("descriptor", {"uid": stream, "name": stream})
    for stream, data in events:
        report("event", {"descriptor": stream, "data": data})
    report("stop", {"time": 165.0, **stop})


def test_a_tomogram_is_announced_and_its_audit_told(told: tuple[RunReport, io.StringIO]) -> None:
    report, text = told
    audit = {f"hr_camera_run_audit_{name}": value for name, value in {"asked": 900, "written": 897}.items()}
    audit |= {"hr_camera_run_audit_dropped": 3, "hr_camera_run_audit_missing": 3}
    start = {"plan_name": "fly_tomography", "estimated_s": 62.0, "estimate": {"gigabytes": 7.5, "dose_gy": None}}
    tell(report, start, [("frame_audit", audit)], {"exit_status": "success"})
    lines = text.getvalue()
    assert "fly_tomography, about 1:02 (01234567), 7.5 GB" in lines
    assert "fly_tomography: success, 897 of 900 frames, 3 dropped, 3 missing, 1:05 min" in lines


def test_a_failure_is_told_with_its_reason(told: tuple[RunReport, io.StringIO]) -> None:
    report, text = told
    stop = {"exit_status": "fail", "reason": "ring: beam lost while frames were taken"}
    tell(report, {"plan_name": "resume", "resumes": "abcdefghij"}, [], stop)
    assert "goes on with abcdefgh" in text.getvalue()
    assert "resume: fail, 1:05 min, ring: beam lost while frames were taken" in text.getvalue()


def test_dose_and_precision_of_a_scan_are_told(told: tuple[RunReport, io.StringIO]) -> None:
    report, text = told
    frame = {"scan_frame_record_dose": 1234.5, "scan_frame_record_dose_rate": 9.0, "scan_frame_record_fwhm_se": 2.25}
    summary = {"scan_summary_dose": 2469.0, "scan_summary_precision": float("nan"), "scan_summary_reason": "dose limit"}
    tell(report, {"plan_name": "anxri_map"}, [("frames", frame), ("summary", summary)], {"exit_status": "success"})
    assert "anxri_map: success, 2469 e/A2, 1:05 min" in text.getvalue()


def test_the_bar_is_away_while_the_engine_is_paused(told: tuple[RunReport, io.StringIO]) -> None:
    report, _ = told
    report.state_changed("running", "idle")
    report("start", {"uid": "0123456789", "time": 0.0, "plan_name": "radiograph"})
    assert report._progress is not None
    assert report._progress.live.is_started
    report.state_changed("paused", "running")
    assert not report._progress.live.is_started
    report.state_changed("running", "paused")
    assert report._progress.live.is_started
    report("stop", {"time": 1.0, "exit_status": "abort", "reason": ""})
    assert report._progress is None


def test_steps_follow_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with step_bar() as say:
        say("correcting", 1, 2)
        say("reconstructing", 0, 10)
        say("reconstructing", 10, 10)
    shown = capsys.readouterr().err
    assert "correcting" in shown
    assert "reconstructing" in shown
