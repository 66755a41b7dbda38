"""Documents on 0MQ for live analysis, in a process of its own; the scan never waits for it.

A message has two parts: the document's name, and the line that the journal holds of it (JSON, see
`encoding`). No pickle: a subscriber executes nothing that it is sent.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import zmq

from exitwave.profiles.storage.encoding import decode_line, encode_line
from exitwave.profiles.storage.errors import ServiceError

__all__ = ["Publisher", "consume"]


def _loopback(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme == "ipc":
        return address
    try:
        local = parts.scheme == "tcp" and ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        local = False
    if not local:
        raise ServiceError(f"publisher: {address} is not on loopback; use tcp://127.0.0.1:PORT or ipc://PATH")
    return address


class Publisher:
    """Callable that publishes documents and never blocks; subscribe it after the journal.

    Parameters
    ----------
    address : str
        Where to listen; without a port a free one is taken, see `address`.
    high_water_mark : int
        Documents kept for a subscriber that does not keep up. More are dropped, for that subscriber
        alone; with no subscriber nothing is kept at all.

    Raises
    ------
    ServiceError
        If the address is not on loopback or is taken.

    Examples
    --------
    >>> publisher = Publisher()
    >>> RE.subscribe(publisher)
    """

    def __init__(self, address: str = "tcp://127.0.0.1", *, high_water_mark: int = 10_000) -> None:
        _loopback(address)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, high_water_mark)
        self._socket.setsockopt(zmq.LINGER, 0)
        random_port = address.startswith("tcp:") and urlsplit(address).port is None
        try:
            self._socket.bind(f"{address}:*" if random_port else address)
        except zmq.ZMQError as error:
            self.close()
            raise ServiceError(f"publisher: {address}: {error}; choose another port") from error
        self.address: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Hand one document to 0MQ's own thread."""
        try:
            self._socket.send_multipart([name.encode(), encode_line(name, doc)], flags=zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return  # a PUB socket drops on its own; this is for a context that is just closing

    def close(self) -> None:
        """Close the socket; what was not sent yet is dropped."""
        self._socket.close(linger=0)
        self._context.term()


def consume(
    address: str, *, timeout_s: float | None = None, until_stop: bool = False
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Receive documents from a `Publisher`, for a live analysis process.

    Parameters
    ----------
    address : str
        The publisher's `address`; it may come and go, the connection is made again.
    timeout_s : float, optional
        End when nothing came for so long; by default wait forever.
    until_stop : bool
        End after a stop document.

    Yields
    ------
    tuple of (str, dict)
        Name and document, arrays and NaN restored. A subscriber that falls behind by more than the
        publisher's mark misses documents: compare ``seq_num``.
    """
    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    try:
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.connect(address)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            wait_ms = None if deadline is None else max(0, round(1000 * (deadline - time.monotonic())))
            if not socket.poll(wait_ms):
                return
            name, line = socket.recv_multipart()
            yield decode_line(line)
            if until_stop and name == b"stop":
                return
            deadline = None if timeout_s is None else time.monotonic() + timeout_s
    finally:
        socket.close()
        context.term()
