"""X-ray lines: where they are, how strong, and the false ones that a detector adds.

Energies, branching and fluorescence yields: W. T. Elam, B. D. Ravel, J. R. Sieber, Radiat. Phys. Chem. 63, 121
(2002), by xraydb. Ionisation: H. A. Bethe's formula in the relativistic form of E. J. Williams (1933), with the
constants of C. J. Powell, Rev. Mod. Phys. 48, 33 (1976), good to some 20 % (K) and 50 % (L, M).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import xraydb

from exitwave.analysis.errors import OutOfRangeError, require_positive

__all__ = ["Family", "Line", "element_families", "escape_lines", "escape_share", "false_lines", "sum_lines"]

ELECTRON_REST_KEV = 510.99895
SI_KA_KEV = 1.740
SI_K_EDGE_KEV = 1.839
# 2 pi e^4 in barn keV^2
_BETHE_BARN_KEV2 = 6.51e4
_SHELLS: dict[str, tuple[float, float, int, str]] = {
    # Powell's b and c, electrons in the shell, family
    "K": (0.90, 0.65, 2, "K"),
    "L1": (0.75, 0.60, 2, "L"),
    "L2": (0.75, 0.60, 2, "L"),
    "L3": (0.75, 0.60, 4, "L"),
    "M3": (0.75, 0.60, 4, "M"),
    "M4": (0.75, 0.60, 4, "M"),
    "M5": (0.75, 0.60, 6, "M"),
}
_COSTER_KRONIG: dict[str, tuple[str, ...]] = {"L2": ("L1",), "L3": ("L1", "L2"), "M4": ("M3",), "M5": ("M3", "M4")}


@dataclass(frozen=True)
class Line:
    """A line in a spectrum: `weight` is its share of its family; kind says what made it."""

    name: str
    energy_kev: float
    weight: float
    element: str
    kind: Literal["line", "escape", "sum"] = "line"


@dataclass(frozen=True)
class Family:
    """Lines of one shell of one element, with fixed ratios.

    `photons_barn` is the cross-section for emitting a photon of the family, barn per atom.
    """

    element: str
    shell: str
    lines: tuple[Line, ...]
    photons_barn: float

    @property
    def name(self) -> str:
        """Such as ``Ti_K``."""
        return f"{self.element}_{self.shell}"

    @property
    def strongest(self) -> Line:
        """The line with the largest share."""
        return max(self.lines, key=lambda line: line.weight)


def _effective_kev(beam_kev: float) -> tuple[float, float]:
    """Return m v^2 / 2 in keV and beta^2."""
    gamma = 1.0 + beam_kev / ELECTRON_REST_KEV
    beta2 = 1.0 - 1.0 / gamma**2
    return 0.5 * ELECTRON_REST_KEV * beta2, beta2


def ionisation_barn(edge_kev: float, n_electrons: int, beam_kev: float, b: float = 0.90, c: float = 0.65) -> float:
    """Return the cross-section for ionising a shell, barn."""
    slow_kev, beta2 = _effective_kev(beam_kev)
    if beam_kev <= edge_kev:
        return 0.0
    bracket = math.log(c * slow_kev / edge_kev) - math.log(1.0 - beta2) - beta2
    return max(_BETHE_BARN_KEV2 * n_electrons * b / (slow_kev * edge_kev) * bracket, 0.0)


@cache
def _families(element: str, beam_kev: float) -> tuple[Family, ...]:
    edges = xraydb.xray_edges(element)
    lines = xraydb.xray_lines(element)
    vacancies: dict[str, float] = {}
    for shell, (b, c, n, _) in _SHELLS.items():
        if shell in edges and edges[shell].energy > 0:
            vacancies[shell] = ionisation_barn(edges[shell].energy / 1000.0, n, beam_kev, b, c)
    for shell, donors in _COSTER_KRONIG.items():
        for donor in donors:
            if shell in vacancies and donor in vacancies:
                vacancies[shell] += vacancies[donor] * _coster_kronig(element, donor, shell)
    found: dict[str, list[tuple[str, float, float]]] = {}
    for name, line in lines.items():
        shell = line.initial_level
        if shell not in vacancies:
            continue
        strength = vacancies[shell] * edges[shell].fyield * line.intensity
        if strength > 0.0:
            found.setdefault(_SHELLS[shell][3], []).append((name, line.energy / 1000.0, strength))
    families = []
    for shell, entries in found.items():
        total = sum(strength for _, _, strength in entries)
        members = tuple(Line(f"{element} {name}", e, s / total, element) for name, e, s in sorted(entries))
        families.append(Family(element, shell, members, total))
    return tuple(families)


def _coster_kronig(element: str, donor: str, shell: str) -> float:
    try:
        return float(xraydb.ck_probability(element, donor, shell, total=False) or 0.0)
    except (ValueError, KeyError, IndexError):
        return 0.0  # not tabulated: light elements, M shells


def element_families(
    elements: Iterable[str], *, beam_kev: float, low_kev: float = 0.1, high_kev: float = 40.0
) -> tuple[Family, ...]:
    """Return the families of lines that elements emit, those whose strongest line lies in the range.

    Parameters
    ----------
    elements : symbols
    beam_kev : float
        Energy of the electrons.
    low_kev, high_kev : float

    Raises
    ------
    OutOfRangeError
        For an unknown element.
    """
    require_positive("beam_kev", beam_kev, "keV")
    families: list[Family] = []
    for element in dict.fromkeys(elements):
        try:
            known = _families(element, float(beam_kev))
        except (ValueError, KeyError, AttributeError) as error:
            raise OutOfRangeError(f"element {element!r} is not known") from error
        families += [f for f in known if low_kev <= f.strongest.energy_kev <= high_kev]
    return tuple(families)


def _silicon_mu(energy_kev: float) -> float:
    return float(xraydb.mu_elam("Si", 1000.0 * energy_kev))


def escape_share(energy_kev: float) -> float:
    """Return the share of photons of this energy whose silicon K photon leaves a thick detector.

    S. J. B. Reed, N. G. Ware, J. Phys. E 5, 582 (1972), for normal incidence.
    """
    if energy_kev <= SI_K_EDGE_KEV:
        return 0.0
    edge = xraydb.xray_edge("Si", "K")
    share_k = 1.0 - 1.0 / edge.jump_ratio
    ratio = _silicon_mu(SI_KA_KEV) / _silicon_mu(energy_kev)
    half = 0.5 * edge.fyield * share_k * (1.0 - ratio * math.log1p(1.0 / ratio))
    return float(half / (1.0 - half))


def escape_lines(family: Family) -> tuple[Line, ...]:
    """Return the silicon escape peaks of a family, weights relative to the whole family."""
    return tuple(
        Line(f"{line.name} escape", line.energy_kev - SI_KA_KEV, line.weight * share, line.element, "escape")
        for line in family.lines
        if (share := escape_share(line.energy_kev)) > 0.0
    )


def sum_lines(families: Iterable[Family], *, least_weight: float = 0.3) -> tuple[Line, ...]:
    """Return where two strong lines pile up; `weight` is the product of their weights (twice it, if unlike)."""
    strong = [line for family in families for line in family.lines if line.weight >= least_weight]
    return tuple(
        Line(
            f"{a.name} + {b.name}",
            a.energy_kev + b.energy_kev,
            (1.0 if a is b else 2.0) * a.weight * b.weight,
            a.element,
            "sum",
        )
        for number, a in enumerate(strong)
        for b in strong[number:]
    )


def false_lines(families: Iterable[Family]) -> tuple[Line, ...]:
    """Return escape and sum peaks of families."""
    families = tuple(families)
    return (*(line for family in families for line in escape_lines(family)), *sum_lines(families))


def shape(line: Line, edges_kev: npt.NDArray[np.float64], sigma_kev: float) -> npt.NDArray[np.float64]:
    """Return the share of a line between consecutive edges (n + 1,), float64 (n,)."""
    from scipy.special import ndtr

    return np.asarray(np.diff(ndtr((edges_kev - line.energy_kev) / sigma_kev)))


def amounts(elements: Mapping[str, float] | Iterable[str], default: float) -> dict[str, float]:
    """Return atoms per element; a plain list means `default` each."""
    if isinstance(elements, Mapping):
        return {str(k): require_positive(f"amount of {k}", v, "") for k, v in elements.items()}
    return dict.fromkeys(elements, default)
