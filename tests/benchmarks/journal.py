"""Figures of the storage: what the journal costs, and what a dead Tiled server costs a scan."""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bluesky.plans as bp
from bluesky import RunEngine
from ophyd import Component as Cpt
from ophyd import Device, Signal
from ophyd.sim import SynAxis, SynGauss
from ophyd.status import Status

from exitwave.profiles.storage import Journal, Services, data_folder, open_run

__all__ = ["journal_figures", "journal_ratio", "tiled_down_figures", "tiled_down_slowdown"]


class _Clock:
    """Notes when each event document arrives; subscribe it last."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "event":
            self.times.append(time.perf_counter())


def _devices() -> tuple[SynAxis, SynGauss]:
    motor = SynAxis(name="theta")
    return motor, SynGauss("current", motor, "theta", center=0, Imax=1, sigma=1)


class _Exposing(Device):
    """A detector that needs its time, as a camera does; nothing is computed meanwhile."""

    exposure_s = Cpt(Signal, value=0.02, kind="config")
    current = Cpt(Signal, value=0.0)

    def trigger(self) -> Status:
        """Expose once."""
        status = Status(self)

        def finish() -> None:
            self.current.put(self.current.get() + 1.0)
            status.set_finished()

        timer = threading.Timer(self.exposure_s.get(), finish)
        timer.daemon = True
        timer.start()
        return status


def _run(engine: RunEngine, plan: Any) -> str:
    """Run a plan of one run; return its uid."""
    uids = engine(plan)
    return (uids if isinstance(uids, tuple) else uids.run_start_uids)[0]


def _documents_per_s(run_engine: RunEngine, points: int) -> float:
    motor, detector = _devices()
    begin = time.perf_counter()
    run_engine(bp.scan([detector], motor, -1, 1, points))
    return (points + 3) / (time.perf_counter() - begin)


def journal_figures(points: int = 300, rounds: int = 5) -> dict[str, float]:
    """Documents per second of a step scan of soft devices, with and without the journal.

    Rounds with and without alternate, so that both meet the same load; the medians are compared.

    Returns
    -------
    dict
        ``run_engine_alone`` and ``with_journal`` in documents/s, ``journal_ratio``, and the cost
        ``journal_ms`` per document.
    """
    alone, journalled = RunEngine({}), RunEngine({})
    rates: dict[str, list[float]] = {"alone": [], "journal": []}
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder))
        journalled.subscribe(journal)
        for engine in (alone, journalled):
            _documents_per_s(engine, 20)
        for _ in range(rounds):
            rates["alone"].append(_documents_per_s(alone, points))
            rates["journal"].append(_documents_per_s(journalled, points))
        journal.close()
    plain, kept = statistics.median(rates["alone"]), statistics.median(rates["journal"])
    return {
        "run_engine_alone": plain,
        "with_journal": kept,
        "journal_ratio": kept / plain,
        "journal_ms": 1000 * (1 / kept - 1 / plain),
    }


def journal_ratio(points: int = 300, rounds: int = 5) -> float:
    """Documents/s through journal and RunEngine over documents/s of the RunEngine alone."""
    return journal_figures(points, rounds)["journal_ratio"]


def _killed_scan(engine: RunEngine, services: Services, detector: _Exposing, points: int) -> tuple[str, float, float]:
    """Scan, kill Tiled at half of it (SIGKILL); return uid and mean time per point before and after, ms."""
    clock, half = _Clock(), points // 2

    def kill(name: str, doc: Mapping[str, Any]) -> None:
        if doc["seq_num"] == half:
            server = services.children["tiled"].process
            os.kill(server.pid, signal.SIGKILL)
            server.wait()

    tokens = [engine.subscribe(kill, "event"), engine.subscribe(clock)]
    motor = SynAxis(name="theta")
    uid = _run(engine, bp.scan([detector], motor, -1, 1, points))
    for token in tokens:
        engine.unsubscribe(token)
    steps = [1000 * (b - a) for a, b in zip(clock.times, clock.times[1:], strict=False)]
    # The step in which this process kills Tiled and waits for its end is not the scan's.
    return uid, statistics.fmean(steps[: half - 2]), statistics.fmean(steps[half:])


def tiled_down_figures(
    points: int = 300, exposure_s: float = 0.02, rounds: int = 3, enough: float = 0.0
) -> dict[str, float]:
    """Scans during which Tiled is killed, and what becomes of the runs after Tiled is back.

    Parameters
    ----------
    points : int
        Points of a scan.
    exposure_s : float
        Time each point needs at the least; the rest is overhead, which alone can grow.
    rounds : int
        Number of scans. Other load on the machine falls on either half, so the median is taken.
    enough : float
        No further round after one with a ratio as good as this.

    Returns
    -------
    dict
        ``up_ms`` and ``down_ms``: mean time per point before and after Tiled was killed;
        ``tiled_down_slowdown``: median of their ratio; ``best``: the least ratio;
        ``recovery_s``: from the restarted server's readiness to the whole run (last round);
        ``forward_lag_s``: from the stop of a run with Tiled up to the whole run in Tiled;
        ``lost_points``: points of all runs that are not in Tiled, or are there twice.
    """
    with tempfile.TemporaryDirectory() as temporary:
        data = data_folder(temporary).prepare(needed_mib=16)
        journal = Journal(data.journal)
        engine = RunEngine({})
        engine.subscribe(journal)
        detector = _Exposing(name="detector")
        detector.exposure_s.put(exposure_s)
        timings: list[tuple[float, float]] = []
        lost = 0
        with Services(data, keep_alive=False) as services:
            services.wait_ready(120)
            for _ in range(2):  # the first pays for the forwarder's imports
                uid = _run(engine, bp.count([detector], 50))
                lag_s = services.wait_forwarded(uid, 120)
            while len(timings) < rounds and not any(down / up <= enough for up, down in timings):
                uid, up, down = _killed_scan(engine, services, detector, points)
                timings.append((up, down))
                services.start_server()
                services.wait_ready(120)
                recovery_s = services.wait_forwarded(uid, 120)
                found = open_run(uid, data=data, source="tiled").to_xarray()
                lost += abs(found.sizes["time"] - points)
        journal.close()
    ratios = [down / up for up, down in timings]
    return {
        "up_ms": statistics.median(up for up, _ in timings),
        "down_ms": statistics.median(down for _, down in timings),
        "tiled_down_slowdown": statistics.median(ratios),
        "best": min(ratios),
        "recovery_s": recovery_s,
        "forward_lag_s": lag_s,
        "lost_points": float(lost),
    }


def tiled_down_slowdown(points: int = 300) -> float:
    """Time per point after Tiled was killed in mid-run over the time per point before."""
    return tiled_down_figures(points)["tiled_down_slowdown"]


if __name__ == "__main__":
    for figures in (journal_figures(), tiled_down_figures()):
        print(", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
