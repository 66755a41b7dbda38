"""Limits of settings as a server states them: what lies outside is clipped, and clients can know."""

from __future__ import annotations

from collections.abc import Mapping

from exitwave.simulators.records.board import Board

__all__ = ["state_limits"]


def state_limits(board: Board, limits: Mapping[str, tuple[float, float]]) -> None:
    """Give setpoints and readbacks the control limits (low, high) by name."""
    for name, (low, high) in limits.items():
        for channel in (name, f"{name}_RBV"):
            board.channels[channel].describe(
                lower_ctrl_limit=low, upper_ctrl_limit=high, lower_disp_limit=low, upper_disp_limit=high
            )
