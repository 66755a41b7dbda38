"""Figures of the simulated microscope: flux, counts, frames per second, transfer against coherent sum.

Run ``python tests/benchmarks/bench_world.py``; nothing is asserted.
"""

from __future__ import annotations

import time

import numpy as np

from exitwave.simulators.bl18b.rest import GAIN, Rest
from exitwave.simulators.bl18b.truth import Truth
from exitwave.simulators.bl18b.world import World
from exitwave.simulators.physics import crystal
from exitwave.simulators.physics.source import BendingMagnet

FRAMES = 6


def square(size: int) -> tuple[slice, slice]:
    """Return the middle of the sensor."""
    low = 1024 - size // 2
    return slice(low, low + size), slice(low, low + size)


def rate(world: World, rest: Rest, size: int, *, turning: bool) -> float:
    """Return frames per second, with the specimen standing or turning."""
    camera = world.camera("HR1")
    camera.expose(0.0, 1.0, roi=square(size), binning=(1, 1), gain=GAIN)
    start = time.perf_counter()
    for n in range(FRAMES):
        if turning:
            rest.axes["SAM:Theta"] = 0.5 + n
        camera.expose(1.0 + n, 1.0, roi=square(size), binning=(1, 1), gain=GAIN)
    return FRAMES / (time.perf_counter() - start)


def beam() -> None:
    """Print the beam's figures."""
    magnet, world = BendingMagnet(), World(Rest(), Truth.nominal())
    print(f"bending magnet at 8 keV      {magnet.flux(8.0, 300.0):.3g} ph/s/0.1%bw")
    width, rocking = crystal.reflection_curve(8.0).fwhm_urad, crystal.double_crystal(8.0).fwhm_urad
    print(f"Si(111) at 8 keV             {width:.1f} urad FWHM, rocking curve {rocking:.1f} urad")
    print(f"bandwidth at 8 keV           {crystal.bandwidth(8.0, 6.0):.3g}")
    print(f"ion chambers                 {world.ion_chamber_current_a(1, 0, 1):.3g} A, "
          f"{world.ion_chamber_current_a(2, 0, 1):.3g} A")  # fmt: skip
    for energy in (5.0, 6.5, 8.0, 8.6, 10.0, 12.0, 14.0):
        print(
            f"flux at the sample {energy:5.1f} keV {World(Rest(energy), Truth.nominal()).flux_at_sample(0.0):.3g} ph/s"
        )


def pictures() -> None:
    """Print counts and rates."""
    empty = World(Rest(), Truth.nominal(), specimen="none").camera("HR1")
    for exposure in (1.0, 10.0, 30.0):
        frame = empty.expose(0.0, exposure, roi=square(64), binning=(1, 1), gain=GAIN)
        counts = float(frame.mean()) - 100.0
        print(f"counts per pixel, {exposure:4.0f} s     {counts:.0f} ADU, {counts * 0.46:.0f} e")
    for name in ("siemens-star", "ncm-particle", "gold-particles"):
        for size in (512, 2048):
            rest = Rest()
            world = World(rest, Truth.draw(1), specimen=name)
            still, turning = (rate(world, rest, size, turning=t) for t in (False, True))
            print(f"{name:15s} {size:5d}^2      {still:6.1f} frames/s standing, {turning:5.1f} turning")


def agreement() -> None:
    """Print how far the fast images are from the exact ones."""
    for name in ("siemens-star", "ncm-particle", "gold-particles"):
        flat = World(Rest(), Truth.nominal(), specimen="none").photons_per_s("HR1", square(1024), 0.0)
        images = []
        for optics in ("transfer", "coherent-sum"):
            world = World(Rest(), Truth.nominal(), optics=optics, specimen=name)
            start = time.perf_counter()
            images.append(world.photons_per_s("HR1", square(1024), 0.0) / flat)
            print(f"{name:15s} 1024^2 {optics:13s} {time.perf_counter() - start:5.1f} s for a new image")
        difference = float(np.std(images[0] - images[1]) / np.std(images[1]))
        print(f"{name:15s} transfer - coherent sum: {100.0 * difference:.1f} % of the contrast (rms)")


if __name__ == "__main__":
    beam()
    pictures()
    agreement()
