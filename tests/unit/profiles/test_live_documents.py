"""Following the journal: every document of every run from now on, whatever happens to the process that writes it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from exitwave.profiles.live.documents import follow_journal
from exitwave.profiles.live.process import _catch_up
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


def test_a_run_that_ended_while_the_follower_got_ready_is_followed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for uid in ("d" * 8, "e" * 8):
        journal("start", start(uid))
        journal("stop", {"uid": "s", "run_start": uid, "time": 1.8e9})
    old, new = (next(tmp_path.glob(f"*/*/{uid}.jsonl")) for uid in ("d" * 8, "e" * 8))
    os.utime(old, (1.7e9, 1.7e9))
    os.utime(new, (1.8e9, 1.8e9))
    following = follow_journal(tmp_path, poll_s=0.001, since_s=1.75e9)
    assert [doc["uid"] for name, doc in next(following) if name == "start"] == ["e" * 8]
    assert next(following) == []
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


class Listener:
    """A view that knows one run and needs what a run goes on with."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def needs(self, start: Mapping[str, Any]) -> str | None:
        return start.get("resumes")

    def take(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "start":
            self.heard.append(str(doc["uid"]))


def test_the_runs_that_a_run_goes_on_with_are_told_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    first, other, second, third = (letter * 8 for letter in "fghi")
    for k, (uid, more) in enumerate(
        ((first, {}), (other, {}), (second, {"resumes": first}), (third, {"resumes": first}))
    ):
        journal("start", {**start(uid), "time": 1.8e9 + k, **more})
        if uid != third:
            journal("stop", {"uid": "s", "run_start": uid, "time": 1.8e9 + k})
    view: Any = Listener()
    _catch_up(view, {"uid": third, "time": 1.8e9 + 3, "resumes": first}, tmp_path)
    assert view.heard == [first, second]
    journal.close()


def test_a_run_that_is_gone_keeps_none_from_being_followed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    view: Any = Listener()
    _catch_up(view, {"uid": "j" * 8, "time": 1.8e9, "resumes": "k" * 8}, tmp_path)
    assert view.heard == []
    assert "kkkkkkkk, which jjjjjjjj goes on with" in capsys.readouterr().err
