"""Storage ring, vacuum and valves: what the beamline is told by the machine."""

from __future__ import annotations

from ophyd import Component as Cpt
from ophyd import Device, EpicsSignal, EpicsSignalRO

__all__ = ["StorageRing", "Vacuum"]


class StorageRing(Device):
    """Storage ring as the beamline sees it."""

    current = Cpt(EpicsSignalRO, "Current", kind="hinted", auto_monitor=True, doc="Stored current, mA")
    beam_available = Cpt(
        EpicsSignalRO,
        "BeamAvailable",
        kind="normal",
        auto_monitor=True,
        string=True,
        doc="Yes when light can be had",
    )
    lifetime = Cpt(EpicsSignalRO, "Lifetime", kind="config", auto_monitor=True, doc="Lifetime, h")
    energy = Cpt(EpicsSignalRO, "Energy", kind="config", auto_monitor=True, doc="Electron energy, GeV")
    top_up = Cpt(EpicsSignal, "TopUp", kind="config", string=True, doc="Top-up injection, Off or On")


class Vacuum(Device):
    """Pressures and valves along the beamline, read only."""

    front_end = Cpt(EpicsSignalRO, "FE:Pressure", doc="Front end, mbar")
    mono = Cpt(EpicsSignalRO, "Mono:Pressure", doc="Monochromator, mbar")
    tube = Cpt(EpicsSignalRO, "Tube:Pressure", doc="Flight tube between zone plate and detector, mbar")
    valve_1 = Cpt(EpicsSignalRO, "V1:Status", string=True, kind="config", doc="Valve upstream of the mirror")
    valve_2 = Cpt(EpicsSignalRO, "V2:Status", string=True, kind="config", doc="Valve before the monochromator")
    valve_3 = Cpt(EpicsSignalRO, "V3:Status", string=True, kind="config", doc="Valve to the experimental hutch")
