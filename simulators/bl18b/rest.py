"""The beamline at rest: positions and switches for a world without records (tests, benchmarks, notebooks)."""

import math

from exitwave.simulators.physics import crystal

GAIN = "16-bit (low noise & high well capacity)"


def focus_mm(focal_mm: float, detector_mm: float = 1300.0) -> float:
    """Object distance that makes an image at a detector's distance from the object."""
    return 0.5 * (detector_mm - math.sqrt(detector_mm**2 - 4.0 * focal_mm * detector_mm))


class Rest:
    """Inputs that stand still, shutters open, all at the nominal places for an energy and zone plate A.

    Change ``axes`` and ``switches`` at will; keywords set axes, ``SAM_X=5.0`` for ``SAM:X``.
    """

    def __init__(self, energy_kev: float = 8.0, **axes: float) -> None:
        bragg = crystal.bragg_from_energy_deg(energy_kev)
        self.axes: dict[str, float] = {
            "CM:Pitch": 4.4,
            "TM:Pitch": 4.4,
            "DCM:Bragg": bragg,
            "DCM:Gap": 25.0 / (2.0 * math.cos(math.radians(bragg))),
            "SSA:XP": 100.0,
            "SSA:XN": -100.0,
            "SSA:YP": 300.0,
            "SSA:YN": -300.0,
            "ZPB:X": 4000.0,
            "ZPA:Z": focus_mm(20.164 * energy_kev / 8.0),
            "ZPB:Z": focus_mm(38.717 * energy_kev / 8.0),
            "DET:Z": 600.0,
            "TEL:X": 80.0,
            **{name.replace("_", ":"): value for name, value in axes.items()},
        }
        self.switches: dict[str, float | str | bool] = {
            "FES": True,
            "PSH": True,
            "FSH": True,
            "DET:Objective": "10x",
            "FOIL": "None",
            "COND:Shaker": True,
            "COND:Shaker:Amplitude": 10.0,
            "SR:TopUp": True,
        }

    def axis(self, name: str, t: float) -> float:
        """Return the position that was set (0 if none was)."""
        return self.axes.get(name, 0.0)

    def settled_s(self, name: str, t: float) -> float:
        """Return the beginning: nothing moves."""
        return 0.0

    def switch(self, name: str, t: float) -> float | str | bool:
        """Return the state that was set."""
        return self.switches[name]
