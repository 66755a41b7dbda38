"""Positions to visit, as plain lists."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = [
    "PlanInputError",
    "central_region",
    "centred",
    "edge_energies",
    "extrapolate",
    "focus_band",
    "require_count",
    "require_finite",
]


class PlanInputError(ValueError):
    """An argument of a plan that can't be meant."""


def require_finite(name: str, value: float, unit: str, *, positive: bool = False) -> float:
    """Return the value, or refuse it.

    Raises
    ------
    PlanInputError
        NaN, infinite or, where asked, not positive.
    """
    if not math.isfinite(value) or (positive and value <= 0):
        wanted = "a positive number" if positive else "a finite number"
        raise PlanInputError(f"{name}: {value:g} {unit} is not {wanted}")
    return float(value)


def require_count(name: str, value: int, *, at_least: int) -> int:
    """Return the value, or refuse it.

    Raises
    ------
    PlanInputError
        Not a whole number, or too small.
    """
    if isinstance(value, bool) or int(value) != value or value < at_least:
        raise PlanInputError(f"{name}: {value} is not a whole number of at least {at_least}")
    return int(value)


def centred(centre: float, span: float, num: int) -> list[float]:
    """Return `num` evenly spaced positions over `span` around `centre`, ends included.

    Raises
    ------
    PlanInputError
        Fewer than three positions, or a span that is not positive.
    """
    require_count("number of positions", num, at_least=3)
    require_finite("span", span, "", positive=True)
    require_finite("centre", centre, "")
    step = span / (num - 1)
    return [centre - span / 2 + i * step for i in range(num)]


def edge_energies(
    edge_kev: float,
    regions_ev: Sequence[tuple[float, float, float]] = (
        (-60.0, -24.0, 3.0),
        (-24.0, 27.0, 0.5),
        (27.0, 60.0, 3.0),
    ),
) -> list[float]:
    """Return energies in keV over regions ``(start, stop, step)`` in eV relative to an edge.

    Neighbouring regions share their border once; the list rises, so that the monochromator comes from one side.

    Raises
    ------
    PlanInputError
        A region that does not rise, or regions out of order.
    """
    energies: list[float] = []
    for start, stop, step in regions_ev:
        if not (step > 0 and stop > start):
            raise PlanInputError(f"energy region ({start:g}, {stop:g}, {step:g}) eV does not rise; give start < stop")
        if energies and start < (energies[-1] - edge_kev) * 1e3 - 1e-6:
            raise PlanInputError(f"energy region from {start:g} eV begins before the one in front of it ends")
        count = round((stop - start) / step)
        for i in range(count + 1):
            energy_kev = edge_kev + (start + i * (stop - start) / count) * 1e-3
            if not energies or energy_kev > energies[-1] + 1e-9:
                energies.append(energy_kev)
    return energies


def extrapolate(first: tuple[float, float], second: tuple[float, float], at_s: float) -> float:
    """Return where something that drifts steadily is at a time, from two observations (time in s, place).

    Raises
    ------
    PlanInputError
        The observations are not in order of time, or the time lies before them.
    """
    (t1, x1), (t2, x2) = first, second
    if not t1 < t2 <= at_s:
        raise PlanInputError(f"drift: times {t1:g}, {t2:g} and {at_s:g} s must rise")
    return x2 + (x2 - x1) / (t2 - t1) * (at_s - t2)


def focus_band(step_um: float, numerical_aperture: float, pixel_nm: float) -> tuple[float, float]:
    """Return the band of spatial frequencies, cycles per pixel, in which a focus scan of this step sees a peak.

    A defocus dz blurs over 2 NA dz: structure of the period 1/f is gone when f 2 NA dz is about one. The upper
    end of the band is put where that happens two steps away from focus, so that the peak is a few points wide:
    coarse structure for coarse scans, the finest for fine ones. The band is an octave: at lower frequencies the
    two peaks that a phase specimen has beside focus lie further out and are less alike, and so is their middle
    (-4 um at a twelfth of the sampling, -1 um at a fifth, for a gold star and a 25 nm zone plate).
    """
    require_finite("step_um", step_um, "um", positive=True)
    high_per_um = 1.0 / (2.0 * numerical_aperture * 2.0 * step_um)
    high = min(0.25, max(0.012, high_per_um * pixel_nm * 1e-3))
    return high / 2.0, high


def central_region(size: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Return x, y, width and height of the square of `size` pixels in the middle of a sensor, or what fits."""
    require_count("region_px", size, at_least=64)
    w, h = min(size, width), min(size, height)
    return (width - w) // 2, (height - h) // 2, w, h
