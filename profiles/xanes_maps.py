"""From the uid of a scan of energies to a map of edge energies.

``with open_xanes(uid) as stack: found = edge_map_of(stack)``: optical depths by darks, flats and ion chamber; energies
by the Bragg angle's readback; all energies on the pixels of one, by pixel size and alignment, in one resampling; then
the edge energy of each pixel with its deviation. Each step is a function of its own. Energies are in eV, optical depths
are natural logarithms, lengths in nm, photons are detected ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from exitwave.profiles.storage.xanes_stack import NoXanesError

if TYPE_CHECKING:
    from exitwave.analysis.xanes import LinearCombination, MixtureMap, Normalisation, StackOperator
    from exitwave.profiles.storage.xanes_stack import XanesStack

__all__ = [
    "AlignedStack",
    "OpticalDepth",
    "StackEdges",
    "aligned_depths",
    "edge_map_of",
    "edges_of",
    "energies_ev",
    "mixture_of",
    "normalisation_of",
    "optical_depths",
    "outline_of",
    "photons_per_count",
]

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Standards = Mapping[str, tuple[Array, Array]]

PRE_EV, POST_EV = (-200.0, -28.0), (45.0, 400.0)
"""From the edge: where the line and the polynomial are fitted, as far as the energies go."""
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


@dataclass(frozen=True)
class StackEdges:
    """A map of edge energies.

    Attributes
    ----------
    aligned : AlignedStack
    normalisation : Normalisation
        Its ranges, and E0.
    edge_ev, sd_ev : float64 (y, x)
        Edge energy and its standard deviation, eV; NaN outside of `mask`, and where there is no edge.
    step : float32 (y, x)
        Edge step, optical depth.
    mask : bool (y, x)
        Where the sample is.
    method : str
        "mixture" of two standards, or "half" height.
    mixture : MixtureMap, optional
        Fractions of the standards.
    """

    aligned: AlignedStack
    normalisation: Normalisation
    edge_ev: Array
    sd_ev: Array
    step: Image
    mask: Mask
    method: str
    mixture: MixtureMap | None = None


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


def normalisation_of(energies: Array, edge_ev: float) -> Normalisation:
    """Return the normalisation of a scan across an edge: `PRE_EV` and `POST_EV` as far as the energies go."""
    from exitwave.analysis.xanes import Normalisation

    offset = energies - edge_ev
    pre = max(PRE_EV[0], float(offset[0])), PRE_EV[1]
    post = POST_EV[0], min(POST_EV[1], float(offset[-1]))
    return Normalisation(energies, edge_ev, pre, post, order=1)


def mixture_of(energies: Array, standards: Standards) -> LinearCombination:
    """Prepare the fit of standards, name -> (energies in eV, normalised spectrum), with a line beside them.

    Energies of runs differ by millielectronvolts, and the ends have to be covered: standards go on level for 1 eV.
    """
    from exitwave.analysis.xanes import LinearCombination

    widened = {}
    for name, (known, values) in standards.items():
        ends = np.concatenate([[known[0] - 1.0], known, [known[-1] + 1.0]])
        widened[name] = (ends, np.concatenate([values[:1], values, values[-1:]]))
    return LinearCombination(energies, widened, non_negative=False, sum_to_one=False, background_order=1)


def outline_of(absorbing: Image, share: float = 0.2) -> Mask:
    """Return where the particle is, in a map or a volume: one piece, holes filled, above a share of the most."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(np.nan_to_num(absorbing), 1.5)
    labels, number = ndimage.label(smooth > share * np.quantile(smooth, 0.995))
    if not number:
        raise ValueError("no particle in the field")
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(labels == largest), np.bool_)


def edges_of(
    aligned: AlignedStack, edge_ev: float, *, standards: Standards | None = None, mask: Mask | None = None
) -> StackEdges:
    """Map the edge energy of an aligned stack.

    Parameters
    ----------
    aligned : AlignedStack
    edge_ev : float
        About where the edge is: E0 of the normalisation.
    standards : mapping of name to (energies in eV, normalised spectrum), optional
        Two. The edge energy is then the half height of the mixture of them that fits best, which every energy tells;
        without, the half height of each pixel's own spectrum, which a handful of energies tell.
    mask : bool (y, x), optional
        Where to; where the edge step is over a fifth of its largest without it.

    Raises
    ------
    FitError, OutOfRangeError, ShapeError
        The energies leave no range on one side of the edge, or the standards do not cover them.
    """
    from scipy import ndimage

    from exitwave.analysis.xanes import edge_map

    normalisation = normalisation_of(aligned.energies_ev, edge_ev)
    step = normalisation(aligned.depth, aligned.variance, spectra=False).step
    if mask is None:
        smooth = ndimage.gaussian_filter(np.nan_to_num(step), 1.5)
        mask = np.asarray(smooth > 0.2 * np.quantile(smooth, 0.995), np.bool_)
    fit = None
    if standards is None:
        half = edge_map(aligned.depth, normalisation, aligned.variance)
        edge, sd = half.energy_ev, half.sd_ev.astype(np.float64)
    else:
        mixture = mixture_of(aligned.energies_ev, standards)
        fit = mixture.fit(aligned.depth, aligned.variance)
        edge, sd = mixture.edge_energy(fit)
    kept = mask & np.isfinite(edge)
    return StackEdges(
        aligned,
        normalisation,
        np.where(kept, edge, np.nan),
        np.where(kept, sd, np.nan),
        step,
        mask,
        "half" if standards is None else "mixture",
        fit,
    )


def edge_map_of(
    stack: XanesStack,
    *,
    edge_ev: float | None = None,
    standards: Standards | None = None,
    repeat: int = 0,
    position: int = 0,
    theta_deg: float | None = None,
    drift_ev: float = 0.0,
    rim_px: int = RIM_PX,
    per_count: float | None = None,
) -> StackEdges:
    """Return the map of edge energies of a scan, from what `open_xanes` opened.

    Parameters
    ----------
    stack : XanesStack
    edge_ev : float, optional
        As of `edges_of`; the edge that the scan was asked for without it.
    standards
        As of `edges_of`.
    repeat, position, theta_deg
        Which of the scan's; of several angles one has to be named.
    drift_ev, rim_px, per_count
        As of `aligned_depths`.

    Raises
    ------
    NoXanesError
        No edge is known, several angles are meant, or flats or darks are missing.
    FitError, OutOfRangeError, ShapeError
        As `edges_of`.
    """
    if edge_ev is None:
        if not stack.scan.edges_ev:
            raise NoXanesError(f"run {stack.uid[:8]}: was asked for no edge; give edge_ev, eV")
        edge_ev = stack.scan.edges_ev[0]
    if theta_deg is None and len(stack.scan.angles_deg) > 1:
        raise NoXanesError(f"run {stack.uid[:8]}: has {len(stack.scan.angles_deg)} angles; give theta_deg")
    points = stack.select(repeat=repeat, position=position, theta_deg=theta_deg)
    aligned = aligned_depths(stack, points, drift_ev=drift_ev, rim_px=rim_px, per_count=per_count)
    return edges_of(aligned, edge_ev, standards=standards)
