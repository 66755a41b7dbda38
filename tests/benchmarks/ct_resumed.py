"""A tomogram that was killed in mid-scan and gone on with, beside two that were not: is its volume as good?"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

NUM, SIZE, EXPOSURE_S = 180, 256, 1.0
SCRIPT = """
import sys
from pathlib import Path
from exitwave.profiles.session import open_session
from exitwave.profiles.storage import DataFolder

prefix, folder, num, exposure_s = sys.argv[1:]
with open_session("bl18b", prefix=prefix, data=DataFolder(Path(folder)), services=False) as session:
    plan = session.namespace["ct"].step_tomography
    session.RE(plan(0, 180, int(num), exposure_s=float(exposure_s), num_flats=10, num_darks=5))
"""


def _killed(prefix: str, data: Any, folder: Path) -> str:
    """Begin a tomogram in a process of its own, kill it after a third of the projections; return the run's uid."""
    from exitwave.profiles.storage import runs

    before = next(iter(runs(data.journal)), None)
    script = folder / "scan.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), prefix, str(data.root), str(NUM), str(EXPOSURE_S)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120.0
    try:
        while time.monotonic() < deadline and process.poll() is None:
            newest = next(iter(runs(data.journal)), None)
            if newest is not None and (before is None or newest.uid != before.uid):
                taken = [doc["seq_nums"]["stop"] for name, doc in newest.documents() if name == "stream_datum"]
                if max(taken, default=0) > NUM // 3:
                    return str(newest.uid)
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait(10.0)
    raise RuntimeError("the scan that was to be killed took no projections")


def _volume(tomogram: Any) -> np.ndarray:
    """Correct, align and reconstruct, all three in one way."""
    from exitwave.analysis.tomography import Geometry, align_projections, centre_from_mass, reconstruct

    order = np.argsort(tomogram.angles_deg)
    projections = tomogram.line_integrals()[order]
    angles = tomogram.angles_deg[order]
    projections -= np.median(projections[:, :, :12], axis=(1, 2))[:, None, None]
    centre = centre_from_mass(projections, angles).centre
    geometry = align_projections(projections, Geometry(angles, SIZE, centre)).geometry
    return np.asarray(reconstruct(projections, geometry, filter_name="hann", cutoff=0.5))


def _compare(first: np.ndarray, second: np.ndarray, voxel_nm: float) -> tuple[float, float]:
    """Rms difference in the middle as a part of the mean, and shell correlation, with one brought to the other."""
    from scipy import ndimage

    from exitwave.analysis.registration import register
    from exitwave.analysis.resolution import fourier_shell_correlation

    upright, axial = register(first[:, SIZE // 2], second[:, SIZE // 2]), register(first[SIZE // 2], second[SIZE // 2])
    moved = ndimage.shift(second, (-upright.dy, -axial.dy, -axial.dx), order=3)
    middle = tuple(slice(3 * n // 8, 5 * n // 8) for n in first.shape)
    rms = float(np.sqrt(np.mean((first[middle] - moved[middle]) ** 2)) / abs(np.mean(first[middle])))
    return rms, fourier_shell_correlation(first, moved, voxel_nm).half_bit_nm


def resumed_figures() -> dict[str, float]:
    """Compare volumes of one particle: two uninterrupted tomograms, and one killed (kill -9) and resumed.

    Returns
    -------
    dict
        ``resumed_angles_twice``, ``resumed_angles_missing``; ``resumed_rms``, rms difference of the resumed volume from
        an uninterrupted one, as a part of the mean attenuation, beside ``uninterrupted_rms`` of the two that were not;
        ``resumed_fsc_nm`` and ``uninterrupted_fsc_nm``, Fourier shell correlation of the same pairs (half-bit).
    """
    from exitwave.plans.stubs import set_binning, set_region
    from exitwave.profiles.session import open_session
    from exitwave.profiles.simulation import SimulatedBeamline
    from exitwave.profiles.storage import DataFolder

    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        folder = Path(name)
        data = DataFolder(folder / "data")
        simulator = SimulatedBeamline("bl18b", ["--specimen", "ncm-cycled", "--speed", "20", "--seed", "7"])
        with open_session("bl18b", data=data, simulator=simulator, services=False) as session:
            space = session.namespace
            camera = session.instrument.microscope.camera
            session.instrument.microscope.detector.objective.set("4x").wait(timeout=30)
            corner = (2048 - 2 * SIZE) // 2
            session.RE(set_binning(camera, 2, 2))
            session.RE(set_region(camera, corner, corner, 2 * SIZE, 2 * SIZE))
            uids = []
            for _ in range(2):
                plan = space["ct"].step_tomography(0, 180, NUM, exposure_s=EXPOSURE_S, num_flats=10, num_darks=5)
                taken: Any = session.RE(plan)
                uids.append(str(taken[0]))
            broken = _killed(simulator.prefix, data, folder)
            session.RE(space["ct"].resume(broken))
            volumes, index = [], np.empty(0, np.intp)
            for uid in (*uids, broken):
                with session.open_tomogram(uid) as tomogram:
                    index, voxel_nm = tomogram.index, float(tomogram.pixel_nm)
                    volumes.append(_volume(tomogram))
    first, second, resumed = volumes
    figures = {
        "resumed_angles_twice": float(len(index) - len(np.unique(index))),
        "resumed_angles_missing": float(NUM - len(np.unique(index))),
    }
    figures["resumed_rms"], figures["resumed_fsc_nm"] = _compare(first, resumed, voxel_nm)
    figures["uninterrupted_rms"], figures["uninterrupted_fsc_nm"] = _compare(first, second, voxel_nm)
    return figures
