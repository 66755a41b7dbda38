"""Void fractions of a volume beside the truth, as the demonstration of tomography states them."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import ndimage

from exitwave.profiles.demos.tomography_voids import CRACK_LABEL, SURFACE_NM, VOID_LABELS, void_figures

VOXEL_NM, SIZE, RADIUS_PX, MU = 60.0, 112, 44.0, 0.02
PORE_LABEL = 3


def _labels(*, cracked: bool) -> np.ndarray:
    """Return a ball's labels, with two cracks and a pore in it or whole."""
    z, y, x = np.indices((SIZE,) * 3) - 0.5 * (SIZE - 1)
    labels = np.where(z**2 + y**2 + x**2 < RADIUS_PX**2, 1, 0).astype(np.uint8)
    if cracked:
        within = z**2 + y**2 + x**2 < (RADIUS_PX - 8.0) ** 2
        for across, along in ((y, x), (z, y)):
            labels[within & (np.abs(across - 9.0) < 3.0) & (along < 0.0)] = CRACK_LABEL
        labels[z**2 + (y - 14.0) ** 2 + (x - 22.0) ** 2 < 7.0**2] = PORE_LABEL
    return labels


@pytest.mark.parametrize("cracked", [True, False])
def test_fractions_of_a_noisy_volume_hold_the_truth(tmp_path: Path, cracked: bool) -> None:
    labels = _labels(cracked=cracked)
    with h5py.File(tmp_path / "volume.h5", "w") as file:
        file["labels"] = labels
        file["labels"].attrs["pitch_nm"] = VOXEL_NM
    (tmp_path / "truth.json").write_text(json.dumps({"specimen": {"crack_fraction": 0.0}}))
    rng = np.random.default_rng(11)
    blurred = ndimage.gaussian_filter(np.where(labels == 1, MU, 0.0).astype(np.float32), 1.0)
    halves = [blurred + rng.normal(0.0, 0.4 * MU, blurred.shape).astype(np.float32) for _ in range(2)]
    figures = void_figures(halves, VOXEL_NM, 8.0, tmp_path)
    depth_nm = VOXEL_NM * (np.asarray(ndimage.distance_transform_edt(labels > 0)) - 0.5)
    deep = depth_nm > SURFACE_NM
    assert figures["void_fraction_true"] == pytest.approx(np.isin(labels[deep], VOID_LABELS).mean())
    assert figures["crack_fraction_true"] == pytest.approx((labels[deep] == CRACK_LABEL).mean())
    for kind in ("void", "crack"):
        error = figures[f"{kind}_fraction"] - figures[f"{kind}_fraction_true"]
        # the surface is found to a fifth of a voxel, of which the radius has 22: 3 % of a volume, and of its parts
        assert abs(error) <= 3.0 * figures[f"{kind}_fraction_sd"] + 0.03 * figures[f"{kind}_fraction_true"]
        assert figures[f"{kind}_fraction_sd"] >= figures[f"{kind}_fraction_noise_sd"]
    if not cracked:
        assert figures["signal_to_noise_voxel"] == pytest.approx(2.5 * np.sqrt(2.0), rel=0.01)
    assert (figures["crack_fraction_error"] is None) != cracked
    shells = figures["void_fraction_by_depth"]
    assert [shell["from_nm"] for shell in shells][:2] == [round(SURFACE_NM), 500]
    assert all(abs(shell["fraction"] - shell["true"]) < 0.1 * max(shell["true"], 0.03) for shell in shells)
