"""One stack of energies out of several runs, from the journal and files alone; and the dose ledger."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from event_model import StreamRange, compose_run, compose_stream_resource

from exitwave.plans.pure.xanes import XanesScan
from exitwave.plans.pure.xanes_estimates import absorbed_dose_gy
from exitwave.plans.xanes._checks import DoseFinder
from exitwave.profiles.storage import (
    DataFolder,
    DoseLedger,
    NoXanesError,
    XanesFinder,
    data_folder,
    open_run,
    open_xanes,
    open_xanes_series,
)
from exitwave.profiles.storage.journal import Journal

SHAPE = (4, 6)
EPOCH_S = 631152000.0
BASE = "/entry/instrument/NDAttributes"
NAMES = {"timestamp": "NDArrayTimeStamp", "ring_current": "SR_Current"}
RECORD = "microscope_energy_record"
WORK = XanesScan((8320.0, 8340.0, 8360.0), (1.0, 1.0, 2.0), num_frames=2, num_flats=1, num_darks=1, flats="each")


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return data_folder(tmp_path).prepare(needed_mib=1)


def record(
    data: DataFolder,
    work: XanesScan,
    shots: list[dict[str, Any]],
    *,
    time_s: float,
    ring: float = 200.0,
    **start: Any,
) -> str:
    """Journal a run: a frame of the sample has 100 + 10 shot, its flat 1000 + shot, a dark its number.

    Shots may say how many ``frames`` and ``flats`` they have, and what ``flat`` shows; number -1 is flats alone.
    """
    journal = Journal(data.journal)
    run = compose_run(
        uid=str(uuid.uuid4()),
        time=time_s,
        metadata={
            "camera": "cam",
            "xanes": work.describe(),
            "energy_record": RECORD,
            "beam_monitor": {"intensity": "i0_current", "ring": "ring_current"},
            **start,
        },
    )
    journal("start", run.start_doc)
    beam = run.compose_descriptor(
        name="beam",
        data_keys={key: {"source": "s", "dtype": "number", "shape": []} for key in ("i0_current", "ring_current")},
    )
    journal("descriptor", beam.descriptor_doc)
    journal("event", beam.compose_event(data={"i0_current": 1e-9, "ring_current": 200.0}, timestamps={
        "i0_current": time_s, "ring_current": time_s}))  # fmt: skip
    values: dict[str, list[int]] = {"dark": list(range(len({s["exposure"] for s in shots}))), "flat": [], "primary": []}
    events = []
    for shot in shots:
        frames, flats = shot.pop("frames", work.num_frames if shot["shot"] >= 0 else 0), shot.pop("flats", 1)
        shown = shot.pop("flat", 1000 + shot["shot"])
        events.append(
            {
                "readback": shot["setpoint"] + 1e-6, "zone_plate_z": 20.0, "pixel": 50.0, "pitch": 1.0, "ring": ring,
                "x": 0.0, "y": 0.0, "theta": 0.0, "repeat_number": 0, "place": 0, **shot,
                "first_frame": len(values["primary"]), "num_frames": frames,
                "first_flat": len(values["flat"]), "num_flats": flats,
            }
        )  # fmt: skip
        values["primary"] += [100 + 10 * shot["shot"]] * frames
        values["flat"] += [shown] * flats
    for stream, pixels in values.items():
        if not pixels:
            continue
        path = data.frames / f"{uuid.uuid4()}.h5"
        with h5py.File(path, "w", libver="latest") as file:
            file["/entry/data/data"] = np.stack([np.full(SHAPE, value, np.uint16) for value in pixels])
            file[f"{BASE}/NDArrayTimeStamp"] = time_s - EPOCH_S + np.arange(len(pixels), dtype=np.float64)
            file[f"{BASE}/SR_Current"] = np.full(len(pixels), ring)
        spec: dict[str, Any] = {"cam": {"source": "s", "dtype": "array", "shape": [*SHAPE], "external": "STREAM:"}}
        spec |= {f"cam_{n}": {"source": "s", "dtype": "number", "shape": [], "external": "STREAM:"} for n in NAMES}
        descriptor = run.compose_descriptor(name=stream, data_keys=spec).descriptor_doc
        journal("descriptor", descriptor)
        for key, dataset in [("cam", "/entry/data/data"), *((f"cam_{n}", f"{BASE}/{a}") for n, a in NAMES.items())]:
            resource = compose_stream_resource(
                mimetype="application/x-hdf5",
                uri=f"file://localhost{path}",
                data_key=key,
                parameters={"dataset": dataset, "chunk_shape": (1,)},
            )
            journal("stream_resource", {**resource.stream_resource_doc, "run_start": run.start_doc["uid"]})
            span: StreamRange = {"start": 0, "stop": len(pixels)}
            numbered: StreamRange = {"start": 1, "stop": len(pixels) + 1}
            journal(
                "stream_datum", resource.compose_stream_datum(indices=span, seq_nums=numbered, descriptor=descriptor)
            )
    told = run.compose_descriptor(
        name="energy",
        data_keys={f"{RECORD}_{key}": {"source": "s", "dtype": "number", "shape": []} for key in events[0]},
    )
    journal("descriptor", told.descriptor_doc)
    for event in events:
        named = {f"{RECORD}_{key}": value for key, value in event.items()}
        journal("event", told.compose_event(data=named, timestamps=dict.fromkeys(named, time_s)))
    journal("stop", run.compose_stop())
    journal.close()
    return str(run.start_doc["uid"])


def shot(index: int, setpoint: float, i0: float = 1e-9, exposure: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"shot": index, "setpoint": setpoint, "i0": i0, "exposure": exposure, **more}


def test_runs_that_resume_are_one_stack_by_energy(data: DataFolder) -> None:
    first = record(data, WORK, [shot(0, 8.32), shot(1, 8.34, frames=1)], time_s=1.7e9)
    second = record(
        data, WORK.part([1, 2]), [shot(1, 8.34, i0=3e-9), shot(2, 8.36, exposure=2.0)], time_s=1.7e9 + 50, resumes=first
    )
    with open_xanes(first, data=data) as stack:
        assert stack.complete
        assert [run.uid for run in stack.runs] == [first, second]
        assert [point.shot for point in stack.points] == [0, 1, 2]
        np.testing.assert_allclose(stack.energies_kev, [8.320001, 8.340001, 8.360001])
        assert [float(stack.image(k).mean()) for k in range(3)] == [100.0, 110.0, 120.0]
        assert stack.points[1].beam_intensity == 3e-9, "the taking with all of its frames counts"
        assert len(stack.frames(1)) == 2
        # the dark of the second exposure is the second run's second
        assert float(np.mean(stack.dark(2))) == 1.0  # type: ignore[arg-type]
        assert stack.pixel_nm.tolist() == [50.0] * 3


def test_flats_are_those_of_the_energy_and_follow_the_ion_chamber(data: DataFolder) -> None:
    uid = record(data, WORK, [shot(0, 8.32), shot(1, 8.34), shot(2, 8.36)], time_s=1.7e9)
    with open_xanes(uid, data=data) as stack:
        assert [float(np.mean(stack.flat(k))) for k in range(3)] == [1000.0, 1001.0, 1002.0]  # type: ignore[arg-type]


def test_flats_and_their_intensity_belong_together(data: DataFolder) -> None:
    # every second energy: those between have the flats, and the intensity, of the nearest energy that has some
    every = replace(WORK, flats="every", flats_every=2)
    uid = record(data, every, [shot(0, 8.32, 1e-9), shot(1, 8.34, 2e-9, flats=0), shot(2, 8.351, 3e-9)], time_s=1.7e9)
    with open_xanes(uid, data=data) as stack:
        assert [point.flat_intensity for point in stack.points] == [1e-9, 3e-9, 3e-9]
        assert [float(np.mean(stack.flats(k)[:])) for k in range(3)] == [1000.0, 1002.0, 1002.0]  # type: ignore[index]
    # a second pass after each of two repeats: flats come after the sample, and each repeat has its own
    twice = replace(WORK, energies_ev=(8320.0, 8340.0), exposures_s=(1.0, 1.0), flats="pass", repeats=2)
    shots = []
    for repeat in range(2):
        shots += [shot(2 * repeat + k, e, 1e-9, flats=0, repeat_number=repeat) for k, e in enumerate((8.32, 8.34))]
        shots += [
            shot(-1, e, 1e-9 * (2 + 2 * repeat + k), flat=2000 + 10 * repeat + k, repeat_number=repeat)
            for k, e in enumerate((8.32, 8.34))
        ]
    with open_xanes(record(data, twice, shots, time_s=1.7e9 + 10), data=data) as stack:
        assert [point.flat_intensity for point in stack.points] == pytest.approx([2e-9, 3e-9, 4e-9, 5e-9])
        assert [float(np.mean(stack.flats(k)[:])) for k in range(4)] == [2000, 2001, 2010, 2011]  # type: ignore[index]
    # none at all
    none = replace(WORK, flats="none")
    with open_xanes(record(data, none, [shot(0, 8.32, flats=0)], time_s=1.7e9 + 20), data=data) as stack:
        assert stack.flats(0) is None
        assert np.isnan(stack.points[0].flat_intensity)


def test_a_point_that_was_taken_again_has_the_flats_of_that_run(data: DataFolder) -> None:
    first = record(data, WORK, [shot(0, 8.32), shot(1, 8.34, frames=1)], time_s=1.7e9)
    record(data, WORK.part([1]), [shot(1, 8.34, 3e-9, flat=7000)], time_s=1.7e9 + 50, resumes=first)
    with open_xanes(first, data=data) as stack:
        assert [point.run for point in stack.points] == [0, 1]
        assert stack.points[1].flat_intensity == 3e-9
        assert float(np.mean(stack.flats(1)[:])) == 7000.0  # type: ignore[index]


def test_a_reading_of_the_angle_does_not_shuffle_the_energies(data: DataFolder) -> None:
    # the encoder scatters by some millidegrees; at each angle energies still rise
    turned = XanesScan((8320.0, 8340.0), (1.0, 1.0), num_flats=1, num_darks=1, angles_deg=(0.0, 90.0), inner="energy")
    scatter = iter((0.0018, 0.0004, 90.0012, 89.9991))
    shots = [shot(2 * k + a, e, theta=next(scatter)) for a in range(2) for k, e in enumerate((8.32, 8.34))]
    with open_xanes(record(data, turned, shots, time_s=1.7e9), data=data) as stack:
        assert [point.shot for point in stack.points] == [0, 2, 1, 3]
        assert stack.select(theta_deg=90.0) == [2, 3]
        assert stack.select(theta_deg=45.0) == []


def test_a_run_is_read_as_a_stack_and_as_an_array_at_once(data: DataFolder) -> None:
    uid = record(data, WORK, [shot(0, 8.32), shot(1, 8.34), shot(2, 8.36)], time_s=1.7e9)
    with open_xanes(uid, data=data) as stack:
        assert float(stack.image(0).mean()) == 100.0
        frames = open_run(uid, data=data, source="journal").to_xarray()["cam"]
        assert frames.shape == (6, *SHAPE)
        assert float(frames[3].mean().compute()) == 110.0
        assert float(stack.image(2).mean()) == 120.0


def test_frames_without_light_are_missing(data: DataFolder) -> None:
    uid = record(data, WORK, [shot(0, 8.32)], time_s=1.7e9, ring=5.0)
    finder = XanesFinder(data)
    progress = finder.progress(uid)
    assert progress.missing == (0, 1, 2)
    assert finder.newest("energy_calibration") is None


def test_a_run_that_is_no_scan_is_named(data: DataFolder) -> None:
    journal = Journal(data.journal)
    run = compose_run(uid=str(uuid.uuid4()), time=1.7e9, metadata={"plan_name": "count"})
    journal("start", run.start_doc)
    journal("stop", run.compose_stop())
    journal.close()
    with pytest.raises(NoXanesError, match="no scan of energies"):
        open_xanes(str(run.start_doc["uid"]), data=data)


def tomogram(data: DataFolder, number: int, *, time_s: float, series: str = "s1", **start: Any) -> str:
    """Journal a tomogram of a series, which has no frames yet."""
    journal = Journal(data.journal)
    about = {"uid": series, "energies_ev": [8300.0, 8340.0, 8400.0], "number": number}
    angles = {"angles_deg": [0.0, 90.0], "tolerance_deg": 1.0}
    run = compose_run(
        uid=str(uuid.uuid4()), time=time_s, metadata={"tomography": angles, "xanes_series": about, **start}
    )
    journal("start", run.start_doc)
    journal("stop", run.compose_stop())
    journal.close()
    return str(run.start_doc["uid"])


def test_a_series_of_tomograms_is_opened_by_any_of_its_runs(data: DataFolder) -> None:
    uids = [tomogram(data, 2, time_s=1.7e9), tomogram(data, 0, time_s=1.7e9 + 1)]
    tomogram(data, 1, time_s=1.7e9 + 2, series="another")
    with pytest.raises(NoXanesError, match=r"1 of 3 energies are missing.*series='s1', only=\[1\]"):
        open_xanes_series(uids[0], data=data)
    assert [one.uid for one in open_xanes_series(uids[0], data=data, partial=True)] == [uids[1], uids[0]]
    old = tomogram(data, 1, time_s=1.7e9 + 3)
    new = tomogram(data, 1, time_s=1.7e9 + 4)
    more = tomogram(data, 1, time_s=1.7e9 + 5, resumes=new)
    for key in (*uids, old, more):
        found = open_xanes_series(key, data=data)
        assert [one.uid for one in found] == [uids[1], new, uids[0]]
        assert len(found[1].runs) == 2
    alone = record(data, WORK, [shot(0, 8.32)], time_s=1.7e9)
    with pytest.raises(NoXanesError, match="no series of tomograms"):
        open_xanes_series(alone, data=data)


def test_the_ledger_sums_what_a_sample_took(data: DataFolder) -> None:
    ledger = DoseLedger(data)
    for sample, dose in (("a", 5.0), ("a", 7.0), ("b", -1.0)):
        run = compose_run(metadata={"sample": {"name": sample}, "exposed": {"material": "NiO"}})
        ledger("start", run.start_doc)
        keys = [f"microscope_dose_record_{name}" for name in ("dose", "exposed")]
        bundle = run.compose_descriptor(
            name="dose", data_keys={key: {"source": "s", "dtype": "number", "shape": []} for key in keys}
        )
        ledger("descriptor", bundle.descriptor_doc)
        ledger(
            "event",
            bundle.compose_event(data=dict(zip(keys, (dose, 1.5), strict=True)), timestamps=dict.fromkeys(keys, 0.0)),
        )
    assert ledger.total_gy("a") == 12.0
    assert DoseLedger(data).entries("b")[0]["dose_gy"] is None
    assert DoseLedger(data).entries("b")[0]["exposed_s"] == 1.5


def audited(ledger: DoseLedger, triggered: int, **start: Any) -> str:
    """Tell the ledger of a tomogram that ended with so many projections triggered."""
    run = compose_run(metadata={"sample": "grain", **start})
    ledger("start", run.start_doc)
    key = "hr_camera_run_audit_triggered"
    bundle = run.compose_descriptor(
        name="frame_audit", data_keys={key: {"source": "s", "dtype": "number", "shape": []}}
    )
    ledger("descriptor", bundle.descriptor_doc)
    ledger("event", bundle.compose_event(data={key: triggered}, timestamps={key: 0.0}))
    return str(run.start_doc["uid"])


def test_tomograms_of_a_series_are_entered_by_what_was_triggered(data: DataFolder) -> None:
    ledger, finder = DoseLedger(data), XanesFinder(data)
    assert isinstance(finder, DoseFinder)
    told = {"material": "NiO", "per_frame_gy": 2.0, "per_frame_s": 0.5}
    for number, triggered in ((0, 180), (1, 7)):
        audited(ledger, triggered, exposed=told, xanes_series={"uid": "s1", "number": number})
    audited(ledger, 9, exposed=told, xanes_series={"uid": "s2", "number": 0})
    # one that says no dose is none of the ledger's
    audited(ledger, 100)
    entries = ledger.entries("grain")
    assert [(line["series"], line["dose_gy"], line["exposed_s"]) for line in entries] == [
        ("s1", 360.0, 90.0),
        ("s1", 14.0, 3.5),
        ("s2", 18.0, 4.5),
    ]
    assert finder.series_dose_gy("s1") == 374.0
    assert ledger.total_gy("grain") == 392.0


def test_a_scan_that_goes_on_knows_what_it_gave(data: DataFolder) -> None:
    exposed = {"material": "NiO", "flux_per_s": 1e9, "area_um2": 400.0, "limit_gy": None}
    first = record(data, WORK, [shot(0, 8.32), shot(1, 8.34)], time_s=1.7e9, exposed=exposed)
    second = record(
        data, WORK.part([2]), [shot(2, 8.36, exposure=2.0)], time_s=1.7e9 + 5, exposed=exposed, resumes=first
    )
    by_stops = [
        2 * absorbed_dose_gy("NiO", energy_ev, 1e9, 400.0, exposure_s)
        for energy_ev, exposure_s in ((8320.0, 1.0), (8340.0, 1.0), (8360.0, 2.0))
    ]
    finder = XanesFinder(data)
    # killed before the ledger heard of it: by the stops that were told
    assert finder.dose_gy(second) == pytest.approx(sum(by_stops))
    # the ledger's entry of a run counts instead, and is not counted twice
    line = {"uid": first, "dose_gy": 5.0, "sample": None}
    DoseLedger(data).path.write_text(json.dumps(line) + "\n")
    assert finder.dose_gy(first) == pytest.approx(5.0 + by_stops[2])
