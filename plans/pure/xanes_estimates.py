"""Before a scan of energies starts: how long it takes, what it needs on disk, and what the sample is exposed to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import xraydb
from scipy import constants

from exitwave.plans.pure.angles import even_segments
from exitwave.plans.pure.positions import PlanInputError, require_finite
from exitwave.plans.pure.rotation import AxisFigures, move_time_s
from exitwave.plans.pure.tomography import Tomography
from exitwave.plans.pure.xanes import XanesScan

__all__ = [
    "Estimate",
    "Exposed",
    "absorbed_dose_gy",
    "check_dose",
    "estimate",
    "lit_s",
    "mass_absorption_m2_kg",
    "scan_dose_gy",
]

_START_S = 6.0
_SHOT_S = 0.05
_FILE_S = 0.1
_STEP_S = 0.03


def mass_absorption_m2_kg(material: str, energy_ev: float) -> float:
    """Return the photoelectric mass absorption coefficient of a compound, m2/kg (Elam, Ravel & Sieber 2002).

    Raises
    ------
    PlanInputError
        The formula is none.
    """
    try:
        # at 1 g/cm3 the linear coefficient in 1/cm is the mass coefficient in cm2/g
        return 0.1 * float(xraydb.material_mu(material, energy_ev, density=1.0, kind="photo"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlanInputError(
            f"material: {material!r} is no chemical formula; write it like LiNi0.6Co0.2Mn0.2O2"
        ) from error


def absorbed_dose_gy(material: str, energy_ev: float, flux_per_s: float, area_um2: float, time_s: float) -> float:
    """Return the dose at the surface that the beam enters, Gy: D = N E (mu/rho) / A.

    All of an absorbed photon's energy is taken to stay: fluorescence and electrons that leave a small particle make
    the true dose smaller.

    Parameters
    ----------
    flux_per_s : float
        Photons per second on `area_um2`.
    """
    joule = energy_ev * constants.elementary_charge
    fluence_m2 = flux_per_s * time_s / (area_um2 * 1e-12)
    return fluence_m2 * joule * mass_absorption_m2_kg(material, energy_ev)


@dataclass(frozen=True)
class Exposed:
    """What the dose is reckoned with.

    Parameters
    ----------
    material : str
        Chemical formula.
    flux_per_s : float
        Photons per second on the sample; the beamline's goal at 8 keV and 300 mA is 1.3e10.
    area_um2 : float, optional
        That they fall on; the field of view of the whole sensor without it.
    limit_gy : float, optional
        Refuse a scan that would exceed it, with what its earlier runs gave the sample where it goes on with them;
        energies that an adaptive scan would add beyond it are left out.
    """

    material: str
    flux_per_s: float = 1.3e10
    area_um2: float | None = None
    limit_gy: float | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be meant.

        Raises
        ------
        PlanInputError
        """
        require_finite("flux_per_s", self.flux_per_s, "1/s", positive=True)
        if self.area_um2 is not None:
            require_finite("area_um2", self.area_um2, "um2", positive=True)
        if self.limit_gy is not None:
            require_finite("limit_gy", self.limit_gy, "Gy", positive=True)
        mass_absorption_m2_kg(self.material, 8000.0)


def scan_dose_gy(scan: XanesScan, exposed: Exposed, area_um2: float, readout_s: float) -> float:
    """Return the largest dose that a place of the sample takes in a scan, Gy.

    The fast shutter is open while frames are taken: exposures, and a readout for each.
    """
    places: dict[int, float] = {}
    for shot in scan.shots():
        time_s = scan.num_frames * (shot.exposure_s + readout_s)
        dose = absorbed_dose_gy(exposed.material, shot.energy_ev, exposed.flux_per_s, area_um2, time_s)
        places[shot.position] = places.get(shot.position, 0.0) + dose
    return max(places.values(), default=0.0)


def check_dose(dose_gy: float, exposed: Exposed, *, before_gy: float = 0.0) -> None:
    """Refuse a dose that exceeds the limit, together with what the sample has from this scan's earlier runs.

    Raises
    ------
    PlanInputError
    """
    if exposed.limit_gy is None or dose_gy + before_gy <= exposed.limit_gy:
        return
    already = f" and {before_gy:.3g} Gy from earlier runs of the scan" if before_gy else ""
    raise PlanInputError(
        f"dose: {dose_gy:.3g} Gy{already} on {exposed.material} exceeds the limit of {exposed.limit_gy:.3g} Gy; expose "
        "shorter, take fewer energies or projections, or raise limit_gy"
    )


def lit_s(work: Tomography, axis: AxisFigures) -> float:
    """Return how long the sample of a tomogram is in the beam, s: the fast shutter is open for whole blocks.

    A pass of a fly scan is lit with its ramps, a step scan while the axis turns from angle to angle, too.

    Parameters
    ----------
    work : Tomography
    axis : AxisFigures
        Of the rotation.
    """
    total = 0.0
    for block in work.blocks():
        if work.mode == "fly":
            total += sum(len(part) * work.period_s + 2.0 * axis.acceleration_s for part in even_segments(block))
        else:
            total += len(block) * (work.exposure_s + _STEP_S)
            total += sum(move_time_s(axis, abs(b - a)) for a, b in pairwise(block.tolist()))
    return float(total)


@dataclass(frozen=True)
class Estimate:
    """What a scan takes.

    Parameters
    ----------
    seconds, exposure_s, motion_s : float
        In all; of this exposures; of this motors.
    frames, gigabytes
        On disk.
    dose_gy : float or None
        Where the material is known.
    """

    seconds: float
    exposure_s: float
    motion_s: float
    frames: int
    gigabytes: float
    dose_gy: float | None = None

    def describe(self) -> dict[str, Any]:
        """Return what the start document says."""
        return asdict(self)

    def __str__(self) -> str:
        dose = "" if self.dose_gy is None else f", {self.dose_gy:.3g} Gy"
        return f"{self.seconds / 60:.1f} min, {self.frames} frames, {self.gigabytes:.3g} GB{dose}"


def estimate(
    scan: XanesScan,
    axes: Mapping[str, AxisFigures],
    places: Mapping[float, Mapping[str, float]],
    *,
    out_um: float,
    readout_s: float,
    frame_bytes: int,
    dose_gy: float | None = None,
) -> Estimate:
    """Estimate what a scan takes, from the trapezoids of its axes.

    Parameters
    ----------
    axes : mapping of name to AxisFigures
        Of everything that moves with the energy, and ``out`` (of the sample).
    places : mapping of energy (eV) to mapping of name to position
        Where each axis goes.
    out_um : float
        How far the sample moves for flats.
    """
    visits = scan.visits()
    exposures = motion = 0.0
    before: Mapping[str, float] | None = None
    aside_s = move_time_s(axes["out"], out_um)
    for visit in visits:
        here = places[visit.energy_ev]
        moves = [move_time_s(axes[name], here[name] - before[name]) for name in here] if before is not None else [0.0]
        motion += max(*moves, aside_s if visit.flats else 0.0) + (aside_s if visit.flats else 0.0)
        num = len(visit.shots) * scan.num_frames + (scan.num_flats if visit.flats else 0)
        exposures += num * (visit.exposure_s + readout_s)
        before = here
    frames = scan.num_frames_by_stream
    mean_s = sum(scan.exposures_s) / len(scan.exposures_s)
    exposures += frames["dark"] * (mean_s + readout_s)
    rest = _START_S + sum(_SHOT_S * len(v.shots) + _FILE_S * (1 + v.flats) for v in visits)
    waiting = max(0.0, (scan.repeats - 1) * scan.interval_s - exposures - motion)
    total = scan.num_frames_in_all
    return Estimate(
        round(exposures + motion + rest + waiting, 1),
        round(exposures, 3),
        round(motion, 3),
        total,
        total * frame_bytes / 1e9,
        dose_gy,
    )
