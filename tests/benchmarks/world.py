"""Figures of the simulated microscope: flux, counts, frames per second, transfer against coherent sum.

``python tests/benchmarks/world.py`` prints them as JSON; nothing is asserted.
"""

from __future__ import annotations

import json
import time

import numpy as np

from exitwave.simulators.bl18b.rest import GAIN, Rest
from exitwave.simulators.bl18b.truth import Truth
from exitwave.simulators.bl18b.world import World
from exitwave.simulators.physics import crystal
from exitwave.simulators.physics.source import BendingMagnet

__all__ = ["world_figures"]

SPECIMENS = {"star": "siemens-star", "particle": "ncm-cycled", "gold": "gold-particles"}
TARGET_FPS = {512: 10.0, 2048: 2.0}
"""Frames/s that the simulated camera is to make at least, by the side of the frame in pixels."""
OFFSET_ADU, ELECTRONS_PER_ADU = 100.0, 0.46


def _square(size: int) -> tuple[slice, slice]:
    """Return the middle of the sensor."""
    low = 1024 - size // 2
    return slice(low, low + size), slice(low, low + size)


def _rate(world: World, rest: Rest, size: int, frames: int, *, turning: bool) -> float:
    """Return frames per second, with the specimen standing or turning."""
    camera = world.camera("HR1")
    camera.expose(0.0, 1.0, roi=_square(size), binning=(1, 1), gain=GAIN)
    start = time.perf_counter()
    for n in range(frames):
        if turning:
            rest.axes["SAM:Theta"] = 0.5 + n
        camera.expose(1.0 + n, 1.0, roi=_square(size), binning=(1, 1), gain=GAIN)
    return frames / (time.perf_counter() - start)


def _beam() -> dict[str, float]:
    world = World(Rest(), Truth.nominal())
    figures = {
        "magnet_8kev_ph_s_0.1%bw": BendingMagnet().flux(8.0, 300.0),
        "si111_8kev_fwhm_urad": crystal.reflection_curve(8.0).fwhm_urad,
        "rocking_curve_8kev_fwhm_urad": crystal.double_crystal(8.0).fwhm_urad,
        "bandwidth_8kev": crystal.bandwidth(8.0, 6.0),
        "ion_chamber_1_a": world.ion_chamber_current_a(1, 0.0, 1.0),
        "ion_chamber_2_a": world.ion_chamber_current_a(2, 0.0, 1.0),
    }
    for energy_kev in (5.0, 6.5, 8.0, 10.0, 12.0, 14.0):
        figures[f"sample_{energy_kev:g}kev_ph_s"] = World(Rest(energy_kev), Truth.nominal()).flux_at_sample(0.0)
    frame = World(Rest(), Truth.nominal(), specimen="none").camera("HR1")
    counts = float(frame.expose(0.0, 10.0, roi=_square(64), binning=(1, 1), gain=GAIN).mean()) - OFFSET_ADU
    figures["counts_adu_s"] = counts / 10.0
    figures["electrons_s"] = counts * ELECTRONS_PER_ADU / 10.0
    return figures


def _rates(frames: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    for size, target in TARGET_FPS.items():
        figures[f"world_{size}_target_fps"] = target
        for short, specimen in SPECIMENS.items():
            for turning, how in ((False, "standing"), (True, "turning")):
                rest = Rest()
                world = World(rest, Truth.draw(1), specimen=specimen)
                figures[f"world_{size}_{short}_{how}_fps"] = _rate(world, rest, size, frames, turning=turning)
    return figures


def _agreement() -> dict[str, float]:
    """How far the fast images are from the exact ones, and what these cost, 1024 x 1024."""
    figures: dict[str, float] = {}
    flat = World(Rest(), Truth.nominal(), specimen="none").photons_per_s("HR1", _square(1024), 0.0)
    for short, specimen in SPECIMENS.items():
        images, seconds = [], []
        for optics in ("transfer", "coherent-sum"):
            world = World(Rest(), Truth.nominal(), optics=optics, specimen=specimen)
            start = time.perf_counter()
            images.append(world.photons_per_s("HR1", _square(1024), 0.0) / flat)
            seconds.append(time.perf_counter() - start)
        figures[f"{short}_transfer_s"], figures[f"{short}_coherent_sum_s"] = seconds
        figures[f"{short}_difference_of_contrast"] = float(np.std(images[0] - images[1]) / np.std(images[1]))
    return figures


def world_figures(frames: int = 6) -> dict[str, float]:
    """Measure the simulated microscope, frames/s beside what they are to be at least.

    Returns
    -------
    dict
        ``world_SIZE_SPECIMEN_standing_fps``, ``..._turning_fps`` beside ``world_SIZE_target_fps``; photons/s along
        the beam; counts and electrons per pixel and second; rms difference of transfer and coherent sum as a
        share of the contrast, with the seconds that a new image takes either way.
    """
    return _beam() | _rates(frames) | _agreement()


if __name__ == "__main__":
    print(json.dumps(world_figures(), indent=2))
