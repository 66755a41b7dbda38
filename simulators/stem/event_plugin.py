"""The file plugin of the X-ray events: areaDetector's names, one file per capture, a thread of its own."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from exitwave.simulators.records.board import Board, Choice, Text, ro, rw, wo
from exitwave.simulators.records.file_names import FileNames
from exitwave.simulators.records.frame_queue import FrameQueue
from exitwave.simulators.records.hdf_plugin import WriteFaults
from exitwave.simulators.stem.event_file import EventFile, Events, FrameEnd, Heading

__all__ = ["EventPlugin"]

log = logging.getLogger(__name__)
_NO_YES = ("No", "Yes")
_FLUSH_S = 0.1


class EventPlugin:
    """`EDS:HDF1:`.

    Parameters
    ----------
    faults : WriteFaults
        Shared switchboard of injected faults.
    """

    def __init__(self, faults: WriteFaults) -> None:
        self._faults = faults
        self.board = Board(
            [
                ro("PortName_RBV", "EDS_HDF"),
                ro("PluginType_RBV", "EventFileHDF5"),
                rw("EnableCallbacks", Choice(("Disable", "Enable"), 1)),
                rw("FilePath", Text()),
                rw("FileName", Text("events", 256)),
                rw("FileTemplate", Text("%s%s_%6.6d.h5", 256)),
                rw("FileNumber", 0),
                rw("AutoIncrement", Choice(_NO_YES, 1)),
                rw("FileWriteMode", Choice(("Stream",))),
                rw("CreateDirectory", 0),
                rw("TempSuffix", ""),
                rw("NumCapture", 0),
                ro("NumCaptured_RBV", 0),
                ro("NumEvents_RBV", 0.0),
                rw("Capture", Choice(("Done", "Capture"))),
                ro("WriteStatus", Choice(("Write OK", "Write error"))),
                ro("WriteMessage", Text("", 256)),
                ro("FullFileName_RBV", Text()),
                ro("FilePathExists_RBV", Choice(_NO_YES)),
                ro("SWMRActive_RBV", Choice(("Off", "Active"))),
                wo("RunTime", 0.0, "s"),
            ]
        )
        self._names = FileNames(self.board)
        self.board.check(["NumCapture"], lambda value: max(0, value))
        self.board.on_put("Capture", self._put_capture)
        self._file: EventFile | None = None
        self._paths: tuple[Path, Path] | None = None
        self._heading: Heading | None = None
        self._capturing = False
        self._started_s = self._flushed_s = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._queue = FrameQueue("EDS-writer", lambda _: None, self._end_capture, 1)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the writer thread."""
        self._loop = loop
        self.board.start(loop)
        self._queue.start()

    def close(self) -> None:
        """Write what is queued, close the file and end the thread."""
        self._queue.close(30.0)

    # from the scan's thread -------------------------------------------------------------------------------

    def begin_scan(self, heading: Heading) -> None:
        """Take the heading of a file that this scan may start."""
        self._queue.submit(lambda: setattr(self, "_heading", heading))

    def take(self, events: Events, end: FrameEnd | None) -> None:
        """Queue events and, with the last of a frame, the frame's end."""
        if self.board.value("EnableCallbacks_RBV"):
            self._queue.submit(lambda: self._write(events, end))

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until everything queued is written; return whether that came to pass."""
        return self._queue.wait_idle(timeout_s)

    # the writer thread ------------------------------------------------------------------------------------

    def _write(self, events: Events, end: FrameEnd | None) -> None:
        if not self._capturing:
            return
        try:
            if self._faults.disk_full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.board.value("FullFileName_RBV"))
            file = self._opened()
            file.append(events)
            if end is not None:
                file.end_frame(end)
            now_s = time.monotonic()
            if end is not None or now_s - self._flushed_s > _FLUSH_S:
                file.flush()
                self._flushed_s = now_s
        except (OSError, RuntimeError, ValueError) as error:
            self._fail(error)
            return
        self.board.later({"NumEvents_RBV": float(file.written), "NumCaptured_RBV": file.frames})
        wanted = self.board.value("NumCapture_RBV")
        if end is not None and 0 < wanted <= file.frames:
            self._end_capture()

    def _opened(self) -> EventFile:
        if self._file is None:
            if self._paths is None or self._heading is None:
                raise OSError(errno.ENOENT, "no file name was reserved", "")
            self._file = EventFile(self._paths[0], self._heading)
            self.board.later({"SWMRActive_RBV": 1}, urgent=True)
        return self._file

    def _begin_capture(self) -> None:
        self._capturing = True
        self._paths = None
        self._started_s = time.monotonic()
        self.board.later({"NumCaptured_RBV": 0, "NumEvents_RBV": 0.0, "WriteStatus": 0, "WriteMessage": ""})
        try:
            self._paths = self._names.reserve()
        except OSError as error:
            self._fail(error)
            return
        self.board.later({"Capture": 1, "Capture_RBV": 1}, urgent=True)

    def _end_capture(self) -> None:
        if not self._capturing:
            return
        self._capturing = False
        file, self._file = self._file, None
        paths, self._paths = self._paths, None
        values: dict[str, Any] = {"SWMRActive_RBV": 0, "RunTime": time.monotonic() - self._started_s}
        if file is not None:
            values |= {"NumEvents_RBV": float(file.written), "NumCaptured_RBV": file.frames}
            try:
                file.flush()
                file.close()
                if paths is not None and paths[0] != paths[1]:
                    paths[0].replace(paths[1])
            except (OSError, RuntimeError) as error:
                log.error("EDS_HDF: closing: %s", error)
                values |= {"WriteStatus": 1, "WriteMessage": str(error)[:255]}
        self.board.later({**values, "Capture": 0, "Capture_RBV": 0}, urgent=True)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._release)

    def _fail(self, error: Exception) -> None:
        log.error("EDS_HDF: %s", error)
        self.board.later({"WriteStatus": 1, "WriteMessage": str(error)[:255]}, urgent=True)
        self._end_capture()

    # puts, in the event loop's thread ---------------------------------------------------------------------

    def _put_capture(self, value: int) -> Awaitable[None] | None:
        running = bool(self.board.value("Capture_RBV"))
        if bool(value) == running:
            self.board.post(Capture=int(running))
            return self._wait() if running else None
        self.board.post(Capture=value)
        future = self._wait()
        self._queue.submit(self._begin_capture if value else self._end_capture)
        return future

    def _wait(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        return future

    def _release(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
