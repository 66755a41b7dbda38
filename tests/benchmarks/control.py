"""Figures of the control layer, on frames that cost the simulator nothing (2048 x 2048, uint16)."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

SHAPE = (2048, 2048)
SPEED = 10.0
"""Of the simulated clock: puts the camera's own limit of 100 frames/s out of the way of the writer."""


def _write_and_read_bare(folder: Path, frames: np.ndarray, count: int) -> float:
    """Frames/s of a bare h5py writer (chunk per frame, direct chunk write) that reads its file back."""
    path = folder / "bare.h5"
    begin = time.perf_counter()
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset("data", (count, *SHAPE), np.uint16, chunks=(1, *SHAPE))
        for i in range(count):
            data.id.write_direct_chunk((i, 0, 0), frames[i % len(frames)])
    with h5py.File(path) as file:
        _read_all(file["data"], count)
    seconds = time.perf_counter() - begin
    path.unlink()
    return count / seconds


def _read_all(dataset: h5py.Dataset, count: int) -> None:
    buffer = np.empty(SHAPE, np.uint16)
    for i in range(count):
        dataset.read_direct(buffer, np.s_[i])


def write_figures(num_frames: int = 100, rounds: int = 7) -> dict[str, float]:
    """Measure frames written by the simulated camera and read back, beside a bare h5py writer.

    Returns
    -------
    dict
        ``write_fps``, ``h5py_fps``, ``write_ratio_h5py``: medians over rounds, the two one after the other.
    """
    from exitwave.profiles.session import open_session
    from exitwave.profiles.simulation import SimulatedBeamline
    from exitwave.profiles.storage import DataFolder

    # In memory where there is such a file system: the disk is the same for both, and noisy.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        folder = Path(name)
        simulator = SimulatedBeamline("bl18b", ["--specimen", "memory", "--speed", str(SPEED)])
        with open_session("bl18b", data=DataFolder(folder), simulator=simulator, services=False) as session:
            return _rounds(session, folder, num_frames, rounds)


def _camera_rate(camera, num_frames: int) -> float:
    """Frames/s written by the camera's file plugin and read back."""
    from exitwave.devices import Acquisition

    camera.stage()
    camera.prepare(Acquisition(0.001, num_frames))
    begin = time.perf_counter()
    camera.kickoff()
    camera.complete().wait(timeout=120)
    path = Path(camera.hdf.full_file_name.get())
    if camera.num_dropped():
        raise RuntimeError(f"{camera.num_dropped()} of {num_frames} frames lost: nothing is measured")
    with h5py.File(path, "r", libver="latest", swmr=True) as file:
        _read_all(file["entry/data/data"], num_frames)
    seconds = time.perf_counter() - begin
    camera.unstage()
    path.unlink()
    return num_frames / seconds


def _rounds(session, folder: Path, num_frames: int, rounds: int) -> dict[str, float]:
    from ophyd import EpicsSignal

    camera = session.namespace["hr_camera"]
    # The camera is faster than any disk: its frames wait in the plugin's queue, and the writer sets the rate.
    queue = EpicsSignal(f"{camera.hdf.prefix}QueueSize", name="queue")
    queue.wait_for_connection(timeout=10)
    queue.set(num_frames + 8, settle_time=0.1).wait(timeout=10)
    frames = np.random.default_rng(1).poisson(400, (4, *SHAPE)).astype(np.uint16)
    ours, bare = [], []
    for _ in range(rounds):
        ours.append(_camera_rate(camera, num_frames))
        bare.append(_write_and_read_bare(folder, frames, num_frames))
    return {
        "write_fps": float(np.median(ours)),
        "h5py_fps": float(np.median(bare)),
        "write_ratio_h5py": float(np.median(np.array(ours) / np.array(bare))),
        "write_ratio_h5py_least": float(np.min(np.array(ours) / np.array(bare))),
    }


def overhead_figures(exposure_s: float = 0.05, burst: int = 200, points: int = 100) -> dict[str, float]:
    """Measure what a radiograph and a triggered point cost beyond exposure and readout, at the real clock."""
    import bluesky.plan_stubs as bps
    import bluesky.preprocessors as bpp

    from exitwave.devices import Acquisition
    from exitwave.profiles.session import open_session
    from exitwave.profiles.simulation import SimulatedBeamline
    from exitwave.profiles.storage import DataFolder

    with tempfile.TemporaryDirectory() as name:
        simulator = SimulatedBeamline("bl18b", ["--specimen", "memory"])
        with open_session("bl18b", data=DataFolder(Path(name)), simulator=simulator, services=False) as session:
            space = session.namespace
            camera, engine = space["hr_camera"], session.RE
            radiograph = space["txm"].radiograph
            engine(radiograph(exposure_s, 2, num_flats=0, num_darks=0))
            begin = time.perf_counter()
            engine(radiograph(exposure_s, burst, num_flats=0, num_darks=0))
            shutters_moving = time.perf_counter() - begin
            # As in a series: the photon shutter stays open, and only the fast shutter moves.
            space["photon_shutter"].set("open").wait(timeout=20)
            begin = time.perf_counter()
            engine(radiograph(exposure_s, burst, num_flats=0, num_darks=0))
            whole = time.perf_counter() - begin
            space["photon_shutter"].set("close").wait(timeout=20)

            marks: list[float] = []

            @bpp.stage_decorator([camera])
            @bpp.run_decorator(md={"plan_name": "points"})
            def steps():
                yield from bps.prepare(camera, Acquisition(exposure_s), wait=True)
                for _ in range(points + 1):
                    yield from bps.checkpoint()
                    yield from bps.trigger_and_read([camera])
                    marks.append(time.perf_counter())

            engine(steps())
    per_point = (marks[-1] - marks[0]) / points
    return {
        "burst_overhead_ms": 1e3 * (whole - burst * exposure_s) / burst,
        "burst_overhead_with_photon_shutter_ms": 1e3 * (shutters_moving - burst * exposure_s) / burst,
        "step_overhead_ms": 1e3 * (per_point - exposure_s - camera.readout_s),
    }
