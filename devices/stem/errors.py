"""Named errors of an electron microscope's devices."""

from __future__ import annotations

from exitwave.devices.errors import ExitwaveError

__all__ = ["BeamError", "DoseLimitError", "EventFileError", "ScanError"]


class BeamError(ExitwaveError, RuntimeError):
    """A beam that can't be had (valve, voltage, vacuum), or that can't be kept from the specimen."""


class DoseLimitError(ExitwaveError, RuntimeError):
    """A dose that was reached before what was asked for was done; the beam is blanked."""


class ScanError(ExitwaveError, RuntimeError):
    """A scan that ended otherwise than it was told to."""


class EventFileError(ExitwaveError, RuntimeError):
    """X-ray events that could not be written."""
