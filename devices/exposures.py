"""When an armed camera waits for a trigger, and when an exposure has ended."""

from __future__ import annotations

import threading
from typing import Any

from exitwave.devices.errors import CameraError
from exitwave.devices.status import FirstStatus

__all__ = ["ArmedStatus", "ExposureStatus"]

_GRACE_S = 10.0


class ArmedStatus(FirstStatus):
    """Done when the driver says that it acquires, which of a triggered one means that it waits."""

    def __init__(self, camera: Any, acquiring: Any, timeout_s: float = 5.0):
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
