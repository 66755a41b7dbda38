"""What the plans of a microscope are done with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = [
    "ElectronMicroscope",
    "Imager",
    "Instrument",
    "Progress",
    "SeriesFinder",
    "SeriesProgress",
    "ShutterDevice",
    "SpectraFinder",
    "TomogramFinder",
    "TrackReference",
]


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

    keep: Any
    energy_record: Any
    dose_record: Any
    tracking_record: Any
    spectrum_record: Any

    def magnification_now(self) -> float:
        """Return the X-ray magnification from the distances."""

    def energy_targets(self, move: Any) -> list[tuple[Any, float]]:
        """Return which axes go where for an energy."""

    def energy_move(self, energy_kev: float, *, beyond: bool = False, magnification: float | None = None) -> Any:
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


class SpectraFinder(Protocol):
    """Knows earlier scans of energies; the session gives plans one."""

    def progress(self, uid: str | int) -> Progress:
        """Return how far the scan that this run belongs to has come; `missing` are numbers of shots."""

    def newest(self, plan_name: str) -> str | None:
        """Return the uid of the newest run of a plan that ended well."""

    def tracking(self, uid: str | int) -> tuple[str, list[dict[str, Any]]]:
        """Return the zone plate and the focus points that a run of `calibrate_tracking` wrote down."""


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
    spectra
        Where `exitwave.plans.xanes.resume` does.
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
    spectra: SpectraFinder | None = None


@dataclass(frozen=True)
class TrackReference:
    """The last frame by which the specimen of a tilt series was found.

    Attributes
    ----------
    alpha_deg : float
        Tilt at which it was scanned.
    x_nm, y_nm : float
        Beam shift at which the specimen was found in it.
    dy_px, dx_px : float
        How far that is from the middle of the frame.
    image : float32 array (rows, columns)
    """

    alpha_deg: float
    x_nm: float
    y_nm: float
    dy_px: float
    dx_px: float
    image: Any


@dataclass(frozen=True)
class SeriesProgress:
    """How far a tilt series has come, over the runs that belong to it.

    Attributes
    ----------
    start : mapping
        Start document of the first run.
    about : mapping
        Of the series: ``id``, ``num``, ``work``, ``stage``.
    taken : mapping of int to str
        Uid of the good run of each of its angles, by the angle's number.
    places : tuple of (float, float, float)
        Tilt (deg) and beam shift (nm, x and y) where the specimen was found, in the order of the runs.
    reference : TrackReference, optional
        None where nothing was tracked.
    """

    start: Mapping[str, Any]
    about: Mapping[str, Any]
    taken: Mapping[int, str]
    places: tuple[tuple[float, float, float], ...] = ()
    reference: TrackReference | None = None


class SeriesFinder(Protocol):
    """Knows earlier tilt series; the session gives plans one."""

    def progress(self, uid: str | int) -> SeriesProgress:
        """Return how far the series that this run belongs to has come."""


@dataclass(frozen=True)
class ElectronMicroscope:
    """The devices that plans of a scanning transmission electron microscope take, by their role.

    Parameters
    ----------
    column, blanker, gun_valve, column_valve, vacuum
        Source and lenses, what keeps the beam from the specimen, and pressures.
    goniometer
        The specimen's stage.
    scan
        Scan generator: `exitwave.devices.stem.ScanGenerator`.
    dose
        Counts electrons through the specimen.
    haadf, eds
        Detectors that write files.
    series
        Where `exitwave.plans.stem.resume` learns what is missing.
    """

    column: Any
    blanker: Any
    gun_valve: ShutterDevice
    column_valve: ShutterDevice
    vacuum: Any
    goniometer: Any
    scan: Any
    dose: Any
    haadf: Any
    eds: Any
    series: SeriesFinder | None = None
