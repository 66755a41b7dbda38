"""What the Channel Access server mends of caproto's."""

from __future__ import annotations

import asyncio

import pytest

from exitwave.simulators.server import _Event


@pytest.mark.parametrize("steps", range(8))
def test_a_client_that_reads_without_end_can_be_cancelled_at_any_step(steps: int) -> None:
    async def read(event: _Event) -> None:
        while True:
            await event.wait(timeout=5.0)

    async def cancel_after_steps() -> bool:
        event = _Event()
        event.set()
        reading = asyncio.create_task(read(event))
        for _ in range(steps):
            await asyncio.sleep(0)
        reading.cancel()
        for _ in range(20):
            await asyncio.sleep(0)
        return reading.cancelled()

    assert asyncio.run(cancel_after_steps())


@pytest.mark.parametrize("steps", range(4))
def test_a_wait_that_is_cancelled_as_its_event_is_set_does_not_outlast_it(steps: int) -> None:
    async def set_then_cancel() -> bool:
        event = _Event()
        waiting = asyncio.create_task(event.wait(timeout=5.0))
        for _ in range(4):
            await asyncio.sleep(0)
        event.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        ended = waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting], timeout=5.0)
        return ended or waiting.cancelled()

    assert asyncio.run(set_then_cancel())


def test_a_wait_ends_at_its_timeout() -> None:
    async def wait() -> bool:
        return bool(await _Event().wait(timeout=0.01))

    assert not asyncio.run(wait())
