"""Reconstruction and shell correlation beside algotom, astra, scikit-image and numpy, in one run.

The phantom is analytic (ellipses whose projections are a formula), so nobody's projector makes the data. Peers get the
same float32 sinograms and work as they are meant to: algotom's compiled back-projection on all cores, astra's CPU
algorithms with their fastest projector, scikit-image's iradon. Rounds of all of them follow one another and the median
of each is taken. ``python tests/benchmarks/tomography.py`` prints the figures as JSON; those of a peer that is not
installed are null.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np

from exitwave.analysis.resolution import fourier_shell_correlation
from exitwave.analysis.tomography import Geometry, reconstruct, reconstruct_to_file

__all__ = ["tomography_figures"]

SLICES = 16
SIRT_ITERATIONS = 20
Figures = dict[str, float | None]


def _ellipses() -> ModuleType:
    """Return the closed forms that the unit tests use, too."""
    path = Path(__file__).resolve().parents[1] / "unit" / "analysis" / "tomography" / "ellipses.py"
    spec = importlib.util.spec_from_file_location("exitwave_bench_ellipses", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _rounds(work: dict[str, Callable[[], Any]], repeats: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Run all in turn, so many times after once; return median seconds and last results."""
    results = {name: run() for name, run in work.items()}
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, run in work.items():
            start = time.perf_counter()
            results[name] = run()
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(times)) for name, times in seconds.items()}, results


def _astra(
    algorithm: str, sinogram: np.ndarray, angles_deg: np.ndarray, iterations: int = 1
) -> Callable[[], np.ndarray]:
    """Return one run of a CPU algorithm on one slice; its projector and arrays are made once."""
    astra = importlib.import_module("astra")
    size = sinogram.shape[1]
    volume = astra.create_vol_geom(size, size)
    detector = astra.create_proj_geom("parallel", 1.0, size, np.radians(angles_deg))
    config = astra.astra_dict(algorithm)
    config["ProjectorId"] = astra.create_projector("linear", detector, volume)
    config["ProjectionDataId"] = astra.data2d.create("-sino", detector, sinogram)
    config["ReconstructionDataId"] = astra.data2d.create("-vol", volume)
    if algorithm == "FBP":
        config["option"] = {"FilterType": "ram-lak"}

    def run() -> np.ndarray:
        astra.data2d.store(config["ReconstructionDataId"], 0.0)
        number = astra.algorithm.create(config)
        astra.algorithm.run(number, iterations)
        astra.algorithm.delete(number)
        return np.asarray(astra.data2d.get(config["ReconstructionDataId"]))[::-1]  # its rows go up

    return run


def _fbp(size: int, views: int, repeats: int, slices: int = SLICES) -> Figures:
    """Seconds per slice and rms errors of direct and gridded back-projection with the plain ramp."""
    ellipses = _ellipses()
    angles = np.linspace(0.0, 180.0, views, endpoint=False)
    centre = 0.5 * (size - 1)
    bodies = ellipses.shepp_logan(0.48 * size)
    one = ellipses.sinogram(bodies, angles, np.arange(size) - centre)
    stack = np.ascontiguousarray(np.repeat(one[:, None], slices, axis=1))
    geometry = Geometry(angles, size, centre)
    work: dict[str, Callable[[], Any]] = {
        "fourier": lambda: reconstruct(stack, geometry)[0],
        "direct": lambda: reconstruct(stack, geometry, "fbp")[0],
    }
    count = {"fourier": slices, "direct": slices, "algotom": slices, "astra": 1, "skimage": 1}
    if importlib.util.find_spec("algotom") is not None:
        peer = importlib.import_module("algotom.rec.reconstruction")

        def algotom() -> np.ndarray:
            found = peer.fbp_reconstruction(
                stack, centre, np.radians(angles), filter_name=None, apply_log=False, gpu=False, ncore=2
            )
            return np.asarray(found[::-1, 0])  # its rows go up

        work["algotom"] = algotom
    if importlib.util.find_spec("astra") is not None and size <= 512:
        work["astra"] = _astra("FBP", one, angles)
    if importlib.util.find_spec("skimage") is not None and size <= 512:
        iradon = importlib.import_module("skimage.transform").iradon
        # skimage has the axis in column size // 2
        exact = ellipses.sinogram(bodies, angles, np.arange(size) - size // 2)
        work["skimage"] = lambda: iradon(exact.T, theta=angles, circle=True)
    seconds, found = _rounds(work, repeats)
    key = f"{size}x{views}"
    mask = ellipses.circle(size, 0.48 * size)
    truth = ellipses.section(bodies, size)
    result: Figures = {f"fbp_ms_{name}_{key}": 1e3 * s / count[name] for name, s in seconds.items()}
    ours = seconds["fourier"] / slices
    for name in ("algotom", "astra"):
        if size <= 512 or name == "algotom":
            result[f"fbp_ratio_{name}_{key}"] = seconds[name] / count[name] / ours if name in seconds else None
    for name in ("fourier", "direct", "algotom", "astra"):
        if name in found:
            result[f"fbp_rms_{name}_{key}"] = ellipses.rms(found[name], truth, mask)
    if "skimage" in found:
        # and in row and column size // 2, rows going up: the truth on its grid
        moved = [type(b)(b.mu, b.x + 0.5, b.z - 0.5, b.a, b.b, b.turn_deg) for b in bodies]
        aside = ellipses.section(moved, size)
        result[f"fbp_rms_skimage_{key}"] = ellipses.rms(found["skimage"][::-1], aside, mask)
    if size <= 512:
        result["fbp_rms_ratio"] = result[f"fbp_rms_fourier_{key}"] / result[f"fbp_rms_direct_{key}"]  # type: ignore[operator]
    return result


def _sirt(size: int = 512, views: int = 180, repeats: int = 1) -> Figures:
    """SIRT with as many iterations as astra's, on as many slices as fit side by side."""
    ellipses = _ellipses()
    angles = np.linspace(0.0, 180.0, views, endpoint=False)
    centre = 0.5 * (size - 1)
    bodies = ellipses.shepp_logan(0.48 * size)
    one = ellipses.sinogram(bodies, angles, np.arange(size) - centre)
    stack = np.ascontiguousarray(np.repeat(one[:, None], SLICES, axis=1))
    geometry = Geometry(angles, size, centre)
    options: dict[str, Any] = {"iterations": SIRT_ITERATIONS, "nonnegative": False, "circle": False}
    work: dict[str, Callable[[], Any]] = {
        "ours": lambda: reconstruct(stack, geometry, "sirt", **options)[0],
        "alone": lambda: reconstruct(stack[:, :1], geometry, "sirt", **options)[0],
    }
    if importlib.util.find_spec("astra") is not None:
        work["astra"] = _astra("SIRT", one, angles, SIRT_ITERATIONS)
    seconds, found = _rounds(work, repeats)
    truth, mask = ellipses.section(bodies, size), ellipses.circle(size, 0.48 * size)
    result: Figures = {
        "sirt_ms_per_iteration": 1e3 * seconds["ours"] / SLICES / SIRT_ITERATIONS,
        "sirt_ms_per_iteration_one_slice": 1e3 * seconds["alone"] / SIRT_ITERATIONS,
        "sirt_rms": ellipses.rms(found["ours"], truth, mask),
        "sirt_rms_astra": None,
        "sirt_ratio_astra": None,
        "sirt_ratio_astra_one_slice": None,
    }
    if "astra" in found:
        result["sirt_rms_astra"] = ellipses.rms(found["astra"], truth, mask)
        result["sirt_ratio_astra"] = seconds["astra"] * SLICES / seconds["ours"]
        result["sirt_ratio_astra_one_slice"] = seconds["astra"] / seconds["alone"]
    return result


def numpy_shell_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the shell correlation as one writes it down in numpy: transforms, radii, sums by shell."""
    size = first.shape[0]
    fa, fb = np.fft.fftn(first), np.fft.fftn(second)
    f = np.fft.fftfreq(size)
    radius = np.sqrt(f[:, None, None] ** 2 + f[None, :, None] ** 2 + f[None, None, :] ** 2)
    shell = (radius * size).astype(int).ravel()
    cross = np.bincount(shell, (fa * np.conj(fb)).real.ravel())[: size // 2]
    power_a = np.bincount(shell, (np.abs(fa) ** 2).ravel())[: size // 2]
    power_b = np.bincount(shell, (np.abs(fb) ** 2).ravel())[: size // 2]
    return np.asarray(cross / np.sqrt(power_a * power_b))


def _fsc(size: int = 256, repeats: int = 5) -> Figures:
    """Shell correlation of two volumes without a mask, as the script has none, and with one."""
    random = np.random.default_rng(1)
    signal = random.normal(size=(size, size, size)).astype(np.float32)
    first, second = (signal + random.normal(size=signal.shape).astype(np.float32) for _ in range(2))
    seconds, found = _rounds(
        {
            "ours": lambda: fourier_shell_correlation(first, second, 1.0, mask="none").correlation,
            "masked": lambda: fourier_shell_correlation(first, second, 1.0).correlation,
            "numpy": lambda: numpy_shell_correlation(first, second),
        },
        repeats,
    )
    return {
        "fsc_s": seconds["ours"],
        "fsc_masked_s": seconds["masked"],
        "fsc_numpy_s": seconds["numpy"],
        "fsc_ratio_numpy": seconds["numpy"] / seconds["ours"],
        "fsc_largest_difference": float(np.abs(found["ours"] - found["numpy"])[1:].max()),
    }


def _memory(size: int = 2048, views: int = 900, memory_gb: float = 2.0) -> Figures:
    """Stream pieces of a tomogram `size` wide from file to file: seconds against slices, and memory taken.

    The source is a sparse file of all the projections, of which only the rows of the pieces are read. A straight line
    through the seconds gives what a slice costs, and what is spent once; how far the pieces are off it says whether
    cost is linear. Then the same, shorter, with as many projections as columns.
    """
    result: Figures = {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        for count, pieces in ((views, (16, 32, 64, 128)), (size, (16, 64))):
            angles = np.linspace(0.0, 180.0, count, endpoint=False)
            geometry = Geometry(angles, size, 0.5 * (size - 1))
            with h5py.File(Path(folder) / f"{count}.h5", "w") as file:
                # contiguous, never filled: reads as zeros
                source = file.create_dataset("p", (count, size, size), np.float32)
                seconds = [_stream(source, geometry, rows, memory_gb, Path(folder)) for rows in (16, *pieces)][1:]
            slope, once = np.polyfit(pieces, seconds, 1)
            result[f"stream_hours_{size}_cubed_{count}"] = float(slope) * size / 3600
            result |= {f"stream_s_{rows}_slices_{count}": s for rows, s in zip(pieces, seconds, strict=True)}
            if count == views:
                off = np.abs(np.asarray(seconds) - (once + slope * np.asarray(pieces))) / np.asarray(seconds)
                result |= {"stream_s_per_slice": float(slope), "stream_s_once": float(once)}
                result["stream_largest_part_off_the_line"] = float(off.max())
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result["stream_memory_asked_gb"] = memory_gb
    result["stream_memory_taken_gb"] = (after - before) * 1024 / 1e9
    return result


def _stream(source: h5py.Dataset, geometry: Geometry, rows: int, memory_gb: float, folder: Path) -> float:
    """Return the seconds that so many slices take."""
    start = time.perf_counter()
    middle = 0.5 * (source.shape[1] - 1)
    path = folder / "out.h5"
    reconstruct_to_file(
        source, geometry, path, voxel_nm=30.0, rows=(0, rows), middle=middle, memory_gb=memory_gb, overwrite=True
    )
    return time.perf_counter() - start


def tomography_figures() -> Figures:
    """Return all the figures."""
    result = _memory()  # first: what the process ever took stays with it
    result |= _fbp(512, 180, repeats=5) | _fbp(2048, 900, repeats=1, slices=4)
    return result | _sirt() | _fsc()


if __name__ == "__main__":
    print(json.dumps(tomography_figures(), indent=2))
