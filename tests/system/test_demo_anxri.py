"""``exitwave demo anxri`` from the command line: what was put in comes out, and the pictures are there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)

KEYS = {
    "uid", "picture", "mode", "columns", "injected_window_pm", "window_difference_pm", "window_se_pm", "null_p_value",
    "injected_species_pm", "species_difference_pm", "species_se_pm", "fwhm_se_over_bound", "pi_ratio",
    "recipe_window_difference_pm", "verdict", "wall_s",
}  # fmt: skip


def test_injected_difference_of_windows(tmp_path: Path) -> None:
    """20 columns of the alloy, the published counts: 7.5 pm put in, found within three standard errors."""
    command = [sys.executable, "-m", "exitwave.cli", "demo", "anxri", "--specimen", "NPG-Pd-Pt"]
    command += ["--mode", "phenomenological", "--json", str(tmp_path / "demo.json"), "--out", str(tmp_path)]
    env = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    whole = json.loads((tmp_path / "demo.json").read_text())
    found = whole["modes"]["phenomenological"]
    assert set(found) >= KEYS
    assert (found["mode"], found["columns"], found["injected_window_pm"]) == ("phenomenological", 20, 7.5)
    assert abs(found["window_difference_pm"] - 7.5) < 3.0 * found["window_se_pm"]
    assert found["window_se_pm"] < 1.5
    assert found["null_p_value"] < 0.01
    assert "difference of" in found["verdict"]
    assert found["fwhm_se_over_bound"] < 1.3
    assert found["live_refresh_s"] < 2.5
    assert Path(found["picture"]).stat().st_size > 50_000
    assert Path(found["live_picture"]).stat().st_size > 20_000


def test_bad_requests_start_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "exitwave.cli", "demo", "anxri", "--out", str(tmp_path)]
    for wrong in (["--specimen", "NaCl"], ["--mode", "wishful"], ["--counts", "0"]):
        done = subprocess.run([*command, *wrong], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2, done.stderr[-500:]
        assert len(done.stderr.strip().splitlines()) == 1
