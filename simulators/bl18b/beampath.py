"""The light's way from the ring to the specimen, one state per moment.

Order of the parts: bending magnet, front-end shutter (FES), collimating mirror at 20.2 m, crystals at 23 m, toroidal
mirror at 26 m, photon shutter (PSH), secondary source aperture at 39 m, ion chamber 1, foil, ion chamber 2, fast
shutter (FSH), beam stop and condenser at 41 m, pinhole, specimen. The ion chambers see the beam while the fast shutter
is closed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

import numpy as np

from exitwave.simulators.bl18b.truth import Truth
from exitwave.simulators.physics import beam, condenser, crystal
from exitwave.simulators.physics.constants import SIGMA_PER_FWHM, wavelength_nm
from exitwave.simulators.physics.materials import AIR, BERYLLIUM, KAPTON, RHODIUM
from exitwave.simulators.physics.mirrors import reflectivity
from exitwave.simulators.physics.source import BendingMagnet, Ring

THROUGHPUT = 0.4183
"""The one constant of the beam path, put at the condenser: with it the parts below give 1.3e10 photons/s at the
specimen at 8 keV, 300 mA, aligned, shaker at 10 um. It stands for what is not modelled (shape errors and losses of the
capillary, vibration, the printed source flux that the formula does not give)."""

GRAZING_MRAD = 4.4
CM_M, DCM_M, TM_M, SSA_M = 20.2, 23.0, 26.0, 39.0
OFFSET_MM = 25.0
FOCUS_FWHM_UM = (100.0, 290.0)
RESIDUAL_DIVERGENCE_URAD = 6.0
"""Divergence left after the collimating mirror (FWHM): twice its 0.8 urad rms slope error, and the source's height."""
OFFSET_TO_FOCUS = 0.2
"""Shift of the focus per change of the beam's height on the toroidal mirror (its aberrations)."""
CHAMBER_MM = 10.0
PINHOLES_UM = {0.0: 100.0, 5000.0: 150.0}
"""Position of PIN:X and diameter of the hole that is then on the axis."""
PINHOLE_BEFORE_SAMPLE_MM = 5.0
BEAM_STOP_MARGIN_UM = 60.0
FULL_LOAD_W = 12.0
"""Power on the first crystal at 300 mA (W): what the collimating mirror reflects of the magnet's 28 W."""


class Inputs(Protocol):
    """Mechanical positions and switches of the instrument, given by the records."""

    def axis(self, name: str, t: float) -> float:
        """Return the true position of an axis at simulated time ``t`` (s), in its record's unit."""
        ...

    def switch(self, name: str, t: float) -> float | str | bool:
        """Return the state of a shutter, turret or other switch at simulated time ``t`` (s)."""
        ...

    def settled_s(self, name: str, t: float) -> float:
        """Return the simulated time (s) since which an axis rests at ``t``, or ``t`` itself while it moves."""
        ...


@dataclass(frozen=True)
class BeamState:
    """The beam at one moment.

    Attributes
    ----------
    energy_kev, bandwidth
        Photon energy and relative width (FWHM).
    chamber_flux
        Photons/s entering ion chambers 1 and 2, as (fundamental, third harmonic) each.
    sample_flux
        Photons/s in the spot at the specimen (all shutters open).
    direct_per_um2
        Photons/s/um2 that pass beside the beam stop straight on.
    illumination
        The condenser's state.
    spot_um
        Centre of the spot in the specimen's plane (um).
    pinhole_um
        Offset (x, y) and radius of the hole in the beam (um).
    """

    energy_kev: float
    bandwidth: float
    chamber_flux: tuple[tuple[float, float], tuple[float, float]]
    sample_flux: float
    direct_per_um2: float
    illumination: condenser.Illumination
    spot_um: tuple[float, float]
    pinhole_um: tuple[float, float, float]


class BeamPath:
    """The optics between ring and specimen; thread-safe."""

    def __init__(self, inputs: Inputs, truth: Truth) -> None:
        self._inputs = inputs
        self._truth = truth
        self._magnet = BendingMagnet()
        self._ring = Ring(lifetime_h=truth.ring_lifetime_h)
        self._lock = Lock()
        self._heat = 0.0
        self._heat_at_s: float | None = None

    def ring_current_ma(self, t: float) -> float:
        """Return the stored current (mA)."""
        with self._lock:
            return self._ring.current_ma(t, top_up=bool(self._inputs.switch("SR:TopUp", t)))

    def dump(self, t: float) -> None:
        """Lose the stored beam."""
        with self._lock:
            self._ring.dump(t)

    def refill(self, t: float) -> None:
        """Store the full current again."""
        with self._lock:
            self._ring.refill(t)

    def bragg_deg(self, t: float) -> float:
        """Return the true Bragg angle: axis, hidden drifting offset, beam's direction after the first mirror."""
        rise_deg = math.degrees(2e-3 * (self._inputs.axis("CM:Pitch", t) - GRAZING_MRAD))
        return self._inputs.axis("DCM:Bragg", t) + self._truth.bragg_offset_at(t) - rise_deg

    def energy_kev(self, t: float) -> float:
        """Return the true photon energy (keV)."""
        return crystal.energy_from_bragg_kev(self.bragg_deg(t))

    def pitch_optimum_urad(self, t: float) -> float:
        """DCM:Pitch of best flux now: hidden offset, Bragg dependence and heat."""
        cold = self._truth.pitch_optimum_urad
        turned = self._truth.pitch_per_deg_urad * (self.bragg_deg(t) - crystal.bragg_from_energy_deg(8.0))
        return cold + turned + self._truth.heat_pitch_urad * self._heat_load(t)

    def _heat_load(self, t: float) -> float:
        """Heat in the first crystal as part of the full load: first-order lag behind the incident power."""
        open_now = bool(self._inputs.switch("FES", t))
        power = self._magnet.power_w(self.ring_current_ma(t)) / self._magnet.power_w(300.0) if open_now else 0.0
        with self._lock:
            if self._heat_at_s is None:
                self._heat, self._heat_at_s = power, t  # warm at the start
            elif t > self._heat_at_s:
                lag = 1.0 - math.exp(-(t - self._heat_at_s) / self._truth.heat_time_constant_s)
                self._heat, self._heat_at_s = self._heat + (power - self._heat) * lag, t
            return self._heat

    def _mono_flux(self, t: float, energy: float, order: int, cm_mrad: float, tm_mrad: float, detune: float) -> float:
        """Photons/s of one order after the toroidal mirror, shutters open."""
        photon = order * energy
        spectral = self._magnet.flux(photon, self.ring_current_ma(t)) * 1e3  # per unit relative bandwidth
        cotangent = 1.0 / math.tan(math.radians(crystal.bragg_from_energy_deg(energy)))
        crystals = crystal.double_crystal(photon, order).throughput_urad(detune) * 1e-6 * cotangent
        mirrors = reflectivity(RHODIUM, cm_mrad, photon) * reflectivity(RHODIUM, tm_mrad, photon)
        return spectral * crystals * mirrors * BERYLLIUM.transmission(500.0, photon)

    def state(self, t: float) -> BeamState:
        """Everything about the beam at simulated time ``t``."""
        axis, truth = self._inputs.axis, self._truth
        energy = self.energy_kev(t)
        cm, tm = axis("CM:Pitch", t), axis("TM:Pitch", t)
        detune = axis("DCM:Pitch", t) - self.pitch_optimum_urad(t)
        height_mm = 2.0 * axis("DCM:Gap", t) * math.cos(math.radians(self.bragg_deg(t))) + truth.mono_offset_error_mm
        arm_um = (SSA_M - TM_M) * 1e6
        # the second crystal, both mirrors and the beam's height steer the focus; roll moves it sideways
        ssa_y = arm_um * 2.0 * (1e-6 * detune + 1e-3 * (tm - GRAZING_MRAD) - 1e-3 * (cm - GRAZING_MRAD))
        ssa_y += OFFSET_TO_FOCUS * 1e3 * (height_mm - OFFSET_MM) + 0.05 * axis("TM:Y", t) * 1e3
        sine = math.sin(math.radians(self.bragg_deg(t)))
        ssa_x = 2.0 * sine * axis("DCM:Roll", t) * DCM_M * (SSA_M - TM_M) / TM_M
        blur = abs(tm / GRAZING_MRAD - 1.0)
        fwhm_x = math.hypot(FOCUS_FWHM_UM[0], 0.4e3 * TM_M * blur)
        fwhm_y = math.hypot(FOCUS_FWHM_UM[1], 0.22e3 * CM_M * (blur + abs(cm / GRAZING_MRAD - 1.0)))
        blades_x = (axis("SSA:XN", t), axis("SSA:XP", t))
        blades_y = (axis("SSA:YN", t), axis("SSA:YP", t))
        slit = beam.slit_transmission(*blades_x, ssa_x, fwhm_x) * beam.slit_transmission(*blades_y, ssa_y, fwhm_y)
        mean_x, rms_x = beam.slit_moments(*blades_x, ssa_x, fwhm_x)
        mean_y, rms_y = beam.slit_moments(*blades_y, ssa_y, fwhm_y)

        shutters = bool(self._inputs.switch("FES", t)) and bool(self._inputs.switch("PSH", t))
        foil = str(self._inputs.switch("FOIL", t))
        width = crystal.bandwidth(energy, RESIDUAL_DIVERGENCE_URAD)
        first, second = [], []
        for order in (1, 3):
            photon = order * energy
            flux = self._mono_flux(t, energy, order, cm, tm, detune) * slit if shutters else 0.0
            flux *= AIR.transmission(2e5, photon) * KAPTON.transmission(50.0, photon)
            first.append(flux)
            flux *= beam.ion_chamber_passed(photon, CHAMBER_MM, truth.gas_pressure_bar)
            second.append(flux * beam.foil_transmission(foil, photon, width))
        leaving = second[0] * beam.ion_chamber_passed(energy, CHAMBER_MM, truth.gas_pressure_bar)
        leaving *= AIR.transmission(2e5, energy) * KAPTON.transmission(50.0, energy)

        illumination = self._illumination(t, energy, (rms_x, rms_y))
        demagnification = condenser.FOCUS_MM / condenser.SOURCE_MM
        spot = (
            illumination.offset_um[0] * (1.0 + demagnification) - demagnification * mean_x,
            illumination.offset_um[1] * (1.0 + demagnification) - demagnification * mean_y,
        )
        pinhole = self._pinhole(t)
        stop = math.hypot(axis("BS:X", t), axis("BS:Y", t))
        beside = min(max((stop - BEAM_STOP_MARGIN_UM) / 400.0, 0.0), 1.0)
        entrance = illumination.entrance_sweep_um()
        flux = leaving * illumination.throughput() * THROUGHPUT * (1.0 - 0.5 * beside)
        flux *= self._pinhole_transmission(pinhole, illumination, spot)
        return BeamState(
            energy_kev=energy,
            bandwidth=width,
            chamber_flux=((first[0], first[1]), (second[0], second[1])),
            sample_flux=flux,
            direct_per_um2=leaving * beside / (2.0 * math.pi * entrance[0] * entrance[1]),
            illumination=illumination,
            spot_um=spot,
            pinhole_um=pinhole,
        )

    def _illumination(self, t: float, energy: float, source_rms_um: tuple[float, float]) -> condenser.Illumination:
        axis, truth = self._inputs.axis, self._truth
        # the capillary is the one made for the zone plate nearest the axis
        plate = min("AB", key=lambda name: math.hypot(axis(f"ZP{name}:X", t), axis(f"ZP{name}:Y", t)))
        nominal_zone_nm = {"A": 25.0, "B": 40.0}[plate]
        arm = condenser.SOURCE_MM * 1e3
        vertical = self._magnet.vertical_sigma_mrad(energy) * 1e-3 * CM_M / (SSA_M - TM_M)
        horizontal = 0.4e-3 * TM_M / (SSA_M - TM_M) / math.sqrt(12.0)
        running = bool(self._inputs.switch("COND:Shaker", t))
        return condenser.Illumination(
            aperture_rad=wavelength_nm(energy) / (2.0 * nominal_zone_nm),
            entrance_rms_um=(
                math.hypot(horizontal * arm, FOCUS_FWHM_UM[0] * SIGMA_PER_FWHM),
                math.hypot(vertical * arm, FOCUS_FWHM_UM[1] * SIGMA_PER_FWHM),
            ),
            source_rms_um=source_rms_um,
            offset_um=(
                axis("COND:X", t) + truth.condenser_offset_um[0],
                axis("COND:Y", t) + truth.condenser_offset_um[1],
            ),
            tilt_urad=(
                axis("COND:Yaw", t) + truth.condenser_tilt_urad[0],
                axis("COND:Pitch", t) + truth.condenser_tilt_urad[1],
            ),
            z_mm=axis("COND:Z", t) + truth.condenser_z_mm,
            shaker_um=float(self._inputs.switch("COND:Shaker:Amplitude", t)) if running else 0.0,
            energy_kev=energy,
        )

    def _pinhole(self, t: float) -> tuple[float, float, float]:
        x, y = self._inputs.axis("PIN:X", t), self._inputs.axis("PIN:Y", t)
        hole = min(PINHOLES_UM, key=lambda place: abs(x - place))
        return x - hole, y, 0.5 * PINHOLES_UM[hole]

    @staticmethod
    def _pinhole_transmission(
        pinhole: tuple[float, float, float], light: condenser.Illumination, spot: tuple[float, float]
    ) -> float:
        """Part of the converging cone that passes the hole: cone directions times spot positions."""
        azimuth = np.arange(24) * (math.pi / 12.0)
        arm_um = PINHOLE_BEFORE_SAMPLE_MM * 1e3
        reach = 0.5 * (condenser.INNER_FRACTION + condenser.OUTER_FRACTION) * light.aperture_rad * arm_um
        nodes, weights = np.polynomial.hermite_e.hermegauss(7)
        rms = light.spot_rms_um()
        x = spot[0] + rms[0] * nodes[:, None, None] + reach * np.cos(azimuth) - pinhole[0]
        y = spot[1] + rms[1] * nodes[None, :, None] + reach * np.sin(azimuth) - pinhole[1]
        inside = (np.hypot(x, y) < pinhole[2]).mean(axis=2)
        return float((weights[:, None] * weights[None, :] * inside).sum() / weights.sum() ** 2)
