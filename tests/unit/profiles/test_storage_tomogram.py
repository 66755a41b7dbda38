"""One tomogram out of several runs, from the journal and files alone."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from event_model import compose_run, compose_stream_resource
from typer.testing import CliRunner

from exitwave.analysis.io import open_series
from exitwave.cli import app
from exitwave.profiles.storage import (
    DataFolder,
    NoTomogramError,
    TomogramExporter,
    TomogramFinder,
    data_folder,
    export_tomogram,
    open_tomogram,
)
from exitwave.profiles.storage.exporter import ExportFormatError
from exitwave.profiles.storage.journal import Journal

SHAPE = (4, 6)
EPOCH_S = 631152000.0
BASE = "/entry/instrument/NDAttributes"
NAMES = {"theta": "SAM_Theta", "timestamp": "NDArrayTimeStamp", "ring_current": "SR_Current"}


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return data_folder(tmp_path).prepare(needed_mib=1)


def frame(angle: float) -> np.ndarray[Any, Any]:
    """Return a frame that knows its angle."""
    return np.full(SHAPE, round(10 * angle), np.uint16)


def record(
    data: DataFolder,
    bursts: Sequence[tuple[str, Sequence[float], Sequence[float]]],
    *,
    time_s: float,
    stop: bool = True,
    **start: Any,
) -> str:
    """Journal a run with files of frames: stream, angles, ring currents of each burst."""
    journal = Journal(data.journal)
    keys = {"intensity": "i0_current", "ring": "ring_current"}
    run = compose_run(uid=str(uuid.uuid4()), time=time_s, metadata={"camera": "cam", "beam_monitor": keys, **start})
    journal("start", run.start_doc)
    beam = run.compose_descriptor(
        name="beam",
        data_keys={key: {"source": "s", "dtype": "number", "shape": []} for key in ("i0_current", "ring_current")},
    )
    journal("descriptor", beam.descriptor_doc)
    for k, current in enumerate((1e-9, 2e-9)):
        values = {"i0_current": current, "ring_current": 200.0}
        event = beam.compose_event(data=values, timestamps=dict.fromkeys(values, time_s))
        journal("event", {**event, "time": time_s + 100.0 * k})
    described: dict[str, Any] = {}
    counted: dict[str, int] = {}
    for stream, angles, currents in bursts:
        path = data.frames / f"{uuid.uuid4()}.h5"
        with h5py.File(path, "w", libver="latest") as file:
            file["/entry/data/data"] = np.stack([frame(angle) for angle in angles])
            file[f"{BASE}/SAM_Theta"] = np.asarray(angles, np.float64)
            file[f"{BASE}/NDArrayTimeStamp"] = time_s - EPOCH_S + np.arange(len(angles), dtype=np.float64)
            file[f"{BASE}/SR_Current"] = np.asarray(currents, np.float64)
        if stream not in described:
            spec: dict[str, Any] = {"cam": {"source": "s", "dtype": "array", "shape": [*SHAPE], "external": "STREAM:"}}
            spec |= {
                f"cam_{name}": {"source": "s", "dtype": "number", "shape": [], "external": "STREAM:"} for name in NAMES
            }
            described[stream] = run.compose_descriptor(name=stream, data_keys=spec).descriptor_doc
            journal("descriptor", described[stream])
        first = counted.get(stream, 0)
        for key, dataset in [("cam", "/entry/data/data"), *((f"cam_{n}", f"{BASE}/{a}") for n, a in NAMES.items())]:
            resource = compose_stream_resource(
                mimetype="application/x-hdf5",
                uri=f"file://localhost{path}",
                data_key=key,
                parameters={"dataset": dataset, "chunk_shape": (1,)},
            )
            journal("stream_resource", {**resource.stream_resource_doc, "run_start": run.start_doc["uid"]})
            datum = resource.compose_stream_datum(
                indices={"start": 0, "stop": len(angles)},
                seq_nums={"start": first + 1, "stop": first + len(angles) + 1},
                descriptor=described[stream],
            )
            journal("stream_datum", datum)
        counted[stream] = first + len(angles)
    if stop:
        journal("stop", run.compose_stop())
    journal.close()
    return str(run.start_doc["uid"])


ASKED = [0.0, 90.0, 45.0, 135.0]
WORK = {"mode": "step", "angles_deg": ASKED, "tolerance_deg": 20.0, "exposure_s": 1.0}


def test_runs_that_resume_are_one_tomogram_without_doubles(data: DataFolder) -> None:
    first = record(
        data,
        [("dark", [0.0], [200]), ("flat", [0.0, 0.0], [200, 200]), ("primary", [0.01, 90.01, 90.02], [200, 200, 200])],
        time_s=1.7e9,
        stop=False,
        tomography=WORK,
        pixel_size_nm=30.0,
        energy_kev=8.6,
        sample="particle",
    )
    second = record(
        data,
        [("primary", [45.01, 90.03, 135.0, 160.0], [200, 200, 3, 200])],
        time_s=1.7e9 + 50,
        tomography={**WORK, "angles_deg": [45.0, 135.0]},
        resumes=first,
    )
    for key in (first, second):
        with open_tomogram(key, data=data) as tomogram:
            assert tomogram.uid == first
            np.testing.assert_array_equal(tomogram.index, [0, 1, 2])
            np.testing.assert_allclose(tomogram.angles_deg, [0.01, 90.01, 45.01])
            assert tomogram.missing == (3,)
            assert not tomogram.complete
            assert tomogram.frames is not None
            assert [int(one[0, 0]) for one in tomogram.frames] == [0, 900, 450]
            assert [(one.run, one.row) for one in tomogram.excluded] == [
                (first, 2),
                (second, 1),
                (second, 2),
                (second, 3),
            ]
            reasons = [one.reason for one in tomogram.excluded]
            assert reasons[:2] == ["angle taken before"] * 2
            assert "ring current 3 mA" in reasons[2]
            assert reasons[3] == "angle not asked for"
            assert (tomogram.pixel_nm, tomogram.energy_kev, tomogram.centre_px) == (30.0, 8.6, None)
            assert tomogram.flats is not None
            assert tomogram.darks is not None
            assert (len(tomogram.flats), len(tomogram.darks)) == (2, 1)
    progress = TomogramFinder(data).progress(second)
    assert progress.missing == (3,)
    assert progress.start["uid"] == first
    assert progress.has_flats
    assert progress.has_darks


def test_intensity_follows_the_ion_chamber_and_between_its_readings_the_ring(data: DataFolder) -> None:
    # Read at the run's begin and 100 s later: 1 and 2 nA at 200 mA. Frames come a second apart.
    uid = record(data, [("primary", [0.0, 90.0, 45.0], [200, 100, 200])], time_s=1.7e9, tomography=WORK)
    with open_tomogram(uid, data=data) as tomogram:
        np.testing.assert_allclose(tomogram.beam_intensity, [1e-9, 1.01e-9, 1.02e-9] * np.array([1, 0.5, 1]), rtol=1e-9)


def test_references_of_another_run(data: DataFolder) -> None:
    first = record(
        data, [("flat", [0.0], [200]), ("dark", [0.0], [200]), ("primary", [0.0], [200])], time_s=1.7e9, tomography=WORK
    )
    later = record(data, [("primary", [0.0], [200])], time_s=1.7e9 + 9, tomography=WORK, references_from=first)
    with open_tomogram(later, data=data) as tomogram:
        assert tomogram.flats is not None
        assert tomogram.darks is not None
        assert len(tomogram.runs) == 1


def test_a_tomogram_goes_to_other_programs_and_back(data: DataFolder, tmp_path: Path) -> None:
    uid = record(
        data,
        [("flat", [0.0], [200]), ("dark", [0.0], [200]), ("primary", [0.0, 90.0, 45.0, 135.0], [200] * 4)],
        time_s=1.7e9,
        tomography=WORK,
        energy_kev=8.6,
        sample="particle",
    )
    for name in ("a.nxs", "a.h5"):
        with open_series(export_tomogram(uid, tmp_path / name, data=data)) as series:
            np.testing.assert_array_equal(series.angles_deg, [0.0, 90.0, 45.0, 135.0])
            assert [int(one[0, 0]) for one in series.frames] == [0, 900, 450, 1350]
            assert series.title == "particle"
        with pytest.raises(ExportFormatError, match="exists"):
            export_tomogram(uid, tmp_path / name, data=data)
    with pytest.raises(ExportFormatError, match="no known format"):
        export_tomogram(uid, tmp_path / "a.tif", data=data)


def test_the_exporter_writes_what_was_asked_for_when_the_run_ends_well(data: DataFolder, tmp_path: Path) -> None:
    path = tmp_path / "out.nxs"
    uid = record(data, [("primary", ASKED, [200] * 4)], time_s=1.7e9, tomography=WORK, output=str(path))
    exporter = TomogramExporter(data)
    start = {"uid": uid, "output": str(path), "tomography": WORK}
    exporter("start", start)
    exporter("stop", {"run_start": uid, "exit_status": "fail"})
    exporter.close()
    assert not path.exists()
    exporter("start", start)
    exporter("stop", {"run_start": uid, "exit_status": "success"})
    exporter.close()
    assert path.exists()


def test_another_run_is_refused(data: DataFolder) -> None:
    uid = record(data, [("primary", [0.0], [200])], time_s=1.7e9, plan_name="radiograph")
    with pytest.raises(NoTomogramError, match="a radiograph is no tomogram"):
        open_tomogram(uid, data=data)


def test_a_tomogram_is_exported_by_the_command_line(
    data: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXITWAVE_DATA", str(data.root))
    monkeypatch.chdir(tmp_path)
    bursts = [("dark", [0.0], [200]), ("flat", [0.0], [200]), ("primary", ASKED, [200] * 4)]
    uid = record(data, bursts, time_s=1.7e9, tomography=WORK, pixel_size_nm=30.0, energy_kev=8.6)
    for file_format, ending in (("nxtomo", ".nxs"), ("dx", ".h5")):
        result = CliRunner().invoke(app, ["export", "-1", "--format", file_format])
        assert result.exit_code == 0, result.output
        path = tmp_path / f"tomogram-{uid[:8]}{ending}"
        assert path.name in result.output
        with open_series(path) as series:
            assert [int(frame[0, 0]) for frame in series.frames] == [0, 900, 450, 1350]
    for arguments, said in (
        (["--format", "tiff"], "must be one of nxtomo, dx"),
        (["--format", "dx", "--out", "x.nxs"], "ends in .h5"),
        ([], "exists"),
    ):
        result = CliRunner().invoke(app, ["export", uid, *arguments])
        assert isinstance(result.exception, ExportFormatError)
        assert said in str(result.exception)


HELIX = {**WORK, "pitch_um_per_turn": 3.6}


def test_the_rise_of_a_helix_is_that_of_its_readbacks(data: DataFolder) -> None:
    uid = record(
        data,
        [("flat", [0.0], [200]), ("primary", ASKED, [200] * 4)],
        time_s=1.7e9,
        tomography=HELIX,
        pixel_size_nm=30.0,
    )
    with open_tomogram(uid, data=data) as tomogram:
        assert np.isnan(tomogram.heights_um).all()
        np.testing.assert_allclose(np.asarray(tomogram.rises_px), np.array(ASKED) / 360.0 * 3600.0 / 30.0)
        tomogram.heights_um = 5.0 + np.array(ASKED) / 100.0 + [0.0, 0.0, 0.0, 0.06]
        expected = (np.array(ASKED) / 100.0 + [0.0, 0.0, 0.0, 0.06]) / 0.03
        np.testing.assert_allclose(np.asarray(tomogram.rises_px), expected, atol=1e-9)
    plain = record(data, [("primary", ASKED, [200] * 4)], time_s=1.7e9 + 5, tomography=WORK)
    with open_tomogram(plain, data=data) as tomogram:
        assert tomogram.rises_px is None
