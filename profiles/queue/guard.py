"""Run a foreign program as a child that does not outlive its parent.

``python -m exitwave.profiles.queue.guard COMMAND ARGUMENT...`` starts the command in a process group of
its own and ends the whole group when its own standard input ends or SIGTERM comes. Programs that know
nothing of their parent, and programs that fork workers, are so stopped with nothing left over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

from exitwave.profiles.storage.process import follow_parent

__all__ = ["guard"]

_GRACE_S = 8.0
_POLL_S = 0.05


class _StopAsked(BaseException):
    """SIGTERM or SIGINT came."""


def _stop(number: int, frame: object) -> None:
    raise _StopAsked


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to all of the group, SIGKILL to what is left of it after a while."""
    for number, grace_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _GRACE_S)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline:
            process.poll()  # a leader that ended and is not waited for keeps its group alive
            if not _group_lives(process.pid):
                return
            time.sleep(_POLL_S)


def guard(command: list[str]) -> int:
    """Run a command; return its exit status, or 0 if it was ended from here."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        follow_parent()
        return process.wait()
    except _StopAsked:
        return 0
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        _end_group(process)


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1:]))
