"""Live scans of energies against a disc whose optical depth is known in closed form, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from exitwave.analysis.figures import EdgePanel, xanes_figure
from exitwave.analysis.live.xanes import LiveXanes

ROWS, WIDTH = 48, 64
EDGE_EV, STEP = 8340.0, 0.8
ENERGIES = np.concatenate(
    [np.arange(8250.0, 8320.0, 15.0), np.arange(8325.0, 8360.0, 1.0), np.arange(8365, 8550, 30.0)]
)
FLAT, DARK = 20000.0, 100.0
RECORD = "rec"


def depth(energy_ev: float, pixel_nm: float) -> np.ndarray[Any, Any]:
    """Return the optical depth of a disc of 480 nm radius, its right half's edge 2 eV higher."""
    row, col = np.mgrid[:ROWS, :WIDTH].astype(float)
    x, y = (col - 0.5 * (WIDTH - 1)) * pixel_nm, (row - 0.5 * (ROWS - 1)) * pixel_nm
    edge = np.where(x > 0, EDGE_EV + 2.0, EDGE_EV)
    rise = 0.5 + np.arctan((energy_ev - edge) / 1.5) / math.pi
    return np.where(np.hypot(x, y) < 480.0, 0.4 + STEP * rise, 0.0)


def run_documents(
    folder: Path,
    *,
    place: int = 0,
    flats: str = "each",
    chosen: Sequence[int] = range(len(ENERGIES)),
    uid: str = "run",
    beam: float = 1.0,
    **start: Any,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Write a scan and yield its documents: two frames and two flats at each energy; the beam decays.

    Parameters
    ----------
    flats : {"each", "pass", "none"}
    chosen : sequence of int
        Which of the energies the run takes.
    beam : float
        Of the flats and the ion chamber.
    """
    chosen = list(chosen)
    folder.mkdir(exist_ok=True)
    pixels_nm = 20.0 * (1.0 + 1e-4 * (ENERGIES - ENERGIES[0]))
    currents = beam * 1e-8 * np.linspace(1.0, 0.9, len(ENERGIES))
    scan = {"energies_ev": ENERGIES.tolist(), "edges_ev": [EDGE_EV - 5.0], "flats": flats, "num_flats": 2}
    yield "start", {
        "uid": uid, "time": 0.0, "camera": "cam", "xanes": scan, "energy_record": RECORD, "plan_name": "xanes_imaging",
        **start,
    }  # fmt: skip
    seen = {k: np.exp(-depth(ENERGIES[k], pixels_nm[k])) for k in chosen}
    light = FLAT * currents / 1e-8
    # of a second pass the beam is a tenth lower
    later = 0.9 if flats == "pass" else 1.0
    datum = 0
    for stream, frames in (
        ("dark", [np.full((ROWS, WIDTH), DARK)] * 2),
        ("flat", [np.full((ROWS, WIDTH), DARK + later * light[k]) for k in chosen for _ in range(2)]),
        ("primary", [DARK + light[k] * seen[k] for k in chosen for _ in range(2)]),
    ):
        path = folder / f"{stream}.h5"
        yield "descriptor", {"uid": f"{uid}-{stream}", "name": stream, "data_keys": {"cam": {"shape": [ROWS, WIDTH]}}}
        with h5py.File(path, "w") as file:
            file["entry/data/data"] = np.round(np.stack(frames)).astype(np.uint16)
    yield "descriptor", {"uid": f"{uid}-energy", "name": "energy", "data_keys": {}}

    def arrived(stream: str, start: int) -> Iterator[tuple[str, dict[str, Any]]]:
        nonlocal datum
        datum += 1
        if not start:  # a file is told before the first of its frames
            yield "stream_resource", {
                "uid": f"{uid}-{stream}-cam", "data_key": "cam", "mimetype": "application/x-hdf5",
                "uri": f"file://localhost{folder / f'{stream}.h5'}", "parameters": {"dataset": "entry/data/data"},
            }  # fmt: skip
        indices = {"start": start, "stop": start + 2}
        yield "stream_datum", {
            "uid": str(datum), "descriptor": f"{uid}-{stream}", "stream_resource": f"{uid}-{stream}-cam",
            "indices": indices,
        }  # fmt: skip

    def told(
        row: int, k: int, *, frames: int = 2, num_flats: int = 2, later: float = 1.0
    ) -> tuple[str, dict[str, Any]]:
        values = {
            "shot": k if frames else -1, "setpoint": 1e-3 * ENERGIES[k], "pixel": pixels_nm[k],
            "i0": later * currents[k], "place": place, "repeat_number": 0, "first_frame": 2 * row, "num_frames": frames,
            "first_flat": 2 * row, "num_flats": num_flats,
        }  # fmt: skip
        return "event", {
            "descriptor": f"{uid}-energy", "data": {f"{RECORD}_{key}": value for key, value in values.items()}
        }  # fmt: skip

    yield from arrived("dark", 0)
    for row, k in enumerate(chosen):
        event = told(row, k, num_flats=2 if flats == "each" else 0)
        if flats == "each":
            yield from arrived("flat", 2 * row)
        if row % 2:  # events may come before the last frames of what they tell
            yield event
        yield from arrived("primary", 2 * row)
        if not row % 2:
            yield event
    if flats == "pass":
        for row, k in enumerate(chosen):
            yield from arrived("flat", 2 * row)
            yield told(row, k, frames=0, later=later)
    yield "stop", {"uid": "stop", "run_start": uid}


def test_spectrum_and_map_grow_with_the_run(tmp_path: Path) -> None:
    live = LiveXanes()
    before_edge = None
    for name, doc in run_documents(tmp_path):
        live(name, doc)
        if live.energies == 4 and before_edge is None:
            before_edge = live.map()
    assert before_edge is not None
    assert before_edge.edge_ev is None
    np.testing.assert_allclose(
        before_edge.spectrum, 0.4 + STEP * (0.5 + np.arctan(-15.0 / 1.5 * 3) / math.pi), atol=0.03
    )
    assert live.energies == live.expected == len(ENERGIES)
    found = live.map()
    assert found is not None
    assert found.edge_ev is not None
    assert found.normalised is not None
    assert found.pixel_nm == pytest.approx(20.0)
    left, right = found.edge_ev[20:28, 16:30], found.edge_ev[20:28, 34:48]
    # The tails of the arc tangent run into both ranges of the normalisation: a tenth of an eV, the same for both.
    assert float(np.nanmedian(right) - np.nanmedian(left)) == pytest.approx(2.0, abs=0.05)
    assert float(np.nanmedian(left)) == pytest.approx(EDGE_EV, abs=0.25)
    # Frames at other energies are smaller; on common pixels the outline is the same at all of them.
    assert found.region.sum() == pytest.approx(math.pi * (480.0 / 20.0) ** 2, rel=0.02)


def test_frames_are_binned_and_other_places_left_out(tmp_path: Path) -> None:
    live = LiveXanes(max_width=32)
    for name, doc in run_documents(tmp_path):
        live(name, doc)
    found = live.map()
    assert found is not None
    assert found.depth.shape == (ROWS // 2, WIDTH // 2)
    assert found.pixel_nm == pytest.approx(40.0)
    other = LiveXanes()
    for name, doc in run_documents(tmp_path, place=1):
        other(name, doc)
    assert other.map() is None


def whole(folder: Path) -> Any:
    live = LiveXanes()
    for name, doc in run_documents(folder):
        live(name, doc)
    return live.map()


def test_a_second_pass_of_flats_settles_what_waited(tmp_path: Path) -> None:
    live, n, most, words = LiveXanes(), len(ENERGIES), 0, set()
    for name, doc in run_documents(tmp_path / "pass", flats="pass"):
        live(name, doc)
        most = max(most, live.waiting)
        words.add(live.note)
        if live.waiting == n:
            assert live.energies == 0
            assert live.light() is not None
    assert most == n
    assert f"{n} energies wait for the flats of the second pass" in words
    assert (live.energies, live.waiting, live.note) == (n, 0, None)
    # with each energy's own flats and the beam they had, all is as with flats beside each
    found, known = live.map(), whole(tmp_path / "each")
    assert found is not None
    assert found.edge_ev is not None
    assert known.edge_ev is not None
    np.testing.assert_allclose(found.spectrum, known.spectrum, atol=2e-3)
    assert float(np.nanmedian(found.edge_ev)) == pytest.approx(float(np.nanmedian(known.edge_ev)), abs=0.02)


def test_without_flats_it_is_said_why_there_is_no_map(tmp_path: Path) -> None:
    live = LiveXanes()
    for name, doc in run_documents(tmp_path, flats="none"):
        live(name, doc)
    assert live.map() is None
    assert live.note == "no map: the scan takes no flats"
    shown = live.light()
    assert shown is not None
    assert shown[0] == pytest.approx(ENERGIES[-1])
    assert float(shown[1][0, 0]) == pytest.approx(0.9 * FLAT, abs=1.0)


def test_a_run_that_goes_on_completes_the_map(tmp_path: Path) -> None:
    n = len(ENERGIES)
    live = LiveXanes()
    assert live.needs({"resumes": "run"}) == "run"
    for name, doc in run_documents(tmp_path / "first", chosen=range(20)):
        live(name, doc)
    assert live.needs({"resumes": "run"}) is None
    assert live.energies == 20
    # by another beam, with rows that begin anew
    rest = run_documents(
        tmp_path / "rest", chosen=range(20, n), uid="rest", resumes="run", plan_name="xanes_resume", beam=0.5
    )
    for name, doc in rest:
        live(name, doc)
    assert (live.energies, live.expected) == (n, n)
    found, known = live.map(), whole(tmp_path / "whole")
    assert found is not None
    np.testing.assert_allclose(found.spectrum, known.spectrum, atol=2e-3)
    for name, doc in run_documents(tmp_path / "new", chosen=range(3), uid="new"):
        live(name, doc)
    assert live.energies == 3


def test_the_figure_holds_a_row_for_each_sample(tmp_path: Path) -> None:
    edge = np.where(depth(8500.0, 20.0) > 0, EDGE_EV, np.nan) + np.linspace(0.0, 2.0, WIDTH)
    spectra = {"core": (ENERGIES, np.linspace(0.0, 1.0, len(ENERGIES)))}
    panels = [EdgePanel("one", edge, np.full(edge.shape, 0.1), spectra), EdgePanel("two", edge)]
    path = xanes_figure(panels, tmp_path / "map.png", pixel_nm=20.0, standards=spectra, title="two samples")
    assert path.read_bytes()[:4] == b"\x89PNG"
    # a bound has a column of its own
    bounded = [EdgePanel("one", edge, np.full(edge.shape, 0.1), spectra, np.full(edge.shape, 0.09)), panels[1]]
    wider = xanes_figure(bounded, tmp_path / "bound.png", pixel_nm=20.0, standards=spectra)
    width, wide = (int.from_bytes(p.read_bytes()[16:20], "big") for p in (path, wider))
    assert wide > 1.15 * width
    with pytest.raises(ValueError, match="finite"):
        xanes_figure([EdgePanel("none", np.full((8, 8), np.nan))], tmp_path / "no.png", pixel_nm=20.0)
    with pytest.raises(ValueError, match="none given"):
        xanes_figure([], tmp_path / "no.png", pixel_nm=20.0)
