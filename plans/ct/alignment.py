"""Putting the rotation axis on the middle of the camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.utils import MsgGenerator
from numpy.typing import NDArray

from exitwave.analysis import correction
from exitwave.analysis.errors import FitError
from exitwave.devices import Acquisition
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import PlanInputError, require_count, require_finite
from exitwave.plans.runs import run_with_beam, start_metadata
from exitwave.plans.stubs import close_shutter, count_beam, open_shutter, record, sample_back, sample_out, snap

if TYPE_CHECKING:
    from exitwave.analysis.tomography import AxisEstimate

__all__ = ["align_rotation_axis", "to_sensor_column"]

WORST_SD = 20.0
"""Times the tolerance that a measurement may be uncertain: what tells nothing is near enough to everything."""
LEAST_RESPONSE = 0.5
"""Part of a move of the stage that the axis must show on the camera to be believed."""


def align_rotation_axis(
    instrument: Instrument,
    pairs_deg: Sequence[float] = (0.0,),
    *,
    exposure_s: float = 1.0,
    num_frames: int = 2,
    repeats: int = 4,
    num_flats: int = 10,
    num_darks: int = 10,
    tolerance_px: float = 0.1,
    tries: int = 3,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Find the rotation axis from pictures half a turn apart, and move the sample until it is on the middle column.

    The tilt is measured and recorded; no axis of this stage takes it out, the reconstruction does. Which way the
    picture moves with the stage is measured, too. Rotation goes back to where it was.

    Streams: ``dark``, ``flat``, ``primary`` (frames with angle and position), ``rotation_axis`` (centre, tilt and
    their standard deviations after each try; the last one holds).

    Parameters
    ----------
    instrument : Instrument
    pairs_deg : sequence of float
        First angle of each pair, the second is 180 deg on. Several pairs average the stage's radial error motion;
        a flat sample shows nothing edge on.
    exposure_s, num_frames
        Of each picture, the mean of the frames.
    num_flats, num_darks : int
    repeats : int
        How often each pair is taken. A stage that stops elsewhere by some nm at every visit is averaged by visits, not
        by frames; their scatter is in the uncertainty.
    tolerance_px : float
        How near to the middle is near enough; what two standard deviations of the measurement can't tell from it,
        too, unless these are so large that the measurement tells nothing.
    tries : int
        Moves, at most.

    Returns
    -------
    str
        The run's uid.

    Raises
    ------
    FitError
        The pictures do not determine the axis, or it did not come to the middle; the stage is where it was.
    PlanInputError, MotionLimitError
        Before anything moves.
    """
    counts = {"num_frames": num_frames, "repeats": repeats, "num_flats": num_flats, "num_darks": num_darks}
    for name, value in {**counts, "tries": tries}.items():
        require_count(name, value, at_least=1)
    require_finite("tolerance_px", tolerance_px, "pixel", positive=True)
    microscope = instrument.microscope
    camera, sample = microscope.camera, microscope.sample
    if not len(pairs_deg):
        raise PlanInputError("pairs_deg: no pairs; give the angle at which one begins")
    for angle in pairs_deg:
        for end in (angle, angle + 180.0):
            sample.theta.check_value(end)
    each = Acquisition(exposure_s)
    camera.check_acquisition(each)
    camera.check_storage(num_flats + num_darks + (tries + 1) * 2 * len(pairs_deg) * repeats * num_frames)
    result = sample.axis_result
    x_um = float((yield from bps.rd(sample.x.user_setpoint, default_value=0.0)))
    theta_deg = float((yield from bps.rd(sample.theta.user_setpoint, default_value=0.0)))
    aligned = False

    def measure(correct: correction.FlatField) -> MsgGenerator[AxisEstimate]:
        # Its kernels take a second to load, which only an alignment has to wait for.
        from exitwave.analysis.tomography import axis_from_pairs

        pictures = []
        for angle in [*pairs_deg] * repeats:
            for end in (angle, angle + 180.0):
                yield from bps.checkpoint()
                yield from bps.mv(sample.theta, end)
                total = yield from _mean(camera, "primary", num_frames, sample.theta, sample.x)
                image = correct(total)
                pictures.append(-np.log(np.clip(image, 1e-3, None)).astype(np.float32))
        return axis_from_pairs(np.stack(pictures[::2]), np.stack(pictures[1::2]))

    def body() -> MsgGenerator[None]:
        nonlocal aligned
        yield from count_beam(instrument)
        yield from bps.prepare(camera, each, wait=True)
        yield from close_shutter(instrument.fast_shutter)
        dark = yield from _mean(camera, "dark", num_darks)
        position_um = yield from sample_out(instrument)
        yield from open_shutter(instrument.fast_shutter)
        flat = yield from _mean(camera, "flat", num_flats)
        yield from sample_back(instrument, position_um)
        correct = correction.FlatField(flat, dark, min_signal=0.3 * float(np.median(flat - dark)), fill=1.0)
        pixel_um = 1e-3 * float((yield from bps.rd(microscope.pixel_size, default_value=30.0)))
        middle = (camera.frame_shape[1] - 1) / 2
        response, before, moved_um = 1.0, None, 0.0
        for attempt in range(tries + 1):
            found = yield from measure(correct)
            if before is not None and abs(moved_um) > 5 * pixel_um * max(tolerance_px, found.centre_sd):
                response = (found.centre - before) * pixel_um / moved_um
                if abs(response) < LEAST_RESPONSE:
                    raise FitError(
                        f"rotation axis: moved {found.centre - before:.3g} pixels on the camera when sample.x moved "
                        f"{moved_um:.3g} um; is what is seen on the rotation stage?"
                    )
            off_px = found.centre - middle
            for signal, value in (
                (result.centre, found.centre),
                (result.centre_sd, found.centre_sd),
                (result.tilt, found.tilt_deg),
                (result.tilt_sd, found.tilt_sd_deg),
            ):
                yield from bps.mv(signal, value)
            now_um = float((yield from bps.rd(sample.x.user_setpoint, default_value=x_um)))
            yield from bps.mv(result.moved, now_um - x_um, result.valid_at, now_um)
            column = yield from to_sensor_column(camera, found.centre)
            yield from bps.mv(result.sensor_column, column)
            yield from bps.trigger_and_read([result], name="rotation_axis")
            if found.centre_sd > WORST_SD * tolerance_px:
                raise FitError(
                    f"rotation axis: its column is known to {found.centre_sd:.3g} pixels only, limit "
                    f"{WORST_SD * tolerance_px:g}; take more repeats or frames, or a sample with more structure"
                )
            if abs(off_px) <= max(tolerance_px, 2.0 * found.centre_sd):
                aligned = True
                break
            if attempt == tries:
                raise FitError(
                    f"rotation axis: {off_px:.3g} pixels from the middle after {tries} moves, more than "
                    f"{tolerance_px:g} and than two standard deviations, {2 * found.centre_sd:.3g}; take more "
                    "repeats, or a sample with more structure"
                )
            moved_um, before = -off_px * pixel_um / response, found.centre
            yield from bps.mv(sample.x, now_um + moved_um)
        yield from close_shutter(instrument.fast_shutter)

    def back() -> MsgGenerator[None]:
        yield from bps.mv(sample.theta, theta_deg)
        if not aligned:
            yield from bps.mv(sample.x, x_um)

    metadata = start_metadata(
        instrument,
        "align_rotation_axis",
        {"pairs_deg": list(pairs_deg), "exposure_s": exposure_s, "num_frames": num_frames},
        technique="X-ray nano-tomography",
        detectors=[camera],
        motors=[sample.theta, sample.x],
        num_points=2 * len(pairs_deg) * repeats * num_frames,
        md={"num_flats": num_flats, "num_darks": num_darks, "exposure_s": exposure_s, **(md or {})},
    )
    return (yield from run_with_beam(instrument, body, metadata, stage=[camera], cleanup=back))


def to_sensor_column(camera: Any, column: float) -> MsgGenerator[float]:
    """Return the column of the sensor, unbinned, at a column of its frames; both from the middle of the first."""
    left = float((yield from bps.rd(camera.cam.min_x, default_value=0)))
    binning = float((yield from bps.rd(camera.cam.bin_x, default_value=1)))
    return left + binning * (column + 0.5) - 0.5


def _mean(camera: Any, stream: str, num: int, *motors: Any) -> MsgGenerator[NDArray[np.float32]]:
    """Take frames one by one into a stream and return their mean, float32 (y, x)."""
    total = np.zeros(camera.frame_shape, np.float32)
    for _ in range(num):
        frame = yield from snap(camera)
        total += frame
        yield from record(stream, *motors, camera)
    return np.asarray(total / num, np.float32)
