"""Phase retrieval from one distance, and when a specimen is too thick for the focus.

A full-field zone-plate microscope in focus, without a phase plate, shows absorption: its phase is lost. Out of focus by
``z`` at the specimen the picture is, as far as the lens passes it, the Fresnel pattern at ``z`` (the magnification
takes no part: the defocus is counted at the specimen), and single-distance retrieval applies with that z. The parts of
a thick specimen that lie outside the depth of focus are so out of focus, by different z: one filter cannot be right
for all of them, which `depth_of_focus_warning` tells. Used on a picture in focus (z = 0) nothing is changed.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import constants, fft

from exitwave.analysis.compiled import n_threads
from exitwave.analysis.errors import OutOfRangeError, ShapeError, require_positive

__all__ = ["DepthOfFocusWarning", "depth_of_focus_warning", "paganin"]

Floats = npt.NDArray[np.float32]
_HC_KEV_NM = constants.h * constants.c / constants.e * 1e6


class DepthOfFocusWarning(UserWarning):
    """The specimen is thicker than what is in focus at once."""


def paganin(
    transmission: npt.NDArray[Any],
    *,
    pixel_nm: float,
    energy_kev: float,
    defocus_um: float,
    delta_over_beta: float,
    pad: float = 0.25,
) -> Floats:
    """Return mu t of a specimen of one substance from pictures at one distance.

    D. Paganin et al., J. Microsc. 206, 33 (2002), eq. 12: with ``delta/beta`` constant,
    ``exp(-mu t) = F^-1{ F{I / I0} / (1 + pi lambda z (delta/beta) f^2) }`` (their ``z delta / mu`` is
    ``z lambda / (4 pi) delta/beta``, k = 2 pi f).

    Parameters
    ----------
    transmission : array (row, col) or (angle, row, col)
        I / I0, flat-corrected, not its logarithm.
    pixel_nm : float
        At the specimen.
    energy_kev : float
    defocus_um : float
        Distance from the plane of focus to the specimen, along the beam, >= 0. In a zone-plate microscope that of the
        picture from focus, in free propagation z / M.
    delta_over_beta : float
        Of the specimen at this energy; higher smooths more. Above an absorption edge it is lowest (NMC622 at 8.6 keV:
        about 12), where there is little to be gained.
    pad : float
        Part of the size that is added at each side, as a mirror image.

    Returns
    -------
    float32 of the same shape
        -ln of the retrieved contact transmission, which is mu t.

    Raises
    ------
    ShapeError, OutOfRangeError
    """
    pictures = np.asarray(transmission, np.float32)
    if pictures.ndim not in (2, 3) or min(pictures.shape) < 1 or min(pictures.shape[-2:]) < 4:
        raise ShapeError(f"transmission: shape {pictures.shape}; (row, col) or (angle, row, col) is needed")
    if not np.isfinite(pictures).all() or float(pictures.min()) < 0.0:
        raise OutOfRangeError("transmission: negative, NaN or infinite; give I / I0, flat-corrected")
    pixel_um = 1e-3 * require_positive("pixel", pixel_nm, "nm")
    wavelength_um = 1e-3 * _HC_KEV_NM / require_positive("energy", energy_kev, "keV")
    ratio = require_positive("delta / beta", delta_over_beta, "")
    if not (math.isfinite(defocus_um) and defocus_um >= 0.0):
        raise OutOfRangeError(f"defocus = {defocus_um} um: must be finite and >= 0 um")
    stack = pictures if pictures.ndim == 3 else pictures[None]
    ny, nx = stack.shape[1:]
    py, px = (min(n - 1, math.ceil(pad * n)) for n in (ny, nx))
    big = tuple(fft.next_fast_len(n + 2 * p, real=True) for n, p in ((ny, py), (nx, px)))
    fy, fx = fft.fftfreq(big[0], pixel_um)[:, None], fft.rfftfreq(big[1], pixel_um)[None, :]
    low_pass = (1.0 / (1.0 + math.pi * wavelength_um * defocus_um * ratio * (fy**2 + fx**2))).astype(np.float32)
    out = np.empty(stack.shape, np.float32)
    for picture, result in zip(stack, out, strict=True):
        padded = np.pad(picture, ((py, big[0] - ny - py), (px, big[1] - nx - px)), mode="symmetric")
        contact = fft.irfft2(fft.rfft2(padded, workers=n_threads()) * low_pass, s=big, workers=n_threads())
        np.log(np.maximum(contact[py : py + ny, px : px + nx], 1e-6), out=result)
    np.negative(out, out=out)
    return out if pictures.ndim == 3 else out[0]


def depth_of_focus_warning(thickness_um: float, depth_of_focus_um: float) -> str | None:
    """Warn when a specimen is thicker than the depth of focus; return the text, or None if all is in focus.

    Parameters
    ----------
    thickness_um : float
        Largest extent along the beam at any angle.
    depth_of_focus_um : float
        Whole depth: 4 dr^2 / lambda for a zone plate of outermost zone dr (`optics.depth_of_focus_um` may give one
        side only: twice that).

    Warns
    -----
    DepthOfFocusWarning
        With the share of the specimen that is out of focus when its middle is in focus.

    Raises
    ------
    OutOfRangeError
    """
    thickness = require_positive("thickness", thickness_um, "um")
    depth = require_positive("depth of focus", depth_of_focus_um, "um")
    if thickness <= depth:
        return None
    text = (
        f"specimen: {thickness:.3g} um thick, depth of focus {depth:.3g} um: {100.0 * (1.0 - depth / thickness):.0f} % "
        "of it is blurred at any angle; take a zone plate with wider outermost zones, or reconstruct its middle only"
    )
    warnings.warn(text, DepthOfFocusWarning, stacklevel=2)
    return text
