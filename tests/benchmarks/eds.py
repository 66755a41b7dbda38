"""Events and columns beside exspy and atomap in one run, and how fast the simulator makes events.

Peers come with the ``bench`` extra; it says if one lacks.
"""

from __future__ import annotations

import importlib
import time
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from scipy import constants

from exitwave.analysis.columns import fit_columns
from exitwave.analysis.eds import Accumulator, ChannelIndex, EnergyAxis, EnergyWindow, Events, dense_cube, window_maps
from exitwave.simulators.records.hdf_plugin import WriteFaults
from exitwave.simulators.stem.eds import Eds, RowRequest
from exitwave.simulators.stem.geometry import ScanPlan
from exitwave.simulators.stem.layout import INSTRUMENTS
from exitwave.simulators.stem.modes import Physics
from exitwave.simulators.stem.truth import StemTruth
from exitwave.simulators.stem.world import World

N_EVENTS, SHAPE, FRAMES = 10_000_000, (512, 512), 20
AXIS = EnergyAxis(2048, 0.01)
WINDOWS = (EnergyWindow(3.53, 4.29, "E1"), EnergyWindow(5.24, 6.00, "E2"))
SUBSET = 196


def _best(work: Callable[[], object], repeats: int = 5) -> float:
    """Return the best time after one call to warm up, s."""
    work()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def _peer(name: str) -> ModuleType | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError:
        print(f"  {name} is not installed: pip install exitwave[bench]")
        return None


def _events(rng: np.random.Generator) -> Events:
    """Ten million photons in the order of the scan: lines, and a continuum falling as 1 / k."""
    lines = rng.normal(rng.choice([205, 284, 804, 944, 971], N_EVENTS), 6.0)
    smooth = 50.0 * (1900.0 / 50.0) ** rng.random(N_EVENTS)
    channel = np.where(rng.random(N_EVENTS) < 0.6, lines, smooth).astype(np.uint16)
    pixel = np.sort(rng.integers(0, SHAPE[0] * SHAPE[1], (FRAMES, N_EVENTS // FRAMES), dtype=np.uint32), axis=1)
    starts = np.arange(FRAMES + 1, dtype=np.int64) * (N_EVENTS // FRAMES)
    segment = rng.integers(0, 4, N_EVENTS).astype(np.uint8)
    return Events(pixel.ravel(), channel, segment, starts, SHAPE, AXIS, 4)


def window_figures() -> dict[str, float]:
    """Time two window maps from events, from their index, and from the dense cube by exspy's signal.

    `window_ratio_exspy` compares what is asked when a window is moved: data in memory, index and cube made. The index
    grows while photons arrive (`eds_events_per_s_indexed`), so that nothing is left to be made when they are asked for.
    `window_ratio_pass` is the pass over the bare list of events, which is bound by memory and not by windows.
    """
    events = _events(np.random.default_rng(5))
    passes = _best(lambda: window_maps(events, WINDOWS))
    build = _best(lambda: ChannelIndex.of(events), 2)
    index = ChannelIndex.of(events)
    indexed = _best(lambda: index.window_maps(WINDOWS), 20)
    if not (index.window_maps(WINDOWS) == window_maps(events, WINDOWS)).all():
        raise RuntimeError("index and pass count different photons")
    out = {
        "eds_window_pass_ms": 1e3 * passes,
        "eds_window_index_ms": 1e3 * indexed,
        "eds_index_build_ms": 1e3 * build,
    }
    exspy = _peer("exspy")
    if exspy is None:
        return out
    begin = time.perf_counter()
    cube = dense_cube(events)
    dense = time.perf_counter() - begin
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signal = exspy.signals.EDSTEMSpectrum(np.ascontiguousarray(np.moveaxis(cube, 0, -1)))
        del cube
        energy = signal.axes_manager[-1]
        energy.scale, energy.units, energy.name = AXIS.gain_kev, "keV", "E"

        def slices() -> list[np.ndarray]:
            return [signal.isig[w.low_kev : w.high_kev].sum(axis=-1).data for w in WINDOWS]

        by_slices = _best(slices)
        if not (np.stack(slices()) == window_maps(events, WINDOWS)).all():
            raise RuntimeError("exspy counts different photons")
    return out | {
        "exspy_window_ms": 1e3 * by_slices,
        "dense_cube_ms": 1e3 * dense,
        "window_ratio_exspy": by_slices / indexed,
        "window_ratio_pass": by_slices / passes,
        "window_ratio_from_events": (dense + by_slices) / passes,
        "window_memory_ratio": signal.data.nbytes / (events.nbytes + 2 * 4 * SHAPE[0] * SHAPE[1]),
        "window_memory_ratio_index": signal.data.nbytes / (index.nbytes + 2 * 4 * SHAPE[0] * SHAPE[1]),
    }


def live_figures() -> dict[str, float]:
    """Feed batches of a tenth of a second of 500 kcps to the accumulator of the live display, and to an index."""
    events = _events(np.random.default_rng(6))
    live, index = Accumulator(SHAPE, AXIS, WINDOWS, 4), ChannelIndex(SHAPE, AXIS)
    batches = [slice(k, k + 50_000) for k in range(0, N_EVENTS, 50_000)]

    def work(*, indexed: bool) -> None:
        live.clear()
        index.clear()
        for b in batches:
            live.add(events.pixel[b], events.channel[b], events.segment[b])
            if indexed:
                index.add(events.pixel[b], events.channel[b])

    alone, both = _best(lambda: work(indexed=False), 2), _best(lambda: work(indexed=True), 2)
    if not (index.window_maps(WINDOWS) == live.maps).all():
        raise RuntimeError("index and accumulator count different photons")
    return {"eds_events_per_s": N_EVENTS / alone, "eds_events_per_s_indexed": N_EVENTS / both}


def _columns(side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Counts and positions of side x side columns, 14 pixels apart, 6 wide, 60 counts on 40."""
    spacing, fwhm = 14.0, 6.0
    h, k = (g.ravel() for g in np.mgrid[:side, :side])
    positions = np.column_stack([spacing * (h + 1) + rng.normal(0, 0.4, h.size), spacing * (k + 1.0)])
    y = np.arange(int(spacing * (side + 1)) + 1)
    image = np.full((y.size, y.size), 40.0)
    for cy, cx in positions:
        rows = slice(max(int(cy) - 12, 0), int(cy) + 13)
        cols = slice(max(int(cx) - 12, 0), int(cx) + 13)
        gy = np.exp(-4 * np.log(2) * (y[rows] - cy) ** 2 / fwhm**2)
        gx = np.exp(-4 * np.log(2) * (y[cols] - cx) ** 2 / fwhm**2)
        image[rows, cols] += 60.0 * np.outer(gy, gx)
    return rng.poisson(image).astype(np.float32), positions


def column_figures() -> dict[str, Any]:
    """Fit 10 000 columns; atomap's 2D Gaussians (ellipses, by least squares) on a part of them, scaled.

    Ours are ellipses too, so that both fit the same shape; ours have a pedestal and errors besides.
    """
    rng = np.random.default_rng(7)
    counts, positions = _columns(100, rng)
    start = positions + rng.normal(0, 0.5, positions.shape)
    ours = _best(lambda: fit_columns(counts, start, elliptic=True), 1)
    circular = _best(lambda: fit_columns(counts, start), 1)
    out: dict[str, Any] = {"columns": len(positions), "columns_ellipse_s": ours, "columns_circle_s": circular}
    if _peer("atomap.api") is None:
        return out
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        atoms = importlib.import_module("atomap.api")  # its modules import each other: only this order works
        few, where = _columns(round(SUBSET**0.5), rng)
        lattice = atoms.Sublattice(where[:, ::-1] + rng.normal(0, 0.5, where.shape), few)
        lattice.find_nearest_neighbors()
        begin = time.perf_counter()
        lattice.refine_atom_positions_using_2d_gaussian(percent_to_nn=0.4, show_progressbar=False)
        theirs = time.perf_counter() - begin
    each = theirs / len(where)
    return out | {
        "atomap_columns_timed": len(where),
        "atomap_scaled_s": each * len(positions),
        "column_ratio_atomap": each * len(positions) / ours,
    }


class _Still:
    """A Titan as delivered, its beam on."""

    def __init__(self, settings: dict[str, float]) -> None:
        self._settings = settings

    def axis(self, name: str, t: float) -> float:
        return 0.0

    def setting(self, name: str, t: float) -> float:
        return self._settings.get(name, 0.0)

    def passes(self, t: float) -> bool:
        return True


def simulator_figures(rate_cps: float = 1e5, dwell_us: float = 10.0, frames: int = 2) -> dict[str, float]:
    """Make frames of 512 x 512 pixels of SrTiO3 at a rate of X-rays, hidden errors, dead time and pile-up included.

    What counts is the processor time of this whole process, all its threads: what one core would need. Files and
    process variables are left out; `simulated_real_time` is the simulated time over it.
    """
    titan = INSTRUMENTS["titan-g2"]
    column = {
        "HighVoltage": titan.voltage_kv, "BeamCurrent": titan.current_pa, "ConvergenceAngle": titan.convergence_mrad,
        "SourceSize": titan.source_fwhm_pm,
    }  # fmt: skip
    truth = StemTruth.draw(18)
    side = SHAPE[0]
    plan = ScanPlan(4.0, side, side, (0, 0, side, side), 0.0, 1e-6 * dwell_us, 1e-4, False, False, frames)
    scale = 1.0
    for attempt in range(2):  # the first finds out what a yield gives, and compiles
        world = World(_Still(column), truth, titan, "SrTiO3", Physics(yield_scale=scale))
        eds = Eds(world.segments, truth, lambda: (0.0, 0.0), WriteFaults())
        eds.board.set("Acquire", 1)
        field, image = world.field(plan, 0.0, (0.0, 0.0)), np.zeros(SHAPE, np.float32)
        electrons = world.current_a(0.0) / constants.e * plan.dwell_s
        events, begin_s = 0, time.process_time()
        for frame in range(frames):
            for first in range(0, side, 8):
                held = 0
                for row in range(first, first + 8):
                    at_s = frame * plan.frame_s + row * plan.line_s
                    path = world.probe_path(plan, row, at_s, (0.0, 0.0), frame)
                    x, y = (np.ascontiguousarray(part) for part in field.grid(path.x_nm, path.y_nm))
                    line = RowRequest(x, y, electrons, at_s, plan.dwell_s, False, (frame << 16) | row, row * side)
                    held = eds.draw(field, line, image[row], held)
                pixel, _, _ = eds.collect(held, live=True, shelf=0.002, elapsed_s=8 * plan.line_s)
                events += len(pixel)
        spent_s, scanned_s = time.process_time() - begin_s, frames * plan.frame_s
        if attempt == 0:
            scale = rate_cps * scanned_s / events
    return {
        "simulated_cps": events / scanned_s,
        "simulated_events_per_s": events / spent_s,
        "simulated_real_time": scanned_s / spent_s,
    }


def eds_figures() -> dict[str, Any]:
    """Return all figures."""
    return window_figures() | live_figures() | column_figures() | simulator_figures()


if __name__ == "__main__":
    for key, value in eds_figures().items():
        print(f"{key:<30} {value:.4g}")
