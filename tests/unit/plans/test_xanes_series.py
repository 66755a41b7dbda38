"""Series of tomograms, one an energy, and doses that add up: what is refused, and what start documents say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from bluesky.utils import Msg

from exitwave.devices import FocusCalibrationError, FocusPoint
from exitwave.plans import ct
from exitwave.plans.instrument import Progress
from exitwave.plans.pure.positions import PlanInputError
from exitwave.plans.pure.xanes_estimates import Exposed, absorbed_dose_gy
from exitwave.plans.xanes import (
    Adaptive,
    Feedback,
    dual_energy,
    imaging,
    resume,
    tomography,
)

from .xanes_instrument import ENERGIES, Ledger, Thing, messages, signal, starts

STEP: dict[str, Any] = {"mode": "step", "stop_deg": 180.0, "num_projections": 4, "num_flats": 1, "num_darks": 1}


@pytest.mark.parametrize("mode", ["step", "fly"])
@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"stop_deg": 400.0}, "theta: .* is (outside|beyond|over)"),
        ({"exposure_s": -1.0}, "exposure"),
        ({"velocity": 3.0}, r"velocity: \w+_tomography has no such argument; "),
        ({"num_projections": 3000}, "do not fit"),
        ({"keep": "nothing"}, "keep: 'nothing'"),
        ({"only": [7]}, "only: energy 7 of 4"),
        ({"only": []}, "only: no energy"),
        ({"output": "all.nxs"}, "output: one file for 4 tomograms"),
        ({"exposed": Exposed("NiO", 1.3e10, 400.0, limit_gy=0.1)}, r"dose: .* Gy on NiO exceeds the limit of 0\.1 Gy"),
        ({"exposed": Exposed("NiO", 1.3e10, 400.0)} | {"feedback": Feedback(steady=0.01), "stop_deg": 1e3}, "theta: "),
    ],
)
def test_a_series_of_tomograms_is_refused_before_anything_moves(
    instrument: Any, mode: str, more: dict[str, Any], message: str
) -> None:
    instrument.position_compare = Thing(name="compare", check_window=lambda window: None)
    seen: list[Msg] = []
    with pytest.raises((ValueError, OSError), match=message) as caught:
        seen.extend(tomography(instrument, ENERGIES, None, **{**STEP, "mode": mode, "exposure_s": 60.0, **more}))
    assert {m.command for m in seen} <= {"read", "locate", "null"}
    assert "\n" not in str(caught.value)
    assert instrument.microscope.keep == "detector"


def test_an_energy_out_of_range_is_refused_with_the_axes_where_they_are(instrument: Any) -> None:
    instrument.microscope.zone_plate.focus.add(FocusPoint(8.2, 0.1, zone_plate="zpa"))
    instrument.microscope.zone_plate.focus.add(FocusPoint(8.345, 0.1, zone_plate="zpa"))
    seen: list[Msg] = []
    with pytest.raises(FocusCalibrationError, match=r"8\.35 keV lies outside"):
        seen.extend(tomography(instrument, ENERGIES, None, **STEP))
    assert not [m for m in seen if m.command == "set"]


@pytest.fixture
def short_tomograms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tomograms that open their run and close it."""

    def step_tomography(
        instrument: Any, start_deg: float, stop_deg: float, num_projections: int, *, md: Any = None, **_: Any
    ) -> Iterator[Msg]:
        yield Msg("open_run", None, **(md or {}))
        yield Msg("close_run")

    monkeypatch.setattr(ct, "step_tomography", step_tomography)


@pytest.mark.usefixtures("short_tomograms")
def test_each_tomogram_waits_for_the_intensity_and_says_its_dose(instrument: Any) -> None:
    exposed = Exposed("NiO", 1e9, 400.0, limit_gy=1e12)
    sent = messages(
        tomography(instrument, ENERGIES, None, **STEP, feedback=Feedback(every=1, steady=0.1), exposed=exposed)
    )
    opened = starts(sent)
    assert [run["xanes_series"]["energy_ev"] for run in opened] == ENERGIES
    # Between the move to an energy and the next run: five points for the pitch, then two readings that agree.
    before, looks = 0, []
    for msg in sent:
        if msg.command == "open_run":
            looks.append(before)
            before = 0
        before += msg.command == "trigger" and msg.obj.name == "i0"
    assert looks[0] == 7
    for run, energy_ev in zip(opened, ENERGIES, strict=True):
        told = run["exposed"]
        assert told["dose_gy"] == pytest.approx(4 * told["per_frame_gy"])
        # exposure, a little of the program's, and three turns by 45 deg at 1 deg/s, which is read without an engine
        assert told["per_frame_s"] == pytest.approx((4 * 1.03 + 3 * 45.1) / 4, rel=0.001)
        expected = absorbed_dose_gy("NiO", energy_ev, 1e9, 400.0, told["per_frame_s"])
        assert told["per_frame_gy"] == pytest.approx(expected)


@pytest.mark.usefixtures("short_tomograms")
def test_what_a_series_gave_already_counts(instrument: Any) -> None:
    whole = starts(messages(tomography(instrument, ENERGIES, None, **STEP, exposed=Exposed("NiO", 1e9, 400.0))))
    doses = [run["exposed"]["dose_gy"] for run in whole]
    exposed = Exposed("NiO", 1e9, 400.0, limit_gy=1.01 * sum(doses))
    instrument.spectra = Ledger(sum(doses[:2]))
    rest = tomography(instrument, ENERGIES, None, **STEP, exposed=exposed, only=[2, 3], series="s")
    assert len(starts(messages(rest))) == 2
    instrument.spectra = Ledger(sum(doses[:3]))
    with pytest.raises(PlanInputError, match="Gy from earlier runs of the scan on NiO exceeds the limit"):
        list(tomography(instrument, ENERGIES, None, **STEP, exposed=exposed, only=[2, 3], series="s"))


def test_what_a_scan_gave_already_counts_when_it_is_resumed(instrument: Any) -> None:
    instrument.microscope.sample.theta.motor_is_moving = signal("moving", 0)
    some: dict[str, Any] = {"flats": "none", "num_darks": 0}
    (first,) = starts(messages(imaging(instrument, ENERGIES, None, **some, exposed=Exposed("NiO", 1e9, 400.0))))
    whole_gy = first["estimate"]["dose_gy"]
    first |= {"uid": "u", "exposed": {**first["exposed"], "limit_gy": 1.01 * whole_gy}}
    progress = Progress(first, (2, 3), has_flats=False, has_darks=True)
    # above the edge, nine tenths of the whole are missing
    for part, enough in ((0.1, True), (0.2, False)):
        instrument.spectra = Ledger(part * whole_gy, progress)
        if enough:
            assert len(starts(messages(resume(instrument, "u")))) == 1
            continue
        with pytest.raises(PlanInputError, match="Gy from earlier runs of the scan on NiO exceeds the limit"):
            list(resume(instrument, "u"))
        higher = Exposed("NiO", 1e9, 400.0, limit_gy=2 * whole_gy)
        assert len(starts(messages(resume(instrument, "u", exposed=higher)))) == 1


def test_added_energies_stay_within_the_limit(instrument: Any, caplog: pytest.LogCaptureFixture) -> None:
    spectrum = {8300.0: 1.0, 8320.0: 1.0, 8340.0: 0.2, 8360.0: 0.2}
    at = [0.0]
    camera = instrument.microscope.camera

    def shots(limit_gy: float | None) -> tuple[int, float]:
        """Return how many shots are recorded, and the dose that is told at the end."""
        exposed = Exposed("NiO", 1e9, 400.0, limit_gy=limit_gy)
        adaptive = Adaptive(0.3, 1.0, rounds=2, most_energies=8)
        plan = imaging(instrument, list(spectrum), None, flats="none", num_darks=0, adaptive=adaptive, exposed=exposed)
        shots, dose, answer = 0, 0.0, None
        while True:
            try:
                msg = plan.send(answer)
            except StopIteration:
                return shots, dose
            answer = None
            name = getattr(msg.obj, "name", "")
            if msg.command == "set" and name == "dcm_energy":
                at[0] = 1e3 * msg.args[0]
            if msg.command == "trigger" and msg.obj is camera:
                lit = at[0]
            if msg.command == "read" and name == "camera_latest_frame":
                level = np.interp(lit, list(spectrum), list(spectrum.values()))
                answer = {"camera_latest_frame": {"value": np.full((2, 2), level), "timestamp": 0.0}}
            shots += msg.command == "set" and name == "energy_record_shot"
            if msg.command == "set" and name == "dose_record_dose":
                dose = msg.args[0]

    number, whole_gy = shots(None)
    assert number > 6
    few, dose_gy = shots(0.7 * whole_gy)
    assert 4 <= few < number
    assert dose_gy <= 0.7 * whole_gy
    assert "added energies are left out" in caplog.text


@pytest.mark.usefixtures("short_tomograms")
def test_it_is_said_how_the_focus_follows(instrument: Any, caplog: pytest.LogCaptureFixture) -> None:
    focus = instrument.microscope.zone_plate.focus
    for points, kind in ((0, "nominal"), (1, "constant"), (2, "calibrated")):
        caplog.clear()
        for energy_kev in (8.2, 8.4)[:points]:
            focus.add(FocusPoint(energy_kev, 0.1, zone_plate="zpa"))
        runs = starts(messages(imaging(instrument, ENERGIES, None, flats="none", num_darks=0)))
        runs += starts(messages(dual_energy(instrument, "Ni", below_ev=30.0, above_ev=50.0, num_darks=0)))
        assert [run["focus_tracking"] for run in runs] == [{"points": points, "kind": kind}] * 2
        series = starts(messages(tomography(instrument, ENERGIES, None, **STEP)))
        assert all(run["xanes_series"]["focus_tracking"]["kind"] == kind for run in series)
        warned = [r.message for r in caplog.records if r.levelname == "WARNING"]
        assert len(warned) == (3 if points < 2 else 0)
        assert all("zpa" in text and "run xanes.calibrate_tracking first" in text for text in warned)
