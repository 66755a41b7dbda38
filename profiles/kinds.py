"""Kinds of instruments: what plans take, and which plans a session offers."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exitwave.plans import ElectronMicroscope, Instrument
    from exitwave.profiles.builder import Beamline
    from exitwave.profiles.storage import DataFolder

__all__ = ["analyses", "make_instrument", "plan_groups", "single_stubs", "stubs_as_they_are"]


def make_instrument(beamline: Beamline, data: DataFolder) -> Instrument | ElectronMicroscope:
    """Return the devices by their role, with what knows the runs of this data folder."""
    from exitwave import plans
    from exitwave.profiles.storage import TomogramFinder, XanesFinder
    from exitwave.profiles.storage.tilt_series import TiltSeriesFinder

    roles = {role: beamline.role(role) for role in beamline.profile.roles.by_role()}
    if beamline.profile.roles.instrument == "electron microscope":
        return plans.ElectronMicroscope(**roles, series=TiltSeriesFinder(data))
    return plans.Instrument(**roles, tomograms=TomogramFinder(data), spectra=XanesFinder(data))


def plan_groups(instrument: Instrument | ElectronMicroscope) -> dict[str, ModuleType]:
    """Return the modules of plans that a session offers, by the name it gives them."""
    from exitwave import plans

    if isinstance(instrument, plans.ElectronMicroscope):
        return {"anxri": plans.anxri, "stem": plans.stem}
    return {"txm": plans.txm, "ct": plans.ct, "xanes": plans.xanes, "alignment": plans.alignment}


def single_stubs(instrument: Instrument | ElectronMicroscope) -> list[Callable[..., Any]]:
    """Return the stubs that a session offers by their own names."""
    from exitwave import plans

    if isinstance(instrument, plans.ElectronMicroscope):
        return []
    return [plans.stubs.set_energy, plans.stubs.select_zone_plate]


def stubs_as_they_are(instrument: Instrument | ElectronMicroscope) -> dict[str, Callable[..., Any]]:
    """Return the stubs that say themselves which device they are about: ``RE(set_region(hr_camera, ...))``."""
    from exitwave import plans

    if isinstance(instrument, plans.ElectronMicroscope):
        return {}
    stubs = plans.stubs
    return {
        stub.__name__: stub for stub in (stubs.set_region, stubs.set_binning, stubs.open_shutter, stubs.close_shutter)
    }


def analyses(instrument: Instrument | ElectronMicroscope) -> dict[str, Callable[..., Any]]:
    """Return what a session offers for looking at its runs, beside what opens them."""
    from exitwave import plans

    if isinstance(instrument, plans.ElectronMicroscope):
        return {}
    from exitwave.profiles.xanes_maps import edge_map_of

    return {"edge_map_of": edge_map_of}
