"""Spectra of regions: mean with deviations, and files that Athena and Larch read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import FitError, ShapeError
from exitwave.analysis.io.columns import ColumnTable, write_athena, write_xdi
from exitwave.analysis.optics import SI111_SPACING_NM
from exitwave.analysis.xanes.energies import check_energies
from exitwave.analysis.xanes.normalise import Normalisation
from exitwave.analysis.xanes.stack import StackOperator

__all__ = ["RegionSpectrum", "region_spectrum", "write_spectrum"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RegionSpectrum:
    """Mean optical depth (n,) of a region and its deviation (n,), NaN without variances; `pixels` in it."""

    name: str
    energies_ev: Array
    mu: Array
    mu_sd: Array
    pixels: int


def region_spectrum(
    name: str,
    energies_ev: npt.ArrayLike,
    stack: Any,
    region: npt.ArrayLike,
    variance: Any = None,
    *,
    operator: StackOperator | None = None,
) -> RegionSpectrum:
    """Return the plain mean of the optical depths over the pixels of a region, energy by energy.

    Parameters
    ----------
    stack, variance : (n, y, x), array or data set in a file
        Read frame by frame. Pixels that are NaN at any energy are left out at all.
    region : bool (y, x)
    operator : StackOperator, optional
        That resampled the stack: neighbours then share noise, and the deviation of a mean is up to some 1.5 times
        that of independent pixels, as which they count without it.

    Notes
    -----
    The mean of optical depths, not of transmissions: through a particle of uneven thickness the latter
    flattens the white line. Deviations are those of the counts; what is left of the beam's changes is not in them.

    Raises
    ------
    ShapeError, FitError
    """
    energies = check_energies(energies_ev)
    chosen = np.asarray(region, np.bool_)
    if tuple(np.shape(stack)) != (len(energies), *chosen.shape):
        raise ShapeError(f"region {name}: stack {tuple(np.shape(stack))}, expected {(len(energies), *chosen.shape)}")
    known = chosen.copy()
    for k in range(len(energies)):
        known &= np.isfinite(stack[k])
    pixels = int(known.sum())
    if pixels == 0:
        raise FitError(f"region {name}: no pixel of {int(chosen.sum())} is known at all energies")
    mu = np.array([np.asarray(stack[k])[known].mean(dtype=np.float64) for k in range(len(energies))])
    sd = np.full(len(energies), np.nan)
    if variance is not None:
        total = [np.asarray(variance[k])[known].sum(dtype=np.float64) for k in range(len(energies))]
        sd = np.sqrt(np.asarray(total)) / pixels
        if operator is not None:
            sd *= np.sqrt([operator.noise_gain(known, k) for k in range(len(energies))])
    return RegionSpectrum(name, energies, mu, sd, pixels)


def write_spectrum(
    path: str | Path,
    spectrum: RegionSpectrum,
    *,
    element: str,
    edge: str = "K",
    normalisation: Normalisation | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a spectrum as XDI (``.xdi``) or as columns with a header that Athena reads (any other name).

    Columns: energy (eV), mutrans, mu_sd and, with a normalisation, norm.

    Raises
    ------
    FileFormatError, FitError, ShapeError
    """
    names, units = ["energy", "mutrans", "mu_sd"], ["eV", "", ""]
    columns = [spectrum.energies_ev, spectrum.mu, spectrum.mu_sd]
    if normalisation is not None:
        names.append("norm")
        units.append("")
        columns.append(normalisation.spectrum(spectrum.mu)[0])
    header = {
        "Element.symbol": element,
        "Element.edge": edge,
        "Mono.d_spacing": f"{10.0 * SI111_SPACING_NM:.6f}",
        "Sample.name": spectrum.name,
        "Region.pixels": str(spectrum.pixels),
    }
    if normalisation is not None:
        header["Scan.edge_energy"] = f"{normalisation.e0_ev:.3f}"
    header |= dict(metadata or {})
    # a column of unknown deviations is no number: leave it out
    keep = [i for i, column in enumerate(columns) if np.isfinite(column).all()]
    table = ColumnTable(
        tuple(names[i] for i in keep),
        np.stack([columns[i] for i in keep], axis=1),
        tuple(units[i] for i in keep),
        header,
    )
    (write_xdi if Path(path).suffix.lower() == ".xdi" else write_athena)(path, table)
