"""Events: what one pass counts is what a dense cube holds."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.analysis.eds import (
    Accumulator,
    ChannelIndex,
    EnergyAxis,
    EnergyWindow,
    Events,
    coverage,
    dense_cube,
    join_events,
    region_spectra,
    spectra,
    weighted_maps,
    window_maps,
)
from exitwave.analysis.errors import FileFormatError, OutOfRangeError, ShapeError
from exitwave.analysis.io.eds_files import read_acquisition, read_events, write_events

AXIS = EnergyAxis(256, 0.04, -0.1)
WINDOWS = (EnergyWindow(1.0, 3.0), EnergyWindow(5.0, 6.5))


def draw(seed: int, n: int = 5000, shape: tuple[int, int] = (11, 17), frames: int = 4) -> Events:
    rng = np.random.default_rng(seed)
    frame = np.sort(rng.integers(0, frames, n))
    pixel = rng.integers(0, shape[0] * shape[1], n)
    return Events.from_frame_numbers(
        pixel,
        rng.integers(0, 256, n),
        rng.integers(0, 3, n),
        frame,
        shape=shape,
        axis=AXIS,
        n_segments=3,
        n_frames=frames,
    )


def by_hand(events: Events, window: EnergyWindow) -> np.ndarray:
    energy = AXIS.energies_kev[events.channel]
    inside = (energy >= window.low_kev - 1e-9) & (energy < window.high_kev - 1e-9)
    return np.bincount(events.pixel[inside], minlength=11 * 17).reshape(11, 17)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(0, 6000))
def test_every_way_of_counting_agrees(seed: int, n: int) -> None:
    events = draw(seed, n)
    maps = window_maps(events, WINDOWS)
    for image, window in zip(maps, WINDOWS, strict=True):
        np.testing.assert_array_equal(image, by_hand(events, window))
        np.testing.assert_array_equal(image, dense_cube(events, window=window).sum(axis=0))
    np.testing.assert_array_equal(maps, ChannelIndex.of(events).window_maps(WINDOWS))
    live = Accumulator(events.shape, AXIS, WINDOWS, 3)
    index = ChannelIndex(events.shape, AXIS)
    for k in range(0, n, 700):
        index.add(events.pixel[k : k + 700], events.channel[k : k + 700])
        live.add(events.pixel[k : k + 700], events.channel[k : k + 700], events.segment[k : k + 700])
    np.testing.assert_array_equal(live.maps, maps)
    np.testing.assert_array_equal(index.window_maps(WINDOWS), maps)
    np.testing.assert_array_equal(live.spectra, spectra(events))
    assert live.total.sum() == n == live.n_events
    labels = np.arange(11 * 17).reshape(11, 17) % 4 - 1
    regions = region_spectra(events, labels)
    np.testing.assert_array_equal(regions.sum(), np.isin(events.pixel, np.flatnonzero(labels.ravel() >= 0)).sum())


def test_many_events_in_threads() -> None:
    events = draw(3, 1_600_000)
    maps = window_maps(events, WINDOWS)
    for image, window in zip(maps, WINDOWS, strict=True):
        np.testing.assert_array_equal(image, by_hand(events, window))
    assert spectra(events).sum() == len(events)


def test_an_index_grows_while_photons_come() -> None:
    events, index = draw(5, 700_000), ChannelIndex((11, 17), AXIS)
    whole = ChannelIndex.of(events)
    overlapping = (*WINDOWS, EnergyWindow(2.0, 6.0))
    for k in range(0, len(events), 50_000):
        index.add(events.pixel[k : k + 50_000], events.channel[k : k + 50_000])
        if k == 300_000:
            part = [by_hand(events.select(np.arange(len(events)) < k + 50_000), window) for window in overlapping]
            np.testing.assert_array_equal(index.window_maps(overlapping), part)
    assert len(index) == len(whole) == len(events)
    for one in (index, whole):
        np.testing.assert_array_equal(one.window_maps(overlapping), [by_hand(events, w) for w in overlapping])
    assert whole.nbytes < 4.6 * len(events) + 1e6
    before = index.window_maps(WINDOWS)
    with pytest.raises(OutOfRangeError, match="1 of 2 photons"):
        index.add(np.array([0, 11 * 17], np.uint32), np.zeros(2, np.uint16))
    with pytest.raises(ShapeError, match="2 pixels"):
        index.add(np.zeros(2, np.uint32), np.zeros(1, np.uint16))
    np.testing.assert_array_equal(index.window_maps(WINDOWS), before)
    index.clear()
    assert not index.window_maps(WINDOWS).any()


def test_frames_join_halves_and_thinning() -> None:
    events = draw(4)
    joined = join_events([events.frames(0, 2), events.frames(2, 4)])
    np.testing.assert_array_equal(joined.pixel, events.pixel)
    np.testing.assert_array_equal(joined.frame_starts, events.frame_starts)
    rng = np.random.default_rng(1)
    a, b = events.halves(rng)
    np.testing.assert_array_equal(window_maps(a, WINDOWS) + window_maps(b, WINDOWS), window_maps(events, WINDOWS))
    assert a.n_frames == 4
    kept = len(events.thin(0.3, rng))
    assert abs(kept - 1500) < 5 * np.sqrt(5000 * 0.21)


@pytest.mark.parametrize("bilinear", [False, True])
def test_drift_is_taken_out_photon_by_photon(bilinear: bool) -> None:
    # one photon per pixel and frame of a ramp, the picture displaced by whole pixels
    rows, cols = 24, 30
    truth = np.add.outer(np.arange(rows), np.arange(cols)) % 3
    shifts = np.array([[0, 0], [2, -3], [-1, 4]])
    pixel, frame = [], []
    for number, (dy, dx) in enumerate(shifts):
        y, x = np.indices((rows, cols))
        ys, xs = y - dy, x - dx
        inside = (ys >= 0) & (ys < rows) & (xs >= 0) & (xs < cols)
        counts = np.where(inside, truth[np.clip(ys, 0, rows - 1), np.clip(xs, 0, cols - 1)], 0)
        where = np.repeat(np.arange(rows * cols), counts.ravel())
        pixel.append(where)
        frame.append(np.full(where.size, number))
    every = np.concatenate(pixel)
    events = Events.from_frame_numbers(
        every, np.full(every.size, 50), np.zeros(every.size), np.concatenate(frame), shape=(rows, cols), axis=AXIS
    )
    image = window_maps(events, [EnergyWindow(1.0, 3.0)], shifts_px=shifts, bilinear=bilinear)[0]
    seen = coverage((rows, cols), 3, shifts, bilinear=bilinear)
    np.testing.assert_allclose(image, truth * seen, atol=1e-5)
    assert seen.max() == 3
    assert seen.min() == 1


def test_bilinear_shares_a_photon() -> None:
    events = Events.from_frame_numbers([5 * 17 + 8], [50], [0], [0], shape=(11, 17), axis=AXIS)
    image = window_maps(events, [EnergyWindow(1.0, 3.0)], shifts_px=[[0.25, -0.5]], bilinear=True)[0]
    np.testing.assert_allclose(image[4:6, 8:10], [[0.125, 0.125], [0.375, 0.375]], atol=1e-6)
    assert image.sum() == pytest.approx(1.0)


def test_bad_input_is_named() -> None:
    events = draw(5)
    with pytest.raises(OutOfRangeError, match="outside the detector's range"):
        window_maps(events, [EnergyWindow(9.0, 20.0)])
    with pytest.raises(OutOfRangeError, match="overlaps"):
        window_maps(events, [EnergyWindow(1.0, 3.0), EnergyWindow(2.0, 4.0)])
    with pytest.raises(OutOfRangeError, match="upper end"):
        EnergyWindow(3.0, 1.0)
    with pytest.raises(ShapeError, match=r"one \(dy, dx\) per frame"):
        window_maps(events, WINDOWS, shifts_px=[[0, 0]])
    with pytest.raises(ShapeError, match=r"\(lines, 256\)"):
        weighted_maps(events, np.ones((2, 5), np.float32))
    with pytest.raises(OutOfRangeError, match="GB"):
        dense_cube(events, most_bytes=1000)
    with pytest.raises(OutOfRangeError, match="lie outside"):
        Events.from_frame_numbers([187], [0], [0], [0], shape=(11, 17), axis=AXIS)
    live = Accumulator((11, 17), AXIS, WINDOWS)
    with pytest.raises(OutOfRangeError, match="photons lie outside"):
        live.add(np.array([0], np.uint32), np.array([999], np.uint16), np.array([0], np.uint8))
    assert live.n_events == 0


def test_event_files_come_back(tmp_path: Path) -> None:
    events = draw(6)
    write_events(tmp_path / "e.h5", events, pixel_nm=0.01, beam_kev=200.0)
    back, extra = read_events(tmp_path / "e.h5")
    for name in ("pixel", "channel", "segment", "frame_starts"):
        np.testing.assert_array_equal(getattr(back, name), getattr(events, name))
    assert (back.shape, back.axis, extra) == (events.shape, AXIS, {"pixel_nm": 0.01, "beam_kev": 200.0})
    (tmp_path / "no.h5").write_text("no")
    with pytest.raises(FileFormatError, match="not an event file"):
        read_events(tmp_path / "no.h5")


def test_a_growing_acquisition(tmp_path: Path) -> None:
    """Three events of two complete frames, one of a frame that has not ended."""
    path = tmp_path / "growing.h5"
    with h5py.File(path, "w", libver="latest") as file:
        entry = file.create_group("entry")
        entry.attrs.update({"mode": "artefact", "high_voltage_kv": 200.0})
        entry.create_group("scan").attrs.update({"rows": 4, "columns": 5, "pixel_nm": 0.02})
        entry.create_group("detector").attrs.update({"channel_width_ev": 10.0, "channels": 2048})
        for name, values, kind in (
            ("pixel", [3, 7, 3, 1], "u4"), ("channel", [451, 100, 7, 9], "u2"), ("segment", [0, 1, 1, 0], "u1"),
        ):  # fmt: skip
            entry[f"events/{name}"] = np.array(values, kind)
        frames = entry.create_group("frames")
        frames["event_stop"] = np.array([2, 3], np.uint64)
        frames["real_time_s"] = [1.0, 1.0]
        frames["live_time_s"] = [[0.9, 0.8], [0.9, 0.8]]
        frames["input_counts"] = [[2, 3], [0, 2]]
        frames["output_counts"] = [[1, 1], [0, 1]]
    got = read_acquisition(path)
    assert len(got.events) == 3
    assert got.events.frame_starts.tolist() == [0, 2, 3]
    assert got.metadata["mode"] == "artefact"
    assert (got.beam_kev, got.pixel_nm) == (200.0, 0.02)
    assert got.events.axis.energies_kev[451] == pytest.approx(4.515)
    assert [s.counts for s in got.segments] == [1, 2]
    assert got.segments[1].correction == pytest.approx(1.25)
    (tmp_path / "no.h5").write_text("no")
    with pytest.raises(FileFormatError, match="EDS detector"):
        read_acquisition(tmp_path / "no.h5")
