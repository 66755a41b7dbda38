"""Live spectrum images: spectrum, window maps, rates and precision, drawn while the scan goes on."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from exitwave.analysis.columns import find_columns, fit_columns
from exitwave.analysis.eds import EnergyWindow
from exitwave.analysis.errors import FileFormatError
from exitwave.analysis.figures.canvas import BLUE, GREY, INK, RED, draw_image, new_figure, save, tidy
from exitwave.analysis.live.spectrum_image import LiveSpectrumImage, SpectrumImageState

__all__ = ["SpectrumImageView"]

_WHOLE = (EnergyWindow(0.2, 20.0, "all"),)


class SpectrumImageView:
    """Draws `LiveSpectrumImage`."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._image: LiveSpectrumImage | None = None
        self._windows: tuple[EnergyWindow, ...] = ()
        self._history: list[tuple[int, tuple[float, ...]]] = []
        self._work_s = 0.0
        self._title = ""
        _warm_up()

    def accepts(self, start: Mapping[str, Any]) -> bool:
        """Whether the plan takes a spectrum image."""
        return str(start.get("plan_name", "")) == "anxri_map"

    def needs(self, start: Mapping[str, Any]) -> str | None:
        """Return None: a run is followed by itself."""
        return None

    def take(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document: the file of events is in the first reference to its frames."""
        if name == "start":
            self._close()
            self._path, self._history, self._work_s = None, [], 0.0
            given = tuple(EnergyWindow(w["low_kev"], w["high_kev"], w["name"]) for w in doc.get("windows", ()))
            self._windows = given or _WHOLE
            self._title = f"run {doc['uid'][:8]}"
        elif name == "stream_resource" and doc["parameters"].get("dataset") == "/entry/frames/event_stop":
            self._path = Path(unquote(urlsplit(doc["uri"]).path))

    def _close(self) -> None:
        if self._image is not None:
            self._image.close()
        self._image = None

    def _update(self) -> int:
        if self._image is None and self._path is not None:
            try:
                self._image = LiveSpectrumImage(self._path, self._windows)
            except FileFormatError:
                return 0
        return 0 if self._image is None else self._image.update()

    def show(self, folder: Path, uid: str) -> dict[str, Any] | None:
        """Draw, if photons came since the last time."""
        begin = time.perf_counter()
        if not self._update() or self._image is None:
            return None
        state = self._image.state()
        self._history.append((state.events, state.fwhm_se_pm))
        _draw(self._image, state, self._history, folder / f"{uid[:8]}-live.png", self._title)
        self._work_s = max(self._work_s, time.perf_counter() - begin)
        return self._figures(state)

    def idle(self, folder: Path, uid: str) -> dict[str, Any] | None:
        """Nothing takes longer than a picture."""
        return None

    def finish(self, folder: Path, uid: str) -> dict[str, Any]:
        """Take the rest and draw once more."""
        figures = self.show(folder, uid)
        if figures is None and self._image is not None:
            figures = self._figures(self._image.state())
        self._close()
        return figures or {}

    def _figures(self, state: SpectrumImageState) -> dict[str, Any]:
        def plain(value: float) -> float | None:
            return value if math.isfinite(value) else None

        return {
            "events": state.events,
            "frames": state.frames,
            "input_cps": plain(state.input_cps),
            "output_cps": plain(state.output_cps),
            "columns": state.columns,
            "fwhm_se_pm": [plain(value) for value in state.fwhm_se_pm],
            "longest_update_s": round(self._work_s, 3),
        }


def _warm_up() -> None:
    """Compile and import what the first picture needs, before there is anything to draw."""
    y, x = np.indices((64, 64))
    bumps = 40.0 * (1.0 + np.cos(2.0 * math.pi * y / 16.0)) * (1.0 + np.cos(2.0 * math.pi * x / 16.0))
    fit_columns(np.rint(bumps), find_columns(bumps))
    figure = new_figure(2.0, 2.0)
    draw_image(figure, figure.subplots(), bumps, 0.02, "counts", None, "gray")
    figure.savefig(io.BytesIO(), format="png")


def _plain_ticks(axis: Any) -> None:
    """Give a logarithmic axis plain numbers, as many as its range has room for."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    subs = (1.0, 2.0, 5.0) if high > 8.0 * low else (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _draw(
    image: LiveSpectrumImage,
    state: SpectrumImageState,
    history: list[tuple[int, tuple[float, ...]]],
    path: Path,
    title: str,
) -> None:
    shown = image.sums.maps[:2]
    figure = new_figure(9.6, 6.2)
    grid = figure.add_gridspec(2, 2 * len(shown), height_ratios=(1.25, 1.0))
    for k, counts in enumerate(shown):
        axes = figure.add_subplot(grid[0, 2 * k : 2 * k + 2])
        draw_image(figure, axes, counts, 1e-3 * image.pixel_pm, "counts per pixel", None, "gray")
        axes.set_title(str(image.windows[k]), fontsize=8.5, loc="left", color=INK)
    axes = figure.add_subplot(grid[1, : len(shown)])
    counts = np.maximum(image.spectrum(), 0.3)
    axes.step(image.sums.axis.energies_kev, counts, where="mid", color=INK, lw=0.5)
    for k, window in enumerate(image.windows[:2]):
        axes.axvspan(window.low_kev, window.high_kev, color=(RED, BLUE)[k], alpha=0.2, lw=0)
    axes.set_yscale("log")
    axes.set_xlim(0.0, min(image.sums.axis.top_kev, 20.0))
    tidy(axes, "photon energy (keV)", "counts per channel")
    axes = figure.add_subplot(grid[1, len(shown) :])
    events = 1e-6 * np.array([number for number, _ in history], float)
    for k in range(len(shown)):
        axes.plot(events, [errors[k] for _, errors in history], "o-", ms=3, lw=0.8, color=(RED, BLUE, GREY)[k])
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        _plain_ticks(axis)
    tidy(axes, "photons (millions)", "standard error of a column's FWHM (pm)")
    mode = f", simulated, mode: {image.about['mode']}" if "mode" in image.about else ""
    rates = f"{state.input_cps:.3g} /s in, {state.output_cps:.3g} /s out" if math.isfinite(state.input_cps) else ""
    figure.suptitle(
        f"{title}{mode}: {state.events} photons, {state.frames} frames, {state.columns} columns; {rates}",
        fontsize=9, x=0.01, ha="left", color=INK,
    )  # fmt: skip
    save(figure, path)
