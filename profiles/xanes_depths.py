"""From a scan of energies to optical depths on common pixels.

Optical depths by darks, flats and ion chamber; energies by the Bragg angle's readback; all energies on the pixels of
one, by pixel size and alignment, in one resampling. Energies are in eV, optical depths are natural logarithms, lengths
in nm, photons are detected ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from exitwave.profiles.storage.xanes_stack import NoXanesError

if TYPE_CHECKING:
    from exitwave.analysis.xanes import StackOperator
    from exitwave.profiles.storage.xanes_stack import XanesStack

__all__ = [
    "RIM_PX",
    "AlignedStack",
    "OpticalDepth",
    "aligned_depths",
    "energies_ev",
    "optical_depths",
    "photons_per_count",
]

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]

BAND, SPANS = 0.12, (1, 2, 4, 8, 16, 32)
"""Of the alignment: cycles per pixel, and pairs of energies that are compared."""
DRIFT_ORDERS, DRIFT_LEAST = (3, 2), 12
"""What moves the image: the lens on its rail, by the energy, and the stage's drift, by the time; of how many energies
at least that is told apart from noise."""
RIM_PX = 24


@dataclass(frozen=True)
class OpticalDepth:
    """What one energy shows.

    Attributes
    ----------
    depth, variance : float32 (y, x)
        ln(open beam / light), without a unit; NaN where there is no light.
    photons : float32 (y, x)
        Detected in the open beam per pixel, all frames of the energy together, by the flats.
    flats_share : float
        Photons of the frames over photons of the flats: what the flats add to the variance is this over `photons`.
    """

    depth: Image
    variance: Image
    photons: Image
    flats_share: float


@dataclass(frozen=True)
class AlignedStack:
    """Optical depths of one place, angle and repeat on common pixels.

    Attributes
    ----------
    energies_ev : float64 (n,)
        Rising.
    depth, variance : float32 (n, y, x)
        NaN where an energy does not see the pixel. The variance is each pixel's own; neighbours share noise.
    operator : StackOperator
        That brought them there.
    reference : int
        Number of the energy whose pixels these are.
    pixel_nm : float
        At the sample.
    photons : float32 (n, y, x)
        Of the open beam, detected per pixel and energy.
    flats_share : float64 (n,)
        As of `OpticalDepth`.
    """

    energies_ev: Array
    depth: Image
    variance: Image
    operator: StackOperator
    reference: int
    pixel_nm: float
    photons: Image
    flats_share: Array

    @property
    def open_photons(self) -> Array:
        """Median over the field of the open beam's photons per pixel, float64 (n,)."""
        return np.nanmedian(self.photons.reshape(len(self.photons), -1), axis=1).astype(np.float64)

    def expected_variance(self, depth: npt.ArrayLike) -> Array:
        """Return the variances (n, y, x) that optical depths (n, y, x) would have at these counts, resampled alike.

        Nothing of the sample's own noise is in them: the open beam is that of the flats, smoothed, and the light behind
        the sample is what the depths say.
        """
        from scipy import ndimage

        expected = np.empty(self.depth.shape, np.float64)
        ones = np.ones(self.depth.shape[1:], np.float32)
        for k, behind in enumerate(np.asarray(depth, np.float64)):
            _, gain = self.operator.resample(k, ones, ones)
            open_beam = np.nan_to_num(self.photons[k], nan=float(np.nanmedian(self.photons[k])))
            smooth = np.maximum(ndimage.gaussian_filter(open_beam.astype(np.float64), 4.0), 1e-3)
            expected[k] = (np.exp(behind) + self.flats_share[k]) / smooth * np.asarray(gain, np.float64)
        return expected


def photons_per_count(flats: Any, dark: Any) -> float:
    """Return detected photons per count from how two flats of one energy differ: variance equals mean in photons.

    Raises
    ------
    NoXanesError
        There are no darks, or less than two flats.
    """
    if flats is None or dark is None or len(flats) < 2:
        raise NoXanesError("photon transfer: needs darks and two flats at an energy; give photons_per_count")
    first, second = (np.asarray(flats[i], np.float64) - dark for i in (0, 1))
    first *= np.median(second) / np.median(first)
    difference = (first - second) / np.sqrt(np.maximum(first + second, 1.0))
    # hot pixels and cosmic rays are no photon noise
    return float(1.0 / (1.4826 * np.median(np.abs(difference - np.median(difference)))) ** 2)


def energies_ev(stack: XanesStack, points: Sequence[int] | None = None, *, drift_ev: float = 0.0) -> Array:
    """Return the energies of points (all of them without `points`) by the readback, eV, float64 (n,).

    Parameters
    ----------
    drift_ev : float
        How far the energy scale went up from the beginning of the points to their end, by a foil before and after; it
        is taken off in proportion to the points taken.
    """
    chosen = list(range(len(stack))) if points is None else list(points)
    read = 1e3 * np.array([stack.points[k].energy_kev for k in chosen], np.float64)
    order = np.argsort(np.argsort([stack.points[k].time_s for k in chosen], kind="stable"))
    return np.asarray(read - drift_ev * (order + 0.5) / max(len(chosen), 1), np.float64)


def optical_depths(
    stack: XanesStack, points: Sequence[int] | None = None, *, per_count: float | None = None
) -> list[OpticalDepth]:
    """Return the optical depths of points: of the mean of their frames, flats brought to their beam.

    Parameters
    ----------
    stack : XanesStack
    points : sequence of int, optional
        As of `XanesStack.select`; all without it.
    per_count : float, optional
        Detected photons per count; from how flats differ without it (`photons_per_count`), the median over energies.

    Raises
    ------
    NoXanesError
        A point has no flats or no darks.
    """
    from exitwave.analysis.xanes import optical_depth

    chosen = list(range(len(stack))) if points is None else list(points)
    if not chosen:
        raise NoXanesError(f"run {stack.uid[:8]}: no such point; look at its scan")
    if per_count is None:
        per_count = float(np.median([photons_per_count(stack.flats(k), stack.dark(k)) for k in chosen]))
    found = []
    for k in chosen:
        point, flats, dark = stack.points[k], stack.flats(k), stack.dark(k)
        if flats is None or dark is None:
            raise NoXanesError(
                f"run {stack.uid[:8]}: {1e3 * point.energy_kev:.1f} eV has no flats or no darks; a map needs both"
            )
        # Plain means: to leave outliers out of a few frames costs more photons than it saves.
        light, flat = stack.image(k), np.mean(flats[:], axis=0, dtype=np.float32)
        known = point.beam_intensity > 0 and point.flat_intensity > 0
        beam = point.beam_intensity / point.flat_intensity if known else 1.0
        depth, variance = optical_depth(
            light,
            flat,
            dark,
            beam_ratio=beam,
            photons_per_count=per_count,
            averaged=(len(point.frames), len(flats)),
        )
        together = np.float32(len(point.frames) * per_count * beam)
        found.append(OpticalDepth(depth, variance, together * (flat - dark), len(point.frames) * beam / len(flats)))
    return found


def _levelled(depth: Image, rim_px: int) -> Image:
    """Take off what a frame has on both sides, where there is nothing but what is left of the beam's changes."""
    if not rim_px:
        return depth
    half = depth[: depth.shape[0] // 2]
    rim = np.concatenate([half[:, :rim_px].ravel(), half[:, -rim_px:].ravel()])
    return np.asarray(depth - np.float32(np.nanmedian(rim)), np.float32)


def aligned_depths(
    stack: XanesStack,
    points: Sequence[int] | None = None,
    *,
    drift_ev: float = 0.0,
    rim_px: int = RIM_PX,
    per_count: float | None = None,
) -> AlignedStack:
    """Correct the frames of points, bring them to one magnification and align them, in one resampling.

    Parameters
    ----------
    stack, points, per_count
        As of `optical_depths`; one place, angle and repeat.
    drift_ev : float
        As of `energies_ev`.
    rim_px : int
        Columns on either side that are empty in the upper half of every frame: their median is taken off, which is what
        the ion chamber does not see of the beam's changes. 0 for a sample that fills the field.

    Raises
    ------
    NoXanesError, FitError, ShapeError
    """
    from exitwave.analysis.xanes import StackOperator, align

    chosen = list(range(len(stack))) if points is None else list(points)
    parts = optical_depths(stack, chosen, per_count=per_count)
    depths = [_levelled(part.depth, rim_px) for part in parts]
    energies = energies_ev(stack, chosen, drift_ev=drift_ev)
    reference = len(chosen) // 2
    shape = depths[0].shape
    pixel_nm = stack.pixel_nm[chosen]
    start = StackOperator.identity(len(depths), (shape[0], shape[1]), scale=pixel_nm[reference] / pixel_nm)
    # Beyond the band there is little but noise. What moves the image is smooth; single registrations scatter by more.
    smooth = len(chosen) >= DRIFT_LEAST
    found = align(
        depths,
        start,
        reference=reference,
        spans=SPANS,
        highest_frequency=BAND,
        drift_order=DRIFT_ORDERS if smooth else None,
        drift_along=[energies, stack.times_s[chosen]] if smooth else None,
    )
    moved, spread, photons = [], [], []
    for k, part in enumerate(parts):
        image, variance = found.operator.resample(k, depths[k], part.variance)
        moved.append(image)
        spread.append(np.full_like(image, np.nan) if variance is None else variance)
        photons.append(found.operator.resample(k, part.photons)[0])
    return AlignedStack(
        energies,
        np.stack(moved),
        np.stack(spread),
        found.operator,
        reference,
        float(pixel_nm[reference]),
        np.stack(photons),
        np.array([part.flats_share for part in parts], np.float64),
    )
