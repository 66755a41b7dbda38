"""NDFileHDF5: takes frames from a camera through a bounded queue and writes them in a thread of its own."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exitwave.simulators.records.board import QUIET_S, Board
from exitwave.simulators.records.detector_tables import COMPRESSIONS, data_type_name, hdf5_rows
from exitwave.simulators.records.file_names import FileNames
from exitwave.simulators.records.frame_queue import FrameQueue
from exitwave.simulators.records.hdf_file import (
    BLOSC_CODECS,
    EPICS_EPOCH_S,
    Attribute,
    Compression,
    Frame,
    FrameFile,
)

__all__ = ["Hdf5Plugin", "WriteFaults"]

log = logging.getLogger(__name__)
_BATCH = 16
_IDLE_S = 0.01
_SINGLE, _CAPTURE, _STREAM = 0, 1, 2


@dataclass
class WriteFaults:
    """Faults that can be put in: a full disk, and frames lost on their way to the file."""

    disk_full: bool = False
    drop_frames: int = 0


class Hdf5Plugin:
    """One HDF5 file plugin.

    Parameters
    ----------
    port, source : str
        Its asyn port and its camera's.
    sensor : tuple of int
        (y, x) pixels of the camera.
    dtype : dtype
        Of the camera's frames.
    attributes : sequence of Attribute
        Numbers the frames carry.
    faults : WriteFaults
        Shared switchboard of injected faults.
    """

    def __init__(
        self,
        port: str,
        source: str,
        sensor: tuple[int, int],
        dtype: np.dtype[Any],
        *,
        attributes: Sequence[Attribute],
        faults: WriteFaults,
    ) -> None:
        self.board = Board(hdf5_rows(port, source, sensor, data_type=data_type_name(dtype)))
        self._names = FileNames(self.board)
        self._source = source
        self._attributes = tuple(attributes)
        self._faults = faults
        self._file: FrameFile | None = None
        self._temporary: tuple[Path, Path] | None = None
        self._capturing = False
        self._captured = 0
        self._since_flush = 0
        self._buffer: list[Frame] = []
        self._last: Frame | None = None
        self._arrays = 0
        self._dropped = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._started_s = 0.0
        self._queue = FrameQueue(f"{port}-writer", self._process, self._end_capture, _BATCH)
        self._connect()

    def _connect(self) -> None:
        board = self.board
        board.check(["NumCapture", "NumFramesFlush", "QueueSize"], lambda value: max(0, value))
        board.react(["ArrayCounter"], lambda value: setattr(self, "_arrays", value))
        board.react(["DroppedArrays"], lambda value: setattr(self, "_dropped", value))
        board.on_put("Capture", self._put_capture)
        board.on_put("WriteFile", self._put_write_file)
        board.on_put("FlushNow", self._put_flush)
        board.on_put("ReadFile", lambda _: self._fail_on_loop("ReadFile: not supported by HDF5"))
        board.on_put("ProcessPlugin", self._put_process)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the writer thread."""
        self._loop = loop
        self.board.start(loop)
        self._queue.start()

    def close(self) -> None:
        """Write what is queued, close the file and end the thread."""
        self._queue.close(30.0)

    # from the camera's thread -----------------------------------------------------------------------------

    def take(self, frame: Frame) -> None:
        """Queue a frame; a full queue loses it and counts it. Blocks only if BlockingCallbacks says so."""
        board = self.board
        if not board.value("EnableCallbacks") or board.value("NDArrayPort_RBV") != self._source:
            return
        lost = self._faults.drop_frames > 0
        if lost:
            self._faults.drop_frames -= 1
        if lost or not self._queue.put(frame, max(1, board.value("QueueSize"))):
            self._dropped += 1
            board.later({"DroppedArrays": self._dropped, "DroppedArrays_RBV": self._dropped})
        elif board.value("BlockingCallbacks"):
            self.wait_idle(60.0)

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until every queued frame is dealt with; return whether that came to pass."""
        return self._queue.wait_idle(timeout_s)

    # the writer thread ------------------------------------------------------------------------------------

    def _process(self, frames: list[Frame]) -> None:
        started_s = time.perf_counter()
        self._arrays += len(frames)
        self._last = frames[-1]
        mode = self.board.value("FileWriteMode_RBV")
        ended = False
        if mode == _SINGLE:
            if self.board.value("AutoSave_RBV"):
                for frame in frames:
                    self._write_alone([frame])
        elif self._capturing:
            wanted = self.board.value("NumCapture_RBV")
            if wanted > 0:
                frames = frames[: max(0, wanted - self._captured)]
            if mode == _CAPTURE:
                self._buffer.extend(frames)
                self._captured += len(frames)
            else:
                self._stream(frames)
            ended = bool(self._capturing and wanted > 0 and self._captured >= wanted)
        self._report(self._last, time.perf_counter() - started_s)
        if ended:
            self._end_capture()

    def _report(self, frame: Frame, spent_s: float) -> None:
        height, width = frame.array.shape
        stamp = frame.timestamp_s - EPICS_EPOCH_S
        size = max(1, self.board.value("QueueSize"))
        free = max(0, size - self._queue.frames)
        # The count of captured frames comes last: who waits for it finds the rest in place.
        self.board.later(
            {
                "ArrayCounter": self._arrays,
                "ArrayCounter_RBV": self._arrays,
                "UniqueId_RBV": frame.unique_id,
                "TimeStamp_RBV": stamp,
                "EpicsTSSec_RBV": int(stamp),
                "EpicsTSNsec_RBV": int((stamp % 1) * 1e9),
                "ArraySize0_RBV": width,
                "ArraySize1_RBV": height,
                "ArraySizeX_RBV": width,
                "ArraySizeY_RBV": height,
                "ArraySize_RBV": frame.array.nbytes,
                "ExecutionTime_RBV": 1e3 * spent_s,
                "QueueFree": free,
                "QueueUse": 100.0 * (size - free) / size,
                "SWMRCbCounter_RBV": self._captured if self._file is not None and self._file.swmr else 0,
                "NumCaptured_RBV": self._captured,
            },
            # Who steps frame by frame waits for this one; in a burst, what matters comes with the next.
            quiet_s=_IDLE_S if self._queue.is_empty else QUIET_S,
        )

    def _stream(self, frames: Sequence[Frame]) -> None:
        if not frames:
            return
        try:
            if self._file is None:
                self._file = self._create(frames[0])
            self._append(self._file, frames)
        except (OSError, RuntimeError, ValueError) as error:
            if self._file is not None:
                self._captured = self._file.written
            self._fail(error)
            return
        self._captured = self._file.written
        self._since_flush += len(frames)
        # 0 leaves it to the writer: a file that is followed is flushed after every batch, another at its end.
        every = self.board.value("NumFramesFlush_RBV") or (1 if self._file.swmr else 0)
        if 0 < every <= self._since_flush:
            self._flush()

    def _append(self, file: FrameFile, frames: Sequence[Frame]) -> None:
        if self._faults.disk_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.board.value("FullFileName_RBV")))
        file.append(frames)

    def _flush(self) -> None:
        self._since_flush = 0
        if self._file is not None:
            try:
                self._file.flush()
            except (OSError, RuntimeError) as error:
                self._fail(error)

    def _create(self, frame: Frame) -> FrameFile:
        board = self.board
        if board.value("LazyOpen_RBV") and self._temporary is None:
            self._temporary = self._names.reserve()
        if self._temporary is None:
            raise OSError(errno.ENOENT, "no file name was reserved", "")
        if self._faults.disk_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._temporary[0]))
        swmr = bool(board.value("SWMRMode_RBV")) and board.value("FileWriteMode_RBV") == _STREAM
        file = self._open(self._temporary[0], frame, swmr)
        board.later({"SWMRActive_RBV": int(swmr)})
        return file

    def _open(self, path: Path, frame: Frame, swmr: bool) -> FrameFile:
        board = self.board
        kind = COMPRESSIONS[board.value("Compression_RBV")]
        compression = Compression(
            kind=kind,
            level=board.value("BloscLevel_RBV" if kind == "Blosc" else "ZLevel_RBV"),
            blosc_codec=BLOSC_CODECS[board.value("BloscCompressor_RBV")],
            blosc_shuffle=board.value("BloscShuffle_RBV"),
            szip_pixels=board.value("SZipNumPixels_RBV"),
        )
        attributes = self._attributes if board.value("StoreAttr_RBV") else ()
        shape = (int(frame.array.shape[0]), int(frame.array.shape[1]))
        return FrameFile(path, shape, frame.array.dtype, attributes=attributes, compression=compression, swmr=swmr)

    def _write_alone(self, frames: Sequence[Frame]) -> None:
        """Write frames to a file of their own."""
        try:
            self._temporary = self._names.reserve()
            self._file = self._create(frames[0])
            for index in range(0, len(frames), _BATCH):
                self._append(self._file, frames[index : index + _BATCH])
            self._close_file()
        except (OSError, RuntimeError, ValueError) as error:
            self._fail(error)

    def _begin_capture(self) -> None:
        board = self.board
        self._captured = self._since_flush = 0
        self._buffer.clear()
        self._temporary = None
        self._started_s = time.monotonic()
        board.later({"NumCaptured_RBV": 0, "WriteStatus": 0, "WriteMessage": ""})
        if board.value("FileWriteMode_RBV") == _STREAM and not board.value("LazyOpen_RBV"):
            try:
                self._temporary = self._names.reserve()
            except OSError as error:
                self._capturing = True
                self._fail(error)
                return
        self._capturing = True
        board.later({"Capture": 1, "Capture_RBV": 1}, urgent=True)

    def _end_capture(self) -> None:
        if not self._capturing:
            return
        board = self.board
        self._capturing = False
        if board.value("FileWriteMode_RBV") == _CAPTURE:
            if board.value("AutoSave_RBV") and self._buffer:
                self._write_alone(self._buffer)
                self._buffer.clear()
        else:
            try:
                self._close_file()
            except (OSError, RuntimeError) as error:
                self._fail(error)
        run_s = time.monotonic() - self._started_s
        board.later(
            {
                "RunTime": run_s,
                "NumCaptured_RBV": self._captured,
                "SWMRActive_RBV": 0,
                "Capture": 0,
                "Capture_RBV": 0,
            },
            urgent=True,
        )
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._release)

    def _close_file(self) -> None:
        file, self._file = self._file, None
        names, self._temporary = self._temporary, None
        if file is not None:
            file.close()
            if names is not None and names[0] != names[1]:
                names[0].replace(names[1])

    def _fail(self, error: Exception) -> None:
        message = str(error)
        log.error("%s: %s", self.board.value("PortName_RBV"), message)
        self.board.later({"WriteStatus": 1, "WriteMessage": message[:255]}, urgent=True)
        if self._file is not None:
            try:
                self._close_file()
            except (OSError, RuntimeError) as closing:
                log.error("%s: closing: %s", self.board.value("PortName_RBV"), closing)
        self._end_capture()

    # puts, in the event loop's thread ---------------------------------------------------------------------

    def _put_capture(self, value: int) -> Awaitable[None] | None:
        board = self.board
        if value and not board.value("Capture_RBV"):
            if board.value("FileWriteMode_RBV") == _SINGLE:
                self._fail_on_loop("Capture: not possible in FileWriteMode Single")
                return None
            board.post(Capture=1)
            future = self._wait()
            self._queue.submit(self._begin_capture)
            return future
        if not value and board.value("Capture_RBV"):
            board.post(Capture=0)
            future = self._wait()
            self._queue.submit(self._end_capture)
            return future
        board.post(Capture=int(board.value("Capture_RBV")))
        return self._wait() if value else None

    def _wait(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        return future

    def _release(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _put_write_file(self, value: int) -> Awaitable[None] | None:
        if not value:
            return None
        self.board.post(WriteFile=1, WriteFile_RBV=1)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def finish() -> None:
            self.board.post(WriteFile=0, WriteFile_RBV=0)
            if not future.done():
                future.set_result(None)

        def write() -> None:
            capture = self.board.value("FileWriteMode_RBV") == _CAPTURE
            frames = list(self._buffer) if capture else [self._last] if self._last is not None else []
            if frames:
                self._write_alone(frames)
                self._buffer.clear()
            else:
                self._fail(ValueError("WriteFile: there is no frame to write; acquire one first"))
            loop.call_soon_threadsafe(finish)

        self._queue.submit(write)
        return future

    def _put_flush(self, value: int) -> None:
        if value:
            self._queue.submit(self._flush)
        self.board.post(FlushNow=0)

    def _put_process(self, value: int) -> None:
        last = self._last
        if value and last is not None:
            self._queue.submit(lambda: self._process([last]))
        self.board.post(ProcessPlugin=0)

    def _fail_on_loop(self, message: str) -> None:
        self.board.post(WriteStatus=1, WriteMessage=message[:255], Capture=int(self._capturing))
