"""A simulated beamline as a child process: started, found on loopback, stopped by its pid.

The simulator is a foreign program: nothing of it is imported here.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["SimulatedBeamline", "SimulationError"]


class SimulationError(RuntimeError):
    """A simulator that did not start."""


class SimulatedBeamline:
    """A running simulator.

    Parameters
    ----------
    name : str
        Which instrument: ``bl18b``.
    arguments : sequence of str
        Further arguments of ``exitwave simulate``.
    timeout_s : float
        Time until its ready line.
    log : Path, optional
        Where its messages go; they are kept for the error message without it.

    Attributes
    ----------
    ready : dict
        What the simulator said of itself: prefix, port, environment.
    """

    def __init__(
        self,
        name: str = "bl18b",
        arguments: Sequence[str] = (),
        *,
        timeout_s: float = 60.0,
        log: Path | None = None,
    ):
        command = [sys.executable, "-m", "exitwave.simulators", name, "--with-parent", *arguments]
        with open(log, "wb") if log else contextlib.nullcontext() as messages:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=messages or subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a session interrupts the plan, not the beamline
            )
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            self.ready = self._wait_ready(timeout_s)
            undo.pop_all()

    def _wait_ready(self, timeout_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        stdout = self.process.stdout
        if stdout is None:
            raise SimulationError("the simulator has no standard output")
        os.set_blocking(stdout.fileno(), False)
        buffer = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                if selector.select(timeout=0.2):
                    chunk = stdout.read()
                    buffer += chunk or b""
                    for line in buffer.split(b"\n")[:-1]:
                        if line.startswith(b"{"):
                            ready = json.loads(line)
                            if ready.get("ready"):
                                return dict(ready)
                    if not chunk and self.process.poll() is not None:
                        break
        said = b""
        if self.process.poll() is not None and self.process.stderr is not None:
            said = self.process.stderr.read()
        last = said.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise SimulationError(f"the simulator was not ready within {timeout_s:g} s: {last[0]}")

    @property
    def prefix(self) -> str:
        """Prefix of its process variables."""
        return str(self.ready["prefix"])

    @property
    def env(self) -> dict[str, str]:
        """Environment that a Channel Access client needs to find it."""
        return {key: str(value) for key, value in self.ready["env"].items()}

    def connect_here(self) -> None:
        """Make this process a client of it; call before ophyd is imported."""
        os.environ.update(self.env)
        os.environ.setdefault("OPHYD_CONTROL_LAYER", "caproto")

    def stop(self, timeout_s: float = 10.0) -> int | None:
        """Ask it to stop, and see to it; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout_s)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return self.process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
