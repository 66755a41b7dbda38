"""Alignment by gold beads: found in every projection, followed over the angles, solved for axis and displacements.

The beads' columns and rows, for a bead at (x, z) from the axis and v below the middle row, are those of `Geometry`:
with u = x cos(theta) + z sin(theta) and the axis leaning by t they are ``centre + u cos t + v sin t + dx`` and
``middle + v cos t - u sin t + dy``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize

from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError, require_positive
from exitwave.analysis.tomography.alignment import remove_unobservable
from exitwave.analysis.tomography.geometry import Geometry

__all__ = ["FiducialSolution", "find_beads", "solve_fiducials", "track_fiducials"]

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FiducialSolution:
    """What the beads tell.

    Attributes
    ----------
    geometry
        Axis, tilt and shifts that bring the beads on their circles.
    positions
        (bead, 3): x, z from the axis and v from the middle row, pixels.
    residual_px
        Rms of measured rows and columns about the fit.
    tilt_sd_deg, centre_sd
        Standard deviations, from the residual.
    """

    geometry: Geometry
    positions: Doubles
    residual_px: float
    tilt_sd_deg: float
    centre_sd: float


def find_beads(image: npt.NDArray[Any], diameter_px: float, count: int) -> Doubles:
    """Return (row, col) of the strongest absorbing spots of one diameter, best first: at most `count`.

    A difference of Gaussians picks out spots of the size; a parabola through the peak gives parts of a pixel.

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    data = np.asarray(image, np.float32)
    if data.ndim != 2 or min(data.shape) < 16:
        raise ShapeError(f"image: shape {data.shape}; (row, col) of at least 16 x 16 is needed")
    if not np.isfinite(data).all():
        raise OutOfRangeError("image: NaN or infinity; correct or fill these pixels first")
    sigma = require_positive("diameter", diameter_px, "pixel") / (2.0 * math.sqrt(2.0))
    spots = ndimage.gaussian_filter(data, sigma) - ndimage.gaussian_filter(data, 1.6 * sigma)
    size = 2 * max(1, round(0.5 * diameter_px)) + 1
    top = (spots == ndimage.maximum_filter(spots, size)) & (spots > 0.0)
    top[:2] = top[-2:] = top[:, :2] = top[:, -2:] = False
    rows, cols = np.nonzero(top)
    best = np.argsort(spots[rows, cols])[::-1][:count]
    rows, cols = rows[best], cols[best]
    found = np.empty((len(best), 2))
    for axis, (dr, dc) in enumerate(((1, 0), (0, 1))):
        before, at, after = (spots[rows + s * dr, cols + s * dc].astype(np.float64) for s in (-1, 0, 1))
        bend = np.minimum(before - 2.0 * at + after, -1e-12)
        found[:, axis] = (rows, cols)[axis] + np.clip(0.5 * (before - after) / bend, -0.5, 0.5)
    return found


def _jump(last: Doubles, spots: Doubles, most: float) -> Doubles:
    """Displacement common to most of the beads: where the differences of all pairs are densest."""
    differences = (spots[:, None] - last[None]).reshape(-1, 2)
    differences = differences[np.abs(differences).max(axis=1) <= most]
    if not len(differences):
        return np.zeros(2)
    near = np.hypot(*(differences[:, None] - differences[None]).transpose(2, 0, 1)) < 1.5
    return np.asarray(differences[near[int(np.argmax(near.sum(axis=1)))]].mean(axis=0), np.float64)


def track_fiducials(
    projections: npt.NDArray[Any],
    angles_deg: npt.ArrayLike,
    *,
    diameter_px: float,
    count: int,
    max_jitter_px: float = 8.0,
) -> Doubles:
    """Return tracks (bead, angle, 2) of rows and columns; NaN where a bead was not found.

    Parameters
    ----------
    projections : array (angle, row, col)
        -ln(transmission), angles rising in steps of a few degrees.
    angles_deg : array (angle,)
    diameter_px : float
    count : int
        Beads to follow.
    max_jitter_px : float
        Largest displacement between neighbouring projections.

    Raises
    ------
    FitError
        If fewer than two beads can be followed through half of the projections.
    ShapeError, OutOfRangeError

    Notes
    -----
    From one projection to the next each bead is expected where the sine through its last positions goes, moved by the
    jitter that most of them share. Then the tracks are solved, and every bead looked for again where it should be.
    """
    pictures = np.asarray(projections, np.float32)
    angles = np.asarray(angles_deg, np.float64)
    if pictures.ndim != 3 or len(pictures) != len(angles) or len(angles) < 8:
        raise ShapeError(f"projections: shape {pictures.shape} for {len(angles)} angles; at least 8 are needed")
    spots = [find_beads(picture, diameter_px, 3 * count) for picture in pictures]
    theta = np.radians(angles)
    tracks = np.full((count, len(angles), 2), np.nan)
    first = spots[0][:count]
    tracks[: len(first), 0] = first
    gate = max(1.5, 0.5 * diameter_px)
    drift = np.zeros(2)
    for k in range(1, len(angles)):
        expected = np.full((count, 2), np.nan)
        for b in range(count):
            past = np.flatnonzero(np.isfinite(tracks[b, :k, 0]))[-12:]
            if past.size == 0 or k - past[-1] > 10:
                continue
            expected[b] = tracks[b, past[-1]]
            if past.size >= 4:
                columns = tracks[b, past, 1]
                slope = np.polyfit(theta[past], columns, 2 if past.size >= 8 else 1)
                expected[b, 1] = np.polyval(slope, theta[k])
                expected[b, 0] = np.median(tracks[b, past, 0])
        live = np.flatnonzero(np.isfinite(expected[:, 0]))
        if live.size == 0 or len(spots[k]) == 0:
            continue
        drift = _jump(expected[live], spots[k], max_jitter_px)
        _assign(tracks, k, live, expected + drift, spots[k], gate)
    tracks = tracks[np.isfinite(tracks[:, :, 0]).mean(axis=1) > 0.5]
    if len(tracks) < 2:
        raise FitError(f"fiducials: {len(tracks)} beads could be followed, 2 are needed; check diameter and count")
    middle = 0.5 * (pictures.shape[1] - 1)
    for _ in range(2):
        solution = solve_fiducials(tracks, angles, pictures.shape[2], pictures.shape[1])
        predicted = _predict(solution.geometry, solution.positions, middle)
        again = np.full_like(tracks, np.nan)
        for k in range(len(angles)):
            _assign(again, k, np.arange(len(tracks)), predicted[:, k], spots[k], gate)
        tracks = again
    return np.asarray(tracks, np.float64)


def _assign(
    tracks: Doubles, k: int, live: npt.NDArray[np.intp], expected: Doubles, spots: Doubles, gate: float
) -> None:
    """Give each expected bead its nearest spot within the gate, each spot to one bead."""
    if not len(spots):
        return
    distance = np.hypot(*(expected[live][:, None] - spots[None]).transpose(2, 0, 1))
    rows, columns = optimize.linear_sum_assignment(np.minimum(distance, 1e3))
    for a, b in zip(rows, columns, strict=True):
        if distance[a, b] <= gate:
            tracks[live[a], k] = spots[b]


def _predict(geometry: Geometry, positions: Doubles, middle: float) -> Doubles:
    c, s = math.cos(math.radians(geometry.tilt_deg)), math.sin(math.radians(geometry.tilt_deg))
    u: Doubles = positions[:, :1] * geometry.cosines + positions[:, 1:2] * geometry.sines
    v = positions[:, 2:]
    rows = middle + v * c - u * s + geometry.dy
    return np.asarray(np.stack([rows, geometry.centre + u * c + v * s + geometry.dx], axis=2), np.float64)


def solve_fiducials(tracks: npt.NDArray[Any], angles_deg: npt.ArrayLike, width: int, n_rows: int) -> FiducialSolution:
    """Return axis, tilt, displacements and the beads' places from their tracks.

    Parameters
    ----------
    tracks : array (bead, angle, 2)
        Rows and columns, NaN where not seen; at least two beads.
    angles_deg : array (angle,)
    width, n_rows : int
        Of the projections.

    Raises
    ------
    FitError
        If the tracks do not determine the axis.
    ShapeError

    Notes
    -----
    Alternating least squares: the displacement of each picture is the median of what its beads are off, the beads'
    places and the axis follow from all pictures; repeated until nothing moves, about the gauge in which displacements
    hold no place of the sample. A single bead tells the axis only as well as it is off it; the tilt comes from the
    rows, which rise and fall with ``-u sin t``.
    """
    seen = np.asarray(tracks, np.float64)
    angles = np.asarray(angles_deg, np.float64)
    if seen.ndim != 3 or seen.shape[1:] != (len(angles), 2):
        raise ShapeError(f"tracks: shape {seen.shape}, expected (bead, {len(angles)}, 2)")
    known: npt.NDArray[np.bool_] = np.asarray(np.isfinite(seen).all(axis=2), bool)
    seen_by_any = known.any(axis=0)
    if len(seen) < 2 or (known.sum(axis=1) < 4).any():
        raise FitError(
            f"fiducials: {len(seen)} beads, each seen {known.sum(axis=1)} times; two seen 4 times are needed"
        )
    middle = 0.5 * (n_rows - 1)
    theta = np.radians(angles)
    design = np.stack([np.ones_like(theta), np.cos(theta), np.sin(theta)], axis=1)
    shifts = np.zeros((len(angles), 2))
    centre, tilt = 0.5 * (width - 1), 0.0
    positions = np.zeros((len(seen), 3))
    for _ in range(300):
        moved = seen - shifts
        c, s = math.cos(tilt), math.sin(tilt)
        # along the axis and across it, about the middle row
        across = (moved[:, :, 1] - centre) * c - (moved[:, :, 0] - middle) * s
        along = (moved[:, :, 0] - middle) * c + (moved[:, :, 1] - centre) * s
        constants = np.empty(len(seen))
        for b in range(len(seen)):
            use = known[b]
            fit = np.linalg.lstsq(design[use], across[b, use], rcond=None)[0]
            constants[b], positions[b, :2] = fit[0], fit[1:]
            positions[b, 2] = float(np.mean(along[b, use]))
        u = positions[:, :1] * design[:, 1] + positions[:, 1:2] * design[:, 2]
        # what is left along the axis goes with u by the rest of the tilt; what all beads have in common is a shift
        rest = np.where(known, along - positions[:, 2:], np.nan)
        common = np.zeros(len(angles))
        common[seen_by_any] = np.nanmedian(rest[:, seen_by_any], axis=0)
        turn = float(np.nansum(u * (rest - common)) / max(float((u**2 * known).sum()), 1e-9))
        geometry = Geometry(angles, width, float(np.clip(centre, 0, width - 1)), math.degrees(tilt), shifts)
        off = np.where(known[:, :, None], seen - _predict(geometry, positions, middle), np.nan)
        step = np.zeros_like(shifts)
        step[seen_by_any] = np.nanmedian(off[:, seen_by_any], axis=0)
        shifts = remove_unobservable(shifts + step, angles)
        centre += float(constants.mean()) * c
        tilt = float(np.clip(tilt - turn, -0.15, 0.15))
        if np.abs(step).max() < 1e-5 and abs(turn) * width < 1e-4:
            break
    geometry = Geometry(angles, width, float(np.clip(centre, 0, width - 1)), math.degrees(tilt), shifts)
    off = np.where(known[:, :, None], seen - _predict(geometry, positions, middle), np.nan)
    freedom = 2 * int(known.sum()) - 3 * len(seen) - 2 * len(angles) - 2
    if freedom < 1:
        raise FitError("fiducials: too few beads for as many displacements; two seen in most projections are needed")
    residual = math.sqrt(float(np.nansum(off**2)) / freedom)
    lever = math.sqrt(max(float((u**2 * known).sum()), 1e-9))
    spread = math.sqrt(1.0 / float(known.sum())) * math.sqrt(
        float(np.linalg.inv(design.T @ design)[0, 0]) * len(angles)
    )
    return FiducialSolution(geometry, positions, residual, math.degrees(residual / lever), residual * spread)
