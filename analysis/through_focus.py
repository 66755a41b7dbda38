"""Focus from a through-focus series and a model of the lens: even and odd transfer fitted together.

In a lens with a matched hollow cone absorption is transferred evenly in defocus, E(z, f), and phase oddly, O(z, f)
(D. K. Hamilton, C. J. R. Sheppard, T. Wilson, J. Microsc. 135, 275 (1984)):

    T(f) = sum_s w(s) P(s + f) P*(s),   E = Re T,   O = Im T,

with the source's points s, the pupil P(q) = exp(i pi lambda z |q|^2) for |q| <= NA / lambda. The image's power in a
ring of spatial frequencies is therefore, for any mixture of materials,

    P(z) = a E^2 + 2 b E O + c O^2 + noise,

with four unknown numbers a ring, in which it is linear, and one unknown place of focus for all rings. Symmetry alone
can't tell focus once b is there: the two peaks that a phase specimen has beside focus are unlike, and their middle is
off by a fifth of the depth of focus. The fit takes that out. Higher orders in the phase are not in the model: 0.6 um
of gold (1.1 rad) shift the result by less than a tenth of the depth of focus (measured on exact images).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import FitError, FocusRangeError, OutOfRangeError, ShapeError, require_positive
from exitwave.analysis.resolution.rings import default_bins, fill_dead, make_rings, windowed_transform

__all__ = ["HOLLOW_CONE", "TransferFocus", "fit_transfer", "ring_edges", "ring_powers", "transfer_parts"]

Array = npt.NDArray[np.float64]

HOLLOW_CONE = (0.6, 1.0)
"""Inner and outer angle of the condenser's cone as parts of the lens's aperture: matched outside, a stop inside."""

FINE_FROM = 0.6
"""Where fine rings begin, as a part of NA / lambda: finer structure hardly sees second orders of the phase."""
SEARCHED, ALLOWED = 0.35, 0.3
"""How far from the middle of the range focus is looked for and may lie, as parts of the range."""

LEAST_EXPLAINED = 0.5
"""Part of the powers' variance over z that has to be the lens's doing."""


@dataclass(frozen=True)
class TransferFocus:
    """Where a through-focus series is in focus, in the unit of z (um).

    `best_sd` comes from leaving out one ring after the other; `explained` is the part of the powers' variance over
    z that the model accounts for; `model` (n, rings) is what was fitted, in the powers' unit, NaN in rings that took
    no part.
    """

    best: float
    best_sd: float
    explained: float
    model: Array


def ring_edges(numerical_aperture: float, wavelength_nm: float, pixel_nm: float) -> Array:
    """Return edges of rings (1/um) that show focus: six from 0.2 to 0.6 of NA / lambda, eight from there to 1.4.

    The outer end is where the lens still passes a few per cent, or 0.45 of the sampling if that is less.

    Raises
    ------
    OutOfRangeError
        The pixel is too coarse to see this lens's focus.
    """
    aperture = require_positive("numerical aperture", numerical_aperture, "") / (wavelength_nm * 1e-3)
    high = min(1.4 * aperture, 0.45e3 / require_positive("pixel", pixel_nm, "nm"))
    border = FINE_FROM * aperture
    if high < 1.2 * border:
        raise OutOfRangeError(f"pixel = {pixel_nm:g} nm is too coarse to see the focus of a lens of {aperture:.3g} /um")
    return np.concatenate((np.linspace(0.2 * aperture, border, 7), np.linspace(border, high, 9)[1:]))


def ring_powers(image: npt.NDArray[Any], pixel_nm: float, edges_per_um: Array) -> Array:
    """Return the mean power of an image (y, x) in rings of spatial frequency, over its mean squared, float64."""
    data = fill_dead(image)
    mean = float(data.mean())
    if not (math.isfinite(mean) and mean > 0.0):
        raise OutOfRangeError(f"image: mean = {mean:g}, focus needs a mean > 0 (is the beam on?)")
    transform, _ = windowed_transform(data, "hann")
    shape = (data.shape[0], data.shape[1])
    rings = make_rings(shape, default_bins(shape))
    frequency = rings.radius * (1e3 / require_positive("pixel", pixel_nm, "nm"))
    place = np.where(rings.slot > 0, np.searchsorted(edges_per_um, frequency, side="right"), 0)
    power = (transform.real**2 + transform.imag**2) * rings.weight
    num = len(edges_per_um) - 1
    total, count = (
        np.bincount(place.ravel(), weights=np.ravel(values), minlength=num + 2)[1 : num + 1]
        for values in (power, rings.weight)
    )
    return np.asarray(total / np.maximum(count, 1.0) / mean**2, dtype=np.float64)


def transfer_parts(
    defocus_um: Array,
    frequency_per_um: Array,
    *,
    numerical_aperture: float,
    wavelength_nm: float,
    cone: tuple[float, float] = HOLLOW_CONE,
) -> tuple[Array, Array]:
    """Return the even and the odd part of the transfer, each (defocus, frequency), 1 at zero frequency in focus."""
    wavelength_um = require_positive("wavelength", wavelength_nm, "nm") * 1e-3
    aperture = require_positive("numerical aperture", numerical_aperture, "") / wavelength_um
    inner, outer = cone
    if not 0.0 <= inner < outer <= 1.0:
        raise OutOfRangeError(f"cone = ({inner:g}, {outer:g}): needs 0 <= inner < outer <= 1 of the aperture")
    edges = np.linspace(inner, outer, 13) * aperture
    radius = 0.5 * (edges[1:] + edges[:-1])
    azimuth = (np.arange(64) + 0.5) / 64 * math.pi  # the other half is its mirror image
    along = np.ravel(radius[:, None] * np.cos(azimuth))
    radius = np.repeat(radius, len(azimuth))
    weight = radius / radius.sum()
    even, odd = np.empty((len(defocus_um), len(frequency_per_um))), np.empty((len(defocus_um), len(frequency_per_um)))
    for k, f in enumerate(frequency_per_um):
        difference = 2.0 * along * f + f * f
        passed = difference + radius**2 <= aperture**2
        angle = math.pi * wavelength_um * np.multiply.outer(defocus_um, difference[passed])
        even[:, k], odd[:, k] = np.cos(angle) @ weight[passed], np.sin(angle) @ weight[passed]
    return even, odd


def fit_transfer(
    z_um: Sequence[float] | Array,
    powers: Array,
    edges_per_um: Array,
    *,
    numerical_aperture: float,
    wavelength_nm: float,
    cone: tuple[float, float] = HOLLOW_CONE,
) -> TransferFocus:
    """Find the focus for which even and odd transfer together explain the powers of a through-focus series.

    The rings beyond 0.6 NA / lambda decide; where a specimen has too little structure in them, those inside do.

    Parameters
    ----------
    z_um : (n >= 9,)
        Place of the lens; either sense, any order. The range should reach over both peaks beside focus: four depths
        of focus to each side.
    powers : (n, rings)
        From `ring_powers`.
    edges_per_um : (rings + 1,)
        The same edges.
    cone : (inner, outer)
        Of the condenser, as parts of the aperture. A tenth more or less moves the result by 0.04 depths of focus.

    Raises
    ------
    FitError
        The model does not explain half of what changes, in fine rings or coarse; `FocusRangeError` when focus lies
        in an outer fifth of the range ("move the range there").
    ShapeError, OutOfRangeError
    """
    z, data = np.asarray(z_um, np.float64), np.asarray(powers, np.float64)
    if z.ndim != 1 or len(z) < 9 or data.shape != (len(z), len(edges_per_um) - 1):
        raise ShapeError(f"focus: {z.shape} positions, powers {data.shape}: needs (n >= 9,) and (n, rings)")
    if not (np.isfinite(z).all() and np.isfinite(data).all()):
        raise OutOfRangeError("focus: positions and powers must be finite")
    span, middle = float(np.ptp(z)), 0.5 * float(z.min() + z.max())
    reach = SEARCHED * span
    candidates = middle + np.linspace(-reach, reach, 65)
    frequency = 0.5 * (edges_per_um[1:] + edges_per_um[:-1])
    table_z = np.linspace(-0.5 * span - reach, 0.5 * span + reach, 401)
    parts = transfer_parts(
        table_z, frequency, numerical_aperture=numerical_aperture, wavelength_nm=wavelength_nm, cone=cone
    )
    # every ring counts by its noise, of which the median over z is a fair measure
    noise = np.maximum(np.median(data, axis=0), np.finfo(np.float64).tiny)
    rows = [_fit_at(z - centre, data / noise, table_z, parts) for centre in candidates]
    misfit = np.array([((model - data / noise) ** 2).sum(axis=0) for model in rows])  # (candidates, rings)
    fine = edges_per_um[:-1] > 0.999 * FINE_FROM * numerical_aperture / (wavelength_nm * 1e-3)
    explained = 0.0
    for use in (fine, ~fine):
        if np.count_nonzero(use) < 3:
            continue
        best = _lowest(candidates, misfit[:, use].sum(axis=1))
        scaled, model = data / noise, _fit_at(z - best, data / noise, table_z, parts)
        left = ((model - scaled) ** 2)[:, use].sum()
        spread = ((scaled - scaled.mean(axis=0)) ** 2)[:, use].sum()
        explained = max(explained, 1.0 - float(left) / max(float(spread), np.finfo(np.float64).tiny))
        if explained < LEAST_EXPLAINED:
            continue
        if abs(best - middle) > ALLOWED * span:
            ends = f"[{middle - 0.5 * span:g}, {middle + 0.5 * span:g}] um"
            raise FocusRangeError(
                f"focus: near {best:.6g} um, in the outer fifth of {ends}; move the range there", best
            )
        without = np.array(
            [_lowest(candidates, misfit[:, use].sum(axis=1) - misfit[:, k]) for k in np.flatnonzero(use)]
        )
        sd = math.sqrt((len(without) - 1) / len(without) * float(((without - without.mean()) ** 2).sum()))
        return TransferFocus(best, sd, explained, np.where(use, model * noise, np.nan))
    raise FitError(
        f"focus: the lens's transfer explains {100 * explained:.0f} % of the series, needs "
        f"{100 * LEAST_EXPLAINED:.0f} %; expose longer, or look at a larger region"
    )


def _fit_at(defocus: Array, powers: Array, table_z: Array, parts: tuple[Array, Array]) -> Array:
    """Return the best linear fit of the powers of each ring with focus at zero."""
    model = np.empty_like(powers)
    for k in range(powers.shape[1]):
        even, odd = (np.interp(defocus, table_z, part[:, k]) for part in parts)
        basis = np.stack([even * even, even * odd, odd * odd, np.ones_like(even)], axis=1)
        model[:, k] = basis @ np.linalg.lstsq(basis, powers[:, k], rcond=None)[0]
    return model


def _lowest(candidates: Array, misfit: Array) -> float:
    """Return where the misfit is lowest, by a parabola."""
    k = int(np.argmin(misfit))
    if k in (0, len(candidates) - 1):
        return float(candidates[k])
    bend = float(misfit[k - 1] - 2.0 * misfit[k] + misfit[k + 1])
    shift = 0.5 * float(misfit[k - 1] - misfit[k + 1]) / bend if bend > 0.0 else 0.0
    return float(candidates[k] + shift * (candidates[1] - candidates[0]))
