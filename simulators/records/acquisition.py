"""When a camera exposes: the timing of an sCMOS, free of any channel."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from exitwave.simulators.clock import SimClock

__all__ = ["Acquisition", "FrameSource", "Recipe"]

_LOOKAHEAD = 4


class FrameSource(Protocol):
    """What makes the images: called from worker threads."""

    sensor_shape: tuple[int, int]
    readout_time_s: float
    min_exposure_s: float
    model: str
    manufacturer: str

    @property
    def dtype(self) -> Any:
        """Type of a pixel."""

    def expose(
        self,
        t0: float,
        exposure_s: float,
        *,
        roi: tuple[slice, slice],
        binning: tuple[int, int],
        gain: str,
    ) -> NDArray[Any]:
        """Return the image, (y, x), of an exposure from simulated time `t0` on."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings of one acquisition.

    Attributes
    ----------
    exposure_s, period_s : float
        Of each exposure, simulated seconds; `period_s` may be shorter than possible.
    images : int or None
        How many; without end if None.
    exposures : int
        Exposures summed into one image.
    triggered : bool
        Whether each image waits for a trigger.
    roi : tuple of slice
        (y, x) in unbinned pixels.
    binning : tuple of int
        (y, x).
    gain : str
        Name of the gain mode.
    """

    exposure_s: float
    period_s: float
    images: int | None
    exposures: int
    triggered: bool
    roi: tuple[slice, slice]
    binning: tuple[int, int]
    gain: str


@dataclass(slots=True)
class _Pending:
    start_s: float
    future: Future[NDArray[Any]]
    version: int


class Acquisition:
    """One acquisition, run in the caller's thread by `run`.

    An sCMOS reads one image while it exposes the next, so images follow each other by no less than the larger
    of exposure and readout; a trigger that comes sooner is lost, and counted in `missed`. Images are computed
    ahead in a pool; one whose world was changed by a command after its computation began, and before its exposure
    ended, is computed again.

    Parameters
    ----------
    recipe : Recipe
        What to acquire.
    source : FrameSource
        Where images come from.
    clock : SimClock
        Simulated time.
    pool : Executor
        Computes the images.
    version : callable
        Number that changes whenever anything in the world is commanded.
    """

    def __init__(
        self, recipe: Recipe, source: FrameSource, clock: SimClock, pool: Executor, version: Callable[[], int]
    ) -> None:
        self.recipe = recipe
        self._source = source
        self._clock = clock
        self._pool = pool
        self._version = version
        self._stop = threading.Event()
        self._triggers: deque[float] = deque()
        self._triggered = threading.Condition()
        self.missed = 0
        self._single_s = max(recipe.exposure_s, source.readout_time_s)
        # A trigger knows of no period.
        self.period_s = max(0.0 if recipe.triggered else recipe.period_s, self._single_s * recipe.exposures)

    def abort(self) -> None:
        """Stop as soon as possible; any thread."""
        self._stop.set()
        with self._triggered:
            self._triggered.notify_all()

    def trigger(self, t_s: float) -> None:
        """Trigger an image that starts at `t_s`, now or later; any thread."""
        with self._triggered:
            self._triggers.append(t_s)
            self._triggered.notify_all()

    def _image(self, start_s: float) -> NDArray[Any]:
        recipe = self.recipe
        image: NDArray[Any] | None = None
        for index in range(recipe.exposures):
            one = self._source.expose(
                start_s + index * self._single_s,
                recipe.exposure_s,
                roi=recipe.roi,
                binning=recipe.binning,
                gain=recipe.gain,
            )
            if image is None:
                image = one
            elif np.issubdtype(one.dtype, np.integer):
                most = np.iinfo(one.dtype).max
                image = np.minimum(image.astype(np.uint64) + one, most).astype(one.dtype)
            else:
                image = image + one
        if image is None:
            raise ValueError(f"NumExposures: {recipe.exposures} must be at least 1")
        return np.ascontiguousarray(image)

    def _submit(self, start_s: float) -> _Pending:
        version = self._version()
        return _Pending(start_s, self._pool.submit(self._image, start_s), version)

    def _sleep_until(self, t_s: float, remaining: Callable[[float], None] | None = None) -> bool:
        """Wait for a simulated time; return False if aborted."""
        while (left_s := t_s - self._clock.now()) > 0:
            if remaining is not None:
                remaining(left_s)
            if self._stop.wait(min(self._clock.wall_delay(left_s), 0.1)):
                return False
        return not self._stop.is_set()

    def _next_trigger(self, ready_s: float, *, wait: bool) -> float | None:
        """Return the start of the next triggered image; triggers that come too early are lost."""
        with self._triggered:
            while not self._stop.is_set():
                while self._triggers:
                    t_s = self._triggers.popleft()
                    if t_s >= ready_s - 1e-6:
                        return t_s
                    self.missed += 1
                if not wait:
                    return None
                self._triggered.wait()
        return None

    def _starts(self, first_s: float, index: int, before_s: float) -> float:
        if index == 0:
            return first_s
        # A camera whose images are not taken off in time starts the next one late.
        due_s = before_s + self.period_s
        return due_s if due_s >= self._clock.now() - self.period_s * _LOOKAHEAD else self._clock.now()

    def run(
        self,
        deliver: Callable[[NDArray[Any], float], None],
        remaining: Callable[[float], None],
        exposing: Callable[[bool], None] | None = None,
    ) -> bool:
        """Acquire.

        Parameters
        ----------
        deliver : callable
            Gets each image and the simulated time at which its exposure started.
        remaining : callable
            Gets the simulated seconds left of the present exposure, now and then.
        exposing : callable, optional
            Told of each triggered exposure's start (True) and end (False).

        Returns
        -------
        bool
            Whether it came to its end; False if aborted.
        """
        wanted = self.recipe.images
        length_s = self._single_s * (self.recipe.exposures - 1) + self.recipe.exposure_s
        pending: deque[_Pending] = deque()
        submitted = delivered = 0
        start_s = first_s = self._clock.now()
        try:
            while wanted is None or delivered < wanted:
                if self.recipe.triggered:
                    while len(pending) < _LOOKAHEAD and (wanted is None or submitted < wanted):
                        ready_s = -np.inf if submitted == 0 else start_s + self.period_s
                        triggered_s = self._next_trigger(ready_s, wait=not pending)
                        if triggered_s is None:
                            break
                        start_s = triggered_s
                        pending.append(self._submit(start_s))
                        submitted += 1
                    if not pending or not self._sleep_until(pending[0].start_s):
                        return False
                    if exposing is not None:
                        exposing(True)
                else:
                    while len(pending) < _LOOKAHEAD and (wanted is None or submitted < wanted):
                        start_s = self._starts(first_s, submitted, start_s)
                        pending.append(self._submit(start_s))
                        submitted += 1
                frame = pending.popleft()
                if not self._sleep_until(frame.start_s + length_s, remaining):
                    return False
                if frame.version != self._version():
                    frame.future.cancel()
                    frame = self._submit(frame.start_s)
                if exposing is not None and self.recipe.triggered:
                    exposing(False)
                if not self._sleep_until(frame.start_s + length_s + self._source.readout_time_s):
                    return False
                deliver(frame.future.result(), frame.start_s)
                delivered += 1
        finally:
            for frame in pending:
                frame.future.cancel()
        return True
