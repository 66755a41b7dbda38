"""Closed-form optics of a zone-plate transmission X-ray microscope behind a crystal monochromator.

Scalars in, scalars out; the unit stands in every name. Importing this module loads nothing but the standard
library, so that devices can use it at once; the two functions that need tables (`edge_energy_kev`,
`air_transmission`) import xraydb when they are called.

Distances are counted along the beam from the sample: `sample_distance_mm` is sample -> zone plate, and
`detector_distance_mm` is sample -> scintillator, which is what the motors of a microscope with a fixed
sample read.

Sources: CODATA 2018 (h, c and e are exact in the SI); Si lattice parameter 0.5431020511 nm at 22.5 degC in
vacuum (CODATA 2018); D. Attwood and A. Sakdinawat, *X-Rays and Extreme Ultraviolet Radiation*, 2nd ed.
(2016), chapter 10 for zone plates; X-ray Data Booklet (2009), section 4.4.
"""

from __future__ import annotations

import math

from exitwave.analysis.errors import OutOfRangeError, require_positive, require_within

__all__ = [
    "DEFAULT_EXIT_OFFSET_MM",
    "HC_KEV_NM",
    "SI111_SPACING_NM",
    "air_transmission",
    "bragg_angle_deg",
    "bragg_energy_kev",
    "crystal_gap_mm",
    "defocus_um",
    "depth_of_focus_um",
    "detector_distance_mm",
    "edge_energy_kev",
    "effective_pixel_nm",
    "energy_from_focal_length_kev",
    "energy_kev",
    "energy_shift_of_bragg_offset_kev",
    "focal_length_mm",
    "magnification_from_distances",
    "magnification_from_lens_positions",
    "max_bandwidth",
    "numerical_aperture",
    "outermost_zone_limit_nm",
    "rayleigh_resolution_nm",
    "sample_distance_mm",
    "wavelength_nm",
    "zone_number",
    "zone_plate_position_mm",
]

_PLANCK_J_S = 6.62607015e-34
_LIGHT_M_S = 299792458.0
_CHARGE_C = 1.602176634e-19

HC_KEV_NM = _PLANCK_J_S * _LIGHT_M_S / _CHARGE_C * 1e6
"""Planck constant times speed of light, keV nm (1.239841984...)."""

SI111_SPACING_NM = 0.5431020511 / math.sqrt(3.0)
"""Spacing of the (111) planes of silicon, nm."""

DEFAULT_EXIT_OFFSET_MM = 25.0
"""Fixed height offset between the beam into and out of the double-crystal monochromator, mm."""


def wavelength_nm(energy_kev: float) -> float:
    """Return the wavelength hc/E of a photon, in nm.

    Raises
    ------
    OutOfRangeError
        Unless `energy_kev` is finite and > 0, as everywhere in this module.
    """
    return HC_KEV_NM / require_positive("photon energy", energy_kev, "keV")


def energy_kev(wavelength_nm: float) -> float:
    """Return the energy hc/lambda of a photon of wavelength `wavelength_nm`, in keV."""
    return HC_KEV_NM / require_positive("wavelength", wavelength_nm, "nm")


def bragg_angle_deg(energy_kev: float, spacing_nm: float = SI111_SPACING_NM) -> float:
    """Return the Bragg angle asin(lambda / 2d) in degrees, first order, refraction neglected.

    Raises
    ------
    OutOfRangeError
        Also below the lowest energy hc/2d that the crystal can diffract (1.977 keV for Si(111)).
    """
    spacing = require_positive("lattice spacing", spacing_nm, "nm")
    sine = wavelength_nm(energy_kev) / (2.0 * spacing)
    if sine > 1.0:
        limit = HC_KEV_NM / (2.0 * spacing)
        raise OutOfRangeError(
            f"photon energy = {float(energy_kev):g} keV: the crystal diffracts only above {limit:.4g} keV"
        )
    return math.degrees(math.asin(sine))


def bragg_energy_kev(angle_deg: float, spacing_nm: float = SI111_SPACING_NM) -> float:
    """Return the photon energy in keV diffracted at the Bragg angle `angle_deg` (0 < angle <= 90)."""
    angle = require_within("Bragg angle", require_positive("Bragg angle", angle_deg, "deg"), 0.0, 90.0, "deg")
    spacing = require_positive("lattice spacing", spacing_nm, "nm")
    return HC_KEV_NM / (2.0 * spacing * math.sin(math.radians(angle)))


def energy_shift_of_bragg_offset_kev(energy_kev: float, offset_deg: float) -> float:
    """Return true minus nominal energy when the true angle is the one read plus `offset_deg`, in keV."""
    return bragg_energy_kev(bragg_angle_deg(energy_kev) + float(offset_deg)) - float(energy_kev)


def crystal_gap_mm(energy_kev: float, offset_mm: float = DEFAULT_EXIT_OFFSET_MM) -> float:
    """Return the perpendicular gap h / (2 cos theta) between the crystals for a fixed exit offset h, in mm.

    (n, -n) geometry: two parallel reflections displace the beam by 2 gap cos(theta).
    """
    offset = require_positive("exit offset", offset_mm, "mm")
    return offset / (2.0 * math.cos(math.radians(bragg_angle_deg(energy_kev))))


def focal_length_mm(diameter_um: float, outermost_zone_nm: float, energy_kev: float) -> float:
    """Return the first-order focal length D dr / lambda of a zone plate, in mm (Attwood, eq. 10.9).

    `diameter_um` is the diameter D, `outermost_zone_nm` the outermost zone width dr; f is proportional to
    energy.
    """
    diameter = require_positive("zone plate diameter", diameter_um, "um")
    zone = require_positive("outermost zone width", outermost_zone_nm, "nm")
    return diameter * zone / wavelength_nm(energy_kev) * 1e-3


def energy_from_focal_length_kev(diameter_um: float, outermost_zone_nm: float, focal_length_mm: float) -> float:
    """Return the photon energy at which a zone plate has the focal length `focal_length_mm`, in keV."""
    diameter = require_positive("zone plate diameter", diameter_um, "um")
    zone = require_positive("outermost zone width", outermost_zone_nm, "nm")
    focal = require_positive("focal length", focal_length_mm, "mm")
    return HC_KEV_NM * focal * 1e3 / (diameter * zone)


def numerical_aperture(outermost_zone_nm: float, energy_kev: float) -> float:
    """Return the numerical aperture lambda / (2 dr) of a zone plate in first order (Attwood, eq. 10.11)."""
    return wavelength_nm(energy_kev) / (2.0 * require_positive("outermost zone width", outermost_zone_nm, "nm"))


def depth_of_focus_um(outermost_zone_nm: float, energy_kev: float) -> float:
    """Return the half depth of focus 2 dr^2 / lambda = lambda / (2 NA^2), in um: in focus within +- this.

    Attwood, eq. 10.49; the beamline paper quotes the same as DOF = +- 2 dr^2 / lambda.
    """
    zone = require_positive("outermost zone width", outermost_zone_nm, "nm")
    return 2.0 * zone * zone / wavelength_nm(energy_kev) * 1e-3


def zone_number(diameter_um: float, outermost_zone_nm: float) -> float:
    """Return the number of zones D / (4 dr) (Attwood, eq. 10.13; not rounded)."""
    diameter = require_positive("zone plate diameter", diameter_um, "um")
    return diameter * 1e3 / (4.0 * require_positive("outermost zone width", outermost_zone_nm, "nm"))


def max_bandwidth(diameter_um: float, outermost_zone_nm: float) -> float:
    """Return the largest relative bandwidth 1/N without chromatic blur (X-ray Data Booklet 4.4)."""
    return 1.0 / zone_number(diameter_um, outermost_zone_nm)


def rayleigh_resolution_nm(outermost_zone_nm: float, energy_kev: float) -> float:
    """Return 0.61 lambda / NA = 1.22 dr, the Rayleigh distance under incoherent illumination, in nm."""
    return 0.61 * wavelength_nm(energy_kev) / numerical_aperture(outermost_zone_nm, energy_kev)


def outermost_zone_limit_nm(outermost_zone_nm: float) -> float:
    """Return dr / 2 in nm, half the shortest period an incoherent lens passes (2 NA / lambda = 1 / dr)."""
    return require_positive("outermost zone width", outermost_zone_nm, "nm") / 2.0


def sample_distance_mm(focal_length_mm: float, magnification: float) -> float:
    """Return the distance f (1 + 1/M) from the sample to the zone plate in focus, in mm (thin lens)."""
    focal = require_positive("focal length", focal_length_mm, "mm")
    return focal * (1.0 + 1.0 / require_positive("magnification", magnification, "(1)"))


def detector_distance_mm(focal_length_mm: float, magnification: float) -> float:
    """Return the distance f (1 + M)^2 / M from the *sample* to the scintillator in focus, in mm.

    The zone plate stands f (1 + M) in front of the scintillator and f (1 + 1/M) behind the sample.
    """
    focal = require_positive("focal length", focal_length_mm, "mm")
    m = require_positive("magnification", magnification, "(1)")
    return focal * (1.0 + m) ** 2 / m


def magnification_from_distances(focal_length_mm: float, detector_distance_mm: float) -> float:
    """Return the magnification M >= 1 of an image in focus, detector at `detector_distance_mm` of the sample.

    The larger root of M + 1/M + 2 = L / f.

    Raises
    ------
    OutOfRangeError
        If L < 4 f: no position of the lens gives a sharp image.
    """
    focal = require_positive("focal length", focal_length_mm, "mm")
    distance = require_positive("detector distance", detector_distance_mm, "mm")
    if distance < 4.0 * focal:
        raise OutOfRangeError(f"detector distance = {distance:g} mm: an image needs at least 4 f = {4.0 * focal:g} mm")
    half = distance / focal / 2.0 - 1.0
    return half + math.sqrt(half * half - 1.0)


def magnification_from_lens_positions(zone_plate_mm: float, detector_distance_mm: float) -> float:
    """Return the magnification (L - z) / z of whatever image falls on the detector, sharp or not.

    `zone_plate_mm` is sample -> zone plate (z), `detector_distance_mm` sample -> scintillator (L), both >
    0, z < L.
    """
    z = require_positive("zone plate distance", zone_plate_mm, "mm")
    distance = require_positive("detector distance", detector_distance_mm, "mm")
    if z >= distance:
        raise OutOfRangeError(f"zone plate distance = {z:g} mm: must be < {distance:g} mm, the detector distance")
    return (distance - z) / z


def zone_plate_position_mm(focal_length_mm: float, detector_distance_mm: float) -> float:
    """Return sample -> zone plate, in mm, that focuses the sample on a detector that stays where it is."""
    return sample_distance_mm(focal_length_mm, magnification_from_distances(focal_length_mm, detector_distance_mm))


def defocus_um(zone_plate_mm: float, detector_distance_mm: float, focal_length_mm: float) -> float:
    """Return the defocus at the sample, in um: zone plate distance minus the one conjugate to the detector.

    Positive when the sample is too far upstream of the plane in focus. Thin lens: the plane that is sharp
    on a screen at distance q behind the lens lies f q / (q - f) in front of it.
    """
    z = require_positive("zone plate distance", zone_plate_mm, "mm")
    focal = require_positive("focal length", focal_length_mm, "mm")
    image_side = require_positive("detector distance", detector_distance_mm, "mm") - z
    if image_side <= focal:
        raise OutOfRangeError(f"lens to detector = {image_side:g} mm: must be > {focal:g} mm, the focal length")
    return (z - focal * image_side / (image_side - focal)) * 1e3


def effective_pixel_nm(pixel_um: float, optical_magnification: float, xray_magnification: float) -> float:
    """Return the pixel at the sample in nm: camera pixel over objective times X-ray magnification."""
    pixel = require_positive("camera pixel", pixel_um, "um")
    optical = require_positive("objective magnification", optical_magnification, "(1)")
    return pixel * 1e3 / (optical * require_positive("X-ray magnification", xray_magnification, "(1)"))


def edge_energy_kev(element: str, edge: str = "K") -> float:
    """Return the tabulated absorption edge of an element in keV (Elam, Ravel & Sieber 2002, through xraydb).

    Raises
    ------
    OutOfRangeError
        If the tables know no such element or edge.
    """
    import xraydb

    try:
        entry = xraydb.xray_edge(element, edge)
    except ValueError:
        entry = None
    if entry is None:
        raise OutOfRangeError(
            f"edge {element!r} {edge!r}: not in the tables; use a symbol such as 'Ni' and an edge such as 'K'"
        )
    return float(entry.energy) * 1e-3


def air_transmission(energy_kev: float, path_mm: float) -> float:
    """Return the transmission exp(-mu x) of `path_mm` of dry air at 1.2 kg/m3 (xraydb, total attenuation)."""
    import xraydb

    energy_ev = require_positive("photon energy", energy_kev, "keV") * 1e3
    path = require_within("air path", path_mm, 0.0, 1e6, "mm")
    return math.exp(-float(xraydb.material_mu("air", energy_ev, kind="total")) * path * 0.1)
