"""Live scans of energies against a disc whose optical depth is known in closed form, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
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


def run_documents(folder: Path, *, place: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    """Write a scan and yield its documents: two frames and two flats at each energy; the beam decays."""
    pixels_nm = 20.0 * (1.0 + 1e-4 * (ENERGIES - ENERGIES[0]))
    currents = 1e-8 * np.linspace(1.0, 0.9, len(ENERGIES))
    scan = {"energies_ev": ENERGIES.tolist(), "edges_ev": [EDGE_EV - 5.0]}
    yield "start", {"uid": "run", "time": 0.0, "camera": "cam", "xanes": scan, "energy_record": RECORD}
    seen = [np.exp(-depth(e, p)) for e, p in zip(ENERGIES, pixels_nm, strict=True)]
    light = FLAT * currents / currents[0]
    datum = 0
    for stream, frames in (
        ("dark", [np.full((ROWS, WIDTH), DARK)] * 2),
        ("flat", [np.full((ROWS, WIDTH), DARK + i) for i in light for _ in range(2)]),
        ("primary", [DARK + i * t for i, t in zip(light, seen, strict=True) for _ in range(2)]),
    ):
        path = folder / f"{stream}.h5"
        yield "descriptor", {"uid": stream, "name": stream, "data_keys": {"cam": {"shape": [ROWS, WIDTH]}}}
        with h5py.File(path, "w") as file:
            file["entry/data/data"] = np.round(np.stack(frames)).astype(np.uint16)
    yield "descriptor", {"uid": "energy", "name": "energy", "data_keys": {}}

    def arrived(stream: str, start: int) -> Iterator[tuple[str, dict[str, Any]]]:
        nonlocal datum
        datum += 1
        if not start:  # a file is told before the first of its frames
            yield "stream_resource", {
                "uid": f"{stream}-cam", "data_key": "cam", "mimetype": "application/x-hdf5",
                "uri": f"file://localhost{folder / f'{stream}.h5'}", "parameters": {"dataset": "entry/data/data"},
            }  # fmt: skip
        indices = {"start": start, "stop": start + 2}
        yield "stream_datum", {
            "uid": str(datum), "descriptor": stream, "stream_resource": f"{stream}-cam", "indices": indices
        }  # fmt: skip

    yield from arrived("dark", 0)
    for k, energy in enumerate(ENERGIES):
        told = {
            "shot": k, "setpoint": 1e-3 * energy, "pixel": pixels_nm[k], "i0": currents[k], "place": place,
            "repeat_number": 0, "first_frame": 2 * k, "num_frames": 2, "first_flat": 2 * k, "num_flats": 2,
        }  # fmt: skip
        event = "event", {"descriptor": "energy", "data": {f"{RECORD}_{key}": value for key, value in told.items()}}
        yield from arrived("flat", 2 * k)
        if k % 2:  # events may come before the last frames of what they tell
            yield event
        yield from arrived("primary", 2 * k)
        if not k % 2:
            yield event
    yield "stop", {"uid": "stop", "run_start": "run"}


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


def test_the_figure_holds_a_row_for_each_sample(tmp_path: Path) -> None:
    edge = np.where(depth(8500.0, 20.0) > 0, EDGE_EV, np.nan) + np.linspace(0.0, 2.0, WIDTH)
    spectra = {"core": (ENERGIES, np.linspace(0.0, 1.0, len(ENERGIES)))}
    panels = [EdgePanel("one", edge, np.full(edge.shape, 0.1), spectra), EdgePanel("two", edge)]
    path = xanes_figure(panels, tmp_path / "map.png", pixel_nm=20.0, standards=spectra, title="two samples")
    assert path.read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="finite"):
        xanes_figure([EdgePanel("none", np.full((8, 8), np.nan))], tmp_path / "no.png", pixel_nm=20.0)
    with pytest.raises(ValueError, match="none given"):
        xanes_figure([], tmp_path / "no.png", pixel_nm=20.0)
