"""Source and lenses."""

from __future__ import annotations

from ophyd import Component as Cpt
from ophyd import Device, EpicsSignalRO

from exitwave.devices.errors import SettingError
from exitwave.devices.stem.findings import FocusResult
from exitwave.devices.stem.setting import Setting

__all__ = ["ElectronColumn"]

_DEFOCUS_LIMIT_NM = 10000.0


class ElectronColumn(Device):
    """High voltage, beam current, probe and aberration corrector (coefficients in nm; C10 is the defocus)."""

    high_voltage = Cpt(Setting, "HighVoltage", kind="config", doc="kV")
    beam_current = Cpt(Setting, "BeamCurrent", kind="normal", doc="Into the specimen, pA")
    convergence = Cpt(Setting, "ConvergenceAngle", kind="config", doc="Semi-angle, mrad")
    source_size = Cpt(Setting, "SourceSize", kind="config", doc="FWHM of the source's image, pm")
    defocus = Cpt(Setting, "Defocus", kind="normal", doc="nm")
    c12a = Cpt(Setting, "C12A", kind="config", doc="Twofold astigmatism, nm")
    c12b = Cpt(Setting, "C12B", kind="config", doc="Twofold astigmatism, nm")
    c21a = Cpt(Setting, "C21A", kind="config", doc="Coma, nm")
    c21b = Cpt(Setting, "C21B", kind="config", doc="Coma, nm")
    c23a = Cpt(Setting, "C23A", kind="config", doc="Threefold astigmatism, nm")
    c23b = Cpt(Setting, "C23B", kind="config", doc="Threefold astigmatism, nm")
    c30 = Cpt(Setting, "C30", kind="config", doc="Spherical aberration, nm")
    c32a = Cpt(Setting, "C32A", kind="config", doc="Star aberration, nm")
    c32b = Cpt(Setting, "C32B", kind="config", doc="Star aberration, nm")
    c34a = Cpt(Setting, "C34A", kind="config", doc="Fourfold astigmatism, nm")
    c34b = Cpt(Setting, "C34B", kind="config", doc="Fourfold astigmatism, nm")
    probe_size = Cpt(EpicsSignalRO, "ProbeSize_RBV", kind="normal", doc="FWHM by these settings, pm")
    high_tension = Cpt(EpicsSignalRO, "HT_RBV", kind="normal", string=True, auto_monitor=True, doc="Off, On")
    focus_result = Cpt(FocusResult, "", kind="omitted")

    def check_defocus(self, defocus_nm: float) -> None:
        """Refuse a defocus that the lens can't give.

        Raises
        ------
        SettingError
        """
        if not abs(defocus_nm) <= _DEFOCUS_LIMIT_NM:
            raise SettingError(
                f"{self.name}.defocus: {defocus_nm:g} nm is outside [-{_DEFOCUS_LIMIT_NM:g}, {_DEFOCUS_LIMIT_NM:g}] "
                "nm; move the stage's height"
            )
