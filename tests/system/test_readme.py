"""The README's first session works as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import Beamline

ROOT = Path(__file__).resolve().parents[2]


def _first_session() -> str:
    text = (ROOT / "README.md").read_text()
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert block is not None
    return block.group(1)


@pytest.mark.timeout(300)
def test_the_first_session(beamline: Beamline, capsys: pytest.CaptureFixture[str]) -> None:
    names = dict(beamline.session.namespace)
    exec(compile(_first_session(), "README.md", "exec"), names)
    assert names["frames"].shape == (4, 2048, 2048)
    assert "(4, 2048, 2048)" in capsys.readouterr().out


@pytest.mark.timeout(240)
def test_ipython_gives_the_session_under_its_names(tmp_path: Path) -> None:
    profile = tmp_path / "profile"
    # IPython writes history and locks into the folder of its profile: not into the checkout.
    profile.mkdir()
    for item in (ROOT / "profiles/bl18b").iterdir():
        if item.name in ("startup", "ipython_config.py", "beamline.toml"):
            (profile / item.name).symlink_to(item)
    code = (
        "import time; names = [RE, dcm, microscope, hr_camera, txm, alignment, catalog];"
        "print('session', session.beamline.profile.name, len(session.beamline.devices), session.ready_after_s)"
    )
    env = os.environ | {
        "EXITWAVE_SIMULATE": "1",
        "EXITWAVE_DATA": str(tmp_path / "data"),
        "OPHYD_CONTROL_LAYER": "caproto",
    }
    begin = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-m", "IPython", f"--profile-dir={profile}", "-c", code],
        env=env,
        capture_output=True,
        text=True,
        timeout=200,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    line = next(line for line in result.stdout.splitlines() if line.startswith("session"))
    _, name, devices, ready_after_s = line.split()
    assert (name, devices) == ("bl18b", "25")
    print(f"session ready {float(ready_after_s):.1f} s after its imports, {time.monotonic() - begin:.1f} s in all")
