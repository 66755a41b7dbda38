"""A process that measures is killed in mid-scan; another one goes on with its tomogram."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exitwave.profiles.storage import runs

from .conftest import Beamline

NUM = 60
SIZE = 128
SCRIPT = """
import sys
from pathlib import Path
from exitwave.profiles.session import open_session
from exitwave.profiles.storage import DataFolder

prefix, folder, mode = sys.argv[1:]
with open_session("bl18b", prefix=prefix, data=DataFolder(Path(folder)), services=False) as session:
    ct = session.namespace["ct"]
    plan = ct.fly_tomography if mode == "fly" else ct.step_tomography
    session.RE(plan(0, 180, {num}, exposure_s=4.0, num_flats=2, num_darks=2, md={{"sample": "killed"}}))
"""


def _wait_for_frames(beamline: Beamline, process: subprocess.Popen[bytes], before: str, least: int) -> str:
    """Wait until the documents of a new run name so many projections; return its uid."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, "the process ended by itself"
        newest = next(iter(runs(beamline.session.data.journal)), None)
        if newest is not None and newest.uid != before:
            # A frame counts when both it and its angle are named: documents come one by one, and so does the end.
            keys, named = {}, {"": 0}
            for name, doc in newest.documents():
                if name == "stream_resource":
                    keys[doc["uid"]] = doc["data_key"].removeprefix("hr_camera")
                elif name == "stream_datum" and doc["indices"]["stop"] > 2:
                    named[keys[doc["stream_resource"]]] = doc["seq_nums"]["stop"] - 1
            if min(named[""], named.get("_theta", 0)) >= least:
                return newest.uid
        time.sleep(0.05)
    raise AssertionError("no projections within 90 s")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("mode", ["fly", "step"])
def test_no_angle_is_taken_twice_and_none_is_missing(beamline: Beamline, mode: str, tmp_path: Path) -> None:
    corner = (2048 - SIZE) // 2
    beamline.hr_camera.set_region(corner, corner, SIZE, SIZE)
    before = next(iter(runs(beamline.session.data.journal)), None)
    script = tmp_path / "scan.py"
    script.write_text(SCRIPT.format(num=NUM))
    command = [sys.executable, str(script), beamline.simulator.prefix, str(beamline.session.data.root), mode]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            uid = _wait_for_frames(beamline, process, before.uid if before else "", 8)
        finally:
            process.kill()
            process.wait(30)
    assert beamline.fast_shutter.status.get(use_monitor=False) == "Open", "a killed process closes nothing"
    run = beamline.open_run(uid)
    assert run.stop is None
    with beamline.open_tomogram(uid) as tomogram:
        taken = set(tomogram.index.tolist())
        assert 8 <= len(taken) < NUM
    try:
        (again,) = beamline.RE(beamline.ct.resume(uid))
    finally:
        beamline.hr_camera.set_region()
    assert beamline.open_run(again).start["resumes"] == uid
    assert beamline.open_run(again).start["num_points"] == NUM - len(taken), "taken again, or not enough"
    assert beamline.open_run(again).start["sample"] == "killed"
    # It was killed at the velocity of its scan.
    assert beamline.sample.theta.velocity.get(use_monitor=False) == pytest.approx(30.0)
    asked = np.arange(NUM) * 180.0 / NUM
    with beamline.open_tomogram(uid) as whole:
        assert whole.complete
        assert sorted(whole.index.tolist()) == list(range(NUM))
        # of the batch in which it was killed
        assert all(one.reason == "its angle is not recorded" for one in whole.excluded)
        assert len(whole.runs) == 2
        np.testing.assert_allclose(whole.angles_deg, asked[whole.index], atol=0.02)
        frames: Any = whole.frames
        assert frames.shape == (NUM, SIZE, SIZE)
        assert all(frames[i].any() for i in range(NUM)), "a frame is empty"
