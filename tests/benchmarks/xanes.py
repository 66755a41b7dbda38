"""How fast edge maps and linear combinations are beside loops over pixels, numpy and scipy, in one run.

``python tests/benchmarks/xanes.py`` prints the figures as JSON. The loops run over some pixels and are scaled.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import scipy.optimize

from exitwave.analysis.xanes import (
    LinearCombination,
    Normalisation,
    StackOperator,
    TemplateShift,
    correct_stack,
    edge_map,
)

__all__ = ["xanes_figures"]

E0 = 8345.0
PRE, POST = (-100.0, -25.0), (30.0, 220.0)
WINDOW = (-20.0, 30.0)


LARCH_PIXELS = 200


def _energies() -> np.ndarray:
    parts = [np.arange(-100, -20, 8.0), np.arange(-20, 15, 1.0), np.arange(15, 60, 6.0), np.arange(60, 221, 24.0)]
    return E0 + np.concatenate(parts)


def _spectrum(offset: np.ndarray) -> np.ndarray:
    edge = 0.5 + np.arctan(offset / 1.5) / np.pi
    return np.asarray((edge + 0.6 * np.exp(-(((offset - 4.0) / 2.5) ** 2))) * (1.0 - 3e-4 * offset))


def _stack(e: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Optical depths and variances, float32, at some 5000 photons, edges +- 1.5 eV apart."""
    rng = np.random.default_rng(1)
    shift = rng.uniform(-1.5, 1.5, (size, size)).astype(np.float32)
    mu, variance = (np.empty((len(e), size, size), np.float32) for _ in range(2))
    for k, energy in enumerate(e):
        depth = 0.3 + 0.8 * _spectrum(np.float32(energy - E0) - shift)
        variance[k] = np.exp(depth) / 5000
        mu[k] = depth + np.sqrt(variance[k]) * rng.standard_normal(shift.shape, dtype=np.float32)
    return mu, variance


def _best(work: Callable[[], object], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    return best


def _cubic_crossing(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Root between the two inner of four points (4, pixels), by bisection and Newton on the cubic."""
    d01, d12, d23 = ((y[i + 1] - y[i]) / (x[i + 1] - x[i]) for i in range(3))
    d012, d123 = (d12 - d01) / (x[2] - x[0]), (d23 - d12) / (x[3] - x[1])
    d0123 = (d123 - d012) / (x[3] - x[0])
    at = x[1] - y[1] * (x[2] - x[1]) / (y[2] - y[1])
    for _ in range(4):
        a, b, c = at - x[0], at - x[1], at - x[2]
        value = y[0] + a * (d01 + b * (d012 + c * d0123))
        at = at - value / (d01 + d012 * (a + b) + d0123 * (a * b + a * c + b * c))
    return np.asarray(at)


def _edge_numpy(e: np.ndarray, stack: np.ndarray) -> np.ndarray:
    """Half heights the vectorised way: polyfit of all pixels at once, float64, then masks and take_along_axis."""
    offset = e - E0
    y = stack.reshape(len(e), -1).astype(np.float64)
    before, after = (offset >= PRE[0]) & (offset <= PRE[1]), (offset >= POST[0]) & (offset <= POST[1])
    line = np.polyfit(offset[before], y[before], 1)
    flat = y - (line[0] * offset[:, None] + line[1])
    step = np.polyfit(offset[after], flat[after], 1)[1]
    inside = np.flatnonzero((offset >= WINDOW[0]) & (offset <= WINDOW[1]))
    x, h = offset[inside], flat[inside] / step - 0.5
    top = h.argmax(axis=0)
    rows = np.arange(len(x))[:, None]
    i = np.where((h < 0) & (rows < top), rows, -1).max(axis=0)
    i = np.clip(i, 1, len(x) - 3)
    four = i + np.arange(-1, 3)[:, None]
    return (E0 + _cubic_crossing(x[four], np.take_along_axis(h, four, axis=0))).reshape(stack.shape[1:])


def _edge_loop(e: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    """Half heights pixel by pixel, as a script does it."""
    offset = e - E0
    before, after = (offset >= PRE[0]) & (offset <= PRE[1]), (offset >= POST[0]) & (offset <= POST[1])
    inside = np.flatnonzero((offset >= WINDOW[0]) & (offset <= WINDOW[1]))
    x = offset[inside]
    edges = np.empty(spectra.shape[1])
    for p in range(spectra.shape[1]):
        y = spectra[:, p].astype(np.float64)
        flat = y - np.polyval(np.polyfit(offset[before], y[before], 1), offset)
        step = np.polyfit(offset[after], flat[after], 1)[1]
        h = flat[inside] / step - 0.5
        below = np.flatnonzero(h[: int(h.argmax())] < 0)
        i = min(max(int(below[-1]), 1), len(x) - 3)
        edges[p] = E0 + _cubic_crossing(x[i - 1 : i + 3], h[i - 1 : i + 3])
    return edges


def _edge_larch(e: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    """Half heights pixel by pixel, normalised by xraylarch with the same E0, ranges and order."""
    from larch import Group
    from larch.xafs import pre_edge

    offset = e - E0
    inside = np.flatnonzero((offset >= WINDOW[0]) & (offset <= WINDOW[1]))
    x = offset[inside]
    edges = np.empty(spectra.shape[1])
    for p in range(spectra.shape[1]):
        group = Group(energy=e, mu=spectra[:, p].astype(np.float64))
        pre_edge(
            group, e0=E0, pre1=PRE[0], pre2=PRE[1], norm1=POST[0], norm2=POST[1], nnorm=1, nvict=0, make_flat=False
        )
        h = group.norm[inside] - 0.5
        below = np.flatnonzero(h[: int(h.argmax())] < 0)
        i = min(max(int(below[-1]), 1), len(x) - 3)
        edges[p] = E0 + _cubic_crossing(x[i - 1 : i + 3], h[i - 1 : i + 3])
    return edges


def _highest_mb() -> float:
    """Return the highest resident memory of this program, MB; getrusage would count its parent's, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _peak_mb(size: int, folder: str) -> list[float]:
    """Correct, resample and map 60 energies through files; return wall times, memory beyond the start, all of it."""
    before = _highest_mb()
    e = _energies()
    rng = np.random.default_rng(0)
    flat = np.full((size, size), 2000.0, np.float32)
    thickness = rng.uniform(0.5, 1.0, (size, size)).astype(np.float32)

    class Frames:
        def __len__(self) -> int:
            return len(e)

        def __getitem__(self, k: int) -> np.ndarray:
            depth = thickness * np.float32(_spectrum(np.array(e[k] - E0)) + 0.3)
            return np.asarray(flat * np.exp(-depth)).astype(np.uint16)

    class Flats(Frames):
        def __getitem__(self, k: int) -> np.ndarray:
            return flat

    scale = 8333.0 / e
    operator = StackOperator(scale, np.full((len(e), 2), 0.3), ((size - 1) / 2, (size - 1) / 2))
    begin = time.perf_counter()
    with h5py.File(Path(folder) / "stack.h5", "w") as file:
        chunks = (1, 64, size)
        mu = file.create_dataset("mu", (len(e), size, size), "f4", chunks=chunks)
        variance = file.create_dataset("variance", (len(e), size, size), "f4", chunks=chunks)
        correct_stack(Frames(), Flats(), 0.0, operator, out=mu, out_variance=variance)
        corrected = time.perf_counter()
        found = edge_map(mu, Normalisation(e, E0, PRE, POST), variance)
    done = time.perf_counter()
    peak = _highest_mb()
    known = float(np.isfinite(found.energy_ev).mean())
    return [corrected - begin, done - corrected, peak - before, peak, known]


def xanes_figures(size: int = 1024, repeats: int = 3, loop_pixels: int = 2000, big: int = 2048) -> dict[str, float]:
    """Return speeds, ratios and differences: 60 energies x `size`^2, and the memory that `big`^2 takes.

    Edge maps: half heights, the same definition three times. Linear combination: three standards, not
    negative. Best of `repeats`; ours writes its deviations and misfits along with the fractions.
    """
    e = _energies()
    mu, variance = _stack(e, size)
    normalisation = Normalisation(e, E0, PRE, POST, order=1)
    pixels = size * size
    some = np.random.default_rng(0).choice(pixels, loop_pixels, replace=False)
    spectra = np.ascontiguousarray(mu.reshape(len(e), -1)[:, some])

    ours_map = edge_map(mu, normalisation, window_ev=WINDOW)
    ours = _best(lambda: edge_map(mu, normalisation, window_ev=WINDOW), repeats)
    edge_map(mu[:, :8], normalisation, variance[:, :8])
    with_sd = _best(lambda: edge_map(mu, normalisation, variance, window_ev=WINDOW), repeats)
    numpy_map = _edge_numpy(e, mu)
    numpy_s = _best(lambda: _edge_numpy(e, mu), 2)
    loop_s = _best(lambda: _edge_loop(e, spectra), 2) * pixels / loop_pixels
    difference = np.abs(ours_map.energy_ev - numpy_map)
    loop_difference = np.abs(ours_map.energy_ev.reshape(-1)[some] - _edge_loop(e, spectra))
    larch: dict[str, float] = {}
    if importlib.util.find_spec("larch") is not None:
        few = spectra[:, :LARCH_PIXELS]
        larch_s = _best(lambda: _edge_larch(e, few), 2) * pixels / LARCH_PIXELS
        apart = ours_map.energy_ev.reshape(-1)[some][:LARCH_PIXELS] - _edge_larch(e, few)
        # Larch's ranges end a point earlier or later than asked
        larch = {"edge_ratio_larch": larch_s / ours, "edge_larch_difference_rms_ev": float(np.sqrt(np.mean(apart**2)))}

    x = np.arange(E0 - 140, E0 + 260, 0.5)
    standards = {f"s{i}": (x, _spectrum(x - E0 - move)) for i, move in enumerate((-1.5, 0.0, 1.5))}
    fit = LinearCombination(e, standards, sum_to_one=False)
    fractions = fit.fit(mu)
    lcf_s = _best(lambda: fit.fit(mu), repeats)

    def loop() -> np.ndarray:
        return np.stack(
            [scipy.optimize.nnls(fit.design, spectra[:, p].astype(np.float64))[0] for p in range(loop_pixels)]
        )

    nnls_s = _best(loop, 2) * pixels / loop_pixels
    same = (fractions.fractions * fractions.amplitude).reshape(3, -1)[:, some]
    lcf_difference = float(np.abs(same.T - loop()).max())

    template = TemplateShift(e, x, _spectrum(x - E0))
    rows = max(1, size // 8)
    start = ours_map.energy_ev[:rows] - float(np.median(ours_map.energy_ev))
    template.fit(mu[:, :8], variance[:, :8], start[:8])
    part, part_variance = np.ascontiguousarray(mu[:, :rows]), np.ascontiguousarray(variance[:, :rows])
    template_s = _best(lambda: template.fit(part, part_variance, start), 1) * size / rows

    with tempfile.TemporaryDirectory() as folder:
        # a process of its own: its highest memory is this work's alone
        command = [sys.executable, __file__, "--memory", str(big), folder]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    correct_s, map_s, peak, whole, known = json.loads(answer)
    return {
        "edge_map_s": ours,
        "edge_map_with_sd_s": with_sd,
        "edge_numpy_s": numpy_s,
        "edge_loop_s": loop_s,
        "edge_ratio_loop": loop_s / ours,
        "edge_ratio_numpy": numpy_s / ours,
        "edge_difference_ev": float(np.nanmax(difference)),
        **larch,
        "edge_loop_difference_ev": float(np.nanmax(loop_difference)),
        "lcf_s": lcf_s,
        "lcf_ratio_nnls": nnls_s / lcf_s,
        "lcf_difference": lcf_difference,
        "template_s": template_s,
        "stack_2048_correct_s": correct_s,
        "stack_2048_map_s": map_s,
        "stack_2048_peak_mb": peak,
        "stack_2048_peak_with_libraries_mb": whole,
        "stack_2048_known_share": known,
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        print(json.dumps(_peak_mb(int(sys.argv[2]), sys.argv[3])))
    else:
        print(json.dumps(xanes_figures(), indent=2))
