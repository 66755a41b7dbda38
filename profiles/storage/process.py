"""What the background processes have in common: one of each per folder, and none without a parent."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["follow_parent", "hold_lock", "is_alive", "read_json", "write_json"]


def follow_parent() -> None:
    """Let this process end when its standard input ends, that is when its parent is gone.

    A pipe is closed by the kernel whatever kills the parent, and unlike ``PR_SET_PDEATHSIG`` it does
    not depend on which of the parent's threads started this process. SIGTERM is raised, so that
    the ordinary way out is taken; if that does not end the process within 20 s it exits at once.
    """

    def watch() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(20.0)
        os._exit(1)

    threading.Thread(target=watch, name="follow-parent", daemon=True).start()


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a folder's only server or forwarder; wait while another process holds it.

    A second session on the same folder so keeps processes in reserve, which take over when the first
    session ends. The kernel frees the lock of a process that was killed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def write_json(path: Path, content: Mapping[str, Any], *, mode: int = 0o644) -> None:
    """Replace a small JSON file as a whole; a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        json.dump(content, file)
    part.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """Content of a file of `write_json`, None if there is none."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return content


def is_alive(pid: int) -> bool:
    """Whether a process runs (a child that ended and was not waited for does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
