"""A recorded series of 2048 x 2048 frames to a volume on disk: time a step, and memory beyond the libraries'."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

SIZE, ROWS, MEMORY_GB = 2048, 128, 2.0
Figures = dict[str, float]


def _write_series(path: Path, views: int) -> None:
    """Write projections of a rod with a hole, as Data Exchange, frame by frame."""
    rng = np.random.default_rng(1)
    column = np.arange(SIZE, dtype=np.float32)
    angles = np.arange(views) * 360.0 / views
    with h5py.File(path, "w") as file:
        data = file.create_dataset("exchange/data", (views, SIZE, SIZE), np.uint16, chunks=(1, SIZE, SIZE))
        noise = rng.standard_normal((SIZE, SIZE)).astype(np.float32)
        for k, angle in enumerate(np.radians(angles)):
            across = column - (1030.3 + 60.0 * np.cos(angle) + 20.0 * np.sin(angle))
            hole = across - 150.0 * np.cos(angle)
            chord = np.sqrt(np.maximum(600.0**2 - across**2, 0)) - np.sqrt(np.maximum(90.0**2 - hole**2, 0))
            row = 0.8 + 0.2 * np.cos(np.arange(SIZE, dtype=np.float32)[:, None] / 90.0)
            mean = 100.0 + 8000.0 * np.exp(-0.0012 * row * chord[None, :])
            data[k] = (mean + np.sqrt(mean) * np.roll(noise, 37 * k)).astype(np.uint16)
        for name, level in (("data_white", 8100.0), ("data_dark", 100.0)):
            frames = level + np.sqrt(level) * np.stack([np.roll(noise, 11 * k) for k in range(8)])
            file[f"exchange/{name}"] = frames.astype(np.uint16)
        file["exchange/theta"] = angles
        file["exchange/theta"].attrs["units"] = "deg"


def _peak_mb() -> float:
    """Return the most memory that this process has had; `ru_maxrss` would begin with that of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _run(path: Path, memory_gb: float) -> None:
    """Reconstruct some rows of a file in this process, and print what it took."""
    from exitwave.analysis.io import open_series
    from exitwave.analysis.tomography import Recipe, reconstruct_series

    begins: dict[str, float] = {}
    before_mb = _peak_mb()
    first = (SIZE - ROWS) // 2
    recipe = Recipe(rows=(first, first + ROWS), memory_gb=memory_gb)
    with open_series(path) as opened:
        result = reconstruct_series(
            replace(opened, pixel_nm=30.0),
            path.with_name("volume.h5"),
            recipe,
            progress=lambda what, _done, _all: begins.update({what: begins.get(what, time.perf_counter())}),
        )
    end = time.perf_counter()
    peak_mb = _peak_mb() - before_mb
    marks = [*begins.values(), end]
    steps = {what: late - early for what, early, late in zip(begins, marks, marks[1:], strict=False)}
    print(
        steps["correcting"],
        steps["removing stripes"],
        steps["finding the axis"],
        steps["reconstructing"],
        peak_mb,
        result.axis.centre_px - 1030.3,
    )


def pipeline_figures(views: int = 60) -> Figures:
    """Return seconds a step and MB, for `views` projections; half as many beside them tell how they grow."""
    figures: Figures = {}
    for count in (views // 2, views):
        with tempfile.TemporaryDirectory(prefix="exitwave-bench-") as folder:
            path = Path(folder) / "series.h5"
            _write_series(path, count)
            command = [sys.executable, __file__, str(path), str(MEMORY_GB)]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        correcting, stripes, axis, slices, peak_mb, off_px = (float(value) for value in told)
        name = f"pipeline_{count}"
        figures |= {
            f"{name}_correct_s": correcting,
            f"{name}_stripes_s": stripes,
            f"{name}_axis_s": axis,
            f"{name}_slice_s": slices / ROWS,
            f"{name}_peak_mb": peak_mb,
            f"{name}_axis_off_px": off_px,
        }
    return figures


if __name__ == "__main__":
    _run(Path(sys.argv[1]), float(sys.argv[2]))
