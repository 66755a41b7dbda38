"""The live view of scans of energies: what it follows, and what its figures and pictures say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exitwave.analysis.live.xanes import LiveMap
from exitwave.profiles.live.xanes import XanesView

UID = "0123456789"


class Router:
    """What the view draws, without documents."""

    expected = 30

    def __init__(self) -> None:
        self.energies, self.waiting, self.note = 0, 0, None
        self.found: LiveMap | None = None
        self.counts: tuple[float, Any, float] | None = None

    def __call__(self, name: str, doc: Any) -> None: ...

    def map(self) -> LiveMap | None:
        return self.found

    def light(self) -> tuple[float, Any, float] | None:
        return self.counts

    def needs(self, start: Any) -> str | None:
        return start.get("resumes")


@pytest.fixture
def view(monkeypatch: pytest.MonkeyPatch) -> tuple[XanesView, Any]:
    """Return a view and its router."""
    made, router = XanesView(), Router()
    monkeypatch.setattr(made, "_router", router)
    made.take("start", {"time": 0.0})
    return made, router


def found(edge: bool) -> LiveMap:
    energies = np.linspace(8300.0, 8400.0, 12)
    region = np.zeros((24, 32), np.bool_)
    region[8:16, 8:24] = True
    return LiveMap(
        energies,
        region.astype(np.float32),
        region,
        np.linspace(0.2, 1.0, 12),
        np.linspace(0.0, 1.0, 12) if edge else None,
        np.where(region, 8340.0 + np.arange(32) * 0.01, np.nan) if edge else None,
        40.0,
    )


def test_scans_of_energies_are_followed_and_tomograms_are_not() -> None:
    view, scan = XanesView(), {"energies_ev": [8300.0]}
    for plan in ("xanes_imaging", "xanes_dual_energy", "xanes_resume", "xanes_tomography"):
        assert view.accepts({"plan_name": plan, "xanes": scan})
    assert not view.accepts({"plan_name": "calibrate_tracking", "xanes": scan})
    assert not view.accepts({"plan_name": "step_tomography", "xanes_series": {}})
    assert view.needs({"plan_name": "xanes_resume", "resumes": "first", "xanes": scan}) == "first"
    assert view.needs({"plan_name": "xanes_imaging", "xanes": scan}) is None


def test_a_picture_is_drawn_when_energies_came(view: tuple[XanesView, Any], tmp_path: Path) -> None:
    made, router = view
    assert made.show(tmp_path, UID) is None
    router.energies, router.found = 5, found(edge=False)
    before = made.show(tmp_path, UID)
    assert before is not None
    assert (before["energies"], before["expected"], before["first_map_s"]) == (5, 30, None)
    assert "edge_median_ev" not in before
    picture = tmp_path / f"{UID[:8]}-live.png"
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert made.show(tmp_path, UID) is None, "nothing came since"
    router.energies, router.found = 12, found(edge=True)
    after = made.show(tmp_path, UID)
    assert after is not None
    assert after["edge_median_ev"] == pytest.approx(8340.155, abs=0.01)
    assert after["first_map_s"] > 0
    assert made.finish(tmp_path, UID)["energies"] == 12


def test_what_keeps_the_map_away_is_told(view: tuple[XanesView, Any], tmp_path: Path) -> None:
    made, router = view
    router.note, router.counts = "no map: the scan takes no flats", (8333.0, np.ones((24, 32), np.float32), 40.0)
    told = made.show(tmp_path, UID)
    assert told is not None
    assert told["note"] == "no map: the scan takes no flats"
    assert "\n" not in told["note"]
    assert (tmp_path / f"{UID[:8]}-live.png").exists()
    assert made.finish(tmp_path, UID)["note"] == told["note"]
    # flats of a second pass are waited for: said while it lasts, and no more afterwards
    router.note, router.waiting = "3 energies wait for the flats of the second pass", 3
    waiting = made.show(tmp_path, UID)
    assert waiting is not None
    assert waiting["waiting_for_flats"] == 3
    router.note, router.waiting, router.energies, router.found = None, 0, 12, found(edge=True)
    assert made.finish(tmp_path, UID)["note"] is None
