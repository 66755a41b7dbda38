"""Specimens made of atoms, held as columns along the beam: evenly spaced atoms of one kind on a straight line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exitwave.simulators.physics.materials import Material

__all__ = ["SPECIMENS", "Columns", "Crystal", "Kind", "UnknownCrystalError", "crystal"]

Values = npt.NDArray[np.float64]

HALF_WIDTH_NM = 40.0


class UnknownCrystalError(ValueError):
    """No specimen of this name."""


@dataclass(frozen=True)
class Kind:
    """Atoms that are alike.

    Attributes
    ----------
    element : str
        Symbol.
    site : str
        Columns of one site look alike: "Sr", "Ti/O", "O", "M".
    debye_waller_pm2 : float
        B = 8 pi^2 <u^2>, pm^2.
    """

    element: str
    site: str
    debye_waller_pm2: float


@dataclass(frozen=True)
class Columns:
    """Columns of one kind of atom; arrays (n,), nm.

    Attributes
    ----------
    x, y : ndarray
        Of the column at z = 0.
    bottom, top : ndarray
        First and last atom along the beam.
    atoms : ndarray of int32
        How many.
    share : ndarray
        Part of one column of the site that each of its atoms is: 1 over the column's atoms of every kind.
    """

    kind: Kind
    x: Values
    y: Values
    bottom: Values
    top: Values
    atoms: npt.NDArray[np.int32]
    share: Values

    def near(self, x_nm: float, y_nm: float, half_nm: float) -> Columns:
        """Return those within a square."""
        inside = (np.abs(self.x - x_nm) <= half_nm) & (np.abs(self.y - y_nm) <= half_nm) & (self.atoms > 0)
        parts = (self.x, self.y, self.bottom, self.top, self.atoms, self.share)
        return Columns(self.kind, *(np.ascontiguousarray(part[inside]) for part in parts))


@dataclass(frozen=True)
class Crystal:
    """A specimen.

    Attributes
    ----------
    name : str
        Of the specimen.
    columns : sequence of Columns
        By kind.
    material : Material
        For absorption.
    """

    name: str
    columns: Sequence[Columns]
    material: Material

    def thickness_nm(self, x_nm: float, y_nm: float, half_nm: float) -> float:
        """Mean length of the columns near a place (of the atoms that are there; 0 if none are)."""
        lengths = [part.top - part.bottom for part in (c.near(x_nm, y_nm, half_nm) for c in self.columns)]
        joined = np.concatenate(lengths)
        return float(joined.mean()) if joined.size else 0.0


def _grid(spacing_nm: float, half_nm: float) -> tuple[Values, Values]:
    n = int(half_nm / spacing_nm)
    steps = np.arange(-n, n + 1) * spacing_nm
    x, y = np.meshgrid(steps, steps)
    return x.ravel(), y.ravel()


def _foil(kind: Kind, x: Values, y: Values, spacing_nm: float, thickness_nm: Values, partners: int = 1) -> Columns:
    atoms = np.maximum(np.round(thickness_nm / spacing_nm), 0).astype(np.int32)
    half = 0.5 * np.maximum(atoms - 1, 0) * spacing_nm
    share = 1.0 / np.maximum(atoms * partners, 1)
    return Columns(kind, x, y, -half, half, atoms, share)


def strontium_titanate(thickness_nm: float = 30.0) -> Crystal:
    """SrTiO3 along [001], even thickness; a = 0.3905 nm.

    B factors: Y. A. Abramov et al., Acta Cryst. B 51 (1995) 942, at room temperature.
    """
    a = 0.3905
    x, y = _grid(a, HALF_WIDTH_NM)
    even = np.full(x.size, thickness_nm)
    half = a / 2.0
    columns = (
        _foil(Kind("Sr", "Sr", 6200.0), x, y, a, even),
        _foil(Kind("Ti", "Ti/O", 4400.0), x + half, y + half, a, even, 2),
        _foil(Kind("O", "Ti/O", 7300.0), x + half, y + half, a, even, 2),
        _foil(Kind("O", "O", 7300.0), np.r_[x + half, x], np.r_[y, y + half], a, np.r_[even, even]),
    )
    return Crystal("SrTiO3", columns, Material("SrTiO3", 5.117))


def _fcc_110(a_nm: float, half_nm: float) -> tuple[Values, Values, float]:
    """Columns of an fcc crystal along [110]: a centred rectangle of a x a / sqrt(2); spacing along it a / sqrt(2)."""
    wide, high = a_nm, a_nm / math.sqrt(2.0)
    nx, ny = int(half_nm / wide), int(half_nm / high)
    x, y = np.meshgrid(np.arange(-nx, nx + 1) * wide, np.arange(-ny, ny + 1) * high)
    x, y = x.ravel(), y.ravel()
    return np.r_[x, x + wide / 2], np.r_[y, y + high / 2], high


def _ligament(x: Values, y: Values, thickness_nm: float, seed: int) -> Values:
    """Thickness of a nanoporous ligament: smooth, uneven, with pores (where it is 0) between."""
    rng = np.random.default_rng(seed)
    field = np.zeros(x.size)
    for _ in range(12):
        period = rng.uniform(12.0, 30.0)
        angle, phase = rng.uniform(0.0, 2.0 * math.pi, 2)
        field += np.cos(2.0 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / period + phase) / 12**0.5
    # Full at the origin, where the goniometer's zero stands; a quarter of the area are pores.
    field += (1.2 - field[np.argmin(np.hypot(x, y))]) * np.exp(-(x**2 + y**2) / (2.0 * 8.0**2))
    return thickness_nm * np.clip(field + 0.5, 0.0, 1.6) / 1.6


def _alloy(
    name: str, parts: dict[str, float], a_nm: float, density: float, thickness_nm: float, b_pm2: dict[str, float]
) -> Crystal:
    x, y, spacing = _fcc_110(a_nm, HALF_WIDTH_NM)
    total = np.round(_ligament(x, y, thickness_nm, 11) / spacing).astype(np.int32)
    rng = np.random.default_rng(12)
    counts = rng.multinomial(total, list(parts.values()))
    half = 0.5 * np.maximum(total - 1, 0) * spacing
    share = 1.0 / np.maximum(total, 1)
    columns = tuple(
        Columns(Kind(element, "M", b_pm2[element]), x, y, -half, half, counts[:, i].astype(np.int32), share)
        for i, element in enumerate(parts)
    )
    formula = "".join(f"{element}{part:g}" for element, part in parts.items())
    return Crystal(name, columns, Material(formula, density))


def nanoporous_gold(thickness_nm: float = 25.0) -> Crystal:
    """Nanoporous gold along [110], uneven thickness; a = 0.4078 nm."""
    return _alloy("NPG", {"Au": 1.0}, 0.4078, 19.3, thickness_nm, {"Au": 6100.0})


def nanoporous_alloy(thickness_nm: float = 25.0) -> Crystal:
    """Nanoporous gold coated with Pd and Pt, taken as a random fcc alloy along [110], uneven thickness."""
    b_pm2 = {"Au": 6100.0, "Pd": 4500.0, "Pt": 3200.0}
    return _alloy("NPG-Pd-Pt", {"Au": 0.5, "Pd": 0.2, "Pt": 0.3}, 0.402, 18.0, thickness_nm, b_pm2)


def platinum_particle(diameter_nm: float = 8.0, strain: float = 0.0) -> Crystal:
    """Return a sphere of platinum along [110], a = 0.39236 nm.

    ``strain`` is the radial expansion at its surface, growing with the square of the distance from the axis: the
    displacement field that a relaxed shell leaves, u = strain * r * (r / R)^2.
    """
    x, y, spacing = _fcc_110(0.39236, diameter_nm)
    r2 = (x**2 + y**2) / (0.5 * diameter_nm) ** 2
    thickness = diameter_nm * np.sqrt(np.clip(1.0 - r2, 0.0, None))
    grown = 1.0 + strain * r2
    column = _foil(Kind("Pt", "M", 3200.0), x * grown, y * grown, spacing, np.where(r2 < 1.0, thickness + spacing, 0.0))
    name = "Pt-particle-strained" if strain else "Pt-particle"
    return Crystal(name, (column,), Material("Pt", 21.45))


SPECIMENS: tuple[str, ...] = ("SrTiO3", "NPG-Pd-Pt", "NPG", "Pt-particle", "Pt-particle-strained")


def crystal(name: str) -> Crystal:
    """Return the specimen of a name of `SPECIMENS`.

    Raises
    ------
    UnknownCrystalError
        For any other name.
    """
    if name == "SrTiO3":
        return strontium_titanate()
    if name == "NPG-Pd-Pt":
        return nanoporous_alloy()
    if name == "NPG":
        return nanoporous_gold()
    if name in ("Pt-particle", "Pt-particle-strained"):
        return platinum_particle(strain=0.03 if name.endswith("strained") else 0.0)
    raise UnknownCrystalError(f"specimen {name!r} is unknown; use one of {', '.join(SPECIMENS)}")
