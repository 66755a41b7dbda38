"""From rows of the scan to events, dark-field images and files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from exitwave.simulators.clock import SimClock
from exitwave.simulators.physics.constants import ELEMENTARY_CHARGE_C
from exitwave.simulators.stem.column import Column, Dose
from exitwave.simulators.stem.eds import CHANNEL_KEV, Eds, RowRequest
from exitwave.simulators.stem.event_file import Events, FrameEnd, Heading
from exitwave.simulators.stem.field import Field
from exitwave.simulators.stem.geometry import ScanPlan
from exitwave.simulators.stem.haadf import ATTRIBUTES, Haadf
from exitwave.simulators.stem.scan import FrameMaker, NoBeamError
from exitwave.simulators.stem.world import World

__all__ = ["Frames"]


class Frames(FrameMaker):
    """Makes the frames of a scan from the world, for both detectors.

    Parameters
    ----------
    world, column, dose, eds, haadf
        What takes part.
    clock : SimClock
        Simulated time.
    """

    def __init__(
        self,
        world: World,
        column: Column,
        dose: Dose,
        eds: Eds,
        haadf: Haadf,
        clock: SimClock,
    ) -> None:
        self._world, self._column, self._dose, self._eds, self._haadf = world, column, dose, eds, haadf
        self._clock = clock
        self._field: Field | None = None
        self._shift_nm = (0.0, 0.0)
        self._image = np.zeros((1, 1), np.float32)
        self._start_s = 0.0
        self._scans = 0
        self._per_pixel = 0.0
        self._counted = (self._eds.inputs.copy(), self._eds.outputs.copy())

    def changed(self, plan: ScanPlan) -> None:
        """Let the camera's size be the scan's."""
        self._haadf.camera.show_scan(plan.shape, plan.frame_s)

    def begin(self, plan: ScanPlan) -> None:
        """Start counting, and give the event file its heading."""
        self._scans += 1
        self._image = np.zeros(plan.shape, np.float32)
        self._eds.reset_timing()
        self._eds.plugin.begin_scan(self._heading(plan))

    def begin_frame(self, plan: ScanPlan, frame: int, start_s: float, shift_nm: tuple[float, float]) -> None:
        """Have the maps ready."""
        self._dose.advance()
        self._shift_nm = shift_nm
        self._field = self._world.field(plan, start_s, shift_nm)
        self._counted = (self._eds.inputs.copy(), self._eds.outputs.copy())
        self._image[:] = 0.0

    def rows(self, plan: ScanPlan, frame: int, first: int, last: int, start_s: float) -> None:
        """Make rows that are over: photons, events, dark-field signal; with the last row, the frame's end."""
        field = self._field
        if field is None:
            raise NoBeamError("Scan: no frame was begun")
        if not self._column.has_voltage:
            raise NoBeamError("Scan: high voltage is off; reset the trip and start again")
        self._dose.advance()
        if first == 0:
            self._start_s = start_s
        world, eds, columns = self._world, self._eds, plan.shape[1]
        held = 0
        for row in range(first, last):
            at_s = start_s + (row - first) * plan.line_s
            path = world.probe_path(plan, row, at_s, self._shift_nm, frame)
            if not field.covers(path.x_nm, path.y_nm):
                # The stage moves while it is scanned.
                field = self._field = world.field(plan, at_s, self._shift_nm)
            x, y = field.grid(path.x_nm, path.y_nm)
            electrons = world.electrons_per_s(at_s + 0.5 * plan.line_s) * plan.dwell_s
            backwards = plan.backwards(row)
            stream = ((self._scans & 0xFFFF) << 40) | ((frame & 0xFFFFF) << 16) | row
            request = RowRequest(
                np.ascontiguousarray(x), np.ascontiguousarray(y), electrons, at_s, plan.dwell_s, backwards, stream,
                row * columns,
            )  # fmt: skip
            held = eds.draw(field, request, self._image[row], held)
        physics = field.request.physics
        pixel, segment, channel = eds.collect(
            held, live=not physics.counts_are_given, shelf=physics.shelf, elapsed_s=(last - first) * plan.line_s
        )
        over = last == plan.shape[0]
        numbers = self._numbers(plan, frame) if over else {}
        if eds.acquiring:
            events = Events(frame, pixel, segment, channel)
            eds.plugin.take(events, self._frame_end(plan, numbers) if over else None)
        if over:
            per_pixel = world.current_a(start_s) / ELEMENTARY_CHARGE_C * plan.dwell_s
            self._haadf.take(self._image, per_pixel, self._start_s, numbers)

    def _numbers(self, plan: ScanPlan, frame: int) -> Mapping[str, float]:
        return {
            "AcquireTime": plan.frame_s,
            "ScanFrame": float(frame),
            "FieldOfView": plan.field_nm,
            "PixelSize": plan.pixel_nm,
            "ShiftX": self._shift_nm[0],
            "ShiftY": self._shift_nm[1],
            "Dose": self._dose.accumulated_e_a2,
            **self._world.attributes(self._start_s + 0.5 * plan.frame_s),
        }

    def _frame_end(self, plan: ScanPlan, numbers: Mapping[str, float]) -> FrameEnd:
        eds = self._eds
        came, went = eds.inputs - self._counted[0], eds.outputs - self._counted[1]
        # Dead time is what the counters say: pulses taken over pulses that came. Flyback counts for neither.
        real_s = plan.shape[0] * plan.shape[1] * plan.dwell_s
        live_s = real_s * np.where(came > 0, went / np.maximum(came, 1), 1.0)
        return FrameEnd(self._clock.wall_time(self._start_s), real_s, live_s, came, went, numbers)

    def end(self, aborted: bool) -> None:
        """Show that no more comes."""
        self._dose.advance()
        self._eds.finish()

    def _heading(self, plan: ScanPlan) -> Heading:
        world, eds, physics = self._world, self._eds, self._world.physics
        now = self._clock.now()
        nominal = world.nominal_probe(now)
        entry: dict[str, Any] = {
            "instrument": world.instrument.name,
            "simulated": True,
            "mode": physics.mode,
            "specimen": world.specimen,
            "yield_scale": physics.yield_scale,
            "windows_kev": np.array(physics.windows_kev),
            "high_voltage_kv": nominal.voltage_kv,
            "beam_current_pa": self._column.setting("BeamCurrent", now),
            "convergence_mrad": nominal.convergence_mrad,
        }
        if physics.mode == "phenomenological":
            names = ("blur_fwhm_pm", "blur_window_pm", "blur_species_pm", "peak_ratio")
            entry |= {name: getattr(physics, name) for name in names}
        if physics.mode == "artefact":
            entry |= {name: getattr(physics, name) for name in ("artefact_fwhm_pm", "artefact_pedestal")}
        scan = {
            "columns": plan.shape[1], "rows": plan.shape[0], "field_of_view_nm": plan.field_nm,
            "pixel_nm": plan.pixel_nm, "width": plan.width, "height": plan.height, "sub": np.array(plan.sub),
            "rotation_deg": plan.rotation_deg, "dwell_s": plan.dwell_s, "flyback_s": plan.flyback_s,
            "line_s": plan.line_s, "serpentine": plan.serpentine, "line_sync": plan.mains, "frames_asked": plan.frames,
        }  # fmt: skip
        detector = {
            "channel_width_ev": 1e3 * CHANNEL_KEV,
            "channels": eds.channels,
            "dead_time_s": 1e-6 * eds.board.value("DeadTime_RBV"),
            "dead_time_model": ("non-paralysable", "paralysable")[eds.board.value("DeadTimeModel_RBV")],
            "resolving_time_s": 1e-6 * eds.board.value("ResolvingTime_RBV"),
            "resolution_mn_ka_ev": eds.segments[0].mn_ka_fwhm_ev,
        }
        segments = {
            "solid_angle_sr": np.array([one.solid_angle_sr for one in eds.segments]),
            "take_off_deg": np.array([one.take_off_deg for one in eds.segments]),
            "azimuth_deg": np.array([one.azimuth_deg for one in eds.segments]),
            "area_mm2": np.array([one.area_mm2 for one in eds.segments]),
        }
        numbers = tuple((attribute.name, attribute.units) for attribute in ATTRIBUTES)
        return Heading(entry, scan, detector, segments, len(eds.segments), numbers)

    def warm_up(self, plan: ScanPlan) -> None:
        """Compile, look up and make the maps of the field that is set, before anybody scans it."""
        field = self._world.field(plan, self._clock.now(), (0.0, 0.0))
        path = self._world.probe_path(plan, 0, self._clock.now(), (0.0, 0.0), 0)
        self._eds.warm_up(field, *field.grid(path.x_nm, path.y_nm))

    def show_probe(self) -> None:
        """Work out the width of the probe that is set, away from the event loop."""
        self._column.show_probe(round(self._world.nominal_probe(self._clock.now()).fwhm_pm(), 2))
