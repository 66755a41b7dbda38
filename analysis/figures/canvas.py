"""What all pictures share: size and colours, tidy axes, an image with scale bar and colour bar, a safe way to write."""

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

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "INK",
    "RED",
    "draw_image",
    "empty_panel",
    "legend",
    "new_figure",
    "save",
    "scale_bar_nm",
    "tidy",
]

INK, GREY, BLUE, RED, GREEN = "#222222", "#8a8a8a", "#1f5fa8", "#c0392b", "#2e7d4f"


def scale_bar_nm(width_nm: float) -> float:
    """Return a round length (1, 2 or 5 times a power of ten) nearest to a quarter of the field's width, in nm."""
    target = require_positive("field width", width_nm, "nm") / 4.0
    decade = 10.0 ** math.floor(math.log10(target))
    return min((m * decade for m in (1.0, 2.0, 5.0, 10.0)), key=lambda length: abs(math.log(length / target)))


def length_words(nm: float) -> str:
    """Return a length with its best unit."""
    if nm >= 1e6:
        return f"{nm / 1e6:g} mm"
    return f"{nm / 1e3:g} µm" if nm >= 1000.0 else f"{nm:g} nm"


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    figure.patch.set_facecolor("white")
    return figure


def save(figure: Figure, path: str | Path, *, compression: int = 6) -> Path:
    """Write the PNG beside its name and move it there, so that a viewer never sees half of it.

    `compression`: 0 to 9; 1 takes a third of the time of 6.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    figure.savefig(part, format="png", facecolor="white", pil_kwargs={"compress_level": compression})
    os.replace(part, path)
    return path


def tidy(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Label axes and take away what says nothing."""
    axes.set_xlabel(x, fontsize=8, color=INK)
    axes.set_ylabel(y, fontsize=8, color=INK)
    axes.tick_params(labelsize=7, colors=INK, width=0.6, length=3)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_linewidth(0.6)
        spine.set_color(GREY)
    if title:
        axes.set_title(title, fontsize=8.5, color=INK, loc="left")


def legend(axes: Axes, place: Literal["best", "upper right", "upper left"] = "best") -> None:
    """Add a small legend."""
    box = axes.legend(fontsize=6.5, loc=place, handlelength=1.6, facecolor="white", framealpha=0.85)
    box.get_frame().set_linewidth(0)


def draw_image(
    figure: Figure,
    axes: Axes,
    image: npt.NDArray[Any],
    pixel_nm: float,
    label: str,
    limits: tuple[float, float] | None,
    colours: str,
) -> None:
    """Draw an image with scale bar and colour bar into axes."""
    from matplotlib.font_manager import FontProperties
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

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
    scale = AnchoredSizeBar(
        axes.transData, bar / pixel_nm, length_words(bar), "lower left", pad=0.35, borderpad=0.6, sep=2,
        size_vertical=0.012 * ny, color=INK, fontproperties=FontProperties(size=8),
    )  # fmt: skip
    scale.patch.set(facecolor="white", alpha=0.75, linewidth=0)
    axes.add_artist(scale)
    # as high as the image, however much room its panel leaves
    beside = axes.inset_axes((1.025, 0.0, 0.035, 1.0))
    colour_bar = figure.colorbar(shown, cax=beside, extend="both")
    colour_bar.set_label(label, fontsize=8, color=INK)
    colour_bar.ax.tick_params(labelsize=7, width=0.6, length=2.5, colors=INK)
    colour_bar.outline.set_linewidth(0.4)


def empty_panel(axes: Axes, words: str) -> None:
    """Say in place of a panel why there is none."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, words, ha="center", va="center", fontsize=8, color=GREY, wrap=True, transform=axes.transAxes)
