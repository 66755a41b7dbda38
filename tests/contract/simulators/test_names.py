"""Every PV that ophyd's areaDetector classes of any version ask for is in the tables."""

from __future__ import annotations

import pytest
from ophyd import DynamicDeviceComponent
from ophyd.areadetector import cam, plugins
from ophyd.areadetector.base import EpicsSignalWithRBV
from ophyd.areadetector.paths import EpicsPathSignal

from exitwave.simulators.records.board import Board
from exitwave.simulators.records.detector_tables import camera_rows, hdf5_rows

CAMERAS = [cam.CamBase, cam.SimDetectorCam, cam.AndorDetectorCam, cam.Andor3DetectorCam]
PLUGINS = [getattr(plugins, name) for name in dir(plugins) if name.startswith("HDF5Plugin")]


def asked_for(device_class):
    for attribute in device_class.component_names:
        component = getattr(device_class, attribute)
        if isinstance(component, DynamicDeviceComponent):
            signals = [(row[0], row[1]) for row in component.defn.values()]
        else:
            signals = [(component.cls, component.suffix)]
        for signal_class, suffix in signals:
            if suffix is not None:
                yield suffix
                if issubclass(signal_class, EpicsSignalWithRBV | EpicsPathSignal):
                    yield f"{suffix}_RBV"


@pytest.mark.parametrize("device_class", CAMERAS, ids=lambda one: one.__name__)
def test_camera(device_class):
    rows = camera_rows("CAM", (8, 8), data_type="UInt16", manufacturer="", model="", exposure_s=0.1)
    assert sorted(set(asked_for(device_class)) - Board(rows).channels.keys()) == []


@pytest.mark.parametrize("device_class", PLUGINS, ids=lambda one: one.__name__)
def test_file_plugin(device_class):
    rows = hdf5_rows("HDF", "CAM", (8, 8), data_type="UInt16")
    assert sorted(set(asked_for(device_class)) - Board(rows).channels.keys()) == []
