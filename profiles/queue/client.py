"""Talking to a RE Manager: JSON requests over 0MQ, as its API has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import zmq

from exitwave.profiles.queue.errors import QueueError

__all__ = ["ManagerClient"]


class ManagerClient:
    """Client of one RE Manager.

    Parameters
    ----------
    address : str
        Its control address.
    timeout_s : float
        How long an answer may take.
    """

    def __init__(self, address: str, *, timeout_s: float = 2.0) -> None:
        self.address = address
        self._timeout_ms = round(1000 * timeout_s)
        self._context = zmq.Context()

    def request(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send one request and return the answer.

        Raises
        ------
        QueueError
            If there is no answer in time, or the manager refuses.
        """
        # A new socket each time: one whose answer did not come could not be used again.
        with self._context.socket(zmq.REQ) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(self.address)
            socket.send_json({"method": method, "params": dict(params or {})})
            if not socket.poll(self._timeout_ms):
                raise QueueError(f"RE Manager: no answer to {method} at {self.address}; does it run?")
            answer = cast("dict[str, Any]", socket.recv_json())
        if answer.get("success") is False:
            raise QueueError(f"RE Manager: {method} refused: {answer.get('msg')}")
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._context.term()
