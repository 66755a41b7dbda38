"""What one tomogram is: its angles, how each is exposed, and its references; free of any device."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from exitwave.plans.pure.angles import even_segments, tolerance_deg
from exitwave.plans.pure.positions import PlanInputError, require_count, require_finite
from exitwave.plans.pure.rotation import AxisFigures, Direction, frame_period_s, move_time_s

__all__ = ["FlatPlaces", "Tomography", "estimated_s"]

FlatPlaces = Literal["before", "after", "both", "none"]
PLACES: tuple[FlatPlaces, ...] = ("before", "after", "both", "none")


@dataclass(frozen=True)
class Tomography:
    """One tomogram, as it stands in the start document under ``tomography``.

    Parameters
    ----------
    mode : {"step", "fly"}
    angles_deg : tuple of float
        In the order of acquisition; at mid-exposure.
    exposure_s : float
    period_s : float
        From frame to frame of a fly scan; 0 for a step scan.
    step_deg : float
        From frame to frame of a fly scan, signed.
    num_flats, num_darks : int
        At every place, and once.
    flats : {"before", "after", "both", "none"}
        Where flats are taken.
    flats_every : int
        Projections between flats; 0 for none in between.
    direction : {"auto", "forward", "backward"}
        Of a fly scan.
    pitch_um_per_turn : float
        How far the sample rises along y in a turn (helical); 0 for none.
    tolerance_deg : float
        How far a frame may be from its angle.
    rises_from_deg : float, optional
        Angle at which a helical scan stands at its start; the first one without it. A part of a scan keeps the whole's.
    """

    mode: Literal["step", "fly"]
    angles_deg: tuple[float, ...]
    exposure_s: float
    period_s: float = 0.0
    step_deg: float = 0.0
    num_flats: int = 20
    num_darks: int = 20
    flats: FlatPlaces = "both"
    flats_every: int = 0
    direction: Direction = "auto"
    pitch_um_per_turn: float = 0.0
    tolerance_deg: float = 0.0
    rises_from_deg: float | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be meant.

        Raises
        ------
        PlanInputError
        """
        require_finite("exposure_s", self.exposure_s, "s", positive=True)
        require_count("num_flats", self.num_flats, at_least=0)
        require_count("num_darks", self.num_darks, at_least=0)
        require_count("flats_every", self.flats_every, at_least=0)
        require_finite("pitch_um_per_turn", self.pitch_um_per_turn, "um")
        if self.flats not in PLACES:
            raise PlanInputError(f"flats: {self.flats!r} is not one of {', '.join(PLACES)}")
        if not self.angles_deg or not all(math.isfinite(angle) for angle in self.angles_deg):
            raise PlanInputError("angles_deg: no angles, or some that are no numbers; give at least one projection")
        if len(set(self.angles_deg)) < len(self.angles_deg):
            raise PlanInputError("angles_deg: some angles stand there twice; give each once")
        if not self.tolerance_deg:
            object.__setattr__(self, "tolerance_deg", tolerance_deg(self.angles))
        if self.rises_from_deg is None:
            object.__setattr__(self, "rises_from_deg", self.angles_deg[0])

    @property
    def angles(self) -> NDArray[np.float64]:
        """The angles as an array, degrees."""
        return np.asarray(self.angles_deg, np.float64)

    def describe(self) -> dict[str, Any]:
        """Return what the start document says."""
        return {**asdict(self), "angles_deg": list(self.angles_deg)}

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> Self:
        """Return what a start document describes; what it says beyond that is left alone.

        Raises
        ------
        PlanInputError
            It is no tomogram's.
        """
        known = {field.name for field in fields(cls)}
        given = {key: value for key, value in described.items() if key in known}
        if "angles_deg" not in given or "mode" not in given:
            raise PlanInputError("this run is no tomogram: its start document has no angles")
        return cls(**{**given, "angles_deg": tuple(float(angle) for angle in given["angles_deg"])})

    def only(self, indices: Sequence[int], **changes: Any) -> Self:
        """Return the part with these angles; a frame's tolerance stays what it was."""
        angles = tuple(self.angles_deg[i] for i in indices)
        return replace(self, angles_deg=angles, **changes)

    def blocks(self) -> list[NDArray[np.float64]]:
        """Return the angles between one taking of flats and the next."""
        every = self.flats_every or len(self.angles_deg)
        return [self.angles[i : i + every] for i in range(0, len(self.angles_deg), every)]

    def flat_places(self) -> list[bool]:
        """Return whether flats are taken before each block and, last, after all of them."""
        if not self.num_flats or self.flats == "none":
            return [False] * (len(self.blocks()) + 1)
        between = [True] * (len(self.blocks()) - 1)
        return [self.flats in ("before", "both"), *between, self.flats in ("after", "both")]

    @property
    def num_flats_in_all(self) -> int:
        """Flats of the whole run."""
        return self.num_flats * sum(self.flat_places())

    @property
    def num_frames(self) -> int:
        """Frames of the whole run: what the disk must hold."""
        return len(self.angles_deg) + self.num_flats_in_all + self.num_darks

    def rise_um(self, angle_deg: float) -> float:
        """Return how far along y the sample has risen at an angle, from where it stood at the scan's start."""
        start = self.angles_deg[0] if self.rises_from_deg is None else self.rises_from_deg
        return (angle_deg - start) * self.pitch_um_per_turn / 360.0


_SHUTTERS_S = 6.0
_BURST_S = 1.0
_STEP_S = 0.03


def estimated_s(work: Tomography, axis: AxisFigures, readout_s: float, *, out_and_back_s: float = 1.5) -> float:
    """Estimate how long the run takes, s: exposures, moves, references, shutters.

    Parameters
    ----------
    work : Tomography
    axis : AxisFigures
        Of the rotation.
    readout_s : float
        Of the camera.
    out_and_back_s : float
        To take the sample out and bring it back.
    """
    reference_s = max(work.exposure_s, readout_s)
    total = _SHUTTERS_S + work.num_darks * reference_s + work.num_flats_in_all * reference_s
    total += sum(work.flat_places()) * (out_and_back_s + _BURST_S) + _BURST_S * bool(work.num_darks)
    for block in work.blocks():
        if work.mode == "fly":
            for part in even_segments(block):
                total += len(part) * work.period_s + 2 * axis.acceleration_s + _BURST_S
                total += move_time_s(axis, float(np.ptp(part)))
        else:
            moves = np.abs(np.diff(block, prepend=block[0]))
            total += len(block) * (work.exposure_s + _STEP_S) + sum(move_time_s(axis, step) for step in moves)
            total += _BURST_S
    return float(total)


def fly_period_s(
    exposure_s: float, readout_s: float, step_deg: float, velocity_deg_s: float | None, axis: AxisFigures
) -> float:
    """Return the time from frame to frame of a fly scan: by the velocity asked for, or the shortest that is safe.

    Raises
    ------
    PlanInputError
        A velocity that is none, over the limit, or too fast for the exposure.
    """
    require_finite("exposure_s", exposure_s, "s", positive=True)
    if velocity_deg_s is None:
        period_s = frame_period_s(exposure_s, readout_s)
        axis.check_velocity(abs(step_deg) / period_s)
        return period_s
    axis.check_velocity(velocity_deg_s)
    period_s = abs(step_deg) / velocity_deg_s
    if exposure_s > period_s or period_s < readout_s:
        raise PlanInputError(
            f"exposure_s: {exposure_s:g} s (readout {readout_s:g} s) does not fit into the {period_s:.4g} s that a "
            f"step of {abs(step_deg):g} {axis.unit} takes at {velocity_deg_s:g} {axis.unit}/s; expose shorter or turn "
            "slower"
        )
    return period_s
