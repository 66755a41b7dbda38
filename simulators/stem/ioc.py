"""The microscope's input/output controller: every record around one world."""

from __future__ import annotations

import asyncio
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from exitwave.simulators.clock import SimClock
from exitwave.simulators.records.hdf_plugin import WriteFaults
from exitwave.simulators.records.motion import Axis, AxisErrors
from exitwave.simulators.records.motor import Motor
from exitwave.simulators.records.motor_fields import MotorSettings
from exitwave.simulators.stem.column import Column, Dose
from exitwave.simulators.stem.controls import SimulatorControls
from exitwave.simulators.stem.eds import Eds
from exitwave.simulators.stem.frames import Frames
from exitwave.simulators.stem.haadf import Haadf
from exitwave.simulators.stem.layout import AXES, INSTRUMENTS, LOST_MOTION, Instrument
from exitwave.simulators.stem.modes import MODES, Physics
from exitwave.simulators.stem.scan import ScanGenerator
from exitwave.simulators.stem.truth import StemTruth
from exitwave.simulators.stem.world import World

__all__ = ["MicroscopeInputs", "StemIoc", "build_ioc"]

_SLOW_TICK_S = 0.5


class MicroscopeInputs:
    """What the world sees of the records: true positions and settings at any time, from any thread."""

    def __init__(self, column: Column) -> None:
        self._column = column
        self.axes: dict[str, Axis] = {}

    def axis(self, name: str, t: float) -> float:
        """Return the true position of an axis at simulated time `t`, in its unit."""
        return self.axes[name].position(t)

    def setting(self, name: str, t: float) -> float:
        """Return a setting of the column at simulated time `t`."""
        return self._column.setting(name, t)

    def passes(self, t: float) -> bool:
        """Return whether electrons reach the specimen at simulated time `t`."""
        return self._column.passes(t)


class StemIoc:
    """All records; `pvdb` is what the server serves.

    Parameters
    ----------
    instrument : Instrument
        Which microscope.
    prefix : str
        In front of every name: "TITAN:".
    clock : SimClock
        Simulated time.
    truth : StemTruth
        Hidden errors.
    specimen : str
        Name of the specimen.
    physics : Physics
        How X-ray images are made at the start.

    Raises
    ------
    UnknownCrystalError
        If there is no such specimen.
    """

    def __init__(
        self,
        instrument: Instrument,
        prefix: str,
        clock: SimClock,
        truth: StemTruth,
        *,
        specimen: str = "SrTiO3",
        physics: Physics | None = None,
    ) -> None:
        self.prefix, self.clock, self.truth = prefix, clock, truth
        perfect = truth == StemTruth.nominal(truth.seed)
        self.faults = WriteFaults()
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="probe")
        self.column = Column(instrument, clock, self._commanded, truth.seed)
        self.inputs = MicroscopeInputs(self.column)
        self.motors = {settings.name: self._motor(settings, perfect) for settings in AXES}
        self.world = World(self.inputs, truth, instrument, specimen, physics or Physics())
        self.dose: Dose | None = None
        dose = Dose(clock, self.world.electrons_per_s, lambda: self.scan.area_nm2, self.column.blank_at)
        self.eds = Eds(instrument.segments, truth, self._holder_deg, self.faults)
        self.haadf = Haadf(
            instrument.maker, clock, self.pool, self.faults, instrument.haadf_mrad, self._take_haadf_angles
        )
        self.frames = Frames(self.world, self.column, dose, self.eds, self.haadf, clock)
        self.scan = ScanGenerator(clock, self.frames, self.column.blank)
        self.controls = SimulatorControls(self.world, self.column, self.eds, self.motors, self.faults)
        self.dose = dose
        self.column.on_settings = self._show_probe
        self._loop: asyncio.AbstractEventLoop | None = None
        self.pvdb = self._collect()

    def _commanded(self) -> None:
        # Electrons are counted up to a change with the beam as it was.
        if self.dose is not None:
            self.dose.advance()

    def _motor(self, settings: MotorSettings, perfect: bool) -> Motor:
        def error(position: float) -> float:
            return self.truth.encoder_error(settings.name, position)

        errors = AxisErrors(
            lost_motion=0.0 if perfect else LOST_MOTION.get(settings.name, 0.0),
            encoder_error=error,
            encoder_noise_rms=0.0 if perfect else 3 * settings.step,
        )
        axis = Axis(settings.start, errors)
        self.inputs.axes[settings.name] = axis
        seed = self.truth.seed * 1000 + zlib.crc32(settings.name.encode()) % 1000
        return Motor(settings, self.clock, axis, seed=seed)

    def _holder_deg(self) -> tuple[float, float]:
        now = self.clock.now()
        return self.inputs.axis("STG:Alpha", now), self.inputs.axis("STG:Beta", now)

    def _take_haadf_angles(self, angles_mrad: tuple[float, float]) -> None:
        self.world.haadf_mrad = angles_mrad

    def _show_probe(self) -> None:
        self.pool.submit(self.frames.show_probe)

    def _collect(self) -> dict[str, Any]:
        prefix = self.prefix
        pvdb: dict[str, Any] = {}
        for motor in self.motors.values():
            pvdb |= motor.pvdb(prefix)
        pvdb |= self.column.pvdb(prefix)
        if self.dose is not None:
            pvdb |= self.dose.board.pvdb(f"{prefix}Dose:")
        pvdb |= self.scan.board.pvdb(f"{prefix}Scan:")
        for part in (self.haadf, self.eds, self.controls):
            pvdb |= part.pvdb(prefix)
        return pvdb

    # life -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start threads and timers; inside the running event loop."""
        loop = self._loop = asyncio.get_running_loop()
        self.column.start(loop)
        if self.dose is not None:
            self.dose.start(loop)
        self.haadf.plugin.start(loop)
        self.haadf.camera.start(loop)
        self.haadf.board.start(loop)
        self.eds.start(loop)
        self.controls.board.start(loop)
        self.scan.start(loop)
        self._show_probe()
        self.pool.submit(self.frames.warm_up, self.scan.plan())
        self._tick()

    def _tick(self) -> None:
        self.eds.show_shadow()
        if self._loop is not None:
            self._loop.call_later(_SLOW_TICK_S, self._tick)

    def close(self) -> None:
        """Stop what runs; files are closed whole."""
        self.scan.close()
        self.haadf.camera.close()
        self.haadf.plugin.close()
        self.eds.plugin.close()
        self.pool.shutdown(wait=False, cancel_futures=True)


def build_ioc(
    instrument: str,
    prefix: str,
    clock: SimClock,
    *,
    seed: int | None,
    truth_file: Path | None,
    specimen: str,
    mode: str,
) -> StemIoc:
    """Return the controller of an instrument by name, its hidden errors drawn, read or none.

    With a seed they are drawn, and written to ``truth_file`` if there is one; without, they are read from it if it
    exists, and there are none otherwise.

    Raises
    ------
    ValueError
        If the mode or the specimen is unknown, or the file is no truth.
    OSError
        If the file can't be read or written.
    """
    if mode not in MODES:
        raise ValueError(f"--mode: {mode!r} is unknown; use one of {', '.join(MODES)}")
    if seed is None and truth_file is not None and truth_file.exists():
        truth = StemTruth.from_json(truth_file)
    else:
        truth = StemTruth.nominal() if seed is None else StemTruth.draw(seed)
        if truth_file is not None:
            truth.to_json(truth_file)
    return StemIoc(INSTRUMENTS[instrument], prefix, clock, truth, specimen=specimen, physics=Physics(mode=mode))
