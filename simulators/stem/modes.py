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
        ``first-principles``: object function, thermal motion and probe. ``phenomenological``: in all
        bremsstrahlung every column is a Gaussian of a given width, another one about E1 than about E2, heights of a
        given ratio; lines as before. ``artefact``: every
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
    shelf: float = 0.002

    @property
    def counts_are_given(self) -> bool:
        """Whether counts, and not rates, are put in: there is no dead time then."""
        return self.mode == "artefact"

    def edges_kev(self) -> tuple[float, ...]:
        """Edges between which a band of photons is treated alike.

        The detectors' resolution carries photons over a window's edges. What comes in must be as what goes out, or what
        was put in is not what is measured.
        """
        (low1, high1), (low2, high2) = self.windows_kev
        edges = (low1, high1, low2, high2)
        if self.mode == "phenomenological":
            return (*edges, self._between_kev)
        if self.mode == "artefact":
            return (
                *edges,
                *(max(edge + side * PAD_KEV, 0.16) for edge, side in zip(edges, (-1, 1, -1, 1), strict=True)),
            )
        return edges

    @property
    def _between_kev(self) -> float:
        return 0.5 * (self.windows_kev[0][1] + self.windows_kev[1][0])

    def window_of(self, low_kev: float, high_kev: float) -> int | None:
        """Return 0 or 1 for a band that is treated as E1 or E2, None for one that follows physics.

        Phenomenological: all below the middle between the windows are as E1, all above as E2. Artefact: what is within
        `PAD_KEV` of a window is as the window.
        """
        if self.mode == "first-principles":
            return None
        if self.mode == "phenomenological":
            return int(0.5 * (low_kev + high_kev) > self._between_kev)
        for index, (low, high) in enumerate(self.windows_kev):
            if low - PAD_KEV - 1e-9 <= low_kev and high_kev <= high + PAD_KEV + 1e-9:
                return index
        return None


PAD_KEV = 0.25
"""Five standard deviations of the detectors' resolution at the windows."""
ARTEFACT_PEAKS: dict[str, tuple[float, float]] = {"Sr": (193.0, 174.0), "Ti/O": (140.0, 131.0), "M": (193.0, 174.0)}
"""Counts of E1 and E2 at the middle of a column, by site; the recipe that reads widths takes 90 for the base."""
