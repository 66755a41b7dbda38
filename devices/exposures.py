"""When an armed camera waits for a trigger, when an exposure has ended, and when its frames are in the file."""

from __future__ import annotations

import threading
from typing import Any

from exitwave.devices.errors import CameraError
from exitwave.devices.status import FirstStatus

__all__ = ["ArmedStatus", "ExposureStatus", "WrittenStatus"]

_GRACE_S = 10.0


class ArmedStatus(FirstStatus):
    """Done when the driver says that it acquires, which of a triggered one means that it waits."""

    def __init__(self, camera: Any, acquiring: Any, timeout_s: float = _GRACE_S):
        super().__init__(camera, timeout=timeout_s)

        def changed(value: Any, **_: Any) -> None:
            if value:
                self.finish()

        token = acquiring.subscribe(changed, run=True)
        self.add_callback(lambda _: acquiring.unsubscribe(token))


class ExposureStatus(FirstStatus):
    """Done when the exposure commanded now has ended: from then on the sample may move.

    areaDetector's drivers show it as the detector's state going from Acquire to Readout. Of one that does not,
    the frame's delivery counts, a readout later.

    Parameters
    ----------
    state, counter : signals
        ``DetectorState_RBV``, ``ArrayCounter_RBV``.
    number : int
        What the counter shows when the frame has been delivered.
    exposure_s : float
        How long it should take.

    Raises
    ------
    CameraError
        As the status' exception: neither happened within 10 s of the end that is due.
    """

    def __init__(self, camera: Any, state: Any, counter: Any, number: int, exposure_s: float):
        super().__init__(camera)
        begun = threading.Event()

        def state_changed(value: Any, **_: Any) -> None:
            if value == "Acquire":
                begun.set()
            elif value in ("Error", "Aborted", "Disconnected"):
                self.fail(CameraError(f"{camera.name}: {value} while it exposed; look at its driver"))
            elif begun.is_set():
                self.finish()

        def counted(value: Any, **_: Any) -> None:
            if int(value) >= number:
                self.finish()

        def late() -> None:
            self.fail(
                CameraError(
                    f"{camera.name}: no end of an exposure of {exposure_s:g} s within {exposure_s + _GRACE_S:g} s; "
                    "was the trigger lost?"
                )
            )

        tokens = [
            (state, state.subscribe(state_changed, run=False)),
            (counter, counter.subscribe(counted, run=False)),
        ]
        timer = threading.Timer(exposure_s + _GRACE_S, late)
        timer.daemon = True
        timer.start()

        def ended(_: Any) -> None:
            timer.cancel()
            for signal, token in tokens:
                signal.unsubscribe(token)

        self.add_callback(ended)


class WrittenStatus(FirstStatus):
    """Done when the frames that were asked for are written, or known to be lost between driver and file.

    Frames that are missing are reported by the audit at the end of the burst.

    Parameters
    ----------
    camera : Camera
    target : int
        Frames asked for since the file was opened.
    limit_s : float
        How long it may take.

    Raises
    ------
    CameraError
        As the status' exception: the file plugin gave up, or the time is over.
    """

    def __init__(self, camera: Any, target: int, limit_s: float):
        super().__init__(camera)
        self._camera = camera
        self._target = target
        self._acquired = threading.Event()
        hdf = camera.hdf
        tokens = [
            (hdf.num_captured, hdf.num_captured.subscribe(self._check, run=False)),
            (hdf.write_status, hdf.write_status.subscribe(self._write_status_changed, run=False)),
            (hdf.capturing, hdf.capturing.subscribe(self._capture_changed, run=False)),
        ]
        timer = threading.Timer(limit_s, self._late, [limit_s])
        timer.daemon = True
        timer.start()

        def ended(_: Any) -> None:
            timer.cancel()
            for signal, token in tokens:
                signal.unsubscribe(token)

        self.add_callback(ended)

    def acquired(self, num_frames: int) -> None:
        """Tell that the driver has ended, with so many frames since the file was opened."""
        # A driver that ended early delivers no more; the audit says what is missing.
        self._target = min(self._target, num_frames)
        self._acquired.set()
        self._check()

    def _check(self, **_: Any) -> None:
        if self.done or not self._acquired.is_set():
            return
        written = int(self._camera.hdf.num_captured.get())
        if written >= self._target or written + self._camera.num_dropped() >= self._target:
            self.finish()

    def _write_status_changed(self, value: Any, **_: Any) -> None:
        # An error that was there before is an old file's: the plugin clears it with its next file.
        if value == "Write error":
            self._write_failed()

    def _capture_changed(self, value: Any, **_: Any) -> None:
        written = self._camera.hdf.num_captured
        if not value and int(written.get(use_monitor=False)) + self._camera.num_dropped() < self._target:
            self._write_failed()

    def _write_failed(self) -> None:
        self.fail(
            CameraError(
                f"{self._camera.name}: frames can't be written: {self._camera.hdf.write_message.get()}; "
                "see to the disk and take the run again"
            )
        )

    def _late(self, limit_s: float) -> None:
        self.fail(
            CameraError(
                f"{self._camera.name}: {int(self._camera.hdf.num_captured.get())} of {self._target} frames written "
                f"{limit_s:g} s after the start; look at the driver and the file plugin"
            )
        )
