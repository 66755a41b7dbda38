"""A simulated beamline as a real process, and a session on it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from exitwave.profiles.session import Session, open_session
from exitwave.profiles.simulation import SimulatedBeamline
from exitwave.profiles.storage import DataFolder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.system)


def forget_client_context() -> None:
    """Have caproto make its one client context anew, by the environment of now.

    Threads that still look after the names of an earlier test may have made one for another simulator.
    """
    from caproto.threading import pyepics_compat

    pyepics_compat._make_context.cache_clear()


@contextmanager
def client_of(simulator: SimulatedBeamline) -> Iterator[None]:
    """Look for new process variables at this simulator; afterwards where they were looked for before.

    caproto makes one client context, and reads the environment when it looks for a name.
    """
    before = dict(os.environ)
    os.environ.update(simulator.env)
    forget_client_context()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        forget_client_context()


@dataclass
class Beamline:
    """What a test of the whole thing needs."""

    session: Session
    truth: dict[str, Any]
    simulator: SimulatedBeamline

    def __getattr__(self, name: str) -> Any:
        return self.session.namespace[name]

    def put(self, name: str, value: Any) -> None:
        """Drive a control of the simulator itself (``Sim:...``)."""
        from ophyd import EpicsSignal

        signal = EpicsSignal(f"{self.simulator.prefix}{name}", name="control", string=isinstance(value, str))
        signal.wait_for_connection(timeout=30)
        signal.set(value).wait(timeout=30)
        signal.destroy()


@pytest.fixture(scope="session")
def beamline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beamline]:
    """The beamline with its hidden errors, its clock twenty times as fast, and a session without services."""
    folder = tmp_path_factory.mktemp("beamline")
    truth = folder / "truth.json"
    simulator = SimulatedBeamline(
        "bl18b", ["--seed", "7", "--truth", str(truth), "--speed", "20"], log=folder / "simulator.log"
    )
    os.environ.update(simulator.env)
    forget_client_context()
    with open_session("bl18b", data=DataFolder(folder / "data"), simulator=simulator, services=False) as session:
        yield Beamline(session, json.loads(truth.read_text()), simulator)


@pytest.fixture(autouse=True)
def _shutters_closed_afterwards(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test did with the beamline, its shutters are closed when it is over."""
    yield
    if "beamline" in request.fixturenames:
        line: Beamline = request.getfixturevalue("beamline")
        assert line.fast_shutter.status.get(use_monitor=False) == "Closed"
        assert line.photon_shutter.status.get(use_monitor=False) == "Closed"
