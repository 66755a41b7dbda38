"""Plans of the electron microscope by their messages: what is stopped, and what is said of focus that was not found."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from bluesky.utils import Msg
from ophyd import Signal

from exitwave.analysis.errors import FitError
from exitwave.plans import PlanInputError
from exitwave.plans.pure.stem import Exposure, require_dose, tracking_frames
from exitwave.plans.stem import make_safe, tilt


def microscope() -> Any:
    names = ("blanker", "scan", "haadf", "eds")
    stage = SimpleNamespace(**{axis: Signal(name=axis) for axis in ("x", "y", "z", "alpha", "beta")})
    dose = SimpleNamespace(hardware_limit=Signal(name="hardware_limit"))
    return SimpleNamespace(**{name: Signal(name=name) for name in names}, goniometer=stage, dose=dose)


def test_making_safe_blanks_first_and_stops_every_axis() -> None:
    messages: list[Msg] = list(make_safe(microscope()))
    assert (messages[0].command, messages[0].obj.name) == ("set", "blanker")
    stopped = {message.obj.name for message in messages if message.command == "stop"}
    assert stopped == {"scan", "haadf", "eds", "x", "y", "z", "alpha", "beta"}


def test_focus_that_was_not_found_is_said_in_the_tilt_and_in_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any, **options: Any) -> Any:
        assert options["md"]["tilt_series_id"] == "S"
        yield from ()
        raise FitError("sharpness: no peak")

    monkeypatch.setattr(tilt, "focus", fails)
    column: Any = SimpleNamespace(name="column", defocus=Signal(name="defocus", value=3.0))
    work = tilt.TiltWork((1.0,), 5.0, 64, 64, 1, 3.0, 0.0, 64, 40.0, 7, 0.5)
    microscope: Any = SimpleNamespace(column=column)
    plan = tilt._focus(microscope, work, 1.0, {"id": "S"}, None)
    reading, found = {"defocus": {"value": 3.0}}, None
    with caplog.at_level(logging.WARNING):
        try:
            plan.send(None)
            while True:
                plan.send(reading)
        except StopIteration as end:
            found = end.value
    assert found == {"found": False, "defocus_nm": 3.0, "reason": "sharpness: no peak"}
    (record,) = caplog.records
    assert record.getMessage() == (
        "column: no focus was found at 1 deg (sharpness: no peak); the frames are taken at 3 nm"
    )


def test_steps_of_tracking_are_counted_as_they_are_taken() -> None:
    # a frame where it stands, up to two at 0 (no way) and at each of four half degrees to 2, then one a tilt
    assert tracking_frames([0.0, 2.0, 4.0, 6.0], 0.0, 0.5, known=False) == 1 + 2 + 8 + 1 + 1
    assert tracking_frames([-1.0, 0.0], 0.0, 0.5, known=False) == 1 + 4 + 1
    assert tracking_frames([6.0], 4.0, 0.5, known=True) == 2
    assert tracking_frames([2.0], -0.0002, 1.0, known=False) == 1 + 4, "an encoder's noise makes no step"


def test_a_planned_dose_counts_all_parts_over_their_own_fields() -> None:
    # 100 pA are 6.2415e8 electrons a second; 0.9 s and 0.1 s of ways over 1e4 A2 give 6.2415e4 e/A2.
    frames, focus = Exposure("frames", 2, 1e4, 0.9), Exposure("focus", 10, 1e3, 0.1)
    total = require_dose([frames, focus], 100.0, accumulated=0.0, limit=2e6)
    assert total == pytest.approx(2 * 6.2415e4 + 10 * 0.2 * 6.2415e5, rel=1e-4)
    with pytest.raises(PlanInputError, match=r"frames 1\.248e\+05, focus 1\.248e\+06.* 1\.3e\+06 .*limit of 2e\+06"):
        require_dose([frames, focus], 100.0, accumulated=1.3e6, limit=2e6)
    with pytest.raises(PlanInputError, match="positive"):
        require_dose([frames], 100.0, accumulated=0.0, limit=-1.0)
