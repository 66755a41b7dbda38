"""What the queue sees of a session's plans."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from exitwave.profiles.queue.startup import queue_plans


@dataclass(frozen=True)
class Pass:
    span_um: float


def plan(
    exposure_s: float, *, num: int = 3, axis: str | None = None, passes: tuple[Pass, ...] = (Pass(1.5), Pass(0.5))
) -> Iterator[Any]:
    """Say what it was given."""
    yield exposure_s, num, axis, [one.span_um for one in passes]


def test_a_parameter_that_json_cannot_give_keeps_its_default_and_is_not_offered() -> None:
    queued = queue_plans({"group": SimpleNamespace(plan=plan), "number": 1})["plan"]
    parameters = inspect.signature(queued).parameters
    assert list(parameters) == ["exposure_s", "num", "axis"]
    assert all(parameter.annotation is parameter.empty for parameter in parameters.values())
    assert inspect.isgeneratorfunction(queued)
    assert list(queued(0.1, num=5)) == [(0.1, 5, None, [1.5, 0.5])]


def test_names_that_are_taken_get_that_of_their_group() -> None:
    names = {"stem": SimpleNamespace(haadf=plan, focus=plan), "ct": SimpleNamespace(resume=plan), "haadf": 1}
    names |= {"xanes": SimpleNamespace(resume=plan), "count": plan}
    assert set(queue_plans(names)) == {"count", "stem_haadf", "focus", "ct_resume", "xanes_resume"}
