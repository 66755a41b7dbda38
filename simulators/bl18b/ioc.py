"""The BL18B input/output controller: every record of the beamline around one world."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Protocol

import numpy as np

from exitwave.simulators.bl18b.controls import RingRecords, SimulatorControls, VacuumRecords
from exitwave.simulators.bl18b.layout import (
    AXES,
    CAMERAS,
    COMPARE_AXES,
    FRAME_AXES,
    LOST_MOTION,
    SHUTTERS,
    TRIGGERED,
)
from exitwave.simulators.clock import SimClock
from exitwave.simulators.physics.detector import GAIN_MODES
from exitwave.simulators.records.acquisition import FrameSource
from exitwave.simulators.records.camera_driver import CameraDriver
from exitwave.simulators.records.channels import DoublePv, EnumPv
from exitwave.simulators.records.hdf_file import Attribute
from exitwave.simulators.records.hdf_plugin import Hdf5Plugin, WriteFaults
from exitwave.simulators.records.motion import Axis, AxisErrors, Ripple
from exitwave.simulators.records.motor import Motor
from exitwave.simulators.records.picoammeter import Picoammeter
from exitwave.simulators.records.position_compare import PositionCompare
from exitwave.simulators.records.scaler import Scaler
from exitwave.simulators.records.shutter import Shutter, Switch
from exitwave.simulators.records.timeline import Timeline

__all__ = ["BeamlineInputs", "Bl18bIoc", "HiddenErrors", "WorldModel"]

_COUNTS_PER_AMPERE = 1e5 / 2e-9


class WorldModel(Protocol):
    """What the records need of the beamline's physics."""

    optics: Literal["transfer", "coherent-sum"]

    def ring_current_ma(self, t: float) -> float:
        """Return the stored current."""

    def beam_available(self, t: float) -> bool:
        """Return whether there is beam."""

    def dump(self, t: float) -> None:
        """Lose the beam."""

    def refill(self, t: float) -> None:
        """Fill the ring."""

    def ion_chamber_current_a(self, which: int, t0: float, t1: float) -> float:
        """Return the mean current of an ion chamber."""

    def camera(self, name: str) -> FrameSource:
        """Return a camera."""


class HiddenErrors(Protocol):
    """What the records need of the hidden truth."""

    @property
    def seed(self) -> int:
        """Seed of everything random."""

    @property
    def picoammeter_zero_a(self) -> tuple[float, float]:
        """Zero offsets of the two picoammeters."""

    @property
    def ring_lifetime_h(self) -> float:
        """Lifetime of the stored beam, h."""

    @property
    def theta_ripple(self) -> tuple[float, float, float]:
        """Relative velocity ripple of the rotation, its period (deg) and phase (rad)."""

    def encoder_error(self, axis: str, position: float) -> float:
        """Return reading minus true position."""


class BeamlineInputs:
    """What the world sees of the records: true positions and states at any time, from any thread."""

    def __init__(self) -> None:
        self.axes: dict[str, Axis] = {}
        self.switches: dict[str, Callable[[float], float | str | bool]] = {}

    def axis(self, name: str, t: float) -> float:
        """Return the true position of an axis at simulated time `t`, in its unit."""
        return self.axes[name].position(t)

    def settled_s(self, name: str, t: float) -> float:
        """Return the time since which an axis rests at `t`, or `t` itself while it moves."""
        return self.axes[name].settled_s(t)

    def switch(self, name: str, t: float) -> float | str | bool:
        """Return the state of a shutter (True: open), selector or control at simulated time `t`."""
        return self.switches[name](t)


class Bl18bIoc:
    """All records; `pvdb` is what the server serves.

    Parameters
    ----------
    prefix : str
        In front of every name: "BL18B:".
    clock : SimClock
        Simulated time.
    build_world : callable
        Makes the world from the inputs.
    truth : HiddenErrors
        The hidden errors.
    perfect : bool
        Whether the mechanics have neither play nor noise.
    """

    def __init__(
        self,
        prefix: str,
        clock: SimClock,
        build_world: Callable[[BeamlineInputs], WorldModel],
        truth: HiddenErrors,
        *,
        perfect: bool = False,
    ) -> None:
        self.prefix = prefix
        self.clock = clock
        self.inputs = BeamlineInputs()
        self._version = 0
        self.pool = ThreadPoolExecutor(2, thread_name_prefix="world")
        self.slow = ThreadPoolExecutor(1, thread_name_prefix="meter")
        self.faults = WriteFaults()
        self.motors = {settings.name: self._motor(settings, truth, perfect) for settings in AXES}
        self.shutters = {
            row.name: Shutter(row.travel_s, clock, description=row.description, on_command=self._commanded)
            for row in SHUTTERS
        }
        self.objective = Switch(("2x", "4x", "10x"), 1.5, clock, on_command=self._commanded, start=2)
        self.foil = Switch(("None", "Fe", "Co", "Ni", "Cu", "Zn"), 1.0, clock, on_command=self._commanded)
        self._shaker = self._shaker_records()
        self.top_up = EnumPv(("Off", "On"), 1, rtyp="bo", on_put=self._put_top_up)
        self._top_up = Timeline(True)
        self._wire_inputs()
        self.world = build_world(self.inputs)
        self.ring = RingRecords(self.world, clock, self.top_up, truth.ring_lifetime_h)
        self.vacuum = VacuumRecords(truth.seed)
        self.meters = {
            f"IC{which}": Picoammeter(
                self._ion_chamber(which),
                clock,
                self.slow,
                offset_a=truth.picoammeter_zero_a[which - 1],
                seed=truth.seed + which,
            )
            for which in (1, 2)
        }
        self.scaler = Scaler(
            "SCAL1",
            {which + 1: (f"IC{which}", self._pulses(which)) for which in (1, 2)},
            clock,
            self.slow,
            seed=truth.seed,
        )
        self.cameras = {row.name: self._camera(row) for row in CAMERAS}
        self.position_compare = PositionCompare(
            [(prefix + name, self.motors[name]) for name in COMPARE_AXES],
            clock,
            [self.cameras[name][0].trigger for name in TRIGGERED],
            seed=truth.seed,
        )
        self.controls = SimulatorControls(
            self.world, clock, self.motors, self.shutters, self.ring, self.faults, self._commanded
        )
        self.pvdb = self._collect()

    # assembly ---------------------------------------------------------------------------------------------

    def _commanded(self) -> None:
        self._version += 1

    def _motor(self, settings: Any, truth: HiddenErrors, perfect: bool) -> Motor:
        def error(position: float, name: str = settings.name) -> float:
            return truth.encoder_error(name, position)

        errors = AxisErrors(
            lost_motion=0.0 if perfect else LOST_MOTION.get(settings.name, 0.0),
            encoder_error=error,
            encoder_noise_rms=0.0 if perfect else 3 * settings.step,
            ripple=Ripple(*truth.theta_ripple) if settings.name == "SAM:Theta" else Ripple(),
        )
        axis = Axis(settings.start, errors)
        self.inputs.axes[settings.name] = axis
        seed = truth.seed * 1000 + zlib.crc32(settings.name.encode()) % 1000
        return Motor(settings, self.clock, axis, seed=seed, on_command=self._commanded)

    def _shaker_records(self) -> dict[str, Any]:
        timelines: dict[str, Timeline[Any]] = {
            "enable": Timeline(False),
            "amplitude": Timeline(10.0),
            "frequency": Timeline(20.0),
        }
        running = EnumPv(("Stopped", "Running"), writable=False, rtyp="bi")

        def put_enable(value: int) -> None:
            self._commanded()
            timelines["enable"].set(self.clock.now(), bool(value))
            enable.post(value)
            running.post(value)

        def put_number(name: str, pv: DoublePv, most: float) -> Callable[[float], None]:
            def put(value: float) -> None:
                if value == value:
                    pv.post(min(max(value, 0.0), most))
                    self._commanded()
                    timelines[name].set(self.clock.now(), pv.now)

            return put

        enable = EnumPv(("Off", "On"), rtyp="bo", on_put=put_enable)
        amplitude = DoublePv(10.0, units="um", precision=2, limits=(0.0, 100.0), rtyp="ao")
        frequency = DoublePv(20.0, units="Hz", precision=2, limits=(0.0, 100.0), rtyp="ao")
        amplitude.on_put = put_number("amplitude", amplitude, 100.0)
        frequency.on_put = put_number("frequency", frequency, 100.0)
        return {
            "timelines": timelines,
            "pvs": {
                "COND:Shaker:Enable": enable,
                "COND:Shaker:Amplitude": amplitude,
                "COND:Shaker:Frequency": frequency,
                "COND:Shaker:Running": running,
            },
        }

    def _put_top_up(self, value: int) -> None:
        self._commanded()
        self._top_up.set(self.clock.now(), bool(value))
        self.top_up.post(value)

    def _wire_inputs(self) -> None:
        shaker = self._shaker["timelines"]
        self.inputs.switches = {
            **{name: shutter.passes for name, shutter in self.shutters.items()},
            "DET:Objective": self.objective.at,
            "FOIL": self.foil.at,
            "COND:Shaker": shaker["enable"].at,
            "COND:Shaker:Amplitude": shaker["amplitude"].at,
            "COND:Shaker:Frequency": shaker["frequency"].at,
            "SR:TopUp": self._top_up.at,
        }

    def _ion_chamber(self, which: int) -> Callable[[float, float], float]:
        return lambda t0, t1: self.world.ion_chamber_current_a(which, t0, t1)

    def _pulses(self, which: int) -> Callable[[float, float], float]:
        """Voltage-to-frequency converter behind the 2 nA range: 1e5 pulses/s at full scale."""
        return lambda t0, t1: self.world.ion_chamber_current_a(which, t0, t1) * _COUNTS_PER_AMPERE

    def _frame_attributes(self, t_s: float) -> Mapping[str, float]:
        values = {name.replace(":", "_"): self.motors[name].encoder(t_s) for name in FRAME_AXES}
        values["SR_Current"] = self.world.ring_current_ma(t_s)
        return values

    def _camera(self, row: Any) -> tuple[CameraDriver, Hdf5Plugin]:
        source = self.world.camera(row.name)
        units = {settings.name: settings.units for settings in AXES}
        attributes = [
            Attribute("AcquireTime", "s", "Exposure"),
            *(
                Attribute(name.replace(":", "_"), units[name], f"{name} at mid-exposure (readback)")
                for name in FRAME_AXES
            ),
            Attribute("SR_Current", "mA", "Ring current at mid-exposure"),
        ]
        plugin = Hdf5Plugin(
            f"{row.port}_HDF",
            row.port,
            source.sensor_shape,
            np.dtype(source.dtype),
            attributes=attributes,
            faults=self.faults,
        )
        driver = CameraDriver(
            row.port,
            source,
            self.clock,
            self.pool,
            plugin,
            attributes=self._frame_attributes,
            version=lambda: self._version,
            gain_modes=tuple(GAIN_MODES),
            exposure_s=row.exposure_s,
            setpoint_c=row.setpoint_c,
        )
        return driver, plugin

    def _collect(self) -> dict[str, Any]:
        prefix = self.prefix
        pvdb: dict[str, Any] = {}
        for motor in self.motors.values():
            pvdb |= motor.pvdb(prefix)
        for name, shutter in self.shutters.items():
            pvdb |= shutter.pvdb(f"{prefix}{name}:")
        for name, meter in self.meters.items():
            pvdb |= meter.pvdb(f"{prefix}{name}:")
        for name, (driver, plugin) in self.cameras.items():
            pvdb |= driver.board.pvdb(f"{prefix}{name}:cam1:")
            pvdb |= plugin.board.pvdb(f"{prefix}{name}:HDF1:")
        pvdb |= self.objective.pvdb(f"{prefix}DET:Objective")
        pvdb |= self.foil.pvdb(f"{prefix}FOIL:Select")
        pvdb |= self.scaler.pvdb(prefix)
        pvdb |= self.position_compare.pvdb(f"{prefix}PC1:")
        for part in (self._shaker["pvs"], self.ring.pvs, self.vacuum.pvs, self.controls.pvs):
            pvdb |= {prefix + name: pv for name, pv in part.items()}
        return pvdb

    # life -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start threads and timers; inside the running event loop."""
        loop = asyncio.get_running_loop()
        for driver, plugin in self.cameras.values():
            plugin.start(loop)
            driver.start(loop)
        self.ring.start(loop)

    def close(self) -> None:
        """Stop what runs; files are closed whole."""
        for driver, plugin in self.cameras.values():
            driver.close()
            plugin.close()
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.slow.shutdown(wait=False, cancel_futures=True)
