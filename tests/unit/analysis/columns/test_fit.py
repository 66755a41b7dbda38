"""Columns fitted on Poisson counts, against the truth and against the Cramer-Rao bound worked out here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exitwave.analysis.columns import fit_columns, paper_recipe, write_table
from exitwave.analysis.errors import OutOfRangeError, ShapeError

Make = Callable[..., Any]


def bound(scene: Any) -> np.ndarray:
    """Least standard errors of height and FWHM, (n, 2), all columns and pedestals of cells being free together.

    Fisher information by central differences of the whole image: nothing of it comes from the fit.
    """
    y, x = np.indices(scene.expected.shape)
    nearest = np.argmin([(y - cy) ** 2 + (x - cx) ** 2 for cy, cx in scene.positions], axis=0)
    columns = []
    for j, ((cy, cx), a, w) in enumerate(zip(scene.positions, scene.height, scene.fwhm, strict=True)):

        def one(a: float, cy: float, cx: float, w: float) -> np.ndarray:
            return a * np.exp(-4 * np.log(2) * ((y - cy) ** 2 + (x - cx) ** 2) / w**2)

        at = np.array([a, cy, cx, w])
        columns.append((nearest == j).astype(float))
        for k, step in enumerate((0.1, 1e-3, 1e-3, 1e-3)):
            d = np.zeros(4)
            d[k] = step
            columns.append((one(*(at + d)) - one(*(at - d))) / (2 * step))
    design = np.stack([c.ravel() for c in columns])
    fisher = (design / scene.expected.ravel()) @ design.T
    se = np.sqrt(np.diag(np.linalg.inv(fisher)))
    return np.stack([se[1::5], se[4::5]], axis=1)


@pytest.mark.parametrize(("elliptic", "repeats"), [(False, 200), (True, 60)])
def test_coverage_bias_and_bound(scene: Make, elliptic: bool, repeats: int) -> None:
    """68 % intervals hold the truth in 60-76 % of the repeats; errors are within 1.3 of the bound."""
    truth = scene((4, 5), height=(103.0, 60.0))
    rng = np.random.default_rng(11)
    least = bound(truth)
    inner = [6, 7, 8, 11, 12, 13]
    pulls = []
    for _ in range(repeats):
        start = truth.positions + rng.normal(0, 0.7, truth.positions.shape)
        fit = fit_columns(rng.poisson(truth.expected), start, elliptic=elliptic)
        assert fit.ok.all()
        pulls.append(
            np.stack(
                [
                    (fit.intensity - truth.height) / fit.intensity_se,
                    (fit.fwhm - truth.fwhm) / fit.fwhm_se,
                    (fit.positions[:, 0] - truth.positions[:, 0]) / fit.position_se[:, 0],
                ]
            )
        )
    z = np.array(pulls)
    coverage = (np.abs(z) < 1).mean(axis=(0, 2))
    print("coverage of 68 % intervals of height, FWHM, place:", ", ".join(f"{100 * one:.1f} %" for one in coverage))
    assert ((coverage > 0.60) & (coverage < 0.76)).all(), coverage
    assert (np.abs(z.mean(axis=(0, 2))) < 0.15).all()
    # an ellipse has two parameters more; the bound is that of the circle
    ratio = np.stack([fit.intensity_se, fit.fwhm_se], axis=1)[inner] / least[inner]
    print("standard errors of height and FWHM over the bound:", ", ".join(f"{one:.3f}" for one in ratio.mean(axis=0)))
    assert (ratio.mean(axis=0) < 1.3).all(), ratio.mean(axis=0)
    assert (ratio.mean(axis=0) > 0.8).all()


def test_reported_errors_are_the_scatter(scene: Make) -> None:
    truth = scene((3, 3), height=(200.0, 140.0), pedestal=30.0, fwhm=(10.0, 8.0), spacing=14.0)
    rng = np.random.default_rng(12)
    fits = [fit_columns(rng.poisson(truth.expected), truth.positions) for _ in range(200)]
    widths = np.array([f.fwhm for f in fits])
    np.testing.assert_allclose(widths.std(axis=0), fits[0].fwhm_se, rtol=0.25)
    np.testing.assert_allclose(widths.mean(axis=0), truth.fwhm, atol=4 * widths.std() / 14)


def test_low_counts_and_no_pedestal(scene: Make) -> None:
    truth = scene((4, 4), height=(12.0, 9.0), pedestal=1.0)
    fit = fit_columns(np.random.default_rng(13).poisson(truth.expected), truth.positions)
    assert fit.ok.all()
    assert np.abs((fit.fwhm - 10) / fit.fwhm_se).max() < 4.5
    dark = scene((4, 4), height=(60.0, 60.0), pedestal=0.0)
    fit = fit_columns(np.random.default_rng(14).poisson(dark.expected), dark.positions)
    assert fit.ok.all()
    assert fit.pedestal.max() < 1.0
    assert np.abs((fit.fwhm - 10) / fit.fwhm_se).max() < 4.5


def test_ellipses(scene: Make) -> None:
    y, x = np.indices((60, 60))
    angle, a, b = 0.5, 14.0, 9.0
    u = np.cos(angle) * (y - 29.3) + np.sin(angle) * (x - 30.6)
    v = -np.sin(angle) * (y - 29.3) + np.cos(angle) * (x - 30.6)
    image = 40 + 300 * np.exp(-4 * np.log(2) * (u**2 / a**2 + v**2 / b**2))
    fit = fit_columns(np.random.default_rng(15).poisson(image), [[29, 31]], elliptic=True, radius_px=20, fwhm_px=10)
    assert fit.fwhm[0] == pytest.approx((a * b) ** 0.5, abs=4 * fit.fwhm_se[0])
    assert fit.volume[0] == pytest.approx(300 * np.pi * a * b / (4 * np.log(2)), rel=0.03)
    own = np.linalg.inv(
        np.array([[fit.parameters[0, 4], fit.parameters[0, 5]], [fit.parameters[0, 5], fit.parameters[0, 6]]])
    )
    np.testing.assert_allclose(np.sqrt(np.linalg.eigvalsh(own) * 4 * np.log(2)), [b, a], rtol=0.03)


def test_exposure_is_heeded(scene: Make) -> None:
    truth = scene((3, 4))
    seen = np.ones(truth.expected.shape)
    seen[:, : seen.shape[1] // 2] = 0.4
    seen[:10] = 0.0
    fit = fit_columns(np.random.default_rng(16).poisson(truth.expected * seen), truth.positions, exposure=seen)
    assert np.abs((fit.intensity - 100) / fit.intensity_se).max() < 4
    assert fit.intensity_se[4] > 1.3 * fit.intensity_se[7]


def test_a_fixed_base_makes_widths_of_heights(scene: Make) -> None:
    """The recipe reads a Gaussian at half way from 90: by hand, sqrt(log2(193 / 141.5)) of the width, and so on."""
    truth = scene((6, 6), height=(193.0, 140.0), pedestal=0.0)
    read = paper_recipe(truth.expected, truth.positions, base=90.0, radius_px=11.0, filtered=False)
    for kind, height in enumerate((193.0, 140.0)):
        by_hand = 10 * np.sqrt(np.log2(height / (90 + 0.5 * (height - 90))))
        assert np.nanmedian(read.fwhm[truth.kind == kind]) == pytest.approx(by_hand, abs=0.15)
    right = paper_recipe(truth.expected, truth.positions, base=0.0, radius_px=11.0, filtered=False)
    assert np.nanmedian(right.fwhm) == pytest.approx(10.0, abs=0.15)


def test_bad_input_and_table(scene: Make, tmp_path: Path) -> None:
    truth = scene((3, 3))
    counts = np.random.default_rng(17).poisson(truth.expected)
    with pytest.raises(OutOfRangeError, match="raw map"):
        fit_columns(counts - 200.0, truth.positions)
    with pytest.raises(OutOfRangeError, match="within the map"):
        fit_columns(counts, truth.positions + 500)
    with pytest.raises(ShapeError, match=r"\(rows, cols\)"):
        fit_columns(counts[0], truth.positions)
    fit = fit_columns(counts, truth.positions)
    path = write_table(tmp_path / "columns.csv", fit.table(pixel_pm=10.0))
    lines = path.read_text().splitlines()
    assert lines[0] == "number,y_pm,x_pm,intensity,intensity_se,fwhm_pm,fwhm_se_pm,pedestal,status"
    assert float(lines[1].split(",")[5]) == pytest.approx(10 * fit.fwhm[0], rel=1e-5)
    assert lines[1].endswith("converged")
