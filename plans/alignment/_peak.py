"""How a plan records what it found."""

from __future__ import annotations

from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator

__all__ = ["record_peak"]


def record_peak(result: Any, centre: float, uncertainty: float, width: float, stream: str) -> MsgGenerator[None]:
    """Write what was found into a stream of the run."""
    yield from bps.mv(result.centre, centre, result.uncertainty, uncertainty, result.width, width)
    yield from bps.trigger_and_read([result], name=stream)
