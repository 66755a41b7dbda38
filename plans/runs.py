"""What every plan puts around its work: metadata, an open run, and a clean end."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import FailedStatus, MsgGenerator

import exitwave
from exitwave.devices import ExitwaveError
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import PlanInputError
from exitwave.plans.stubs import beam_off, beam_on

__all__ = ["check_arguments", "check_only", "run_with_beam", "start_metadata"]

_READING = {"locate", "read", "null"}


def start_metadata(
    instrument: Instrument,
    plan_name: str,
    plan_args: Mapping[str, Any],
    *,
    technique: str,
    detectors: Sequence[Any],
    motors: Sequence[Any] = (),
    num_points: int = 1,
    hints: Mapping[str, Any] | None = None,
    md: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the metadata of a start document; what the user says in `md` wins.

    Parameters
    ----------
    technique : str
        NeXus `NXtechnique` name.
    """
    return {
        "plan_name": plan_name,
        "plan_args": dict(plan_args),
        "technique": technique,
        "detectors": [d.name for d in detectors],
        "motors": [m.name for m in motors],
        "num_points": num_points,
        "hints": dict(hints or {}),
        **instrument.microscope.describe_optics(),
        "camera": instrument.microscope.camera.name,
        "versions": {"exitwave": exitwave.__version__},
        **(md or {}),
    }


def check_arguments(plan: Callable[..., Any], names: Iterable[str], *, own: Collection[str]) -> None:
    """Refuse names of arguments that a plan does not take from others: those in `own` the caller gives itself.

    Raises
    ------
    PlanInputError
    """
    known = [name for name in inspect.signature(plan).parameters if name not in own]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"is {near[0]} meant?" if near else f"there are {', '.join(known)}"
            raise PlanInputError(f"{name}: {plan.__name__} has no such argument; {hint}")


def check_only(plan: MsgGenerator[Any]) -> MsgGenerator[None]:
    """Let a plan check what it is asked for, and end it before it does anything.

    Every plan of this package checks first, by reading alone: what it would refuse, it refuses here. A series of runs
    finds out so before the first of them that the last one can be taken.

    Raises
    ------
    PlanInputError, SettingError, StorageSpaceError, MotionLimitError
        As the plan.
    """
    reply: Any = None
    try:
        while True:
            message = plan.send(reply)
            if message.command not in _READING:
                return
            reply = yield message
    except StopIteration:
        return
    finally:
        plan.close()


def run_with_beam(
    instrument: Instrument,
    body: Callable[[], MsgGenerator[Any]],
    metadata: Mapping[str, Any],
    *,
    stage: Sequence[Any],
    cleanup: Callable[[], MsgGenerator[Any]] | None = None,
) -> MsgGenerator[str]:
    """Stage devices, open a run, switch the beam on, do `body`; close the shutters whatever happens.

    A photon shutter that was open before stays open after success, so that a series does not wait for it; the fast
    shutter always closes, and after a failure both do.
    `cleanup` runs after the shutters are closed, even if one of them did not close.

    Returns
    -------
    str
        The run's uid.
    """
    keep_photon_shutter = False

    def inside() -> MsgGenerator[None]:
        nonlocal keep_photon_shutter
        try:
            was_open = yield from beam_on(instrument)
            yield from body()
            keep_photon_shutter = was_open
        except FailedStatus as error:
            # What the device said is the reason of the run's end, not that some status failed.
            if isinstance(error.__cause__, ExitwaveError):
                raise error.__cause__ from error
            raise

    def end() -> MsgGenerator[None]:
        # Light off first; what moves back may take its time.
        yield from bpp.finalize_wrapper(
            beam_off(instrument, keep_photon_shutter=keep_photon_shutter), cleanup() if cleanup else bps.null()
        )

    return (
        yield from bpp.stage_wrapper(
            bpp.run_wrapper(bpp.finalize_wrapper(inside(), end), md=dict(metadata)),
            list(stage),
        )
    )
