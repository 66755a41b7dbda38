"""From the events of a spectrum image to numbered columns, their widths, differences beside nulls, and words."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.columns import (
    Column,
    ColumnFit,
    Comparison,
    JointFit,
    Lattice,
    classify_sites,
    compare_species,
    compare_windows,
    expected_map,
    find_columns,
    fit_columns,
    fit_columns_jointly,
    fit_lattice,
    intensity_ratio,
    minor_sites,
    write_table,
)
from exitwave.analysis.drift import small_shift
from exitwave.analysis.eds import EnergyWindow, Events, spectra, weighted_maps, window_maps
from exitwave.analysis.io.eds_files import EdsMeasurement

__all__ = ["SPECIMENS", "Specimen", "evaluate"]

Array = npt.NDArray[np.float64]

E1, E2 = EnergyWindow(3.53, 4.29, "E1"), EnergyWindow(5.24, 6.00, "E2")
TAIL = 0.002
"""Part of the pulses with incomplete charge, anywhere below their line: a peak to background of 20 000 to 1 for Mn K,
as makers of such detectors state."""
RECIPE_BASE = 90.0
"""Of the published recipe, counts."""
PAPER_PEAK = 159.5
"""Mean of the published peak intensities, both windows and both kinds of columns."""
WIDTH_SHARE = 0.12
"""How much wider than under an ideal probe columns may be for their widths to count as explained."""
REPEATS = 6


@dataclass(frozen=True)
class Specimen:
    """What is known of a specimen before it is looked at.

    Attributes
    ----------
    profile : str
        Microscope of the published measurement.
    elements : mapping of str to float
        Atoms per formula unit.
    field_nm, size : float, int
        Of the scan.
    columns : int
        How many are compared, those nearest to the middle.
    spacing_pm : float
        Between nearest columns.
    area_pm2 : float
        Of the cell that holds one column.
    kinds : mapping of int to Column
        0 and 1 are compared; 2 stands in the middle of the cells and takes part.
    names : tuple of str
        Of kinds 0 and 1; empty where there is one kind.
    lines : tuple of EnergyWindow
        Of which maps are shown.
    exposure_s : mapping of str to float
        Dwell per pixel, all frames, for the published counts with physical yields at 100 pA; by mode.
    """

    profile: str
    elements: dict[str, float]
    field_nm: float
    size: int
    columns: int
    spacing_pm: float
    area_pm2: float
    kinds: dict[int, Column]
    names: tuple[str, ...] = ()
    lines: tuple[EnergyWindow, ...] = ()
    exposure_s: dict[str, float] = field(default_factory=dict)


SPECIMENS: dict[str, Specimen] = {
    "SrTiO3": Specimen(
        "titan_g2",
        {"Sr": 1.0, "Ti": 1.0, "O": 3.0},
        3.6,
        106,
        128,
        276.1,
        0.5 * 390.5**2,
        {
            0: Column.of("Sr", 0.62),
            1: Column((("Ti", 1.0, 0.44), ("O", 1.0, 0.73))),
            2: Column.of("O", 0.73),
        },
        ("Sr", "Ti/O"),
        (EnergyWindow(1.65, 2.0, "Sr L"), EnergyWindow(4.35, 4.7, "Ti Ka")),
        {"first-principles": 0.9, "phenomenological": 2.9, "artefact": 0.9},
    ),
    "NPG-Pd-Pt": Specimen(
        "arm300f",
        {"Au": 0.5, "Pd": 0.2, "Pt": 0.3},
        2.0,
        72,
        20,
        246.2,
        0.5 * 402.0**2 / math.sqrt(2.0),
        {0: Column((("Au", 0.5, 0.61), ("Pd", 0.2, 0.45), ("Pt", 0.3, 0.32)))},
        (),
        (EnergyWindow(2.0, 2.3, "Au and Pt M"), EnergyWindow(2.7, 3.0, "Pd L")),
        {"first-principles": 0.17, "phenomenological": 0.23, "artefact": 0.2},
    ),
}


@dataclass
class _Scene:
    """Maps of both windows, and where the columns are."""

    maps: Array
    live: Array
    tails: Array
    pixel_pm: float
    positions: Array
    lattice: Lattice
    minor: Array
    chosen: npt.NDArray[np.bool_]
    blur_pm: float = 0.0

    def fit(self, counts: Array, window: int, start: ColumnFit | None = None) -> JointFit:
        """Fit a map of a window; of photons of both windows (-1) or thinned ones the tails go with the counts."""
        pair = self.tails.sum(axis=0) if window < 0 else self.tails[window]
        whole = self.maps.sum() if window < 0 else self.maps[window].sum()
        known = pair * (counts.sum() / whole)
        found = fit_columns_jointly(
            counts, self.positions, minor=self.minor, exposure=self.live, known=known, start=start
        )
        return _narrowed(found, self.blur_pm / self.pixel_pm)


def _narrowed(fit: JointFit, blur_px: float) -> JointFit:
    """Take a known blur (full width, pixels) out of the widths, in quadrature as Gaussians add."""
    parameters, covariance = fit.parameters.copy(), fit.covariance.copy()
    p = fit.parameters[:, 4]
    parameters[:, 4] = 1.0 / np.maximum(1.0 / p - blur_px**2 / (4.0 * math.log(2.0)), 1e-3 / p)
    slope = (parameters[:, 4] / p) ** 2
    covariance[:, 4, :] *= slope[:, None]
    covariance[:, :, 4] *= slope[:, None]
    # FWHM goes as p^-1/2
    wider = slope * (p / parameters[:, 4]) ** 1.5
    return JointFit(parameters, covariance, fit.status, fit.width_covariance * wider[:, None] * wider[None, :])


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
    scene = _scene(measurement, specimen, pixel_pm, np.asarray(haadf, np.float32))
    pixel_pm = scene.pixel_pm
    starts = [scene.fit(scene.maps[k], k) for k in (0, 1)]
    two = len(specimen.names) == 2
    kinds = classify_sites(scene.lattice, starts[0].intensity) if two else np.zeros(len(scene.positions), np.int64)
    groups = np.where(scene.chosen, kinds, -1)

    def fitter(counts: Array, window: int) -> ColumnFit:
        return scene.fit(counts, window, starts[max(window, 0)])

    optics = {
        "beam_kev": measurement.beam_kev,
        "convergence_mrad": float(about["convergence_mrad"]),
        "source_fwhm_pm": source_fwhm_pm,
    }
    expected = _expected(scene, starts, kinds, specimen, optics)
    base = RECIPE_BASE * max(_peak(starts, scene.chosen) / PAPER_PEAK, 0.01)
    windows = compare_windows(
        scene.maps[0], scene.maps[1], scene.positions, pixel_pm=pixel_pm, expected_pm=expected["window"],
        recipe_base=base, choose=scene.chosen, repeats=REPEATS, rng=rng, fitter=fitter,
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
                    expected_pm=expected[f"species {k}"],
                    recipe_base=base,
                    names=specimen.names,
                    repeats=REPEATS * (1 - k),
                    rng=rng,
                    fitter=lambda counts, _, k=k: fitter(counts, k),  # type: ignore[misc]
                )
            )
    figures = _figures(about, scene, starts, kinds, specimen, windows, species, expected["fwhm"])
    figures |= {"recipe_base_counts": base, "mode": str(about["mode"])}
    figures["picture"] = str(
        _pictures(measurement, np.sum(haadf, axis=0), scene, starts, kinds, specimen, figures, out, name)
    )
    for k, window in enumerate((E1, E2)):
        table = starts[k].table(pixel_pm) | {"kind": kinds, "compared": scene.chosen.astype(int)}
        write_table(out / f"{name}-{window.name}.csv", table)
    return figures


# -- maps and columns -------------------------------------------------------------------------------------------------


def _scene(
    measurement: EdsMeasurement, specimen: Specimen, nominal_pm: float, frames: npt.NDArray[np.float32]
) -> _Scene:
    events = measurement.events
    maps = np.asarray(window_maps(events, (E1, E2)), np.float64)
    positions = find_columns(maps.sum(axis=0), spacing_px=specimen.spacing_pm / nominal_pm)
    lattice = fit_lattice(positions)
    # The lattice is known better than the deflectors: it gives the pixel.
    area_px = abs(lattice.a[0] * lattice.b[1] - lattice.a[1] * lattice.b[0])
    pixel_pm = math.sqrt(specimen.area_pm2 / area_px)
    minor = minor_sites(lattice, positions, events.shape, centred=2 in specimen.kinds)
    middle = 0.5 * (np.array(events.shape) - 1)
    nearest = np.argsort(np.hypot(*(positions - middle).T))[: specimen.columns]
    chosen = np.zeros(len(positions), bool)
    chosen[nearest] = True
    return _Scene(
        maps,
        _live_share(measurement),
        _tails(events),
        pixel_pm,
        positions,
        lattice,
        minor,
        chosen,
        _blur_px(frames) * pixel_pm,
    )


def _blur_px(frames: npt.NDArray[np.float32]) -> float:
    """Return the full width, pixels, of what frames that stand beside one another do to their sum.

    Each frame is compared with their mean; the variance of the comparison itself is taken off.
    """
    if len(frames) < 3:
        return 0.0
    mean = frames.mean(axis=0)
    found = [small_shift(mean, frame, reach_px=3.0) for frame in frames]
    places = np.array([(one.dy, one.dx) for one in found])
    errors = np.array([(one.dy_sd, one.dx_sd) for one in found])
    variance = max(float(places.var(axis=0).mean() - (errors**2).mean()), 0.0)
    return math.sqrt(8.0 * math.log(2.0) * variance)


def _live_share(measurement: EdsMeasurement) -> Array:
    """Return the part of the dwell in which the detectors were free, pixel by pixel.

    Bright columns keep them busier, which would flatten their tops. The measured rate r = n exp(-n tau) is solved for
    the true one, n (G. F. Knoll, Radiation Detection and Measurement, section 4.VII).
    """
    events, about = measurement.events, measurement.metadata
    share = np.ones(events.shape)
    lost = 1.0 - sum(s.live_s for s in measurement.segments) / sum(s.real_s for s in measurement.segments)
    if lost < 1e-4:
        return share
    dwell_s = float(about["scan"]["dwell_s"]) * events.n_frames
    counted = np.bincount(events.pixel, minlength=share.size).reshape(events.shape)
    rate = counted / (dwell_s * events.n_segments)
    true = rate.copy()
    for _ in range(20):
        true = rate * np.exp(np.minimum(true * float(about["detector"]["dead_time_s"]), 1.0))
    return np.asarray(np.where(true > 0, rate / np.maximum(true, 1e-12), 1.0))


def _tails(events: Events) -> Array:
    """Return the counts that pulses with incomplete charge leave in the windows, float64 (2, rows, cols)."""
    energies = events.axis.energies_kev
    table = np.zeros((2, energies.size), np.float32)
    for k, window in enumerate((E1, E2)):
        above = energies > window.high_kev + 0.1
        table[k, above] = TAIL * window.width_kev / energies[above]
    return np.asarray(weighted_maps(events, table), np.float64)


def _peak(fits: list[JointFit], chosen: npt.NDArray[np.bool_]) -> float:
    return float(np.mean([np.median((f.intensity + f.pedestal)[chosen]) for f in fits]))


def _expected(
    scene: _Scene, fits: list[JointFit], kinds: npt.NDArray[np.int64], specimen: Specimen, optics: dict[str, float]
) -> dict[str, float]:
    """Fit what independent atoms would show under an ideal probe, as the counts are fitted."""
    step = np.arange(-40, 41)
    h, k = (part.ravel() for part in np.meshgrid(step, step, indexing="ij"))
    cell = np.stack([scene.lattice.a, scene.lattice.b])
    index = np.stack([h, k], axis=1)
    sites, which = [scene.lattice.origin + index @ cell], [np.zeros(h.size, np.int64)]
    if len(specimen.names) == 2:
        on = kinds >= 0
        # the way in which kinds alternate, as found
        odd = round(float(((scene.lattice.indices[on].sum(axis=1) + kinds[on]) % 2).mean()))
        which = [(h + k + odd) % 2]
        sites.append(scene.lattice.origin + (index + 0.5) @ cell)
        which.append(np.full(h.size, 2))
    shape = (scene.maps.shape[1], scene.maps.shape[2])
    widths = []
    for number, window in enumerate((E1, E2)):
        model = expected_map(
            np.concatenate(sites), np.concatenate(which), specimen.kinds, window, shape, pixel_pm=scene.pixel_pm,
            **optics,
        )  # fmt: skip
        model *= scene.maps[number].sum() / model.sum()
        fit = fit_columns_jointly(model, scene.positions, minor=scene.minor, start=fits[number])
        widths.append(scene.pixel_pm * fit.fwhm)
    out = {
        "window": float(np.mean((widths[0] - widths[1])[scene.chosen])),
        "fwhm": float(np.mean([width[scene.chosen] for width in widths])),
    }
    for number in (0, 1):
        parts = [widths[number][scene.chosen & (kinds == kind)] for kind in (0, 1)]
        out[f"species {number}"] = float(parts[0].mean() - parts[1].mean()) if parts[1].size else math.nan
    return out


# -- figures ----------------------------------------------------------------------------------------------------------


def _figures(
    about: dict[str, Any],
    scene: _Scene,
    fits: list[JointFit],
    kinds: npt.NDArray[np.int64],
    specimen: Specimen,
    windows: Comparison,
    species: list[Comparison],
    expected_fwhm_pm: float,
) -> dict[str, Any]:
    mode, two = str(about["mode"]), bool(species)
    given = {"phenomenological": "blur_", "artefact": ""}.get(mode)
    # What the simulator says it put in: read for this comparison alone. In first principles nothing is.
    injected = None if given is None else (float(about["blur_window_pm"]) if given else 0.0)
    put_in = None if given is None or not two else (float(about["blur_species_pm"]) if given else 0.0)
    groups = np.where(scene.chosen, kinds, -1)
    by_kind = [groups == k for k in ((0, 1) if two else (0,))]
    scatter = [scene.pixel_pm * math.sqrt(float(np.mean([fit.fwhm[g].var(ddof=1) for g in by_kind]))) for fit in fits]
    bound = [scene.pixel_pm * math.sqrt(float(np.mean(fit.fwhm_se[scene.chosen] ** 2))) for fit in fits]
    ratios = [intensity_ratio(fit, groups) for fit in fits] if two else []
    every = scene.chosen / scene.chosen.sum()
    common = [scene.pixel_pm * math.sqrt(max(sum(fit.common_variance(every) for fit in fits), 0.0))]
    if two:
        between = by_kind[0] / by_kind[0].sum() - by_kind[1] / by_kind[1].sum()
        common += [scene.pixel_pm * math.sqrt(max(fit.common_variance(between), 0.0)) for fit in fits]
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
        "window_se_pm": math.hypot(windows.fit.se, common[0]),
        # what one pedestal for all leaves uncertain in the mean; in the errors above it is added to the scatter
        "common_se_pm": common,
        "null_p_value": None if windows.half_split is None else windows.half_split.p_value(windows.fit.mean),
        "first_principles_window_pm": windows.expected_pm,
        "injected_species_pm": put_in,
        "species_difference_pm": species[0].fit.mean if two else None,
        "species_se_pm": math.hypot(species[0].fit.se, common[1]) if two else None,
        "first_principles_species_pm": species[0].expected_pm if two else None,
        "species_difference_E2_pm": species[1].fit.mean if two else None,
        "species_se_E2_pm": math.hypot(species[1].fit.se, common[2]) if two else None,
        # the whole Fisher information is inverted: the stated error is the bound, what is compared is the scatter
        "fwhm_se_over_bound": float(np.mean([s / b for s, b in zip(scatter, bound, strict=True)])),
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
    out["expected_fwhm_pm"] = expected_fwhm_pm
    parts = [windows.verdict.words, *(one.verdict.words for one in species[:1])]
    out["verdict"] = " ".join([*parts, _widths_words(float(np.mean(out["fwhm_pm"])), expected_fwhm_pm)])
    return dict(json.loads(json.dumps(out).replace("NaN", "null")))


def _widths_words(found_pm: float, expected_pm: float) -> str:
    """Say whether the columns are as wide as atoms under this probe: aberrations and drift may add a tenth or so."""
    words = f"The widths themselves, {found_pm:.1f} pm, are"
    rest = f"those of independent atoms under this probe ({expected_pm:.1f} pm without aberrations)."
    if abs(found_pm / expected_pm - 1.0) < WIDTH_SHARE:
        return f"{words} {rest}"
    return f"{words} not {rest[:-1]}: what was imaged is not what first principles describe."


def _pictures(
    measurement: EdsMeasurement,
    haadf: npt.NDArray[Any],
    scene: _Scene,
    fits: list[JointFit],
    kinds: npt.NDArray[np.int64],
    specimen: Specimen,
    figures: dict[str, Any],
    out: Path,
    name: str,
) -> Path:
    from exitwave.analysis.figures import eds as pictures

    about, events = measurement.metadata, measurement.events
    groups = np.where(scene.chosen, kinds, 2)
    what = f"{about['specimen']}, simulated, mode: {about['mode']}"
    size: dict[str, Any] = {"pixel_pm": scene.pixel_pm}
    numbered: dict[str, Any] = {"positions": scene.positions, "kinds": groups}
    for k, window in enumerate((E1, E2)):
        title = f"{what}\n{window.name} {window.low_kev:g} to {window.high_kev:g} keV, raw counts"
        pictures.column_map_figure(scene.maps[k], out / f"{name}-{window.name}.png", title=title, **numbered, **size)
    for window in specimen.lines:
        title = f"{what}\n{window.name}, {window.low_kev:g} to {window.high_kev:g} keV"
        image = window_maps(events, (window,))[0]
        path = out / f"{name}-{window.name.replace(' ', '-')}.png"
        pictures.column_map_figure(image, path, title=title, **size)
    path = out / f"{name}-HAADF.png"
    pictures.column_map_figure(haadf, path, title=f"{what}\nHAADF, sum of frames", label="signal (counts)", **size)
    total = spectra(events).sum(axis=0)
    pictures.spectrum_figure(total, events.axis, out / f"{name}-spectrum.png", windows=(E1, E2), title=what)
    verdict = f"FWHM(E1) - FWHM(E2) = {figures['window_difference_pm']:+.2f} ± {figures['window_se_pm']:.2f} pm"
    pictures.widths_figure(
        [_only(fit, scene.chosen) for fit in fits], (str(E1), str(E2)), out / f"{name}-widths.png",
        title=f"{what}\n{verdict}", **size,
    )  # fmt: skip
    return _overview(scene, groups, fits, kinds, specimen, figures, what, out / f"{name}.png")


def _only(fit: ColumnFit, chosen: npt.NDArray[np.bool_]) -> ColumnFit:
    return ColumnFit(fit.parameters[chosen], fit.covariance[chosen], fit.status[chosen])


def _overview(
    scene: _Scene,
    groups: npt.NDArray[np.int64],
    fits: list[JointFit],
    kinds: npt.NDArray[np.int64],
    specimen: Specimen,
    figures: dict[str, Any],
    what: str,
    path: Path,
) -> Path:
    """Draw both maps with numbered columns, the widths of both windows, and the verdict."""
    import textwrap

    from matplotlib.patheffects import withStroke

    from exitwave.analysis.figures.canvas import BLUE, GREY, INK, RED, draw_image, legend, new_figure, save, tidy

    figure = new_figure(10.0, 7.6)
    grid = figure.add_gridspec(3, 2, height_ratios=(1.0, 0.62, 0.16))
    for k, window in enumerate((E1, E2)):
        axes = figure.add_subplot(grid[0, k])
        draw_image(figure, axes, scene.maps[k], 1e-3 * scene.pixel_pm, "counts per pixel", None, "gray")
        axes.set_title(f"{window.name}: {window.low_kev:g} to {window.high_kev:g} keV", fontsize=9, loc="left")
        for n, (y, x) in enumerate(scene.positions[scene.chosen], start=1):
            colour = {0: RED, 1: BLUE}.get(int(groups[scene.chosen][n - 1]), GREY)
            mark = axes.text(x + 0.5, y + 0.5, str(n), color=colour, fontsize=4.5, ha="center", va="center")
            mark.set_path_effects([withStroke(linewidth=1.0, foreground="white")])
    axes = figure.add_subplot(grid[1, :])
    number = np.arange(1, int(scene.chosen.sum()) + 1)
    names = specimen.names or ("columns",)
    for k, (fit, window) in enumerate(zip(fits, (E1, E2), strict=True)):
        for kind, species in enumerate(names):
            part = kinds[scene.chosen] == kind
            width, se = (scene.pixel_pm * v[scene.chosen][part] for v in (fit.fwhm, fit.fwhm_se))
            label = f"{window.name} {species}: {width.mean():.1f} ± {width.std(ddof=1) / width.size**0.5:.1f} pm"
            axes.errorbar(
                number[part] + 0.2 * k, width, yerr=se, fmt="os"[k], ms=2.5, lw=0, elinewidth=0.5,
                color=(RED, BLUE)[kind], mfc=(RED, BLUE)[kind] if k == 0 else "white", mew=0.5, label=label,
            )  # fmt: skip
            axes.axhline(float(width.mean()), color=(RED, BLUE)[kind], lw=0.7, ls="-" if k == 0 else "--")
    tidy(axes, "column", "FWHM over a free pedestal (pm)")
    axes.set_xlim(-1, 1.28 * number.size)
    legend(axes, "upper right")
    words = figure.add_subplot(grid[2, :])
    words.set_axis_off()
    words.text(0.0, 1.0, textwrap.fill(figures["verdict"], 150), fontsize=8, va="top", color=INK)
    figure.suptitle(f"ANXRI of {what}", fontsize=11, color=INK, x=0.01, ha="left")
    return save(figure, path)
