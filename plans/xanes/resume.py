"""Going on with a scan of energies that was broken off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator

from exitwave.plans.ct.resume import make_safe
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import PlanInputError
from exitwave.plans.pure.xanes import XanesScan
from exitwave.plans.pure.xanes_estimates import Exposed
from exitwave.plans.xanes._checks import DoseFinder
from exitwave.plans.xanes._run import run_scan
from exitwave.plans.xanes.feedback import Feedback

__all__ = ["resume"]

_INHERITED = ("sample", "proposal", "operator", "series", "adaptive")


def resume(
    instrument: Instrument,
    uid: str | int = -1,
    *,
    num_flats: int | None = None,
    num_darks: int | None = None,
    exposed: Exposed | None = None,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Take what a scan of energies lacks, in a run of its own that names the first one (``resumes``).

    Shutters are closed and axes stopped first: a process that was killed could not. Frames that the documents name
    and that had light tell what is there. Flats come anew at the energies that are visited again: the beam is another
    one now.

    Parameters
    ----------
    instrument : Instrument
    uid : str or int
        Of the run, or of one that resumed it; as for `open_run`.
    num_flats : int, optional
        As the first run took without it.
    num_darks : int, optional
        None if there are some already, otherwise as the first run.
    exposed : Exposed, optional
        In place of the first run's. What earlier runs of the scan gave the sample counts against its limit.

    Returns
    -------
    str
        The new run's uid; that of the first where nothing was missing.

    Raises
    ------
    PlanInputError
        The session knows no earlier runs, the run is no scan of energies, another zone plate is in, or the dose's limit
        does not allow the rest.
    """
    if instrument.spectra is None:
        raise PlanInputError("resume: this session does not know earlier runs; open it with open_session")
    progress = instrument.spectra.progress(uid)
    first = progress.start
    work = XanesScan.from_description(first.get("xanes", {}))
    plate = instrument.microscope.zone_plate_name.get()
    if first.get("zone_plate", plate) != plate:
        raise PlanInputError(
            f"resume: the run was taken with zone plate {first['zone_plate']}, {plate} is in; select_zone_plate first"
        )
    yield from make_safe(instrument)
    microscope = instrument.microscope
    for axis in (microscope.mono, microscope.zone_plate.z, microscope.sample.x):
        yield from bps.stop(axis)
    if not progress.missing:
        return str(first["uid"])
    darks = (0 if progress.has_darks else work.num_darks) if num_darks is None else num_darks
    rest = work.part(progress.missing, num_flats=work.num_flats if num_flats is None else num_flats, num_darks=darks)
    feedback, told = first.get("feedback"), first.get("exposed")
    if exposed is None and told:
        exposed = Exposed(**told)
    finder = instrument.spectra
    before_gy = finder.dose_gy(uid) if exposed is not None and isinstance(finder, DoseFinder) else 0.0
    return (
        yield from run_scan(
            instrument,
            rest,
            plan_name="xanes_resume",
            plan_args={"uid": str(first["uid"]), "missing": len(progress.missing)},
            keep=first.get("keep"),
            feedback=Feedback(**feedback) if feedback else None,
            exposed=exposed,
            before_gy=before_gy,
            calibration=first.get("energy_calibration"),
            md={
                **{key: first[key] for key in _INHERITED if key in first},
                **(md or {}),
                "resumes": str(first["uid"]),
            },
        )
    )
