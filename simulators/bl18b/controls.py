"""Ring, vacuum, and the simulator's own switchboard of faults."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from exitwave.simulators.clock import SimClock
from exitwave.simulators.records.channels import DoublePv, EnumPv, Pv, StringPv
from exitwave.simulators.records.hdf_plugin import WriteFaults
from exitwave.simulators.records.motor import Motor
from exitwave.simulators.records.shutter import STATES, Shutter

if TYPE_CHECKING:
    from exitwave.simulators.bl18b.ioc import WorldModel

__all__ = ["RingRecords", "SimulatorControls", "VacuumRecords"]

_PERIOD_S = 0.5
_OPEN = 1
OPTICS = ("transfer", "coherent-sum")
"""Fast images, or the exact sum over source points, which strong phase objects call for."""


class RingRecords:
    """`SR:*`: what the ring tells about its beam, every half second.

    Parameters
    ----------
    world : WorldModel
        Knows the current.
    clock : SimClock
        Simulated time.
    top_up : EnumPv
        `SR:TopUp`.
    lifetime_h : float
        What the machine measures its lifetime to be, h.
    """

    def __init__(self, world: WorldModel, clock: SimClock, top_up: EnumPv, lifetime_h: float) -> None:
        self._world = world
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._current = DoublePv(world.ring_current_ma(0.0), units="mA", precision=3, writable=False)
        self._available = EnumPv(("No", "Yes"), int(world.beam_available(0.0)), writable=False, rtyp="bi")
        self._lifetime = DoublePv(round(lifetime_h, 2), units="h", precision=2, writable=False)
        self.pvs: dict[str, Pv] = {
            "SR:Current": self._current,
            "SR:TopUp": top_up,
            "SR:BeamAvailable": self._available,
            "SR:Lifetime": self._lifetime,
            "SR:Energy": DoublePv(3.5, units="GeV", precision=3, writable=False),
        }

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to publish."""
        self._loop = loop
        self._tick()

    def _tick(self) -> None:
        self.show()
        if self._loop is not None:
            self._loop.call_later(_PERIOD_S, self._tick)

    def show(self) -> None:
        """Publish current and availability as of now."""
        now = self._clock.now()
        current = self._world.ring_current_ma(now)
        self._current.update(current)
        self._available.update(int(self._world.beam_available(now)))


class VacuumRecords:
    """`VAC:*`: pressures and valves; nothing pumps or vents here.

    Parameters
    ----------
    seed : int
        Draws the pressures.
    """

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.pvs: dict[str, Pv] = {
            f"VAC:{section}:Pressure": DoublePv(
                base * rng.uniform(0.7, 1.4), units="mbar", precision=12, writable=False
            )
            for section, base in (("FE", 2e-9), ("Mono", 3e-8), ("Tube", 5e-2))
        }
        for valve in ("V1", "V2", "V3"):
            self.pvs[f"VAC:{valve}:Status"] = EnumPv(STATES, _OPEN, writable=False, rtyp="mbbi")


class SimulatorControls:
    """`Sim:*`: faults on demand, and how images are formed.

    Parameters
    ----------
    world : WorldModel
        Loses and refills its beam.
    clock : SimClock
        Simulated time.
    motors, shutters : mapping
        By name.
    ring : RingRecords
        Shows a lost beam at once.
    faults : WriteFaults
        Of the file plugins.
    on_command : callable
        Called before anything about the world's future changes.
    """

    def __init__(
        self,
        world: WorldModel,
        clock: SimClock,
        motors: Mapping[str, Motor],
        shutters: Mapping[str, Shutter],
        ring: RingRecords,
        faults: WriteFaults,
        on_command: Callable[[], None],
    ) -> None:
        self._world = world
        self._clock = clock
        self._motors = motors
        self._shutters = shutters
        self._ring = ring
        self._faults = faults
        self._on_command = on_command
        self._beam_dump = EnumPv(("No", "Dump"), rtyp="bo", on_put=self._put_beam_dump)
        self._shutter_fault = EnumPv(("None", *shutters), rtyp="mbbo", on_put=self._put_shutter_fault)
        self._stall = StringPv("", rtyp="stringout", on_put=self._put_stall)
        self._disk_full = EnumPv(("No", "Full"), rtyp="bo", on_put=self._put_disk_full)
        self._drop_frames = DoublePv(0.0, precision=0, rtyp="ao", on_put=self._put_drop_frames)
        self._optics = EnumPv(OPTICS, OPTICS.index(world.optics), rtyp="mbbo", on_put=self._put_optics)
        self.pvs: dict[str, Pv] = {
            "Sim:Optics": self._optics,
            "Sim:BeamDump": self._beam_dump,
            "Sim:ShutterFault": self._shutter_fault,
            "Sim:Stall": self._stall,
            "Sim:DiskFull": self._disk_full,
            "Sim:DropFrames": self._drop_frames,
        }

    def _put_optics(self, index: int) -> None:
        self._on_command()
        self._optics.post(index)
        self._world.optics = "coherent-sum" if self._optics.text == "coherent-sum" else "transfer"

    def _put_beam_dump(self, value: int) -> None:
        self._on_command()
        self._beam_dump.post(value)
        now = self._clock.now()
        if value:
            self._world.dump(now)
        else:
            self._world.refill(now)
        self._ring.show()
        front_end = next(iter(self._shutters.values()))
        front_end.give_permit(not value)

    def _put_shutter_fault(self, index: int) -> None:
        self._shutter_fault.post(index)
        stuck = self._shutter_fault.text
        for name, shutter in self._shutters.items():
            shutter.stick(name == stuck)

    def _put_stall(self, name: str) -> None:
        self._stall.post(name)
        for axis, motor in self._motors.items():
            motor.stall(axis == name)

    def _put_disk_full(self, value: int) -> None:
        self._disk_full.post(value)
        self._faults.disk_full = bool(value)

    def _put_drop_frames(self, value: float) -> None:
        count = max(0, round(value)) if value == value else 0
        self._drop_frames.post(float(count))
        self._faults.drop_frames = count
