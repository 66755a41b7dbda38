"""A simulated Titan G2 in a process of its own, for this folder's tests."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

START_S = 60.0


@dataclass
class RunningMicroscope:
    """A simulator that said it was ready."""

    ready: dict[str, Any]

    @property
    def prefix(self) -> str:
        return str(self.ready["prefix"])


def _forget_client_context() -> None:
    from caproto.threading import pyepics_compat

    pyepics_compat._make_context.cache_clear()


@pytest.fixture(scope="module")
def ioc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMicroscope]:
    """The microscope with a perfect instrument, in real time; for this module it takes the beamline's place."""
    log = tmp_path_factory.mktemp("stem") / "log"
    before = dict(os.environ)
    process = _start(log)
    assert process.stdout is not None
    try:
        ready = json.loads(_first_line(process, log))
        os.environ.update(ready["env"])
        _forget_client_context()
        yield RunningMicroscope(ready)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)
        process.stdout.close()
        os.environ.clear()
        os.environ.update(before)
        _forget_client_context()
    assert code == 0, log.read_text()[-2000:]


def _start(log: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "exitwave.simulators", "titan-g2", "--prefix", "EM:", "--with-parent"]
    with open(log, "w") as messages:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages, text=True)


def _first_line(process: subprocess.Popen[str], log: Path) -> str:
    deadline = time.monotonic() + START_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]
        while time.monotonic() < deadline:
            if selector.select(0.5):
                return process.stdout.readline()  # type: ignore[union-attr]
    process.kill()
    raise AssertionError(f"no ready line: {log.read_text()[-2000:]}")
