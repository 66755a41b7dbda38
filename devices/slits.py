"""Slits: four blades, and gap and centre computed from them."""

from __future__ import annotations

from typing import Any

from ophyd import Component as Cpt
from ophyd import PseudoPositioner, PseudoSingle
from ophyd.pseudopos import pseudo_position_argument, real_position_argument

from exitwave.devices.motor import Motor, OrderedMoves

__all__ = ["Slits"]


class Slits(OrderedMoves, PseudoPositioner):
    """Four-blade slits; blade positions, gaps and centres in micrometres.

    ``h_gap`` and ``v_gap`` are distances between the blades, ``h_centre`` and ``v_centre`` the middles.
    """

    h_gap = Cpt(PseudoSingle, egu="um", limits=(0, 4000), kind="hinted")
    v_gap = Cpt(PseudoSingle, egu="um", limits=(0, 4000), kind="hinted")
    h_centre = Cpt(PseudoSingle, egu="um", limits=(-2000, 2000))
    v_centre = Cpt(PseudoSingle, egu="um", limits=(-2000, 2000))

    x_plus = Cpt(Motor, "XP")
    x_minus = Cpt(Motor, "XN")
    y_plus = Cpt(Motor, "YP")
    y_minus = Cpt(Motor, "YN")

    @pseudo_position_argument
    def forward(self, pseudo_pos: Any) -> Any:
        """Blades from gaps and centres."""
        return self.RealPosition(
            x_plus=pseudo_pos.h_centre + pseudo_pos.h_gap / 2,
            x_minus=pseudo_pos.h_centre - pseudo_pos.h_gap / 2,
            y_plus=pseudo_pos.v_centre + pseudo_pos.v_gap / 2,
            y_minus=pseudo_pos.v_centre - pseudo_pos.v_gap / 2,
        )

    @real_position_argument
    def inverse(self, real_pos: Any) -> Any:
        """Gaps and centres from blades."""
        return self.PseudoPosition(
            h_gap=real_pos.x_plus - real_pos.x_minus,
            v_gap=real_pos.y_plus - real_pos.y_minus,
            h_centre=(real_pos.x_plus + real_pos.x_minus) / 2,
            v_centre=(real_pos.y_plus + real_pos.y_minus) / 2,
        )
