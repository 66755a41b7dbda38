"""Pictures of one spectrum image: maps with numbered columns, spectrum, widths, and all of it in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.columns import ColumnFit, JointFit
from exitwave.analysis.eds import spectra, window_maps
from exitwave.analysis.io.eds_files import EdsMeasurement
from exitwave.profiles.demos.anxri_scene import Scene
from exitwave.profiles.demos.anxri_specimens import E1, E2, Specimen

__all__ = ["draw_pictures"]


def draw_pictures(
    measurement: EdsMeasurement,
    haadf: npt.NDArray[Any],
    scene: Scene,
    fits: list[JointFit],
    kinds: npt.NDArray[np.int64],
    specimen: Specimen,
    figures: dict[str, Any],
    out: Path,
    name: str,
) -> Path:
    """Write the pictures of a spectrum image; return where the one is that has all of it."""
    from exitwave.analysis.figures import eds as pictures

    about, events = measurement.metadata, measurement.events
    groups = np.where(scene.chosen, kinds, 2)
    what = f"{about['specimen']}, simulated, mode: {about['mode']}"
    size: dict[str, Any] = {"pixel_pm": scene.pixel_pm}
    numbered: dict[str, Any] = {"positions": scene.positions, "kinds": groups}
    for k, window in enumerate((E1, E2)):
        title = f"{what}\n{window.name} {window.low_kev:.2f} to {window.high_kev:.2f} keV, raw counts"
        pictures.column_map_figure(scene.maps[k], out / f"{name}-{window.name}.png", title=title, **numbered, **size)
    for window in specimen.lines:
        title = f"{what}\n{window.name}, {window.low_kev:.2f} to {window.high_kev:.2f} keV"
        image = window_maps(events, (window,))[0]
        path = out / f"{name}-{window.name.replace(' ', '-')}.png"
        pictures.column_map_figure(image, path, title=title, **size)
    path = out / f"{name}-HAADF.png"
    pictures.column_map_figure(haadf, path, title=f"{what}\nHAADF, sum of frames", label="signal (counts)", **size)
    total = spectra(events).sum(axis=0)
    pictures.spectrum_figure(total, events.axis, out / f"{name}-spectrum.png", windows=(E1, E2), title=what)
    verdict = f"FWHM(E1) - FWHM(E2) = {figures['window_difference_pm']:+.2f} ± {figures['window_se_pm']:.2f} pm"
    pictures.widths_figure(
        [_only(fit, scene.chosen) for fit in fits], (str(E1), str(E2)), out / f"{name}-widths.png",
        title=f"{what}\n{verdict}", numbers=np.flatnonzero(scene.chosen) + 1, **size,
    )  # fmt: skip
    return _overview(scene, groups, fits, kinds, specimen, figures, what, out / f"{name}.png")


def _only(fit: ColumnFit, chosen: npt.NDArray[np.bool_]) -> ColumnFit:
    return ColumnFit(fit.parameters[chosen], fit.covariance[chosen], fit.status[chosen])


def _overview(
    scene: Scene,
    groups: npt.NDArray[np.int64],
    fits: list[JointFit],
    kinds: npt.NDArray[np.int64],
    specimen: Specimen,
    figures: dict[str, Any],
    what: str,
    path: Path,
) -> Path:
    """Draw both maps with numbered columns, the widths of both windows, and the verdict."""
    import textwrap

    from matplotlib.patheffects import withStroke

    from exitwave.analysis.figures.canvas import BLUE, GREY, INK, RED, draw_image, legend, new_figure, save, tidy

    figure = new_figure(10.0, 7.6)
    grid = figure.add_gridspec(3, 2, height_ratios=(1.0, 0.62, 0.16))
    number = np.flatnonzero(scene.chosen) + 1  # as in the tables and the other pictures
    for k, window in enumerate((E1, E2)):
        axes = figure.add_subplot(grid[0, k])
        draw_image(figure, axes, scene.maps[k], 1e-3 * scene.pixel_pm, "counts per pixel", None, "gray")
        axes.set_title(f"{window.name}: {window.low_kev:.2f} to {window.high_kev:.2f} keV", fontsize=9, loc="left")
        for n in number:
            (y, x), colour = scene.positions[n - 1], {0: RED, 1: BLUE}.get(int(groups[n - 1]), GREY)
            mark = axes.text(x + 0.5, y + 0.5, str(n), color=colour, fontsize=4.5, ha="center", va="center")
            mark.set_path_effects([withStroke(linewidth=1.0, foreground="white")])
    axes = figure.add_subplot(grid[1, :])
    names = specimen.names or ("columns",)
    for k, (fit, window) in enumerate(zip(fits, (E1, E2), strict=True)):
        for kind, species in enumerate(names):
            part = kinds[scene.chosen] == kind
            width, se = (scene.pixel_pm * v[scene.chosen][part] for v in (fit.fwhm, fit.fwhm_se))
            label = f"{window.name} {species}: {width.mean():.1f} ± {width.std(ddof=1) / width.size**0.5:.1f} pm"
            axes.errorbar(
                number[part] + 0.2 * k, width, yerr=se, fmt="os"[k], ms=2.5, lw=0, elinewidth=0.5,
                color=(RED, BLUE)[kind], mfc=(RED, BLUE)[kind] if k == 0 else "white", mew=0.5, label=label,
            )  # fmt: skip
            axes.axhline(float(width.mean()), color=(RED, BLUE)[kind], lw=0.7, ls="-" if k == 0 else "--")
    tidy(axes, "column", "FWHM over a free pedestal (pm)")
    axes.set_xlim(number[0] - 2, number[-1] + 0.28 * number.size)
    legend(axes, "upper right")
    words = figure.add_subplot(grid[2, :])
    words.set_axis_off()
    words.text(0.0, 1.0, textwrap.fill(figures["verdict"], 150), fontsize=8, va="top", color=INK)
    figure.suptitle(f"ANXRI of {what}", fontsize=11, color=INK, x=0.01, ha="left")
    return save(figure, path)
