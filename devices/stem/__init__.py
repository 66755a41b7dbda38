"""Ophyd classes of a scanning transmission electron microscope with X-ray detectors."""

from exitwave.devices.stem.beam import BeamBlanker, ColumnVacuum, DoseMeter
from exitwave.devices.stem.column import ElectronColumn
from exitwave.devices.stem.eds import EdsDetector, FourSegmentEds, TwoSegmentEds
from exitwave.devices.stem.errors import BeamError, DoseLimitError, EventFileError, ScanError
from exitwave.devices.stem.event_writer import EventCapture
from exitwave.devices.stem.goniometer import Goniometer
from exitwave.devices.stem.haadf import HaadfCamera
from exitwave.devices.stem.scan import ScanGenerator, ScanSettings

__all__ = [
    "BeamBlanker",
    "BeamError",
    "ColumnVacuum",
    "DoseLimitError",
    "DoseMeter",
    "EdsDetector",
    "ElectronColumn",
    "EventCapture",
    "EventFileError",
    "FourSegmentEds",
    "Goniometer",
    "HaadfCamera",
    "ScanError",
    "ScanGenerator",
    "ScanSettings",
    "TwoSegmentEds",
]
