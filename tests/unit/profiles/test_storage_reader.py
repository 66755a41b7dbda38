from __future__ import annotations

import threading
import uuid
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray
from event_model import compose_run

from exitwave.profiles.storage import (
    AuditError,
    FramesMissingError,
    Publisher,
    ServiceError,
    StreamNotFoundError,
    audit_run,
    consume,
    data_folder,
    open_run,
)
from exitwave.profiles.storage.journal import Journal
from exitwave.profiles.storage.paths import DataFolder
from exitwave.profiles.storage.state import ForwarderState, is_done

SHAPE = (6, 8)


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return data_folder(tmp_path).prepare(needed_mib=1)


def frame(n: int) -> np.ndarray[Any, Any]:
    return (np.arange(48, dtype="u2") + 100 * n).reshape(SHAPE)


def write_frames(path: Path, count: int) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        frames = np.stack([frame(n) for n in range(count)])
        file.create_dataset("/entry/data/data", data=frames, chunks=(1, *SHAPE))


def record(data: DataFolder, *, style: str, points: int = 4, per_point: int = 2, files: int = 1, lost: int = 0) -> str:
    """Journal a run of a camera and a number, as the RunEngine would tell of it."""
    journal = Journal(data.journal)
    run = compose_run(uid=str(uuid.uuid4()), time=1.7e9, metadata={"num_points": points})
    journal("start", run.start_doc)
    external = {"stream": "STREAM:", "classic": "FILESTORE:"}[style]
    descriptor = run.compose_descriptor(
        name="primary",
        data_keys={
            "image": {
                "source": "s",
                "dtype": "array",
                "shape": [per_point, *SHAPE],
                "external": external,
                "units": "counts",
            },
            "current": {"source": "s", "dtype": "number", "shape": [], "units": "A"},
        },
    )
    journal("descriptor", descriptor.descriptor_doc)
    each = points // files
    for number in range(files):
        path = data.frames / f"{run.start_doc['uid']}_{number}.h5"
        write_frames(path, each * per_point - (lost if number == files - 1 else 0))
        if style == "classic":
            resource = run.compose_resource(
                spec="AD_HDF5",
                root="/",
                resource_path=str(path).lstrip("/"),
                resource_kwargs={"frame_per_point": per_point},
            )
            journal("resource", resource.resource_doc)
        else:
            assert run.compose_stream_resource is not None
            stream = run.compose_stream_resource(
                data_key="image",
                mimetype="application/x-hdf5",
                uri=f"file://localhost{path}",
                parameters={"dataset": "/entry/data/data"},
            )
            journal("stream_resource", stream.stream_resource_doc)
        for i in range(each):
            values: dict[str, Any] = {"current": (number * each + i) / 3}
            filled: dict[str, bool | str] = {}
            if style == "classic":
                datum = resource.compose_datum(datum_kwargs={"point_number": i})
                journal("datum", datum)
                values["image"], filled["image"] = datum["datum_id"], False
            else:
                seq = number * each + i + 1
                doc = stream.compose_stream_datum(
                    indices={"start": i, "stop": i + 1}, seq_nums={"start": seq, "stop": seq + 1}
                )
                journal("stream_datum", {**doc, "descriptor": descriptor.descriptor_doc["uid"]})
            journal(
                "event",
                descriptor.compose_event(
                    data=values, timestamps=dict.fromkeys(values, 1.7e9), filled=filled, validate=False
                ),
            )
    journal("stop", run.compose_stop())
    return str(run.start_doc["uid"])


@pytest.mark.parametrize("style", ["stream", "classic"])
@pytest.mark.parametrize("files", [1, 2])
def test_frames_belong_to_their_points(data: DataFolder, style: str, files: int) -> None:
    record(data, style=style, files=files)
    ds = open_run(-1, data=data).to_xarray()
    assert ds.image.dims == ("time", "frame", "y", "x")
    assert ds.image.dtype == np.uint16
    assert ds.image.attrs["units"] == "counts"
    assert ds.current.attrs["units"] == "A"
    np.testing.assert_array_equal(ds.current, np.arange(4) / 3)
    per_file = 8 // files
    expected = np.stack([frame(n % per_file) for n in range(8)]).reshape(4, 2, *SHAPE)
    np.testing.assert_array_equal(ds.image, expected)


def test_a_point_is_read_when_it_is_asked_for_and_alone(data: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    from exitwave.profiles.storage import frames

    record(data, style="stream")
    reads: list[tuple[int, int]] = []
    real = frames._read

    def spy(location: Any, first: int, count: int, shape: Any) -> Any:
        reads.append((first, count))
        return real(location, first, count, shape)

    monkeypatch.setattr(frames, "_read", spy)
    ds = open_run(-1, data=data).to_xarray()
    assert reads == []
    np.testing.assert_array_equal(ds.image[2, 1], frame(5))
    assert reads == [(4, 2)]


@pytest.mark.parametrize("style", ["stream", "classic"])
def test_lost_frames_are_missed_where_they_lack_and_in_the_audit(data: DataFolder, style: str) -> None:
    record(data, style=style, lost=1)
    ds = open_run(-1, data=data).to_xarray()
    np.testing.assert_array_equal(ds.image[0, 0], frame(0))
    with pytest.raises(FramesMissingError, match="7 frames, but frame 8"):
        ds.image[3].compute()
    audit = audit_run(-1, data=data)
    (stream,) = audit.streams
    assert (stream.asked, stream.triggered, stream.acquired, stream.written) == (8, 8, 8, 7)
    with pytest.raises(AuditError, match="acquired 8, written 7"):
        audit.check()


def test_the_audit_of_a_whole_run_is_good_and_of_a_removed_file_is_not(data: DataFolder) -> None:
    uid = record(data, style="stream")
    assert audit_run(uid, data=data).check().ok
    path = data.frames / f"{uid}_0.h5"
    path.unlink()
    audit = audit_run(uid, data=data)
    assert audit.streams[0].written == 0
    assert audit.streams[0].missing_files == (str(path),)
    with pytest.raises(FramesMissingError):
        open_run(uid, data=data).to_xarray()


def test_a_missing_stream_is_named(data: DataFolder) -> None:
    record(data, style="stream")
    with pytest.raises(StreamNotFoundError, match="it has primary"):
        open_run(-1, data=data).to_xarray("baseline")


def test_numbers_keep_type_unit_and_gaps(data: DataFolder) -> None:
    journal = Journal(data.journal)
    run = compose_run(uid=str(uuid.uuid4()), time=1.7e9)
    types = {"f": "number", "i": "integer", "b": "boolean", "s": "string", "w": "array"}
    descriptor = run.compose_descriptor(
        name="primary",
        data_keys={
            key: {"source": "s", "dtype": dtype, "shape": [2] if dtype == "array" else [], "units": key}
            for key, dtype in types.items()
        },
    )
    journal("start", run.start_doc)
    journal("descriptor", descriptor.descriptor_doc)
    rows = [
        {"f": 0.1, "i": 2**60, "b": True, "s": "a", "w": np.array([1.0, np.nan])},
        {"f": float("nan"), "i": 2, "b": False, "s": "b", "w": np.array([3.0, -np.inf])},
    ]
    for row in rows:
        journal("event", descriptor.compose_event(data=row, timestamps=dict.fromkeys(row, 0.0), validate=False))
    journal("stop", run.compose_stop())
    ds = open_run(-1, data=data).to_xarray()
    assert {key: ds[key].dtype.kind for key in types} == {"f": "f", "i": "i", "b": "b", "s": "U", "w": "f"}
    assert ds.i.values.tolist() == [2**60, 2]
    np.testing.assert_array_equal(ds.f, [0.1, np.nan])
    np.testing.assert_array_equal(ds.w, [[1.0, np.nan], [3.0, -np.inf]])
    assert all(ds[key].attrs["units"] == key for key in types)
    assert isinstance(ds, xarray.Dataset)


def test_a_subscriber_receives_what_was_published() -> None:
    publisher = Publisher()
    received: list[tuple[str, dict[str, Any]]] = []

    def listen() -> None:
        received.extend(consume(publisher.address, timeout_s=20.0, until_stop=True))

    thread = threading.Thread(target=listen)
    thread.start()
    # A subscription takes a moment to arrive; what is published before is lost by design.
    for _ in range(2000):
        publisher("start", {"uid": "u", "time": 0.0})
        if received or not thread.is_alive():
            break
        thread.join(0.005)
    publisher("event", {"data": {"wave": np.arange(3.0), "x": float("inf")}})
    publisher("stop", {"run_start": "u"})
    thread.join(20.0)
    publisher.close()
    names = [name for name, _ in received]
    assert names[0] == "start"
    assert names[-2:] == ["event", "stop"]
    np.testing.assert_array_equal(received[-2][1]["data"]["wave"], [0.0, 1.0, 2.0])
    assert received[-2][1]["data"]["x"] == float("inf")


def test_publishing_to_nobody_or_to_a_sleeper_does_not_block() -> None:
    import zmq

    publisher = Publisher(high_water_mark=10)
    with zmq.Context() as context, context.socket(zmq.SUB) as sleeper:
        sleeper.setsockopt(zmq.RCVHWM, 1)
        sleeper.setsockopt(zmq.SUBSCRIBE, b"")
        sleeper.connect(publisher.address)
        for n in range(5000):
            publisher("event", {"data": {"wave": np.zeros(1000)}, "seq_num": n})
    publisher.close()


@pytest.mark.parametrize("address", ["tcp://*", "tcp://0.0.0.0:5555", "tcp://192.0.2.1:5555", "udp://127.0.0.1"])
def test_documents_leave_no_machine(address: str) -> None:
    with pytest.raises(ServiceError, match="not on loopback"):
        Publisher(address)


def test_what_was_forwarded_is_remembered_by_catalog(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    state = ForwarderState(path, "embedded")
    state.finish("a", 5)
    state.close()
    again = ForwarderState(path, "embedded")
    other = ForwarderState(path, "http://elsewhere")
    assert "a" in again
    assert "a" not in other
    assert is_done(path, "embedded", "a")
    assert not is_done(path, "http://elsewhere", "a")
    assert not is_done(tmp_path / "none", "embedded", "a")
    again.close()
    other.close()
