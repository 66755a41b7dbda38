"""Following the journal: every document of every run from now on, whatever happens to the process that writes it."""

from __future__ import annotations

import itertools
from pathlib import Path

from exitwave.profiles.live.documents import follow_journal
from exitwave.profiles.storage import Journal


def start(uid: str) -> dict[str, object]:
    return {"uid": uid, "time": 1.8e9, "scan_id": 1}


def names(batches: list[list[tuple[str, dict[str, object]]]]) -> list[str]:
    return [name for name, _ in itertools.chain.from_iterable(batches)]


def test_old_runs_are_left_out_and_new_ones_followed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal("start", start("a" * 8))
    journal("stop", {"uid": "s", "run_start": "a" * 8, "time": 1.8e9})
    following = follow_journal(tmp_path, poll_s=0.001)
    assert next(following) == []
    journal("start", start("b" * 8))
    assert names([next(following)]) == ["start"]
    journal("stop", {"uid": "t", "run_start": "b" * 8, "time": 1.8e9})
    assert names([next(following)]) == ["stop"]
    journal.close()


def test_a_run_whose_process_died_gets_its_stop(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    following = follow_journal(tmp_path, poll_s=0.001)
    assert next(following) == []
    journal("start", start("c" * 8))
    assert names([next(following)]) == ["start"]
    journal.close()  # lets go of the file as a dying process would
    batches = [next(following) for _ in range(3)]
    assert names(batches) == ["stop"]
