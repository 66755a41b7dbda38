"""Named errors of the analysis, each with a message of one line: what, value, limit, unit."""

from __future__ import annotations

import math

__all__ = [
    "AnalysisError",
    "EnergyListError",
    "FileFormatError",
    "FitError",
    "FocusRangeError",
    "FrameTimeoutError",
    "OutOfRangeError",
    "ScratchSpaceError",
    "ShapeError",
    "require_positive",
    "require_within",
]


class AnalysisError(ValueError):
    """Base of everything the analysis refuses."""


class OutOfRangeError(AnalysisError):
    """A number is not finite or outside the range in which the formula holds."""


class ShapeError(AnalysisError):
    """Arrays that do not belong together."""


class EnergyListError(AnalysisError):
    """Energies of a scan that can't be meant: out of order, repeated, or without the edge."""


class FitError(AnalysisError):
    """The data do not determine what was asked for."""


class FocusRangeError(FitError):
    """A focus scan whose range does not hold the focus; `towards` is where to look, in the unit of the scan."""

    def __init__(self, message: str, towards: float):
        super().__init__(message)
        self.towards = towards


class FileFormatError(AnalysisError):
    """A file is not what its name or the caller says it is."""


class ScratchSpaceError(AnalysisError, OSError):
    """The disk has no room for what has to lie there while it is worked on."""


class FrameTimeoutError(AnalysisError, TimeoutError):
    """No new frame arrived before the deadline."""


def require_positive(name: str, value: float, unit: str) -> float:
    """Return `value` as float if it is finite and greater than zero.

    Raises
    ------
    OutOfRangeError
        For NaN, infinity, zero and negative numbers.
    """
    value = float(value)
    if not (math.isfinite(value) and value > 0.0):
        raise OutOfRangeError(f"{name} = {value:g} {unit}: must be finite and > 0 {unit}")
    return value


def require_within(name: str, value: float, low: float, high: float, unit: str) -> float:
    """Return `value` as float if it is finite and within ``[low, high]``.

    Raises
    ------
    OutOfRangeError
        For NaN, infinity and numbers outside the closed interval.
    """
    value = float(value)
    if not (math.isfinite(value) and low <= value <= high):
        raise OutOfRangeError(f"{name} = {value:g} {unit} is outside [{low:g}, {high:g}] {unit}")
    return value
