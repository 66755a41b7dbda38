"""What every scan of energies does: walk through the energies, frames into their streams, one event for each shot."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.utils import Msg, MsgGenerator
from numpy.typing import NDArray

from exitwave.devices import Acquisition
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.xanes import Shot, Visit, XanesScan
from exitwave.plans.pure.xanes_estimates import Exposed, absorbed_dose_gy, scan_dose_gy
from exitwave.plans.stubs import (
    FrameLossError,
    check_light,
    close_shutter,
    count_beam,
    open_shutter,
    sample_back,
    take_darks,
    wait_for_beam,
)
from exitwave.plans.xanes._moves import move_to_energy, out_target
from exitwave.plans.xanes.feedback import Feedback, feed_back

__all__ = ["Look", "Taken", "Walk"]

Image = NDArray[Any]
Look = Callable[[Shot, Image, Image | None, Mapping[str, float]], None]
BEAM_S = 10.0
UNKNOWN = -1.0
RETAKES = 3


@dataclass
class Taken:
    """Counts of a scan, kept while it goes on.

    Attributes
    ----------
    rows : dict
        Rows of each stream so far.
    shots : dict
        Frames by number of the shot, of the fullest taking.
    before_gy : float
        What earlier runs of the scan gave the sample.
    doses_gy : dict
        By number of the place.
    """

    asked: tuple[int, ...]
    rows: dict[str, int] = field(default_factory=lambda: {"primary": 0, "flat": 0})
    shots: dict[int, int] = field(default_factory=dict)
    triggered: int = 0
    written: int = 0
    exposed_s: float = 0.0
    before_gy: float = 0.0
    doses_gy: dict[int, float] = field(default_factory=dict)

    @property
    def dose_gy(self) -> float:
        """The largest dose that a place of the sample took in this run, Gy."""
        return max(self.doses_gy.values(), default=0.0)


@dataclass
class Walk:
    """A scan in progress.

    The camera is armed once for all frames of one exposure; a new file begins where the kind of frames changes. What
    is written and recorded of one stop happens while the axes go to the next.

    Parameters
    ----------
    look : callable, optional
        Given a shot, its last frame, the last flat (None without) and where everything was (as in the stream
        ``energy``), once the frames are in the file; by then the axes are on their way to the next energy.
    """

    instrument: Instrument
    work: XanesScan
    home: dict[str, float]
    magnification: float | None
    feedback: Feedback
    exposed: Exposed | None
    area_um2: float
    taken: Taken
    look: Look | None = None
    _kind: str = ""
    _armed_s: float = 0.0
    _declared: set[str] = field(default_factory=set)
    _beam_s: float = 0.0
    _flat: Image | None = None

    # -- the way ----------------------------------------------------------------------------------------------

    def take(self, work: XanesScan, *, darks: bool = True) -> MsgGenerator[None]:
        """Take a scan or a part of it, and again what was lost between camera and file.

        Raises
        ------
        FrameLossError
            Frames are still missing after the retakes, or to take them again would exceed the dose's limit.
        """
        yield from self.go(work, darks=darks)
        for _ in range(RETAKES):
            missing = self._missing(work)
            if not missing:
                return
            if not self.affords(work.part(missing)):
                raise FrameLossError(
                    f"{self.instrument.microscope.camera.name}: {len(missing)} shots lack frames, and to take them "
                    "again would exceed limit_gy; resume the run with a higher one"
                )
            yield from self.go(work.part(missing), darks=False)
        if missing := self._missing(work):
            camera = self.instrument.microscope.camera
            raise FrameLossError(
                f"{camera.name}: {len(missing)} of {len(list(work.shots()))} shots lack frames after {RETAKES} "
                f"retakes, the first is number {missing[0]}; look at the file plugin's queue, then resume the run"
            )

    def _missing(self, work: XanesScan) -> list[int]:
        return [shot.index for shot in work.shots() if self.taken.shots.get(shot.index, 0) < work.num_frames]

    def go(self, work: XanesScan, *, darks: bool = True) -> MsgGenerator[None]:
        """Take darks, then every visit of a scan or of a part of it."""
        yield from wait_for_beam(self.instrument)
        yield from count_beam(self.instrument)
        self._beam_s = time.monotonic()
        visits = work.visits()
        if darks and work.num_darks:
            for exposure_s in sorted({visit.exposure_s for visit in visits}):
                yield from take_darks(self.instrument, Acquisition(exposure_s, work.num_darks))
        if not visits:
            return
        yield from self.feedback.begin(self.instrument)
        started = time.monotonic()
        # not from above: the way down to the first energy is one reversal
        rising = len(visits) < 2 or visits[1].energy_ev >= visits[0].energy_ev
        yield from move_to_energy(
            self.instrument, 1e-3 * visits[0].energy_ev, magnification=self.magnification, rising=rising
        )
        for number, visit in enumerate(visits):
            following = visits[number + 1] if number + 1 < len(visits) else None
            if number and visit.repeat != visits[number - 1].repeat:
                yield from self._wait_for_repeat(started + visit.repeat * work.interval_s)
            yield from bps.checkpoint()
            yield from feed_back(self.instrument, self.feedback, number)
            yield from self._visit(visit, following, work)
        yield from self.disarm()

    def _wait_for_repeat(self, due_s: float) -> MsgGenerator[None]:
        left_s = due_s - time.monotonic()
        if left_s > 0:
            yield from bps.sleep(left_s)

    def _visit(self, visit: Visit, following: Visit | None, work: XanesScan) -> MsgGenerator[None]:
        instrument, sample = self.instrument, self.instrument.microscope.sample
        flats = 0
        if visit.flats:
            yield from bps.mv(sample.out_motor, out_target(sample, self._place(visit)[sample.out_motor]))
            yield from self._arm("flat", visit.exposure_s)
            told = yield from self._expose(work.num_flats)
            yield from close_shutter(instrument.fast_shutter)
            if visit.shots:
                yield from self._start(self._place(visit), "back")
            else:
                yield from self._start_next(visit, following)
            flats = yield from self._settle("flat")
            if self.look is not None:
                self._flat = yield from self._latest()
            if not visit.shots:
                yield from self._record(visit, None, told, 0, flats)
                yield from self._end_move("next")
                return
            yield from self._end_move("back")
            yield from sample_back(instrument, self._place(visit)[sample.out_motor])
        for number, shot in enumerate(visit.shots):
            last = number + 1 == len(visit.shots)
            if number or not visit.flats:
                yield from self._start(self._place_of(shot), "place")
            yield from self._arm("primary", shot.exposure_s)
            yield from self._end_move("place")
            told = yield from self._expose(work.num_frames)
            yield from close_shutter(instrument.fast_shutter)
            self._enter_dose(shot, work.num_frames)
            if last:
                yield from self._start_next(visit, following)
            frames = yield from self._settle("primary")
            self.taken.shots[shot.index] = max(self.taken.shots.get(shot.index, 0), frames)
            if self.look is not None and frames:
                self.look(shot, (yield from self._latest()), self._flat, told)
            yield from self._record(visit, shot, told, frames, flats)
            flats = 0
            if last:
                yield from self._end_move("next")

    # -- motion -----------------------------------------------------------------------------------------------

    def _place_of(self, shot: Shot) -> dict[Any, float]:
        sample = self.instrument.microscope.sample
        place = {sample.x: shot.x_um, sample.y: shot.y_um, sample.theta: shot.angle_deg}
        home = {sample.x: "x", sample.y: "y", sample.theta: "theta", sample.z: "z"}
        wanted = {axis: float(value) for axis, value in place.items() if value is not None}
        wanted.setdefault(sample.out_motor, self.home[home[sample.out_motor]])
        return wanted

    def _place(self, visit: Visit) -> dict[Any, float]:
        if visit.shots:
            return self._place_of(visit.shots[0])
        return self._place_of(Shot(-1, visit.energy_ev, visit.exposure_s))

    def _start(self, targets: Mapping[Any, float], group: str) -> MsgGenerator[None]:
        for axis, target in targets.items():
            if abs(float(axis.user_setpoint.get()) - target) > 1e-6:
                yield from bps.abs_set(axis, target, group=group)

    def _start_next(self, visit: Visit, following: Visit | None) -> MsgGenerator[None]:
        """Let everything go where the next visit begins."""
        microscope = self.instrument.microscope
        if following is None:
            return
        energy_kev = 1e-3 * following.energy_ev
        if following.energy_ev < visit.energy_ev:
            # A jump back, once a repeat or a pass: from below, and not while frames are looked after.
            yield from move_to_energy(self.instrument, energy_kev, magnification=self.magnification)
        else:
            move = microscope.energy_move(energy_kev, magnification=self.magnification)
            for axis, target in microscope.energy_targets(move):
                yield from bps.abs_set(axis, target, group="next")
        if following.flats:
            motor = microscope.sample.out_motor
            yield from self._start({motor: out_target(microscope.sample, self._place(following)[motor])}, "next")

    def _end_move(self, group: str) -> MsgGenerator[None]:
        yield from bps.wait(group=group)

    # -- frames -----------------------------------------------------------------------------------------------

    def _arm(self, kind: str, exposure_s: float) -> MsgGenerator[None]:
        """Have the camera wait for triggers, and its frames of this kind go into a file of their own."""
        camera = self.instrument.microscope.camera
        if (kind, exposure_s) == (self._kind, self._armed_s):
            return
        anew = exposure_s != self._armed_s
        if self._kind:
            yield from self._close_file(stop=anew)
        yield from bps.checkpoint()
        yield from bps.prepare(camera, Acquisition(exposure_s, trigger="software"), wait=True)
        if kind not in self._declared:
            self._declared.add(kind)
            yield from bps.declare_stream(camera, name=kind, collect=True)
        if anew:
            yield from bps.kickoff(camera, wait=True)
        self._kind, self._armed_s = kind, exposure_s

    def disarm(self) -> MsgGenerator[None]:
        """End the last file and let the camera rest."""
        if self._kind:
            yield from self._close_file(stop=True)
        self._kind, self._armed_s = "", 0.0

    def _close_file(self, *, stop: bool) -> MsgGenerator[None]:
        camera = self.instrument.microscope.camera
        if stop:
            yield from bps.mv(camera.cam.acquire, 0)
        yield from bps.trigger_and_read([camera.audit], name="audit")

    def _expose(self, num: int) -> Generator[Msg, Any, dict[str, float]]:
        """Trigger frames, read where everything is meanwhile, and return it."""
        instrument = self.instrument
        camera, microscope = instrument.microscope.camera, instrument.microscope
        yield from self.feedback.wait_for_intensity(instrument)
        yield from open_shutter(instrument.fast_shutter)
        told: dict[str, float] = {}
        for k in range(num):
            if k:
                yield from bps.sleep(camera.readout_s)
            yield from bps.trigger(camera, group="exposure", wait=False)
            if not k:
                yield from bps.trigger(instrument.i0, group="i0", wait=False)
                told = {
                    "readback": float((yield from bps.rd(microscope.mono.energy, default_value=0.0))),
                    "zone_plate_z": float((yield from bps.rd(microscope.zone_plate.z, default_value=0.0))),
                    "pixel": float((yield from bps.rd(microscope.pixel_size, default_value=0.0))),
                    "pitch": float((yield from bps.rd(microscope.mono.pitch, default_value=0.0))),
                    "ring": float((yield from bps.rd(instrument.ring.current, default_value=0.0))),
                    "x": float((yield from bps.rd(microscope.sample.x, default_value=0.0))),
                    "y": float((yield from bps.rd(microscope.sample.y, default_value=0.0))),
                    "theta": float((yield from bps.rd(microscope.sample.theta, default_value=0.0))),
                }
                yield from bps.wait(group="i0")
                told["i0"] = float((yield from bps.rd(instrument.i0.current, default_value=0.0)))
            yield from bps.wait(group="exposure")
        self.taken.triggered += num
        return told

    def _settle(self, stream: str) -> Generator[Msg, Any, int]:
        """See the frames into the file and into the documents, and return how many there are."""
        camera = self.instrument.microscope.camera
        yield from bps.complete(camera, wait=True)
        # Frames without light must not become part of the run.
        yield from check_light(self.instrument)
        before = camera.frames_emitted
        yield from bps.collect(camera, name=stream)
        frames = int(camera.frames_emitted - before)
        self.taken.rows[stream] += frames
        self.taken.written += frames
        now = time.monotonic()
        if now - self._beam_s >= BEAM_S:
            self._beam_s = now
            yield from count_beam(self.instrument)
        return frames

    def _latest(self) -> Generator[Msg, Any, Image]:
        camera = self.instrument.microscope.camera
        frame = yield from bps.rd(camera.latest_frame, default_value=np.ones((1, 1)))
        return np.asarray(frame)

    def _record(
        self, visit: Visit, shot: Shot | None, told: Mapping[str, float], frames: int, flats: int
    ) -> MsgGenerator[None]:
        record, rows = self.instrument.microscope.energy_record, self.taken.rows
        values: dict[str, Any] = {
            **told,
            "shot": -1 if shot is None else shot.index,
            "setpoint": 1e-3 * visit.energy_ev,
            "exposure": visit.exposure_s,
            "first_frame": rows["primary"] - frames,
            "num_frames": frames,
            "first_flat": rows["flat"] - flats,
            "num_flats": flats,
            "repeat_number": visit.repeat,
            "place": 0 if shot is None else shot.position,
        }
        known = {name: UNKNOWN if value != value else value for name, value in values.items()}
        yield from bps.mv(*(part for name, value in known.items() for part in (getattr(record, name), value)))
        yield from bps.trigger_and_read([record], name="energy")

    # -- dose -------------------------------------------------------------------------------------------------

    def affords(self, more: XanesScan) -> bool:
        """Whether a further part of the scan stays within the dose's limit, by all that the sample got so far."""
        if self.exposed is None or self.exposed.limit_gy is None:
            return True
        readout_s = self.instrument.microscope.camera.readout_s
        dose_gy = scan_dose_gy(more, self.exposed, self.area_um2, readout_s)
        return self.taken.before_gy + self.taken.dose_gy + dose_gy <= self.exposed.limit_gy

    def _enter_dose(self, shot: Shot, num: int) -> None:
        camera = self.instrument.microscope.camera
        time_s = num * (shot.exposure_s + camera.readout_s)
        self.taken.exposed_s += time_s
        if self.exposed is not None:
            dose_gy = absorbed_dose_gy(
                self.exposed.material, shot.energy_ev, self.exposed.flux_per_s, self.area_um2, time_s
            )
            self.taken.doses_gy[shot.position] = self.taken.doses_gy.get(shot.position, 0.0) + dose_gy

    def end(self, asked: Sequence[int]) -> MsgGenerator[None]:
        """Put the sample back and end the run with its numbers, whatever happened."""
        instrument, taken = self.instrument, self.taken
        microscope = instrument.microscope
        sample, camera = microscope.sample, microscope.camera
        moves = {sample.x: self.home["x"], sample.y: self.home["y"], sample.theta: self.home["theta"]}
        yield from self._start(moves, "home")
        yield from bps.wait(group="home")
        missing = [index for index in asked if taken.shots.get(index, 0) < self.work.num_frames]
        result = camera.run_audit
        yield from bps.mv(
            result.asked, len(asked),
            result.triggered, taken.triggered,
            result.acquired, taken.triggered,
            result.written, taken.written,
            result.dropped, taken.triggered - taken.written,
            result.missing, len(missing),
            result.missing_projections, np.asarray(missing, np.int64),
        )  # fmt: skip
        yield from bps.trigger_and_read([result], name="frame_audit")
        record = microscope.dose_record
        # A signal that is set to NaN waits for ever to be it.
        dose = taken.dose_gy if self.exposed is not None else UNKNOWN
        yield from bps.mv(record.dose, dose, record.exposed, taken.exposed_s)
        yield from bps.trigger_and_read([record], name="dose")
