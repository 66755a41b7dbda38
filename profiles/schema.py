"""What a profile may say: one model per device class, extra keys refused.

A profile is a TOML file. Names of devices are the names of their tables; a reference to another device is its
name.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, PositiveFloat, Tag, model_validator

from exitwave.profiles.schema_base import AnyDevice, AnyRoles, References, Strict
from exitwave.profiles.schema_stem import ElectronRoleModel, StemDeviceModel

__all__ = ["DeviceModel", "Profile"]


class StorageRingModel(AnyDevice):
    """`exitwave.devices.StorageRing`."""

    type: Literal["StorageRing"]


class VacuumModel(AnyDevice):
    """`exitwave.devices.Vacuum`."""

    type: Literal["Vacuum"]


class ShutterModel(AnyDevice):
    """`exitwave.devices.Shutter`."""

    type: Literal["Shutter"]
    timeout_s: PositiveFloat = 10.0


class MirrorModel(AnyDevice):
    """`exitwave.devices.Mirror`."""

    type: Literal["Mirror"]


class MonochromatorModel(AnyDevice):
    """`exitwave.devices.DoubleCrystalMonochromator`."""

    type: Literal["DoubleCrystalMonochromator"]
    energy_range_kev: tuple[PositiveFloat, PositiveFloat] = (5.0, 14.0)
    exit_offset_mm: PositiveFloat = 25.0


class SlitsModel(AnyDevice):
    """`exitwave.devices.Slits`."""

    type: Literal["Slits"]


class IonChamberModel(AnyDevice):
    """`exitwave.devices.IonChamber`."""

    type: Literal["IonChamber"]
    gas: str = "N2"
    length_mm: PositiveFloat = 10.0
    mono: str | None = None

    def references(self) -> References:
        """Monochromator."""
        return {"mono": self.mono} if self.mono else {}


class FoilModel(AnyDevice):
    """`exitwave.devices.Foil`."""

    type: Literal["Foil"]


class CondenserModel(AnyDevice):
    """`exitwave.devices.Condenser`."""

    type: Literal["Condenser"]


class BeamStopModel(AnyDevice):
    """`exitwave.devices.BeamStop`."""

    type: Literal["BeamStop"]


class PinholeModel(AnyDevice):
    """`exitwave.devices.Pinhole`."""

    type: Literal["Pinhole"]
    holes_um: dict[str, float]


class SampleStageModel(AnyDevice):
    """`exitwave.devices.SampleStage`."""

    type: Literal["SampleStage"]
    out_axis: Literal["x", "y", "z"] = "x"
    out_distance_um: float = 200.0


class PositionCompareModel(AnyDevice):
    """`exitwave.devices.PositionCompare`."""

    type: Literal["PositionCompare"]
    settle_s: PositiveFloat = 1.0


class ZonePlateModel(AnyDevice):
    """`exitwave.devices.ZonePlate`."""

    type: Literal["ZonePlate"]
    diameter_um: PositiveFloat
    outermost_zone_nm: PositiveFloat
    mono: str
    in_position_um: float = 0.0
    out_position_um: float = 4000.0

    def references(self) -> References:
        """Monochromator."""
        return {"mono": self.mono}


class CameraModel(AnyDevice):
    """`exitwave.devices.Camera`."""

    writes_files: ClassVar[bool] = True
    type: Literal["Camera"]
    pixel_um: PositiveFloat = 6.5
    readout_s: PositiveFloat = 0.01
    attributes: dict[str, str] = Field(default_factory=dict)


class _AnyDetectorModel(AnyDevice):
    camera: str
    distance_mm: PositiveFloat
    optical_magnification: PositiveFloat = 1.0

    def references(self) -> References:
        """Camera."""
        return {"camera": self.camera}


class DetectorModel(_AnyDetectorModel):
    """`exitwave.devices.Detector`."""

    type: Literal["Detector"]


class HighResolutionDetectorModel(_AnyDetectorModel):
    """`exitwave.devices.HighResolutionDetector`."""

    type: Literal["HighResolutionDetector"]


class TelescopeModel(AnyDevice):
    """`exitwave.devices.Telescope`."""

    type: Literal["Telescope"]
    in_position_mm: float = 0.0
    out_position_mm: float = 80.0


class MicroscopeModel(AnyDevice):
    """`exitwave.devices.TransmissionXrayMicroscope`."""

    type: Literal["TransmissionXrayMicroscope"]
    mono: str
    sample: str
    zone_plates: dict[str, str] = Field(min_length=1)
    detectors: dict[str, str] = Field(min_length=1)
    keep: Literal["detector", "magnification"] = "detector"

    def references(self) -> References:
        """All the parts."""
        return {
            "mono": self.mono,
            "sample": self.sample,
            "zone_plates": self.zone_plates,
            "detectors": self.detectors,
        }


DeviceModel = Annotated[
    StorageRingModel
    | VacuumModel
    | ShutterModel
    | MirrorModel
    | MonochromatorModel
    | SlitsModel
    | IonChamberModel
    | FoilModel
    | CondenserModel
    | BeamStopModel
    | PinholeModel
    | SampleStageModel
    | PositionCompareModel
    | ZonePlateModel
    | CameraModel
    | DetectorModel
    | HighResolutionDetectorModel
    | TelescopeModel
    | MicroscopeModel
    | StemDeviceModel,
    Field(discriminator="type"),
]


class StorageModel(Strict):
    """Where data go."""

    tiled_url: str | None = None
    tiled_api_key_env: str = "TILED_API_KEY"
    frames_folder: str | None = None


class RoleModel(AnyRoles):
    """Which device plays which role in the plans of an X-ray microscope."""

    instrument: Literal["x-ray microscope"] = "x-ray microscope"
    microscope: str
    ring: str
    photon_shutter: str
    fast_shutter: str
    front_end_shutter: str
    i0: str
    i1: str
    foil: str
    condenser: str
    position_compare: str | None = None


def _kind(roles: Any) -> str:
    kind = roles.get("instrument", "x-ray microscope") if isinstance(roles, dict) else roles.instrument
    return str(kind)


Roles = Annotated[
    Annotated[RoleModel, Tag("x-ray microscope")] | Annotated[ElectronRoleModel, Tag("electron microscope")],
    Discriminator(_kind),
]


class Profile(Strict):
    """A whole profile.

    Parameters
    ----------
    name : str
        Name of the instrument.
    prefix : str
        What all process variables begin with; `--prefix` of the session goes before it.
    connection_timeout_s : float
        For all connections together when a session opens, and for a read of one signal.
    scan_md : dict
        Metadata for every run.
    """

    name: str
    title: str = ""
    prefix: str = ""
    connection_timeout_s: PositiveFloat = 10.0
    scan_md: dict[str, Any] = Field(default_factory=dict)
    storage: StorageModel = StorageModel()
    roles: Roles
    devices: dict[str, DeviceModel]

    @model_validator(mode="after")
    def _references_exist(self) -> Profile:
        for name, device in self.devices.items():
            for argument, reference in device.references().items():
                for target in reference.values() if isinstance(reference, dict) else [reference]:
                    if target not in self.devices:
                        raise ValueError(f"device {name!r}: {argument} refers to {target!r}, which is not a device")
        for role, chosen in self.roles.by_role().items():
            if chosen is not None and chosen not in self.devices:
                raise ValueError(f"role {role!r} refers to {chosen!r}, which is not a device")
        for device in self.devices.values():
            for number in device.model_dump().values():
                if isinstance(number, float) and not math.isfinite(number):
                    raise ValueError("numbers must be finite")
        return self
