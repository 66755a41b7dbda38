"""Indirect detectors: scintillator, objective and sCMOS sensor.

Chain: photons at the scintillator -> absorbed (tables) -> visible light (yield) -> collected by the objective
(numerical aperture) -> spread (the objective's defocused transfer function, averaged over the depth at which the
light arises) -> electrons (transmission, quantum efficiency) -> gain map, dust, hot pixels, zingers, dark current,
read noise, offset, full well, 16 bits.
Light yield of LuAG:Ce 25 photons/keV at 535 nm, index 1.84 (makers' data); refraction narrows the cone collected to
NA / n, so the efficiency of one side is (1 - cos(asin(NA / n))) / 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from exitwave.simulators.physics._jit import kernel, over_rows
from exitwave.simulators.physics.materials import LUAG, Material
from exitwave.simulators.physics.rng import bits, normal, poisson, poisson_image, seed_state, uniform

Image = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.uint16]
Words = npt.NDArray[np.uint64]

LIGHT_NM = 535.0
INDEX = 1.84


@dataclass(frozen=True)
class Scintillator:
    """A luminescent screen: thickness (um), substance, light yield (photons/keV)."""

    thickness_um: float
    material: Material = LUAG
    photons_per_kev: float = 25.0

    def absorbed(self, energy_kev: float) -> float:
        """Fraction of the X-ray photons that are photo-absorbed."""
        return -math.expm1(-self.material.attenuation_per_um(energy_kev, "photo") * self.thickness_um)


@dataclass(frozen=True)
class Objective:
    """A microscope objective: magnification, numerical aperture, transmission with relay optics."""

    magnification: float
    aperture: float
    transmission: float = 0.8

    @property
    def collected(self) -> float:
        """Part of the light emitted in the scintillator that reaches the sensor."""
        return 0.5 * (1.0 - math.cos(math.asin(self.aperture / INDEX))) * self.transmission


OBJECTIVES = {
    "2x": (Objective(2.0, 0.08), Scintillator(50.0)),
    "4x": (Objective(4.0, 0.20), Scintillator(20.0)),
    "10x": (Objective(10.0, 0.40), Scintillator(8.0)),
}
"""Objectives of the turret, each with the screen made for its depth of field."""


def electrons_per_photon(objective: Objective, screen: Scintillator, energy_kev: float, efficiency: float) -> float:
    """Mean electrons in the sensor for one X-ray photon absorbed."""
    return energy_kev * screen.photons_per_kev * objective.collected * efficiency


def _defocused_mtf(frequency: Floats, aperture: float, defocus_um: float) -> Floats:
    """Transfer of an aberration-free objective out of focus, by the autocorrelation of its pupil.

    H. H. Hopkins, Proc. R. Soc. A 231 (1955) 91: integral over the overlap of two shifted discs of
    cos(4 pi w s x), done numerically.
    """
    limit = 2.0 * aperture * 1e3 / LIGHT_NM
    s = np.clip(2.0 * frequency / limit, 0.0, 2.0)
    w20 = 0.5 * defocus_um * aperture**2 / INDEX * 1e3 / LIGHT_NM  # waves at the pupil's rim
    x, weights = np.polynomial.legendre.leggauss(200)
    half = 1.0 - 0.5 * s
    xs = x[None, :] * half[:, None]
    height = np.sqrt(np.maximum(1.0 - (np.abs(xs) + 0.5 * s[:, None]) ** 2, 0.0))
    value = (2.0 * height * np.cos(4.0 * math.pi * w20 * s[:, None] * xs) * weights).sum(axis=1) * half
    return np.asarray(value / math.pi)


@lru_cache(maxsize=64)
def spread_kernel(objective: Objective, screen: Scintillator, energy_kev: float, pixel_um: float) -> Image:
    """Point spread of screen and objective on the sensor's pixels (7 x 7, float32, sum 1).

    The light of each depth is out of focus by its distance from the depth of sharpest focus, here the mean depth of
    absorption, and is weighted by the X-rays absorbed there. The pixel's own area belongs to the image (it is
    integrated there), not to this kernel.
    """
    depth = (np.arange(25) + 0.5) / 25 * screen.thickness_um
    weight = np.exp(-screen.material.attenuation_per_um(energy_kev) * depth)
    weight /= weight.sum()
    focus = float((weight * depth).sum())
    n = 64
    f = np.fft.fftfreq(n, pixel_um)
    radial = np.hypot(f[:, None], f[None, :])
    nodes = np.linspace(0.0, float(radial.max()), 256)
    mtf = sum(
        w * _defocused_mtf(nodes, objective.aperture, float(d - focus)) for w, d in zip(weight, depth, strict=True)
    )
    point = np.fft.fftshift(np.fft.ifft2(np.interp(radial, nodes, np.asarray(mtf))).real)
    middle = np.clip(point[n // 2 - 3 : n // 2 + 4, n // 2 - 3 : n // 2 + 4], 0.0, None)
    return np.asarray(middle / middle.sum(), np.float32)


@dataclass(frozen=True)
class Sensor:
    """Noise and range of a camera at one gain mode (electrons, ADU)."""

    electrons_per_adu: float
    read_noise_e: float
    full_well_e: float
    offset_adu: float = 100.0
    dark_e_s: float = 0.14
    quantum_efficiency: float = 0.82
    saturation_adu: int = 65535


GAIN_MODES = {
    "12-bit (high well capacity)": Sensor(7.5, 7.0, 30000.0, saturation_adu=4095),
    "12-bit (low noise)": Sensor(0.28, 1.2, 1100.0, saturation_adu=4095),
    "16-bit (low noise & high well capacity)": Sensor(0.46, 1.4, 30000.0),
}
"""Amplifier modes of the high-resolution camera, as its areaDetector driver names them."""


@lru_cache(maxsize=1)
def _normal_table() -> Image:
    """Quantiles of the normal distribution at 2^16 equal steps: one look-up per deviate, tails to 4.3 sigma."""
    return np.asarray(ndtri((np.arange(65536) + 0.5) / 65536.0), np.float32)


@kernel
def _expose_rows(
    photons: Image, spread: Image, pad: int, gain_map: Image, dark_map: Image, electrons: float, dark_e: float,
    read_e: float, well_e: float, per_adu: float, offset: float, top_adu: float, zingers: float, quantiles: Image,
    out: Counts, first: int, last: int, seed: int, frame: int,
) -> None:  # fmt: skip
    state = np.empty(2, np.uint64)
    n = spread.shape[0]
    half = n // 2
    width = out.shape[1]
    light = np.zeros(width, np.float32)
    for y in range(first, last):
        seed_state(state, seed, 4000000000000 + frame * 65536 + y)
        if electrons > 0.0:
            light[:] = 0.0
            for i in range(n):  # whole rows at a time: the inner loop runs in vectors
                for j in range(n):
                    weight = spread[i, j]
                    row = photons[y + pad + i - half, pad + j - half : pad + j - half + width]
                    for x in range(width):
                        light[x] += weight * row[x]
        for x in range(width):
            charge = float(poisson(state, light[x] * electrons * gain_map[y, x] + dark_e * dark_map[y, x]))
            noise = quantiles[bits(state) & np.uint64(65535)]
            value = offset + (min(charge, well_e) + read_e * noise) / per_adu
            out[y, x] = np.uint16(min(max(value + 0.5, 0.0), top_adu))
        # zingers: X-rays that hit the sensor itself, a few pixels per frame
        hits = poisson(state, zingers * width)
        for _ in range(hits):
            x = int(uniform(state) * width)
            value = out[y, x] + (300.0 + 3000.0 * abs(normal(state))) / per_adu
            out[y, x] = np.uint16(min(value, top_adu))


def expose(
    absorbed: Image | None,
    scale: float,
    exposure_s: float,
    *,
    spread: Image,
    electrons: float,
    sensor: Sensor,
    gain_map: Image,
    dark_map: Image,
    zingers_per_pixel_s: float,
    seed: int,
    frame: int,
) -> Counts:
    """One raw frame (uint16).

    Parameters
    ----------
    absorbed, scale
        float32 image with a border of half the spread kernel on each side; times ``scale`` it is the mean number of
        X-ray photons absorbed in the screen per sensor pixel during the exposure. ``None`` for no light.
    exposure_s
        Exposure (s), for dark current and direct hits.
    spread, electrons
        Point spread kernel and mean electrons per absorbed photon.
    gain_map, dark_map
        float32 relative response and relative dark current of the pixels.
    zingers_per_pixel_s
        Rate of direct hits.
    seed, frame
        Noise is the same for the same pair.
    """
    shape = gain_map.shape
    out = np.empty(shape, np.uint16)
    pad = spread.shape[0] // 2
    quantiles = _normal_table()
    if absorbed is None:
        photons = np.zeros((1, 1), np.float32)
        electrons = 0.0
    else:
        photons = poisson_image(absorbed, seed=seed, frame=frame, scale=scale)
    over_rows(
        shape[0],
        lambda a, b: _expose_rows(
            photons, spread, pad, gain_map, dark_map, electrons, sensor.dark_e_s * exposure_s, sensor.read_noise_e,
            sensor.full_well_e, sensor.electrons_per_adu, sensor.offset_adu, float(sensor.saturation_adu),
            zingers_per_pixel_s * exposure_s, quantiles, out, a, b, seed, frame,
        ),
    )  # fmt: skip
    return out
