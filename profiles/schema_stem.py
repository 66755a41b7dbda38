"""What a profile may say of an electron microscope."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from exitwave.profiles.schema_base import AnyDevice, AnyRoles

__all__ = ["ElectronRoleModel", "StemDeviceModel"]


class _StemDevice(AnyDevice):
    package: ClassVar[str] = "exitwave.devices.stem"


class ElectronColumnModel(_StemDevice):
    """`exitwave.devices.stem.ElectronColumn`."""

    type: Literal["ElectronColumn"]


class BeamBlankerModel(_StemDevice):
    """`exitwave.devices.stem.BeamBlanker`."""

    type: Literal["BeamBlanker"]


class ColumnVacuumModel(_StemDevice):
    """`exitwave.devices.stem.ColumnVacuum`."""

    type: Literal["ColumnVacuum"]
    gun_limit_mbar: PositiveFloat = 1e-9
    column_limit_mbar: PositiveFloat = 1e-6


class GoniometerModel(_StemDevice):
    """`exitwave.devices.stem.Goniometer`."""

    type: Literal["Goniometer"]


class DoseMeterModel(_StemDevice):
    """`exitwave.devices.stem.DoseMeter`."""

    type: Literal["DoseMeter"]


class ScanGeneratorModel(_StemDevice):
    """`exitwave.devices.stem.ScanGenerator`."""

    type: Literal["ScanGenerator"]
    step_pm: PositiveFloat = 0.8
    largest_field_nm: PositiveFloat = 50.0
    shortest_dwell_us: PositiveFloat = 0.1
    largest_shift_nm: PositiveFloat = 1000.0
    longest_dwell_us: PositiveFloat = 1e7
    longest_flyback_us: PositiveFloat = 1e6
    most_frames: PositiveInt = 1_000_000


class HaadfCameraModel(_StemDevice):
    """`exitwave.devices.stem.HaadfCamera`."""

    writes_files: ClassVar[bool] = True
    type: Literal["HaadfCamera"]
    attributes: dict[str, str] = Field(default_factory=dict)


class _EdsModel(_StemDevice):
    writes_files: ClassVar[bool] = True
    resolution_ev: PositiveFloat = 130.0
    expected_rate_cps: PositiveFloat = 1e5
    own_lines: tuple[str, ...] = ()
    grid_lines: tuple[str, ...] = ("Cu",)


class FourSegmentEdsModel(_EdsModel):
    """`exitwave.devices.stem.FourSegmentEds`."""

    type: Literal["FourSegmentEds"]


class TwoSegmentEdsModel(_EdsModel):
    """`exitwave.devices.stem.TwoSegmentEds`."""

    type: Literal["TwoSegmentEds"]


StemDeviceModel = (
    ElectronColumnModel
    | BeamBlankerModel
    | ColumnVacuumModel
    | GoniometerModel
    | DoseMeterModel
    | ScanGeneratorModel
    | HaadfCameraModel
    | FourSegmentEdsModel
    | TwoSegmentEdsModel
)


class ElectronRoleModel(AnyRoles):
    """Which device plays which role in the plans of an electron microscope."""

    instrument: Literal["electron microscope"]
    column: str
    blanker: str
    gun_valve: str
    column_valve: str
    vacuum: str
    goniometer: str
    scan: str
    dose: str
    haadf: str
    eds: str
