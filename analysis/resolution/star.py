"""Siemens star: contrast of the spokes, with its sign, ring by ring.

In a ring of radius r the n spokes have the period 2 pi r / n. The least-squares amplitude of the n-th
azimuthal harmonic is their contrast at that period; its phase must be that of the coarse rings. Out of
focus, or with phase contrast, the transfer function changes sign: the harmonic turns by pi and the spokes
appear where the gaps should be. `signed_amplitude` is negative there. The sign is relative: an image so far
out of focus that its coarse rings are reversed as well looks right. No interpolation: every pixel is used at
its own angle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize

from exitwave.analysis.errors import FitError, ShapeError, require_positive

__all__ = ["StarContrast", "find_star_centre", "siemens_star"]

Array = npt.NDArray[np.float64]
_MARK_RINGS = 4
# angle within which an edge must point at the centre, and how near it may be (part of the image's side), step by step
_CENTRE_STEPS = ((np.inf, 0.0), (0.5, 0.2), (0.3, 0.2), (0.2, 0.15), (0.1, 0.1), (0.1, 0.05), *4 * ((0.1, 0.0),))


@dataclass(frozen=True)
class StarContrast:
    """Spoke contrast of a Siemens star against the half period, coarse rings last.

    Attributes
    ----------
    half_period_nm : float64 (rings,)
        Spoke width pi r / n at each ring.
    signed_amplitude, amplitude_sd : float64 (rings,)
        Amplitude of the spoke harmonic, in the unit of the image, positive where the spokes lie as in the
        coarse rings; and its standard deviation. A square wave between t0 and t1 seen perfectly has 2 / pi
        |t0 - t1|.
    quadrature : float64 (rings,)
        Component at right angles: zero but for noise, distortion, or a wrong centre.
    relative : float64 (rings,)
        `signed_amplitude` over its value in the coarse rings: the modulation transfer relative to there.
    centre_yx : (float, float)
        Pixels.
    n_spokes : int
    smallest_resolved_nm : float
        Finest half period from which on, towards coarser rings, the contrast is positive, 3 standard
        deviations above zero and at least `resolved_contrast` of the coarse one; a few rings without any, as
        targets have for marks, are passed over.
    reversed_nm : tuple of (float, float)
        Ranges of half period, within the star, in which the contrast is reversed by more than 3 standard
        deviations and 3 % of the coarse contrast.
    """

    half_period_nm: Array
    signed_amplitude: Array
    amplitude_sd: Array
    quadrature: Array
    relative: Array
    centre_yx: tuple[float, float]
    n_spokes: int
    smallest_resolved_nm: float
    resolved_contrast: float
    reversed_nm: tuple[tuple[float, float], ...]


def find_star_centre(image: npt.NDArray[Any], *, smoothing_px: float = 2.0) -> tuple[float, float]:
    """Return the point (y, x), in pixels, at which the edges of the image meet.

    Each edge passes through the centre, so its gradient g is at right angles to x - c: c minimises sum
    (g.(x - c))^2, a 2 x 2 linear system, repeated with weights that fade out edges that miss (rings, noise).

    Raises
    ------
    FitError
        If the edges do not meet within the image.
    """
    data = np.array(image, dtype=np.float64)
    if data.ndim != 2 or min(data.shape) < 32:
        raise ShapeError(f"image: expected (y, x) of at least 32 x 32 pixels, got {data.shape}")
    bad = ~np.isfinite(data)
    data[bad] = np.median(data[~bad])
    gy = ndimage.gaussian_filter(data, smoothing_px, order=(1, 0))
    gx = ndimage.gaussian_filter(data, smoothing_px, order=(0, 1))
    size = np.hypot(gy, gx)
    strong = size > np.percentile(size, 80)
    y, x = (v.astype(np.float64) for v in np.nonzero(strong))
    gy, gx, size = gy[strong], gx[strong], size[strong]
    uy, ux = gy / size, gx / size
    centre = np.array([(data.shape[0] - 1) / 2.0, (data.shape[1] - 1) / 2.0])
    # rings cross the spokes: an edge votes only if it points at the centre known so far, within an angle that closes;
    # and from beside the centre near edges point anywhere, so the far ones vote first
    for angle, nearest in (
        (np.inf, 0.0),
        (0.5, 0.2),
        (0.3, 0.2),
        (0.2, 0.15),
        (0.1, 0.1),
        (0.1, 0.05),
        *4 * ((0.1, 0.0),),
    ):
        dy, dx = y - centre[0], x - centre[1]
        square = 25.0 + dy * dy + dx * dx
        w = size**2 / square  # each edge has its angular certainty: a near one fixes the centre better than a far one
        if not np.isinf(angle):
            w = w / (1.0 + (uy * dy + ux * dx) ** 2 / (angle**2 * square)) ** 2
            w[square < (nearest * min(data.shape)) ** 2] = 0.0
        a = np.array([[(w * uy * uy).sum(), (w * uy * ux).sum()], [(w * uy * ux).sum(), (w * ux * ux).sum()]])
        along = uy * y + ux * x
        b = np.array([(w * uy * along).sum(), (w * ux * along).sum()])
        if np.linalg.cond(a) > 1e6:
            raise FitError("star: all edges are parallel, no centre")
        centre = np.linalg.solve(a, b)
    if not (0 <= centre[0] < data.shape[0] and 0 <= centre[1] < data.shape[1]):
        raise FitError(f"star: edges meet at ({centre[0]:.4g}, {centre[1]:.4g}) pixels, outside the image")
    return float(centre[0]), float(centre[1])


def siemens_star(
    image: npt.NDArray[Any],
    pixel_nm: float,
    *,
    n_spokes: int | None = None,
    centre_yx: tuple[float, float] | None = None,
    outer_radius_nm: float | None = None,
    n_rings: int = 60,
    resolved_contrast: float = 0.1,
) -> StarContrast:
    """Measure the contrast of a Siemens star and its sign, ring by ring.

    Parameters
    ----------
    image : array (y, x)
        Transmission or optical depth; NaN pixels are left out.
    pixel_nm : float
    n_spokes : int, optional
        Spokes (bright-dark pairs) around the circle; found from the azimuthal spectrum if not given.
    centre_yx : optional
        Pixels; found by `find_star_centre` and refined by the harmonic's power if not given.
    outer_radius_nm : float, optional
        Outer end of the spokes; the largest circle within the image if not given.
    n_rings : int
        Rings, from the radius with a period of two pixels outwards, each wider than the one before by the same
        factor, so that fine spokes get as many rings an octave as coarse ones.
    resolved_contrast : float
        Share of the coarse contrast that counts as resolved.

    Raises
    ------
    FitError
        If there is no star, or it has no contrast in its coarse rings.
    """
    pixel = require_positive("pixel", pixel_nm, "nm")
    data = np.array(image, dtype=np.float64)
    start = centre_yx if centre_yx is not None else find_star_centre(data)
    if n_spokes is None:
        n_spokes = _count_spokes(data, start, None if outer_radius_nm is None else outer_radius_nm / pixel)
    if centre_yx is None:
        start = _refine_centre(data, start, n_spokes, None if outer_radius_nm is None else outer_radius_nm / pixel)
    reach = _reach(data.shape, start) if outer_radius_nm is None else outer_radius_nm / pixel
    inner = 2.0 * n_spokes / (2.0 * math.pi)
    if reach < 2.0 * inner:
        raise FitError(f"star: {n_spokes} spokes within {reach:.4g} pixels are finer than the pixel nearly everywhere")
    radius, cosine, sine, sd = _harmonics(data, start, n_spokes, inner, reach, n_rings)
    harmonic = cosine + 1j * sine
    coarse = np.abs(harmonic) * (radius > 0.5 * (inner + reach))
    strong = coarse > 0.5 * coarse.max(initial=0.0)
    level = float(np.abs(harmonic[strong]).mean()) if strong.any() else 0.0
    if not level > 3.0 * float(np.median(sd[strong])):
        raise FitError(f"star: no contrast of {n_spokes} spokes in the coarse rings")
    # squares have the same phase whatever the sign, so reversed rings do not cancel the others; the sign is that of
    # the coarsest rings
    squares = complex((harmonic[coarse > 0.0] ** 2).sum())
    if abs(squares) < 0.7 * float((coarse**2).sum()):
        raise FitError(f"star: the phases of {n_spokes} spokes do not agree from ring to ring, no star or wrong centre")
    axis = complex(np.sqrt(squares / abs(squares)))
    outer = np.flatnonzero(strong)[-max(1, int(strong.sum()) // 4) :]
    if (harmonic[outer] * axis.conjugate()).real.sum() < 0.0:
        axis = -axis
    turned = harmonic * axis.conjugate()
    signed = turned.real
    half_period = math.pi * radius / n_spokes * pixel
    good = (signed > 3.0 * sd) & (signed > resolved_contrast * level)
    # beyond the outermost strong ring there is no star, only the fringes of its border
    wrong = (signed < -3.0 * sd) & (signed < -0.03 * level) & (np.abs(signed) > np.abs(turned.imag))
    wrong[int(np.flatnonzero(strong)[-1]) :] = False
    return StarContrast(
        half_period_nm=half_period,
        signed_amplitude=signed,
        amplitude_sd=sd,
        quadrature=turned.imag,
        relative=signed / level,
        centre_yx=start,
        n_spokes=n_spokes,
        smallest_resolved_nm=_smallest(half_period, signed / level, sd / level, good, strong, resolved_contrast),
        resolved_contrast=resolved_contrast,
        reversed_nm=_runs(half_period, wrong),
    )


def _reach(shape: tuple[int, ...], centre: tuple[float, float]) -> float:
    return float(min(centre[0], centre[1], shape[0] - 1 - centre[0], shape[1] - 1 - centre[1]))


def _polar(shape: tuple[int, ...], centre: tuple[float, float]) -> tuple[Array, Array]:
    dy = np.arange(shape[0])[:, None] - centre[0]
    dx = np.arange(shape[1])[None, :] - centre[1]
    return np.hypot(dy, dx), np.arctan2(dy, dx)


def _harmonics(
    data: Array, centre: tuple[float, float], n: int, inner: float, outer: float, n_rings: int
) -> tuple[Array, Array, Array, Array]:
    """Fit 1, cos(n phi), sin(n phi) in each ring: mean radius, both amplitudes, standard deviation."""
    r, phi = _polar(data.shape, centre)
    inside = (r >= inner) & (r < outer) & np.isfinite(data)
    ring = np.minimum(np.log(r[inside] / inner) * (n_rings / math.log(outer / inner)), n_rings - 1).astype(np.intp)
    z = data[inside]
    c, s = np.cos(n * phi[inside]), np.sin(n * phi[inside])

    def total(v: Array) -> Array:
        return np.asarray(np.bincount(ring, weights=v, minlength=n_rings), dtype=np.float64)

    count = np.bincount(ring, minlength=n_rings).astype(np.float64)
    normal = np.empty((n_rings, 3, 3))
    one = np.ones_like(z)
    basis = (one, c, s)
    for i in range(3):
        for j in range(i, 3):
            normal[:, i, j] = normal[:, j, i] = total(basis[i] * basis[j])
    right = np.stack([total(b * z) for b in basis], axis=1)
    if count.min() < 12:
        raise FitError(f"star: a ring holds {int(count.min())} pixels, needs 12; use fewer rings")
    solution = np.asarray(np.linalg.solve(normal, right[:, :, None])[:, :, 0], dtype=np.float64)
    variance = np.maximum(total(z * z) - (solution * right).sum(axis=1), 0.0) / (count - 3.0)
    # what is left in a ring besides noise (higher harmonics of the spokes) counts as noise: on the safe side
    sd = np.asarray(np.sqrt(variance * np.linalg.inv(normal)[:, 1, 1]), dtype=np.float64)
    return total(r[inside]) / count, solution[:, 1], solution[:, 2], sd


def _count_spokes(data: Array, centre: tuple[float, float], outer: float | None) -> int:
    """Find the azimuthal order with the most power in the outer half of the star."""
    reach = _reach(data.shape, centre) if outer is None else outer
    angles = 2048
    phi = np.arange(angles) / angles * 2.0 * math.pi
    radii = np.linspace(0.4 * reach, 0.95 * reach, 48)
    filled = np.where(np.isfinite(data), data, np.nanmedian(data))
    rows = centre[0] + radii[:, None] * np.sin(phi)
    cols = centre[1] + radii[:, None] * np.cos(phi)
    rings = ndimage.map_coordinates(filled, [rows, cols], order=1, mode="nearest")
    power = (np.abs(np.fft.rfft(rings, axis=1)) ** 2).sum(axis=0)
    low, high = 6, int(min(angles // 4, math.pi * 0.4 * reach))
    if high <= low + 4:
        raise FitError(f"star: radius of {reach:.3g} pixels is too small to count spokes")
    best = low + int(np.argmax(power[low:high]))
    if power[best] < 8.0 * float(np.median(power[low:high])):
        raise FitError("star: no number of spokes stands out; give n_spokes")
    return best


def _refine_centre(data: Array, start: tuple[float, float], n: int, outer: float | None) -> tuple[float, float]:
    """Move the centre to where the spoke harmonic has the most power over all rings."""
    reach = (_reach(data.shape, start) if outer is None else outer) - 3.0
    r0, _ = _polar(data.shape, start)
    inner = max(2.0, 4.0 * n / (2.0 * math.pi))
    inside = (r0 >= inner) & (r0 < reach) & np.isfinite(data)
    rows, cols = (v.astype(np.float64) for v in np.nonzero(inside))
    z = data[inside]
    if len(z) > 60000:
        step = len(z) // 60000 + 1
        rows, cols, z = rows[::step], cols[::step], z[::step]
    z = z - z.mean()

    def loss(p: Array) -> float:
        dy, dx = rows - p[0], cols - p[1]
        ring = np.minimum((np.hypot(dy, dx) / reach * 24).astype(np.intp), 25)
        wave = np.exp(-1j * n * np.arctan2(dy, dx)) * z
        c = np.bincount(ring, weights=wave.real, minlength=26)
        s = np.bincount(ring, weights=wave.imag, minlength=26)
        return -float((c * c + s * s).sum())

    size = max(0.5, 0.25 * inner * 2.0 * math.pi / n)
    simplex = np.array([start, (start[0] + size, start[1]), (start[0], start[1] + size)])
    found = optimize.minimize(
        loss,
        np.asarray(start),
        method="Nelder-Mead",
        options={
            "initial_simplex": simplex,
            "xatol": 1e-3,
            "fatol": 1e-9 * abs(loss(np.asarray(start))),
            "maxiter": 200,
        },
    )
    return float(found.x[0]), float(found.x[1])


def _smallest(
    half_period: Array,
    relative: Array,
    sd: Array,
    good: npt.NDArray[np.bool_],
    strong: npt.NDArray[np.bool_],
    threshold: float,
) -> float:
    """Walk from the innermost strong coarse ring towards the centre while the rings are good.

    Up to `_MARK_RINGS` rings without contrast are passed over when two good ones follow: targets mark some spoke
    widths by a ring without spokes. Reversed rings are not passed over. Where the contrast falls through the
    threshold between two rings the place is interpolated.
    """
    reversed_ = relative < -3.0 * sd
    k = int(np.flatnonzero(strong)[0])
    while k > 0:
        reach = 1 if good[k - 1] else next((m for m in range(2, _MARK_RINGS + 2) if good[max(k - m, 0)]), 0)
        beyond = k - reach
        if reach == 0 or beyond < 0:
            break
        if reach > 1 and (beyond < 1 or not good[beyond - 1] or reversed_[beyond:k].any()):
            break
        k = beyond
    if k > 0 and relative[k - 1] < threshold < relative[k]:
        share = (relative[k] - threshold) / (relative[k] - relative[k - 1])
        return float(half_period[k] + share * (half_period[k - 1] - half_period[k]))
    return float(half_period[k])


def _runs(half_period: Array, where: npt.NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """Return the ranges in which two neighbouring rings or more are marked."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], where, [False])).astype(int)))
    return tuple(
        (float(half_period[a]), float(half_period[b - 1]))
        for a, b in zip(edges[::2], edges[1::2], strict=True)
        if b - a >= 2
    )
