"""Maps of both windows with their columns, and what spoils them: dead time, tails of lines, frames that stand apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exitwave.analysis.columns import (
    ColumnFit,
    JointFit,
    Lattice,
    find_columns,
    fit_columns_jointly,
    fit_lattice,
    minor_sites,
)
from exitwave.analysis.drift import small_shift
from exitwave.analysis.eds import Events, weighted_maps, window_maps
from exitwave.analysis.io.eds_files import EdsMeasurement
from exitwave.profiles.demos.anxri_specimens import E1, E2, Specimen

__all__ = ["Scene", "find_scene"]

Array = npt.NDArray[np.float64]

TAIL = 0.002
"""Part of the pulses with incomplete charge, anywhere below their line: a peak to background of 20 000 to 1 for Mn K,
as makers of such detectors state."""


@dataclass
class Scene:
    """Maps of both windows, and where the columns are.

    Attributes
    ----------
    maps, tails : float64 arrays (2, rows, cols)
        Counts of E1 and E2, and what of them pulses with incomplete charge left there.
    live : float64 array (rows, cols)
        Part of the dwell in which the detectors were free.
    pixel_pm : float
        As the lattice has it.
    positions, minor : float64 arrays (n, 2), (m, 2)
        Columns, and sites that take part in the fit alone, pixels.
    lattice : Lattice
    chosen : bool array (n,)
        Columns that are compared.
    blur_pm : float
        Full width of what frames that stand apart do to their sum.
    """

    maps: Array
    live: Array
    tails: Array
    pixel_pm: float
    positions: Array
    lattice: Lattice
    minor: Array
    chosen: npt.NDArray[np.bool_]
    blur_pm: float = 0.0

    def fit(self, counts: Array, window: int, start: ColumnFit | None = None) -> JointFit:
        """Fit a map of a window; of photons of both windows (-1) or thinned ones the tails go with the counts."""
        pair = self.tails.sum(axis=0) if window < 0 else self.tails[window]
        whole = self.maps.sum() if window < 0 else self.maps[window].sum()
        known = pair * (counts.sum() / whole)
        found = fit_columns_jointly(
            counts, self.positions, minor=self.minor, exposure=self.live, known=known, start=start
        )
        return _narrowed(found, self.blur_pm / self.pixel_pm)


def _narrowed(fit: JointFit, blur_px: float) -> JointFit:
    """Take a known blur (full width, pixels) out of the widths, in quadrature as Gaussians add."""
    p, height = fit.parameters[:, 4], fit.parameters[:, 1]
    sharper = 1.0 / np.maximum(1.0 - p * blur_px**2 / (4.0 * math.log(2.0)), 1e-3)
    parameters = fit.parameters.copy()
    # the photons of a column stay the same: what is sharper is higher
    parameters[:, 4], parameters[:, 1] = p * sharper, height * sharper
    jacobian = np.broadcast_to(np.eye(parameters.shape[1]), fit.covariance.shape).copy()
    jacobian[:, 4, 4] = sharper**2
    jacobian[:, 1, 1] = sharper
    jacobian[:, 1, 4] = height * sharper * (sharper - 1.0) / p
    covariance = jacobian @ fit.covariance @ jacobian.transpose(0, 2, 1)
    # FWHM goes as p^-1/2
    wider = sharper**0.5
    widths = fit.width_covariance * wider[:, None] * wider[None, :]
    heights = fit.height_covariance * sharper[:, None] * sharper[None, :]
    return JointFit(parameters, covariance, fit.status, widths, heights)


def find_scene(
    measurement: EdsMeasurement, specimen: Specimen, nominal_pm: float, frames: npt.NDArray[np.float32]
) -> Scene:
    """Find the columns of a spectrum image, and choose those that are compared.

    Parameters
    ----------
    measurement : EdsMeasurement
    specimen : Specimen
    nominal_pm : float
        Pixel as the deflectors have it.
    frames : float32 array (frames, rows, cols)
        Dark field.

    Raises
    ------
    FitError
        The counts do not show columns.
    """
    events = measurement.events
    maps = np.asarray(window_maps(events, (E1, E2)), np.float64)
    positions = find_columns(maps.sum(axis=0), spacing_px=specimen.spacing_pm / nominal_pm)
    lattice = fit_lattice(positions)
    # The lattice is known better than the deflectors: it gives the pixel.
    area_px = abs(lattice.a[0] * lattice.b[1] - lattice.a[1] * lattice.b[0])
    pixel_pm = math.sqrt(specimen.area_pm2 / area_px)
    minor = minor_sites(lattice, positions, events.shape, centred=2 in specimen.kinds)
    middle = 0.5 * (np.array(events.shape) - 1)
    nearest = np.argsort(np.hypot(*(positions - middle).T))[: specimen.columns]
    chosen = np.zeros(len(positions), bool)
    chosen[nearest] = True
    return Scene(
        maps,
        _live_share(measurement),
        _tails(events),
        pixel_pm,
        positions,
        lattice,
        minor,
        chosen,
        _blur_px(frames) * pixel_pm,
    )


def _blur_px(frames: npt.NDArray[np.float32]) -> float:
    """Return the full width, pixels, of what frames that stand beside one another do to their sum.

    Each frame is compared with their mean; the variance of the comparison itself is taken off.
    """
    if len(frames) < 3:
        return 0.0
    mean = frames.mean(axis=0)
    found = [small_shift(mean, frame, reach_px=3.0) for frame in frames]
    places = np.array([(one.dy, one.dx) for one in found])
    errors = np.array([(one.dy_sd, one.dx_sd) for one in found])
    variance = max(float(places.var(axis=0).mean() - (errors**2).mean()), 0.0)
    return math.sqrt(8.0 * math.log(2.0) * variance)


def _live_share(measurement: EdsMeasurement) -> Array:
    """Return the part of the dwell in which the detectors were free, pixel by pixel.

    Bright columns keep them busier, which would flatten their tops. The measured rate r = n exp(-n tau) is solved for
    the true one, n (G. F. Knoll, Radiation Detection and Measurement, section 4.VII).
    """
    events, about = measurement.events, measurement.metadata
    share = np.ones(events.shape)
    lost = 1.0 - sum(s.live_s for s in measurement.segments) / sum(s.real_s for s in measurement.segments)
    if lost < 1e-4:
        return share
    dwell_s = float(about["scan"]["dwell_s"]) * events.n_frames
    counted = np.bincount(events.pixel, minlength=share.size).reshape(events.shape)
    rate = counted / (dwell_s * events.n_segments)
    true = rate.copy()
    for _ in range(20):
        true = rate * np.exp(np.minimum(true * float(about["detector"]["dead_time_s"]), 1.0))
    return np.asarray(np.where(true > 0, rate / np.maximum(true, 1e-12), 1.0))


def _tails(events: Events) -> Array:
    """Return the counts that pulses with incomplete charge leave in the windows, float64 (2, rows, cols)."""
    energies = events.axis.energies_kev
    table = np.zeros((2, energies.size), np.float32)
    for k, window in enumerate((E1, E2)):
        above = energies > window.high_kev + 0.1
        table[k, above] = TAIL * window.width_kev / energies[above]
    return np.asarray(weighted_maps(events, table), np.float64)
