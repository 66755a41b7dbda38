"""The queue server over the simulated beamline: a radiograph is queued, run and read back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import xarray

from exitwave.profiles.queue import QueueError, QueueServer
from exitwave.profiles.queue.client import ManagerClient
from exitwave.profiles.simulation import SimulatedBeamline
from exitwave.profiles.storage import DataFolder, Services, connect_catalog, data_folder, embedded_address, open_run
from exitwave.profiles.storage.process import is_alive

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    return data_folder(tmp_path_factory.mktemp("queue")).prepare(needed_mib=64)


@pytest.fixture(scope="module")
def queue(data: DataFolder) -> Iterator[QueueServer]:
    simulator = SimulatedBeamline("bl18b", ["--seed", "7", "--speed", "20"], log=data.root / "simulator.log")
    before = dict(os.environ)
    try:
        # The worker finds the simulator by the environment that it inherits.
        os.environ.update(simulator.env)
        with QueueServer("bl18b", prefix=simulator.prefix, data=data) as server:
            yield server
    finally:
        simulator.stop()
        os.environ.clear()
        os.environ.update(before)


def processes_of(folder: Path) -> list[int]:
    """Processes whose command line or environment names this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if os.fsencode(folder) in text and is_alive(int(entry.name)):
                found.append(int(entry.name))
    return found


def test_a_queued_radiograph_is_measured_and_read_back(queue: QueueServer, data: DataFolder) -> None:
    plans = queue.open_environment()
    assert {"radiograph", "through_focus", "energy_calibration", "count", "scan"} <= set(plans)
    with pytest.raises(QueueError, match="radiogram"):
        queue.add_plan("radiogram")
    queue.add_plan("radiograph", exposure_s=0.1, num_frames=3, num_flats=2, num_darks=2, md={"sample": "star"})
    (item,) = queue.run(300.0)
    assert item["result"]["exit_status"] == "completed", item["result"]
    (uid,) = item["result"]["run_uids"]

    run = open_run(uid, data=data, source="journal")
    assert run.start["plan_name"] == "radiograph"
    assert run.start["sample"] == "star"
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    image = run.to_xarray().hr_camera
    assert image.sizes["time"] == 3
    assert image[0].compute().values.max() > 0

    # The session of the worker brought its Tiled; what it serves is what was measured.
    Services(data).wait_forwarded(uid, 120.0)
    address = embedded_address(data.tiled)
    assert address is not None
    catalog = connect_catalog(address)
    try:
        served = open_run(uid, catalog=catalog, source="tiled")
        assert set(served.streams) == set(run.streams)
        for stream in run.streams:
            xarray.testing.assert_equal(served.to_xarray(stream).compute(), run.to_xarray(stream).compute())
    finally:
        catalog.context.close()


def test_the_command_brings_the_queue_up_and_down(queue: QueueServer, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "exitwave.cli", "queue", "start", "bl18b", "--prefix", queue.prefix or ""]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "EXITWAVE_DATA": str(tmp_path)}
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["ready"]
        assert "radiograph" in ready["plans"]
        client = ManagerClient(ready["address"])
        assert client.request("status")["worker_environment_exists"]
        client.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert processes_of(tmp_path) == []


def test_a_stopped_queue_leaves_nothing_running(tmp_path: Path) -> None:
    data = data_folder(tmp_path).prepare(needed_mib=16)
    with QueueServer("bl18b", data=data) as server:
        assert server.status()["manager_state"] == "idle"
        assert len(processes_of(tmp_path)) >= 3
    assert processes_of(tmp_path) == []


def test_a_redis_that_is_not_there_is_named(tmp_path: Path) -> None:
    from exitwave.profiles.queue.redis import free_port

    data = data_folder(tmp_path)
    url = f"redis://127.0.0.1:{free_port()}/0"
    with pytest.raises(QueueError, match=f"nothing answers at {url}"):
        QueueServer("bl18b", data=data, redis_url=url).start()
