"""What independent atoms would show under the probe, fitted as the counts are, and how far that is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exitwave.analysis.columns import JointFit, expected_map, fit_columns_jointly
from exitwave.profiles.demos.anxri_scene import Scene
from exitwave.profiles.demos.anxri_specimens import E1, E2, Specimen

__all__ = ["USUAL_SHARE", "WIDTH_SHARE", "Expected", "Optics", "expected_widths"]

Array = npt.NDArray[np.float64]

USUAL_SHARE, WIDTH_SHARE = 0.12, 0.32
"""How much wider than under an ideal probe columns are as a rule, and how much wider they may be before more than
aberrations is needed. A corrector that leaves 1 nm of astigmatism, 15 nm of coma, 400 nm of third order (one standard
deviation each) and 1 nm of defocus widens the probe by 15 % (30 mrad) in the median, by 32 % in one case of six."""


@dataclass(frozen=True)
class Optics:
    """What the column says of its probe."""

    beam_kev: float
    convergence_mrad: float
    source_fwhm_pm: float


@dataclass(frozen=True)
class Expected:
    """Differences that first principles expect, pm: each with half of the range that the unknown probe leaves it.

    Attributes
    ----------
    fwhm : float
        Mean width of the columns under an ideal probe.
    window : (float, float)
        FWHM(E1) - FWHM(E2).
    species : tuple of (float, float)
        Kind 0 - kind 1, in E1 and in E2; NaN where there is one kind.
    """

    fwhm: float
    window: tuple[float, float]
    species: tuple[tuple[float, float], tuple[float, float]]


def expected_widths(
    scene: Scene, fits: list[JointFit], kinds: npt.NDArray[np.int64], specimen: Specimen, optics: Optics
) -> Expected:
    """Fit what independent atoms would show, as the counts are fitted.

    A probe is wider than an ideal one by its aberrations and by whatever shakes it, and nobody knows by which. Where
    the columns are wider by less than `WIDTH_SHARE`, both are tried, a larger source and a defocus, each as large as
    makes the columns as wide as they are: the truth may lie anywhere between.
    """
    sites, which = _sites(scene, kinds, specimen)

    def differences(source_fwhm_pm: float, defocus_nm: float) -> Array:
        widths = []
        for number, window in enumerate((E1, E2)):
            model = expected_map(
                sites, which, specimen.kinds, window, (scene.maps.shape[1], scene.maps.shape[2]),
                pixel_pm=scene.pixel_pm, beam_kev=optics.beam_kev, convergence_mrad=optics.convergence_mrad,
                source_fwhm_pm=source_fwhm_pm, defocus_nm=defocus_nm,
            )  # fmt: skip
            model *= scene.maps[number].sum() / model.sum()
            # From scratch: what a weak column was fitted with is no start for one that is as bright as the others.
            fit = fit_columns_jointly(model, scene.positions, minor=scene.minor)
            widths.append(scene.pixel_pm * fit.fwhm)
        return _differences(widths, scene, kinds)

    ideal = differences(optics.source_fwhm_pm, 0.0)
    found = float(np.mean([scene.pixel_pm * fit.fwhm[scene.chosen] for fit in fits]))
    low = high = ideal
    if 0.0 < found / ideal[0] - 1.0 < WIDTH_SHARE:
        larger = math.sqrt(optics.source_fwhm_pm**2 + found**2 - ideal[0] ** 2)
        # from a wider probe back to the width that was found: differences go with the width, nearly
        low, high = (
            ideal + (wide - ideal) * (found - ideal[0]) / (wide[0] - ideal[0])
            for wide in (differences(larger, 0.0), differences(optics.source_fwhm_pm, _defocus(optics)))
        )
    pairs = [(float(m), float(h)) for m, h in zip(0.5 * (low + high), 0.5 * np.abs(high - low), strict=True)]
    return Expected(float(ideal[0]), pairs[1], (pairs[2], pairs[3]))


def _defocus(optics: Optics) -> float:
    """Return a defocus that makes a probe a tenth wider or so: wavelength over twice the angle's square, nm."""
    kev = optics.beam_kev
    wavelength_nm = 1.239841984 / math.sqrt(kev * (kev + 2.0 * 510.99895))
    return 0.5 * wavelength_nm / (1e-3 * optics.convergence_mrad) ** 2


def _differences(widths: list[Array], scene: Scene, kinds: npt.NDArray[np.int64]) -> Array:
    """Return the mean width, the difference of windows, and that of kinds in both windows."""
    out = [
        float(np.mean([width[scene.chosen] for width in widths])),
        float(np.mean((widths[0] - widths[1])[scene.chosen])),
    ]
    for width in widths:
        parts = [width[scene.chosen & (kinds == kind)] for kind in (0, 1)]
        out.append(float(parts[0].mean() - parts[1].mean()) if parts[1].size else math.nan)
    return np.array(out)


def _sites(scene: Scene, kinds: npt.NDArray[np.int64], specimen: Specimen) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return the sites of all columns near the field, pixels, and their kinds."""
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
    return np.concatenate(sites), np.concatenate(which)
