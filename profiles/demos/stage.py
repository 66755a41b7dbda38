"""What demonstrations have in common: a simulated beamline and its session, progress, times, the figures' file."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exitwave.profiles.session import Session

__all__ = ["PhaseTimes", "Stage", "open_stage", "put_control", "run_plan"]


@dataclass
class PhaseTimes:
    """Wall and processor time of this process, phase by phase, s."""

    phases: dict[str, dict[str, float]] = field(default_factory=dict)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what happens inside."""
        wall, processor = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.phases[name] = {
                "wall_s": round(time.perf_counter() - wall, 2),
                "cpu_s": round(time.process_time() - processor, 2),
            }

    def words(self) -> str:
        """Return a table."""
        rows = [f"{'phase':<16}{'wall s':>8}{'cpu s':>8}"]
        rows += [f"{name:<16}{row['wall_s']:8.1f}{row['cpu_s']:8.1f}" for name, row in self.phases.items()]
        return "\n".join(rows)


@dataclass
class Stage:
    """An open demonstration.

    Attributes
    ----------
    session : Session
    prefix : str
        Of the simulator's process variables.
    times : PhaseTimes
    begin : float
        ``time.perf_counter()`` at the start.
    """

    session: Session
    prefix: str
    times: PhaseTimes
    begin: float
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def passed_s(self) -> float:
        """Time since the start."""
        return time.perf_counter() - self.begin

    def close(self) -> None:
        """Stop session and simulator, and time it."""
        with self.times.phase("closing"):
            self._closing.close()

    def finish(self, figures: Mapping[str, Any], json_path: Path | None) -> dict[str, Any]:
        """Add the times to the figures, print the table of times, and write the figures."""
        from rich.console import Console

        whole = {**figures, "wall_s": round(self.passed_s, 1), "phases": self.times.phases}
        if json_path is not None:
            json_path.write_text(json.dumps(whole, indent=2) + "\n")
        Console(stderr=True, highlight=False).print(self.times.words())
        return whole


@contextlib.contextmanager
def open_stage(profile: str, arguments: Sequence[str], out: Path) -> Iterator[Stage]:
    """Start a simulated instrument and a session on it, with progress bars for every run.

    Parameters
    ----------
    profile : str
    arguments : sequence of str
        Of the simulator.
    out : Path
        Folder for pictures; made if need be.
    """
    from rich.console import Console

    from exitwave.profiles.progress import RunProgress, progress_bar
    from exitwave.profiles.session import open_session
    from exitwave.profiles.simulation import SimulatedBeamline

    console = Console(stderr=True, highlight=False)
    begin = time.perf_counter()
    times = PhaseTimes()
    out.mkdir(parents=True, exist_ok=True)
    with console.status("starting the simulated instrument"):
        with times.phase("simulator"):
            simulator = SimulatedBeamline(profile.replace("_", "-"), list(arguments))
        with times.phase("session"):
            # No catalog: its server's start would take the processor from the images. The journal has the runs, and
            # the next session's forwarder brings them into the catalog.
            session = open_session(profile, simulator=simulator, services=False)
    with contextlib.ExitStack() as stack:
        stack.callback(session.close)
        progress = stack.enter_context(progress_bar())
        console.print(f"{len(session.beamline.devices)} devices after {time.perf_counter() - begin:.1f} s")
        session.RE.subscribe(RunProgress(progress))
        stage = Stage(session, simulator.prefix, times, begin, stack)
        yield stage


def run_plan(session: Session, plan: Any) -> str:
    """Run a plan that opens one run, and return its uid."""
    result = session.RE(plan)
    uids = result if isinstance(result, tuple) else result.run_start_uids
    return str(uids[-1])


def put_control(name: str, value: str) -> None:
    """Set a control of the simulator itself."""
    from ophyd import EpicsSignal

    signal = EpicsSignal(name, name="control", string=True)
    try:
        signal.wait_for_connection(timeout=10)
        signal.set(value).wait(timeout=10)
    finally:
        signal.destroy()
