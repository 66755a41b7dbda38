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

    def near(self, x_nm: float, y_nm: float, half_nm: float, period_nm: tuple[float, float] | None = None) -> Columns:
        """Return those within a square, relative to its middle; a specimen that has a period repeats itself."""
        x, y = self.x - x_nm, self.y - y_nm
        if period_nm is not None:
            x -= np.round(x / period_nm[0]) * period_nm[0]
            y -= np.round(y / period_nm[1]) * period_nm[1]
        inside = (np.abs(x) <= half_nm) & (np.abs(y) <= half_nm) & (self.atoms > 0)
        return Columns(
            self.kind,
            x[inside],
            y[inside],
            self.bottom[inside],
            self.top[inside],
            self.atoms[inside],
            self.share[inside],
        )


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
    period_nm : tuple of float, optional
        It repeats itself with (x, y); a field of view is smaller than that.
    """

    name: str
    columns: Sequence[Columns]
    material: Material
    period_nm: tuple[float, float] | None = None

    def near(self, x_nm: float, y_nm: float, half_nm: float) -> list[Columns]:
        """Return the columns within a square, by kind."""
        return [part.near(x_nm, y_nm, half_nm, self.period_nm) for part in self.columns]

    def thickness_nm(self, x_nm: float, y_nm: float, half_nm: float) -> float:
        """Mean length of the columns near a place (of the atoms that are there; 0 if none are)."""
        lengths = [part.top - part.bottom for part in self.near(x_nm, y_nm, half_nm)]
        joined = np.concatenate(lengths)
        return float(joined.mean()) if joined.size else 0.0


def _grid(wide_nm: float, high_nm: float, half_nm: float) -> tuple[Values, Values, tuple[float, float]]:
    """Points of a rectangular lattice over a whole number of cells, and the extent of these."""
    nx, ny = int(half_nm / wide_nm), int(half_nm / high_nm)
    x, y = np.meshgrid(np.arange(-nx, nx) * wide_nm, np.arange(-ny, ny) * high_nm)
    return x.ravel(), y.ravel(), (2 * nx * wide_nm, 2 * ny * high_nm)


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
    x, y, period = _grid(a, a, HALF_WIDTH_NM)
    even = np.full(x.size, thickness_nm)
    half = a / 2.0
    columns = (
        _foil(Kind("Sr", "Sr", 6200.0), x, y, a, even),
        _foil(Kind("Ti", "Ti/O", 4400.0), x + half, y + half, a, even, 2),
        _foil(Kind("O", "Ti/O", 7300.0), x + half, y + half, a, even, 2),
        _foil(Kind("O", "O", 7300.0), np.r_[x + half, x], np.r_[y, y + half], a, np.r_[even, even]),
    )
    return Crystal("SrTiO3", columns, Material("SrTiO3", 5.117), period)


def _fcc_110(a_nm: float, half_nm: float) -> tuple[Values, Values, float, tuple[float, float]]:
    """Columns of an fcc crystal along [110]: a centred rectangle of a x a / sqrt(2); spacing along it a / sqrt(2)."""
    high = a_nm / math.sqrt(2.0)
    x, y, period = _grid(a_nm, high, half_nm)
    return np.r_[x, x + a_nm / 2], np.r_[y, y + high / 2], high, period


def _ligament(x: Values, y: Values, period: tuple[float, float], thickness_nm: float, seed: int) -> Values:
    """Thickness of a nanoporous ligament: smooth, uneven, with pores (where it is 0) between."""
    rng = np.random.default_rng(seed)
    field = np.zeros(x.size)
    for _ in range(12):
        p, q = (rng.choice([-1, 1], 2) * rng.integers(2, 6, 2)).tolist()
        wave = 2.0 * math.pi * (p * x / period[0] + q * y / period[1])
        field += np.cos(wave + rng.uniform(0.0, 2.0 * math.pi)) / 6**0.5
    # Full at the origin, where the goniometer's zero stands.
    field += (1.0 - field[np.argmin(np.hypot(x, y))]) * np.exp(-(x**2 + y**2) / (2.0 * 8.0**2))
    return thickness_nm * np.clip(field + 0.5, 0.0, 1.5) / 1.5


def _alloy(
    name: str, parts: dict[str, float], a_nm: float, density: float, thickness_nm: float, b_pm2: dict[str, float]
) -> Crystal:
    x, y, spacing, period = _fcc_110(a_nm, HALF_WIDTH_NM)
    total = np.round(_ligament(x, y, period, thickness_nm, 11) / spacing).astype(np.int32)
    rng = np.random.default_rng(12)
    counts = rng.multinomial(total, list(parts.values()))
    half = 0.5 * np.maximum(total - 1, 0) * spacing
    share = 1.0 / np.maximum(total, 1)
    columns = tuple(
        Columns(Kind(element, "M", b_pm2[element]), x, y, -half, half, counts[:, i].astype(np.int32), share)
        for i, element in enumerate(parts)
    )
    formula = "".join(f"{element}{part:g}" for element, part in parts.items())
    return Crystal(name, columns, Material(formula, density), period)


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
    x, y, spacing, _ = _fcc_110(0.39236, diameter_nm)
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
