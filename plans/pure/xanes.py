"""What one spectroscopic scan is: energies, frames at each, places, references; free of any device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from exitwave.analysis.xanes.energies import (
    EnergyList,
    EnergyRegion,
    check_energies,
    edge_energy_ev,
    preset_regions,
    read_energies,
    regions_to_energies,
)
from exitwave.plans.pure.positions import PlanInputError, require_count, require_finite

__all__ = ["EnergySpec", "FlatsWhen", "Shot", "Visit", "XanesScan", "choose_energies", "join_lists", "refine"]

EnergySpec = (
    int | str | Path | EnergyList | Sequence[float] | Sequence[EnergyRegion | tuple[float, ...]] | Mapping[str, Any]
)
"""A ready-made list by its number of points, a file, a list, energies in eV, regions, or any of these by element."""

FlatsWhen = Literal["each", "every", "pass", "none"]
FLATS: tuple[FlatsWhen, ...] = ("each", "every", "pass", "none")
Inner = Literal["energy", "angle"]


def choose_energies(
    energies: EnergySpec, element: str | None = None, edge: str = "K", *, exposure_s: float = 1.0
) -> tuple[EnergyList, tuple[float, ...]]:
    """Return the energies that a user means, and the edges they go across, eV.

    Parameters
    ----------
    energies
        The number of points of a ready-made list, a file's path, an `EnergyList`, energies in eV, regions
        ``(start, stop, step[, exposure_s])`` in eV, from the edge where `element` is given and absolute without it;
        or a mapping from elements to any of these, for several edges in one scan.
    element, edge : str
        Edge that the energies must enclose.
    exposure_s : float
        Exposure where the list does not say.

    Raises
    ------
    PlanInputError
        A ready-made list without an element.
    AnalysisError
        Unknown element or edge; energies out of order, repeated or without the edge.
    """
    if isinstance(energies, Mapping):
        if not energies or element is not None:
            raise PlanInputError("energies: a mapping names its own elements, at least one; leave `element` out")
        parts = [choose_energies(spec, name, edge, exposure_s=exposure_s) for name, spec in energies.items()]
        parts.sort(key=lambda part: part[1])
        return join_lists([part[0] for part in parts]), tuple(ev for part in parts for ev in part[1])
    edge_ev = None if element is None else edge_energy_ev(element, edge)
    chosen = _listed(energies, edge_ev, exposure_s)
    check_energies(chosen.energies_ev, edge_ev=edge_ev)
    return chosen, () if edge_ev is None else (edge_ev,)


def _listed(energies: Any, edge_ev: float | None, exposure_s: float) -> EnergyList:
    if isinstance(energies, EnergyList):
        return energies
    if isinstance(energies, str | Path):
        return read_energies(energies, exposure_s=exposure_s)
    if isinstance(energies, int):
        if edge_ev is None:
            raise PlanInputError(f"energies: the list of {energies} points lies around an edge; give `element`")
        return regions_to_energies(preset_regions(energies, exposure_s), edge_ev=edge_ev)
    given = list(energies)
    if not given:
        raise PlanInputError("energies: none are given; give energies in eV or regions")
    if all(isinstance(value, int | float | np.number) for value in given):
        values = check_energies(given)
        if values.max() < 100.0:
            raise PlanInputError(f"energies: the highest is {values.max():g} eV; give eV, not keV")
        return EnergyList(values, np.full(len(values), float(exposure_s)))
    regions = [
        region if isinstance(region, EnergyRegion) else EnergyRegion(*region[:3], *(region[3:] or (exposure_s,)))
        for region in given
    ]
    return regions_to_energies(regions, edge_ev=edge_ev)


def join_lists(parts: Sequence[EnergyList]) -> EnergyList:
    """Return lists across several edges as one.

    Raises
    ------
    EnergyListError
        They overlap.
    """
    energies = np.concatenate([part.energies_ev for part in parts])
    return EnergyList(check_energies(energies), np.concatenate([part.exposures_s for part in parts]))


@dataclass(frozen=True)
class Shot:
    """Frames of one energy at one place; `index` numbers it in the whole scan."""

    index: int
    energy_ev: float
    exposure_s: float
    repeat: int = 0
    position: int = 0
    x_um: float | None = None
    y_um: float | None = None
    angle_deg: float | None = None


@dataclass(frozen=True)
class Visit:
    """One stay at an energy: flats or not, then shots."""

    energy_ev: float
    exposure_s: float
    flats: bool
    shots: tuple[Shot, ...]
    repeat: int = 0


@dataclass(frozen=True)
class XanesScan:
    """A scan, as it stands in the start document under ``xanes``.

    Parameters
    ----------
    energies_ev, exposures_s : tuple of float
        In the order of acquisition, with the exposure of each.
    num_frames, num_flats, num_darks : int
        Of the sample at each shot, of each taking of flats, and for each exposure.
    flats : {"each", "every", "pass", "none"}
        At each energy; at every `flats_every` th; all after the sample, in a second pass; not at all.
    positions_um : tuple of (x, y)
        Places of the sample stage; empty for where it is.
    repeats : int
    interval_s : float
        From the start of one repeat to the start of the next.
    angles_deg : tuple of float
        All energies at each of these angles (`inner` "energy"), or all angles at each energy ("angle").
    edges_ev : tuple of float
        That the energies go across.
    only : tuple of int, optional
        Take these shots alone.
    """

    energies_ev: tuple[float, ...]
    exposures_s: tuple[float, ...]
    num_frames: int = 1
    num_flats: int = 5
    num_darks: int = 10
    flats: FlatsWhen = "each"
    flats_every: int = 1
    positions_um: tuple[tuple[float, float], ...] = ()
    repeats: int = 1
    interval_s: float = 0.0
    angles_deg: tuple[float, ...] = ()
    inner: Inner = "angle"
    edges_ev: tuple[float, ...] = ()
    only: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be meant.

        Raises
        ------
        PlanInputError, EnergyListError
        """
        check_energies(self.energies_ev, allow_unsorted=True)
        if len(self.exposures_s) != len(self.energies_ev):
            raise PlanInputError(
                f"exposures_s: {len(self.exposures_s)} for {len(self.energies_ev)} energies; give one for each"
            )
        for exposure_s in self.exposures_s:
            require_finite("exposure_s", exposure_s, "s", positive=True)
        require_count("num_frames", self.num_frames, at_least=1)
        require_count("num_flats", self.num_flats, at_least=0)
        require_count("num_darks", self.num_darks, at_least=0)
        require_count("flats_every", self.flats_every, at_least=1)
        require_count("repeats", self.repeats, at_least=1)
        require_finite("interval_s", self.interval_s, "s")
        if self.flats not in FLATS:
            raise PlanInputError(f"flats: {self.flats!r} is not one of {', '.join(FLATS)}")
        for value in (*self.angles_deg, *(v for place in self.positions_um for v in place)):
            require_finite("position", value, "um or deg")

    @property
    def energies(self) -> NDArray[np.float64]:
        """The energies as an array, eV."""
        return np.asarray(self.energies_ev, np.float64)

    def describe(self) -> dict[str, Any]:
        """Return what the start document says."""
        described = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {**described, "positions_um": [list(place) for place in self.positions_um]}

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> Self:
        """Return what a start document describes.

        Raises
        ------
        PlanInputError
            It is no such scan's.
        """
        if "energies_ev" not in described or "exposures_s" not in described:
            raise PlanInputError("this run is no scan of energies: its start document has none")
        known = {f.name: described[f.name] for f in fields(cls) if f.name in described}
        known["positions_um"] = tuple((float(x), float(y)) for x, y in known.get("positions_um", ()))
        for name in ("energies_ev", "exposures_s", "angles_deg", "edges_ev"):
            known[name] = tuple(float(value) for value in known.get(name, ()))
        if known.get("only") is not None:
            known["only"] = tuple(int(i) for i in known["only"])
        return cls(**known)

    def part(self, indices: Sequence[int], **changes: Any) -> Self:
        """Return the scan of these shots alone; they keep their numbers."""
        return replace(self, only=tuple(int(i) for i in indices), **changes)

    def with_energies(self, added_ev: Sequence[float]) -> Self:
        """Return the scan of added energies alone, exposed as the next one below; their shots are numbered on.

        Raises
        ------
        PlanInputError
            The scan repeats: the numbers of its shots would change.
        """
        if self.repeats > 1:
            raise PlanInputError(f"repeats: {self.repeats} of an adaptive scan; take each as a scan of its own")
        known = np.argsort(self.energies)
        below = np.searchsorted(self.energies[known], added_ev, side="right") - 1
        exposures = [float(self.exposures_s[known[max(int(k), 0)]]) for k in below]
        first = len(self.energies_ev)
        longer = replace(
            self, energies_ev=(*self.energies_ev, *added_ev), exposures_s=(*self.exposures_s, *exposures), only=None
        )
        per_energy = self.num_shots // first
        return longer.part(range(first * per_energy, len(longer.energies_ev) * per_energy))

    @property
    def num_shots(self) -> int:
        """Shots of the whole scan, whether taken here or not."""
        places = max(len(self.positions_um), 1) * max(len(self.angles_deg), 1)
        return len(self.energies_ev) * places * self.repeats

    def shots(self) -> Iterator[Shot]:
        """Yield the shots in the order of acquisition."""
        places: Sequence[tuple[float | None, float | None]] = self.positions_um or ((None, None),)
        angles: Sequence[float | None] = self.angles_deg or (None,)
        energies, num = range(len(self.energies_ev)), len(self.energies_ev)
        wanted = None if self.only is None else set(self.only)
        for repeat in range(self.repeats):
            if self.inner == "energy":
                order = [(e, p, a) for p in range(len(places)) for a in range(len(angles)) for e in energies]
            else:
                order = [(e, p, a) for e in energies for p in range(len(places)) for a in range(len(angles))]
            for e, p, a in order:
                index = ((repeat * num + e) * len(places) + p) * len(angles) + a
                if wanted is None or index in wanted:
                    (x, y), angle = places[p], angles[a]
                    yield Shot(index, self.energies_ev[e], self.exposures_s[e], repeat, p, x, y, angle)

    def visits(self) -> list[Visit]:
        """Return the stays at energies, with those that only take flats."""
        stays = [tuple(same) for _, same in groupby(self.shots(), key=lambda shot: (shot.repeat, shot.energy_ev))]
        visits: list[Visit] = []
        taken: dict[tuple[int, float], int] = {}
        for number, shots in enumerate(stays):
            first = shots[0]
            key = (first.repeat, first.energy_ev)
            again = taken.get(key, 0)
            taken[key] = again + 1
            # Of all energies at every angle, flats at the first angle serve the others too.
            flats = (
                self.num_flats > 0
                and not again
                and (
                    self.flats == "each"
                    or (self.flats == "every" and len(taken) % self.flats_every == 1 % self.flats_every)
                )
            )
            visits.append(Visit(first.energy_ev, first.exposure_s, flats, shots, first.repeat))
            last = number + 1 == len(stays) or stays[number + 1][0].repeat != first.repeat
            if last and self.flats == "pass" and self.num_flats:
                visits += self._second_pass(visits, first.repeat)
        return visits

    @staticmethod
    def _second_pass(visits: Sequence[Visit], repeat: int) -> list[Visit]:
        done: dict[float, Visit] = {}
        for visit in visits:
            if visit.repeat == repeat:
                done.setdefault(visit.energy_ev, visit)
        return [Visit(v.energy_ev, v.exposure_s, True, (), repeat) for _, v in sorted(done.items())]

    @property
    def num_frames_by_stream(self) -> dict[str, int]:
        """Frames of the run in each stream."""
        visits = self.visits()
        darks = self.num_darks * len({visit.exposure_s for visit in visits})
        flats = self.num_flats * sum(visit.flats for visit in visits)
        return {"dark": darks, "flat": flats, "primary": self.num_frames * sum(len(v.shots) for v in visits)}

    @property
    def num_frames_in_all(self) -> int:
        """Frames of the whole run: what the disk must hold."""
        return sum(self.num_frames_by_stream.values())


def refine(
    energies_ev: Sequence[float], signal: Sequence[float], *, largest_change: float, smallest_step_ev: float
) -> list[float]:
    """Return energies to add: the middles of the steps over which a spectrum changes much.

    A step from one energy to the next is halved where the spectrum changes by more than `largest_change` of its whole
    range, and where its slope changes by that much from one step to the next (the foot and the top of an edge), unless
    the halves were shorter than `smallest_step_ev`.

    Parameters
    ----------
    energies_ev, signal : (n,)
        In any order; n >= 3.
    largest_change : float
        Part of the range, 0 to 1.

    Raises
    ------
    PlanInputError
        Too few energies, or settings that mean nothing.
    """
    if not 0.0 < largest_change < 1.0:
        raise PlanInputError(f"largest_change: {largest_change:g} is not a part of the range; give 0 to 1")
    require_finite("smallest_step_ev", smallest_step_ev, "eV", positive=True)
    order = np.argsort(energies_ev)
    energies, values = np.asarray(energies_ev, np.float64)[order], np.asarray(signal, np.float64)[order]
    if len(energies) < 3 or len(values) != len(energies) or not np.isfinite(values).all():
        raise PlanInputError("refine: at least three energies with a number each are needed")
    span = float(np.ptp(values))
    if span <= 0.0:
        return []
    steps = np.diff(energies)
    change = np.abs(np.diff(values))
    # How far a straight line over two steps misses the point between them, for both of the steps.
    bend = np.zeros_like(change)
    inner = values[:-2] + (values[2:] - values[:-2]) * steps[:-1] / (steps[:-1] + steps[1:])
    missed = np.abs(values[1:-1] - inner)
    bend[:-1] = missed
    bend[1:] = np.maximum(bend[1:], missed)
    halved = (np.maximum(change, bend) > largest_change * span) & (0.5 * steps >= smallest_step_ev * (1 - 1e-9))
    return [float(energy) for energy in (energies[:-1] + 0.5 * steps)[halved]]
