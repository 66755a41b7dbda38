from __future__ import annotations

import errno
import json
import math
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from event_model import compose_run
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from exitwave.profiles.storage import (
    DiskSpaceError,
    FolderError,
    Journal,
    JournalCorruptError,
    JournalEncodingError,
    JournalError,
    RunNotFoundError,
    check_free,
    check_writable,
    data_folder,
    find_run,
    read_journal,
    runs,
)
from exitwave.profiles.storage.encoding import decode_line, encode_line
from exitwave.profiles.storage.history import is_open

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
arrays = hnp.arrays(
    dtype=st.sampled_from(["u1", "<u2", ">i4", "<f4", "<f8", "?", "<c16", "<U3"]),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
keys = st.text() | st.just("__exitwave__")
documents = st.dictionaries(
    keys,
    st.recursive(
        scalars | arrays,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys | st.integers(), inner, max_size=4),
        max_leaves=12,
    ),
    max_size=5,
)


def same(a: Any, b: Any) -> bool:
    """Equal in type and value, NaN like NaN and -0.0 unlike 0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@given(documents)
def test_documents_come_back_exactly(doc: dict[str, Any]) -> None:
    line = encode_line("event", doc)
    assert line.count(b"\n") == 1
    name, back = decode_line(line)
    assert name == "event"
    assert same(back, doc)


@given(documents)
def test_lines_are_strict_json(doc: dict[str, Any]) -> None:
    def refuse(token: str) -> None:
        raise ValueError(token)

    assert json.loads(encode_line("event", doc), parse_constant=refuse)


@pytest.mark.parametrize(
    ("value", "back"),
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.int64(2**62), 2**62),
        (np.bool_(True), True),
        ((1, 2.5), [1, 2.5]),
        ({3, 1}, [1, 3]),
        (Path("/data/x"), "/data/x"),
    ],
)
def test_other_values_become_their_plain_equal(value: Any, back: Any) -> None:
    assert same(decode_line(encode_line("start", {"value": value}))[1], {"value": back})


@pytest.mark.parametrize("value", [object(), 1j, {(1, 2): 3}])
def test_what_cannot_be_written_is_refused(value: Any) -> None:
    with pytest.raises(JournalEncodingError):
        encode_line("start", {"uid": "u", "value": value})


@given(documents, st.data())
def test_no_part_of_a_line_passes_for_a_line(doc: dict[str, Any], data: st.DataObject) -> None:
    line = encode_line("event", doc)
    cut = data.draw(st.integers(0, len(line) - 1))
    with pytest.raises(ValueError, match=r"."):
        decode_line(line[:cut])


def one_run(points: int = 3, time: float = 1.7e9, scan_id: int = 1) -> list[tuple[str, dict[str, Any]]]:
    run = compose_run(uid=str(uuid.uuid4()), time=time, metadata={"scan_id": scan_id})
    descriptor = run.compose_descriptor(
        name="primary", data_keys={"x": {"source": "s", "dtype": "number", "shape": []}}
    )
    docs: list[tuple[str, Any]] = [("start", run.start_doc), ("descriptor", descriptor.descriptor_doc)]
    for n in range(points):
        docs.append(("event", descriptor.compose_event(data={"x": n / 3}, timestamps={"x": time + n})))
    docs.append(("stop", run.compose_stop()))
    return [(name, dict(doc)) for name, doc in docs]


def write(folder: Path, docs: list[tuple[str, dict[str, Any]]]) -> Path:
    journal = Journal(folder)
    for name, doc in docs:
        journal(name, doc)
    journal.close()
    return find_run(folder, docs[0][1]["uid"]).path


def test_a_run_is_one_file_by_month_and_reads_back(tmp_path: Path) -> None:
    docs = one_run(time=1_700_000_000.0)
    path = write(tmp_path, docs)
    assert path.relative_to(tmp_path).parts[:2] == ("2023", "11")
    assert read_journal(path) == docs
    assert find_run(tmp_path, -1).stop == docs[-1][1]


def test_every_document_is_flushed_before_the_call_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    real = os.fdatasync

    def spy(fd: int) -> None:
        real(fd)
        flushed.append(os.fstat(fd).st_size)

    monkeypatch.setattr(os, "fdatasync", spy)
    docs = one_run()
    journal = Journal(tmp_path)
    size = 0
    for number, (name, doc) in enumerate(docs, start=1):
        journal(name, doc)
        size += len(encode_line(name, doc))
        assert flushed[-1] == size
        assert len(flushed) == number


def test_interleaved_runs_go_to_their_own_files(tmp_path: Path) -> None:
    first, second = one_run(), one_run(scan_id=2)
    journal = Journal(tmp_path)
    for pair in zip(first, second, strict=True):
        for name, doc in pair:
            journal(name, doc)
    assert read_journal(find_run(tmp_path, first[0][1]["uid"]).path) == first
    assert read_journal(find_run(tmp_path, second[0][1]["uid"]).path) == second


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_torn_last_line_is_ignored_and_reported(tmp_path: Path, cut: int) -> None:
    docs = one_run()
    path = write(tmp_path, docs)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    run = find_run(tmp_path, -1)
    assert list(run.documents()) == docs[:-1]
    assert run.stop is None
    assert run.torn_bytes == len(encode_line(*docs[-1])) - cut


def test_damage_before_the_end_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, one_run())
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1][:-20] + b"\n", *lines[2:]]))
    with pytest.raises(JournalCorruptError, match="line 2"):
        read_journal(path)


def test_a_full_disk_stops_the_run_and_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = one_run()
    journal = Journal(tmp_path)
    for name, doc in docs[:3]:
        journal(name, doc)
    real = os.write

    def full(fd: int, data: Any) -> int:
        real(fd, bytes(data)[:7])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(JournalError, match="disk is full"):
            journal(*docs[3])
    journal(*docs[-1])
    assert read_journal(find_run(tmp_path, -1).path) == [*docs[:3], docs[-1]]


def test_a_document_of_an_unknown_run_is_refused(tmp_path: Path) -> None:
    docs = one_run()
    with pytest.raises(JournalError, match="not open"):
        Journal(tmp_path)(*docs[2])


def test_a_file_is_open_from_start_to_stop(tmp_path: Path) -> None:
    docs = one_run()
    journal = Journal(tmp_path)
    for name, doc in docs[:-1]:
        journal(name, doc)
        assert is_open(find_run(tmp_path, -1).path)
    journal(*docs[-1])
    assert not is_open(find_run(tmp_path, -1).path)


def test_runs_are_listed_newest_first_across_months(tmp_path: Path) -> None:
    times = [1.70e9, 1.75e9, 1.70e9 + 60, 1.60e9]
    for scan_id, time in enumerate(times, start=1):
        write(tmp_path, one_run(time=time, scan_id=scan_id))
    assert [run.start["scan_id"] for run in runs(tmp_path)] == [2, 3, 1, 4]
    assert find_run(tmp_path, -2).start["scan_id"] == 3
    assert find_run(tmp_path, 4).start["time"] == 1.60e9


def test_the_stop_is_found_behind_long_lines(tmp_path: Path) -> None:
    docs = one_run()
    docs[-1][1]["reason"] = "x" * 300_000
    write(tmp_path, docs)
    assert find_run(tmp_path, -1).stop == docs[-1][1]


def test_ambiguous_and_unknown_names_are_refused(tmp_path: Path) -> None:
    for uid in ("abc1", "abc2"):
        docs = one_run()
        docs[0][1]["uid"] = docs[1][1]["run_start"] = docs[-1][1]["run_start"] = uid
        write(tmp_path, docs)
    assert find_run(tmp_path, "abc1").uid == "abc1"
    for key in ("abc", "zzz", "../", "", -3, 77):
        with pytest.raises(RunNotFoundError):
            find_run(tmp_path, key)


def test_folders_are_checked_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="not writable"):
        check_writable(tmp_path / "file" / "below")
    with pytest.raises(DiskSpaceError, match=r"1000000000000 MiB needed, \d+ MiB free"):
        check_free(tmp_path, 1e12)


def test_the_data_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXITWAVE_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert data_folder().root == tmp_path / "xdg" / "exitwave"
    monkeypatch.setenv("EXITWAVE_DATA", str(tmp_path / "mine"))
    folder = data_folder()
    assert folder.root == tmp_path / "mine"
    assert not folder.root.exists()
    folder.prepare(needed_mib=1)
    assert folder.journal.is_dir()
