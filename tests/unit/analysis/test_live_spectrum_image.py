"""Spectrum images followed while the detector's file grows, at 500 000 photons a second and more."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from exitwave.analysis.eds import EnergyWindow
from exitwave.analysis.errors import FileFormatError, OutOfRangeError
from exitwave.analysis.live.spectrum_image import LiveSpectrumImage
from exitwave.simulators.stem.event_file import EventFile, Events, FrameEnd, Heading

WINDOWS = (EnergyWindow(3.53, 4.29, "E1"), EnergyWindow(5.24, 6.00, "E2"))
SIDE, SPACING, SIGMA = 96, 16.0, 3.4
SEGMENTS = 4


def _file(path: Path) -> EventFile:
    heading = Heading(
        {"mode": "artefact", "specimen": "drawn here"},
        {"rows": SIDE, "columns": SIDE, "pixel_nm": 0.02, "dwell_s": 1e-4},
        {"channel_width_ev": 10.0, "channels": 2048},
        {"solid_angle_sr": np.full(SEGMENTS, 0.17)},
        SEGMENTS,
        (),
    )
    return EventFile(path, heading)


def _photons(rng: np.random.Generator, frame: int, n: int) -> Events:
    """Columns on a square lattice of `SPACING` pixels; a third of the photons in each window."""
    sites = SPACING * (0.5 + rng.integers(0, round(SIDE / SPACING), (n, 2)))
    where = np.clip(np.rint(sites + rng.normal(0.0, SIGMA, (n, 2))), 0, SIDE - 1).astype(np.uint32)
    pixel = np.sort(where[:, 0] * SIDE + where[:, 1]).astype(np.uint32)
    channel = rng.choice(np.array([390, 560, 900], np.uint16), n)
    return Events(frame, pixel, rng.integers(0, SEGMENTS, n).astype(np.uint8), channel)


def _end(n: int) -> FrameEnd:
    counts = np.full(SEGMENTS, n // SEGMENTS)
    live = np.full(SEGMENTS, 0.09)
    return FrameEnd(0.0, 0.1, live, 2 * counts, counts, {})


def test_photons_are_taken_once_also_within_a_frame(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    writer = _file(tmp_path / "events.h5")
    first, second = _photons(rng, 0, 40_000), _photons(rng, 1, 30_000)
    with LiveSpectrumImage(tmp_path / "events.h5", WINDOWS, locking=None, indexed=True) as live:
        assert live.update() == 0
        assert live.state().columns == 0
        writer.append(first)
        writer.end_frame(_end(40_000))
        writer.flush()
        assert live.update() == 40_000
        assert live.frames == 1
        writer.append(second)  # this frame is not over
        writer.flush()
        assert live.update() == 30_000
        assert live.update() == 0
        state = live.state()
        assert (state.events, state.frames) == (70_000, 1)
        assert state.input_cps == pytest.approx(800_000.0)
        assert state.output_cps == pytest.approx(400_000.0)
        channels = np.concatenate([first.channel, second.channel])
        np.testing.assert_array_equal(live.spectrum(), np.bincount(channels, minlength=2048))
        pixels = np.concatenate([first.pixel, second.pixel])[channels == 390]
        np.testing.assert_array_equal(live.sums.maps[0].ravel(), np.bincount(pixels, minlength=SIDE**2))
        # windows that nobody thought of before, one over another
        wider, line = live.window_maps([EnergyWindow(3.0, 6.0), EnergyWindow(8.5, 9.5)])
        np.testing.assert_array_equal(wider, live.sums.maps.sum(axis=0))
        assert line.sum() == (channels == 900).sum()
        assert live.about["mode"] == "artefact"
    writer.close()


def test_precision_falls_with_the_root_of_the_counts(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    writer = _file(tmp_path / "events.h5")
    errors = []
    with LiveSpectrumImage(tmp_path / "events.h5", WINDOWS, locking=None) as live:
        for frame in range(8):
            writer.append(_photons(rng, frame, 100_000))
            writer.end_frame(_end(100_000))
            writer.flush()
            live.update()
            errors.append(live.state().fwhm_se_pm)
        assert live.state().columns == (SIDE / SPACING) ** 2
        with pytest.raises(OutOfRangeError, match="indexed=True"):
            live.window_maps(WINDOWS)
    writer.close()
    first, last = np.array(errors[1]), np.array(errors[7])
    np.testing.assert_allclose(first / last, 2.0, rtol=0.1)
    # Without a pedestal a Gaussian of N counts has FWHM / (2 sqrt N); a free pedestal costs some more.
    per_column = 8 * 100_000 / 3 / (SIDE / SPACING) ** 2
    least = 20.0 * 2.355 * SIGMA / (2.0 * np.sqrt(per_column))
    assert (last > least).all()
    assert (last < 2.5 * least).all()


def test_half_a_million_photons_a_second(tmp_path: Path) -> None:
    """Read, map and fit in far less than the time in which they came (10 s of 500 kcps)."""
    rng = np.random.default_rng(5)
    writer = _file(tmp_path / "events.h5")
    with LiveSpectrumImage(tmp_path / "events.h5", WINDOWS, locking=None) as live:
        writer.append(_photons(rng, 0, 200_000))
        writer.flush()
        live.update()
        live.state()  # compiles
        spent = 0.0
        for _ in range(6):  # refreshed every 1.67 s
            writer.append(_photons(rng, 0, 833_333))
            writer.flush()
            begin = time.process_time()
            live.update()
            live.state()
            spent += time.process_time() - begin
    writer.close()
    print(f"{6 * 833_333 / spent:.3g} photons per second of processor time, fits included")
    assert 6 * 833_333 / spent > 500_000


def test_what_is_no_file_of_events(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"none\.h5"):
        LiveSpectrumImage(tmp_path / "none.h5", WINDOWS)
