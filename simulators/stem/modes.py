"""What the simulated X-ray images follow: physics, widths that were put in, or a null that looks like a result."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MODES", "Physics"]

MODES = ("first-principles", "phenomenological", "artefact")


@dataclass(frozen=True)
class Physics:
    """Settings of the image formation.

    Attributes
    ----------
    mode : str
        ``first-principles``: object function, thermal motion and probe. ``phenomenological``: in the two windows every
        column is a Gaussian of a given width, heights of a given ratio; all else as before. ``artefact``: every
        column has one and the same Gaussian spread; in the windows the sites have the peak counts of a published
        table, added up over the frames asked for, whatever dwell and current are; dead time and pile-up are off.
    windows_kev : tuple of (float, float)
        E1 and E2.
    blur_fwhm_pm, blur_window_pm, blur_species_pm, peak_ratio : float
        Phenomenological: width of every column, what E1 and what Sr have more, height of Sr over Ti/O.
    artefact_fwhm_pm, artefact_pedestal : float
        Artefact: point spread; constant under the columns, counts. Peaks are `ARTEFACT_PEAKS`.
    pedestal, instrument_lines, grid_lines : float
        Constants of the field: bremsstrahlung as a part of its mean; lines, as parts of the mean line intensity.
    yield_scale : float
        Multiplies every yield; 1 is physical.
    shelf : float
        Part of the pulses with incomplete charge.
    """

    mode: str = "first-principles"
    windows_kev: tuple[tuple[float, float], tuple[float, float]] = ((3.53, 4.29), (5.24, 6.0))
    blur_fwhm_pm: float = 100.0
    blur_window_pm: float = 7.5
    blur_species_pm: float = 16.0
    peak_ratio: float = 1.38
    artefact_fwhm_pm: float = 100.0
    artefact_pedestal: float = 0.0
    pedestal: float = 0.1
    instrument_lines: float = 0.01
    grid_lines: float = 0.02
    yield_scale: float = 1.0
    shelf: float = 0.01

    @property
    def counts_are_given(self) -> bool:
        """Whether counts, and not rates, are put in: there is no dead time then."""
        return self.mode == "artefact"

    def window_of(self, low_kev: float, high_kev: float) -> int | None:
        """Return 0 or 1 for a band inside E1 or E2."""
        for index, (low, high) in enumerate(self.windows_kev):
            if low - 1e-9 <= low_kev and high_kev <= high + 1e-9:
                return index
        return None


ARTEFACT_PEAKS: dict[str, tuple[float, float]] = {"Sr": (193.0, 174.0), "Ti/O": (140.0, 131.0), "M": (193.0, 174.0)}
"""Counts of E1 and E2 at the middle of a column, by site; the recipe that reads widths takes 90 for the base."""
