"""The bounded queue between a camera and a plugin's thread, with commands that keep their place among the frames."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from exitwave.simulators.records.hdf_file import Frame

__all__ = ["FrameQueue"]


class FrameQueue:
    """Frames and commands for one thread, which takes frames in batches.

    Parameters
    ----------
    name : str
        Of the thread.
    process : callable
        Deals with a batch of frames, in the thread.
    finish : callable
        Called in the thread when the queue was closed and emptied.
    batch : int
        Most frames at a time.
    """

    def __init__(
        self, name: str, process: Callable[[list[Frame]], None], finish: Callable[[], None], batch: int
    ) -> None:
        self._process = process
        self._finish = finish
        self._batch = batch
        self._items: deque[Frame | Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._busy = False
        self._closing = False
        self._frames = 0
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    @property
    def frames(self) -> int:
        """Frames that wait or are being dealt with."""
        return self._frames

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._items

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, frame: Frame, capacity: int) -> bool:
        """Queue a frame; return False if there are `capacity` already. Never blocks."""
        with self._wake:
            if self._frames >= capacity:
                return False
            self._items.append(frame)
            self._frames += 1
            self._wake.notify_all()
        return True

    def submit(self, command: Callable[[], None]) -> None:
        """Have `command` called in the thread, after the frames queued so far."""
        with self._wake:
            self._items.append(command)
            self._wake.notify_all()

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until everything queued is dealt with; return whether that came to pass."""
        with self._wake:
            return self._wake.wait_for(lambda: not self._items and not self._busy, timeout_s)

    def close(self, timeout_s: float) -> None:
        """Deal with what is queued and end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _next(self) -> Callable[[], None] | list[Frame] | None:
        """Return a command, a batch of frames, or None at the end."""
        with self._wake:
            self._busy = False
            self._wake.notify_all()
            self._wake.wait_for(lambda: self._items or self._closing)
            if not self._items:
                return None
            self._busy = True
            frames: list[Frame] = []
            while self._items and len(frames) < self._batch:
                item = self._items[0]
                if not isinstance(item, Frame):
                    if frames:
                        break
                    self._items.popleft()
                    return item
                frames.append(item)
                self._items.popleft()
            return frames

    def _work(self) -> None:
        while (work := self._next()) is not None:
            if isinstance(work, list):
                try:
                    self._process(work)
                finally:
                    with self._wake:
                        self._frames -= len(work)
            else:
                work()
        self._finish()
