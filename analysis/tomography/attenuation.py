"""From raw frames to line integrals: dark, flat, beam, zingers, and the logarithm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.correction import FlatField, mean_frames, minus_log, remove_zingers
from exitwave.analysis.errors import FileFormatError, ShapeError
from exitwave.analysis.io import Frames

__all__ = ["FlatGroups", "Normalisation", "line_integrals"]

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
_GAP = 3.0
"""Flats are of another group when the time between them is so many times the usual one."""


class FlatGroups:
    """Flats taken at several places of a scan: one mean for each group, and the flat at any moment between them.

    Parameters
    ----------
    flats : sequence of frames (y, x)
    dark : float32 (y, x)
        Mean dark.
    times_s : float64 (n,), optional
        When each flat was taken; without it all are one group.
    intensity : float64 (n,), optional
        Beam intensity at each flat; each flat is divided by its own, relative to their mean.
    between_s : float64 (m,), optional
        When something else was taken: without any of it between them flats are of one group, whatever their pause.

    Attributes
    ----------
    times_s : float64 (groups,)
    means : list of float32 (y, x)
        Dark subtracted.
    intensity : float or None
        Mean beam intensity of the flats; None where nobody read it.
    """

    def __init__(
        self,
        flats: Frames | Sequence[npt.NDArray[Any]],
        dark: Floats,
        times_s: Doubles | None = None,
        intensity: Doubles | None = None,
        between_s: Doubles | None = None,
    ) -> None:
        n = len(flats)
        times = np.arange(n, dtype=np.float64) if times_s is None else np.asarray(times_s, np.float64)
        if times.shape != (n,):
            raise ShapeError(f"flats: {n} frames, but times of shape {times.shape}")
        relative = np.ones(n)
        self.intensity: float | None = None
        known = _known(intensity, n)
        if known is not None:
            self.intensity = float(np.mean(known))
            relative = known / self.intensity
        self.means: list[Floats] = []
        centres = []
        for group in _groups(times, between_s, split=times_s is not None):
            mean = mean_frames((np.asarray(flats[i], np.float32) - dark) / np.float32(relative[i]) for i in group)
            self.means.append(mean)
            centres.append(float(np.mean(times[group])))
        self.times_s = np.asarray(centres)

    def at(self, time_s: float) -> Floats:
        """Return the flat (dark subtracted) of a moment: between two groups their weighted mean."""
        k = int(np.searchsorted(self.times_s, time_s))
        if k == 0 or len(self.means) == 1:
            return self.means[0]
        if k == len(self.means):
            return self.means[-1]
        part = (time_s - self.times_s[k - 1]) / (self.times_s[k] - self.times_s[k - 1])
        return np.asarray((1.0 - part) * self.means[k - 1] + part * self.means[k], np.float32)


def _groups(times: Doubles, between_s: Doubles | None, *, split: bool) -> list[npt.NDArray[np.intp]]:
    order = np.argsort(times, kind="stable")
    if not split or times.size < 2:
        return [order]
    gaps = np.diff(times[order])
    apart = gaps > _GAP * max(float(np.median(gaps)), 1e-9)
    if between_s is not None:
        apart &= np.diff(np.searchsorted(np.sort(between_s), times[order])) > 0
    return list(np.split(order, np.flatnonzero(apart) + 1))


def _known(intensity: Doubles | None, n: int) -> Doubles | None:
    """Return the beam at each of `n` frames, gaps filled from their neighbours; None if nobody read it at all.

    One frame whose reading is missing must not leave the others without theirs.
    """
    if intensity is None or n == 0:
        return None
    beam = np.asarray(intensity, np.float64)
    if beam.shape != (n,):
        raise ShapeError(f"intensity: shape {beam.shape}, expected ({n},) as there are frames")
    good = np.isfinite(beam) & (beam > 0.0)
    if not good.any():
        return None
    return np.interp(np.arange(n), np.flatnonzero(good), beam[good])


class Normalisation:
    """Raw frames of a scan by the dark, and by the flat and the beam of their moment.

    Parameters
    ----------
    flats, darks : sequence of (y, x)
        Raw references.
    n : int
        How many frames the scan has.
    times_s, flat_times_s, intensity, flat_intensity
        As in `line_integrals`.
    least_light : float
        Pixels in which a flat has less than this part of its median have no light: NaN.

    Attributes
    ----------
    shape : (int, int)
        Of a frame.

    Raises
    ------
    FileFormatError, ShapeError
    """

    def __init__(
        self,
        flats: Frames | Sequence[npt.NDArray[Any]] | None,
        darks: Frames | Sequence[npt.NDArray[Any]] | None,
        n: int,
        *,
        times_s: Doubles | None = None,
        flat_times_s: Doubles | None = None,
        intensity: Doubles | None = None,
        flat_intensity: Doubles | None = None,
        least_light: float = 0.0,
    ) -> None:
        if flats is None or len(flats) == 0:
            raise FileFormatError(
                "tomogram: no flats; take some without the sample, or resume the run with num_flats > 0"
            )
        if darks is None or len(darks) == 0:
            raise FileFormatError("tomogram: no darks; take some with the shutter closed")
        if times_s is not None and len(times_s) != n:
            raise ShapeError(f"frames: {n} of them, but {len(times_s)} times")
        self._dark = mean_frames(np.asarray(frame) for frame in darks)
        self.shape: tuple[int, ...] = self._dark.shape
        self._groups = FlatGroups(flats, self._dark, flat_times_s, flat_intensity, times_s)
        self._times_s = times_s
        known = _known(intensity, n)
        mean = self._groups.intensity
        self._beam = np.ones(n) if known is None or mean is None else known / mean
        self._least = least_light
        self._used: Floats | None = None

    def __call__(self, k: int, raw: npt.NDArray[Any], *, zinger_sigma: float | None = None) -> Floats:
        """Return the transmission of frame `k`, float32 (y, x)."""
        flat = self._groups.at(0.0 if self._times_s is None else float(self._times_s[k]))
        if flat is not self._used:
            least = self._least * float(np.median(flat)) if self._least else 0.0
            self._field, self._used = FlatField(flat + self._dark, self._dark, min_signal=least), flat
        image = self._field(np.asarray(raw))
        if zinger_sigma is not None:
            image = remove_zingers(image, n_sigma=zinger_sigma)[0]
        image /= np.float32(self._beam[k])
        return image


def line_integrals(
    frames: Frames | Sequence[npt.NDArray[Any]],
    flats: Frames | Sequence[npt.NDArray[Any]] | None,
    darks: Frames | Sequence[npt.NDArray[Any]] | None,
    *,
    times_s: Doubles | None = None,
    flat_times_s: Doubles | None = None,
    intensity: Doubles | None = None,
    flat_intensity: Doubles | None = None,
    zinger_sigma: float | None = 8.0,
    out: Any = None,
) -> Floats:
    """Return -ln of the transmission (n, row, col), float32, frame by frame: no more than a few are in memory twice.

    Parameters
    ----------
    frames : sequence of (y, x)
        Raw projections.
    flats, darks : sequence of (y, x)
        Raw references.
    times_s, flat_times_s : float64 (n,), (flats,), optional
        When they were taken: flats before and after (or in between) are then weighted by time.
    intensity, flat_intensity : float64 (n,), (flats,), optional
        Beam intensity at each; where it is NaN or not positive it is taken between its neighbours'. Without any
        reading of either, intensities are left out.
    zinger_sigma : float, optional
        Direct hits so many standard deviations above their neighbourhood are replaced; None leaves them.
    out : float32 (n, row, col), optional
        Where to put the result, and what is returned: anything that takes ``out[k] = frame``.

    Raises
    ------
    FileFormatError
        There are no flats or no darks.
    ShapeError
        Lengths that do not fit.
    """
    correct = Normalisation(
        flats,
        darks,
        len(frames),
        times_s=times_s,
        flat_times_s=flat_times_s,
        intensity=intensity,
        flat_intensity=flat_intensity,
    )
    result: Any = np.empty((len(frames), *correct.shape), np.float32) if out is None else out
    for k, raw in enumerate(frames):
        result[k] = minus_log(correct(k, raw, zinger_sigma=zinger_sigma))
    corrected: Floats = result
    return corrected
