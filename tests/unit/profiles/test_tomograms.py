"""Volumes out of recorded files, as the command line makes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from exitwave.analysis.errors import OutOfRangeError
from exitwave.analysis.io import Frames, Series, open_volume, write_data_exchange, write_nxtomo
from exitwave.analysis.tomography import Recipe
from exitwave.cli import app
from exitwave.profiles.storage import ExportFormatError
from exitwave.profiles.tomograms import parse_region, parse_rows, reconstruct_command

WIDTH, ROWS, CENTRE, MU = 64, 36, 30.4, 0.01


@pytest.fixture
def series() -> Series:
    angles = np.arange(0.0, 360.0, 4.0)
    column, row = np.arange(WIDTH), np.arange(ROWS)[:, None]
    across = column[None, None, :] - (CENTRE + 9.0 * np.cos(np.radians(angles)))[:, None, None]
    chords = 2.0 * np.sqrt(np.maximum(13.0**2 - across**2 - (row - 17.0)[None] ** 2, 0.0))
    frames = 200 + 40_000 * np.exp(-MU * chords)
    counts = [frames, np.full((4, ROWS, WIDTH), 40_200.0), np.full((4, ROWS, WIDTH), 200.0)]
    kinds = [Frames.of_array(np.round(part).astype(np.uint16)) for part in counts]
    return Series(kinds[0], kinds[1], kinds[2], angles_deg=angles, pixel_nm=40.0)


@pytest.mark.parametrize(("name", "write"), [("scan.h5", write_data_exchange), ("scan.nxs", write_nxtomo)])
def test_a_file_becomes_a_volume_with_a_picture(
    series: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, write: object
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name, series)  # type: ignore[operator]
    arguments = ["reconstruct", name, "--no-stripes", "--rows", "10:26", "--method", "fbp", "--json", "figures.json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["centre_px"] == pytest.approx(CENTRE, abs=0.05)
    assert (figures["axis_from"], figures["shape"]) == ("pairs", [16, WIDTH, WIDTH])
    assert (tmp_path / figures["picture"]).stat().st_size > 1000
    with open_volume(tmp_path / figures["volume"]) as (data, info):
        assert info.first_row == 10
        half = 0.5 * (WIDTH - 1)
        assert data[7, round(half) - 3 : round(half) + 4, round(half + 9) - 3 : round(half + 9) + 4].mean() == (
            pytest.approx(MU, rel=0.03)
        )


def test_files_that_are_there_are_kept_unless_asked(series: Series, tmp_path: Path) -> None:
    write_data_exchange(tmp_path / "scan.h5", series)
    out = tmp_path / "out.h5"
    out.with_suffix(".png").write_text("a picture")
    recipe = Recipe(centre_px=CENTRE)

    def make(*, overwrite: bool) -> int:
        return reconstruct_command(
            str(tmp_path / "scan.h5"), recipe, out=out, pixel_nm=None, overwrite=overwrite, json_path=None
        )

    with pytest.raises(ExportFormatError, match=r"out\.png: exists"):
        make(overwrite=False)
    assert not out.exists()
    assert make(overwrite=True) == 0
    assert out.exists()


@pytest.mark.parametrize("text", ["3-5", "a:b", "7", ":4"])
def test_rows_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(OutOfRangeError, match="FIRST:PAST"):
        parse_rows(text)


def test_rows() -> None:
    assert parse_rows("512:768") == (512, 768)
    assert parse_rows(None) is None


@pytest.mark.parametrize("text", ["3:5", "3:5,", "3:5,6", "a:b,1:2", "1:2,3:4,5:6"])
def test_regions_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(OutOfRangeError, match="along z and along x"):
        parse_region(text)


def test_regions() -> None:
    assert parse_region("3:5,10:20") == (3, 5, 10, 20)
    assert parse_region(None) is None
