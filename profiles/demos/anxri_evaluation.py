"""From the events of a spectrum image to numbered columns, their widths, differences beside nulls, and words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.columns import (
    ColumnFit,
    Comparison,
    JointFit,
    classify_sites,
    compare_species,
    compare_windows,
    expected_fwhm_pm,
    fit_columns,
    intensity_ratio,
    write_table,
)
from exitwave.analysis.io.eds_files import EdsMeasurement
from exitwave.profiles.demos.anxri_expected import USUAL_SHARE, WIDTH_SHARE, Optics, expected_widths
from exitwave.profiles.demos.anxri_pictures import draw_pictures
from exitwave.profiles.demos.anxri_precision import WidthPrecision, width_precision
from exitwave.profiles.demos.anxri_scene import Scene, find_scene
from exitwave.profiles.demos.anxri_specimens import E1, E2, Specimen

__all__ = ["evaluate"]

Array = npt.NDArray[np.float64]

RECIPE_BASE = 90.0
"""Of the published recipe, counts."""
PAPER_PEAK = 159.5
"""Mean of the published peak intensities, both windows and both kinds of columns."""
REPEATS = 6


def evaluate(
    measurement: EdsMeasurement,
    haadf: npt.NDArray[Any],
    specimen: Specimen,
    out: Path,
    name: str,
    *,
    source_fwhm_pm: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return the figures of one spectrum image, and write its pictures and tables.

    Parameters
    ----------
    measurement : EdsMeasurement
    haadf : array (frames, rows, cols)
        Dark-field frames: they tell by how much the scan did not follow the specimen.
    specimen : Specimen
    out, name : Path, str
        Folder and beginning of the names of what is written.
    source_fwhm_pm : float
        Image of the source, as the column says.
    rng : numpy Generator
        For nulls, bootstrap and permutations.

    Raises
    ------
    FitError
        The counts do not show columns.
    """
    about, pixel_pm = measurement.metadata, 1e3 * measurement.pixel_nm
    scene = find_scene(measurement, specimen, pixel_pm, np.asarray(haadf, np.float32))
    pixel_pm = scene.pixel_pm
    starts = [scene.fit(scene.maps[k], k) for k in (0, 1)]
    two = len(specimen.names) == 2
    kinds = classify_sites(scene.lattice, starts[0].intensity) if two else np.zeros(len(scene.positions), np.int64)
    groups = np.where(scene.chosen, kinds, -1)

    halves: list[JointFit] = []

    def fitter(counts: Array, window: int) -> ColumnFit:
        found = scene.fit(counts, window, starts[max(window, 0)])
        if window < 0:  # photons of both windows, dealt at random: two fits of the same columns, one after the other
            halves.append(found)
        return found

    def of_window(window: int) -> Callable[[Array, int], ColumnFit]:
        return lambda counts, _: fitter(counts, window)

    optics = Optics(measurement.beam_kev, float(about["convergence_mrad"]), source_fwhm_pm)
    expected = expected_widths(scene, starts, kinds, specimen, optics)
    base = RECIPE_BASE * max(_peak(starts, scene.chosen) / PAPER_PEAK, 0.01)
    windows = compare_windows(
        scene.maps[0], scene.maps[1], scene.positions, pixel_pm=pixel_pm, expected_pm=expected.window[0],
        expected_se_pm=expected.window[1], recipe_base=base, choose=scene.chosen, repeats=REPEATS, rng=rng,
        fitter=fitter,
    )  # fmt: skip
    species: list[Comparison] = []
    if two:
        for k in (0, 1):
            species.append(
                compare_species(
                    scene.maps[k],
                    scene.positions,
                    groups,
                    pixel_pm=pixel_pm,
                    expected_pm=expected.species[k][0],
                    expected_se_pm=expected.species[k][1],
                    recipe_base=base,
                    names=specimen.names,
                    repeats=REPEATS * (1 - k),
                    rng=rng,
                    fitter=of_window(k),
                )
            )
    precision = width_precision(scene, starts, halves, kinds)
    figures = _figures(
        about, scene, starts, kinds, specimen, windows, species, expected.fwhm, optics.beam_kev, precision
    )
    figures |= {"recipe_base_counts": base, "mode": str(about["mode"])}
    figures["picture"] = str(
        draw_pictures(measurement, np.sum(haadf, axis=0), scene, starts, kinds, specimen, figures, out, name)
    )
    for k, window in enumerate((E1, E2)):
        table = starts[k].table(pixel_pm) | {"kind": kinds, "compared": scene.chosen.astype(int)}
        write_table(out / f"{name}-{window.name}.csv", table)
    return figures


def _peak(fits: list[JointFit], chosen: npt.NDArray[np.bool_]) -> float:
    return float(np.mean([np.median((f.intensity + f.pedestal)[chosen]) for f in fits]))


def _figures(
    about: dict[str, Any],
    scene: Scene,
    fits: list[JointFit],
    kinds: npt.NDArray[np.int64],
    specimen: Specimen,
    windows: Comparison,
    species: list[Comparison],
    ideal_fwhm_pm: float,
    beam_kev: float,
    precision: WidthPrecision,
) -> dict[str, Any]:
    mode, two = str(about["mode"]), bool(species)
    given = {"phenomenological": "blur_", "artefact": ""}.get(mode)
    # What the simulator says it put in: read for this comparison alone. In first principles nothing is.
    injected = None if given is None else (float(about["blur_window_pm"]) if given else 0.0)
    put_in = None if given is None or not two else (float(about["blur_species_pm"]) if given else 0.0)
    groups = np.where(scene.chosen, kinds, -1)
    ratios = [intensity_ratio(fit, groups) for fit in fits] if two else []
    comparisons = {"windows": windows} | {f"species_E{k + 1}": one for k, one in enumerate(species)}
    out: dict[str, Any] = {
        "columns": int(scene.chosen.sum()),
        "columns_fitted": len(scene.positions),
        "pixel_pm": scene.pixel_pm,
        "blur_between_frames_pm": scene.blur_pm,
        "peak_counts": [float(np.mean(fit.intensity[scene.chosen])) for fit in fits],
        "fwhm_pm": [float(scene.pixel_pm * np.mean(fit.fwhm[scene.chosen])) for fit in fits],
        "pedestal_counts": [float(fit.pedestal[0]) for fit in fits],
        "injected_window_pm": injected,
        "window_difference_pm": windows.fit.mean,
        "window_se_pm": windows.se,
        # what one pedestal for all leaves uncertain in the mean; it is in the errors beside the scatter
        "common_se_pm": [one.common_se for one in comparisons.values()],
        "null_p_value": None if windows.half_split is None else windows.half_split.p_value(windows.fit.mean),
        "first_principles_window_pm": windows.expected_pm,
        # half of the range that the probe's unknown aberrations leave
        "first_principles_window_se_pm": windows.expected_se_pm,
        "injected_species_pm": put_in,
        "species_difference_pm": species[0].fit.mean if two else None,
        "species_se_pm": species[0].se if two else None,
        "first_principles_species_pm": species[0].expected_pm if two else None,
        "first_principles_species_se_pm": species[0].expected_se_pm if two else None,
        "species_difference_E2_pm": species[1].fit.mean if two else None,
        "species_se_E2_pm": species[1].se if two else None,
        # the whole Fisher information is inverted: the stated error is the bound
        "fwhm_se_over_bound": precision.se_over_bound,
        "fwhm_se_over_bound_se": precision.se_over_bound_se,
        # what columns of one kind scatter by, over what counting alone would make: those of a real specimen differ
        "fwhm_scatter_over_bound": precision.scatter_over_bound,
        "columns_differ_pm": precision.columns_differ_pm,
        "pi_ratio": ratios[0].ratio if two else None,
        "pi_ratio_se": ratios[0].se if two else None,
        "pi_ratio_E2": ratios[1].ratio if two else None,
        "injected_pi_ratio": float(about["peak_ratio"]) if two and mode == "phenomenological" else None,
        "recipe_window_difference_pm": None if windows.recipe is None else windows.recipe.mean,
        "recipe_species_difference_pm": species[0].recipe.mean if two and species[0].recipe is not None else None,
        "yield_scale": float(about["yield_scale"]),
        "comparisons": {key: one.figures() for key, one in comparisons.items()},
    }
    local = [fit_columns(m, scene.positions, exposure=scene.live) for m in scene.maps]
    good = scene.chosen & local[0].ok & local[1].ok
    out["own_pedestals_window_difference_pm"] = float(
        scene.pixel_pm * np.mean((local[0].fwhm - local[1].fwhm)[good])
    )  # fmt: skip
    out["expected_fwhm_pm"] = ideal_fwhm_pm
    parts = [windows.verdict.words, *(one.verdict.words for one in species[:1])]
    if two:
        lone = [expected_fwhm_pm(specimen.kinds[k], E1, beam_kev=beam_kev, probe_fwhm_pm=ideal_fwhm_pm) for k in (0, 1)]
        out["lone_species_pm"] = lone[0] - lone[1]
        parts.append(
            f"Lone columns of {specimen.names[0]} would be wider by {lone[0] - lone[1]:+.2f} pm; tails of the probe "
            "under neighbours make the rest of what is expected."
        )
    if precision.columns_differ_pm > 0.0:
        parts.append(precision.words)
    out["verdict"] = " ".join([*parts, _widths_words(float(np.mean(out["fwhm_pm"])), ideal_fwhm_pm)])
    return dict(json.loads(json.dumps(out).replace("NaN", "null")))


def _widths_words(found_pm: float, expected_pm: float) -> str:
    """Say whether the columns are as wide as atoms under this probe, whose aberrations nobody knows."""
    words = f"The widths themselves, {found_pm:.1f} pm, are"
    rest = f"those of independent atoms under this probe ({expected_pm:.1f} pm without aberrations)"
    more = found_pm / expected_pm - 1.0
    if abs(more) < USUAL_SHARE:
        return f"{words} {rest}."
    if 0.0 < more < WIDTH_SHARE:
        return (
            f"{words} {100.0 * more:.0f} % over {rest}: aberrations can make as much, widths alone do not tell them "
            "from another cause."
        )
    return f"{words} not {rest}: what was imaged is not what first principles describe."
