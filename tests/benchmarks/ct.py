"""Efficiency of tomography on frames that cost the simulator nothing (2048 x 2048), at the real clock."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np


def ct_figures(fly_exposure_s: float = 0.05, fly_num: int = 200, step_num: int = 30) -> dict[str, float]:
    """Measure exposure time over the time between first and last frame, by the frames' own timestamps.

    Of n frames the last exposure ends n - 1 starts and one exposure after the first began:
    duty = n exposure / (t_last - t_first + exposure).

    Returns
    -------
    dict
        ``duty_fly_50ms`` (0.1 deg per frame), ``duty_step_1s`` (0.2 deg per frame), and the frames that were lost.
    """
    from exitwave.profiles.session import open_session
    from exitwave.profiles.simulation import SimulatedBeamline
    from exitwave.profiles.storage import DataFolder

    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        simulator = SimulatedBeamline("bl18b", ["--specimen", "memory"])
        with open_session("bl18b", data=DataFolder(Path(name)), simulator=simulator, services=False) as session:
            ct = session.namespace["ct"]
            none: dict[str, Any] = {"num_flats": 0, "num_darks": 0}
            fly: Any = session.RE(ct.fly_tomography(0, 0.1 * fly_num, fly_num, exposure_s=fly_exposure_s, **none))
            step: Any = session.RE(ct.step_tomography(0, 0.2 * step_num, step_num, exposure_s=1.0, **none))
            fly_duty, fly_lost = _duty(session.open_run(fly[0]), fly_num, fly_exposure_s)
            step_duty, step_lost = _duty(session.open_run(step[0]), step_num, 1.0)
    return {
        "duty_fly_50ms": fly_duty,
        "duty_step_1s": step_duty,
        "fly_frames_lost": fly_lost,
        "step_frames_lost": step_lost,
    }


def live_figures(num: int = 200, rounds: int = 2) -> dict[str, float]:
    """Measure whether live analysis holds a fly scan up: 50 ms frames of 2048 x 2048, with and without it, in turn.

    A first run, which imports and compiles, does not count; then without, with, with, without, so that what the machine
    does beside takes from both.

    Returns
    -------
    dict
        ``live_slowdown`` (duration of the run with, over that without), ``live_spread_without`` (of the runs without,
        as a part of them), ``live_frames_lost``, ``live_refresh_s``
        (longest pause between two pictures) and ``live_preview_s`` (last frame to the volume, 512 x 512 x 512).
    """
    from exitwave.profiles.live import start_live
    from exitwave.profiles.session import open_session
    from exitwave.profiles.simulation import SimulatedBeamline
    from exitwave.profiles.storage import DataFolder

    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    times: dict[bool, list[float]] = {False: [], True: []}
    lost, said, refresh_s = 0.0, {}, 0.0
    with tempfile.TemporaryDirectory(dir=memory) as name:
        simulator = SimulatedBeamline("bl18b", ["--specimen", "memory"])
        data = DataFolder(Path(name))
        with open_session("bl18b", data=data, simulator=simulator, services=False) as session:
            for turn in range(2 * rounds + 1):
                live = start_live("tomography", data) if turn % 4 in (2, 3) else None
                if live is not None:
                    live.wait_ready()
                plan = session.namespace["ct"].fly_tomography(
                    0, 0.1 * num, num, exposure_s=0.05, num_flats=5, num_darks=5, flats="before"
                )
                taken: Any = session.RE(plan)
                uid = taken[0]
                run = session.open_run(uid)
                if turn:
                    times[live is not None].append(run.stop["time"] - run.start["time"])
                if live is not None:
                    lost += _duty(run, num, 0.05)[1]
                    said = live.wait_finished(uid, 120.0)
                    refresh_s = max(refresh_s, float(said["refresh_s"]))
                    live.stop()
                for file in data.frames.rglob("*.h5"):
                    file.unlink()
    return {
        "live_slowdown": float(np.median(times[True]) / np.median(times[False])),
        "live_spread_without": float(np.ptp(times[False]) / np.median(times[False])),
        "live_frames_lost": lost,
        "live_refresh_s": refresh_s,
        "live_preview_s": float(said["last_frame_to_volume_s"]),
    }


def _duty(run: Any, asked: int, exposure_s: float) -> tuple[float, float]:
    """Return exposure over elapsed time, and how many frames are missing."""
    times_s = np.sort(run.to_xarray()["hr_camera_timestamp"].values)
    return len(times_s) * exposure_s / float(times_s[-1] - times_s[0] + exposure_s), float(asked - len(times_s))
