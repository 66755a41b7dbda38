"""Live tomography against spheres whose projections are known in closed form, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from exitwave.analysis.errors import OutOfRangeError
from exitwave.analysis.live.tomography import LiveTomography
from exitwave.analysis.tomography import centre_from_moments

ROWS, WIDTH, NUM = 48, 64, 90
CENTRE = 34.3
MU = 0.02
SPHERES = ((8.0, 3.0, -5.0, 12.0), (-12.0, -6.0, 6.0, 6.0))  # x, row, z, radius in pixels
FLAT, DARK = 900.0, 100.0


def projection(theta_deg: float) -> np.ndarray[Any, Any]:
    """Return -ln T (row, col) of the spheres: chords of spheres."""
    row, col = np.mgrid[:ROWS, :WIDTH].astype(float)
    turn = math.radians(theta_deg)
    total = np.zeros((ROWS, WIDTH))
    for x, y, z, radius in SPHERES:
        u = col - (CENTRE + x * math.cos(turn) + z * math.sin(turn))
        v = row - (0.5 * (ROWS - 1) + y)
        total += MU * 2.0 * np.sqrt(np.maximum(radius**2 - u**2 - v**2, 0.0))
    return total


def run_documents(
    folder: Path, angles: np.ndarray[Any, Any], order: tuple[str, ...] = ("dark", "flat", "primary"), **start: Any
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Write the frames of a run and yield its documents, one frame a datum."""
    about = {"uid": "run", "time": 0.0, "camera": "cam", "num_points": angles.size, "pixel_size_nm": 20.0, **start}
    yield "start", about
    datum = 0
    taken = {
        "dark": [np.full((ROWS, WIDTH), DARK)] * 2,
        "flat": [np.full((ROWS, WIDTH), DARK + FLAT)] * 2,
        "primary": [DARK + FLAT * np.exp(-projection(float(a))) for a in angles],
    }
    for stream in order:
        frames = taken[stream]
        path = folder / f"{about['uid']}-{stream}.h5"
        keys = {"cam": {"shape": [ROWS, WIDTH]}, "cam_theta": {"shape": []}}
        yield "descriptor", {"uid": stream, "name": stream, "data_keys": keys}
        with h5py.File(path, "w") as file:
            file["entry/data/data"] = np.round(np.stack(frames)).astype(np.uint16)
            file["entry/theta"] = angles if stream == "primary" else np.zeros(len(frames))
        for key, dataset in (("cam", "entry/data/data"), ("cam_theta", "entry/theta")):
            yield "stream_resource", {
                "uid": f"{stream}-{key}", "data_key": key, "mimetype": "application/x-hdf5",
                "uri": f"file://localhost{path}", "parameters": {"dataset": dataset},
            }  # fmt: skip
        for index in range(len(frames)):
            for key in keys:
                datum += 1
                yield "stream_datum", {
                    "uid": str(datum), "descriptor": stream, "stream_resource": f"{stream}-{key}",
                    "indices": {"start": index, "stop": index + 1},
                }  # fmt: skip
    yield "stop", {"uid": "stop", "run_start": "run"}


def test_axis_and_slices_grow_with_the_run(tmp_path: Path) -> None:
    angles = np.arange(NUM) * 180.0 / NUM
    live = LiveTomography()
    halfway = None
    for name, doc in run_documents(tmp_path, angles):
        live(name, doc)
        if live.projections == NUM // 2 and halfway is None:
            halfway = live.slices()
    assert halfway is not None
    assert halfway.projections == NUM // 2
    assert halfway.axis.source == "centre of mass"
    assert abs(halfway.axis.centre - CENTRE) < 0.1
    slices = live.slices()
    assert slices is not None
    assert live.finished
    assert abs(slices.axis.centre - CENTRE) < 0.02
    assert slices.projections == slices.expected == NUM
    # the larger sphere in all three planes, the smaller one in none of its middle
    middle = 0.5 * (WIDTH - 1)
    z, x = round(middle - 5.0), round(middle + 8.0)
    assert slices.axial[z - 2 : z + 3, x - 2 : x + 3].mean() == pytest.approx(MU, rel=0.05)
    row = round(0.5 * (ROWS - 1) + 3.0)
    assert slices.coronal[row - 2 : row + 3, x - 2 : x + 3].mean() == pytest.approx(MU, rel=0.05)
    assert slices.sagittal[row - 2 : row + 3, z - 2 : z + 3].mean() == pytest.approx(MU, rel=0.05)
    assert abs(slices.axial[6:12, 6:12].mean()) < 0.1 * MU


def test_preview_agrees_with_the_live_slice(tmp_path: Path) -> None:
    angles = np.arange(NUM) * 180.0 / NUM
    live = LiveTomography()
    for name, doc in run_documents(tmp_path, angles):
        live(name, doc)
    slices, preview = live.slices(), live.preview()
    assert slices is not None
    assert preview is not None
    volume, geometry = preview
    assert volume.shape == (ROWS, WIDTH, WIDTH)
    assert abs(geometry.centre - CENTRE) < 0.02
    inside = (slice(16, 48), slice(16, 48))
    difference = volume[ROWS // 2][inside] - slices.axial[inside]
    assert float(np.sqrt(np.mean(difference**2))) < 0.1 * MU


ANGLES = np.arange(NUM) * 180.0 / NUM
TOLERANCE: dict[str, Any] = {"tomography": {"tolerance_deg": 0.9}}


def volume_of(live: LiveTomography) -> np.ndarray[Any, Any]:
    preview = live.preview()
    assert preview is not None
    return preview[0]


def test_a_resumed_run_goes_on_with_what_is_there(tmp_path: Path) -> None:
    whole, live = LiveTomography(), LiveTomography()
    for name, doc in run_documents(tmp_path, ANGLES, uid="whole"):
        whole(name, doc)
    for name, doc in run_documents(tmp_path, ANGLES[:60], uid="first", num_points=NUM, **TOLERANCE):
        live(name, doc)
    # two of them are taken twice
    rest: dict[str, Any] = {"uid": "second", "resumes": "first", **TOLERANCE}
    for name, doc in run_documents(tmp_path, ANGLES[58:], ("flat", "primary"), **rest):
        if name == "start":
            assert live.needs(doc) is None
        live(name, doc)
    assert (live.projections, live.expected) == (NUM, NUM)
    np.testing.assert_allclose(volume_of(live), volume_of(whole), atol=1e-3 * MU)
    assert LiveTomography().needs(rest) == "first"


def test_a_run_takes_the_references_that_it_names(tmp_path: Path) -> None:
    whole, live = LiveTomography(), LiveTomography()
    for name, doc in run_documents(tmp_path, ANGLES, uid="whole"):
        whole(name, doc)
    for name, doc in run_documents(tmp_path, ANGLES[::6], uid="first"):
        live(name, doc)
    for uid in ("second", "third"):
        start = {"uid": uid, "references_from": "first"}
        assert live.needs(start) is None
        for name, doc in run_documents(tmp_path, ANGLES, ("primary",), **start):
            live(name, doc)
        np.testing.assert_allclose(volume_of(live), volume_of(whole), atol=1e-3 * MU)
    assert live.needs({"uid": "fourth", "references_from": "another"}) == "another"


def test_projections_wait_for_flats_that_come_after_them(tmp_path: Path) -> None:
    whole, live = LiveTomography(), LiveTomography()
    for name, doc in run_documents(tmp_path, ANGLES, uid="whole"):
        whole(name, doc)
    for name, doc in run_documents(tmp_path, ANGLES, ("dark", "primary", "flat"), uid="after"):
        if doc.get("name") == "flat":
            assert live.slices() is None, "nothing is made of counts alone"
            assert (live.waiting, live.projections) == (NUM, 0)
        live(name, doc)
    np.testing.assert_allclose(volume_of(live), volume_of(whole), atol=2e-3 * MU)
    assert live.waiting == 0


def test_without_any_flats_nothing_is_made_up(tmp_path: Path) -> None:
    live = LiveTomography()
    for name, doc in run_documents(tmp_path, ANGLES[:12], ("primary",)):
        live(name, doc)
    assert live.slices() is None
    assert live.preview() is None
    assert live.waiting == 12


def test_wide_frames_are_binned(tmp_path: Path) -> None:
    angles = np.arange(NUM) * 180.0 / NUM
    live = LiveTomography(max_width=32)
    for name, doc in run_documents(tmp_path, angles):
        live(name, doc)
    slices = live.slices()
    assert slices is not None
    assert slices.axial.shape == (32, 32)
    assert slices.voxel_nm == 40.0
    assert abs(slices.axis.centre - ((CENTRE + 0.5) / 2 - 0.5)) < 0.02


def test_the_axis_of_an_alignment_is_used_until_the_data_tell(tmp_path: Path) -> None:
    live = LiveTomography()
    documents = run_documents(tmp_path, np.arange(NUM) * 180.0 / NUM, rotation_axis={"centre_px": 33.0})
    for name, doc in documents:
        live(name, doc)
        if live.projections == 3:
            break
    axis = live.axis()
    assert axis.source == "alignment"
    assert axis.centre == 33.0


def test_planes_about_a_new_axis_are_made_some_projections_at_a_time(tmp_path: Path) -> None:
    """With no time at all each call adds one projection to each; the end is that of one call."""
    start: dict[str, Any] = {"rotation_axis": {"centre_px": CENTRE - 3.0}}
    angles = np.arange(NUM) * 180.0 / NUM
    for name in ("hurried", "at once"):
        (tmp_path / name).mkdir()
    hurried, at_once = LiveTomography(), LiveTomography()
    calls = 0
    for name, doc in run_documents(tmp_path / "hurried", angles, **start):
        hurried(name, doc)
        if hurried.projections > calls:
            calls = hurried.projections
            slices = hurried.slices(0.0)
            assert slices is not None
            assert slices.projections == calls, "what was shown has fallen back"
    for name, doc in run_documents(tmp_path / "at once", angles, **start):
        at_once(name, doc)
    for _ in range(NUM):
        slices = hurried.slices(0.0)
    expected = at_once.slices()
    assert slices is not None
    assert expected is not None
    assert abs(slices.axis.centre - CENTRE) < 0.02
    z, x = round(0.5 * (WIDTH - 1) - 5.0), round(0.5 * (WIDTH - 1) + 8.0)
    for found in (slices, expected):
        assert found.axial[z - 2 : z + 3, x - 2 : x + 3].mean() == pytest.approx(MU, rel=0.05)
    # about the axis as it was known then, which is that of the end to less than half a pixel
    assert float(np.sqrt(np.mean((slices.axial - expected.axial)[16:48, 16:48] ** 2))) < 0.1 * MU


def test_a_short_arc_tells_nothing() -> None:
    with pytest.raises(OutOfRangeError, match="50 over 20 deg"):
        centre_from_moments(np.linspace(0.0, 20.0, 50), np.full(50, 30.0))


def test_uncertainty_of_the_axis_is_calibrated() -> None:
    random = np.random.default_rng(3)
    angles = np.linspace(0.0, 180.0, 60)
    truth = CENTRE + 9.0 * np.cos(np.radians(angles)) - 4.0 * np.sin(np.radians(angles))
    pulls = []
    for _ in range(300):
        found = centre_from_moments(angles, truth + random.normal(0.0, 0.3, angles.size))
        pulls.append((found.centre - CENTRE) / found.centre_sd)
    assert abs(float(np.mean(pulls))) < 0.2
    assert 0.85 < float(np.std(pulls)) < 1.15
