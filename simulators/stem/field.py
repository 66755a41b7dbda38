"""The field of view: expected photons and scattered electrons per incident electron, wherever the probe may stand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import fft as scipy_fft

from exitwave.simulators.physics._jit import kernel, workers
from exitwave.simulators.physics.constants import SIGMA_PER_FWHM
from exitwave.simulators.physics.eds_detector import Segment, efficiency, escape, seen_fraction
from exitwave.simulators.physics.eds_events import quantiles
from exitwave.simulators.physics.electron_bremsstrahlung import object_transfer, yield_pm2
from exitwave.simulators.physics.electron_crystals import Columns, Crystal, Kind
from exitwave.simulators.physics.electron_elastic import annular_pm2
from exitwave.simulators.physics.electron_lines import Family, families, line_transfer
from exitwave.simulators.physics.electron_probe import Probe
from exitwave.simulators.stem.modes import ARTEFACT_PEAKS, Physics

__all__ = ["Field", "FieldRequest", "build_field"]

Values = npt.NDArray[np.float64]
Spectrum = npt.NDArray[np.complex128]

MARGIN_NM = 0.8
FINEST_PM = 12.0
LARGEST_GRID = 1280
TOP_KEV = 40.96
_BANDS_KEV = (0.15, 0.5, 1.0, 2.0, 9.0, 14.0, 20.48, TOP_KEV)
_STEP_KEV = 0.01
_PER_GAUSSIAN = math.pi / (4.0 * math.log(2.0))


@dataclass(frozen=True)
class FieldRequest:
    """All that a field depends on; equal requests make equal fields.

    Attributes
    ----------
    centre_nm : tuple of float
        Middle of the maps, from the (projected) origin of the specimen.
    half_nm : float
        Half width of what the probe may reach.
    tilt_deg : tuple of float
        Specimen's tilts about x and y.
    probe : Probe
        With its true aberrations.
    physics : Physics
        Settings.
    segments : tuple of Segment
        Detectors, with their true solid angles.
    rim_deg, holder_deg : float, tuple of float
        Elevation of the holder's rim; tilt of the holder.
    haadf_mrad : tuple of float
        Inner and outer angle.
    own_lines, grid_lines : tuple of str
        Elements.
    electrons : float
        Of one pixel over all the frames asked for (artefact mode alone).
    """

    centre_nm: tuple[float, float]
    half_nm: float
    tilt_deg: tuple[float, float]
    probe: Probe
    physics: Physics
    segments: tuple[Segment, ...]
    rim_deg: float
    holder_deg: tuple[float, float]
    haadf_mrad: tuple[float, float]
    own_lines: tuple[str, ...]
    grid_lines: tuple[str, ...]
    electrons: float = 0.0


@dataclass(frozen=True)
class Field:
    """Maps and spectra, as `eds_events.draw_row` takes them.

    Attributes
    ----------
    request : FieldRequest
        What it was made for.
    pitch_nm : float
        Of the grid; its middle is the request's centre.
    names : tuple of str
        Of the components: "brems 3.53-4.29", "Sr K", "Fe of the instrument".
    maps, constant, collected, segment_cdf, energy_quantiles, interpolated
        See `draw_row`.
    """

    request: FieldRequest
    pitch_nm: float
    names: tuple[str, ...]
    maps: npt.NDArray[np.float32]
    constant: Values
    collected: Values
    segment_cdf: Values
    energy_quantiles: npt.NDArray[np.float32]
    interpolated: npt.NDArray[np.bool_]

    def covers(self, x_nm: Values, y_nm: Values) -> bool:
        """Whether the maps reach as far as these positions."""
        (cx, cy), reach = self.request.centre_nm, self.request.half_nm + 0.2
        return bool(max(np.abs(x_nm - cx).max(), np.abs(y_nm - cy).max()) <= reach)

    def grid(self, x_nm: Values, y_nm: Values) -> tuple[Values, Values]:
        """Return positions from the specimen's origin in units of the grid."""
        (cx, cy), (rows, cols) = self.request.centre_nm, self.maps.shape[:2]
        return (x_nm - cx) / self.pitch_nm + cols // 2, (y_nm - cy) / self.pitch_nm + rows // 2


@kernel
def _deposit(
    x: Values, y: Values, bottom: Values, top: Values, atoms: npt.NDArray[np.int32], weight: Values,
    tilt: Values, centre: Values, pitch: float, out: Values,
) -> None:  # fmt: skip
    """Put atoms on a periodic grid as cubic B-splines; the specimen is tilted by alpha about x and beta about y."""
    sa, ca, sb, cb = math.sin(tilt[0]), math.cos(tilt[0]), math.sin(tilt[1]), math.cos(tilt[1])
    n = out.shape[0]
    w = np.empty((2, 4))
    for i in range(x.size):
        step = (top[i] - bottom[i]) / max(atoms[i] - 1, 1)
        for a in range(atoms[i]):
            z = bottom[i] + a * step
            gx = (x[i] * cb + z * sb - centre[0]) / pitch + n // 2
            gy = (y[i] * ca - (z * cb - x[i] * sb) * sa - centre[1]) / pitch + n // 2
            ix, iy = math.floor(gx), math.floor(gy)
            if ix < 1 or iy < 1 or ix > n - 3 or iy > n - 3:
                continue
            for axis in range(2):
                f = gx - ix if axis == 0 else gy - iy
                r = 1.0 - f
                w[axis, 0] = r * r * r / 6.0
                w[axis, 1] = (4.0 - 6.0 * f * f + 3.0 * f * f * f) / 6.0
                w[axis, 2] = (4.0 - 6.0 * r * r + 3.0 * r * r * r) / 6.0
                w[axis, 3] = f * f * f / 6.0
            for j in range(4):
                for k in range(4):
                    out[iy - 1 + j, ix - 1 + k] += weight[i] * w[1, j] * w[0, k]


class _Grid:
    """Structure factors of the kinds of atoms in a field, and the way from them to spline coefficients."""

    def __init__(self, request: FieldRequest, crystal: Crystal) -> None:
        reach = request.half_nm + MARGIN_NM
        cells = math.ceil(2.0 * reach / max(FINEST_PM * 1e-3, 2.0 * reach / LARGEST_GRID))
        self.n = int(scipy_fft.next_fast_len(cells, real=True))
        self.pitch_nm = 2.0 * reach / self.n
        self.pitch_pm = 1e3 * self.pitch_nm
        self._tilt = np.radians(np.array(request.tilt_deg, float))
        self._centre = np.array(request.centre_nm, float)
        cosines = np.cos(self._tilt)
        middle = (request.centre_nm[0] / cosines[1], request.centre_nm[1] / cosines[0])
        lean_nm = 40.0 * float(np.abs(np.tan(self._tilt)).max())
        self._columns = crystal.near(*middle, reach / float(cosines.min()) + lean_nm)
        # Columns come relative to the middle of the search; the tilt moves that middle to the field's centre.
        self._offset = middle
        fy, fx = scipy_fft.fftfreq(self.n), scipy_fft.rfftfreq(self.n)
        self.k_per_pm = 2.0 * math.pi / self.pitch_pm * np.hypot(fy[:, None], fx[None, :])
        spline = [np.sinc(f) ** 4 * (2.0 + np.cos(2.0 * math.pi * f)) / 3.0 for f in (fy, fx)]
        self._inverse = 1.0 / (spline[0][:, None] * spline[1][None, :])
        self.area_pm2 = (self.n * self.pitch_pm) ** 2
        self.kinds = [columns.kind for columns in self._columns]
        self._sum: dict[int, float] = {}
        self.atoms = [self._structure(c, np.ones(c.x.size)) for c in self._columns]

    def _structure(self, columns: Columns, weight: Values) -> Spectrum:
        out = np.zeros((self.n, self.n))
        _deposit(
            columns.x, columns.y, columns.bottom, columns.top, columns.atoms, weight,
            self._tilt, self._shifted(), self.pitch_nm, out,
        )  # fmt: skip
        return np.asarray(scipy_fft.rfft2(out, workers=workers()))

    def _shifted(self) -> Values:
        cosines = np.cos(self._tilt)
        sines = np.sin(self._tilt)
        x, y = self._offset
        return self._centre - np.array([x * cosines[1], y * cosines[0] + x * sines[1] * sines[0]])

    def shares(self) -> list[Spectrum]:
        """Structure factors in which a column of a site counts as one, however many atoms it has."""
        return [self._structure(c, c.share) for c in self._columns]

    def radial(self, function: Callable[[Values], Values]) -> Values:
        """Evaluate a function of the spatial frequency by a table: it is the same all around."""
        table = np.linspace(0.0, float(self.k_per_pm.max()), 3000)
        return np.interp(self.k_per_pm, table, function(table))

    def mean_per_pm2(self, kind: int) -> float:
        """Atoms of a kind per area."""
        return float(self.atoms[kind][0, 0].real) / self.area_pm2

    def coefficients(self, spectrum: Spectrum) -> npt.NDArray[np.float32]:
        """Spline coefficients of a density per pm^2 whose structure factor is given."""
        values = scipy_fft.irfft2(spectrum * self._inverse, s=(self.n, self.n), workers=workers())
        return (values / self.pitch_pm**2).astype(np.float32)


def _thermal(kind: Kind, k: Values) -> Values:
    return np.asarray(np.exp(-kind.debye_waller_pm2 / (16.0 * math.pi**2) * k**2))


def _gaussian(fwhm_pm: float, k: Values) -> Values:
    return np.asarray(np.exp(-0.5 * (fwhm_pm * SIGMA_PER_FWHM * k) ** 2))


class _Builder:
    """Collects components; `build` is all that is called."""

    def __init__(self, request: FieldRequest, crystal: Crystal) -> None:
        self.request, self.physics = request, request.physics
        self.grid = _Grid(request, crystal)
        self.probe = request.probe.transfer((self.grid.n, self.grid.n), self.grid.pitch_pm)
        self.kv = request.probe.voltage_kv
        self.material = crystal.material
        self.thickness_nm = crystal.thickness_nm(*request.centre_nm, request.half_nm)
        self.names: list[str] = []
        self.maps: list[npt.NDArray[np.float32]] = []
        self.constant: list[float] = []
        self.weights: list[Values] = []
        self.quantiles: list[npt.NDArray[np.float32]] = []
        self.continuous: list[bool] = []

    def _collected(self, energies_kev: Values, weights: Values) -> Values:
        """Part of the photons (distributed as `weights`) that each segment counts."""
        alpha, beta = self.request.holder_deg
        out = []
        for segment in self.request.segments:
            angle = segment.solid_angle_sr / (4.0 * math.pi) * seen_fraction(segment, self.request.rim_deg, alpha, beta)
            elevation = max(segment.elevation_deg(alpha, beta), 1.0)
            leaves = escape(self.material, self.thickness_nm, elevation, energies_kev) if self.thickness_nm else 1.0
            out.append(angle * float(np.sum(weights * efficiency(energies_kev) * leaves) / np.sum(weights)))
        return np.array(out)

    def _add(
        self, name: str, spectrum: Spectrum | None, constant: float, energies: Values, weights: Values, *, line: bool
    ) -> None:
        n = self.grid.n
        self.names.append(name)
        self.maps.append(np.zeros((n, n), np.float32) if spectrum is None else self.grid.coefficients(spectrum))
        self.constant.append(constant)
        self.weights.append(self._collected(energies, weights))
        self.quantiles.append(quantiles(energies, weights * efficiency(energies)))
        self.continuous.append(not line)

    def _imaged(self, kind: int, transfer: Values | None) -> Spectrum:
        """Return atoms of a kind as the probe sees them; ``transfer`` of the interaction, None for a point."""
        grid = self.grid
        if self.physics.mode == "artefact":
            return grid.atoms[kind] * _gaussian(self.physics.artefact_fwhm_pm, grid.k_per_pm)
        seen = grid.atoms[kind] * self.probe * _thermal(grid.kinds[kind], grid.k_per_pm)
        return seen if transfer is None else seen * transfer

    def _band(self, low: float, high: float) -> None:
        grid, physics = self.grid, self.physics
        steps = max(1, round((high - low) / _STEP_KEV))
        energies = low + (np.arange(steps) + 0.5) * (high - low) / steps
        weights = 1.0 / energies
        middle = round(math.sqrt(low * high), 4)
        part = math.log(high / low) * physics.yield_scale
        strengths = [yield_pm2(kind.element, middle, self.kv) * part for kind in grid.kinds]
        window = physics.window_of(low, high)
        mean = sum(strength * grid.mean_per_pm2(i) for i, strength in enumerate(strengths))
        constant = physics.pedestal * mean
        if window is None:
            spectrum = self._summed(strengths, middle)
        elif physics.mode == "phenomenological":
            spectrum = self._given_widths(strengths, window)
        else:
            # Counts are given for a window; a band beside it has the same ones per energy.
            inside = math.log(physics.windows_kev[window][1] / physics.windows_kev[window][0]) / math.log(high / low)
            counted = float(self._collected(energies, weights).sum()) * self.request.electrons * inside
            spectrum = self._given_counts(window, counted)
            constant = physics.artefact_pedestal / counted
        self._add(f"brems {low:g}-{high:g}", spectrum, constant, energies, weights, line=False)

    def _summed(self, strengths: Sequence[float], photon_kev: float) -> Spectrum:
        grid = self.grid
        total = np.zeros_like(self.probe)
        for i, (kind, strength) in enumerate(zip(grid.kinds, strengths, strict=True)):
            element = kind.element
            made_at = grid.radial(partial(object_transfer, element, photon_kev, self.kv))
            total += strength * self._imaged(i, made_at)
        return total

    def _given_widths(self, strengths: Sequence[float], window: int) -> Spectrum:
        """Gaussian columns; the heights of Sr and Ti/O in the given ratio, Ti/O with its physical integral."""
        grid, physics = self.grid, self.physics
        total = np.zeros_like(self.probe)
        reference = sum(s for s, kind in zip(strengths, grid.kinds, strict=True) if kind.site == "Ti/O")
        plain = physics.blur_fwhm_pm + (physics.blur_window_pm if window == 0 else 0.0)
        for i, (kind, strength) in enumerate(zip(grid.kinds, strengths, strict=True)):
            fwhm, amount = plain, strength
            if kind.site == "Sr" and reference > 0.0:
                fwhm += physics.blur_species_pm
                amount = physics.peak_ratio * reference * (fwhm / plain) ** 2
            total += amount * grid.atoms[i] * _gaussian(fwhm, grid.k_per_pm)
        return total

    def _given_counts(self, window: int, counted: float) -> Spectrum:
        grid, fwhm = self.grid, self.physics.artefact_fwhm_pm
        total = np.zeros_like(self.probe)
        for kind, share in zip(grid.kinds, grid.shares(), strict=True):
            peak = ARTEFACT_PEAKS.get(kind.site, (0.0, 0.0))[window]
            total += peak / counted * _PER_GAUSSIAN * fwhm**2 * share
        return total * _gaussian(fwhm, grid.k_per_pm)

    def _lines(self) -> float:
        """Add the specimen's lines; return their mean number per electron."""
        grid, total_mean = self.grid, 0.0
        for element in dict.fromkeys(kind.element for kind in grid.kinds):
            for family in families(element, self.kv, TOP_KEV):
                transfer = grid.radial(partial(line_transfer, family, self.kv))
                members = [i for i, kind in enumerate(grid.kinds) if kind.element == element]
                strength = family.total_pm2 * self.physics.yield_scale
                spectrum = sum((strength * self._imaged(i, transfer) for i in members), np.zeros_like(self.probe))
                total_mean += strength * sum(grid.mean_per_pm2(i) for i in members)
                self._add(f"{element} {family.shell}", spectrum, 0.0, *_line_spectrum([family]), line=True)
        return total_mean

    def _spurious(self, element: str, mean: float, where: str) -> None:
        found = families(element, self.kv, TOP_KEV)
        self._add(f"{element} of the {where}", None, mean, *_line_spectrum(found), line=True)

    def build(self) -> Field:
        physics, request = self.physics, self.request
        edges = sorted({*_BANDS_KEV, *physics.edges_kev()})
        for low, high in pairwise(edges):
            self._band(low, high)
        lines = self._lines()
        for element in request.own_lines:
            self._spurious(element, physics.instrument_lines * lines / len(request.own_lines), "instrument")
        for element in request.grid_lines:
            self._spurious(element, physics.grid_lines * lines / len(request.grid_lines), "grid")
        self.maps.append(self._annular())
        shares = np.array(self.weights)
        collected = shares.sum(axis=1)
        cumulative = np.cumsum(shares, axis=1) / np.maximum(collected, 1e-300)[:, None]
        return Field(
            request, self.grid.pitch_nm, tuple(self.names),
            np.ascontiguousarray(np.stack(self.maps, axis=-1)), np.array(self.constant), collected,
            np.ascontiguousarray(cumulative), np.stack(self.quantiles), np.array(self.continuous),
        )  # fmt: skip

    def _annular(self) -> npt.NDArray[np.float32]:
        # Seen by the probe in every mode: the modes are about X-rays.
        grid = self.grid
        total = np.zeros_like(self.probe)
        for i, kind in enumerate(grid.kinds):
            strength = annular_pm2(kind.element, self.kv, *self.request.haadf_mrad)
            total += strength * grid.atoms[i] * self.probe * _thermal(kind, grid.k_per_pm)
        return grid.coefficients(total)


def _line_spectrum(found: Sequence[Family]) -> tuple[Values, Values]:
    energies = np.array([energy for family in found for energy in family.energies_kev])
    weights = np.array([section for family in found for section in family.cross_sections_pm2])
    order = np.argsort(energies)
    return energies[order], weights[order]


def build_field(request: FieldRequest, crystal: Crystal) -> Field:
    """Return the maps of a field: atoms, thermal motion, object function and probe, detectors and absorption."""
    return _Builder(request, crystal).build()
