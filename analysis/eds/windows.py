"""Energy windows that hold continuum alone: proposed, or judged line by line.

A line contaminates a window by the counts its peak, or its tail, leaves there; what counts is their share of
the window. Both are expected from cross-sections (`exitwave.analysis.eds.lines`, `...continuum`), since the window is
chosen before there is a spectrum; they are good to a factor of two, which moves a margin by some 20 eV.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from exitwave.analysis.eds.axis import EnergyAxis, EnergyWindow
from exitwave.analysis.eds.continuum import continuum_barn_per_kev, detector_efficiency
from exitwave.analysis.eds.lines import Family, Line, amounts, element_families, escape_lines, sum_lines
from exitwave.analysis.errors import OutOfRangeError, require_positive, require_within

__all__ = ["Contaminant", "Surroundings", "WindowVerdict", "judge_window", "propose_windows"]

_LOW_KEV = 0.12


@dataclass(frozen=True)
class Surroundings:
    """What may radiate.

    Parameters
    ----------
    sample : mapping of element to atoms, or symbols (one atom each)
    instrument : the same, for what the microscope itself radiates
        A plain list of symbols means 0.05 atoms each, per formula unit of the sample.
    grid : the same, for the grid
        A plain list means 0.5 atoms each.
    beam_kev : float
    pile_up : float
        Photon rate x pulse pair resolution: 0.005 is 10 kcps with 0.5 us. It makes the sum peaks.
    """

    sample: Mapping[str, float] | Sequence[str]
    beam_kev: float
    instrument: Mapping[str, float] | Sequence[str] = ("Ti", "Fe", "Co")
    grid: Mapping[str, float] | Sequence[str] = ("Cu",)
    pile_up: float = 0.005

    @property
    def composition(self) -> dict[str, float]:
        """Atoms of each element, all sources together."""
        total: dict[str, float] = {}
        for part in (amounts(self.sample, 1.0), amounts(self.instrument, 0.05), amounts(self.grid, 0.5)):
            for element, amount in part.items():
                total[element] = total.get(element, 0.0) + amount
        return total

    def source(self, element: str) -> str:
        """Return where an element is: sample, instrument or grid."""
        parts = {"sample": self.sample, "instrument": self.instrument, "grid": self.grid}
        return " and ".join(name for name, part in parts.items() if element in part)


@dataclass(frozen=True)
class Contaminant:
    """A line with counts in a window: `line_share` of the line's, making `window_share` of the window's."""

    line: Line
    source: str
    line_share: float
    window_share: float

    def __str__(self) -> str:
        return (
            f"{self.line.name} at {self.line.energy_kev:.2f} keV ({self.source}): {self.line_share:.1%} of it,"
            f" some {self.window_share:.2%} of the window"
        )


@dataclass(frozen=True)
class WindowVerdict:
    """What is in a window: contaminants, the largest first, and whether it passes."""

    window: EnergyWindow
    contaminants: tuple[Contaminant, ...]
    allowed_share: float

    @property
    def share(self) -> float:
        """Share of the window's counts that are not continuum."""
        return sum(c.window_share for c in self.contaminants)

    @property
    def clean(self) -> bool:
        """Whether that share is allowed."""
        return self.share <= self.allowed_share

    def __str__(self) -> str:
        words = "holds continuum alone" if self.clean else "is contaminated"
        parts = "; ".join(str(c) for c in self.contaminants[:5])
        more = f": {parts}" if parts else ""
        return f"{self.window} {words} ({self.share:.2%} of lines, {self.allowed_share:.2%} allowed){more}"


def _strengths(surroundings: Surroundings, axis: EnergyAxis) -> list[tuple[Line, float]]:
    """Return all lines, true and false, with their counts in barn of the formula unit, efficiency included."""
    composition = surroundings.composition
    families = element_families(composition, beam_kev=surroundings.beam_kev, low_kev=_LOW_KEV, high_kev=60.0)

    def counts(family: Family) -> float:
        seen = float(detector_efficiency(family.strongest.energy_kev))
        return family.photons_barn * composition[family.element] * seen

    strengths: list[tuple[Line, float]] = []
    for family in families:
        total = counts(family)
        strengths += [(line, total * line.weight) for line in (*family.lines, *escape_lines(family))]
    energies = np.linspace(_LOW_KEV, max(axis.top_kev, 1.0), 400)
    smooth = continuum_barn_per_kev(composition, energies, surroundings.beam_kev) * detector_efficiency(energies)
    everything = sum(counts(f) for f in families) + float(np.trapezoid(smooth, energies))
    by_element = {line.name: total for line, total in strengths}
    strong = [f for f in families if f.strongest.energy_kev < axis.top_kev]
    for line in sum_lines(strong):
        a, b = line.name.split(" + ")
        unlike = 1.0 if a == b else 2.0
        pair = surroundings.pile_up * unlike * by_element[a] * by_element[b] / everything
        strengths.append((line, pair))
    return [(line, strength) for line, strength in strengths if strength > 0.0 and line.energy_kev > 0.0]


def _smooth(surroundings: Surroundings, energies: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    barn = continuum_barn_per_kev(surroundings.composition, energies, surroundings.beam_kev)
    return np.asarray(barn * detector_efficiency(energies))


def judge_window(
    window: EnergyWindow,
    surroundings: Surroundings,
    axis: EnergyAxis,
    *,
    allowed_share: float = 0.01,
    name_above: float = 1e-4,
) -> WindowVerdict:
    """Say what contaminates a window.

    Parameters
    ----------
    window : EnergyWindow
    surroundings : Surroundings
    axis : EnergyAxis
        For its range and resolution.
    allowed_share : float
        Share of the window's counts that lines may have.
    name_above : float
        Lines with a smaller share of the window are left out.

    Raises
    ------
    OutOfRangeError
        Outside of the detector's range.
    """
    axis.channels(window)
    energies = np.linspace(window.low_kev, window.high_kev, 65)
    smooth = float(np.trapezoid(_smooth(surroundings, energies), energies))
    inside = []
    for line, strength in _strengths(surroundings, axis):
        sigma = axis.sigma_kev(line.energy_kev)
        share = float(
            ndtr((window.high_kev - line.energy_kev) / sigma) - ndtr((window.low_kev - line.energy_kev) / sigma)
        )
        inside.append((line, share, strength * share))
    total = smooth + sum(counts for _, _, counts in inside)
    found = [
        Contaminant(line, _source(line, surroundings), share, counts / total)
        for line, share, counts in inside
        if counts / total > name_above
    ]
    return WindowVerdict(window, tuple(sorted(found, key=lambda c: -c.window_share)), allowed_share)


def _source(line: Line, surroundings: Surroundings) -> str:
    places = dict.fromkeys(surroundings.source(part.split()[0]) for part in line.name.split(" + "))
    return " and ".join(places)


def _forbidden(
    surroundings: Surroundings, axis: EnergyAxis, allowed_share: float, low_kev: float, high_kev: float
) -> list[tuple[float, float]]:
    """Return intervals about each line in which it would have more than its share of a resolution element."""
    spans = []
    for line, strength in _strengths(surroundings, axis):
        fwhm = axis.fwhm_kev(line.energy_kev)
        if not low_kev - 5 * fwhm < line.energy_kev < high_kev + 5 * fwhm:
            continue
        smooth = float(_smooth(surroundings, np.array([max(line.energy_kev, _LOW_KEV)]))[0]) * fwhm
        tail = allowed_share * smooth / strength
        if tail < 0.5:
            margin = max(-float(ndtri(tail)), 1.5) * axis.sigma_kev(line.energy_kev)
            spans.append((line.energy_kev - margin, line.energy_kev + margin))
    return sorted(spans)


def free_intervals(
    surroundings: Surroundings, axis: EnergyAxis, *, low_kev: float, high_kev: float, allowed_share: float = 0.01
) -> list[EnergyWindow]:
    """Return the intervals between `low_kev` and `high_kev` that no line reaches."""
    free, begin = [], low_kev
    for start, stop in _forbidden(surroundings, axis, allowed_share, low_kev, high_kev):
        if start > begin:
            free.append((begin, min(start, high_kev)))
        begin = max(begin, stop)
        if begin >= high_kev:
            break
    if begin < high_kev:
        free.append((begin, high_kev))
    return [EnergyWindow(a, b) for a, b in free if b - a > 2 * axis.gain_kev]


def propose_windows(
    surroundings: Surroundings,
    axis: EnergyAxis,
    *,
    number: int = 2,
    equal: Literal["width", "counts"] = "width",
    width_kev: float | None = None,
    low_kev: float = 2.5,
    high_kev: float = 9.0,
    allowed_share: float = 0.01,
    spectrum: npt.ArrayLike | None = None,
) -> tuple[EnergyWindow, ...]:
    """Propose windows free of every line, of equal width or equal counts, as far apart as they go.

    Parameters
    ----------
    surroundings : Surroundings
    axis : EnergyAxis
    number : int
        How many.
    equal : {"width", "counts"}
    width_kev : float, optional
        Width of each (of the first, with equal counts); without it, the widest for which all fit.
    low_kev, high_kev : float
        Range to look in.
    allowed_share : float
        Share of the counts in a resolution element that a line's tail may have at a window's edge.
    spectrum : array (n_channels,), optional
        Measured counts, for equal counts; without it those of the expected continuum are equal.

    Returns
    -------
    tuple of EnergyWindow, named E1, E2, ... by energy

    Raises
    ------
    OutOfRangeError
        If they do not fit; the message says what is free.
    """
    if number < 1:
        raise OutOfRangeError(f"number = {number}: must be at least 1")
    bottom = axis.offset_kev + axis.gain_kev
    low = require_within("low_kev", low_kev, bottom, axis.top_kev, "keV")
    high = require_within("high_kev", min(high_kev, axis.top_kev), low, axis.top_kev, "keV")
    free = free_intervals(surroundings, axis, low_kev=low, high_kev=high, allowed_share=allowed_share)
    # equal counts are equal widths on the axis of cumulated counts
    grid = np.linspace(low, high, 4001)
    if equal == "width":
        along = grid
    elif equal == "counts":
        density = _smooth(surroundings, grid)
        if spectrum is not None:
            density = np.interp(grid, axis.energies_kev, np.asarray(spectrum, np.float64)) + 1e-9
        along = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    else:
        raise OutOfRangeError(f"equal = {equal!r}: must be 'width' or 'counts'")

    def to(energy: float) -> float:
        return float(np.interp(energy, grid, along))

    def back(place: float) -> float:
        return float(np.interp(place, along, grid))

    spans = [(to(w.low_kev), to(w.high_kev)) for w in free]
    if width_kev is not None:
        start = free[0].low_kev if free else low
        size = to(start + require_positive("width_kev", width_kev, "keV")) - to(start)
    else:
        size = _largest(spans, number)
    slots = _place(spans, size, number)
    if len(slots) < number or size <= 0:
        words = ", ".join(str(w) for w in free) or "nothing"
        raise OutOfRangeError(
            f"{number} windows of {width_kev or 0:g} keV do not fit between the lines from {low:g} to {high:g} keV;"
            f" free: {words}"
        )
    chosen = [(back(a), back(a + size)) for a in slots]
    return tuple(EnergyWindow(round(a, 4), round(b, 4), f"E{k + 1}") for k, (a, b) in enumerate(chosen))


def _largest(spans: Iterable[tuple[float, float]], number: int) -> float:
    lengths = np.array([b - a for a, b in spans])
    if not len(lengths):
        return 0.0
    low, high = 0.0, float(lengths.max())
    for _ in range(60):
        size = 0.5 * (low + high)
        low, high = (size, high) if np.floor(lengths / size).sum() >= number else (low, size)
    return low * (1 - 1e-9)


def _place(spans: Sequence[tuple[float, float]], size: float, number: int) -> list[float]:
    """Return where slots of a size begin: the lowest, the highest, and between them evenly by energy."""
    if size <= 0:
        return []
    slots: list[float] = []
    for a, b in spans:
        count = int((b - a) / size + 1e-9)
        if count == 1 and number > 1:
            # the end of the interval that is further from the middle of all
            middle = 0.5 * (spans[0][0] + spans[-1][1])
            slots.append(a if 0.5 * (a + b) < middle else b - size)
        else:
            slots += list(np.linspace(a, b - size, count)) if count else []
    if len(slots) <= number:
        return slots
    return [slots[k] for k in np.linspace(0, len(slots) - 1, number).round().astype(int)]
