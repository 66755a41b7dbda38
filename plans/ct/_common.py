"""What every tomogram has around its projections: references, light, and the frame audit at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.utils import MsgGenerator
from numpy.typing import NDArray

from exitwave.analysis.matching import match_angles
from exitwave.devices import Acquisition
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import PlanInputError
from exitwave.plans.pure.rotation import AxisFigures
from exitwave.plans.pure.tomography import Tomography, estimated_s
from exitwave.plans.runs import run_with_beam, start_metadata
from exitwave.plans.stubs import check_light, count_beam, set_binning, set_region, take_darks, take_flats

__all__ = ["Ledger", "Scan", "axis_figures", "check_output", "restore_state", "run_tomography"]

COLLECT_S = 0.5
BEAM_S = 10.0
STAYED_UM = 1e-3


def axis_figures(axis: Any) -> MsgGenerator[AxisFigures]:
    """Ask an axis what it can do."""
    low, high = axis.limits
    values = []
    for signal, default in ((axis.velocity, 1.0), (axis.max_velocity, 0.0), (axis.acceleration, 0.1)):
        values.append(float((yield from bps.rd(signal, default_value=default))))
    return AxisFigures(axis.dotted_name_of(), axis.egu, low, high, *values)


def check_output(output: str | Path | None) -> str | None:
    """Refuse an output file that can't be meant, and return its path as text.

    Raises
    ------
    PlanInputError
        It exists, its folder does not, or its ending says no format.
    """
    if output is None:
        return None
    path = Path(output).expanduser().absolute()
    if path.exists():
        raise PlanInputError(f"output: {path} exists; choose another name or move it away")
    if path.suffix not in (".nxs", ".h5", ".hdf"):
        raise PlanInputError(f"output: {path.name} ends in no known format; use .nxs for NXtomo, .h5 for Data Exchange")
    if not path.parent.is_dir():
        raise PlanInputError(f"output: there is no folder {path.parent}; make it first")
    return str(path)


@dataclass
class Ledger:
    """Counts of the projections of a run, kept while they are taken."""

    asked: NDArray[np.float64]
    tolerance_deg: float
    triggered: int = 0
    acquired: int = 0
    written: int = 0
    lost_numbers: list[int] = field(default_factory=list)
    seen: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing seen."""
        self.seen = np.zeros(len(self.asked), bool)

    @property
    def missing(self) -> NDArray[np.intp]:
        """Which of the angles asked for no frame shows."""
        return np.flatnonzero(~self.seen)

    def add(
        self,
        triggered: int,
        acquired: int,
        numbers: NDArray[np.float64],
        angles_deg: NDArray[np.float64],
        before: int,
    ) -> None:
        """Enter a burst.

        Parameters
        ----------
        triggered, acquired : int
            Triggers sent, and frames that the driver delivered.
        numbers : array (n,)
            Numbers of the frames in the file; a gap is a frame that was lost between driver and file.
        angles_deg : array (n,)
            Encoder at mid-exposure.
        before : int
            Number of the last frame before the burst.
        """
        first = self.triggered
        self.triggered += triggered
        self.acquired += acquired
        self.written += len(numbers)
        there = {int(number) - before - 1 for number in numbers}
        self.lost_numbers += [first + k for k in range(acquired) if k not in there]
        self.see(angles_deg)

    def see(self, angles_deg: NDArray[np.float64]) -> None:
        """Enter which angles the frames of a file show."""
        found = match_angles(self.asked, angles_deg, self.tolerance_deg)
        self.seen[found[found >= 0]] = True


@dataclass
class Scan:
    """A run in progress, as its parts pass it around."""

    instrument: Instrument
    work: Tomography
    ledger: Ledger
    rotation: AxisFigures
    y_um: float = 0.0
    declared: set[str] = field(default_factory=set)
    in_burst: bool = False
    _collected_s: float = 0.0
    _beam_s: float = 0.0

    def begin_burst(self) -> MsgGenerator[None]:
        """Say that frames of a new file follow; the stream is declared once."""
        self.in_burst = True
        if "primary" not in self.declared:
            self.declared.add("primary")
            yield from bps.declare_stream(self.instrument.microscope.camera, name="primary", collect=True)

    def collect(self) -> MsgGenerator[None]:
        """Emit what was written so far."""
        yield from bps.collect(self.instrument.microscope.camera, name="primary")

    def look_after(self) -> MsgGenerator[None]:
        """See that there is light, emit frames now and then, and record the beam now and then.

        Frames are emitted after a look that was good, so that none without light becomes part of the run.
        """
        yield from check_light(self.instrument)
        now = time.monotonic()
        if now - self._collected_s >= COLLECT_S:
            self._collected_s = now
            yield from self.collect()
        if now - self._beam_s >= BEAM_S:
            self._beam_s = now
            yield from count_beam(self.instrument)

    def position(self, angle_deg: float) -> list[Any]:
        """Return where the sample is at an angle, as `bluesky.plan_stubs.mv` takes it."""
        sample = self.instrument.microscope.sample
        if not self.work.pitch_um_per_turn:
            return [sample.theta, angle_deg]
        return [sample.theta, angle_deg, sample.y, self.y_um + self.work.rise_um(angle_deg)]

    def see(self) -> MsgGenerator[None]:
        """Look in the file which angles have their frame."""
        angles = yield from bps.rd(self.instrument.microscope.camera.frame_angles, default_value=np.empty(0))
        self.ledger.see(np.asarray(angles))

    def missing_of(self, angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return those of these angles that no frame shows yet."""
        return np.asarray(angles_deg[np.isin(angles_deg, self.ledger.asked[self.ledger.missing])])

    def enter_burst(self, triggered: int) -> MsgGenerator[None]:
        """Emit the rest of a file and enter it into the ledger."""
        yield from check_light(self.instrument)
        yield from self.collect()
        yield from self.close_burst(triggered)

    def close_burst(self, triggered: int | None = None) -> MsgGenerator[None]:
        """Enter the frames of a file that were emitted; without a number, as many triggers as frames acquired."""
        camera = self.instrument.microscope.camera
        self.in_burst = False
        yield from bps.trigger_and_read([camera.audit], name="audit")
        numbers = yield from bps.rd(camera.frame_numbers, default_value=np.empty(0))
        angles = yield from bps.rd(camera.frame_angles, default_value=np.empty(0))
        acquired = int((yield from bps.rd(camera.audit.acquired, default_value=0)))
        emitted = slice(0, camera.frames_emitted)
        self.ledger.add(
            acquired if triggered is None else triggered,
            acquired,
            np.asarray(numbers)[emitted],
            np.asarray(angles)[emitted],
            camera.frames_before,
        )


def _state_signals(instrument: Instrument) -> dict[str, Any]:
    """Return what a tomogram stands on and a scan changes, by name: what `restore_state` brings back."""
    sample, cam = instrument.microscope.sample, instrument.microscope.camera.cam
    return {
        "x_um": sample.x.user_setpoint,
        "y_um": sample.y.user_setpoint,
        "z_um": sample.z.user_setpoint,
        "theta_velocity_deg_s": sample.theta.velocity,
        "y_velocity_um_s": sample.y.velocity,
        "y_acceleration_s": sample.y.acceleration,
        **{name: getattr(cam, name) for name in ("min_x", "min_y", "size_x", "size_y", "bin_x", "bin_y")},
    }


def _read_state(instrument: Instrument) -> MsgGenerator[dict[str, float]]:
    state = {}
    for name, signal in _state_signals(instrument).items():
        state[name] = float((yield from bps.rd(signal, default_value=0.0)))
    return state


def restore_state(instrument: Instrument, state: Mapping[str, float]) -> MsgGenerator[None]:
    """Bring sample, velocities, region and binning back to what a tomogram began with.

    A process that was killed may have left the sample out of the field, or the axis at a scan's velocity.
    """
    sample, camera = instrument.microscope.sample, instrument.microscope.camera
    yield from bps.mv(
        sample.theta.velocity, state["theta_velocity_deg_s"],
        sample.y.velocity, state["y_velocity_um_s"],
        sample.y.acceleration, state["y_acceleration_s"],
    )  # fmt: skip
    yield from bps.mv(sample.x, state["x_um"], sample.y, state["y_um"], sample.z, state["z_um"])
    yield from set_binning(camera, int(state["bin_x"]), int(state["bin_y"]))
    yield from set_region(camera, *(int(state[name]) for name in ("min_x", "min_y", "size_x", "size_y")))


def _axis_hint(instrument: Instrument) -> MsgGenerator[dict[str, Any]]:
    """Return where the last alignment of this session says the axis is, in columns of the frames now taken."""
    microscope = instrument.microscope
    result, camera = microscope.sample.axis_result, microscope.camera
    sample_x = microscope.sample.x.user_setpoint
    cam = camera.cam
    values = []
    for signal in (result.valid_at, result.sensor_column, result.tilt, sample_x, cam.min_x, cam.bin_x):
        values.append(float((yield from bps.rd(signal, default_value=float("nan")))))
    valid_at, column, tilt, x_um, left, binning = values
    # Moved along with the stage since: what was found then holds no more.
    if not abs(x_um - valid_at) < STAYED_UM:
        return {}
    centre = (column - left + 0.5) / binning - 0.5
    return {"rotation_axis": {"centre_px": centre, "tilt_deg": tilt, "sample_x_um": valid_at}}


def _audit(scan: Scan) -> MsgGenerator[None]:
    """End the run with the numbers of its projections."""
    ledger, result = scan.ledger, scan.instrument.microscope.camera.run_audit
    values: list[tuple[Any, Any]] = [
        (result.asked, len(ledger.asked)),
        (result.triggered, ledger.triggered),
        (result.acquired, ledger.acquired),
        (result.written, ledger.written),
        (result.dropped, ledger.triggered - ledger.written),
        (result.missing, len(ledger.missing)),
        (result.lost_frames, np.asarray(ledger.lost_numbers, np.int64)),
        (result.missing_projections, ledger.missing),
    ]
    yield from bps.mv(*(part for pair in values for part in pair))
    yield from bps.trigger_and_read([result], name="frame_audit")


def run_tomography(
    instrument: Instrument,
    work: Tomography,
    take: Callable[[Scan, NDArray[np.float64]], MsgGenerator[None]],
    *,
    plan_name: str,
    plan_args: Mapping[str, Any],
    motors: Sequence[Any],
    stage: Sequence[Any] = (),
    output: str | None = None,
    cleanup: Callable[[Scan], MsgGenerator[None]] | None = None,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Take one tomogram in one run: darks, flats, projections block by block, flats, audit.

    Parameters
    ----------
    take : callable
        Takes the projections of one block of angles.
    motors, stage : sequence of devices
        What moves, and what is staged besides the camera.
    output : str, optional
        Where the session is to export the tomogram when the run ends.
    cleanup : callable, optional
        Done at the end whatever happened, after the shutters are closed.

    Returns
    -------
    str
        The run's uid.
    """
    microscope = instrument.microscope
    camera, sample = microscope.camera, microscope.sample
    references = Acquisition(work.exposure_s, max(work.num_flats, 1))
    camera.check_acquisition(references)
    camera.check_storage(work.num_frames)
    rotation = yield from axis_figures(sample.theta)
    for angle in (min(work.angles_deg), max(work.angles_deg)):
        rotation.require(angle, "angle")
    y_um = float((yield from bps.rd(sample.y.user_setpoint, default_value=0.0)))
    if work.pitch_um_per_turn:
        for angle in (min(work.angles_deg), max(work.angles_deg)):
            sample.y.check_value(y_um + work.rise_um(angle))
    axis_hint = yield from _axis_hint(instrument)
    state = yield from _read_state(instrument)
    eta_s = estimated_s(work, rotation, camera.readout_s)
    scan = Scan(instrument, work, Ledger(work.angles, work.tolerance_deg), rotation, y_um)

    def body() -> MsgGenerator[None]:
        yield from count_beam(instrument)
        if work.num_darks:
            yield from take_darks(instrument, Acquisition(work.exposure_s, work.num_darks))
        places = work.flat_places()
        for block, flats in zip([*work.blocks(), None], places, strict=True):
            if flats:
                yield from take_flats(instrument, Acquisition(work.exposure_s, work.num_flats))
            if block is not None:
                yield from take(scan, block)

    def end() -> MsgGenerator[None]:
        if cleanup is not None:
            yield from cleanup(scan)
        if work.pitch_um_per_turn:
            yield from bps.mv(sample.y, y_um)
        if scan.in_burst:
            yield from scan.close_burst()
        yield from _audit(scan)

    metadata = start_metadata(
        instrument,
        plan_name,
        plan_args,
        technique="X-ray nano-tomography",
        detectors=[camera],
        motors=motors,
        num_points=len(work.angles_deg),
        hints={"dimensions": [([sample.theta.name], "primary")]},
        md={
            "num_flats": work.num_flats_in_all,
            "num_darks": work.num_darks,
            "exposure_s": work.exposure_s,
            "tomography": work.describe(),
            "estimated_s": round(eta_s, 1),
            "beam_monitor": {"intensity": instrument.i0.current.name, "ring": instrument.ring.current.name},
            "state": state,
            **axis_hint,
            **({"output": output} if output else {}),
            **(md or {}),
        },
    )
    return (yield from run_with_beam(instrument, body, metadata, stage=[camera, *stage], cleanup=end))
