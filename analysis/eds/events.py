"""Photons as they come: one entry per photon, never a dense cube unless asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.eds import _kernels
from exitwave.analysis.eds.axis import EnergyAxis
from exitwave.analysis.errors import OutOfRangeError, ShapeError

__all__ = ["Events", "join_events"]


@dataclass(frozen=True)
class Events:
    """A list of photons in the order of the scan, 7 bytes each.

    Parameters
    ----------
    pixel : uint32 array (n,)
        ``row * columns + column`` of the probe position.
    channel : uint16 array (n,)
        Of the energy axis.
    segment : uint8 array (n,)
        Which detector.
    frame_starts : int64 array (frames + 1,)
        Events of frame k are ``frame_starts[k]`` to ``frame_starts[k + 1]``.
    shape : (rows, columns)
    axis : EnergyAxis
    n_segments : int

    Raises
    ------
    ShapeError
        Arrays of different length, or frame bounds that do not cover them.
    OutOfRangeError
        An event outside of the map, the spectrum or the segments.
    """

    pixel: npt.NDArray[np.uint32]
    channel: npt.NDArray[np.uint16]
    segment: npt.NDArray[np.uint8]
    frame_starts: npt.NDArray[np.int64]
    shape: tuple[int, int]
    axis: EnergyAxis
    n_segments: int = 1

    def __post_init__(self) -> None:
        n = len(self.pixel)
        lengths = {len(self.channel), len(self.segment), n}
        kinds = [self.pixel.dtype.name, self.channel.dtype.name, self.segment.dtype.name]
        if len(lengths) != 1 or kinds != ["uint32", "uint16", "uint8"]:
            raise ShapeError(f"events: expected uint32, uint16, uint8 of one length, got {kinds} of {sorted(lengths)}")
        starts = self.frame_starts
        if starts.ndim != 1 or len(starts) < 2 or starts[0] != 0 or starts[-1] != n or (np.diff(starts) < 0).any():
            raise ShapeError(f"events: frame_starts must rise from 0 to {n}")
        rows, cols = self.shape
        if rows < 1 or cols < 1 or self.n_segments < 1:
            raise ShapeError(f"events: shape {self.shape} and {self.n_segments} segments must be positive")
        bad = _kernels.count_outside(
            self.pixel, self.channel, self.segment, rows * cols, self.axis.n_channels, self.n_segments
        )
        if bad:
            raise OutOfRangeError(
                f"events: {bad} of {n} lie outside {rows} x {cols} pixels, {self.axis.n_channels} channels"
                f" or {self.n_segments} segments"
            )

    def __len__(self) -> int:
        return len(self.pixel)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.frame_starts) - 1

    @property
    def nbytes(self) -> int:
        """Memory of the list, bytes."""
        return self.pixel.nbytes + self.channel.nbytes + self.segment.nbytes + self.frame_starts.nbytes

    @classmethod
    def from_frame_numbers(
        cls,
        pixel: npt.ArrayLike,
        channel: npt.ArrayLike,
        segment: npt.ArrayLike,
        frame: npt.ArrayLike,
        *,
        shape: tuple[int, int],
        axis: EnergyAxis,
        n_segments: int = 1,
        n_frames: int | None = None,
    ) -> Events:
        """Return events whose frame is given one by one, in any order; the order within a frame is kept."""
        numbers = np.asarray(frame, dtype=np.int64)
        last = int(numbers.max(initial=-1))
        count = max(last + 1, 1) if n_frames is None else n_frames
        if count <= last or numbers.min(initial=0) < 0:
            raise OutOfRangeError(f"events: frame numbers reach {last}, outside of {count} frames")
        columns: list[npt.NDArray[Any]] = [
            np.asarray(pixel, np.uint32),
            np.asarray(channel, np.uint16),
            np.asarray(segment, np.uint8),
        ]
        if {len(c) for c in columns} != {len(numbers)}:
            raise ShapeError(f"events: {[len(c) for c in columns]} entries and {len(numbers)} frame numbers")
        if (np.diff(numbers) < 0).any():
            order = np.argsort(numbers, kind="stable")
            columns, numbers = [column[order] for column in columns], numbers[order]
        starts = np.searchsorted(numbers, np.arange(count + 1)).astype(np.int64)
        return cls(columns[0], columns[1], columns[2], starts, shape, axis, n_segments)

    def frames(self, start: int, stop: int) -> Events:
        """Return the events of frames `start` to `stop`, as views.

        Raises
        ------
        OutOfRangeError
        """
        if not 0 <= start < stop <= self.n_frames:
            raise OutOfRangeError(f"frames {start} to {stop} are outside [0, {self.n_frames}]")
        low, high = int(self.frame_starts[start]), int(self.frame_starts[stop])
        return self._pick(slice(low, high), self.frame_starts[start : stop + 1] - low)

    def select(self, mask: npt.NDArray[np.bool_]) -> Events:
        """Return the events where `mask` (n,) holds."""
        if mask.shape != (len(self),):
            raise ShapeError(f"events: mask of shape {mask.shape} for {len(self)} events")
        before = np.concatenate([[0], np.cumsum(mask, dtype=np.int64)])
        return self._pick(mask, before[self.frame_starts])

    def thin(self, share: float, rng: np.random.Generator) -> Events:
        """Return a random subset, each photon kept with probability `share`: Poisson stays Poisson."""
        if not 0.0 <= share <= 1.0:
            raise OutOfRangeError(f"share = {share:g} is outside [0, 1]")
        return self.select(rng.random(len(self)) < share)

    def halves(self, rng: np.random.Generator) -> tuple[Events, Events]:
        """Return two independent halves, photon by photon."""
        mask = rng.random(len(self)) < 0.5
        return self.select(mask), self.select(~mask)

    def _pick(self, where: Any, starts: npt.NDArray[np.int64]) -> Events:
        return Events(
            self.pixel[where], self.channel[where], self.segment[where], starts, self.shape, self.axis, self.n_segments
        )


def join_events(parts: Sequence[Events]) -> Events:
    """Return the events of several lists, one after the other, as one list with all their frames.

    Raises
    ------
    ShapeError
        Without parts, or if shapes, axes or segments differ.
    """
    if not parts:
        raise ShapeError("join_events: no parts")
    first = parts[0]
    if any((p.shape, p.axis, p.n_segments) != (first.shape, first.axis, first.n_segments) for p in parts):
        raise ShapeError("join_events: shapes, energy axes and segments of the parts must be the same")
    offsets = np.cumsum([0, *(len(p) for p in parts)])
    starts = np.concatenate([[0], *(p.frame_starts[1:] + o for p, o in zip(parts, offsets[:-1], strict=True))])
    return Events(
        np.concatenate([p.pixel for p in parts]),
        np.concatenate([p.channel for p in parts]),
        np.concatenate([p.segment for p in parts]),
        starts.astype(np.int64),
        first.shape,
        first.axis,
        first.n_segments,
    )
