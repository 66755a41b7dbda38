"""Images of the sample at many energies, every one of them in focus."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from bluesky.utils import MsgGenerator
from numpy.typing import NDArray

from exitwave.analysis.xanes.energies import edge_energy_ev
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import PlanInputError, require_count, require_finite
from exitwave.plans.pure.xanes import EnergySpec, FlatsWhen, Shot, XanesScan, choose_energies, refine
from exitwave.plans.pure.xanes_estimates import Exposed
from exitwave.plans.xanes._run import Keep, run_scan
from exitwave.plans.xanes._scan import Walk
from exitwave.plans.xanes.feedback import Feedback

__all__ = ["Adaptive", "imaging", "two_energies"]

log = logging.getLogger(__name__)
Image = NDArray[Any]


@dataclass(frozen=True)
class Adaptive:
    """More energies where the spectrum of the whole field changes.

    Parameters
    ----------
    largest_change : float
        From one energy to the next, part of the whole range of the spectrum.
    smallest_step_ev : float
    rounds : int
        Passes that add energies, each halving steps.
    most_energies : int
        Added ones.
    """

    largest_change: float = 0.1
    smallest_step_ev: float = 0.5
    rounds: int = 3
    most_energies: int = 60

    def __post_init__(self) -> None:
        """Refuse what can't be meant.

        Raises
        ------
        PlanInputError
        """
        refine([0.0, 1.0, 2.0], [0.0] * 3, largest_change=self.largest_change, smallest_step_ev=self.smallest_step_ev)
        require_count("rounds", self.rounds, at_least=1)
        require_count("most_energies", self.most_energies, at_least=1)


def imaging(
    instrument: Instrument,
    energies: EnergySpec = 41,
    element: str | None = "Ni",
    *,
    edge: str = "K",
    exposure_s: float = 1.0,
    num_frames: int = 1,
    num_flats: int = 5,
    num_darks: int = 10,
    flats: FlatsWhen = "each",
    flats_every: int = 1,
    positions_um: Sequence[tuple[float, float]] = (),
    repeats: int = 1,
    interval_s: float = 0.0,
    keep: Keep | None = None,
    feedback: Feedback | None = None,
    adaptive: Adaptive | None = None,
    exposed: Exposed | None = None,
    calibration: str | None = None,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Take images of the sample at every energy of a list, in focus, with flats and darks.

    The camera is armed once; monochromator, zone plate, detector track and sample move while the frames before are
    written. The fast shutter is open during exposures only.

    Streams: ``dark``, ``flat``, ``primary`` (frames), ``energy`` (one event for each stop: energy asked for and read
    back, zone plate z, pixel size, ion chamber, and which rows of ``primary`` and ``flat`` belong to it), ``beam``,
    ``audit`` (each file), ``frame_audit`` (the whole run), ``dose``.

    Parameters
    ----------
    instrument : Instrument
    energies
        See `exitwave.plans.pure.xanes.choose_energies`: the number of points of a ready-made list, energies in eV,
        regions, a file, or a mapping from elements to any of these.
    element, edge : str
        Edge that the energies lie around; None for energies that need no edge.
    exposure_s : float
        Where the list does not say.
    num_frames, num_flats, num_darks : int
        At each shot, each taking of flats, and for each exposure.
    flats : {"each", "every", "pass", "none"}
        At each energy, at every `flats_every` th one, in a second pass over the energies, or none.
    positions_um : sequence of (x, y)
        Places of the sample stage, all at each energy; where it is without any.
    repeats, interval_s
        How often, and from start to start.
    keep : {"detector", "magnification"}, optional
        What stays while the energy changes; as the microscope is set without it.
    feedback : Feedback, optional
        On the second crystal's pitch.
    adaptive : Adaptive, optional
    exposed : Exposed, optional
        Of what the sample is; the start document and the stream ``dose`` then have the dose.
    calibration : str, optional
        Uid of the foil run that calibrated the energy; the newest one the session knows without it.

    Returns
    -------
    str
        The run's uid.

    Raises
    ------
    PlanInputError, EnergyListError, OutOfRangeError, SettingError, StorageSpaceError, MotionLimitError,
    FocusCalibrationError
        Before anything moves, when the request can't be met.
    BeamLostError, ShutterError, FrameLossError
        Meanwhile; `resume` takes the rest.
    """
    listed = isinstance(energies, Mapping)
    chosen, edges_ev = choose_energies(energies, None if listed else element, edge, exposure_s=exposure_s)
    work = XanesScan(
        tuple(float(e) for e in chosen.energies_ev),
        tuple(float(t) for t in chosen.exposures_s),
        num_frames=num_frames,
        num_flats=num_flats,
        num_darks=num_darks,
        flats=flats,
        flats_every=flats_every,
        positions_um=tuple((float(x), float(y)) for x, y in positions_um),
        repeats=repeats,
        interval_s=interval_s,
        edges_ev=edges_ev,
    )
    body, look, most = None, None, None
    if adaptive is not None:
        if repeats > 1 or len(positions_um) > 1 or flats not in ("each", "none"):
            raise PlanInputError("adaptive: takes one place, one repeat, and flats at each energy or none")
        seen: dict[float, float] = {}
        most = work.num_frames_in_all + adaptive.most_energies * (num_frames + num_flats)

        def look(shot: Shot, frame: Image, flat: Image | None, told: Mapping[str, float]) -> None:
            seen[shot.energy_ev] = float(np.mean(frame)) / (1.0 if flat is None else float(np.mean(flat)))

        def body(walk: Walk) -> MsgGenerator[None]:
            yield from _refine(walk, work, adaptive, seen)

    return (
        yield from run_scan(
            instrument,
            work,
            plan_name="xanes_imaging",
            plan_args={
                "element": element,
                "edge": edge,
                "num_energies": len(chosen),
                "num_frames": num_frames,
                "flats": flats,
                "repeats": repeats,
            },
            keep=keep,
            feedback=feedback,
            exposed=exposed,
            calibration=calibration,
            body=body,
            look=look,
            most_frames=most,
            # How many it will be nobody knows before.
            md={
                **({"adaptive": asdict(adaptive), "num_frames": {}, "num_points": None} if adaptive else {}),
                **(md or {}),
            },
        )
    )


def _refine(walk: Walk, work: XanesScan, adaptive: Adaptive, seen: dict[float, float]) -> MsgGenerator[None]:
    """Take the list, then energies between, until nothing changes much from one to the next."""
    yield from walk.take(work)
    whole, left = work, adaptive.most_energies
    for _ in range(adaptive.rounds):
        energies = sorted(seen)
        added = refine(
            energies,
            [seen[e] for e in energies],
            largest_change=adaptive.largest_change,
            smallest_step_ev=adaptive.smallest_step_ev,
        )[:left]
        affordable = _affordable(walk, whole, added)
        if len(affordable) < len(added):
            log.warning(
                "xanes_imaging: %d of %d added energies are left out, beyond limit_gy; expose shorter or raise it",
                len(added) - len(affordable),
                len(added),
            )
        added = affordable
        if not added:
            return
        left -= len(added)
        whole = whole.with_energies(added)
        walk.taken.asked += tuple(shot.index for shot in whole.shots())
        yield from walk.take(whole, darks=False)


def _affordable(walk: Walk, whole: XanesScan, added: list[float]) -> list[float]:
    """Return as many of the added energies as the dose's limit allows, from the lowest on."""
    while added and not walk.affords(whole.with_energies(added)):
        added = added[:-1]
    return added


def two_energies(element: str, edge: str, below_ev: float, above_ev: float) -> tuple[float, float]:
    """Return the energies of a pair around an edge, eV.

    Raises
    ------
    PlanInputError
        A distance that is not positive.
    OutOfRangeError
        Unknown element or edge.
    """
    edge_ev = edge_energy_ev(element, edge)
    require_finite("below_ev", below_ev, "eV", positive=True)
    require_finite("above_ev", above_ev, "eV", positive=True)
    return edge_ev - below_ev, edge_ev + above_ev
