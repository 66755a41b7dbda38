"""A Redis of one's own: loopback, a free port, a folder, no other user's data."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

from exitwave.profiles.queue.errors import QueueError
from exitwave.profiles.storage.services import Child, start_child

__all__ = ["answers", "free_port", "redis_address", "start_redis"]

_HOST = "127.0.0.1"


def free_port() -> int:
    """Return a TCP port of loopback that is free now."""
    with socket.socket() as sock:
        sock.bind((_HOST, 0))
        return int(sock.getsockname()[1])


def answers(host: str, port: int) -> bool:
    """Whether a Redis answers there, be it to ask for a password."""
    try:
        with socket.create_connection((host, port), timeout=1.0) as sock:
            sock.sendall(b"PING\r\n")
            return sock.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False


def redis_address(url: str) -> str:
    """Address as the RE Manager wants it, from ``redis://host:port/db``, or ``host:port``.

    Raises
    ------
    QueueError
        If nothing answers there.
    """
    parts = urlsplit(url if "://" in url else f"redis://{url}")
    host, port = parts.hostname or _HOST, parts.port or 6379
    if parts.scheme != "redis" or not answers(host, port):
        raise QueueError(f"Redis: nothing answers at {url}; start it, or leave the URL out to get one of your own")
    return f"{host}:{port}{parts.path.rstrip('/')}"


def start_redis(folder: Path, *, timeout_s: float = 20.0) -> tuple[Child, str]:
    """Start Debian's ``redis-server`` with its data in `folder`; return the process and its address.

    The queue is kept in an append-only file, so that it outlives a restart.

    Raises
    ------
    QueueError
        If the program is not installed, or does not answer in time.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise QueueError("Redis: redis-server is not installed; `apt install redis-server`, or give --redis URL")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    options = {
        "bind": _HOST,
        "port": str(port),
        "dir": str(folder),
        "appendonly": "yes",
        "save": "",
        "daemonize": "no",
        "protected-mode": "yes",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    child = start_child("redis", "exitwave.profiles.queue.guard", [program, *arguments], folder / "redis.log")
    deadline = time.monotonic() + timeout_s
    while not answers(_HOST, port):
        if child.process.poll() is not None or time.monotonic() > deadline:
            child.stop()
            raise QueueError(f"Redis: does not answer within {timeout_s:.0f} s ({child.last_words()}); see {child.log}")
        time.sleep(0.02)
    return child, f"{_HOST}:{port}"
