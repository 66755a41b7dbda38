"""Pictures for reports: an image with scale bar and colour bar, resolution panels, through-focus and scan curves.

Drawn with matplotlib's object interface (no pyplot, no global state, no display); matplotlib is imported
when the first figure is drawn. Each function writes a PNG and returns its path.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import ShapeError, require_positive

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from exitwave.analysis.resolution import ResolutionReport
    from exitwave.analysis.sharpness import FocusFit

__all__ = ["curve_figure", "focus_figure", "image_figure", "resolution_figure", "scale_bar_nm"]

INK, GREY, BLUE, RED, GREEN = "#222222", "#8a8a8a", "#1f5fa8", "#c0392b", "#2e7d4f"


def scale_bar_nm(width_nm: float) -> float:
    """Return a round length (1, 2 or 5 times a power of ten) nearest to a quarter of the field's width, in nm."""
    target = require_positive("field width", width_nm, "nm") / 4.0
    decade = 10.0 ** math.floor(math.log10(target))
    return min((m * decade for m in (1.0, 2.0, 5.0, 10.0)), key=lambda length: abs(math.log(length / target)))


def _length(nm: float) -> str:
    if nm >= 1e6:
        return f"{nm / 1e6:g} mm"
    return f"{nm / 1e3:g} µm" if nm >= 1000.0 else f"{nm:g} nm"


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    figure.patch.set_facecolor("white")
    return figure


def _save(figure: Figure, path: str | Path) -> Path:
    """Write the PNG beside its name and move it there, so that a viewer never sees half of it."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    figure.savefig(part, format="png", facecolor="white")
    os.replace(part, path)
    return path


def _tidy(axes: Axes, x: str, y: str, title: str = "") -> None:
    axes.set_xlabel(x, fontsize=8, color=INK)
    axes.set_ylabel(y, fontsize=8, color=INK)
    axes.tick_params(labelsize=7, colors=INK, width=0.6, length=3)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_linewidth(0.6)
        spine.set_color(GREY)
    if title:
        axes.set_title(title, fontsize=8.5, color=INK, loc="left")


def _legend(axes: Axes, place: Literal["best", "upper right", "upper left"] = "best") -> None:
    box = axes.legend(fontsize=6.5, loc=place, handlelength=1.6, facecolor="white", framealpha=0.85)
    box.get_frame().set_linewidth(0)


def _show(
    figure: Figure,
    axes: Axes,
    image: npt.NDArray[Any],
    pixel_nm: float,
    label: str,
    limits: tuple[float, float] | None,
    colours: str,
) -> None:
    """Draw an image with scale bar and colour bar into axes."""
    from matplotlib.patches import Rectangle

    data = np.asarray(image, dtype=np.float32)
    if data.ndim != 2 or not np.isfinite(data).any():
        raise ShapeError(f"image: expected (y, x) with finite pixels, got shape {data.shape}")
    # more pixels than the paper shows are averaged, or noise would alias
    factor = max(1, min(data.shape) // 1024)
    if factor > 1:
        ny, nx = (n // factor * factor for n in data.shape)
        data = data[:ny, :nx].reshape(ny // factor, factor, nx // factor, factor).mean(axis=(1, 3))
    if limits is None:
        low, high = np.nanpercentile(data, [0.5, 99.5])
        limits = (float(low), float(high) if high > low else float(low) + 1.0)
    ny, nx = image.shape
    shown = axes.imshow(
        data, cmap=colours, vmin=limits[0], vmax=limits[1], extent=(0, nx, ny, 0), interpolation="antialiased"
    )
    axes.set_axis_off()
    bar = scale_bar_nm(nx * pixel_nm)
    length, left, base = bar / pixel_nm, 0.04 * nx, 0.955 * ny
    box = 0.085 * ny
    axes.add_patch(
        Rectangle((left - 0.02 * nx, base - box * 0.85), length + 0.04 * nx, box, color="white", alpha=0.75, lw=0)
    )
    axes.add_patch(Rectangle((left, base - 0.012 * ny), length, 0.012 * ny, color=INK, lw=0))
    axes.text(left + length / 2, base - 0.02 * ny, _length(bar), ha="center", va="bottom", fontsize=8, color=INK)
    colour_bar = figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.02, extend="both")
    colour_bar.set_label(label, fontsize=8, color=INK)
    colour_bar.ax.tick_params(labelsize=7, width=0.6, length=2.5, colors=INK)
    colour_bar.outline.set_linewidth(0.4)


def image_figure(
    image: npt.NDArray[Any],
    path: str | Path,
    *,
    pixel_nm: float,
    label: str = "transmission",
    title: str = "",
    limits: tuple[float, float] | None = None,
    colours: str = "gray",
) -> Path:
    """Write an image as PNG with scale bar, colour bar and a title line.

    Parameters
    ----------
    image : array (y, x)
        NaN pixels stay white.
    path : where the PNG goes
    pixel_nm : float
        Pixel at the sample.
    label : str
        What the colours mean, with its unit.
    limits : (low, high), optional
        Of the colours; the 0.5th and 99.5th percentile if not given.
    colours : str
        A matplotlib colour map.

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    pixel = require_positive("pixel", pixel_nm, "nm")
    image = np.asarray(image)
    if image.ndim != 2:
        raise ShapeError(f"image: expected (y, x), got shape {image.shape}")
    figure = _figure(5.6, 5.6 * min(1.6, max(0.5, image.shape[0] / image.shape[1])) * 0.88)
    axes = figure.subplots()
    _show(figure, axes, image, pixel, label, limits, colours)
    if title:
        axes.set_title(title, fontsize=9, color=INK, loc="left")
    return _save(figure, path)


def resolution_figure(
    image: npt.NDArray[Any],
    report: ResolutionReport,
    path: str | Path,
    *,
    label: str = "transmission",
    title: str = "",
) -> Path:
    """Write image, power spectrum, Fourier ring correlation and ring contrast of a report as one PNG.

    Panels for what was not measured say why.
    """
    figure = _figure(8.6, 7.4)
    grid = figure.subplots(2, 2)
    if title:
        figure.suptitle(title, fontsize=10, color=INK, x=0.01, ha="left")
    _show(figure, grid[0, 0], np.asarray(image), report.pixel_nm, label, None, "gray")
    _psd_panel(grid[0, 1], report)
    _frc_panel(grid[1, 0], report)
    _star_panel(grid[1, 1], report)
    return _save(figure, path)


def _psd_panel(axes: Axes, report: ResolutionReport) -> None:
    psd = report.psd
    axes.semilogy(psd.frequency_per_um, psd.power, color=BLUE, lw=1.2, label="radial power")
    words = "noise (difference of halves)" if psd.noise == "halves" else "white noise floor"
    axes.semilogy(psd.frequency_per_um, psd.noise_power, color=GREY, lw=0.9, ls="--", label=words)
    axes.axvline(psd.cutoff_per_um, color=RED, lw=1.0, label=f"cut-off {psd.cutoff_per_um:.1f} /µm")
    sd = psd.cutoff_sd_per_um
    axes.axvspan(psd.cutoff_per_um - sd, psd.cutoff_per_um + sd, color=RED, alpha=0.15, lw=0)
    if psd.limit_nm is not None:
        axes.axvline(500.0 / psd.limit_nm, color=GREEN, lw=1.0, ls=":", label=f"lens limit {psd.limit_nm:.1f} nm")
    axes.set_xlim(0, psd.frequency_per_um[-1])
    title = f"PSD: half period {psd.half_period_nm:.1f} ± {psd.half_period_sd_nm:.1f} nm (blind to defocus)"
    _tidy(axes, "spatial frequency (1/µm)", "power", title)
    _legend(axes, "upper right")


def _frc_panel(axes: Axes, report: ResolutionReport) -> None:
    frc = report.frc
    if frc is None:
        _empty(axes, "Fourier ring correlation: needs two exposures")
        return
    f = frc.frequency_per_um
    band = frc.correlation_sd
    axes.fill_between(f, frc.correlation - band, frc.correlation + band, color=BLUE, alpha=0.2, lw=0)
    axes.plot(f, frc.correlation, color=BLUE, lw=1.2, label="correlation")
    axes.plot(f[2:], frc.half_bit[2:], color=RED, lw=0.9, label=f"half-bit: {frc.half_bit_nm:.1f} nm")
    axes.axhline(1 / 7, color=GREEN, lw=0.9, ls="--", label=f"1/7: {frc.one_seventh_nm:.1f} nm")
    axes.set_xlim(0, f[-1])
    axes.set_ylim(-0.1, 1.05)
    _tidy(axes, "spatial frequency (1/µm)", "correlation", "Fourier ring correlation of two exposures")
    _legend(axes, "upper right")


def _star_panel(axes: Axes, report: ResolutionReport) -> None:
    star = report.star
    if star is None:
        reason = next((r for r in report.remarks if r.startswith("No ring contrast")), "not measured")
        _empty(axes, f"Ring contrast: {reason}")
        return
    x, y = star.half_period_nm, star.relative
    level = float(np.max(np.abs(star.signed_amplitude / np.where(y == 0, np.nan, y)), initial=0.0, where=y != 0))
    sd = star.amplitude_sd / level if level > 0 else star.amplitude_sd
    axes.axhline(0.0, color=GREY, lw=0.7)
    axes.axhline(star.resolved_contrast, color=GREEN, lw=0.8, ls="--", label="resolved above")
    axes.errorbar(x, y, yerr=sd, color=BLUE, lw=1.0, marker="o", ms=2.2, elinewidth=0.6, label="spoke contrast")
    wrong = y < -3 * sd
    if wrong.any():
        axes.plot(x[wrong], y[wrong], "o", color=RED, ms=4, mfc="none", label="reversed")
    axes.axvline(star.smallest_resolved_nm, color=RED, lw=1.0, label=f"down to {star.smallest_resolved_nm:.1f} nm")
    axes.set_xscale("log")
    axes.set_xticks([10, 20, 50, 100, 200, 500, 1000], ["10", "20", "50", "100", "200", "500", "1000"])
    axes.minorticks_off()
    axes.set_xlim(0.95 * float(x[0]), 1.05 * float(x[-1]))
    _tidy(axes, "spoke half period (nm)", "contrast relative to coarse rings", f"Ring contrast, {star.n_spokes} spokes")
    _legend(axes, "upper left")


def _empty(axes: Axes, words: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, words, ha="center", va="center", fontsize=8, color=GREY, wrap=True, transform=axes.transAxes)


def focus_figure(
    z: npt.NDArray[Any],
    sharpness: npt.NDArray[Any],
    fit: FocusFit,
    path: str | Path,
    *,
    unit: str = "µm",
    title: str = "Through focus",
) -> Path:
    """Write a sharpness curve with its fit and the best position as PNG."""
    figure = _figure(4.8, 3.2)
    axes = figure.subplots()
    order = np.argsort(z)
    axes.plot(np.asarray(z)[order], np.asarray(sharpness)[order], "o", ms=3.5, color=BLUE, label="measured")
    axes.plot(np.asarray(z)[order], fit.model[order], color=INK, lw=1.0, label="fit")
    axes.axvline(fit.best, color=RED, lw=1.0, label=f"best {fit.best:.2f} ± {fit.best_sd:.2f} {unit}")
    _tidy(axes, f"position ({unit})", "sharpness", title)
    _legend(axes)
    return _save(figure, path)


def curve_figure(
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    path: str | Path,
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    mark: float | None = None,
    mark_label: str = "",
) -> Path:
    """Write a scan (points joined by a line), perhaps with a marked position, as PNG."""
    figure = _figure(4.8, 3.2)
    axes = figure.subplots()
    axes.plot(x, y, "-o", ms=2.5, lw=0.8, color=BLUE)
    if mark is not None:
        axes.axvline(mark, color=RED, lw=1.0, label=mark_label or f"{mark:g}")
        _legend(axes)
    _tidy(axes, x_label, y_label, title)
    return _save(figure, path)
