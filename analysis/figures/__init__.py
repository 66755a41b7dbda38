"""Pictures for reports, each with scale bar and colour bar where it shows an image.

Drawn with matplotlib's object interface (no pyplot, no global state, no display); matplotlib is imported
when the first figure is drawn. Each function writes a PNG and returns its path.
"""

from exitwave.analysis.figures.canvas import scale_bar_nm
from exitwave.analysis.figures.curves import curve_figure, focus_figure
from exitwave.analysis.figures.images import image_figure
from exitwave.analysis.figures.resolution import resolution_figure
from exitwave.analysis.figures.tomography import SlicesPicture, slices_figure
from exitwave.analysis.figures.xanes import EdgePanel, xanes_figure

__all__ = [
    "EdgePanel",
    "SlicesPicture",
    "curve_figure",
    "focus_figure",
    "image_figure",
    "resolution_figure",
    "scale_bar_nm",
    "slices_figure",
    "xanes_figure",
]
