"""What the RE Manager's worker runs to build its environment: the session, with its plans on top.

The queue knows plans by plain names and wants generator functions, so ``txm.radiograph`` is
``radiograph`` here. Annotations are left off: the queue would try to evaluate them by its own rules. So are
parameters whose default is no literal, like a tuple of dataclasses: a queue holds JSON, which could not give them,
and the queue server refuses the whole session for one of them. They keep their defaults.
"""

from __future__ import annotations

import ast
import functools
import inspect
import os
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

__all__ = ["namespace", "queue_plans"]

_GENERAL = ("count", "scan", "rel_scan", "list_scan", "grid_scan")


def _is_literal(value: object) -> bool:
    try:
        ast.literal_eval(repr(value))
    except (ValueError, SyntaxError):
        return False
    return True


def _bare(plan: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    @functools.wraps(plan)
    def queued(*args: Any, **kwargs: Any) -> Iterator[Any]:
        return (yield from plan(*args, **kwargs))

    signature = inspect.signature(plan)
    queueable = [p for p in signature.parameters.values() if p.default is p.empty or _is_literal(p.default)]
    parameters = [p.replace(annotation=p.empty) for p in queueable]
    vars(queued).update(
        __signature__=signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    )
    queued.__annotations__ = {}
    del vars(queued)["__wrapped__"]
    return queued


def queue_plans(names: dict[str, Any]) -> dict[str, Callable[..., Iterator[Any]]]:
    """Collect the plans of a session's namespace, those in groups (``txm.radiograph``) by their own names.

    Where a device or a plan of another group has that name, the group's stands before it: ``stem_haadf``.
    """
    grouped = [
        (group, name, plan)
        for group, value in names.items()
        if isinstance(value, SimpleNamespace)
        for name, plan in vars(value).items()
        if inspect.isgeneratorfunction(plan)
    ]
    uses = Counter([*names, *(name for _, name, _ in grouped)])
    found = {name: value for name, value in names.items() if inspect.isgeneratorfunction(value)}
    found |= {name if uses[name] == 1 else f"{group}_{name}": plan for group, name, plan in grouped}
    return {name: _bare(plan) for name, plan in found.items()}


def namespace() -> dict[str, Any]:
    """Open the session that the environment names and return what the queue shall see of it.

    EXITWAVE_QUEUE_PROFILE, EXITWAVE_QUEUE_PREFIX (may be empty) and EXITWAVE_DATA are set by the
    process that starts the RE Manager.
    """
    import bluesky.plans
    from ophyd import Device

    from exitwave.profiles.session import open_session
    from exitwave.profiles.storage.paths import data_folder

    session = open_session(
        os.environ["EXITWAVE_QUEUE_PROFILE"],
        prefix=os.environ.get("EXITWAVE_QUEUE_PREFIX") or None,
        data=data_folder(),
    )
    names = session.namespace
    general = {name: _bare(getattr(bluesky.plans, name)) for name in _GENERAL}
    devices = {name: value for name, value in names.items() if isinstance(value, Device)}
    return {**general, **queue_plans(names), **devices, "RE": names["RE"], "session": session}
