"""Pictures of EDS and columns: maps with numbered columns, widths column by column, spectra with windows and lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import ShapeError, require_positive
from exitwave.analysis.figures.canvas import BLUE, GREEN, GREY, INK, RED, draw_image, legend, new_figure, save, tidy

if TYPE_CHECKING:
    from exitwave.analysis.columns import ColumnFit, LatticeSpots
    from exitwave.analysis.eds import EnergyAxis, EnergyWindow, SpectrumFit

__all__ = ["column_map_figure", "fourier_figure", "spectrum_figure", "widths_figure"]


def column_map_figure(
    counts: npt.NDArray[Any],
    path: str | Path,
    *,
    pixel_pm: float,
    positions: npt.ArrayLike | None = None,
    kinds: npt.ArrayLike | None = None,
    title: str = "",
    label: str = "counts per pixel",
    most_numbers: int = 400,
) -> Path:
    """Write a map with scale bar, colour bar of counts, and its columns numbered from 1.

    Parameters
    ----------
    counts : array (rows, cols)
    path : where the PNG goes
    pixel_pm : float
    positions : array (n, 2), optional
        (y, x), pixels, in the order of the numbers.
    kinds : int array (n,), optional
        Colours of the numbers: 0 red, 1 blue, others grey.
    title : str
        The mode of a simulation belongs in here.
    label : str
    most_numbers : int
        With more columns, rings are drawn and no numbers.

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    pixel = require_positive("pixel_pm", pixel_pm, "pm")
    image = np.asarray(counts)
    if image.ndim != 2:
        raise ShapeError(f"map: expected (rows, cols), got shape {image.shape}")
    from matplotlib.patheffects import withStroke

    figure = new_figure(6.0, 6.0 * min(1.6, max(0.5, image.shape[0] / image.shape[1])) * 0.86)
    axes = figure.subplots()
    draw_image(figure, axes, image, 1e-3 * pixel, label, None, "gray")
    if positions is not None:
        where = np.asarray(positions, np.float64)
        kind = np.full(len(where), 0) if kinds is None else np.asarray(kinds)
        size = 6.0 if len(where) <= 100 else 4.5
        for number, ((y, x), k) in enumerate(zip(where, kind, strict=True), start=1):
            colour = {0: RED, 1: BLUE}.get(int(k), GREY)
            if len(where) > most_numbers:
                axes.plot(x + 0.5, y + 0.5, "o", ms=3, mfc="none", mec=colour, mew=0.5)
            else:
                words = axes.text(x + 0.5, y + 0.5, str(number), color=colour, fontsize=size, ha="center", va="center")
                words.set_path_effects([withStroke(linewidth=1.4, foreground="white")])
    if title:
        axes.set_title(title, fontsize=9, color=INK, loc="left")
    return save(figure, path)


def widths_figure(
    fits: Sequence[ColumnFit],
    names: Sequence[str],
    path: str | Path,
    *,
    pixel_pm: float,
    title: str = "",
    numbers: npt.ArrayLike | None = None,
) -> Path:
    """Write FWHM with error bars against the number of the column, one series per fit, and their mean.

    `numbers` (n,) are those of the columns elsewhere, where these are a part of them.

    Raises
    ------
    ShapeError
        Without fits, or not one name for each fit, or not one number for each column.
    """
    if not fits or len(fits) != len(names):
        raise ShapeError(f"widths: {len(fits)} fits and {len(names)} names")
    count = len(fits[0])
    column = np.arange(1, count + 1) if numbers is None else np.asarray(numbers)
    if any(column.shape != (len(fit),) for fit in fits):
        raise ShapeError(f"widths: {column.size} numbers for {[len(fit) for fit in fits]} columns")
    figure = new_figure(6.4, 3.4)
    axes = figure.subplots()
    for k, (fit, name) in enumerate(zip(fits, names, strict=True)):
        colour = (RED, BLUE, GREEN, GREY)[k % 4]
        good = fit.ok
        number = column[good] + 0.12 * (k - 0.5 * (len(fits) - 1))
        width, se = pixel_pm * fit.fwhm[good], pixel_pm * fit.fwhm_se[good]
        words = f"{name}: {width.mean():.1f} ± {width.std(ddof=1) / len(width) ** 0.5:.1f} pm"
        axes.errorbar(number, width, yerr=se, fmt="o", ms=3, lw=0, elinewidth=0.7, color=colour, label=words)
        axes.axhline(float(width.mean()), color=colour, lw=0.8, ls="--")
    tidy(axes, "column", "FWHM over free pedestal (pm)", title)
    legend(axes)
    return save(figure, path)


def spectrum_figure(
    spectrum: npt.ArrayLike,
    axis: EnergyAxis,
    path: str | Path,
    *,
    windows: Sequence[EnergyWindow] = (),
    fit: SpectrumFit | None = None,
    title: str = "",
) -> Path:
    """Write a spectrum (counts, logarithmic) with windows shaded, and the lines and continuum of a fit.

    Raises
    ------
    ShapeError
    """
    counts = np.asarray(spectrum, np.float64)
    if counts.shape != (axis.n_channels,):
        raise ShapeError(f"spectrum: expected ({axis.n_channels},), got {counts.shape}")
    figure = new_figure(7.2, 3.4)
    axes = figure.subplots()
    shown = axis if fit is None else fit.axis
    energies = shown.energies_kev
    axes.step(energies, np.maximum(counts, 0.3), where="mid", color=INK, lw=0.6, label="counts")
    if fit is not None:
        inside = fit.model > 0
        axes.plot(energies[inside], fit.model[inside], color=BLUE, lw=0.8, label="fit")
        axes.plot(energies[inside], fit.continuum[inside], color=GREEN, lw=0.8, ls="--", label="continuum")
        top = float(counts.max())
        for family in fit.families:
            line = family.strongest
            height = float(np.interp(line.energy_kev, energies, fit.model))
            axes.text(line.energy_kev, min(1.5 * max(height, 1.0), 3 * top), family.name.replace("_", " "),
                      rotation=90, fontsize=6, ha="center", va="bottom", color=INK)  # fmt: skip
    for k, window in enumerate(windows):
        colour = (RED, BLUE, GREEN)[k % 3]
        axes.axvspan(window.low_kev, window.high_kev, color=colour, alpha=0.18, lw=0, label=str(window))
    axes.set_yscale("log")
    axes.set_ylim(0.5, 8.0 * max(float(counts.max()), 1.0))
    used = np.nonzero(counts > 0)[0]
    if used.size:
        axes.set_xlim(max(float(energies[used[0]]), 0.0), float(energies[used[-1]]))
    tidy(axes, "photon energy (keV)", f"counts per {1000 * axis.gain_kev:g} eV", title)
    legend(axes, "upper right")
    return save(figure, path)


def fourier_figure(
    counts: npt.ArrayLike, spots: LatticeSpots | None, path: str | Path, *, pixel_pm: float, title: str = ""
) -> Path:
    """Write the logarithmic power spectrum of a map, its lattice spots ringed and indexed.

    Axes are in 1/nm; `spots` in 1/pixel (``lattice_spots(..., pixel=1)``) or None.

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    image = np.asarray(counts, np.float64)
    per_nm = 1000.0 / require_positive("pixel_pm", pixel_pm, "pm")
    if image.ndim != 2 or min(image.shape) < 8:
        raise ShapeError(f"map: expected (rows, cols) of at least 8 x 8, got shape {image.shape}")
    window = np.outer(np.hanning(image.shape[0]), np.hanning(image.shape[1]))
    power = np.abs(np.fft.fftshift(np.fft.fft2((image - image.mean()) * window))) ** 2 / (window**2).sum()
    figure = new_figure(4.8, 4.4)
    axes = figure.subplots()
    half = 0.5 * per_nm
    low, high = np.log10(np.maximum(np.quantile(power, [0.05, 0.9995]), 1e-12))
    shown = axes.imshow(
        np.log10(np.maximum(power, 1e-12)), cmap="gray", extent=(-half, half, half, -half), vmin=low, vmax=high
    )
    bar = figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.02)
    bar.set_label("log10 power (counts² per pixel)", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7)
    if spots is not None:
        for (fy, fx), (h, k) in zip(spots.frequency * spots.pixel * per_nm, spots.indices, strict=True):
            for sign in (1, -1):
                axes.plot(sign * fx, sign * fy, "o", ms=8, mfc="none", mec=RED, mew=0.7)
            axes.text(fx, fy, f" {h}{k}", color=RED, fontsize=6, va="bottom", clip_on=True)
        reach = min(1.5 * float(np.abs(spots.frequency).max()) * spots.pixel * per_nm, half)
        axes.set_xlim(-reach, reach)
        axes.set_ylim(reach, -reach)
    tidy(axes, "x (1/nm)", "y (1/nm)", title)
    return save(figure, path)
