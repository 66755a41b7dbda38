"""Specimens of the published measurement, and its energy windows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from exitwave.analysis.columns import Column
from exitwave.analysis.eds import EnergyWindow

__all__ = ["E1", "E2", "SPECIMENS", "Specimen"]

E1, E2 = EnergyWindow(3.53, 4.29, "E1"), EnergyWindow(5.24, 6.00, "E2")


@dataclass(frozen=True)
class Specimen:
    """What is known of a specimen before it is looked at.

    Attributes
    ----------
    profile : str
        Microscope of the published measurement.
    elements : mapping of str to float
        Atoms per formula unit.
    field_nm, size : float, int
        Of the scan.
    columns : int
        How many are compared, those nearest to the middle.
    spacing_pm : float
        Between nearest columns.
    area_pm2 : float
        Of the cell that holds one column.
    kinds : mapping of int to Column
        0 and 1 are compared; 2 stands in the middle of the cells and takes part.
    names : tuple of str
        Of kinds 0 and 1; empty where there is one kind.
    lines : tuple of EnergyWindow
        Of which maps are shown.
    exposure_s : mapping of str to float
        Dwell per pixel, all frames, for the published counts with physical yields at 100 pA; by mode.
    """

    profile: str
    elements: dict[str, float]
    field_nm: float
    size: int
    columns: int
    spacing_pm: float
    area_pm2: float
    kinds: dict[int, Column]
    names: tuple[str, ...] = ()
    lines: tuple[EnergyWindow, ...] = ()
    exposure_s: dict[str, float] = field(default_factory=dict)


SPECIMENS: dict[str, Specimen] = {
    "SrTiO3": Specimen(
        "titan_g2",
        {"Sr": 1.0, "Ti": 1.0, "O": 3.0},
        3.6,
        106,
        128,
        276.1,
        0.5 * 390.5**2,
        {
            0: Column.of("Sr", 0.62),
            1: Column((("Ti", 1.0, 0.44), ("O", 1.0, 0.73))),
            2: Column.of("O", 0.73),
        },
        ("Sr", "Ti/O"),
        (EnergyWindow(1.65, 2.0, "Sr L"), EnergyWindow(4.35, 4.7, "Ti Ka")),
        {"first-principles": 0.9, "phenomenological": 2.9, "artefact": 0.9},
    ),
    "NPG-Pd-Pt": Specimen(
        "arm300f",
        {"Au": 0.5, "Pd": 0.2, "Pt": 0.3},
        2.0,
        72,
        20,
        246.2,
        0.5 * 402.0**2 / math.sqrt(2.0),
        {0: Column((("Au", 0.5, 0.61), ("Pd", 0.2, 0.45), ("Pt", 0.3, 0.32)))},
        (),
        (EnergyWindow(2.0, 2.3, "Au and Pt M"), EnergyWindow(2.7, 3.0, "Pd L")),
        {"first-principles": 0.17, "phenomenological": 0.23, "artefact": 0.2},
    ),
}
