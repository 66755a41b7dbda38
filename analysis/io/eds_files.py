"""Readers of EDS files: Velox ``.emd`` event streams and HyperSpy's ``.hspy``, and our own event files."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel
from exitwave.analysis.eds.axis import EnergyAxis
from exitwave.analysis.eds.events import Events
from exitwave.analysis.eds.rates import SegmentRates
from exitwave.analysis.errors import FileFormatError

__all__ = [
    "EdsMeasurement",
    "EdsSpectrum",
    "read_acquisition",
    "read_events",
    "read_hspy_spectrum",
    "read_velox",
    "write_events",
]

_MARKER = 65535


@dataclass(frozen=True)
class EdsSpectrum:
    """A spectrum or spectrum image (..., n_channels) with its axis; `elements` as the file names them."""

    counts: npt.NDArray[Any]
    axis: EnergyAxis
    beam_kev: float
    elements: tuple[str, ...] = ()
    title: str = ""


@dataclass(frozen=True)
class EdsMeasurement:
    """Events of an acquisition, what each segment reported, and where the beam went.

    `pixel_nm` is NaN where the file has no map. `angles_deg` are elevation and azimuth of each segment.
    """

    events: Events
    segments: tuple[SegmentRates, ...]
    beam_kev: float
    pixel_nm: float
    current_a: float = math.nan
    angles_deg: tuple[tuple[float, float], ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)


@kernel
def _decode(
    stream: npt.NDArray[np.uint16], n_pixels: int, pixel: npt.NDArray[np.uint32], channel: npt.NDArray[np.uint16],
    frame: npt.NDArray[np.uint32],
) -> int:  # fmt: skip
    place, n = np.int64(0), 0
    for i in range(stream.size):
        if stream[i] == _MARKER:
            place += 1
        else:
            pixel[n] = np.uint32(place % n_pixels)
            frame[n] = np.uint32(place // n_pixels)
            channel[n] = stream[i]
            n += 1
    return n


def _json(dataset: h5py.Dataset) -> dict[str, Any]:
    raw = dataset[()] if dataset.dtype != np.uint8 else bytes(dataset[:, 0])
    text = raw if isinstance(raw, bytes) else raw[0]
    loaded = json.loads(text.split(b"\0")[0] if isinstance(text, bytes) else text)
    return dict(loaded)


def read_velox(path: str | Path) -> EdsMeasurement:
    """Read the event streams of a Velox EMD file.

    A stream is a list of channels with a marker at the end of each probe position; there is one per segment
    of the detector. A file without markers is a spectrum of one place.

    Raises
    ------
    FileFormatError
        If it is no Velox file, or has no event stream.
    """
    path = Path(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FileFormatError(f"{path.name}: not an HDF5 file") from error
    with file:
        if "Data/SpectrumStream" not in file:
            raise FileFormatError(f"{path.name}: no Data/SpectrumStream; not a Velox file with event streams")
        streams = [(_json(group["Metadata"]), group) for group in file["Data/SpectrumStream"].values()]
        try:
            return _velox(path, sorted(streams, key=lambda s: int(s[0]["BinaryResult"]["DetectorIndex"])))
        except (KeyError, IndexError, ValueError) as error:
            raise FileFormatError(f"{path.name}: metadata of the event streams lack {error}") from error


def _velox(path: Path, streams: list[tuple[dict[str, Any], h5py.Group]]) -> EdsMeasurement:
    meta = streams[0][0]
    settings = _json(streams[0][1]["AcquisitionSettings"])
    scan = meta.get("Scan", {}).get("ScanSize", {})
    rows, cols = max(int(scan.get("height", 0)), 1), max(int(scan.get("width", 0)), 1)
    n_channels = int(settings["bincount"])
    columns: list[list[npt.NDArray[Any]]] = [[], [], [], []]
    segments, angles = [], []
    axes: list[EnergyAxis] = []
    for number, (own, group) in enumerate(streams):
        raw = group["Data"][:, 0].astype(np.uint16, copy=False)
        pixel, frame = np.empty(raw.size, np.uint32), np.empty(raw.size, np.uint32)
        channel = np.empty(raw.size, np.uint16)
        n = _decode(raw, rows * cols, pixel, channel, frame)
        for column, values in zip(columns, (pixel, channel, np.full(raw.size, number, np.uint8), frame), strict=True):
            column.append(values[:n])
        detector = own["Detectors"][f"Detector-{own['BinaryResult']['DetectorIndex']}"]
        name = str(detector["DetectorName"])
        custom = own.get("CustomProperties", {})
        pair = custom.get(f"Detectors[{name}].PulsePairResolutionTime", {}).get("value", 5e-7)
        segments.append(
            SegmentRates(
                name,
                n,
                float(detector["RealTime"]),
                float(detector["LiveTime"]),
                float(detector.get("InputCountRate", "nan")),
                float(detector.get("OutputCountRate", "nan")),
                float(pair),
            )
        )
        angles.append((math.degrees(float(detector["ElevationAngle"])), math.degrees(float(detector["AzimuthAngle"]))))
        gain, offset = 1e-3 * float(detector["Dispersion"]), 1e-3 * float(detector["OffsetEnergy"])
        axes.append(EnergyAxis(n_channels, gain, offset))
    if len(set(axes)) != 1:
        raise FileFormatError(f"{path.name}: segments have different energy axes")
    events = Events.from_frame_numbers(
        *(np.concatenate(c) for c in columns), shape=(rows, cols), axis=axes[0], n_segments=len(streams)
    )
    optics = meta.get("Optics", {})
    width_m = float(optics.get("ScanFieldOfView", optics.get("FullScanFieldOfView", {})).get("x", "nan"))
    return EdsMeasurement(
        events,
        tuple(segments),
        1e-3 * float(optics["AccelerationVoltage"]),
        1e9 * width_m / cols if cols > 1 else math.nan,
        float(optics.get("LastMeasuredScreenCurrent", "nan")),
        tuple(angles),
        meta,
    )


def read_hspy_spectrum(path: str | Path) -> EdsSpectrum:
    """Read the first signal of a HyperSpy file whose last axis is energy.

    Raises
    ------
    FileFormatError
    """
    path = Path(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FileFormatError(f"{path.name}: not an HDF5 file") from error
    with file:
        for signal in file.get("Experiments", {}).values():
            data = signal.get("data")
            axis = None if data is None else signal.get(f"axis-{data.ndim - 1}")
            if axis is None or _text(axis.attrs.get("units", "")) not in ("keV", "eV"):
                continue
            unit = 1.0 if _text(axis.attrs["units"]) == "keV" else 1e-3
            tem = signal.get("metadata/Acquisition_instrument/TEM")
            eds = None if tem is None else tem.get("Detector/EDS")
            resolution = 130.0 if eds is None else float(eds.attrs.get("energy_resolution_MnKa", 130.0))
            names = signal.get("metadata/Sample/_list_elements")
            elements = () if names is None else tuple(_text(name) for name in names[()])
            return EdsSpectrum(
                data[()],
                EnergyAxis(
                    data.shape[-1], unit * float(axis.attrs["scale"]), unit * float(axis.attrs["offset"]), resolution
                ),
                math.nan if tem is None else float(tem.attrs.get("beam_energy", math.nan)),
                elements,
                _text(signal["metadata/General"].attrs.get("title", "")) if "metadata/General" in signal else "",
            )
    raise FileFormatError(f"{path.name}: no signal with an energy axis in keV or eV")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def write_events(path: str | Path, events: Events, *, pixel_nm: float = math.nan, beam_kev: float = math.nan) -> None:
    """Write events as HDF5: one dataset per column, frame bounds, and the axis as attributes."""
    with h5py.File(path, "w") as file:
        group = file.create_group("events")
        for name in ("pixel", "channel", "segment", "frame_starts"):
            group.create_dataset(name, data=getattr(events, name))
        group.attrs.update(
            {
                "rows": events.shape[0],
                "columns": events.shape[1],
                "n_segments": events.n_segments,
                "n_channels": events.axis.n_channels,
                "gain_kev": events.axis.gain_kev,
                "offset_kev": events.axis.offset_kev,
                "resolution_ev": events.axis.resolution_ev,
                "pixel_nm": pixel_nm,
                "beam_kev": beam_kev,
            }
        )


def read_events(path: str | Path) -> tuple[Events, dict[str, float]]:
    """Read what `write_events` wrote; also ``pixel_nm`` and ``beam_kev``.

    Raises
    ------
    FileFormatError
    """
    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            group = file["events"]
            a = group.attrs
            axis = EnergyAxis(
                int(a["n_channels"]), float(a["gain_kev"]), float(a["offset_kev"]), float(a["resolution_ev"])
            )
            pixel, channel, segment, starts = (group[n][()] for n in ("pixel", "channel", "segment", "frame_starts"))
            shape = (int(a["rows"]), int(a["columns"]))
            events = Events(pixel, channel, segment, starts, shape, axis, int(a["n_segments"]))
            return events, {"pixel_nm": float(a["pixel_nm"]), "beam_kev": float(a["beam_kev"])}
    except (OSError, KeyError) as error:
        raise FileFormatError(f"{path.name}: not an event file ({error})") from error


def read_acquisition(path: str | Path) -> EdsMeasurement:
    """Read the event file that the microscope's EDS detector writes, as far as frames are complete.

    It may still grow. ``metadata`` holds the attributes of its ``entry`` (``mode`` among them), ``scan`` and
    ``detector``; ``beam_kev`` is NaN where the file does not say it.

    Raises
    ------
    FileFormatError
    """
    path = Path(path)
    try:
        with h5py.File(path, "r", swmr=True, locking=False) as file:
            return _acquisition(file["entry"])
    except (OSError, KeyError) as error:
        raise FileFormatError(f"{path.name}: not an event file of an EDS detector ({error})") from error


def _acquisition(entry: h5py.Group) -> EdsMeasurement:
    about: dict[str, Any] = {name: dict(entry[name].attrs) for name in ("scan", "detector")} | dict(entry.attrs)
    scan, detector = about["scan"], about["detector"]
    frames, columns = entry["frames"], entry["events"]
    stops = frames["event_stop"][()].astype(np.int64)
    if not stops.size:
        raise KeyError("no complete frame yet")
    n = int(stops[-1])
    width_kev = 1e-3 * float(detector["channel_width_ev"])
    # its channel c begins at c widths; an axis names the middle of a channel
    resolution_ev = float(detector.get("resolution_mn_ka_ev", 130.0))
    axis = EnergyAxis(int(detector["channels"]), width_kev, 0.5 * width_kev, resolution_ev)
    live, real = frames["live_time_s"][: stops.size], frames["real_time_s"][: stops.size]
    arrived = frames["input_counts"][: stops.size].sum(axis=0)
    counted = frames["output_counts"][: stops.size].sum(axis=0)
    total_s = float(real.sum())
    n_segments = live.shape[1]
    starts = np.concatenate([[0], stops])
    shape = (int(scan["rows"]), int(scan["columns"]))
    pixel, channel, segment = (columns[name][:n] for name in ("pixel", "channel", "segment"))
    events = Events(pixel, channel, segment, starts, shape, axis, n_segments)
    per_segment = np.bincount(segment, minlength=n_segments)
    segments = tuple(
        SegmentRates(
            f"segment {k + 1}",
            int(per_segment[k]),
            total_s,
            min(max(float(live[:, k].sum()), 1e-12), total_s),
            float(arrived[k]) / total_s,
            float(counted[k]) / total_s,
            float(detector.get("resolving_time_s", 5e-7)),
        )
        for k in range(n_segments)
    )
    angles: tuple[tuple[float, float], ...] = ()
    if "take_off_deg" in entry["detector"] and "azimuth_deg" in entry["detector"]:
        pairs = zip(entry["detector/take_off_deg"][()], entry["detector/azimuth_deg"][()], strict=True)
        angles = tuple((float(a), float(b)) for a, b in pairs)
    beam_kev = float(about.get("high_voltage_kv", math.nan))
    current_a = 1e-12 * float(about.get("beam_current_pa", math.nan))
    return EdsMeasurement(events, segments, beam_kev, float(scan.get("pixel_nm", math.nan)), current_a, angles, about)
