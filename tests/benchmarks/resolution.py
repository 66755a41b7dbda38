"""Resolution of the simulated microscope against exposure, zone plate and focus, without EPICS.

The specimen is exposed as long as the table says, the open field four times as long: with as long, half of the noise
would be that of the flats. Run ``python tests/benchmarks/resolution.py``; nothing is asserted.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from exitwave.analysis import correction
from exitwave.analysis.errors import FitError
from exitwave.analysis.resolution import fourier_ring_correlation, power_spectrum, siemens_star
from exitwave.simulators.bl18b.rest import GAIN, Rest
from exitwave.simulators.bl18b.truth import Truth
from exitwave.simulators.bl18b.world import World

OUTERMOST_NM = {"A": 25.0, "B": 40.0}
DEPTH_UM = {"A": 8.07, "B": 20.65}  # 2 dr^2 / lambda at 8 keV
FRAMES, FLATS, DARKS = 10, 40, 8  # at least four a half: the mean then leaves out what hit one of them

Halves = tuple[np.ndarray, np.ndarray]


def aligned(truth: Truth, plate: str, defocus_um: float) -> tuple[World, Rest]:
    """Return a world with a star in its middle, the plate's image `defocus_um` out of focus, and its light centred."""
    rest = Rest(SAM_X=-truth.axis_offset_um)
    if plate == "B":
        rest.axes.update({"ZPA:X": 4000.0, "ZPB:X": 0.0})
    rest.axes["COND:Yaw"], rest.axes["COND:Pitch"] = (-tilt for tilt in truth.condenser_tilt_urad)
    rest.axes["COND:X"], rest.axes["COND:Y"] = (-offset for offset in truth.condenser_offset_um)
    rest.axes["DCM:Bragg"] -= truth.bragg_offset_deg
    world = World(rest, truth, optics="coherent-sum")
    rest.axes["DCM:Pitch"] = world.pitch_optimum_urad(0.0)
    for _ in range(4):  # the lens moves the image's distance a little, too
        rest.axes[f"ZP{plate}:Z"] += 1e-3 * (world.defocus_um("HR1", 0.0) - defocus_um)
    return world, rest


def expose(world: World, rest: Rest, exposure_s: float, size: int = 1024) -> tuple[Halves, float]:
    """Return two independent halves of an exposure of the middle of the sensor, corrected, and the open counts."""
    low = 1024 - size // 2
    roi = (slice(low, low + size), slice(low, low + size))
    camera, each = world.camera("HR1"), exposure_s / FRAMES

    def frames(number: int) -> list[np.ndarray]:
        return [camera.expose(n * each, each, roi=roi, binning=(1, 1), gain=GAIN) for n in range(number)]

    raw = frames(FRAMES)
    star_um = rest.axes["SAM:X"]
    rest.axes["SAM:X"] = star_um - 200.0
    flats = frames(FLATS)
    rest.axes["SAM:X"] = star_um
    rest.switches["FSH"] = False
    darks = frames(DARKS)
    rest.switches["FSH"] = True
    halves, counts = [], 0.0
    for k in (0, 1):
        dark = correction.mean_frames(darks[k::2])
        open_field = np.mean([correction.remove_zingers(flat - dark)[0] for flat in flats[k::2]], axis=0)
        correct = correction.FlatField(open_field + dark, dark)
        halves.append(np.mean([correction.remove_zingers(correct(frame))[0] for frame in raw[k::2]], axis=0))
        counts += 0.5 * FRAMES * float(np.median(open_field))
    return (halves[0], halves[1]), counts


def figures(
    truth: Truth, plate: str, exposure_s: float, *, depths_out: float = 0.0, size: int = 1024
) -> dict[str, Any]:
    """Return what the measures say of one exposure; None where they find nothing."""
    world, rest = aligned(truth, plate, depths_out * DEPTH_UM[plate])
    pixel_nm = 650.0 / world.magnification("HR1", 0.0)
    halves, counts = expose(world, rest, exposure_s, size)
    row: dict[str, Any] = {
        "plate": plate,
        "exposure_s": exposure_s,
        "counts": round(counts),
        "defocus_um": round(world.defocus_um("HR1", 0.0), 2),
        "psd_nm": None,
        "star_nm": None,
        "reversed_nm": [],
    }
    try:
        spectrum = power_spectrum(halves, pixel_nm, noise="halves", limit_nm=OUTERMOST_NM[plate] / 2.0)
        row |= {"psd_nm": spectrum.half_period_nm, "psd_sd_nm": spectrum.half_period_sd_nm}
    except FitError:
        pass
    row["frc_half_bit_nm"] = fourier_ring_correlation(*halves, pixel_nm).half_bit_nm
    try:
        star = siemens_star(0.5 * (halves[0] + halves[1]), pixel_nm, n_spokes=36)
        row |= {"star_nm": star.smallest_resolved_nm, "reversed_nm": star.reversed_nm}
    except FitError:
        pass
    return row


def resolution() -> dict[str, Any]:
    """Return the table, by name: plate, exposure and what is special."""
    nominal, drawn = Truth.nominal(), Truth.draw(18)
    table = {f"A {e:g} s": figures(nominal, "A", e) for e in (1.0, 10.0, 30.0)}
    table |= {f"A {e:g} s, drawn": figures(drawn, "A", e) for e in (1.0, 10.0, 30.0)}
    table |= {f"B {e:g} s": figures(nominal, "B", e) for e in (10.0, 30.0)}
    table |= {f"A 30 s, {n:+g} depths": figures(nominal, "A", 30.0, depths_out=n) for n in (-3.0, -0.5, 0.5, 3.0)}
    table["A 30 s, whole sensor"] = figures(nominal, "A", 30.0, size=2048)
    return table


def show(table: dict[str, Any]) -> None:
    """Print the table."""

    def nm(value: float | None) -> str:
        return "     -" if value is None or math.isnan(value) else f"{value:6.1f}"

    print(f"{'':22}  counts  defocus   PSD      sd     FRC    star  reversed (nm)")
    for name, row in table.items():
        spans = ", ".join(f"{a:.0f}-{b:.0f}" for a, b in row["reversed_nm"])
        print(
            f"{name:22} {row['counts']:7d} {row['defocus_um']:8.2f} {nm(row['psd_nm'])}  {nm(row.get('psd_sd_nm'))}  "
            f"{nm(row['frc_half_bit_nm'])}  {nm(row['star_nm'])}  {spans}"
        )


if __name__ == "__main__":
    found = resolution()
    show(found)
    print(json.dumps(found, default=float))
