"""The queue server: Redis and the RE Manager as children, everything on loopback and in one folder."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from exitwave.profiles.queue.client import ManagerClient
from exitwave.profiles.queue.errors import QueueError
from exitwave.profiles.queue.redis import free_port, redis_address, start_redis
from exitwave.profiles.storage.paths import DataFolder, check_writable, data_folder
from exitwave.profiles.storage.services import Child, start_child

__all__ = ["QueueServer", "run_queue"]

_STARTUP = "from exitwave.profiles.queue.startup import namespace\n\nglobals().update(namespace())\n"
_ALL: list[str | None] = [None]
_PERMISSIONS = {
    "user_groups": {
        "root": {
            "allowed_plans": _ALL,
            "forbidden_plans": [":^_"],
            "allowed_devices": _ALL,
            "forbidden_devices": [":^_:?.*"],
            "allowed_functions": _ALL,
            "forbidden_functions": [":^_"],
        },
        # Who may talk to the manager at all may queue every plan of the profile, and call no functions.
        "primary": {
            "allowed_plans": [":.*"],
            "forbidden_plans": _ALL,
            "allowed_devices": [":?.*:depth=3"],
            "forbidden_devices": _ALL,
            "allowed_functions": [],
            "forbidden_functions": [":.*"],
        },
    }
}


class QueueServer:
    """Redis (own or given) and the RE Manager of one profile; a context manager.

    Parameters
    ----------
    profile : str
        Profile whose session the worker opens.
    prefix : str, optional
        Prefix of process variables in place of the profile's.
    data : DataFolder, optional
        By default the user's; the queue's files lie in its ``queue`` folder.
    redis_url : str, optional
        A Redis that runs already.

    Attributes
    ----------
    address : str
        Control address of the RE Manager, for ``qserver --zmq-control-addr`` and for clients.
    """

    def __init__(
        self,
        profile: str = "bl18b",
        *,
        prefix: str | None = None,
        data: DataFolder | None = None,
        redis_url: str | None = None,
    ) -> None:
        self.profile = profile
        self.data = data or data_folder()
        self.prefix = prefix
        self._redis_url = redis_url
        self._redis: Child | None = None
        self._manager: Child | None = None
        self._client: ManagerClient | None = None
        self.address = ""

    def __enter__(self) -> QueueServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, timeout_s: float = 90.0) -> None:
        """Start Redis and the manager and wait until the manager answers.

        Raises
        ------
        QueueError, StorageError
            If something cannot be started; what was started is stopped again.
        """
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            self._start(timeout_s)
            undo.pop_all()

    def _start(self, timeout_s: float) -> None:
        folder = self.data.queue
        check_writable(folder)
        if self._redis_url is None:
            self._redis, redis = start_redis(folder / "redis")
        else:
            redis = redis_address(self._redis_url)
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self._write_files(redis, f"tcp://127.0.0.1:{free_port()}")
        environment = {
            "EXITWAVE_QUEUE_PROFILE": str(self.profile),
            "EXITWAVE_QUEUE_PREFIX": self.prefix or "",
            "EXITWAVE_DATA": str(self.data.root),
        }
        command = [
            sys.executable,
            "-c",
            "from bluesky_queueserver.manager.start_manager import start_manager as s; s()",
        ]
        self._manager = start_child(
            "RE Manager",
            "exitwave.profiles.queue.guard",
            [*command, "--config", folder / "config.yml"],
            folder / "manager.log",
            environment=environment,
        )
        self._client = ManagerClient(self.address)
        deadline = time.monotonic() + timeout_s
        while self._try_status() is None:
            if self._manager.process.poll() is not None or time.monotonic() > deadline:
                raise QueueError(
                    f"RE Manager: does not answer within {timeout_s:.0f} s ({self._manager.last_words()}); "
                    f"see {self._manager.log}"
                )

    def _write_files(self, redis: str, info_address: str) -> None:
        """Write configuration, permissions and start-up script (JSON is YAML)."""
        folder = self.data.queue
        (folder / "startup.py").write_text(_STARTUP)
        permissions = folder / "user_group_permissions.yaml"
        permissions.write_text(json.dumps(_PERMISSIONS, indent=2))
        config = {
            "network": {
                "zmq_control_addr": self.address,
                "zmq_info_addr": info_address,
                "zmq_publish_console": True,
                "redis_addr": redis,
                "redis_name_prefix": f"exitwave_{self.profile}".replace("/", "_"),
            },
            "startup": {
                "startup_script": str(folder / "startup.py"),
                "existing_plans_and_devices_path": str(folder / "existing_plans_and_devices.yaml"),
                "user_group_permissions_path": str(permissions),
                "device_max_depth": 3,
            },
            "operation": {"print_console_output": True, "user_group_permissions_reload": "ON_STARTUP"},
        }
        (folder / "config.yml").write_text(json.dumps(config, indent=2))

    def request(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send one request of the manager's API and return its answer.

        Raises
        ------
        QueueError
            If the manager does not answer or refuses.
        """
        if self._client is None:
            raise QueueError("RE Manager: was not started; call start() or use the server as a context")
        return self._client.request(method, params)

    def status(self) -> dict[str, Any]:
        """State of the manager: ``manager_state``, ``worker_environment_exists``, ``items_in_queue``, ..."""
        return self.request("status")

    def _try_status(self) -> dict[str, Any] | None:
        try:
            return self.status()
        except QueueError:
            return None

    def open_environment(self, timeout_s: float = 180.0) -> list[str]:
        """Let the worker open its session; returns the names of the plans that may be queued.

        Raises
        ------
        QueueError
            If the session cannot be opened, with the last line of the manager's log.
        """
        self.request("environment_open")
        status = self.wait_for(lambda s: s["manager_state"] == "idle", "opening the environment", timeout_s)
        if not status["worker_environment_exists"]:
            words = self._manager.last_words() if self._manager else ""
            raise QueueError(f"RE Manager: the session of {self.profile} cannot be opened ({words})")
        deadline = time.monotonic() + timeout_s
        while not (plans := self.request("plans_allowed", {"user_group": "primary"})["plans_allowed"]):
            if time.monotonic() > deadline:
                raise QueueError("RE Manager: no plans are allowed; see user_group_permissions.yaml")
            time.sleep(0.1)
        return sorted(plans)

    def wait_for(self, condition: Any, what: str, timeout_s: float) -> dict[str, Any]:
        """Wait until the manager's status meets a condition; a starved manager may miss an answer or two.

        Raises
        ------
        QueueError
            If it does not in time, or the manager ended.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            status = self._try_status()
            if status is not None and condition(status):
                return status
            if self._manager is None or self._manager.process.poll() is not None:
                raise QueueError(f"RE Manager: ended while {what}; see {self.data.queue / 'manager.log'}")
            if time.monotonic() > deadline:
                state = status["manager_state"] if status else "no answer"
                raise QueueError(f"RE Manager: {what} takes more than {timeout_s:.0f} s ({state})")
            time.sleep(0.1)

    def add_plan(self, name: str, **kwargs: Any) -> str:
        """Put a plan at the end of the queue; returns the item's uid.

        Raises
        ------
        QueueError
            If the manager refuses it.
        """
        item = {"item_type": "plan", "name": name, "kwargs": kwargs}
        params = {"item": item, "user": "exitwave", "user_group": "primary"}
        return str(self.request("queue_item_add", params)["item"]["item_uid"])

    def run(self, timeout_s: float = 600.0) -> list[dict[str, Any]]:
        """Run the queue to its end, or to a plan that fails; returns the history, oldest first.

        A plan that failed stays at the head of the queue, and what is behind it waits.

        Raises
        ------
        QueueError
            If it does not end in time.
        """
        before = self.status()["items_in_history"]
        self.request("queue_start")

        def ended(status: dict[str, Any]) -> bool:
            over = not status["items_in_queue"] or status["items_in_history"] > before
            return over and status["manager_state"] == "idle" and status["running_item_uid"] is None

        self.wait_for(ended, "running the queue", timeout_s)
        return list(self.request("history_get")["items"])

    def stop(self) -> None:
        """Close the environment, stop manager and Redis, and leave nothing running."""
        if self._manager is not None and self._manager.process.poll() is None and self._client is not None:
            with contextlib.suppress(QueueError):
                status = self.status()
                if status["worker_environment_exists"] and status["manager_state"] == "idle":
                    self.request("environment_close")
                    self.wait_for(lambda s: not s["worker_environment_exists"], "closing the environment", 30.0)
        if self._client is not None:
            self._client.close()
            self._client = None
        for child in (self._manager, self._redis):
            if child is not None:
                child.stop(timeout_s=30.0)
        self._manager = self._redis = None


def run_queue(profile: str = "bl18b", *, prefix: str | None = None, redis_url: str | None = None) -> int:
    """Bring up the queue of a profile, tell where it is, and keep it until SIGINT or SIGTERM.

    Raises
    ------
    QueueError, StorageError
        If it cannot be brought up.
    """
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with QueueServer(profile, prefix=prefix, redis_url=redis_url) as server:
        print(f"RE Manager at {server.address}; opening the session of {profile} ...", file=sys.stderr, flush=True)
        plans = server.open_environment()
        print(json.dumps({"ready": True, "address": server.address, "plans": plans, "pid": os.getpid()}), flush=True)
        while not ended.wait(1.0):
            if server._try_status() is None and server.wait_for(bool, "waiting for an answer", 60.0) is None:
                return 1
    return 0
