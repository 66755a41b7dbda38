"""The forwarder: a process that replays the journal into Tiled, each run exactly once.

Run as ``python -m exitwave.profiles.storage.forwarder --data FOLDER``. It looks at the journal's
folders a few times a second (a handful of ``stat`` calls), follows runs while they grow, and
writes them in batches. It may be killed, and Tiled may be down, for any length of time: a run that
was not seen to be whole in Tiled is replaced from its journal file. The RunEngine knows nothing of it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from exitwave.profiles.storage.follower import RunFollower
from exitwave.profiles.storage.paths import data_folder
from exitwave.profiles.storage.process import follow_parent, hold_lock, write_json
from exitwave.profiles.storage.server import Address, embedded_address
from exitwave.profiles.storage.state import ForwarderState

if TYPE_CHECKING:
    from exitwave.profiles.storage.sink import TiledSink

__all__ = ["Forwarder", "Status", "main"]

_BATCH = 256
_POLL_S = 0.2
_TELL_S = 2.0
_BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 10.0)
_REFUSED_AGAIN_S = (0.5, 2.0, 10.0, 60.0, 600.0)


@dataclass
class Status:
    """What the forwarder tells about itself, in ``services/forwarder.json``.

    `lag_s` is the age of the oldest document that Tiled does not have and could have (batches being
    collected for a run that goes on do not count), 0 if there is none.
    """

    pid: int = field(default_factory=os.getpid)
    state: str = "starting"
    tiled: str = ""
    forwarded: int = 0
    pending: int = 0
    lag_s: float = 0.0
    last_uid: str = ""
    last_error: str = ""
    time: float = 0.0


@dataclass
class _Pending:
    """A run that is not whole in Tiled yet."""

    path: Path
    follower: RunFollower | None = None
    refusals: int = 0
    whole: bool = False
    not_before: float = 0.0
    behind_since: float | None = None


class _Watch:
    """Finds journal files; a folder is listed again only when something appeared in it."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._changed: dict[Path, int] = {}

    def _folders(self) -> Iterator[Path]:
        if self._journal.is_dir():
            for year in sorted(p for p in self._journal.iterdir() if p.name.isdigit()):
                yield from sorted(p for p in year.iterdir() if p.name.isdigit())

    def new_files(self) -> Iterator[Path]:
        """Files that appeared since the last call, and possibly known ones."""
        for folder in self._folders():
            changed = folder.stat().st_mtime_ns
            if self._changed.get(folder) == changed:
                continue
            # A folder changed within its clock's tick may change again unseen: look once more then.
            if time.time_ns() - changed > 100_000_000:
                self._changed[folder] = changed
            yield from sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)


class Forwarder:
    """Moves runs from the journal into Tiled.

    Parameters
    ----------
    journal : Path
        Folder of the journal.
    state : ForwarderState
        What is done already.
    address : callable
        Returns where Tiled is now, None if it is not up yet.
    status_path : Path
        File of the status.
    """

    def __init__(
        self,
        journal: Path,
        state: ForwarderState,
        address: Callable[[], Address | None],
        status_path: Path,
    ) -> None:
        self._state = state
        self._address = address
        self._status_path = status_path
        self._watch = _Watch(journal)
        self._pending: dict[str, _Pending] = {}
        self._sink: TiledSink | None = None
        self._failures = 0
        self._connect_at = 0.0
        self._told: dict[str, object] = {}
        self._told_at = 0.0
        self.status = Status(forwarded=len(state))

    @property
    def busy(self) -> bool:
        """Whether documents wait that could be in Tiled."""
        return any(run.behind_since is not None for run in self._pending.values())

    def step(self) -> None:
        """Look at the journal once and forward what there is."""
        now = time.monotonic()
        for path in self._watch.new_files():
            if path.stem not in self._state and path.stem not in self._pending:
                self._pending[path.stem] = _Pending(path)
        for uid in [uid for uid, run in self._pending.items() if not run.path.exists()]:
            del self._pending[uid]  # somebody removed the file
        for run in self._pending.values():
            if run.behind_since is None and (run.follower is None or run.follower.has_more):
                run.behind_since = now
        behind = {uid: run for uid, run in self._pending.items() if run.behind_since is not None}
        due = [uid for uid, run in behind.items() if run.not_before <= now]
        if due and self._connect():
            for uid in due:
                self._forward(uid)
        self._report()

    def close(self) -> None:
        """Break the connection; what is half written will be replaced by the next forwarder."""
        if self._sink is not None:
            self._sink.close()
            self._sink = None
        self.status.state = "stopped"
        write_json(self._status_path, asdict(self.status) | {"time": time.time()})

    def _connect(self) -> bool:
        if self._sink is not None:
            return True
        if time.monotonic() < self._connect_at:
            return False
        address = self._address()
        if address is None:
            self._down("Tiled is not up yet", quick=True)
            return False
        from exitwave.profiles.storage.sink import FAILURES, TiledSink

        try:
            self._sink = TiledSink(address)
        except FAILURES as error:
            self._down(f"{address.uri}: {type(error).__name__}: {error}")
            return False
        self.status.tiled = address.uri
        self.status.last_error = ""
        self._failures = 0
        return True

    def _down(self, reason: str, *, quick: bool = False) -> None:
        """Tiled is away: forget half-written runs and try again later, forever."""
        if self._sink is not None:
            self._sink.close()
            self._sink = None
        for run in self._pending.values():
            run.follower = None
        delay = _BACK_OFF_S[0] if quick else _BACK_OFF_S[min(self._failures, len(_BACK_OFF_S) - 1)]
        self._failures += not quick
        self._connect_at = time.monotonic() + delay
        self.status.last_error = reason

    def _forward(self, uid: str) -> None:
        from exitwave.profiles.storage.sink import FAILURES, is_unreachable

        run = self._pending[uid]
        if self._sink is None:
            return
        try:
            if run.follower is None:
                # After a failure the whole run at once: the types of all rows are then known. (A server that
                # refuses a table may also just reset the connection.)
                run.follower = RunFollower(
                    run.path,
                    self._sink,
                    batch_size=1 << 30 if run.whole else _BATCH,
                    strict=run.refusals < len(_REFUSED_AGAIN_S),
                )
            done = run.follower.pump()
        except FAILURES as error:
            run.whole = True
            if is_unreachable(error):
                self._down(f"{self.status.tiled}: {type(error).__name__}: {error}")
            else:
                self._refused(run, error)
        else:
            run.behind_since = None
            if done:
                self._state.finish(uid, run.follower.documents)
                del self._pending[uid]
                self.status.last_uid = uid
                self.status.last_error = ""

    def _refused(self, run: _Pending, error: Exception) -> None:
        """Let one run that cannot be written as it is now wait, and the others pass."""
        run.follower = None
        run.not_before = time.monotonic() + _REFUSED_AGAIN_S[min(run.refusals, len(_REFUSED_AGAIN_S) - 1)]
        run.refusals += 1
        self.status.last_error = f"run {run.path.stem[:8]}: {type(error).__name__}: {error}"

    def _report(self) -> None:
        status = self.status
        behind = [run.behind_since for run in self._pending.values() if run.behind_since is not None]
        status.pending = len(self._pending)
        status.forwarded = len(self._state)
        status.lag_s = round(time.monotonic() - min(behind), 3) if behind else 0.0
        if behind:
            status.state = "forwarding" if self._sink else "waiting for Tiled"
        else:
            status.state = "following" if self._pending else "idle"
        content = asdict(status) | {"time": time.time()}
        told = {key: value for key, value in content.items() if key not in ("time", "lag_s")}
        if told != self._told or content["time"] - self._told_at >= _TELL_S:
            write_json(self._status_path, content)
            self._told, self._told_at = told, content["time"]


def main(argv: list[str] | None = None) -> int:
    """Forward until SIGINT, SIGTERM or, with ``--child``, the end of standard input."""
    parser = argparse.ArgumentParser(prog="exitwave.profiles.storage.forwarder", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--uri", help="a Tiled server; default is the embedded one of the data folder")
    parser.add_argument("--key-file", type=Path, help="file with the key of that server")
    parser.add_argument("--child", action="store_true", help="end with the parent process")
    args = parser.parse_args(argv)
    if args.child:
        follow_parent()
    # This process has its own back-off; Tiled's would hold every request for 45 s.
    os.environ.setdefault("TILED_RETRY_ATTEMPTS", "1")
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    data = data_folder(args.data)
    key = args.key_file.read_text().strip() if args.key_file else None

    def address() -> Address | None:
        return Address(args.uri, key) if args.uri else embedded_address(data.tiled)

    with hold_lock(data.services / "forwarder.lock"):
        state = ForwarderState(data.services / "forwarder.sqlite", args.uri or "embedded")
        forwarder = Forwarder(data.journal, state, address, data.services / "forwarder.json")
        try:
            while not stopping.wait(_POLL_S):
                forwarder.step()
        finally:
            forwarder.close()
            state.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
