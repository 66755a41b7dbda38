"""Pictures of spectroscopic imaging: maps of the edge energy, their histograms, spectra beside those of standards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import ShapeError, require_positive
from exitwave.analysis.figures.canvas import (
    BLUE,
    GREEN,
    GREY,
    INK,
    RED,
    draw_image,
    empty_panel,
    legend,
    new_figure,
    save,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["EdgePanel", "xanes_figure"]

Spectrum = tuple[npt.ArrayLike, npt.ArrayLike]
COLOURS = (BLUE, RED, GREEN, INK)


@dataclass(frozen=True)
class EdgePanel:
    """One sample of a figure.

    Parameters
    ----------
    name : str
    edge_ev, edge_sd_ev : float (y, x)
        NaN where there is no edge; the deviations may be left out.
    spectra : mapping of name -> (energies_ev, normalised, [deviations])
        Of regions.
    bound_ev : float (y, x), optional
        Cramer-Rao bound of the edge energy.
    """

    name: str
    edge_ev: npt.NDArray[Any]
    edge_sd_ev: npt.NDArray[Any] | None = None
    spectra: Mapping[str, tuple[npt.ArrayLike, ...]] | None = None
    bound_ev: npt.NDArray[Any] | None = None


def xanes_figure(
    panels: Sequence[EdgePanel],
    path: str | Path,
    *,
    pixel_nm: float,
    standards: Mapping[str, Spectrum] | None = None,
    limits_ev: tuple[float, float] | None = None,
    window_ev: tuple[float, float] | None = None,
    title: str = "",
) -> Path:
    """Write edge-energy maps with colour bars in eV, the map of their deviation, histograms, and spectra.

    A row for each sample: map, deviation, bound of the deviation where one has it, histogram of the map, spectra of its
    regions with those of standards, dashed. All maps share their colours; a deviation and its bound share theirs.

    Parameters
    ----------
    panels : sequence of EdgePanel
    path : where the PNG goes
    pixel_nm : float
    standards : mapping of name -> (energies_ev, normalised), optional
    limits_ev : (low, high), optional
        Of the colours; the middle 98 % of all maps without it.
    window_ev : (low, high), optional
        Energies of the spectra that are shown.
    title : str

    Raises
    ------
    ShapeError
        Without a panel, or one without a pixel that has an edge.
    OutOfRangeError
    """
    pixel = require_positive("pixel_nm", pixel_nm, "nm")
    if not panels:
        raise ShapeError("edge maps: none given")
    for panel in panels:
        if panel.edge_ev.ndim != 2 or not np.isfinite(panel.edge_ev).any():
            raise ShapeError(f"edge map {panel.name}: shape {panel.edge_ev.shape}, expected (y, x) with finite pixels")
    known = np.concatenate([panel.edge_ev[np.isfinite(panel.edge_ev)] for panel in panels])
    low, high = np.quantile(known, [0.01, 0.99]) if limits_ev is None else limits_ev
    if not high > low:
        low, high = low - 0.5, high + 0.5
    bounded = any(panel.bound_ev is not None for panel in panels)
    figure = new_figure(16.6 if bounded else 13.6, 3.3 * len(panels) + 0.2)
    widths = (1.0, 1.0, 1.0, 0.9, 1.25) if bounded else (1.0, 1.0, 0.9, 1.25)
    grid = figure.subplots(len(panels), len(widths), squeeze=False, width_ratios=widths)
    for (left, *spreads, middle, right), panel in zip(grid, panels, strict=True):
        draw_image(figure, left, panel.edge_ev, pixel, "edge energy (eV)", (float(low), float(high)), "viridis")
        left.set_title(panel.name, fontsize=8.5, color=INK, loc="left")
        figure.axes[-1].ticklabel_format(useOffset=False)
        maps = ((panel.edge_sd_ev, "standard deviation (eV)"), (panel.bound_ev, "Cramer-Rao bound (eV)"))
        tops = [float(np.nanquantile(values, 0.98)) for values, _ in maps if _known(values)]
        for axes, (values, label) in zip(spreads, maps, strict=False):
            if _known(values):
                draw_image(figure, axes, values, pixel, label, (0.0, max(tops)), "magma")
            else:
                empty_panel(axes, "no bound" if label.startswith("Cramer") else "no deviations")
        _draw_histogram(middle, panel, (float(low), float(high)))
        _draw_spectra(right, panel, standards or {}, window_ev)
    if title:
        figure.suptitle(title, fontsize=9.5, color=INK, x=0.01, ha="left")
    return save(figure, path)


def _known(values: npt.NDArray[Any] | None) -> TypeGuard[npt.NDArray[Any]]:
    return values is not None and bool(np.isfinite(values).any())


def _draw_histogram(axes: Axes, panel: EdgePanel, limits: tuple[float, float]) -> None:
    values = panel.edge_ev[np.isfinite(panel.edge_ev)]
    room = 0.15 * (limits[1] - limits[0])
    axes.hist(values, bins=80, range=(limits[0] - room, limits[1] + room), color=BLUE, alpha=0.75)
    mean = float(np.median(values))
    axes.axvline(mean, color=RED, lw=0.9, label=f"median {mean:.2f} eV")
    axes.ticklabel_format(useOffset=False)
    axes.locator_params(axis="x", nbins=5)
    tidy(axes, "edge energy (eV)", "pixels")
    legend(axes, "upper left")


def _draw_spectra(
    axes: Axes, panel: EdgePanel, standards: Mapping[str, Spectrum], window_ev: tuple[float, float] | None
) -> None:
    if not panel.spectra and not standards:
        empty_panel(axes, "no spectra")
        return
    for k, (name, (energies, values)) in enumerate(standards.items()):
        axes.plot(energies, values, color=GREY, lw=0.9, ls=("--", ":", "-.")[k % 3], label=name)
    for k, (name, columns) in enumerate((panel.spectra or {}).items()):
        colour = COLOURS[k % len(COLOURS)]
        energies, values = np.asarray(columns[0]), np.asarray(columns[1])
        axes.plot(energies, values, "o-", ms=2.0, lw=0.7, color=colour, label=name)
        if len(columns) > 2:
            sd = np.asarray(columns[2])
            axes.fill_between(energies, values - sd, values + sd, color=colour, alpha=0.2, lw=0)
    if window_ev is not None:
        axes.set_xlim(*window_ev)
    axes.ticklabel_format(useOffset=False)
    axes.locator_params(axis="x", nbins=6)
    tidy(axes, "energy (eV)", "normalised absorption")
    legend(axes)
