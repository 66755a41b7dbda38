"""What the plans of a microscope are done with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Imager", "Instrument", "Progress", "ShutterDevice", "TomogramFinder"]


class ShutterDevice(Protocol):
    """Opens and closes, and says whether it did."""

    name: str
    status: Any

    def set(self, value: str) -> Any:
        """Go to ``"open"`` or ``"close"``."""


class Imager(Protocol):
    """A microscope: energy, optics, sample and the camera in use."""

    name: str
    energy: Any
    mono: Any
    sample: Any
    pixel_size: Any
    sharpness: Any
    intensity: Any
    focus_result: Any
    peak_result: Any
    zone_plate_name: Any
    zone_plates: dict[str, Any]

    @property
    def camera(self) -> Any:
        """The camera in use."""

    @property
    def zone_plate(self) -> Any:
        """The zone plate in use."""

    @property
    def detector(self) -> Any:
        """The detector in use."""

    def find_zone_plate(self, name: str) -> Any:
        """Return a zone plate by its name."""

    def energy_move(self, energy_kev: float) -> Any:
        """Check an energy and return where everything would go."""

    def describe_optics(self) -> dict[str, Any]:
        """Return the optics in use, for the start document."""


@dataclass(frozen=True)
class Progress:
    """How far a tomogram has come, over the runs that belong to it.

    Attributes
    ----------
    start : mapping
        Start document of the first run.
    missing : tuple of int
        Which of its angles no usable frame shows.
    has_flats, has_darks : bool
        Whether there are any.
    """

    start: Mapping[str, Any]
    missing: tuple[int, ...]
    has_flats: bool
    has_darks: bool


class TomogramFinder(Protocol):
    """Knows earlier runs; the session gives plans one."""

    def progress(self, uid: str | int) -> Progress:
        """Return how far the tomogram that this run belongs to has come."""


@dataclass(frozen=True)
class Instrument:
    """The devices that plans take, by their role.

    Parameters
    ----------
    microscope
        `exitwave.devices.TransmissionXrayMicroscope` or what behaves like it.
    ring, front_end_shutter, photon_shutter, fast_shutter, i0, i1, foil, condenser
        Storage ring, shutters from the source on, ion chambers before and after the foils, foils, condenser.
    position_compare
        `exitwave.devices.PositionCompare` on the rotation axis; fly scans need it.
    tomograms
        Where `exitwave.plans.ct.resume` learns what is missing.
    """

    microscope: Imager
    ring: Any
    front_end_shutter: ShutterDevice
    photon_shutter: ShutterDevice
    fast_shutter: ShutterDevice
    i0: Any
    i1: Any
    foil: Any
    condenser: Any
    position_compare: Any = None
    tomograms: TomogramFinder | None = None
