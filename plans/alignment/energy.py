"""Energy of the monochromator, by the absorption edge of a foil."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.utils import MsgGenerator

from exitwave.analysis import fitting, optics
from exitwave.plans.alignment._peak import record_peak
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import PlanInputError, edge_energies
from exitwave.plans.runs import run_with_beam, start_metadata

__all__ = ["energy_calibration"]


def energy_calibration(
    instrument: Instrument,
    element: str = "Ni",
    *,
    energies_kev: Sequence[float] | None = None,
    integration_s: float = 0.5,
    apply: bool = True,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Find the absorption edge of a foil and correct the offset of the Bragg angle.

    Both ion chambers are read over the edge with the foil in; the edge in ln(I0/I1) is compared with the
    tabulated energy, and the difference, as an angle, goes into the user offset of the Bragg motor record.

    Streams: ``primary`` (energy, Bragg angle, both currents), ``edge`` (energy found, uncertainty, offset).

    Parameters
    ----------
    instrument : Instrument
    element : str
        Foil.
    energies_kev : sequence of float, optional
        Energies to visit, rising; a fine list around the tabulated edge without it.
    integration_s : float
        Integration of each point.
    apply : bool
        Write the offset; otherwise only report it.

    Raises
    ------
    FitError
        No edge in the range.
    """
    mono, foil = instrument.microscope.mono, instrument.foil
    i0, i1 = instrument.i0, instrument.i1
    edge_kev = optics.edge_energy_kev(element)
    energies = list(energies_kev) if energies_kev is not None else edge_energies(edge_kev)
    if len(energies) < 20 or sorted(energies) != energies:
        raise PlanInputError(f"energies_kev: {len(energies)} energies; give at least 20, rising")
    for energy_kev in energies:
        mono.check_energy(energy_kev)
    result = instrument.microscope.peak_result
    start_kev = yield from bps.rd(mono.energy)
    offset_change_deg = 0.0

    def body() -> MsgGenerator[None]:
        nonlocal offset_change_deg
        yield from bps.mv(foil, element)
        # One step below the range first: the screw has play, and all points are to be approached from one side.
        yield from bps.mv(mono.energy, energies[0] - 0.01)
        ratios, angles = [], []
        for energy_kev in energies:
            yield from bps.checkpoint()
            yield from bps.mv(mono.energy, energy_kev)
            yield from bps.trigger_and_read([i0, i1, mono], name="primary")
            current_0 = yield from bps.rd(i0.current, default_value=1.0)
            current_1 = yield from bps.rd(i1.current, default_value=1.0)
            ratios.append(float(fitting.absorbance([current_0], [current_1])[0]))
            angles.append((yield from bps.rd(mono.bragg, default_value=optics.bragg_angle_deg(energy_kev))))
        visited_kev = np.array([optics.bragg_energy_kev(angle) for angle in angles])
        edge = fitting.edge_by_derivative(visited_kev, ratios)
        offset_change_deg = optics.bragg_angle_deg(edge_kev) - optics.bragg_angle_deg(edge.position)
        yield from record_peak(result, edge.position, edge.position_sd, offset_change_deg, "edge")
        if apply:
            offset = yield from bps.rd(mono.bragg.user_offset, default_value=0.0)
            yield from bps.mv(mono.bragg.user_offset, offset + offset_change_deg)

    def go() -> MsgGenerator[None]:
        yield from bps.mv(foil, "None")
        yield from bps.mv(mono.energy, start_kev)

    yield from bps.mv(i0.integration_time, integration_s, i1.integration_time, integration_s)
    metadata = start_metadata(
        instrument,
        "energy_calibration",
        {"element": element, "integration_s": integration_s, "apply": apply},
        technique="X-ray absorption spectroscopy",
        detectors=[i0, i1],
        motors=[mono.energy],
        num_points=len(energies),
        hints={"dimensions": [([mono.energy.name], "primary")]},
        md={"edge_kev": edge_kev, **(md or {})},
    )
    return (yield from run_with_beam(instrument, body, metadata, stage=[i0, i1], cleanup=go))
