"""Where the rotation axis stands in the pictures, without a pair of them, and how sure that is.

- `centre_from_mass`: the centre of mass of each row goes round the axis; for objects that stay within the field.
- `centre_from_wedge`: the sinogram and its mirror image make a whole turn without a seam only about the right axis,
  and nothing then lies outside the double wedge of its Fourier transform.
- `centre_from_score`: the slices have least entropy, or least negative values, for the right axis.

These say nothing of the lean, which `axis_from_pairs` finds: the axis of a leaning ball, row by row, does not lean,
since rows of the picture cut it askew; only what is inside tells, and only in two dimensions. Each takes bands of rows
one by one, and their scatter about a line gives the uncertainty.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft, optimize

from exitwave.analysis.compiled import n_threads
from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError, require_positive, require_within
from exitwave.analysis.tomography.geometry import Geometry
from exitwave.analysis.tomography.pairs import CentreEstimate, checked_projections
from exitwave.analysis.tomography.reconstruct import reconstruct

__all__ = ["centre_from_mass", "centre_from_moments", "centre_from_score", "centre_from_wedge"]

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def _angles(angles_deg: npt.ArrayLike, n: int) -> Doubles:
    angles = np.asarray(angles_deg, dtype=np.float64)
    if angles.shape != (n,) or not np.isfinite(angles).all():
        raise ShapeError(
            f"angles: {angles.shape}, some perhaps not finite, for {n} projections; one for each is needed"
        )
    return angles


# ------------------------------------------------------------------------------------- bands of rows


def _through_bands(rows: Doubles, centres: Doubles, deviations: Doubles, middle: float) -> CentreEstimate:
    """Line through the centres of bands; the scatter about it counts where it is more than the deviations say."""
    good = np.isfinite(centres) & np.isfinite(deviations) & (deviations > 0.0)
    if good.sum() < 3:
        raise FitError(f"axis: only {int(good.sum())} bands of rows tell where it is, 3 are needed")
    x, y, sd = rows[good] - middle, centres[good], deviations[good]

    def residuals(line: Doubles) -> Doubles:
        return np.asarray((line[0] + line[1] * x - y) / sd, np.float64)

    # soft: one wild band must not decide
    fit = optimize.least_squares(residuals, [float(np.median(y)), 0.0], loss="soft_l1", f_scale=2.0)
    weight = 1.0 / sd**2
    design = np.stack([np.ones_like(x), x])
    covariance = np.linalg.inv((design * weight) @ design.T)
    rest = y - fit.x @ design
    chi = float((weight * rest**2).sum()) / (len(y) - 2) if len(y) > 2 else 1.0
    covariance *= max(chi, 1.0)
    return CentreEstimate(float(fit.x[0]), math.sqrt(covariance[0, 0]))


def _bands(n_rows: int, height: int) -> list[tuple[int, int]]:
    return [(start, min(start + height, n_rows)) for start in range(0, n_rows - height // 2, height)]


def centre_from_moments(
    angles_deg: npt.ArrayLike, columns: npt.ArrayLike, *, condition: float = 20.0
) -> CentreEstimate:
    """Return the column about which centres of mass go round: centre + x cos(theta) + z sin(theta), by least squares.

    Parameters
    ----------
    angles_deg, columns : array (n,)
        Where the centre of mass is at each angle, in columns of any origin.
    condition : float
        Largest condition number of the fit: 20 is that of an arc of 90 deg, 67 of 50 deg, where the deviation is over
        three times as large.

    Raises
    ------
    ShapeError
        Not one angle for each, or one is not finite.
    OutOfRangeError
        Fewer than five, or over too small an arc to tell the axis from the object's place.

    Notes
    -----
    The deviation is that of the scatter about the fit.
    """
    where = np.asarray(columns, dtype=np.float64)
    angles = np.radians(_angles(angles_deg, len(where)))
    design = np.stack([np.ones_like(angles), np.cos(angles), np.sin(angles)], axis=1)
    if len(where) < 5 or np.linalg.cond(design) > condition:
        raise OutOfRangeError(
            f"angles: {len(where)} over {np.ptp(np.degrees(angles)) if len(where) else 0.0:.4g} deg tell the axis from "
            "the object's place too badly; 90 deg would do"
        )
    inverse = np.linalg.pinv(design)
    fit = inverse @ where
    rest = where - design @ fit
    variance = float(rest @ rest) / (len(where) - 3) * float(inverse[0] @ inverse[0])
    return CentreEstimate(float(fit[0]), math.sqrt(variance))


def centre_from_mass(
    projections: npt.NDArray[Any], angles_deg: npt.ArrayLike, *, band: int = 8, margin_px: int = 8
) -> CentreEstimate:
    """Return the column about which the centre of mass of each band of rows goes round.

    Parameters
    ----------
    projections : array (angle, row, col)
        -ln(transmission) of an object that stays within the field at all angles, over at least 90 deg.
    angles_deg : array (angle,)
    band : int
        Rows that are taken together.
    margin_px : int
        Columns at either side that show what is around the object; their mean is subtracted.

    Raises
    ------
    FitError
        If no three bands hold an object.
    ShapeError, OutOfRangeError

    Notes
    -----
    ``column(theta) = centre + x cos(theta) + z sin(theta)``, with weights from the scatter about this fit. Jitter
    that is the same in all rows moves the result by its mean over the projections: about rms / sqrt(n).
    """
    pictures = checked_projections(projections, 8)
    n, n_rows, width = pictures.shape
    angles = _angles(angles_deg, n)
    columns = np.arange(width, dtype=np.float64) - 0.5 * (width - 1)
    noise = 1.4826 * float(np.median(np.abs(pictures[:, :, :margin_px] - np.median(pictures[:, :, :margin_px]))))
    rows, centres, deviations = [], [], []
    for start, stop in _bands(n_rows, band):
        profile = pictures[:, start:stop].mean(axis=1, dtype=np.float64)
        profile -= np.concatenate([profile[:, :margin_px], profile[:, -margin_px:]], axis=1).mean(axis=1)[:, None]
        mass = profile.sum(axis=1)
        # an empty band has a mass of noise alone
        if float(np.median(mass)) < 10.0 * noise * math.sqrt(width / (stop - start)):
            continue
        where = (profile @ columns) / mass
        found = centre_from_moments(angles, where)
        rows.append(0.5 * (start + stop - 1))
        centres.append(found.centre + 0.5 * (width - 1))
        deviations.append(max(found.centre_sd, 1e-9))
    return _through_bands(np.array(rows), np.array(centres), np.array(deviations), 0.5 * (n_rows - 1))


# ---------------------------------------------------------------------------------------- double wedge


def _half_turn(angles_deg: Doubles) -> slice:
    """Projections that make half a turn in equal steps, the last one not repeating the first."""
    step = np.diff(angles_deg)
    if len(step) < 15 or not np.allclose(step, step.mean(), atol=0.2 * abs(float(step.mean())), rtol=0.0):
        raise OutOfRangeError("angles: the double wedge needs at least 16 projections in equal steps")
    count = round(180.0 / abs(float(step.mean())))
    if len(angles_deg) < count:
        raise OutOfRangeError(f"angles: {abs(angles_deg[-1] - angles_deg[0]):g} deg; half a turn is needed")
    return slice(0, count)


def centre_from_wedge(
    projections: npt.NDArray[Any],
    angles_deg: npt.ArrayLike,
    *,
    ratio: float = 0.6,
    band: int = 16,
    max_offset_px: float | None = None,
) -> CentreEstimate:
    """Return the column that leaves least outside of the double wedge of the sinograms' Fourier transform.

    Parameters
    ----------
    projections : array (angle, row, col)
        -ln(transmission) over half a turn in equal steps (more is left out).
    angles_deg : array (angle,)
    ratio : float
        Object's diameter as a part of the width; a little too large does no harm.
    band : int
        Rows taken together, each row a sinogram of its own.
    max_offset_px : float, optional
        Largest distance of the axis from the middle column; an eighth of the width without.

    Raises
    ------
    FitError, ShapeError, OutOfRangeError

    Notes
    -----
    N. T. Vo et al., Opt. Express 22, 19078 (2014), eq. 3: a point at radius r shows at the angular frequencies
    ``|m| <= 2 pi r f``. Here the power outside of it is minimised rather than the mean magnitude: with A the transform
    of the half turn and B that of its mirror image it is ``|A|^2 + |B|^2 + 2 Re(A* B exp(-4 pi i f c))``, so that all
    candidates come from one sum over m, to any part of a pixel, and noise adds a constant.
    """
    pictures = checked_projections(projections, 16)
    angles = _angles(angles_deg, len(pictures))
    pictures = pictures[_half_turn(angles)]
    n, n_rows, width = pictures.shape
    ratio = require_within("ratio", ratio, 0.05, 1.0, "of the width")
    reach = 0.125 * width if max_offset_px is None else require_positive("max_offset", max_offset_px, "pixel")
    length = fft.next_fast_len(2 * width, real=True)
    frequency = fft.rfftfreq(length)
    order = np.abs(fft.fftfreq(2 * n, 1.0 / (2 * n)))
    outside = order[:, None] > math.pi * ratio * width * frequency[None, :] + 3.0
    outside[:, frequency < 2.0 / width] = False
    seam = np.exp(-1j * math.pi * order * np.sign(fft.fftfreq(2 * n)))  # the mirror image starts half a turn later

    def cross(row: int) -> npt.NDArray[np.complex128]:
        one = pictures[:, row].astype(np.float64)
        one = one - 0.5 * (one[:, :4].mean() + one[:, -4:].mean())
        # columns about the middle one, so that the mirror image has the conjugate transform
        lines = fft.rfft(one, length, axis=1) * np.exp(2j * math.pi * frequency * 0.5 * (width - 1))
        a = fft.fft(lines, 2 * n, axis=0, workers=n_threads())
        b = fft.fft(lines.conj(), 2 * n, axis=0, workers=n_threads()) * seam[:, None]
        return np.asarray((a.conj() * b * outside).sum(axis=0))

    bands = _bands(n_rows, band)
    sums = np.stack([sum((cross(row) for row in range(*each)), np.zeros(len(frequency), complex)) for each in bands])
    total = sums.sum(axis=0)
    grid = np.arange(-reach, reach + 0.25, 0.25)
    power = (total[None, :] * np.exp(-4j * math.pi * frequency[None, :] * grid[:, None])).real.sum(axis=1)
    start = float(grid[int(np.argmin(power))])
    if abs(start) >= reach - 0.3:
        raise FitError(f"double wedge: no axis within {reach:g} columns of the middle; look farther")

    # each band's centre from the slope and curvature of its own power about the common minimum
    turn = 4.0 * math.pi * frequency
    best, curvature = start, 0.0
    for _ in range(20):
        slope, curvature = _slopes(total, turn, best)
        if curvature <= 0.0:
            raise FitError("double wedge: its power has no minimum; a higher `ratio` or more dose may help")
        move = -slope / curvature
        best += float(np.clip(move, -0.5, 0.5))
        if abs(move) < 1e-5:
            break
    pulls = np.array([_slopes(each, turn, best) for each in sums])
    middle = 0.5 * (n_rows - 1)
    rows = np.array([0.5 * (low + high - 1) for low, high in bands]) - middle
    # weights are the curvatures, kept positive; uncertainty by the scatter of the bands' pulls
    weight = np.maximum(pulls[:, 1], 0.0)
    design = np.stack([np.ones_like(rows), rows])
    normal = (design * weight) @ design.T
    if np.linalg.det(normal) <= 0.0:
        raise FitError("double wedge: too few rows hold an object")
    inverse = np.linalg.inv(normal)
    parameters = inverse @ (design @ -pulls[:, 0])
    scores = design * (-pulls[:, 0] - weight * (parameters @ design))
    covariance = inverse @ (scores @ scores.T) @ inverse * len(bands) / max(len(bands) - 2, 1)
    return CentreEstimate(0.5 * (width - 1) + best + float(parameters[0]), math.sqrt(covariance[0, 0]))


def _slopes(cross: npt.NDArray[np.complex128], turn: Doubles, centre: float) -> tuple[float, float]:
    """First and second derivative of the power by the centre."""
    wave = cross * np.exp(-1j * turn * centre)
    return float((turn * wave.imag).sum()), float(-(turn**2 * wave.real).sum())


# --------------------------------------------------------------------------------------------- scores


def _entropy(slices: Floats) -> float:
    low, high = np.percentile(slices, [0.05, 99.95])
    counts, _ = np.histogram(slices, bins=256, range=(float(low), float(high) + 1e-30))
    part = counts[counts > 0] / counts.sum()
    return float(-(part * np.log(part)).sum())


_SCORES: dict[str, Callable[[Floats], float]] = {
    "entropy": _entropy,
    "negativity": lambda slices: float(-np.minimum(slices, 0.0).mean(dtype=np.float64)),
    "absolute": lambda slices: float(np.abs(slices).mean(dtype=np.float64)),
}


def centre_from_score(
    projections: npt.NDArray[Any],
    angles_deg: npt.ArrayLike,
    *,
    score: str = "negativity",
    band: int = 16,
    n_bands: int = 9,
    cutoff: float = 0.4,
    max_offset_px: float | None = None,
) -> CentreEstimate:
    """Return the column of the axis that gives slices of the lowest score, band by band.

    Parameters
    ----------
    projections : array (angle, row, col)
    angles_deg : array (angle,)
        Half a turn or a whole one, any order.
    score : str
        "negativity" (sum of negative values), "absolute" (of absolute values) or "entropy" (of the histogram):
        T. Donath, F. Beckmann and A. Schreyer, J. Opt. Soc. Am. A 23, 1048 (2006).
    band, n_bands : int
        Rows averaged to one sinogram, and how many of these are tried, spread over the height.
    cutoff : float
        Of Nyquist: slices are smoothed, as noise has negative values, too.
    max_offset_px : float, optional
        Largest distance of the axis from the middle column; an eighth of the width without.

    Raises
    ------
    FitError, ShapeError, OutOfRangeError
    """
    pictures = checked_projections(projections, 8)
    n, n_rows, width = pictures.shape
    angles = _angles(angles_deg, n)
    if score not in _SCORES:
        raise OutOfRangeError(f"score {score!r}: must be one of {', '.join(_SCORES)}")
    reach = 0.125 * width if max_offset_px is None else require_positive("max_offset", max_offset_px, "pixel")
    mass = pictures.sum(axis=(0, 2), dtype=np.float64)
    held = np.flatnonzero(mass > 0.2 * mass.max())
    n_bands = min(n_bands, len(held) // band)
    if n_bands < 3:
        raise FitError(f"score: the object has {len(held)} rows, 3 bands of {band} are needed; choose a lower `band`")
    starts = np.linspace(held[0], held[-1] + 1 - band, n_bands).astype(int)
    sinograms = np.stack([pictures[:, s : s + band].mean(axis=1) for s in starts], axis=1)
    middle = 0.5 * (width - 1)

    def scores(centre: float, factor: int) -> Doubles:
        data = sinograms[:, :, : width // factor * factor]
        data = data.reshape(n, n_bands, width // factor, factor).mean(axis=3)
        geometry = Geometry(angles, data.shape[2], (centre - 0.5 * (factor - 1)) / factor)
        slices = reconstruct(data, geometry, filter_name="hann", cutoff=min(1.0, cutoff * factor), circle=False)
        return np.array([_SCORES[score](one) for one in slices])

    best, factor = middle, max(1, width // 128)
    grid = np.arange(-reach, reach + 0.5 * factor, float(factor))
    best += float(grid[int(np.argmin([scores(middle + d, factor).sum() for d in grid]))])
    for step in (2.0, 0.5):
        near = np.arange(-3, 4) * step
        best += float(near[int(np.argmin([scores(best + d, max(1, width // 512)).sum() for d in near]))])
    # parabolas through every band's scores about the common minimum
    near = np.arange(-4, 5) * 0.75
    table = np.stack([scores(best + d, max(1, width // 512)) for d in near])
    curve, slope, _ = np.polyfit(near, table, 2)
    common = float(curve.mean())
    if common <= 0.0:
        raise FitError("score: it has no minimum; try another score, a lower `cutoff` or more dose")
    good = curve > 0.2 * common
    centres = np.where(good, best - 0.5 * slope / np.where(good, curve, 1.0), np.nan)
    weight = np.where(good, np.sqrt(common / np.where(good, curve, 1.0)), np.nan)
    spread = float(np.nanstd(centres, ddof=1)) if good.sum() > 2 else np.inf
    rows = starts + 0.5 * (band - 1)
    deviations = np.maximum(weight * min(spread, 1.0), 1e-6)
    return _through_bands(np.asarray(rows, np.float64), centres, deviations, 0.5 * (n_rows - 1))
