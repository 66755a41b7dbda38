"""A simulated beamline in a process of its own, and this process made its Channel Access client."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

# ophyd chooses its control layer, and caproto its interfaces, as soon as they are imported.
os.environ["OPHYD_CONTROL_LAYER"] = "caproto"
os.environ.update(EPICS_CA_ADDR_LIST="127.0.0.1", EPICS_CA_AUTO_ADDR_LIST="NO")

from ophyd.signal import EpicsSignalBase

# As a session does before its first signal: ophyd's 1 and 2 s are short for a simulator on a busy machine.
EpicsSignalBase.set_defaults(timeout=10.0, connection_timeout=10.0)

START_S = 60.0


@dataclass
class RunningIoc:
    """A simulator that said it was ready."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]
    truth: dict[str, Any] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        return str(self.ready["prefix"])

    @property
    def env(self) -> dict[str, str]:
        return dict(self.ready["env"])

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            # frames that are queued are written before it ends, however busy the disk is
            return self.process.wait(60)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(30)
            for stream in (self.process.stdout, self.process.stderr):
                if stream is not None:
                    stream.close()


def start_ioc(arguments: Sequence[str], log: Path) -> RunningIoc:
    """Start a simulator and wait for its ready line."""
    command = [sys.executable, "-m", "exitwave.simulators", "bl18b", "--with-parent", *arguments]
    with open(log, "w") as messages:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages, text=True)
    deadline = time.monotonic() + START_S
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if selector.select(0.5):
                line = process.stdout.readline()
                if not line:
                    break
                if line.startswith("{"):
                    return RunningIoc(process, json.loads(line))
    process.kill()
    process.wait(30)
    process.stdout.close()
    raise AssertionError(f"no ready line from {command}: {log.read_text()[-2000:]}")


def become_client(ioc: RunningIoc) -> None:
    """Point this process' Channel Access client at a simulator.

    caproto makes one client context, with the environment of that moment; forgetting it is how one
    pytest process can test one simulator after another.
    """
    os.environ.update(ioc.env)
    forget_client_context()


def forget_client_context() -> None:
    """Let the next PV be looked for with the environment of that moment."""
    from caproto.threading import pyepics_compat

    pyepics_compat._make_context.cache_clear()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Leave no client context behind for tests that talk to a simulator of their own."""
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        forget_client_context()


@pytest.fixture(scope="session")
def ioc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningIoc]:
    """The beamline with a perfect instrument, in real time."""
    running = start_ioc(["--prefix", "CT:"], tmp_path_factory.mktemp("ioc") / "log")
    become_client(running)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def fly_ioc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningIoc]:
    """A beamline with hidden errors (in `truth.json` beside its log), whose frames cost nothing."""
    folder = tmp_path_factory.mktemp("fly")
    arguments = ["--prefix", "FLY:", "--seed", "3", "--specimen", "memory", "--truth", str(folder / "truth.json")]
    running = start_ioc(arguments, folder / "log")
    running.truth = json.loads((folder / "truth.json").read_text())
    before = {name: os.environ.get(name) for name in running.env}
    become_client(running)
    yield running
    # whatever becomes of this one, the next finds its own
    os.environ.update({name: value for name, value in before.items() if value is not None})
    forget_client_context()
    assert running.stop() == 0


@pytest.fixture
def put(ioc: RunningIoc) -> Callable[..., None]:
    """Write one PV of the simulator."""
    from ophyd import EpicsSignal

    def write(name: str, value: Any) -> None:
        signal = EpicsSignal(ioc.prefix + name, name="signal", string=isinstance(value, str))
        signal.wait_for_connection(timeout=30)
        signal.put(value, wait=True)
        signal.destroy()

    return write


@pytest.fixture(name="signal")
def make_signal(ioc: RunningIoc) -> Iterator[Callable[..., Any]]:
    """Connect to PVs of the simulator, for as long as the test takes."""
    from ophyd import EpicsSignal

    made = []

    def make(suffix: str, cls: type[Any] = EpicsSignal, **kwargs: Any) -> Any:
        one = cls(f"{ioc.prefix}{suffix}", name=suffix.replace(":", "_"), **kwargs)
        one.wait_for_connection(timeout=30)
        made.append(one)
        return one

    yield make
    for one in made:
        one.destroy()


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Poll a condition until a deadline."""

    def wait(condition: Callable[[], bool], timeout_s: float = 30.0, what: str = "condition") -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not come true within {timeout_s} s")
            time.sleep(0.01)

    return wait
