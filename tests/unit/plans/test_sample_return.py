"""The sample comes back to better than a tenth of a pixel, or the plan says that it did not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.utils import FailedStatus
from ophyd import Signal
from ophyd.sim import SynAxis

from exitwave.plans.stubs import SampleReturnError, sample_back


class Stage(SynAxis):
    """An axis that stops a while before or after where it is told to, as play and friction have it."""

    def __init__(self, offsets_um: list[float]):
        super().__init__(name="x", value=0.0, labels={"axes"})
        self.offsets_um = offsets_um
        self.targets: list[float] = []

    def set(self, value: float) -> Any:
        self.targets.append(value)
        return super().set(value + (self.offsets_um.pop(0) if self.offsets_um else 0.0))

    def dotted_name_of(self) -> str:
        return "sample.x"


def instrument(stage: Stage) -> Any:
    pixel = Signal(name="pixel", value=30.0)
    return SimpleNamespace(microscope=SimpleNamespace(sample=SimpleNamespace(out_motor=stage), pixel_size=pixel))


def run(stage: Stage) -> None:
    RunEngine({}, call_returns_result=False)(sample_back(instrument(stage), 10.0))


def test_a_good_return_is_left_alone() -> None:
    stage = Stage([0.002])
    run(stage)
    assert stage.targets == [10.0]


def test_an_offset_is_corrected() -> None:
    # 50 nm of play on the way back; the limit is 3 nm.
    stage = Stage([0.05, 0.05])
    run(stage)
    assert stage.targets == pytest.approx([10.0, 9.95])
    assert stage.position == pytest.approx(10.0)


def test_one_that_never_comes_back_is_named() -> None:
    stage = Stage([0.05, -0.1, 0.2, -0.4, 0.8])
    with pytest.raises((SampleReturnError, FailedStatus), match=r"sample\.x: .* nm from where it was .* limit of 3 nm"):
        run(stage)
