"""All measures of one image side by side, and what each of them cannot see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from exitwave.analysis.errors import FitError
from exitwave.analysis.resolution.edge import EdgeResponse
from exitwave.analysis.resolution.frc import RingCorrelation, fourier_ring_correlation
from exitwave.analysis.resolution.psd import PowerSpectrum, power_spectrum
from exitwave.analysis.resolution.star import StarContrast, siemens_star

__all__ = ["ResolutionReport", "measure_resolution"]

PSD_CAUTION = (
    "The PSD cut-off says where power ends, not whether the image is right: it is blind to defocus, to "
    "contrast "
    "reversal and to phase contrast. Read it together with the ring contrast and the Fourier "
    "ring correlation."
)


@dataclass(frozen=True)
class ResolutionReport:
    """What was measured on one image; None where the data did not allow it, with the reason in `remarks`."""

    pixel_nm: float
    psd: PowerSpectrum
    frc: RingCorrelation | None = None
    star: StarContrast | None = None
    edge: EdgeResponse | None = None
    remarks: tuple[str, ...] = ()

    @property
    def resolution_nm(self) -> float:
        """The half period of the PSD cut-off, the figure that the field quotes."""
        return self.psd.half_period_nm

    def words(self) -> str:
        """Return the report as a few lines of text."""
        psd = self.psd
        lines = [
            f"PSD cut-off {psd.cutoff_per_um:.1f} ± {psd.cutoff_sd_per_um:.1f} /µm: half period "
            f"{psd.half_period_nm:.1f} ± {psd.half_period_sd_nm:.1f} nm ({psd.criterion})."
        ]
        if psd.limited_by == "pixel":
            lines.append(f"The signal reaches the pixel's limit ({self.pixel_nm:.1f} nm): magnify more to see the end.")
        if psd.beyond_limit:
            lines.append(f"The cut-off is finer than the lens passes ({psd.limit_nm:.1f} nm): not all of it is image.")
        if self.frc is not None:
            lines.append(
                f"Fourier ring correlation of two exposures: {self.frc.half_bit_nm:.1f} ± "
                f"{self.frc.half_bit_sd_nm:.1f} nm (half-bit), {self.frc.one_seventh_nm:.1f} ± "
                f"{self.frc.one_seventh_sd_nm:.1f} nm (1/7)."
            )
        if self.star is not None:
            star = self.star
            lines.append(
                f"Siemens star, {star.n_spokes} spokes: right contrast down to "
                f"{star.smallest_resolved_nm:.1f} nm "
                f"({100 * star.resolved_contrast:.0f} % of the coarse rings)."
            )
            if star.reversed_nm:
                spans = ", ".join(f"{a:.1f}–{b:.1f} nm" for a, b in star.reversed_nm)
                lines.append(f"Contrast is REVERSED at {spans}: out of focus, or phase contrast.")
        if self.edge is not None:
            lines.append(
                f"Edge: FWHM {self.edge.fwhm_nm:.1f} ± {self.edge.fwhm_sd_nm:.1f} nm, 10–90 % "
                f"{self.edge.rise_10_90_nm:.1f} ± {self.edge.rise_10_90_sd_nm:.1f} nm."
            )
        return "\n".join([*lines, *self.remarks, PSD_CAUTION])

    def figures(self) -> dict[str, Any]:
        """Return the numbers as plain JSON types."""
        result: dict[str, Any] = {
            "pixel_nm": self.pixel_nm,
            "psd_half_period_nm": self.psd.half_period_nm,
            "psd_half_period_sd_nm": self.psd.half_period_sd_nm,
            "psd_cutoff_per_um": self.psd.cutoff_per_um,
            "psd_noise": self.psd.noise,
            "psd_limited_by": self.psd.limited_by,
            "psd_beyond_limit": self.psd.beyond_limit,
        }
        if self.frc is not None:
            result["frc_half_bit_nm"] = self.frc.half_bit_nm
            result["frc_one_seventh_nm"] = self.frc.one_seventh_nm
        if self.star is not None:
            result["star_resolved_nm"] = self.star.smallest_resolved_nm
            result["star_spokes"] = self.star.n_spokes
            result["star_reversed_nm"] = [list(span) for span in self.star.reversed_nm]
        if self.edge is not None:
            result["edge_fwhm_nm"] = self.edge.fwhm_nm
        return result


def measure_resolution(
    image: npt.NDArray[Any],
    pixel_nm: float,
    *,
    exposures: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = None,
    limit_nm: float | None = None,
    star: bool = True,
    n_spokes: int | None = None,
    centre_yx: tuple[float, float] | None = None,
    edge: EdgeResponse | None = None,
) -> ResolutionReport:
    """Measure what the data allow: PSD always, correlation of two `exposures`, contrast of a `star`.

    With `exposures` the noise of the PSD is taken from their difference, without them a white floor is assumed.

    Parameters
    ----------
    image : array (y, x)
        Flat-corrected; usually the mean of the exposures.
    pixel_nm : float
        At the sample.
    exposures : two arrays (y, x), optional
        Independent halves: nothing in common but the specimen, flats and darks included.
    limit_nm : float, optional
        Half the outermost zone width.
    star, n_spokes, centre_yx
        Whether the specimen is a Siemens star, and what is known of it. If none is found, `remarks` says so.
    edge : EdgeResponse, optional
        Measured separately on a region; carried along.
    """
    remarks: list[str] = []
    contrast: StarContrast | None = None
    if star:
        try:
            contrast = siemens_star(image, pixel_nm, n_spokes=n_spokes, centre_yx=centre_yx)
        except FitError as error:
            remarks.append(f"No ring contrast: {error}.")
    return ResolutionReport(
        pixel_nm=float(pixel_nm),
        psd=(
            power_spectrum(image, pixel_nm, limit_nm=limit_nm)
            if exposures is None
            else power_spectrum(exposures, pixel_nm, noise="halves", limit_nm=limit_nm)
        ),
        frc=None if exposures is None else fourier_ring_correlation(*exposures, pixel_nm),
        star=contrast,
        edge=edge,
        remarks=tuple(remarks),
    )
