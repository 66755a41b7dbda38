"""Tiled and the forwarder as child processes of a session, started without waiting for them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from exitwave.profiles.storage.errors import ServiceError
from exitwave.profiles.storage.paths import DataFolder
from exitwave.profiles.storage.process import is_alive, read_json
from exitwave.profiles.storage.server import Address, api_key, embedded_address

__all__ = ["Child", "Services", "ServicesStatus", "forwarder_status", "start_child"]

_LOG_LIMIT_BYTES = 5_000_000
_RESTART_S = 10.0


class Child:
    """A child process that ends with this one: its standard input is a pipe that only we hold.

    Parameters
    ----------
    name : str
        For messages.
    process : subprocess.Popen
        Started with ``stdin=PIPE``.
    log : Path
        Where its output goes.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def last_words(self) -> str:
        """Last line of its output, for error messages."""
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1] if lines else "no output"

    def stop(self, timeout_s: float = 10.0) -> int:
        """Ask it to end (SIGTERM), kill it if it does not in time, and return its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def _open_log(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def start_child(
    name: str,
    module: str,
    arguments: Sequence[str | Path],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
) -> Child:
    """Start ``python -m module arguments`` as a child, with more in its environment; returns at once.

    Raises
    ------
    ServiceError
        If it cannot be started at all.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    try:
        with _open_log(log) as output:
            # A session of its own: Ctrl-C at the prompt interrupts the plan and not the storage.
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
    except OSError as error:
        raise ServiceError(f"{name}: cannot be started ({error}); see {log}") from error
    return Child(name, process, log)


def forwarder_status(data: DataFolder) -> dict[str, Any] | None:
    """Read what the forwarder last told (see `forwarder.Status`), with ``alive``; None if it never ran."""
    status = read_json(data.services / "forwarder.json")
    if status is None:
        return None
    return status | {"alive": is_alive(int(status["pid"]))}


@dataclass(frozen=True)
class ServicesStatus:
    """State of the background processes, for a prompt or a table."""

    tiled: str
    tiled_pid: int | None
    forwarder: str
    forwarder_pid: int | None
    pending: int
    lag_s: float
    last_error: str


class Services:
    """The storage's background processes.

    Parameters
    ----------
    data : DataFolder
        The data folder.
    readable : sequence of Path
        Folders of frames beside the data folder's own that Tiled may read.
    tiled : Address, optional
        A Tiled server that runs elsewhere; by default one is embedded.
    keep_alive : bool
        Start a process again that ended without being asked to, at most once in 10 s.

    Examples
    --------
    >>> with Services(data_folder().prepare()) as services:
    ...     catalog = connect_catalog(services.wait_ready(60))
    """

    def __init__(
        self,
        data: DataFolder,
        *,
        readable: Sequence[Path] = (),
        tiled: Address | None = None,
        keep_alive: bool = True,
    ) -> None:
        self.data = data
        self._readable = [data.frames, *readable]
        self._remote = tiled
        self._keep_alive = keep_alive
        self._keeper: threading.Thread | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self.children: dict[str, Child] = {}

    def __enter__(self) -> Services:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start what does not run yet, and return at once; see `wait_ready`."""
        if self._remote is None:
            self.start_server()
        self.start_forwarder()
        if self._keep_alive and self._keeper is None:
            self._ended.clear()
            self._keeper = threading.Thread(target=self._keep, name="storage-services", daemon=True)
            self._keeper.start()

    def _keep(self) -> None:
        starts = {"tiled": self.start_server, "forwarder": self.start_forwarder}
        while not self._ended.wait(_RESTART_S):
            for name, child in list(self.children.items()):
                if child.process.poll() is not None and not self._ended.is_set():
                    starts[name]()

    def start_server(self, port: int = 0) -> Child:
        """Start the embedded Tiled server, or return the one already started here."""
        api_key(self.data.tiled)
        arguments: list[str | Path] = ["--child", "--folder", self.data.tiled, "--port", str(port)]
        for folder in self._readable:
            arguments += ["--readable", folder]
        return self._start("tiled", "exitwave.profiles.storage.server", arguments)

    def start_forwarder(self) -> Child:
        """Start the forwarder, or return the one already started here."""
        arguments: list[str | Path] = ["--child", "--data", self.data.root]
        if self._remote is not None:
            arguments += ["--uri", self._remote.uri]
            if self._remote.key is not None:
                key_file = self.data.services / "remote_key"
                key_file.touch(mode=0o600)
                key_file.chmod(0o600)
                key_file.write_text(self._remote.key)
                arguments += ["--key-file", key_file]
        return self._start("forwarder", "exitwave.profiles.storage.forwarder", arguments)

    def _start(self, name: str, module: str, arguments: Sequence[str | Path]) -> Child:
        with self._lock:
            child = self.children.get(name)
            if child is None or child.process.poll() is not None:
                if child is not None:
                    child.stop()  # it is dead; this closes its pipe
                child = start_child(name, module, arguments, self.data.services / f"{name}.log")
                self.children[name] = child
            return child

    @property
    def address(self) -> Address | None:
        """Where Tiled is, None while the embedded server is not ready."""
        return self._remote or embedded_address(self.data.tiled)

    def wait_ready(self, timeout_s: float = 60.0) -> Address:
        """Wait until Tiled is there.

        Raises
        ------
        ServiceError
            If it is not within `timeout_s`, or its process ended.
        """
        deadline = time.monotonic() + timeout_s
        while (address := self.address) is None:
            child = self.children.get("tiled")
            if child is None or child.process.poll() is not None:
                words = child.last_words() if child else "it was not started"
                raise ServiceError(f"Tiled: the server does not run ({words}); see {self.data.services}")
            if time.monotonic() > deadline:
                raise ServiceError(f"Tiled: not ready within {timeout_s:.0f} s; see {child.log}")
            time.sleep(0.05)
        return address

    def wait_forwarded(self, uid: str, timeout_s: float = 60.0) -> float:
        """Wait until the forwarder has put a run into Tiled; returns the seconds waited.

        Raises
        ------
        ServiceError
            If it has not within `timeout_s`.
        """
        from exitwave.profiles.storage.state import is_done

        begin = time.monotonic()
        catalog = self._remote.uri if self._remote else "embedded"
        while not is_done(self.data.services / "forwarder.sqlite", catalog, uid):
            if time.monotonic() - begin > timeout_s:
                status = forwarder_status(self.data) or {}
                raise ServiceError(
                    f"forwarder: run {uid[:8]} is not in Tiled after {timeout_s:.0f} s "
                    f"({status.get('state', 'not started')}; {status.get('last_error') or 'no error told'})"
                )
            time.sleep(0.05)
        return time.monotonic() - begin

    def status(self) -> ServicesStatus:
        """State of the processes; costs two small files."""
        told = forwarder_status(self.data) or {}
        address = self.address
        server = read_json(self.data.tiled / "server.json") or {}
        return ServicesStatus(
            tiled=address.uri if address else "not ready",
            tiled_pid=server.get("pid") if address and self._remote is None else None,
            forwarder=told.get("state", "not started") if told.get("alive") else "not running",
            forwarder_pid=told.get("pid") if told.get("alive") else None,
            pending=int(told.get("pending", 0)),
            lag_s=float(told.get("lag_s", 0.0)),
            last_error=str(told.get("last_error", "")),
        )

    def stop(self) -> None:
        """Stop what was started here, the forwarder first."""
        self._ended.set()
        if self._keeper is not None:
            self._keeper.join()
            self._keeper = None
        for name in ("forwarder", "tiled"):
            if child := self.children.pop(name, None):
                child.stop()
