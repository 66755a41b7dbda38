"""Spectrum of the whole beam: two ion chambers, step by step or in one sweep of the monochromator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator

from exitwave.analysis import fitting, optics
from exitwave.devices import SettingError
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import PlanInputError, require_finite
from exitwave.plans.pure.xanes import EnergySpec, choose_energies, refine
from exitwave.plans.runs import run_with_beam, start_metadata
from exitwave.plans.xanes._moves import REVERSAL_EV
from exitwave.plans.xanes.feedback import Feedback, feed_back
from exitwave.plans.xanes.imaging import Adaptive

__all__ = ["point"]

READ_S = 0.05


def point(
    instrument: Instrument,
    energies: EnergySpec = 101,
    element: str | None = "Ni",
    *,
    edge: str = "K",
    integration_s: float = 0.5,
    foil: str | None = None,
    mode: Literal["step", "continuous"] = "step",
    feedback: Feedback | None = None,
    adaptive: Adaptive | None = None,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Measure ln(I0/I1) of what is between the ion chambers, over energies.

    Streams: ``primary`` (energy in the middle of the integration, ln(I0/I1), both chambers, Bragg angle).

    Parameters
    ----------
    instrument : Instrument
    energies, element, edge
        As for `exitwave.plans.xanes.imaging`; the list's exposures are integration times where it has some.
    integration_s : float
        Where it has none; in a sweep of every reading.
    foil : str, optional
        Put this foil in for the scan.
    mode : {"step", "continuous"}
        At rest at each energy; or from the first energy to the last at a constant velocity of the Bragg angle, such
        that there are about as many readings as energies, and as fast as the ion chambers are read.
    feedback : Feedback, optional
        On the second crystal's pitch; step scans only.
    adaptive : Adaptive, optional
        More energies where the spectrum changes; step scans only.

    Returns
    -------
    str
        The run's uid.

    Raises
    ------
    PlanInputError, EnergyListError, OutOfRangeError, MotionLimitError, SettingError
        Before anything moves.
    """
    chosen, edges_ev = choose_energies(
        energies, None if isinstance(energies, Mapping) else element, edge, exposure_s=integration_s
    )
    require_finite("integration_s", integration_s, "s", positive=True)
    microscope = instrument.microscope
    mono, i0, i1, record = microscope.mono, instrument.i0, instrument.i1, microscope.spectrum_record
    continuous = mode == "continuous"
    if mode not in ("step", "continuous"):
        raise PlanInputError(f"mode: {mode!r} is neither 'step' nor 'continuous'")
    if continuous and (feedback is not None or adaptive is not None or len(chosen) < 2):
        raise PlanInputError("continuous: sweeps from the first to the last of two energies or more, without feedback")
    listed = [(float(e), float(t)) for e, t in zip(chosen.energies_ev, chosen.exposures_s, strict=True)]
    approach_kev = 1e-3 * (listed[0][0] - REVERSAL_EV)
    for energy_kev in (approach_kev, *(1e-3 * ev for ev, _ in listed)):
        mono.check_energy(energy_kev)
    foils = tuple(instrument.foil.select.enum_strs or ())
    if foil is not None and foils and foil not in foils:
        raise SettingError(f"{instrument.foil.name}: no foil {foil!r}; there are {', '.join(foils)}")
    sweep = _sweep_velocities(mono, listed[0][0], listed[-1][0], len(listed) * (integration_s + READ_S))
    if continuous:
        for axis, velocity in sweep:
            _check_velocity(axis, velocity, float((yield from bps.rd(axis.velocity, default_value=velocity))))
    start_kev = float((yield from bps.rd(mono.energy, default_value=8.0)))
    before = []
    for signal in (i0.integration_time, i1.integration_time, mono.bragg.velocity, mono.gap.velocity):
        before.append((signal, (yield from bps.rd(signal, default_value=1.0))))
    following = feedback or Feedback()
    seen: dict[float, float] = {}

    def read(nominal_kev: float) -> MsgGenerator[float]:
        first = float((yield from bps.rd(mono.bragg, default_value=optics.bragg_angle_deg(nominal_kev))))
        yield from bps.trigger(i0, group="chambers")
        yield from bps.trigger(i1, group="chambers")
        yield from bps.wait(group="chambers")
        last = float((yield from bps.rd(mono.bragg, default_value=optics.bragg_angle_deg(nominal_kev))))
        current_0 = float((yield from bps.rd(i0.current, default_value=1.0)))
        current_1 = float((yield from bps.rd(i1.current, default_value=1.0)))
        value = float(fitting.absorbance([current_0], [current_1])[0])
        yield from bps.mv(record.energy, optics.bragg_energy_kev(0.5 * (first + last)), record.absorbance, value)
        yield from bps.create("primary")
        for device in (record, i0, i1, mono):
            yield from bps.read(device)
        yield from bps.save()
        return value

    def steps(wanted: list[tuple[float, float]]) -> MsgGenerator[None]:
        here_kev = 1e-3 * (wanted[0][0] - REVERSAL_EV)
        yield from bps.mv(mono.energy, here_kev)
        for number, (energy_ev, time_s) in enumerate(wanted):
            yield from bps.checkpoint()
            moves: list[Any] = [mono.energy, 1e-3 * energy_ev]
            pitch = mono.pitch_at(1e-3 * energy_ev)
            if pitch is not None:
                moves += [mono.pitch, pitch]
            yield from bps.mv(*moves)
            yield from feed_back(instrument, following, number)
            yield from following.wait_for_intensity(instrument)
            yield from bps.mv(i0.integration_time, time_s, i1.integration_time, time_s)
            seen[energy_ev] = yield from read(1e-3 * energy_ev)

    def sweep_once() -> MsgGenerator[None]:
        yield from bps.mv(i0.integration_time, integration_s, i1.integration_time, integration_s)
        yield from bps.mv(mono.energy, approach_kev)
        yield from bps.mv(mono.energy, 1e-3 * listed[0][0])
        for axis, velocity in sweep:
            yield from bps.mv(axis.velocity, velocity)
        moving = yield from bps.abs_set(mono.energy, 1e-3 * listed[-1][0], group="sweep")
        while moving is not None and not moving.done:
            yield from read(1e-3 * listed[0][0])
        yield from bps.wait(group="sweep")

    def body() -> MsgGenerator[None]:
        if foil is not None:
            yield from bps.mv(instrument.foil, foil)
        if continuous:
            yield from sweep_once()
            return
        yield from steps(listed)
        left = adaptive.most_energies if adaptive else 0
        for _ in range(adaptive.rounds if adaptive else 0):
            known = sorted(seen)
            added = refine(
                known,
                [seen[e] for e in known],
                largest_change=adaptive.largest_change if adaptive else 0.5,
                smallest_step_ev=adaptive.smallest_step_ev if adaptive else 1.0,
            )[:left]
            if not added:
                return
            left -= len(added)
            yield from steps([(energy_ev, integration_s) for energy_ev in added])

    def go() -> MsgGenerator[None]:
        yield from bps.mv(*(part for pair in before for part in pair))
        if foil is not None:
            yield from bps.mv(instrument.foil, "None")
        yield from bps.mv(mono.energy, start_kev)

    calibration = instrument.spectra.newest("energy_calibration") if instrument.spectra is not None else None
    metadata = start_metadata(
        instrument,
        "xanes_point",
        {"element": element, "edge": edge, "num_energies": len(listed), "mode": mode, "foil": foil},
        technique="X-ray absorption spectroscopy",
        detectors=[i0, i1],
        motors=[mono.energy],
        num_points=len(listed),
        hints={"dimensions": [([record.energy.name], "primary")]},
        md={
            "energies_ev": [ev for ev, _ in listed],
            "edges_ev": list(edges_ev),
            "energy_calibration": calibration,
            "estimated_s": round(sum(t + READ_S + 0.3 for _, t in listed), 1),
            **(md or {}),
        },
    )
    return (yield from run_with_beam(instrument, body, metadata, stage=[i0, i1], cleanup=go))


def _sweep_velocities(mono: Any, first_ev: float, last_ev: float, time_s: float) -> list[tuple[Any, float]]:
    """Return axes and velocities with which Bragg angle and gap arrive together."""
    low = mono.forward(mono.PseudoPosition(energy=1e-3 * first_ev))
    high = mono.forward(mono.PseudoPosition(energy=1e-3 * last_ev))
    ways = ((mono.bragg, abs(high.bragg - low.bragg)), (mono.gap, abs(high.gap - low.gap)))
    return [(axis, max(way / time_s, 1e-5)) for axis, way in ways]


def _check_velocity(axis: Any, velocity: float, largest: float) -> None:
    if velocity > largest:
        raise PlanInputError(
            f"{axis.dotted_name_of()}: a sweep at {velocity:.3g} {axis.egu}/s is faster than its {largest:.3g} "
            f"{axis.egu}/s; integrate longer or take more energies"
        )
