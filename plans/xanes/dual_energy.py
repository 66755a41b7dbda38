"""One image below and one above an edge: where the element is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bluesky.utils import MsgGenerator

from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.xanes import EnergySpec, XanesScan
from exitwave.plans.pure.xanes_estimates import Exposed
from exitwave.plans.xanes._run import Keep, run_scan
from exitwave.plans.xanes.feedback import Feedback
from exitwave.plans.xanes.imaging import two_energies
from exitwave.plans.xanes.tomography import tomography

__all__ = ["dual_energy", "dual_energy_tomography"]


def dual_energy(
    instrument: Instrument,
    element: str = "Ni",
    *,
    edge: str = "K",
    below_ev: float = 30.0,
    above_ev: float = 50.0,
    exposure_s: float = 1.0,
    num_frames: int = 5,
    num_flats: int = 10,
    num_darks: int = 10,
    keep: Keep | None = None,
    feedback: Feedback | None = None,
    exposed: Exposed | None = None,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Take images below and above an edge, with flats at both energies; streams as of `imaging`.

    Returns
    -------
    str
        The run's uid.

    Raises
    ------
    PlanInputError, OutOfRangeError, SettingError, StorageSpaceError, MotionLimitError, FocusCalibrationError
        Before anything moves.
    """
    pair = two_energies(element, edge, below_ev, above_ev)
    work = XanesScan(
        pair,
        (exposure_s, exposure_s),
        num_frames=num_frames,
        num_flats=num_flats,
        num_darks=num_darks,
        edges_ev=(pair[0] + below_ev,),
    )
    return (
        yield from run_scan(
            instrument,
            work,
            plan_name="xanes_dual_energy",
            plan_args={"element": element, "edge": edge, "below_ev": below_ev, "above_ev": above_ev},
            keep=keep,
            feedback=feedback,
            exposed=exposed,
            md=md,
        )
    )


def dual_energy_tomography(
    instrument: Instrument,
    element: str = "Ni",
    *,
    edge: str = "K",
    below_ev: float = 30.0,
    above_ev: float = 50.0,
    md: Mapping[str, Any] | None = None,
    **scan: Any,
) -> MsgGenerator[list[str]]:
    """Take a tomogram below and one above an edge; `scan` as of `exitwave.plans.xanes.tomography`.

    Returns
    -------
    list of str
        Uids: below, above.
    """
    pair: EnergySpec = list(two_energies(element, edge, below_ev, above_ev))
    return (yield from tomography(instrument, pair, None, md={"dual_energy": element, **(md or {})}, **scan))
