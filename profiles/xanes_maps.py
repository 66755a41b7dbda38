"""From the uid of a scan of energies to a map of edge energies.

``with open_xanes(uid) as stack: found = edge_map_of(stack)``: optical depths on common pixels (`xanes_depths`), then
the edge energy of each pixel with its deviation. Each step is a function of its own. Energies are in eV.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from exitwave.profiles.storage.xanes_stack import NoXanesError
from exitwave.profiles.xanes_depths import RIM_PX, AlignedStack, aligned_depths

if TYPE_CHECKING:
    from exitwave.analysis.xanes import LinearCombination, MixtureMap, Normalisation
    from exitwave.profiles.storage.xanes_stack import XanesStack

__all__ = ["StackEdges", "edge_map_of", "edges_of", "mixture_of", "normalisation_of", "outline_of"]

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Standards = Mapping[str, tuple[Array, Array]]

PRE_EV, POST_EV = (-200.0, -28.0), (45.0, 400.0)
"""From the edge: where the line and the polynomial are fitted, as far as the energies go."""


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
