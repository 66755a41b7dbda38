"""Where each projection stands displaced: markerless, by reprojection.

1. Vertical: the mass of each row is the same at all angles; the rows' profiles are registered to their mean.
2. Horizontal: the centre of mass goes round the axis; what is off the best sine is jitter (for an object within
   the field).
3. Both: reconstruct from every other projection, project to the angles in between, register each measured projection
   to this prediction (least squares with the prediction's smooth gradients), and again, from coarse to fine
   (D. Gürsoy et al., Sci. Rep. 7, 11818 (2017) reproject from all; here a projection never meets its own noise in what
   it is compared with, which would hold it where it is).

A displacement ``a + b cos(theta) + c sin(theta)`` of the columns and a constant one of the rows are the sample's
place, not jitter: no data tell them apart. `remove_unobservable` takes them out. The constant part is the centre's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from exitwave.analysis.binning import block_mean
from exitwave.analysis.compiled import kernel, over_blocks
from exitwave.analysis.errors import FitError, OutOfRangeError, ShapeError
from exitwave.analysis.tomography.geometry import Geometry
from exitwave.analysis.tomography.projector import project
from exitwave.analysis.tomography.reconstruct import reconstruct

__all__ = ["Alignment", "align_by_mass", "align_projections", "remove_unobservable"]

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
_TILE = 8
"""Pixels (of those that are registered) beyond which what is left does not hang together."""
_LEAST_SIGNAL = 0.25
"""Part of the prediction's gradients that is taken for signal at least; steps are four times as long at most."""


@dataclass(frozen=True)
class Alignment:
    """What an alignment found.

    Attributes
    ----------
    geometry
        The one given, with `shifts` (and the centre) that take the displacements out.
    shifts_sd
        (n, 2) one standard deviation of each shift (dy, dx) in pixels, from the noise of its registration.
    updates_px
        Rms by which the shifts changed in each round, pixels, coarse to fine.
    """

    geometry: Geometry
    shifts_sd: Doubles
    updates_px: tuple[float, ...]


def _sines(angles_deg: Doubles) -> Doubles:
    theta = np.radians(angles_deg)
    return np.stack([np.ones_like(theta), np.cos(theta), np.sin(theta)], axis=1)


def remove_unobservable(shifts: npt.NDArray[Any], angles_deg: npt.ArrayLike) -> Doubles:
    """Return shifts (n, 2) without what a place of the sample explains: mean of dy; constant and sine of dx."""
    moved = np.array(shifts, dtype=np.float64)
    angles = np.asarray(angles_deg, dtype=np.float64)
    if moved.shape != (len(angles), 2):
        raise ShapeError(f"shifts: shape {moved.shape}, expected ({len(angles)}, 2)")
    design = _sines(angles)
    moved[:, 0] -= moved[:, 0].mean()
    moved[:, 1] -= design @ np.linalg.lstsq(design, moved[:, 1], rcond=None)[0]
    return moved


def _centred(geometry: Geometry, shifts: Doubles) -> Geometry:
    """Take out of the shifts what is the sample's place; the constant in dx goes to the centre."""
    design = _sines(geometry.angles_deg)
    constant = float(np.linalg.lstsq(design, shifts[:, 1], rcond=None)[0][0])
    centre = float(np.clip(geometry.centre + constant, 0.0, geometry.width - 1.0))
    return replace(geometry, centre=centre, shifts=remove_unobservable(shifts, geometry.angles_deg))


def _check(projections: npt.NDArray[Any], geometry: Geometry) -> Floats:
    pictures = np.asarray(projections, dtype=np.float32)
    if pictures.ndim != 3 or (pictures.shape[0], pictures.shape[2]) != (len(geometry), geometry.width):
        raise ShapeError(f"projections: shape {pictures.shape} for {len(geometry)} angles x {geometry.width} columns")
    if len(pictures) < 8 or min(pictures.shape[1:]) < 32:
        raise ShapeError(f"projections: shape {pictures.shape}; at least 8 of 32 x 32 are needed")
    if not np.isfinite(pictures).all():
        raise OutOfRangeError("projections: NaN or infinity; correct or fill these pixels first")
    return pictures


def align_by_mass(
    projections: npt.NDArray[Any], geometry: Geometry, *, margin_px: int = 8, horizontal: bool = True
) -> Geometry:
    """Return the geometry with shifts from the rows' masses (dy) and the centre of mass (dx).

    Parameters
    ----------
    projections : array (angle, row, col)
        -ln(transmission); the object must stay within the field, from side to side for dx to be of use.
    geometry : Geometry
        Its shifts are where the search begins.
    margin_px : int
        Columns at either side that show the surroundings; their mean is subtracted from each projection.
    horizontal : bool
        Also dx; without it (objects wider than the field) the given dx stay.

    Raises
    ------
    FitError, ShapeError, OutOfRangeError
    """
    pictures = _check(projections, geometry)
    n_rows, width = pictures.shape[1:]
    edges = np.concatenate([pictures[:, :, :margin_px], pictures[:, :, -margin_px:]], axis=2)
    level = edges.mean(axis=(1, 2), dtype=np.float64)
    rows = pictures.sum(axis=2, dtype=np.float64) - width * level[:, None]
    shifts = np.stack([_row_shifts(rows, geometry.dy), geometry.dx], axis=1)
    if horizontal:
        # columns far from all mass hold noise only, with a long lever
        columns = pictures.sum(axis=1, dtype=np.float64) - n_rows * level[:, None]
        total = ndimage.gaussian_filter1d(columns.mean(axis=0), 3.0)
        held = np.flatnonzero(total > 0.02 * total.max())
        low, high = max(0, held[0] - 12), min(width, held[-1] + 13)
        lit = np.flatnonzero(rows.mean(axis=0) > 0.02 * rows.mean(axis=0).max())
        top, bottom = max(0, lit[0] - 12), min(n_rows, lit[-1] + 13)
        part = pictures[:, top:bottom, low:high].sum(axis=1, dtype=np.float64) - (bottom - top) * level[:, None]
        mass = part.sum(axis=1)
        if mass.min() <= 0.2 * np.median(mass):
            raise FitError("mass: a projection holds hardly any; align without `horizontal`, or leave it out")
        where = (part @ np.arange(low, high, dtype=np.float64)) / mass
        shifts[:, 1] = where - geometry.centre
    return _centred(geometry, shifts)


def _row_shifts(rows: Doubles, start: Doubles) -> Doubles:
    """Shifts dy of profiles (n, row) against their mean, by least squares, repeated."""
    n_rows = rows.shape[1]
    index = np.arange(n_rows, dtype=np.float64)
    shifts = start.astype(np.float64).copy()
    for smooth in (6.0, 3.0, 2.0, 2.0, 2.0):
        moved = np.stack([np.interp(index + dy, index, line) for dy, line in zip(shifts, rows, strict=True)])
        mean = ndimage.gaussian_filter1d(moved.mean(axis=0), smooth)
        slope = np.gradient(mean)
        # mass may change with the beam: a factor is fitted along
        design = np.stack([-slope, mean, np.ones_like(mean)], axis=1)
        step = np.linalg.lstsq(design, ndimage.gaussian_filter1d(moved, smooth, axis=1).T, rcond=None)[0]
        move = np.clip(step[0] / np.maximum(step[1], 0.1), -8.0, 8.0)
        shifts += move - move.mean()
        if np.abs(move).max() < 5e-3:
            break
    return shifts


@kernel
def _sums(measured: Floats, model: Floats, border: int, out: Doubles, first: int, last: int) -> None:
    """Sum the normal equations of measured = (1 + s) model - dy model_y - dx model_x + b for each projection.

    Row k of `out` holds the 10 products of (model_y, model_x, model, 1) among themselves, the 4 with the difference,
    and those of model_y and model_x with the same of the measured projection.
    """
    ny, nx = model.shape[1:]
    for k in range(first, last):
        out[k] = 0.0
        for r in range(border, ny - border):
            line = np.zeros(16, np.float64)
            for c in range(border, nx - border):
                gy = 0.5 * (model[k, r + 1, c] - model[k, r - 1, c])
                gx = 0.5 * (model[k, r, c + 1] - model[k, r, c - 1])
                m = model[k, r, c]
                d = measured[k, r, c] - m
                line[0] += gy * gy
                line[1] += gy * gx
                line[2] += gy * m
                line[3] += gy
                line[4] += gx * gx
                line[5] += gx * m
                line[6] += gx
                line[7] += m * m
                line[8] += m
                line[9] += 1.0
                line[10] += gy * d
                line[11] += gx * d
                line[12] += m * d
                line[13] += d
                line[14] += gy * 0.5 * (measured[k, r + 1, c] - measured[k, r - 1, c])
                line[15] += gx * 0.5 * (measured[k, r, c + 1] - measured[k, r, c - 1])
            out[k] += line


@kernel
def _scores(measured: Floats, model: Floats, border: int, solved: Doubles, out: Doubles, first: int, last: int) -> None:
    """Sum products (4, 4) of the scores of tiles of `_TILE` x `_TILE` pixels for each projection."""
    ny, nx = model.shape[1:]
    score = np.empty(4, np.float64)
    for k in range(first, last):
        out[k] = 0.0
        for top in range(border, ny - border, _TILE):
            for left in range(border, nx - border, _TILE):
                score[:] = 0.0
                for r in range(top, min(top + _TILE, ny - border)):
                    for c in range(left, min(left + _TILE, nx - border)):
                        gy = 0.5 * (model[k, r + 1, c] - model[k, r - 1, c])
                        gx = 0.5 * (model[k, r, c + 1] - model[k, r, c - 1])
                        m = model[k, r, c]
                        d = measured[k, r, c] - m
                        rest = d - gy * solved[k, 0] - gx * solved[k, 1] - m * solved[k, 2] - solved[k, 3]
                        score[0] += gy * rest
                        score[1] += gx * rest
                        score[2] += m * rest
                        score[3] += rest
                for a in range(4):
                    for b in range(4):
                        out[k, a, b] += score[a] * score[b]


def _steps(measured: Floats, model: Floats, border: int) -> tuple[Doubles, Doubles]:
    """Displacements (n, 2) of measured projections from predicted ones, and their standard deviations.

    The prediction is noisy, too, and least squares on its gradients come out too short: by the part of the gradients'
    power that is noise, a third or more at a beamline's dose. The measured gradients' noise is independent of it, so
    that the product of both is the signal's power alone (measured gradients are the instruments; O. Reiersol,
    Econometrica 9, 1 (1941)). Steps and deviations are as much longer.

    The deviations come from the scatter of the tiles' scores (the sandwich of P. J. Huber, 1967): what is left has
    the camera's correlation between neighbours in it and the noise of the prediction, which no count of pixels knows.
    """
    n = len(measured)
    sums = np.empty((n, 16))
    over_blocks(lambda a, b: _sums(measured, model, border, sums, a, b), n, 4)
    normal = np.empty((n, 4, 4))
    upper = np.triu_indices(4)
    normal[:, upper[0], upper[1]] = sums[:, :10]
    normal[:, upper[1], upper[0]] = sums[:, :10]
    try:
        inverse = np.linalg.inv(normal)
    except np.linalg.LinAlgError as error:
        raise FitError("alignment: predicted projections are empty") from error
    right = sums[:, 10:14]
    solved = np.einsum("kij,kj->ki", inverse, right)
    meat = np.empty((n, 4, 4))
    over_blocks(lambda a, b: _scores(measured, model, border, solved, meat, a, b), n, 4)
    spread = np.einsum("kij,kjl,kml->kim", inverse, meat, inverse)
    deviations = np.sqrt(np.maximum(np.stack([spread[:, 0, 0], spread[:, 1, 1]], axis=1), 0.0))
    own = np.maximum(np.stack([normal[:, 0, 0], normal[:, 1, 1]], axis=1), np.finfo(np.float64).tiny)
    # far from where it belongs a projection has little in common with its prediction
    length = np.clip(sums[:, 14:] / own, _LEAST_SIGNAL, 1.0)
    return -solved[:, :2] / length, deviations / length


def _binned(geometry: Geometry, factor: int) -> Geometry:
    shifts = None if geometry.shifts is None else geometry.shifts / factor
    centre = (geometry.centre - 0.5 * (factor - 1)) / factor
    return replace(geometry, width=geometry.width // factor, centre=centre, shifts=shifts)


def _round(pictures: Floats, geometry: Geometry, cutoff: float, border: int, most: float) -> tuple[Doubles, Doubles]:
    """Register each half of the projections to what the other half predicts, one after the other.

    Both at once would swap the halves' displacements for ever. Returns steps (n, 2) and their standard deviations.
    """
    order = np.argsort(np.mod(geometry.angles_deg, 180.0), kind="stable")
    halves = (np.sort(order[0::2]), np.sort(order[1::2]))
    start = geometry.shifts if geometry.shifts is not None else np.zeros((len(geometry), 2))
    shifts, deviations = start.copy(), np.empty_like(start)
    for here, there in (halves, halves[::-1]):
        known = replace(geometry, shifts=shifts)
        volume = reconstruct(pictures[there], known.select(there), filter_name="hann", cutoff=cutoff, circle=False)
        model = project(volume, known.select(here))
        step, deviations[here] = _steps(np.ascontiguousarray(pictures[here]), model, border)
        shifts[here] += np.clip(step, -most, most)
    return shifts - start, deviations


def align_projections(
    projections: npt.NDArray[Any],
    geometry: Geometry,
    *,
    bins: tuple[int, ...] = (4, 2),
    rounds: int = 6,
    by_mass: bool = True,
    tolerance_px: float = 0.02,
    max_step_px: float = 4.0,
) -> Alignment:
    """Return the displacement of every projection, without markers.

    Parameters
    ----------
    projections : array (angle, row, col)
        -ln(transmission).
    geometry : Geometry
        Angles, axis and, if known, first guesses of the shifts.
    bins : tuple of int
        Pixels per side that are averaged, stage by stage. Structures that tell a shift are wider than two pixels at
        any usual dose: finer than 2 costs eight times as much and gains little.
    rounds : int
        Most rounds of reconstruction and registration in each stage.
    by_mass : bool
        Begin with `align_by_mass`; not for objects that leave the field.
    tolerance_px : float
        A stage ends when the shifts change by less (rms).
    max_step_px : float
        Most that a shift may change in one round, times the stage's bin.

    Raises
    ------
    FitError
        If the projections hold nothing to register.
    ShapeError, OutOfRangeError

    Notes
    -----
    Time of a round: one reconstruction and one projection of all slices, ``n rows width^2 / bin^3``, so eight times
    less for each doubling of the bin. Memory: some three times the binned projections. 180 projections of 512 x 512
    take about 10 s on two cores by default.
    """
    pictures = _check(projections, geometry)
    here = geometry if geometry.shifts is not None else replace(geometry, shifts=np.zeros((len(geometry), 2)))
    if by_mass:
        here = align_by_mass(pictures, here)
    updates: list[float] = []
    deviations = np.full((len(geometry), 2), np.inf)
    for factor in bins:
        if min(pictures.shape[1:]) // factor < 24:
            continue
        small = block_mean(pictures, (1, factor, factor))
        # rows follow shifts by interpolation that is periodic nowhere: leave a rim out
        border = 2 + int(np.ceil(max(2.0, float(np.abs(here.dy).max()) / factor)))
        border = min(border, min(small.shape[1:]) // 4)
        # half of the projections determine structures up to about (n / 2) / (pi D / 2) of Nyquist
        cutoff = float(np.clip(1.5 * len(geometry) / (0.6 * np.pi * small.shape[2]), 0.15, 1.0))
        for _ in range(rounds):
            step, deviations = _round(small, _binned(here, factor), cutoff, border, max_step_px)
            step, deviations = step * factor, deviations * factor
            before = here.shifts if here.shifts is not None else np.zeros((len(geometry), 2))
            here = _centred(here, before + step)
            moved = remove_unobservable(step, geometry.angles_deg)
            updates.append(float(np.sqrt(np.mean(moved**2))))
            if updates[-1] < tolerance_px:
                break
    if not updates:
        raise OutOfRangeError(f"bins = {bins}: leave less than 24 pixels of {pictures.shape[1:]}")
    return Alignment(here, deviations, tuple(updates))
