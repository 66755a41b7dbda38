"""A resolution report as a picture: image, power spectrum, Fourier ring correlation, ring contrast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

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

    from exitwave.analysis.resolution import ResolutionReport

__all__ = ["resolution_figure"]


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
    figure = new_figure(8.6, 7.4)
    grid = figure.subplots(2, 2)
    if title:
        figure.suptitle(title, fontsize=10, color=INK, x=0.01, ha="left")
    draw_image(figure, grid[0, 0], np.asarray(image), report.pixel_nm, label, None, "gray")
    _psd_panel(grid[0, 1], report)
    _frc_panel(grid[1, 0], report)
    _star_panel(grid[1, 1], report)
    return save(figure, path)


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
    tidy(axes, "spatial frequency (1/µm)", "power", title)
    legend(axes, "upper right")


def _frc_panel(axes: Axes, report: ResolutionReport) -> None:
    frc = report.frc
    if frc is None:
        empty_panel(axes, "Fourier ring correlation: needs two exposures")
        return
    f = frc.frequency_per_um
    band = frc.correlation_sd
    axes.fill_between(f, frc.correlation - band, frc.correlation + band, color=BLUE, alpha=0.2, lw=0)
    axes.plot(f, frc.correlation, color=BLUE, lw=1.2, label="correlation")
    axes.plot(f[2:], frc.half_bit[2:], color=RED, lw=0.9, label=f"half-bit: {frc.half_bit_nm:.1f} nm")
    axes.axhline(1 / 7, color=GREEN, lw=0.9, ls="--", label=f"1/7: {frc.one_seventh_nm:.1f} nm")
    axes.set_xlim(0, f[-1])
    axes.set_ylim(-0.1, 1.05)
    tidy(axes, "spatial frequency (1/µm)", "correlation", "Fourier ring correlation of two exposures")
    legend(axes, "upper right")


def _star_panel(axes: Axes, report: ResolutionReport) -> None:
    star = report.star
    if star is None:
        reason = next((r for r in report.remarks if r.startswith("No ring contrast")), "not measured")
        empty_panel(axes, f"Ring contrast: {reason}")
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
    tidy(axes, "spoke half period (nm)", "contrast relative to coarse rings", f"Ring contrast, {star.n_spokes} spokes")
    legend(axes, "upper left")
