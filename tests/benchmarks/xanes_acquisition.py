"""What a scan of energies costs beyond exposures and motors, on frames of 2048 x 2048 that cost nothing to make."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np


def acquisition_figures(
    num: int = 12, exposure_s: float = 0.2, num_frames: int = 2, num_flats: int = 2
) -> dict[str, float]:
    """Measure the time from energy to energy, less exposures and the motors' own time, at the real clock.

    The motors' own time is that of their trapezoids of velocity, the slowest of those that move together: out with
    the sample while monochromator and zone plate go to the next energy, and back in. The Bragg axis takes up its
    backlash with a second move, as its record says. Readout between the frames of one energy counts as overhead.

    Returns
    -------
    dict
        ``overhead_per_energy_s`` (flats at every energy), ``overhead_per_energy_plain_s`` (no flats), and the time of
        exposures and motors beside them.
    """
    from exitwave.analysis import optics
    from exitwave.plans.pure.rotation import AxisFigures, move_time_s
    from exitwave.profiles.session import open_session
    from exitwave.profiles.simulation import SimulatedBeamline
    from exitwave.profiles.storage import DataFolder

    energies = [8330.0 + k for k in range(num)]
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=memory) as name:
        simulator = SimulatedBeamline("bl18b", ["--specimen", "memory"])
        with open_session("bl18b", data=DataFolder(Path(name)), simulator=simulator, services=False) as session:
            devices = session.beamline.devices
            dcm, plate, sample = devices["dcm"], devices["zone_plate_a"], devices["sample"]

            def axis(motor: Any) -> AxisFigures:
                return AxisFigures(motor.name, motor.egu, 0, 0, motor.velocity.get(), 0.0, motor.acceleration.get())

            def energy_motion_s(low_ev: float, high_ev: float) -> float:
                bragg = abs(optics.bragg_angle_deg(1e-3 * low_ev) - optics.bragg_angle_deg(1e-3 * high_ev))
                backlash = 0.002
                bragg_s = move_time_s(axis(dcm.bragg), bragg + backlash) + move_time_s(axis(dcm.bragg), backlash)
                focal = [plate.focal_length_mm(1e-3 * ev) for ev in (low_ev, high_ev)]
                gap = [optics.crystal_gap_mm(1e-3 * ev) for ev in (low_ev, high_ev)]
                return max(
                    bragg_s,
                    move_time_s(axis(plate.z), 1.02 * abs(focal[1] - focal[0])),
                    move_time_s(axis(dcm.gap), abs(gap[1] - gap[0])),
                )

            aside_s = move_time_s(axis(sample.out_motor), sample.out_distance_um)
            energy_s = float(np.mean([energy_motion_s(a, b) for a, b in itertools.pairwise(energies)]))
            for key, flats in (("overhead_per_energy_s", "each"), ("overhead_per_energy_plain_s", "none")):
                plan = session.namespace["xanes"].imaging(
                    energies, None, exposure_s=exposure_s, num_frames=num_frames, num_flats=num_flats, num_darks=0,
                    flats=flats,
                )  # fmt: skip
                uids: Any = session.RE(plan)
                times_s = session.open_run(uids[0]).to_xarray()["hr_camera_timestamp"].values[::num_frames]
                exposing = exposure_s * (num_frames + (num_flats if flats == "each" else 0))
                moving = max(energy_s, aside_s) + aside_s if flats == "each" else energy_s
                figures[key] = float(np.mean(np.diff(times_s))) - exposing - moving
                figures[key.replace("overhead", "exposing")] = exposing
                figures[key.replace("overhead", "moving")] = moving
    return figures


if __name__ == "__main__":
    print(json.dumps(acquisition_figures(), indent=1))
