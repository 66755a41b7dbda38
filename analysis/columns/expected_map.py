"""What independent atoms are expected to show, as a map: the same sites, pixels and probe as what was measured.

A probe cut off by an aperture has rings, a tenth of its current beyond twice its width; the rings of a bright column
lie under its neighbours. What a fit makes of that is not the width of a column on its own, so that a measured
difference is to be compared with the same fit on this map.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import fft

from exitwave.analysis.columns.first_principles import ELECTRON_REST_KEV, Column, _profile
from exitwave.analysis.eds.axis import EnergyWindow
from exitwave.analysis.errors import ShapeError, require_positive

__all__ = ["aperture_transfer", "expected_map"]

Array = npt.NDArray[np.float64]
_FINE, _MARGIN_PM, _REACH_PM = 4, 800.0, 600.0


def aperture_transfer(
    per_pm: npt.ArrayLike, beam_kev: float, convergence_mrad: float, defocus_nm: float = 0.0
) -> Array:
    """Return the incoherent transfer of a probe that its aperture, and defocus, limit; 1 at zero frequency.

    The autocorrelation of a disc (J. W. Goodman, Introduction to Fourier Optics, eq. 6-32), with the phase of defocus
    over it an integral (H. H. Hopkins, Proc. R. Soc. Lond. A 231, 91 (1955), eq. 17).

    Parameters
    ----------
    per_pm : array
        Spatial frequency, 1/pm.
    beam_kev, convergence_mrad, defocus_nm : float
    """
    kev = require_positive("beam_kev", beam_kev, "keV")
    wavelength_pm = 1239.841984 / math.sqrt(kev * (kev + 2.0 * ELECTRON_REST_KEV))
    cut = 2e-3 * require_positive("convergence_mrad", convergence_mrad, "mrad") / wavelength_pm
    v = np.clip(np.asarray(per_pm, np.float64) / cut, 0.0, 1.0)
    if not defocus_nm:
        return np.asarray(2.0 / math.pi * (np.arccos(v) - v * np.sqrt(1.0 - v * v)))
    phase = math.pi * 1e3 * defocus_nm * (1e-3 * convergence_mrad) ** 2 / wavelength_pm  # at the aperture's edge
    nodes, weights = np.polynomial.legendre.leggauss(96)
    half = np.linspace(0.0, 1.0, 401)[:, None]  # of the distance between the discs, in radii
    x = 0.5 * (1.0 - half) * (nodes + 1.0)
    overlap = np.cos(4.0 * phase * half * x) * np.sqrt(np.maximum(1.0 - (x + half) ** 2, 0.0))
    table = 4.0 / math.pi * 0.5 * (1.0 - half[:, 0]) * (overlap @ weights)
    return np.interp(v, half[:, 0], table)


def expected_map(
    sites: npt.ArrayLike,
    kinds: npt.ArrayLike,
    columns: Mapping[int, Column],
    window: EnergyWindow,
    shape: tuple[int, int],
    *,
    pixel_pm: float,
    beam_kev: float,
    convergence_mrad: float,
    source_fwhm_pm: float,
    defocus_nm: float = 0.0,
) -> Array:
    """Return the map of a window without noise, the brightest pixel 1.

    Parameters
    ----------
    sites : array (n, 2)
        (y, x), pixels; also those outside whose rings reach in.
    kinds : int array (n,)
        Keys of `columns`.
    columns : mapping of int to Column
    window : EnergyWindow
    shape : (rows, cols)
    pixel_pm, beam_kev, convergence_mrad, source_fwhm_pm, defocus_nm : float
        The probe is the aperture's, without aberrations other than defocus, and the source's image.

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    where, kind = np.asarray(sites, np.float64), np.asarray(kinds)
    if where.ndim != 2 or where.shape[1] != 2 or kind.shape != (len(where),):
        raise ShapeError(f"expected_map: sites {where.shape} and kinds {kind.shape}; needs (n, 2) and (n,)")
    pixel = require_positive("pixel_pm", pixel_pm, "pm")
    margin = math.ceil(_MARGIN_PM / pixel)
    rows, cols = ((n + 2 * margin) * _FINE for n in shape)
    y, x = (np.arange(n) / _FINE - margin for n in (rows, cols))
    radius = np.concatenate([np.linspace(0.0, 150.0, 61), np.linspace(155.0, _REACH_PM, 50)])
    profiles = {k: _profile(column, radius, window, beam_kev, source_fwhm_pm) for k, column in columns.items()}
    image = np.zeros((rows, cols))
    reach = math.ceil(_REACH_PM / pixel * _FINE)
    for (cy, cx), k in zip(where, kind, strict=True):
        iy, ix = int((cy + margin) * _FINE), int((cx + margin) * _FINE)
        if not (0 <= iy < rows and 0 <= ix < cols):
            continue
        ys, xs = slice(max(iy - reach, 0), iy + reach), slice(max(ix - reach, 0), ix + reach)
        distance = pixel * np.hypot(y[ys, None] - cy, x[None, xs] - cx)
        image[ys, xs] += np.interp(distance, radius, profiles[int(k)], right=0.0)
    step = pixel / _FINE
    frequency = np.hypot(fft.fftfreq(rows, step)[:, None], fft.rfftfreq(cols, step)[None, :])
    spectrum = fft.rfft2(image, workers=-1) * aperture_transfer(frequency, beam_kev, convergence_mrad, defocus_nm)
    seen = fft.irfft2(spectrum, image.shape, workers=-1)
    inner = slice(margin * _FINE, -margin * _FINE, _FINE)
    out = np.maximum(seen[inner, inner], 0.0)
    return np.asarray(out / out.max())
