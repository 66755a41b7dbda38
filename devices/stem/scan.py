"""The scan generator: where the probe goes, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, DeviceStatus, EpicsSignal, EpicsSignalRO, EpicsSignalWithRBV

from exitwave.devices.errors import SettingError
from exitwave.devices.status import FirstStatus
from exitwave.devices.stem.errors import ScanError
from exitwave.devices.stem.findings import FrameRecord, ScanSummary, TrackRecord
from exitwave.devices.stem.setting import Setting

__all__ = ["ScanGenerator", "ScanSettings"]

_SIZES = (8, 4096)


@dataclass(frozen=True)
class ScanSettings:
    """What is to be scanned.

    Parameters
    ----------
    field_nm : float
        Width of the full frame; pixels are square.
    width, height : int
        Pixels of the full frame.
    dwell_us, flyback_us : float
        Per pixel, per line.
    num_frames : int
    rotation_deg : float
        Of the fast direction.
    line_sync, serpentine : bool
        Every line starts with the mains; odd lines backwards.
    sub : (x, y, width, height), optional
        Part of the frame, pixels.
    """

    field_nm: float
    width: int
    height: int
    dwell_us: float
    num_frames: int = 1
    flyback_us: float = 100.0
    rotation_deg: float = 0.0
    line_sync: bool = False
    serpentine: bool = False
    sub: tuple[int, int, int, int] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of what is scanned."""
        return (self.height, self.width) if self.sub is None else (self.sub[3], self.sub[2])

    @property
    def pixel_nm(self) -> float:
        """Side of a pixel."""
        return self.field_nm / self.width

    @property
    def area_a2(self) -> float:
        """Of what is scanned, square angstrom."""
        return 100.0 * self.shape[0] * self.shape[1] * self.pixel_nm**2

    @property
    def frame_s(self) -> float:
        """Time of a frame, waits for the mains (50 Hz) included."""
        line = 1e-6 * (self.shape[1] * self.dwell_us + self.flyback_us)
        return self.shape[0] * (math.ceil(line * 50.0 - 1e-9) / 50.0 if self.line_sync else line)


class ScanGenerator(Device):
    """Moves the probe over a field, frame after frame.

    ``prepare(ScanSettings)`` sets everything, ``kickoff()`` starts, the status of ``complete()`` is done at the end of
    the scan; it fails with `ScanError` where the generator reports a fault. ``stop()`` ends a scan at once; the
    generator blanks the beam by itself then.

    Parameters
    ----------
    step_pm : float
        Smallest step of the deflection: what pixels can't be smaller than.
    largest_field_nm, shortest_dwell_us, largest_shift_nm : float
    """

    field_of_view = Cpt(Setting, "FieldOfView", kind="config", doc="nm")
    width = Cpt(Setting, "Width", kind="config")
    height = Cpt(Setting, "Height", kind="config")
    rotation = Cpt(Setting, "Rotation", kind="config", doc="deg")
    dwell = Cpt(Setting, "Dwell", kind="config", doc="us")
    flyback = Cpt(Setting, "Flyback", kind="config", doc="us")
    line_sync = Cpt(EpicsSignalWithRBV, "LineSync", kind="config", string=True, doc="Off, Mains")
    sub_x = Cpt(Setting, "SubX", kind="config")
    sub_y = Cpt(Setting, "SubY", kind="config")
    sub_width = Cpt(Setting, "SubWidth", kind="config")
    sub_height = Cpt(Setting, "SubHeight", kind="config")
    num_frames = Cpt(Setting, "NumFrames", kind="config")
    serpentine = Cpt(EpicsSignalWithRBV, "Serpentine", kind="config", string=True)
    blank_on_stop = Cpt(EpicsSignalWithRBV, "BlankOnStop", kind="config", string=True)
    shift_x = Cpt(Setting, "ShiftX", kind="normal", doc="Beam shift along the lines, nm")
    shift_y = Cpt(Setting, "ShiftY", kind="normal", doc="Beam shift across the lines, nm")
    start_command = Cpt(EpicsSignal, "Start", kind="omitted", put_complete=True)
    stop_command = Cpt(EpicsSignal, "Stop", kind="omitted", put_complete=True)
    busy = Cpt(EpicsSignalRO, "Busy_RBV", kind="omitted", string=True, auto_monitor=True, doc="Idle, Busy")
    state = Cpt(EpicsSignalRO, "State_RBV", kind="omitted", string=True, auto_monitor=True)
    message = Cpt(EpicsSignalRO, "Message_RBV", kind="omitted", string=True)
    frame = Cpt(EpicsSignalRO, "Frame_RBV", kind="omitted", auto_monitor=True, doc="Frames completed")
    row = Cpt(EpicsSignalRO, "Row_RBV", kind="omitted", auto_monitor=True, doc="Rows completed of the present one")
    columns = Cpt(EpicsSignalRO, "Columns_RBV", kind="config", doc="Of what is scanned")
    rows = Cpt(EpicsSignalRO, "Rows_RBV", kind="config", doc="Of what is scanned")
    pixel_size = Cpt(EpicsSignalRO, "PixelSize_RBV", kind="config", doc="pm")
    frame_time = Cpt(EpicsSignalRO, "FrameTime_RBV", kind="config", doc="s")
    pixel_clock = Cpt(EpicsSignalRO, "PixelClock_RBV", kind="config", doc="Hz")
    frame_record = Cpt(FrameRecord, "", kind="omitted")
    summary = Cpt(ScanSummary, "", kind="omitted")
    track_record = Cpt(TrackRecord, "", kind="omitted")

    def __init__(
        self,
        prefix: str = "",
        *,
        step_pm: float = 0.8,
        largest_field_nm: float = 50.0,
        shortest_dwell_us: float = 0.1,
        largest_shift_nm: float = 1000.0,
        longest_dwell_us: float = 1e7,
        longest_flyback_us: float = 1e6,
        most_frames: int = 1_000_000,
        **kwargs: Any,
    ):
        super().__init__(prefix, **kwargs)
        self.step_pm = step_pm
        self.largest_field_nm = largest_field_nm
        self.shortest_dwell_us = shortest_dwell_us
        self.largest_shift_nm = largest_shift_nm
        self.longest_dwell_us = longest_dwell_us
        self.longest_flyback_us = longest_flyback_us
        self.most_frames = most_frames
        self._run: FirstStatus | None = None
        self._stopping = False

    def check_settings(self, settings: ScanSettings) -> None:
        """Refuse what the generator can't scan.

        Raises
        ------
        SettingError
            Field, size, dwell or part of the frame; pixels smaller than the deflection resolves.
        """
        s = settings
        if not 0.0 < s.field_nm <= self.largest_field_nm:
            raise SettingError(
                f"{self.name}: field of view {s.field_nm:g} nm is outside (0, {self.largest_field_nm:g}] nm; "
                "choose one inside"
            )
        for word, size in (("width", s.width), ("height", s.height)):
            if not _SIZES[0] <= size <= _SIZES[1] or size != int(size):
                raise SettingError(
                    f"{self.name}: {word} {size} pixels is no whole number in [{_SIZES[0]}, {_SIZES[1]}]; choose one"
                )
        if 1e3 * s.pixel_nm < self.step_pm:
            raise SettingError(
                f"{self.name}: field of view {s.field_nm:g} nm over {s.width} pixels makes steps of "
                f"{1e3 * s.pixel_nm:.3g} pm, under the scan's resolution of {self.step_pm:g} pm; take fewer pixels or "
                "a larger field"
            )
        if not s.dwell_us >= self.shortest_dwell_us:
            raise SettingError(
                f"{self.name}: dwell {s.dwell_us:g} us is under the shortest of {self.shortest_dwell_us:g} us; "
                "give a longer one"
            )
        if s.dwell_us > self.longest_dwell_us:
            raise SettingError(
                f"{self.name}: dwell {s.dwell_us:g} us is over the longest of {self.longest_dwell_us:g} us; take more "
                "frames"
            )
        if not 0.0 <= s.flyback_us <= self.longest_flyback_us:
            raise SettingError(
                f"{self.name}: flyback {s.flyback_us:g} us is outside [0, {self.longest_flyback_us:g}] us; choose one "
                "inside"
            )
        if not abs(s.rotation_deg) <= 360.0:
            raise SettingError(
                f"{self.name}: rotation {s.rotation_deg:g} deg is outside [-360, 360] deg; choose one inside"
            )
        if not 1 <= s.num_frames <= self.most_frames:
            raise SettingError(
                f"{self.name}: {s.num_frames} frames are outside [1, {self.most_frames}]; choose a number inside, or "
                "take several runs"
            )
        if s.sub is not None:
            x, y, width, height = s.sub
            if min(x, y) < 0 or min(width, height) < 1 or x + width > s.width or y + height > s.height:
                raise SettingError(
                    f"{self.name}: part {s.sub} is not within the frame of {s.width} x {s.height} pixels; choose one "
                    "inside"
                )

    def check_shift(self, x_nm: float, y_nm: float) -> None:
        """Refuse a beam shift that the deflectors can't make.

        Raises
        ------
        SettingError
        """
        if not max(abs(x_nm), abs(y_nm)) <= self.largest_shift_nm:
            raise SettingError(
                f"{self.name}: beam shift ({x_nm:.4g}, {y_nm:.4g}) nm is beyond {self.largest_shift_nm:g} nm; "
                "move the stage"
            )

    def prepare(self, settings: ScanSettings) -> DeviceStatus:
        """Set the frame up.

        Raises
        ------
        SettingError
            See `check_settings`.
        ScanError
            It is scanning, or did not take the settings.
        """
        self.check_settings(settings)
        if self.busy.get(use_monitor=False) != "Idle":
            raise ScanError(f"{self.name}: is scanning; stop it first")
        s = settings
        sub = s.sub or (0, 0, 0, 0)
        values: tuple[tuple[Any, Any], ...] = (
            (self.field_of_view, float(s.field_nm)),
            (self.width, int(s.width)),
            (self.height, int(s.height)),
            (self.dwell, float(s.dwell_us)),
            (self.flyback, float(s.flyback_us)),
            (self.rotation, float(s.rotation_deg)),
            (self.line_sync, "Mains" if s.line_sync else "Off"),
            (self.serpentine, "Yes" if s.serpentine else "No"),
            (self.blank_on_stop, "Yes"),
            (self.sub_x, sub[0]),
            (self.sub_y, sub[1]),
            (self.sub_width, sub[2]),
            (self.sub_height, sub[3]),
            (self.num_frames, int(s.num_frames)),
        )
        for signal, value in values:
            if signal.get(use_monitor=False) != value:
                signal.put(value, wait=True)
        shape = int(self.rows.get(use_monitor=False)), int(self.columns.get(use_monitor=False))
        if shape != s.shape:
            raise ScanError(
                f"{self.name}: scans {shape} rows and columns after being told {s.shape}; look at its limits"
            )
        status = DeviceStatus(self)
        status.set_finished()
        return status

    def kickoff(self) -> DeviceStatus:
        """Start the scan; done at once."""
        status = FirstStatus(self)
        self._run, self._stopping = status, False

        def ended(_: Any) -> None:
            state = str(self.state.get(use_monitor=False))
            if state == "Done" or (state == "Aborted" and self._stopping):
                status.finish()
            else:
                status.fail(ScanError(f"{self.name}: {state}: {self.message.get()}; see to the column and scan again"))

        self.start_command.set(1).add_callback(ended)
        started = DeviceStatus(self)
        started.set_finished()
        return started

    def complete(self) -> DeviceStatus:
        """Return the status of the scan: done at its end, or when `stop` has ended it.

        Raises
        ------
        ScanError
            Nothing was started.
        """
        if self._run is None:
            raise ScanError(f"{self.name}: nothing is being scanned; kickoff comes before complete")
        return self._run

    def stop(self, *, success: bool = False) -> None:
        """End a scan at once; the generator blanks the beam."""
        self._stopping = True
        if self.busy.get(use_monitor=False) != "Idle":
            self.stop_command.put(1, wait=True)
