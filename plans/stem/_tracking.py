"""Where the specimen of a tilt series is: found again after every tilt, frame by frame of a larger field."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.utils import MsgGenerator
from numpy.typing import NDArray

from exitwave.analysis.errors import FitError
from exitwave.analysis.registration import Shift, register
from exitwave.devices import Acquisition
from exitwave.devices.stem import ScanSettings
from exitwave.plans.instrument import ElectronMicroscope, TrackReference
from exitwave.plans.pure.stem import Exposure, predict_shift_nm, steps_of, tracking_frames
from exitwave.plans.stem._frames import run_in_beam, settle, start_document
from exitwave.plans.stem.imaging import scan_once
from exitwave.plans.stubs import record

__all__ = ["Finder", "TiltWork", "TrackingError", "belongs"]

_FOCUS_SIZE = 128
_OUTLINE_PER_PX = 0.1
_LOOK_AGAIN_NM = 2.0


class TrackingError(FitError, RuntimeError):
    """A specimen that was not found again after a tilt."""


@dataclass(frozen=True)
class TiltWork:
    """A tilt series as data.

    Parameters
    ----------
    alphas_deg : tuple of float
        In the order in which they are taken.
    field_nm, rows, columns, num_frames, dwell_us
        Of the frames at every tilt.
    track_field_nm, track_size
        Of the frame by which the specimen is found again; 0 for no tracking.
    focus_span_nm : float
        Of the focus series at every tilt; 0 for none.
    first_step_deg : float
        Steps until it is known how the specimen moves with the tilt.
    """

    alphas_deg: tuple[float, ...]
    field_nm: float
    rows: int
    columns: int
    num_frames: int
    dwell_us: float
    track_field_nm: float
    track_size: int
    focus_span_nm: float
    focus_num: int
    first_step_deg: float
    dose_limit_e_a2: float | None = None

    @property
    def settings(self) -> ScanSettings:
        """Of the frames at a tilt."""
        return ScanSettings(self.field_nm, self.columns, self.rows, self.dwell_us, self.num_frames)

    @property
    def tracking(self) -> ScanSettings:
        """Of the frame for tracking."""
        return ScanSettings(self.track_field_nm, self.track_size, self.track_size, min(self.dwell_us, 5.0))

    @property
    def focusing(self) -> ScanSettings:
        """Of the frames through focus."""
        return ScanSettings(self.field_nm, _FOCUS_SIZE, _FOCUS_SIZE, self.dwell_us)

    def exposures(self, alphas_deg: Sequence[float], here_deg: float, *, known: bool) -> list[Exposure]:
        """Return what tilts expose the specimen to, tracking and focus (one range at each) included."""
        num, scan, tracking, focusing = len(alphas_deg), self.settings, self.tracking, self.focusing
        found = [Exposure("frames", num, scan.area_a2, scan.num_frames * scan.frame_s)]
        if self.track_field_nm:
            count = tracking_frames(alphas_deg, here_deg, self.first_step_deg, known=known)
            found.append(Exposure("tracking", count, tracking.area_a2, tracking.frame_s))
        if self.focus_span_nm:
            found.append(Exposure("focus", num * self.focus_num, focusing.area_a2, focusing.frame_s))
        return found


def belongs(about: Mapping[str, Any], md: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a run of tracking or focus says of the series that it serves."""
    return {"tilt_series_id": about["id"], "tilt_series_about": dict(about), **(md or {})}


class Finder:
    """Goes to a tilt and finds the specimen again."""

    def __init__(
        self, work: TiltWork, places: list[tuple[float, float, float]], earlier: TrackReference | None = None
    ) -> None:
        self._work, self._places, self._earlier = work, places, earlier
        self._reference: NDArray[np.float32] | None = None

    @property
    def knows_the_way(self) -> bool:
        """Whether it can be foretold where the specimen goes with the tilt."""
        return predict_shift_nm(self._places, 0.0)[1]

    def find_again(
        self, microscope: ElectronMicroscope, about: Mapping[str, Any], md: Mapping[str, Any] | None
    ) -> MsgGenerator[None]:
        """Go where an earlier run was last, and see by its own frame what has drifted since."""
        if not self._work.track_field_nm:
            yield from bps.mv(microscope.scan.shift_x, 0.0, microscope.scan.shift_y, 0.0)
            return
        earlier = self._earlier
        if earlier is None:
            self._places.clear()
            yield from bps.mv(microscope.scan.shift_x, 0.0, microscope.scan.shift_y, 0.0)
            return
        self._reference = _moved(np.asarray(earlier.image, np.float32), earlier.dy_px, earlier.dx_px)
        yield from bps.mv(microscope.goniometer.alpha, earlier.alpha_deg)
        yield from self._track(
            microscope, earlier.alpha_deg, about, md, predicted=(earlier.x_nm, earlier.y_nm)
        )  # fmt: skip
        # What drifted meanwhile has nothing to do with the tilt: the way of before is moved along.
        _, x, y = self._places.pop()
        off_x, off_y = x - earlier.x_nm, y - earlier.y_nm
        self._places[:] = [(alpha, px + off_x, py + off_y) for alpha, px, py in self._places]
        self._places.append((earlier.alpha_deg, x, y))

    def go(
        self,
        microscope: ElectronMicroscope,
        alpha_deg: float,
        about: Mapping[str, Any],
        md: Mapping[str, Any] | None,
    ) -> MsgGenerator[None]:
        """Tilt, in steps where the way is not known yet, and shift the beam to the specimen."""
        work, goniometer = self._work, microscope.goniometer
        here = float((yield from bps.rd(goniometer.alpha, default_value=alpha_deg)))
        if self._reference is None:
            yield from self._track(microscope, here, about, md, predicted=None)
        _, known = predict_shift_nm(self._places, alpha_deg)
        steps = 1 if known else steps_of(abs(alpha_deg - here), work.first_step_deg)
        for step in range(1, steps + 1):
            tilt = here + (alpha_deg - here) * step / steps
            yield from bps.mv(goniometer.alpha, tilt)
            predicted, _ = predict_shift_nm(self._places, tilt)
            before = self._reference
            yield from self._track(microscope, tilt, about, md, predicted=predicted)
            if math.dist(predicted, self._places[-1][1:]) > _LOOK_AGAIN_NM:
                # Scales and angles of scan and shift differ by a per cent or two: what was far off is looked at again.
                self._reference = before
                _, x, y = self._places.pop()
                yield from self._track(microscope, tilt, about, md, predicted=(x, y))

    def _track(
        self,
        microscope: ElectronMicroscope,
        alpha_deg: float,
        about: Mapping[str, Any],
        md: Mapping[str, Any] | None,
        *,
        predicted: tuple[float, float] | None,
    ) -> MsgGenerator[None]:
        """Scan a frame of the larger field and compare it with the one before."""
        work, scan, camera = self._work, microscope.scan, microscope.haadf
        settings = work.tracking
        if predicted is not None:
            scan.check_shift(*predicted)
            yield from bps.mv(scan.shift_x, predicted[0], scan.shift_y, predicted[1])

        def body() -> MsgGenerator[None]:
            yield from settle(microscope, settings)
            if work.dose_limit_e_a2 is not None:
                yield from bps.mv(microscope.dose.hardware_limit, work.dose_limit_e_a2)
            yield from bps.prepare(camera, Acquisition(settings.frame_s), wait=True)
            image = yield from scan_once(microscope, work.dose_limit_e_a2)
            yield from record("primary", microscope.goniometer.alpha, camera)
            x = float((yield from bps.rd(scan.shift_x, default_value=0.0)))
            y = float((yield from bps.rd(scan.shift_y, default_value=0.0)))
            dy = dx = 0.0
            if self._reference is not None:
                try:
                    found = _found(self._reference, image, 0.45 * work.track_size)
                except FitError as error:
                    raise TrackingError(
                        f"{camera.name}: the specimen was not found again at {alpha_deg:g} deg: {error}; take smaller "
                        "steps or a larger field, and resume"
                    ) from error
                dy, dx = found.dy, found.dx
                x, y = x + dx * settings.pixel_nm, y + dy * settings.pixel_nm
                scan.check_shift(x, y)
                yield from bps.mv(scan.shift_x, x, scan.shift_y, y)
                # From frame to frame: a specimen looks another one after many tilts. What is left of the shift stays
                # in the frame that follows, so the reference is this frame moved to where the beam now goes.
                image = _moved(image, dy, dx)
            place = scan.track_record
            yield from bps.mv(place.alpha, alpha_deg, place.x, x, place.y, y, place.dx, dx, place.dy, dy)
            yield from record("track", place)
            self._reference = image
            self._places.append((alpha_deg, x, y))

        metadata = yield from start_document(
            microscope,
            "stem_track",
            {"alpha_deg": alpha_deg},
            settings,
            technique="scanning transmission electron microscopy",
            detectors=[camera],
            motors=[microscope.goniometer.alpha],
            md=belongs(about, md),
        )
        yield from run_in_beam(microscope, body, metadata, stage=[camera])


def _found(reference: NDArray[np.float32], image: NDArray[np.float32], reach_px: float) -> Shift:
    """Register by what is larger than ten pixels; by finer things where there is nothing else.

    A lattice comes and goes with tilt and focus, edges and thickness stay: for steps of two degrees the correlation of
    a particle's frames is 0.6 by its outline, and 0.2 with the lattice.
    """
    try:
        return register(reference, image, max_shift_px=reach_px, highest_frequency=_OUTLINE_PER_PX)
    except FitError:
        return register(reference, image, max_shift_px=reach_px)


def _moved(image: NDArray[np.float32], dy: float, dx: float) -> NDArray[np.float32]:
    """Return the frame as it would have been with its features back by (dy, dx), edges repeated."""
    rows, columns = image.shape
    y = np.clip(np.arange(rows) + round(dy), 0, rows - 1)
    x = np.clip(np.arange(columns) + round(dx), 0, columns - 1)
    return np.ascontiguousarray(image[np.ix_(y, x)])
