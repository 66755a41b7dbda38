"""A spectrum image straight from the simulated microscope's physics: no records, no clock, no files."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import constants as codata

from exitwave.analysis.eds import EnergyAxis, Events
from exitwave.analysis.eds.rates import SegmentRates
from exitwave.analysis.io.eds_files import EdsMeasurement
from exitwave.profiles.demos.anxri import DEAD_TIME_US, DWELL_US, FRAMES, RESOLVING_TIME_US, SHORTEST_US
from exitwave.profiles.demos.anxri_specimens import SPECIMENS, Specimen
from exitwave.simulators.records.hdf_plugin import WriteFaults
from exitwave.simulators.stem.eds import CHANNEL_KEV, Eds, RowRequest
from exitwave.simulators.stem.geometry import ScanPlan
from exitwave.simulators.stem.layout import INSTRUMENTS
from exitwave.simulators.stem.modes import Physics
from exitwave.simulators.stem.truth import StemTruth
from exitwave.simulators.stem.world import World

__all__ = ["Microscope"]


@dataclass
class Settings:
    """A column that is as it was delivered and in focus, a stage that stands still, a beam that is on."""

    values: dict[str, float] = field(default_factory=dict)

    def axis(self, name: str, t: float) -> float:
        return 0.0

    def setting(self, name: str, t: float) -> float:
        return self.values.get(name, 0.0)

    def passes(self, t: float) -> bool:
        return True


class Microscope:
    """The demonstration's microscope with a specimen of its, as its measurement sets it up.

    Parameters
    ----------
    specimen, mode : str
    seed : int
        Of the hidden errors: the demonstration's own, but for the drift, which the scan is taken to have followed, and
        the place, which is the specimen's thickest.
    counts : float
        As of the demonstration.
    about : Specimen, optional
        The same specimen with another field, say.
    """

    def __init__(
        self, specimen: str, mode: str, seed: int = 18, counts: float = 1.0, about: Specimen | None = None
    ) -> None:
        self.about = about or SPECIMENS[specimen]
        self.instrument = one = INSTRUMENTS[self.about.profile.replace("_", "-")]
        truth = replace(StemTruth.draw(seed), drift_nm_min=(0.0, 0.0), drift_swing_nm=(0.0, 0.0), origin_nm=(0.0, 0.0))
        self.scale = counts * self.about.exposure_s[mode] / (FRAMES * 1e-6 * DWELL_US)
        # as far as a focus series finds it: to a nanometre
        defocus = -truth.aberrations_nm["C10"] - 1e3 * truth.height_um + 1.0
        column = Settings(
            {
                "HighVoltage": one.voltage_kv, "BeamCurrent": one.current_pa, "ConvergenceAngle": one.convergence_mrad,
                "SourceSize": one.source_fwhm_pm, "Defocus": defocus,
            }
        )  # fmt: skip
        self.world = World(column, truth, one, specimen, Physics(mode, yield_scale=self.scale))
        self.eds = Eds(self.world.segments, truth, lambda: (0.0, 0.0), WriteFaults())
        self.eds.board.set("Acquire", 1)
        self.eds.board.set("ResolvingTime", min(RESOLVING_TIME_US / self.scale, RESOLVING_TIME_US))
        self.dead_time_us = max(DEAD_TIME_US / self.scale, SHORTEST_US)
        self.eds.board.channels["DeadTime_RBV"].post(self.dead_time_us)
        size = self.about.size
        self.plan = ScanPlan(
            self.about.field_nm, size, size, (0, 0, size, size), 0.0, 1e-6 * DWELL_US, 1e-4, False, False, FRAMES
        )
        self.taken = 0

    def take(self) -> tuple[EdsMeasurement, np.ndarray]:
        """Return events of a map and its dark-field frames; every call draws other photons of the same truth."""
        plan, world, eds = self.plan, self.world, self.eds
        rows, columns = plan.shape
        parts: list[tuple[Any, ...]] = []
        starts, frames = [0], []
        before = eds.inputs.copy(), eds.outputs.copy()
        electrons = world.current_a(0.0) / codata.e * plan.dwell_s
        rng = np.random.default_rng([3, self.taken])
        eds.reset_timing()
        for frame in range(plan.frames):
            begin_s = frame * plan.frame_s
            maps = world.field(plan, begin_s, (0.0, 0.0))
            image, held = np.zeros(plan.shape, np.float32), 0
            for row in range(rows):
                at_s = begin_s + row * plan.line_s
                path = world.probe_path(plan, row, at_s, (0.0, 0.0), frame + plan.frames * self.taken)
                x, y = (np.ascontiguousarray(part) for part in maps.grid(path.x_nm, path.y_nm))
                stream = (self.taken + 1 << 40) | (frame << 16) | row
                line = RowRequest(x, y, electrons, at_s, plan.dwell_s, False, stream, row * columns)
                held = eds.draw(maps, line, image[row], held)
            physics = maps.request.physics
            live = not physics.counts_are_given
            parts.append(eds.collect(held, live=live, shelf=physics.shelf, elapsed_s=plan.frame_s))
            starts.append(starts[-1] + len(parts[-1][0]))
            frames.append(rng.poisson(np.maximum(image, 0.0) * electrons).astype(np.float32))
        self.taken += 1
        pixel, segment, channel = (np.concatenate([part[k] for part in parts]) for k in range(3))
        axis = EnergyAxis(eds.channels, CHANNEL_KEV, 0.5 * CHANNEL_KEV)
        segments = len(eds.segments)
        events = Events(pixel, channel, segment, np.array(starts, np.int64), plan.shape, axis, segments)
        came, went = eds.inputs - before[0], eds.outputs - before[1]
        real_s = plan.frames * rows * columns * plan.dwell_s
        rates = tuple(
            SegmentRates(f"segment {k + 1}", int(went[k]), real_s, real_s * float(went[k] / max(came[k], 1)))
            for k in range(segments)
        )
        physics = world.physics
        given = ("mode", "yield_scale", "blur_fwhm_pm", "blur_window_pm", "blur_species_pm", "peak_ratio")
        metadata = {
            **{name: getattr(physics, name) for name in given},
            "specimen": world.specimen,
            "convergence_mrad": self.instrument.convergence_mrad,
            "scan": {"dwell_s": plan.dwell_s},
            "detector": {"dead_time_s": 1e-6 * self.dead_time_us},
        }
        measurement = EdsMeasurement(events, rates, self.instrument.voltage_kv, plan.pixel_nm, metadata=metadata)
        return measurement, np.stack(frames)
