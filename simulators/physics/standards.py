"""Standards: 3d metals in their states, as oxides have them.

The figures of nickel follow NiO and LiNiO2: half height 7.2 eV and 8.7 eV above the tabulated edge (8333 eV), white
lines of 1.65 and 1.58 edge steps at 14.7 eV and 16.8 eV, with two shells of neighbours; Ni4+ continues the series, as
the edges of delithiated layered oxides do (1.5 eV to 2 eV per valence: A. N. Mansour et al., J. Electrochem. Soc. 146
(1999) 2799). The others have the same build at the usual places of their oxides' edges.
"""

from __future__ import annotations

from exitwave.simulators.physics.near_edge import Line, Shell, Standard


def _oxide(element: str, valence: int, half_height_ev: float, pre_edge: float, oxygen: float) -> Standard:
    """Return an oxide's state by the place of half height (eV from the tabulated edge) and the nearest oxygen."""
    return Standard(
        element,
        valence,
        rise_ev=half_height_ev + 0.4,
        broadening_ev=2.5,
        lines=(Line(0.65, half_height_ev + 7.5, 7.5), Line(pre_edge, half_height_ev - 9.0, 2.0)),
        shells=(Shell(0.45, oxygen - 0.65, 3.2), Shell(0.45, 1.42 * oxygen - 0.4, 0.6)),
        disorder=0.012,
    )


NICKEL: tuple[Standard, ...] = (
    Standard(
        "Ni",
        2,
        rise_ev=7.6,
        broadening_ev=2.1,
        lines=(Line(0.67, 14.4, 6.6), Line(-0.185, 38.0, 9.0), Line(0.015, 0.0, 2.0)),
        shells=(Shell(0.44, 1.39, 3.88), Shell(0.63, 2.556, 0.48)),
        disorder=0.011,
    ),
    Standard(
        "Ni",
        3,
        rise_ev=6.3,
        broadening_ev=3.4,
        lines=(Line(1.02, 16.2, 8.5), Line(-0.5, 12.6, 16.3), Line(0.022, -0.3, 2.0)),
        shells=(Shell(0.52, 1.352, 2.5), Shell(0.29, 2.436, 0.65)),
        disorder=0.015,
    ),
    Standard(
        "Ni",
        4,
        rise_ev=8.0,
        broadening_ev=3.4,
        lines=(Line(0.98, 18.0, 9.0), Line(-0.5, 14.3, 16.3), Line(0.035, 0.4, 2.0)),
        shells=(Shell(0.5, 1.28, 2.6), Shell(0.3, 2.36, 0.7)),
        disorder=0.014,
    ),
)
"""Nickel 2+, 3+ and 4+: the states that mix in a particle."""

STANDARDS: dict[str, Standard] = {
    standard.name: standard
    for standard in (
        *NICKEL,
        _oxide("Mn", 2, 6.5, 0.02, 2.22),
        _oxide("Mn", 3, 10.0, 0.04, 2.0),
        _oxide("Mn", 4, 13.0, 0.08, 1.9),
        _oxide("Fe", 2, 8.0, 0.03, 2.15),
        _oxide("Fe", 3, 11.5, 0.06, 2.0),
        _oxide("Co", 2, 9.0, 0.02, 2.13),
        _oxide("Co", 3, 11.0, 0.03, 1.92),
    )
}
"""Every standard by its name, ``Ni2+``."""
