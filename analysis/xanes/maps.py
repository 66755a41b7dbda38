"""Edge energy per pixel: half height, derivative maximum, top of the white line, each with its uncertainty.

All three read a feature off a curve that is a matrix times the spectrum: the spectrum itself at some
energies, or a smoothed value or slope of it (local cubic fits with Gaussian weights, W. S. Cleveland and S.
J. Devlin, J. Am. Stat. Assoc. 83, 596 (1988)). The feature's energy is then a smooth function of the
counts, and its variance follows from theirs to first order, pre-edge line and edge step included. First
order holds while the deviation is small beside the width of the feature; `template` is the estimator for
few counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import FitError, OutOfRangeError
from exitwave.analysis.xanes import _map_kernels as kernels
from exitwave.analysis.xanes.blocks import check_stack, for_pixels
from exitwave.analysis.xanes.normalise import Normalisation, bands

__all__ = ["EdgeMap", "Method", "edge_map", "local_fit"]

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Method = Literal["half", "derivative", "white_line"]


@dataclass(frozen=True)
class EdgeMap:
    """Edge energies (...) in eV with deviations, float32 but for the energies; NaN where there is no edge.

    `energy_ev` is float64: float32 has steps of 1 meV at 8 keV.
    """

    energy_ev: Array
    sd_ev: Image
    step: Image
    method: str


def local_fit(energies_ev: npt.ArrayLike, points_ev: npt.ArrayLike, bandwidth_ev: float, derivative: int) -> Array:
    """Return the matrix (points, n) that gives value (0) or slope (1) at points, by local cubic fits.

    Weights are Gaussians of standard deviation `bandwidth_ev` times sqrt(2), cut at four of them, wider
    where fewer than six energies are near.

    Raises
    ------
    FitError
        For fewer than six energies.
    """
    x, points = np.asarray(energies_ev, np.float64), np.asarray(points_ev, np.float64)
    if len(x) < 6:
        raise FitError(f"local fit: {len(x)} energies, needs at least 6")
    rows = np.zeros((len(points), len(x)))
    for i, point in enumerate(points):
        t = (x - point) / bandwidth_ev
        reach = max(1.0, float(np.sort(np.abs(t))[5]) / 2.0)
        use = np.abs(t) <= 5.7 * reach
        w = np.exp(-0.25 * (t[use] / reach) ** 2)
        basis = np.stack([t[use] ** k for k in range(4)], axis=1) * w[:, None]
        rows[i, use] = np.linalg.pinv(basis)[derivative] * w
    return rows / bandwidth_ev**derivative


def _window(normalisation: Normalisation, window_ev: tuple[float, float]) -> tuple[float, float]:
    offset = normalisation.offsets_ev
    low, high = max(window_ev[0], float(offset[0])), min(window_ev[1], float(offset[-1]))
    if ((offset >= low) & (offset <= high)).sum() < 4:
        raise OutOfRangeError(f"edge window [{low:g}, {high:g}] eV from E0: fewer than 4 energies in it; widen it")
    return low, high


def edge_map(
    stack: Any,
    normalisation: Normalisation,
    variance: Any = None,
    *,
    method: Method = "half",
    window_ev: tuple[float, float] = (-20.0, 30.0),
    smoothing_ev: float | None = None,
    level: float = 0.5,
) -> EdgeMap:
    """Return the edge energy of every pixel.

    Parameters
    ----------
    stack, variance : (n, ...), array or data set in a file
        Optical depths, not normalised, and their variances; without these `sd_ev` is NaN.
    method : str
        ``half``: where the spectrum rises through `level` of its edge step, below its maximum in the window.
        ``derivative``: where its slope is greatest. ``white_line``: where it is highest.
    window_ev : (low, high)
        Where to look, eV from E0; it must hold the edge, with room for its shift.
    smoothing_ev : float, optional
        Bandwidth of the local fits. For ``half`` none is needed (a cubic through four energies); the others
        take 1.5 times the spacing of the energies in the window if it is not given.

    Raises
    ------
    ShapeError, OutOfRangeError, FitError
    """
    energies, offset = normalisation.energies_ev, normalisation.offsets_ev
    shape = check_stack(stack, len(energies), variance)
    low, high = _window(normalisation, window_ev)
    inside = np.flatnonzero((offset >= low) & (offset <= high))
    size = int(np.prod(shape))
    edge, sd, step = (np.full(size, np.nan, np.float32) for _ in range(3))
    if smoothing_ev is not None and not smoothing_ev > 0.0:
        raise OutOfRangeError(f"smoothing = {smoothing_ev:g} eV: must be > 0 eV, or None")
    if method == "half":
        nodes = offset[inside]
        rows = np.eye(len(energies))[inside] if smoothing_ev is None else local_fit(offset, nodes, smoothing_ev, 0)
        matrix, coefficients = rows.astype(np.float32), normalisation.coefficients[:3].astype(np.float32)
        matrix_bands, coefficient_bands = bands(matrix), bands(coefficients)

        def half(mu: Image, var: Image, at: int, a: int, b: int) -> None:
            kernels.crossing(
                mu, var, matrix, matrix_bands, nodes, coefficients, coefficient_bands, level, edge, sd, step, at, a, b
            )

        for_pixels(stack, variance, half, 1 << 14)
    elif method in ("derivative", "white_line"):
        spacing = float(np.median(np.diff(offset[inside])))
        width = 1.5 * spacing if smoothing_ev is None else float(smoothing_ev)
        # the vertex of a parabola through three points a quarter of the bandwidth apart is that of the curve
        count = max(5, int(np.ceil((high - low) / (width / 4.0))) + 1)
        grid = np.linspace(low, high, count)
        curve = local_fit(offset, grid, width, 1 if method == "derivative" else 0)
        if method == "white_line":
            curve = curve @ normalisation.flattening
        rows32 = np.concatenate([curve, normalisation.step_row[None, :]]).astype(np.float32)
        row_bands = bands(rows32)
        apart = float(grid[1] - grid[0])

        def top(mu: Image, var: Image, first: int, a: int, b: int) -> None:
            kernels.peak(mu, var, rows32, row_bands, low, apart, edge, sd, step, first, a, b)

        for_pixels(stack, variance, top)
    else:
        raise OutOfRangeError(f"edge by {method!r}: there are 'half', 'derivative' and 'white_line'")
    energy = normalisation.e0_ev + edge.astype(np.float64)
    return EdgeMap(energy.reshape(shape), sd.reshape(shape), step.reshape(shape), method)
