"""Going on with a tomogram that was broken off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator

from exitwave.plans.ct._common import check_output, restore_state
from exitwave.plans.ct.fly import run_fly
from exitwave.plans.ct.step import run_steps
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import PlanInputError
from exitwave.plans.pure.tomography import Tomography
from exitwave.plans.stubs import beam_off

__all__ = ["make_safe", "resume"]

SAME_ENERGY = 2e-4
"""Of the energy: what the monochromator lets through at once."""
SAME_PIXEL = 1e-3
"""Of the size of a pixel: at the border of 2048 pixels that is one."""
_REFERENCE_KEYS = (
    "sample", "proposal", "operator", "rotation_axis", "series", "mosaic", "references_from", "exposed", "xanes_series",
)  # fmt: skip


def resume(
    instrument: Instrument,
    uid: str | int = -1,
    *,
    num_flats: int | None = None,
    num_darks: int | None = None,
    output: str | Path | None = None,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Acquire the angles that a tomogram lacks, in a run of its own that names the first one (``resumes``).

    First what an interruption may have left running is stopped, the shutters are closed, and sample, velocities and
    region go back to what the first run began with: a process that was killed could not do so. Then the journal and
    the frames that its documents name tell which angles are missing. A fly scan's gaps are flown, a step scan's
    taken in the order they had.

    Parameters
    ----------
    instrument : Instrument
    uid : str or int
        Of the run, or of one that resumed it; as for `open_run`.
    num_flats : int, optional
        As the first run took without it: the beam is another one now.
    num_darks : int, optional
        None if there are some already, otherwise as the first run.
    output : path, optional
        Export the whole tomogram here when the run ends; where the first run was to without it, as long as nothing is
        there.
    md : mapping, optional

    Returns
    -------
    str
        The new run's uid; that of the first where nothing was missing.

    Raises
    ------
    PlanInputError
        The session knows no earlier runs, the run is no tomogram, the photon energy, the zone plate or the size of a
        pixel is another one now, or the output exists. Before anything moves.
    """
    if instrument.tomograms is None:
        raise PlanInputError("resume: this session does not know earlier runs; open it with open_session")
    progress = instrument.tomograms.progress(uid)
    first = progress.start
    work = Tomography.from_description(first.get("tomography", {}))
    target = check_output(output or first.get("output"))
    yield from _check_optics(instrument, first)
    yield from make_safe(instrument)
    if "state" in first:
        yield from restore_state(instrument, first["state"])
    if not progress.missing:
        return str(first["uid"])
    darks = (0 if progress.has_darks else work.num_darks) if num_darks is None else num_darks
    rest = work.only(progress.missing, num_flats=work.num_flats if num_flats is None else num_flats, num_darks=darks)
    inherited = {key: first[key] for key in _REFERENCE_KEYS if key in first}
    run = run_fly if work.mode == "fly" else run_steps
    return (
        yield from run(
            instrument,
            rest,
            plan_name="resume",
            plan_args={"uid": str(first["uid"]), "missing": len(progress.missing)},
            output=target,
            md={**inherited, **(md or {}), "resumes": str(first["uid"])},
        )
    )


def _check_optics(instrument: Instrument, first: Mapping[str, Any]) -> MsgGenerator[None]:
    energy_kev = first.get("energy_kev")
    now = float((yield from bps.rd(instrument.microscope.energy, default_value=energy_kev or 8.0)))
    if energy_kev is not None and abs(now - energy_kev) > SAME_ENERGY * energy_kev:
        raise PlanInputError(
            f"resume: the photon energy is {now:.5g} keV and was {energy_kev:.5g} keV; set_energy({energy_kev:.6g}) "
            "first"
        )
    optics = instrument.microscope.describe_optics()
    plate, pixel_nm = first.get("zone_plate"), first.get("pixel_size_nm")
    if plate is not None and optics["zone_plate"] != plate:
        raise PlanInputError(
            f"resume: zone plate {optics['zone_plate']} is in, and it was {plate}; select_zone_plate({plate!r}) first"
        )
    # binning is set back later; what the optics make of a pixel of the sensor has to be the same
    binned = float((yield from bps.rd(instrument.microscope.camera.cam.bin_x, default_value=1)))
    before = float(first.get("state", {}).get("bin_x", binned))
    now_nm = None if optics["pixel_size_nm"] is None else optics["pixel_size_nm"] * before / binned
    if pixel_nm is not None and (now_nm is None or abs(now_nm - pixel_nm) > SAME_PIXEL * pixel_nm):
        raise PlanInputError(
            f"resume: a pixel is {_nm(now_nm)} now and was {pixel_nm:.5g} nm; set objective and detector distance as "
            "they were first"
        )


def _nm(value: float | None) -> str:
    return "of unknown size" if value is None else f"{value:.5g} nm"


def make_safe(instrument: Instrument) -> MsgGenerator[None]:
    """Close the shutters and stop whatever an interrupted scan may have left moving or exposing."""
    microscope = instrument.microscope
    yield from beam_off(instrument)
    if instrument.position_compare is not None:
        yield from bps.stop(instrument.position_compare)
    for axis in (microscope.sample.theta, microscope.sample.y):
        yield from bps.stop(axis)
    yield from bps.stop(microscope.camera)
    while (yield from bps.rd(microscope.sample.theta.motor_is_moving, default_value=0)):
        yield from bps.sleep(0.05)
