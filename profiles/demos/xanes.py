"""Spectroscopic imaging: a pristine and a cycled battery particle across the nickel edge, from counts to edge energies.

Films of two oxides give the standards, then each particle is measured: crystals and energy calibrated, focus tracked
over the energy, images at every energy with flats. Each sample has a beamline of its own, in a process of its own. The
simulator writes what is true into files that only the comparison reads.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from exitwave.profiles.demos.stage import PhaseTimes
from exitwave.profiles.demos.xanes_maps import GOAL_EV, evaluate
from exitwave.profiles.demos.xanes_measure import FILMS, PARTICLES, XanesRequest, in_process_of_its_own, measure

__all__ = ["XanesRequest", "xanes_command"]


def xanes_command(request: XanesRequest, *, json_path: Path | None, out: Path) -> int:
    """Run the demonstration, print its lines, write the figures; returns the exit status."""
    begin, times = time.perf_counter(), PhaseTimes()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="exitwave-truth-") as folder:
        taken: dict[str, dict[str, Any]] = {}
        for name, specimen in (FILMS | PARTICLES).items():
            with times.phase(name):
                taken[name] = in_process_of_its_own(measure, request, specimen, out, Path(folder) / specimen)
        with times.phase("analysis"):
            figures = evaluate(taken, Path(folder), out)
    figures |= {"seed": request.seed, "speed": request.speed, "wall_s": round(time.perf_counter() - begin, 1)}
    figures["phases"] = times.phases | {f"{name}: details": sample["phases"] for name, sample in taken.items()}
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"picture     {figures['picture']}")
    print(f"runs        {', '.join(figures['uids'].values())}")
    for name in PARTICLES:
        part = figures["particles"][name]
        print(
            f"{name:<12}edge {part['edge_median_ev']:.2f} eV, core minus shell "
            f"{part['core_minus_shell_ev']:+.2f} +- {part['core_minus_shell_sd_ev']:.2f} eV, "
            f"true {part['core_minus_shell_true_ev']:+.2f} eV"
        )
    print(
        f"edge        bias {figures['edge_bias_ev']:+.3f} eV, rms {figures['edge_rms_ev']:.3f} eV = "
        f"{figures['edge_rms_over_bound']:.2f} x the bound; {GOAL_EV} eV a pixel by the bound at "
        f"{figures['photons_for_goal']:.0f} photons a pixel and energy in the open field, "
        f"{figures['dose_for_goal_gy']:.2g} Gy"
    )
    return 0
