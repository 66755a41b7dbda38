"""Channel Access on loopback alone: ports, environment, and caproto's server tuned for short latencies."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from caproto.asyncio.server import Context, VirtualCircuit

from exitwave.simulators.records.channels import put_accepted

__all__ = ["PortTakenError", "Server", "choose_port", "client_environment", "server_environment"]

LOOPBACK = "127.0.0.1"


class PortTakenError(OSError):
    """The port asked for is in use."""


def _is_free(port: int) -> bool:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
    ):
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            udp.bind((LOOPBACK, port))
            tcp.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose_port(wanted: int | None = None) -> int:
    """Return a port free for UDP and TCP on loopback.

    Parameters
    ----------
    wanted : int, optional
        The port to use; a random free one if left out.

    Returns
    -------
    int
        The port.

    Raises
    ------
    PortTakenError
        If `wanted` is taken, or no free port was found.
    """
    if wanted is not None:
        if not _is_free(wanted):
            raise PortTakenError(f"port {wanted} on {LOOPBACK} is in use; choose another or leave it out")
        return wanted
    for _ in range(50):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if _is_free(port):
            return port
    raise PortTakenError(f"no free port on {LOOPBACK}")


def server_environment(port: int, beacon_port: int) -> dict[str, str]:
    """Return the environment that keeps a Channel Access server on loopback and its beacons to itself."""
    return {
        **client_environment(port, beacon_port),
        "EPICS_CAS_INTF_ADDR_LIST": LOOPBACK,
        "EPICS_CAS_BEACON_ADDR_LIST": LOOPBACK,
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CAS_BEACON_PORT": str(beacon_port),
        "EPICS_CAS_SERVER_PORT": str(port),
    }


def client_environment(port: int, repeater_port: int) -> dict[str, str]:
    """Return the environment with which a Channel Access client finds this server and no other."""
    return {
        "EPICS_CA_ADDR_LIST": LOOPBACK,
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": str(port),
        "EPICS_CA_REPEATER_PORT": str(repeater_port),
        "EPICS_CA_MAX_ARRAY_BYTES": "20000000",
    }


class _Event(asyncio.Event):
    """caproto's event, whose wait takes a timeout, made to be cancelled.

    caproto's waits by `asyncio.wait_for`, which before Python 3.12 forgets a cancellation that comes in the step in
    which the event is set: a client that was reading when the server stopped kept it from ever stopping.
    """

    async def wait(self, timeout: float | None = None) -> Any:
        """Wait until it is set, or for `timeout` seconds; return whether it is set."""
        if self.is_set():
            await asyncio.sleep(0)  # a client with much to read lets others have their turn
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await super().wait()
        return self.is_set()


class _Circuit(VirtualCircuit):
    """A client's connection, with three waits of caproto's mended.

    Updates leave as soon as the queue is empty (not after a pause of 10 ms in which more might come), and a
    read that follows a put waits until the record has taken the put, not 1 ms longer while a motor moves. Reads
    wait by `_Event`.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.write_event = _Event()

    async def get_from_sub_queue(self, timeout: float | None = None) -> Any:
        queue = self.subscription_queue
        if timeout is None:
            return await queue.get()
        if queue.empty():
            await asyncio.sleep(0)
        return None if queue.empty() else queue.get_nowait()

    async def _start_write_task(self, handle_write: Callable[[], Awaitable[None]]) -> None:
        token: contextvars.Token[Any] = put_accepted.set(self.write_event.set)
        try:
            self.tasks.create(handle_write())
        finally:
            put_accepted.reset(token)


class Server(Context):
    """caproto's server over a plain dictionary of channels.

    Parameters
    ----------
    pvdb : mapping of str to channel
        Every PV by name.
    port : int
        UDP and TCP port on loopback, from `choose_port`.
    beacon_port : int
        Where beacons go.
    """

    CircuitClass = _Circuit

    def __init__(self, pvdb: Mapping[str, Any], port: int, beacon_port: int) -> None:
        os.environ.update(server_environment(port, beacon_port))
        super().__init__(dict(pvdb), [LOOPBACK])
        # Somebody has to be there, or every beacon is answered by an error; a client that finds the port of its
        # repeater taken starts none.
        self._beacon_sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._beacon_sink.bind((LOOPBACK, beacon_port))

    def close(self) -> None:
        """Let go of the beacons' port."""
        self._beacon_sink.close()

    async def tcp_handler(self, client: Any, addr: Any) -> None:
        """Serve one client."""
        # Small replies must not wait for the acknowledgement of the one before.
        client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await super().tcp_handler(client, addr)

    @property
    def startup_methods(self) -> dict[str, Any]:
        """No channel here has start-up methods; looking for them takes a second."""
        return {}

    @property
    def shutdown_methods(self) -> dict[str, Any]:
        """As `startup_methods`."""
        return {}
