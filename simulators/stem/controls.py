"""`Sim:*`: how X-ray images are made, the specimen, and faults on demand."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from exitwave.simulators.physics.electron_crystals import SPECIMENS
from exitwave.simulators.records.board import Board, Choice, rw, wo
from exitwave.simulators.records.hdf_plugin import WriteFaults
from exitwave.simulators.records.motor import Motor
from exitwave.simulators.stem.column import Column
from exitwave.simulators.stem.eds import Eds
from exitwave.simulators.stem.modes import MODES
from exitwave.simulators.stem.world import World

__all__ = ["SimulatorControls"]

_NUMBERS: dict[str, tuple[str, str, tuple[float, float]]] = {
    "BlurFwhm": ("blur_fwhm_pm", "pm", (20.0, 1000.0)),
    "BlurWindow": ("blur_window_pm", "pm", (-500.0, 500.0)),
    "BlurSpecies": ("blur_species_pm", "pm", (-500.0, 500.0)),
    "PeakRatio": ("peak_ratio", "", (0.0, 100.0)),
    "ArtefactFwhm": ("artefact_fwhm_pm", "pm", (20.0, 1000.0)),
    "ArtefactPedestal": ("artefact_pedestal", "counts", (0.0, 1e6)),
    "Pedestal": ("pedestal", "", (0.0, 100.0)),
    "InstrumentLines": ("instrument_lines", "", (0.0, 100.0)),
    "GridLines": ("grid_lines", "", (0.0, 100.0)),
    "YieldScale": ("yield_scale", "", (0.0, 1e6)),
    "Shelf": ("shelf", "", (0.0, 1.0)),
}
_WINDOWS = ("Window1Low", "Window1High", "Window2Low", "Window2High")


class SimulatorControls:
    """The switchboard.

    Settings of the physics are taken by the next frame.

    Parameters
    ----------
    world, column, eds
        What is acted upon.
    motors : mapping
        By name.
    faults : WriteFaults
        Of the file plugins.
    """

    def __init__(
        self, world: World, column: Column, eds: Eds, motors: Mapping[str, Motor], faults: WriteFaults
    ) -> None:
        self._world, self._column, self._eds, self._motors, self._faults = world, column, eds, motors, faults
        physics = world.physics
        edges = [edge for window in physics.windows_kev for edge in window]
        segments = tuple(f"Seg{i + 1}" for i in range(len(eds.segments)))
        self.board = Board(
            [
                wo("Mode", Choice(MODES, MODES.index(physics.mode))),
                wo("Specimen", Choice(SPECIMENS, SPECIMENS.index(world.specimen))),
                *(rw(name, edge, "keV") for name, edge in zip(_WINDOWS, edges, strict=True)),
                *(rw(name, float(getattr(physics, key)), unit) for name, (key, unit, _) in _NUMBERS.items()),
                wo("BeamTrip", Choice(("No", "Trip"))),
                wo("DetectorStall", Choice(("None", "All", *segments))),
                wo("DiskFull", Choice(("No", "Full"))),
                wo("Stall", ""),
            ]
        )
        board = self.board
        board.react(["Mode"], lambda index: world.change(mode=MODES[index]))
        board.react(["Specimen"], lambda index: world.load(SPECIMENS[index]))
        for name, (key, _, limits) in _NUMBERS.items():
            board.check([name], functools.partial(self._accept, name, limits))
            board.react([name], functools.partial(self._change, key))
        for name in _WINDOWS:
            board.check([name], functools.partial(self._accept_edge, name))
        board.react(_WINDOWS, self._change_windows)
        board.react(["BeamTrip"], lambda value: column.trip(bool(value)))
        board.react(["DetectorStall"], self._stall_detector)
        board.react(["DiskFull"], lambda value: setattr(faults, "disk_full", bool(value)))
        board.react(["Stall"], self._stall_axis)

    def _accept(self, name: str, limits: tuple[float, float], value: float) -> float:
        if not math.isfinite(value):
            return float(self.board.value(f"{name}_RBV"))
        return min(max(value, limits[0]), limits[1])

    def _change(self, key: str, value: float) -> None:
        self._world.change(**{key: value})

    def _accept_edge(self, name: str, value: float) -> float:
        """Keep each window the right way round and within the detectors' range."""
        now = {edge: float(self.board.value(f"{edge}_RBV")) for edge in _WINDOWS}
        low, high = 0.2, 40.0
        if name.endswith("Low"):
            high = now[name.replace("Low", "High")] - 0.02
        else:
            low = now[name.replace("High", "Low")] + 0.02
        return min(max(value, low), high) if math.isfinite(value) else now[name]

    def _change_windows(self, _: float) -> None:
        edges = [float(self.board.value(f"{name}_RBV")) for name in _WINDOWS]
        self._world.change(windows_kev=((edges[0], edges[1]), (edges[2], edges[3])))

    def _stall_detector(self, index: int) -> None:
        stalled = np.zeros(len(self._eds.segments), np.bool_)
        if index == 1:
            stalled[:] = True
        elif index > 1:
            stalled[index - 2] = True
        self._eds.stalled = stalled

    def _stall_axis(self, name: str) -> None:
        for axis, motor in self._motors.items():
            motor.stall(axis == name)

    def pvdb(self, prefix: str) -> dict[str, Any]:
        """Return the channels by full name."""
        return dict(self.board.pvdb(f"{prefix}Sim:"))
