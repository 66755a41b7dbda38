"""The transmission X-ray microscope: what its parts are together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ophyd import Component as Cpt
from ophyd import Device, EpicsSignal, Signal
from ophyd.status import AndStatus, StatusBase

from exitwave.analysis import optics
from exitwave.devices.camera import Camera
from exitwave.devices.energy_records import DoseRecord, EnergyRecord, SpectrumRecord, TrackingRecord
from exitwave.devices.errors import MotionLimitError, SettingError
from exitwave.devices.monochromator import DoubleCrystalMonochromator
from exitwave.devices.motor import Motor
from exitwave.devices.sample import SampleStage
from exitwave.devices.signals import ComputedSignal
from exitwave.devices.zone_plate import ZonePlate

__all__ = ["Detector", "EnergyMove", "HighResolutionDetector", "Telescope", "TransmissionXrayMicroscope"]

SIDEWAYS_UM, PITCH_URAD = 0.002, 0.2
"""Less than this is not worth a move: a tenth of a pixel is 3 nm, the rocking curve some 35 urad wide."""


class Detector(Device):
    """A detector at a fixed place: a camera behind a scintillator and an optical magnification.

    Parameters
    ----------
    camera : Camera
    distance_mm : float
        From the zero of the sample stage to the scintillator.
    optical_magnification : float
    """

    distance = Cpt(
        ComputedSignal,
        func=lambda self: self.distance_mm,
        units="mm",
        kind="normal",
        doc="Sample to scintillator",
    )

    def __init__(
        self,
        prefix: str = "",
        *,
        camera: Camera,
        distance_mm: float,
        optical_magnification: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(prefix, **kwargs)
        self.camera = camera
        self._distance_mm = distance_mm
        self._optical_magnification = optical_magnification

    @property
    def distance_mm(self) -> float:
        """Distance from the sample stage's zero to the scintillator, mm."""
        return self._distance_mm

    @property
    def optical_magnification(self) -> float:
        """Magnification from the scintillator to the sensor."""
        return self._optical_magnification


class HighResolutionDetector(Detector):
    """The detector on the track (mm), with an objective turret; ``x`` takes it out of the beam (mm).

    ``distance_mm`` is the distance at the zero of the track.
    """

    z = Cpt(Motor, "Z", doc="Track along the beam, mm")
    x = Cpt(Motor, "X", kind="config", doc="In and out of the beam, mm")
    objective = Cpt(
        EpicsSignal,
        "Objective_RBV",
        write_pv="Objective",
        string=True,
        put_complete=True,
        kind="config",
        doc="2x 4x 10x",
    )

    @property
    def distance_mm(self) -> float:
        """Distance from the sample stage's zero to the scintillator, mm."""
        return self._distance_mm + float(self.z.user_readback.get())

    @property
    def optical_magnification(self) -> float:
        """Magnification of the objective that is in."""
        return float(str(self.objective.get()).rstrip("x"))

    def track_for_distance_mm(self, distance_mm: float) -> float:
        """Position of the track that puts the scintillator at a distance from the sample, mm."""
        return distance_mm - self._distance_mm


class Telescope(Device):
    """In-line visible-light telescope for positioning (mm)."""

    x = Cpt(Motor, "X", doc="In and out of the beam, mm")

    def __init__(self, prefix: str = "", *, in_position_mm: float = 0.0, out_position_mm: float = 80.0, **kwargs: Any):
        super().__init__(prefix, **kwargs)
        self.in_position_mm, self.out_position_mm = in_position_mm, out_position_mm


@dataclass(frozen=True)
class EnergyMove:
    """Where everything goes for a photon energy; the result of a check, before any motion."""

    energy_kev: float
    zone_plate_mm: float
    track_mm: float | None
    magnification: float
    zone_plate_um: tuple[float, float] | None = None
    pitch_urad: float | None = None


class MicroscopeEnergy(Signal):
    """Photon energy of the whole microscope, keV: monochromator, zone plate and detector track together."""

    parent: TransmissionXrayMicroscope

    def get(self, **kwargs: Any) -> float:
        """Energy that the monochromator reports, keV."""
        self._readback = float(self.parent.mono.energy.position)
        return self._readback

    def check_value(self, value: float) -> None:
        """Refuse an energy that any of the axes can't follow."""
        self.parent.energy_move(float(value))

    def set(self, value: float, **kwargs: Any) -> StatusBase:
        """Move everything; done when the last axis has arrived."""
        return self.parent.set_energy(float(value))

    def read(self) -> dict[str, Any]:
        """Return energy and time."""
        self._readback = self.get()
        return super().read()


class FocusResult(Device):
    """What the last focus scan found."""

    best = Cpt(Signal, value=0.0, kind="hinted", doc="Zone plate z in focus, mm")
    uncertainty = Cpt(Signal, value=0.0, kind="normal", doc="Its standard deviation, mm")


class PeakResult(Device):
    """What the last alignment scan found, in the unit of its axis."""

    centre = Cpt(Signal, value=0.0, kind="hinted")
    uncertainty = Cpt(Signal, value=0.0, kind="normal", doc="Standard deviation of the centre")
    width = Cpt(Signal, value=0.0, kind="normal", doc="Full width at half maximum, or the offset that was applied")


class TransmissionXrayMicroscope(Device):
    """Monochromator, zone plates, sample and detectors as one instrument.

    Knows which zone plate and detector are in use, the magnification and the size of a pixel at the sample, and
    moves everything that an energy needs.

    Parameters
    ----------
    mono, sample, zone_plates, detectors
        The parts; zone plates and detectors by the name that a user calls them.
    keep : {"detector", "magnification"}
        What stays when the energy changes.
    """

    energy = Cpt(MicroscopeEnergy, kind="normal")
    magnification = Cpt(
        ComputedSignal,
        func=lambda self: self.magnification_now(),
        units="",
        kind="normal",
        doc="Of the zone plate",
    )
    pixel_size = Cpt(
        ComputedSignal,
        func=lambda self: self.pixel_nm(),
        units="nm",
        kind="hinted",
        doc="Of a pixel at the sample",
    )
    zone_plate_name = Cpt(Signal, kind="config", doc="Zone plate in use")
    detector_name = Cpt(Signal, kind="config", doc="Detector in use")
    sharpness = Cpt(Signal, value=0.0, kind="omitted", doc="Focus measure of the last image that a plan looked at")
    focus_result = Cpt(FocusResult, "", kind="omitted")
    peak_result = Cpt(PeakResult, "", kind="omitted")
    energy_record = Cpt(EnergyRecord, "", kind="omitted")
    dose_record = Cpt(DoseRecord, "", kind="omitted")
    tracking_record = Cpt(TrackingRecord, "", kind="omitted")
    spectrum_record = Cpt(SpectrumRecord, "", kind="omitted")
    intensity = Cpt(Signal, value=0.0, kind="omitted", doc="Mean counts of the last image that a plan looked at")

    def __init__(
        self,
        prefix: str = "",
        *,
        mono: DoubleCrystalMonochromator,
        sample: SampleStage,
        zone_plates: Mapping[str, ZonePlate],
        detectors: Mapping[str, Detector],
        keep: Literal["detector", "magnification"] = "detector",
        **kwargs: Any,
    ):
        super().__init__(prefix, **kwargs)
        self.mono, self.sample, self.keep = mono, sample, keep
        self.zone_plates, self.detectors = dict(zone_plates), dict(detectors)
        self.zone_plate_name.put(next(iter(self.zone_plates)))
        self.detector_name.put(next(iter(self.detectors)))

    # -- what is in use ---------------------------------------------------------------------------------------

    def find_zone_plate(self, name: str) -> ZonePlate:
        """Return a zone plate by its name.

        Raises
        ------
        SettingError
            There is none of this name.
        """
        return self._find(self.zone_plates, name, "zone plate")

    def find_detector(self, name: str) -> Detector:
        """Return a detector by its name.

        Raises
        ------
        SettingError
            There is none of this name.
        """
        return self._find(self.detectors, name, "detector")

    def _find(self, parts: Mapping[str, Any], name: str, kind: str) -> Any:
        try:
            return parts[name]
        except KeyError:
            raise SettingError(f"{self.name}: no {kind} {name!r}; there are {', '.join(parts)}") from None

    @property
    def zone_plate(self) -> ZonePlate:
        """The zone plate in use."""
        return self.zone_plates[self.zone_plate_name.get()]

    @property
    def detector(self) -> Detector:
        """The detector in use."""
        return self.detectors[self.detector_name.get()]

    @property
    def camera(self) -> Camera:
        """The camera in use."""
        return self.detector.camera

    # -- geometry ---------------------------------------------------------------------------------------------

    def image_geometry_mm(self) -> tuple[float, float]:
        """Return the distances from the sample to the zone plate and to the scintillator, mm.

        The zone plate's is the calibrated one: what its focus calibration found off the nominal lens is taken out.
        """
        energy_kev = float(self.mono.energy.position)
        zone_plate = self.zone_plate
        sample_mm = float(self.sample.z.user_readback.get()) * 1e-3
        # A place is told whether or not images may be taken there.
        correction = zone_plate.focus.correction_mm(energy_kev, beyond=True)
        return (
            float(zone_plate.z.user_readback.get()) - correction - sample_mm,
            self.detector.distance_mm - sample_mm,
        )

    def magnification_now(self) -> float:
        """X-ray magnification from the distances."""
        zone_plate_mm, detector_mm = self.image_geometry_mm()
        return optics.magnification_from_lens_positions(zone_plate_mm, detector_mm)

    def pixel_nm(self) -> float:
        """Size of a camera pixel at the sample, nm."""
        detector = self.detector
        binning = int(detector.camera.cam.bin_x.get())
        return binning * optics.effective_pixel_nm(
            detector.camera.pixel_um, detector.optical_magnification, self.magnification_now()
        )

    # -- energy -----------------------------------------------------------------------------------------------

    def energy_move(self, energy_kev: float, *, beyond: bool = False, magnification: float | None = None) -> EnergyMove:
        """Work out and check where everything goes for an energy; nothing moves.

        Parameters
        ----------
        beyond : bool
            Outside of the focus calibration's range too: for a search for focus, not for images.
        magnification : float, optional
            The one to keep where the magnification is kept; the present one without it, which in a long series of
            energies adds up each move's remainder.

        Raises
        ------
        MotionLimitError
            Energy outside of the range, or an axis that can't follow.
        FocusCalibrationError
            Energy outside of the calibrated range of the zone plate.
        """
        self.mono.check_energy(energy_kev)
        zone_plate, detector = self.zone_plate, self.detector
        sample_mm = float(self.sample.z.user_readback.get()) * 1e-3
        distance_mm = detector.distance_mm - sample_mm
        track_mm = None
        if self.keep == "magnification" and isinstance(detector, HighResolutionDetector):
            magnification = self.magnification_now() if magnification is None else magnification
            focal_mm = zone_plate.focal_length_mm(energy_kev)
            distance_mm = focal_mm * (magnification + 1) ** 2 / magnification
            track_mm = detector.track_for_distance_mm(distance_mm + sample_mm)
            detector.z.check_value(track_mm)
        if distance_mm < 4 * zone_plate.focal_length_mm(energy_kev):
            raise MotionLimitError(
                f"{zone_plate.name}: no sharp image at {energy_kev:g} keV with the detector at {distance_mm:g} mm, it "
                f"needs at least {4 * zone_plate.focal_length_mm(energy_kev):.1f} mm; move the detector track out"
            )
        nominal_mm = zone_plate.nominal_focus_mm(energy_kev, distance_mm)
        target_mm = nominal_mm + zone_plate.focus.correction_mm(energy_kev, beyond=beyond) + sample_mm
        zone_plate.z.check_value(target_mm)
        sideways = None if beyond else zone_plate.focus.sideways_um(energy_kev)
        if sideways is not None:
            zone_plate.x.check_value(sideways[0])
            zone_plate.y.check_value(sideways[1])
        pitch_urad = self.mono.pitch_at(energy_kev)
        if pitch_urad is not None:
            self.mono.pitch.check_value(pitch_urad)
        return EnergyMove(
            energy_kev=energy_kev,
            zone_plate_mm=target_mm,
            track_mm=track_mm,
            magnification=optics.magnification_from_lens_positions(nominal_mm, distance_mm),
            zone_plate_um=sideways,
            pitch_urad=pitch_urad,
        )

    def set_energy(self, energy_kev: float) -> StatusBase:
        """Move monochromator, zone plate and, if the magnification is kept, the detector track.

        Everything is checked before anything moves; the status is done when the last axis has arrived.
        """
        status: StatusBase | None = None
        for axis, target in self.energy_targets(self.energy_move(energy_kev)):
            moving = axis.set(target)
            status = moving if status is None else AndStatus(status, moving)
        if status is None:
            raise SettingError(f"{self.name}: nothing moves with the energy")
        return status

    def energy_targets(self, move: EnergyMove) -> list[tuple[Any, float]]:
        """Return which axes go where for an energy; those that a calibration moves only if it is worth a move."""
        plate, detector, mono = self.zone_plate, self.detector, self.mono
        targets: list[tuple[Any, float]] = [(mono.energy, move.energy_kev), (plate.z, move.zone_plate_mm)]
        if move.track_mm is not None and isinstance(detector, HighResolutionDetector):
            targets.append((detector.z, move.track_mm))
        fine = [] if move.zone_plate_um is None else list(zip((plate.x, plate.y), move.zone_plate_um, strict=True))
        targets += [(axis, um) for axis, um in fine if abs(um - float(axis.user_setpoint.get())) > SIDEWAYS_UM]
        if move.pitch_urad is not None and abs(move.pitch_urad - float(mono.pitch.user_setpoint.get())) > PITCH_URAD:
            targets.append((mono.pitch, move.pitch_urad))
        return targets

    def describe_optics(self) -> dict[str, Any]:
        """Return the optics in use, as it goes into the start document of a run."""
        return {
            "energy_kev": _finite(self.mono.energy.position),
            "zone_plate": self.zone_plate_name.get(),
            "detector": self.detector_name.get(),
            "magnification": _finite(self.magnification_now()),
            "pixel_size_nm": _finite(self.pixel_nm()),
            "outermost_zone_nm": self.zone_plate.outermost_zone_nm,
        }


def _finite(value: float) -> float | None:
    """None in place of a number that is not known."""
    return float(value) if math.isfinite(value) else None
