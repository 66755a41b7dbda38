"""The comparison with the truth of voxels, against places and spectra put in by hand."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from exitwave.analysis.tomography import Geometry
from exitwave.analysis.xanes import Normalisation, StackOperator, VolumeAlignment, edge_map
from exitwave.profiles.demos import xanes_volume_truth

ANGLES, SIZE, CORNER, BINNING = 24, 96, 816, 2
ENERGIES = np.concatenate([np.arange(8240, 8310, 10.0), np.arange(8320, 8350, 1.0), np.arange(8380, 8500, 20.0)])


def written(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in [{"epoch_s": 1000.0, "speed": 10.0}, *lines]))
    return path


def test_the_place_of_the_specimen_is_found_and_errors_are_seen(tmp_path: Path) -> None:
    rng, middle = np.random.default_rng(3), 0.5 * (SIZE - 1)
    geometry = Geometry(np.arange(ANGLES) * 180.0 / ANGLES, SIZE, middle + 1.3)
    scales, lines, tomograms, operators = (1.01, 0.99), [], [], []
    for k, scale in enumerate(scales):
        shift = rng.normal(0.0, 1.0, (ANGLES, 2))
        column = geometry.centre + 4.0 * geometry.cosines - 7.0 * geometry.sines
        seen = middle + scale * (np.stack([np.full(ANGLES, 40.0), column], axis=1) - middle) + shift
        sensor = (seen + 0.5) * BINNING - 0.5 + CORNER
        start_s = 10.0 * (k * ANGLES + np.arange(ANGLES))
        lines += [
            {"t_s": float(t), "row": float(place[0]), "column": float(place[1])}
            for t, place in zip(start_s, sensor, strict=True)
        ]
        # the camera's clock and the world's differ by some ms
        tomograms.append(SimpleNamespace(times_s=1000.0 + start_s / 10.0 + 0.02))
        operators.append(StackOperator(np.full(ANGLES, scale), shift, (middle, middle)))
    log = written(tmp_path / "frames.jsonl", [{"t_s": 0.0, "camera": "HR1"}, *lines])
    alignment = VolumeAlignment(tuple(operators), geometry, 0.0)
    series: Any = tomograms
    found = xanes_volume_truth.placing(series, alignment, log, CORNER, BINNING)
    assert (found.row, found.x, found.z) == pytest.approx((40.0, 4.0, -7.0), abs=1e-6)
    assert found.rms_px == pytest.approx(0.0, abs=1e-6)
    moved = tuple(operator.refined(np.tile([[0.3, 0.0], [-0.3, 0.0]], (ANGLES // 2, 1))) for operator in operators)
    wrong = xanes_volume_truth.placing(series, VolumeAlignment(moved, geometry, 0.0), log, CORNER, BINNING)
    # the rows are off by 0.3, the columns are not
    assert wrong.rms_px == pytest.approx(0.3 / np.sqrt(2.0), rel=0.02)


def spectrum(offset: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 + np.arctan(offset / 2.0) / np.pi)


def test_voxels_have_the_edges_of_the_states_that_they_hold(tmp_path: Path) -> None:
    fine = np.arange(8200.0, 8560.0, 0.25)
    columns = [100.0 + 250.0 * spectrum(fine - 8333.0 - move) for move in (0.0, 1.5, 3.0)]
    header = "energy NMC622_Ni2+ NMC622_Ni3+ NMC622_Ni4+"
    np.savetxt(tmp_path / "spectra.txt", np.stack([fine, *columns], axis=1), header=header)
    place = np.arange(60) - 29.5
    radius = np.sqrt(place[:, None, None] ** 2 + place[None, :, None] ** 2 + place[None, None, :] ** 2)
    valence = np.where(radius < 26.0, np.where(radius < 14.0, 2.0, 2.5), np.nan).astype(np.float16)
    with h5py.File(tmp_path / "volume.h5", "w") as file:
        file["valence"] = valence
        file["valence"].attrs["pitch_nm"] = 28.0
    normalisation = Normalisation(ENERGIES, 8333.0, (-90.0, -28.0), (45.0, 150.0), order=1)
    # voxels of two pixels: the specimen's origin stands half a pixel below the middle row, 3 pixels aside
    mask = np.zeros((20, 20, 20), np.bool_)
    where = xanes_volume_truth.Placing(row=2 * 9.5 + 0.5, x=2.0, z=-4.0, rms_px=0.0)
    core, shell = (9, 8, 10), (9, 8, 17)
    mask[core] = mask[shell] = True
    edge = xanes_volume_truth.true_edges(tmp_path, where, mask, 84.0, 2, normalisation)
    pure = [
        float(edge_map(np.interp(ENERGIES, fine, column).astype(np.float32), normalisation).energy_ev)
        for column in (columns[0], 0.5 * (columns[0] + columns[1]))
    ]
    assert np.isfinite(edge).sum() == 2
    assert edge[core] == pytest.approx(pure[0], abs=0.03)
    assert edge[shell] == pytest.approx(pure[1], abs=0.03)
    assert edge[shell] - edge[core] > 0.5
