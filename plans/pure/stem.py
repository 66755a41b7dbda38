"""Scans of an electron microscope as data: dose, energy windows, tilts, drift. Nothing here moves anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import constants

from exitwave.analysis.drift import small_shift
from exitwave.analysis.eds import EnergyAxis, EnergyWindow, Surroundings, judge_window
from exitwave.analysis.errors import AnalysisError, FitError
from exitwave.plans.pure.positions import PlanInputError, require_finite

__all__ = [
    "DriftTracker",
    "Exposure",
    "FrameDrift",
    "Windows",
    "check_windows",
    "dose_rate_e_a2_s",
    "frames_within",
    "named_windows",
    "predict_shift_nm",
    "require_dose",
    "sample_of",
    "steps_of",
    "tilt_list",
    "tracking_frames",
]

WAY_S = 2.0
_LEAST_OVERLAP = 16
BEAM_WAY_S = 0.1
"""What a frame that is taken by itself is exposed to beyond its scan: the ways of the commands that unblank, start and
blank."""

Windows = Sequence[EnergyWindow | tuple[float, float]]


def dose_rate_e_a2_s(current_pa: float, area_a2: float) -> float:
    """Return electrons per square angstrom and second of a beam that scans an area.

    Parameters
    ----------
    current_pa : float
        Into the specimen, pA.
    area_a2 : float
        Of the field, square angstrom.
    """
    return current_pa * 1e-12 / constants.e / area_a2


def frames_within(
    num_frames: int | None,
    rate_e_a2_s: float,
    frame_s: float,
    *,
    accumulated: float = 0.0,
    limit: float | None = None,
) -> int:
    """Return how many frames to scan.

    Without a number, the limit says: what the beam gives on its way into and out of the scan (a frame's worth, or
    that of `WAY_S`) is kept back, so that the last frame is whole.

    Parameters
    ----------
    num_frames : int, optional
        Frames asked for.
    rate_e_a2_s, frame_s : float
        Dose rate, and time of a frame.
    accumulated, limit : float
        Dose so far, and what must not be exceeded, e/A2.

    Raises
    ------
    PlanInputError
        Neither a number nor a limit, or the frames asked for (or a single one) go over the limit.
    """
    if limit is None:
        if num_frames is None:
            raise PlanInputError(
                "num_frames: None scans until a dose limit, and there is none; give dose_limit_e_a2 or a number"
            )
        return num_frames
    require_finite("dose_limit_e_a2", limit, "e/A2", positive=True)
    per_frame = rate_e_a2_s * frame_s
    room = int((limit - accumulated) / per_frame + 1e-6)
    if room < 1 or (num_frames is not None and num_frames > room):
        asked = 1 if num_frames is None else num_frames
        remedy = f"take at most {room}" if room >= 1 else "take less current, a larger field or a shorter dwell"
        raise PlanInputError(
            f"dose: {asked} frames of {per_frame:.4g} e/A2 on top of {accumulated:.4g} e/A2 go over the limit of "
            f"{limit:.4g} e/A2; {remedy}, or RE(stem.new_area()) where the beam meets a fresh area"
        )
    if num_frames is not None:
        return num_frames
    return max(int((limit - accumulated - rate_e_a2_s * min(frame_s, WAY_S)) / per_frame + 1e-6), 1)


@dataclass(frozen=True)
class Exposure:
    """Frames that are to be taken one by one or in one go.

    Parameters
    ----------
    what : str
        In words, for messages.
    num : int
        Times that the beam is let onto the specimen.
    area_a2, seconds : float
        Scanned, square angstrom; time of each, s.
    """

    what: str
    num: int
    area_a2: float
    seconds: float

    def dose_e_a2(self, current_pa: float) -> float:
        """Return what all of them give over their own area, with the ways of the beam."""
        return self.num * dose_rate_e_a2_s(current_pa, self.area_a2) * (self.seconds + BEAM_WAY_S)


def require_dose(exposures: Sequence[Exposure], current_pa: float, *, accumulated: float, limit: float) -> float:
    """Return the dose of exposures, e/A2, if it stays within a limit.

    Raises
    ------
    PlanInputError
        It does not; the message names the parts.
    """
    require_finite("dose_limit_e_a2", limit, "e/A2", positive=True)
    doses = [exposure.dose_e_a2(current_pa) for exposure in exposures]
    total = math.fsum(doses)
    if accumulated + total > limit:
        parts = ", ".join(f"{e.what} {dose:.4g}" for e, dose in zip(exposures, doses, strict=True))
        raise PlanInputError(
            f"dose: {total:.4g} e/A2 ({parts}) on top of {accumulated:.4g} e/A2 go over the limit of {limit:.4g} e/A2; "
            "take fewer frames, less current or a larger field, or RE(stem.new_area()) on a fresh area"
        )
    return total


def steps_of(way_deg: float, step_deg: float) -> int:
    """Return in how many steps to go a way; a hundredth of a step more than whole steps is the encoder's noise."""
    return max(1, math.ceil(way_deg / step_deg - 0.01))


def tracking_frames(alphas_deg: Sequence[float], here_deg: float, first_step_deg: float, *, known: bool) -> int:
    """Return how many frames it takes to follow a specimen through tilts, from where the stage is now.

    One where it stands; then one for each tilt, and two for each step of the way while it is not known how the
    specimen moves with the tilt: what was found far off is looked at again.
    """
    count, here = 1, here_deg
    for alpha in alphas_deg:
        way = abs(alpha - here)
        count += 1 if known else 2 * steps_of(way, first_step_deg)
        known, here = known or way > 1e-9, alpha
    return count


def named_windows(windows: Windows) -> tuple[EnergyWindow, ...]:
    """Return energy windows with names, E1, E2, ... where they have none.

    Raises
    ------
    PlanInputError
        An upper end that does not lie above the lower one.
    """
    try:
        found = [w if isinstance(w, EnergyWindow) else EnergyWindow(float(w[0]), float(w[1])) for w in windows]
    except AnalysisError as error:
        raise PlanInputError(f"windows: {error}") from error
    return tuple(EnergyWindow(w.low_kev, w.high_kev, w.name or f"E{i + 1}") for i, w in enumerate(found))


def sample_of(elements: Mapping[str, float] | Sequence[str] | str) -> dict[str, float]:
    """Return the atoms of each element of a sample; of a plain list one each."""
    if isinstance(elements, Mapping):
        return {str(k): float(v) for k, v in elements.items()}
    return {str(e): 1.0 for e in ([elements] if isinstance(elements, str) else elements)}


def check_windows(
    windows: Sequence[EnergyWindow], surroundings: Surroundings, axis: EnergyAxis, *, accept_lines: bool = False
) -> list[str]:
    """Refuse windows outside of the detector's range, and windows that lines reach unless that is accepted.

    Returns
    -------
    list of str
        What contaminates the windows, for the run's metadata.

    Raises
    ------
    PlanInputError
        One line that names the window, the line and the remedy.
    """
    contaminated = []
    for window in windows:
        if not window.low_kev >= axis.gain_kev or not window.high_kev <= axis.top_kev:
            raise PlanInputError(
                f"windows: {window} is outside the detector's range [{axis.gain_kev:g}, {axis.top_kev:g}] keV; choose "
                "one inside, or the detector's larger range"
            )
        try:
            verdict = judge_window(window, surroundings, axis)
        except AnalysisError as error:
            raise PlanInputError(f"windows: {error}") from error
        if not verdict.clean:
            contaminated.append(str(verdict))
    if contaminated and not accept_lines:
        raise PlanInputError(
            f"windows: {contaminated[0]}; choose another (exitwave.analysis.eds.propose_windows) or say "
            "accept_lines=True"
        )
    return contaminated


def tilt_list(angles_deg: Sequence[float], low_deg: float, high_deg: float, name: str = "alpha") -> tuple[float, ...]:
    """Return the tilts of a series as they are to be taken.

    Raises
    ------
    PlanInputError
        None, one that is no number, two alike, or one over the limit of the stage.
    """
    angles = tuple(float(a) for a in angles_deg)
    if not angles:
        raise PlanInputError(f"{name}: no angles; give at least one")
    for angle in angles:
        if not (math.isfinite(angle) and low_deg <= angle <= high_deg):
            raise PlanInputError(
                f"{name}: {angle:g} deg is outside the stage's [{low_deg:g}, {high_deg:g}] deg; leave it out"
            )
    if len(set(angles)) != len(angles):
        raise PlanInputError(f"{name}: an angle stands twice in the list; take each once")
    return angles


@dataclass(frozen=True)
class FrameDrift:
    """Where the specimen stands in a frame against the first one, nm, and the beam shift that takes it back."""

    x_nm: float
    y_nm: float
    sd_nm: float
    shift_x_nm: float
    shift_y_nm: float


@dataclass
class DriftTracker:
    """Follows a specimen from frame to frame.

    Parameters
    ----------
    pixel_nm : float
    reach_nm : float
        How far it may have moved from one frame to the next. In a lattice, more than half of a spacing can't be told
        from the move to the neighbouring column; what moves by less at a time is followed as far as it goes.
    """

    pixel_nm: float
    reach_nm: float = 0.15
    _reference: NDArray[np.float32] | None = field(default=None, repr=False)
    _first_shift_nm: tuple[float, float] = (0.0, 0.0)
    _last_nm: tuple[float, float] = (0.0, 0.0)

    def follow(self, image: NDArray[np.float32], shift_nm: tuple[float, float]) -> FrameDrift:
        """Compare a frame with the first one.

        Parameters
        ----------
        image : array (rows, columns)
        shift_nm : (x, y)
            Beam shift with which it was scanned.

        Raises
        ------
        FitError
            The frames have nothing in common.
        """
        if self._reference is None:
            self._reference, self._first_shift_nm = image, shift_nm
            return FrameDrift(0.0, 0.0, 0.0, *shift_nm)
        (now_x, now_y), (x0, y0) = shift_nm, self._first_shift_nm
        # Where the specimen was last, less what the beam followed: about there its features are in this frame.
        ahead_y, ahead_x = (
            round((last - (now - first)) / self.pixel_nm)
            for last, now, first in zip(self._last_nm[::-1], (now_y, now_x), (y0, x0), strict=True)
        )
        reference, moving = _overlap(self._reference, image, ahead_y, ahead_x)
        found = small_shift(reference, moving, reach_px=max(self.reach_nm / self.pixel_nm, 1.5))
        x, y = (found.dx + ahead_x) * self.pixel_nm, (found.dy + ahead_y) * self.pixel_nm
        sd = max(found.dx_sd, found.dy_sd) * self.pixel_nm
        self._last_nm = (x + now_x - x0, y + now_y - y0)
        # What is seen in the frame is what the beam's own shift did not follow.
        return FrameDrift(x + now_x - x0, y + now_y - y0, sd, now_x + x, now_y + y)


def _overlap(
    reference: NDArray[np.float32], moving: NDArray[np.float32], dy: int, dx: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what both images show if features of the second stand (dy, dx) pixels from where the first has them."""
    parts: list[tuple[slice, slice]] = []
    for size, step in zip(reference.shape, (dy, dx), strict=True):
        step = max(-size, min(size, step))
        parts.append((slice(max(0, -step), size - max(0, step)), slice(max(0, step), size - max(0, -step))))
    (y_first, y_then), (x_first, x_then) = parts
    if min(reference[y_first, x_first].shape) < _LEAST_OVERLAP:
        raise FitError(
            f"drift: the specimen has left the first frame by ({dy}, {dx}) pixels; follow it, or take a larger field"
        )
    return reference[y_first, x_first], moving[y_then, x_then]


def predict_shift_nm(
    places: Sequence[tuple[float, float, float]], alpha_deg: float
) -> tuple[tuple[float, float], bool]:
    """Return the beam shift at which a specimen is expected at a tilt, and whether that is more than a guess.

    A specimen at a height over the tilt axis moves with the sine of the tilt, one beside it with the cosine (and
    drifts with time): with three places and more both are fitted by least squares, with two the sine alone, with one
    the last place counts.

    Parameters
    ----------
    places : sequence of (alpha_deg, x_nm, y_nm)
        Where it was found so far.
    """
    if not places:
        return (0.0, 0.0), False
    table = np.asarray(places, np.float64)
    tilts = np.radians(table[:, 0])
    if len(table) < 2 or np.ptp(tilts) < 1e-4:
        return (float(table[-1, 1]), float(table[-1, 2])), False
    now = math.radians(alpha_deg)
    # From the last place on: what drift did until then is in it.
    basis = [np.sin(tilts) - math.sin(tilts[-1])]
    step = [math.sin(now) - math.sin(tilts[-1])]
    if len(table) > 3 and np.ptp(tilts) > math.radians(4.0):
        basis.append(np.cos(tilts) - math.cos(tilts[-1]))
        step.append(math.cos(now) - math.cos(tilts[-1]))
    slopes, *_ = np.linalg.lstsq(np.stack(basis, axis=1), table[:, 1:] - table[-1, 1:], rcond=None)
    x, y = table[-1, 1:] + np.asarray(step) @ slopes
    return (float(x), float(y)), True
