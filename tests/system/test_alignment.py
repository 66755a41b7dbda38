"""Calibrations find the hidden errors of the instrument, within what each of them allows."""

from __future__ import annotations

import math
import time

import pytest

from exitwave.analysis import optics
from exitwave.devices import MotionLimitError

from .conftest import Beamline

SILICON_111_NM = 0.31356
HC_KEV_NM = 1.239841984
SPEED = 20  # of the beamline's clock, see conftest.py


def _ev_per_deg(energy_kev: float) -> float:
    """Change of energy with Bragg angle, eV/deg: E cot(theta)."""
    theta = math.asin(HC_KEV_NM / energy_kev / (2 * SILICON_111_NM))
    return 1e3 * energy_kev / math.tan(theta) * math.pi / 180


def _time_constants(beamline: Beamline, since_s: float) -> float:
    """Return for how many of the crystals' thermal time constants the simulated clock has run since a wall time."""
    return (time.time() - since_s) * SPEED / beamline.truth["heat_time_constant_s"]


def _rocking_curve(beamline: Beamline) -> tuple[float, float, float]:
    """Take a rocking curve from a pitch of 0: the pitch it ends on, the top when cold, and the width."""
    truth, dcm = beamline.truth, beamline.dcm
    dcm.pitch.set(0.0).wait(timeout=30)
    (uid,) = beamline.RE(beamline.alignment.rocking_curve())
    width = float(beamline.open_run(uid).to_xarray("rocking")["microscope_peak_result_width"].values[-1])
    bragg_deg = math.degrees(math.asin(HC_KEV_NM / 8.0 / (2 * SILICON_111_NM)))
    now = dcm.bragg.user_readback.get(use_monitor=False) - dcm.bragg.user_offset.get() + truth["bragg_offset_deg"]
    cold = truth["pitch_optimum_urad"] + truth["pitch_per_deg_urad"] * (now - bragg_deg)
    assert abs(cold + truth["heat_pitch_urad"]) > 1, "there was something to find"
    return dcm.pitch.user_readback.get(use_monitor=False), cold, width


@pytest.mark.timeout(300)
def test_the_rocking_curve_finds_the_top_of_that_moment_while_the_crystals_warm_up(beamline: Beamline) -> None:
    shutter, chamber, truth = beamline.front_end_shutter, beamline.ion_chamber_0, beamline.truth
    shutter.set("close").wait(timeout=30)
    closed_s = time.time()
    while _time_constants(beamline, closed_s) < 5:  # cooling; the chamber's reading lets the world go on
        chamber.trigger().wait(timeout=30)
    cold_s = time.time()
    pitch, cold, width = _rocking_curve(beamline)
    # The heat came between the last look at the cold crystals and the time at which the shutter says it opened.
    tops = [
        cold + truth["heat_pitch_urad"] * (1 - math.exp(-_time_constants(beamline, since_s)))
        for since_s in (cold_s, shutter.status.timestamp)
    ]
    print(f"pitch {pitch:.2f} urad, top {tops[1]:.2f} to {tops[0]:.2f}, cold {cold:.2f}, width {width:.1f}")
    assert abs(tops[0] - tops[1]) < 0.5
    assert min(tops) - 0.05 * width <= pitch <= max(tops) + 0.05 * width
    assert width < 25, "as seen through the slit, not the crystals' own 48 urad"


@pytest.mark.timeout(300)
def test_the_foil_finds_the_bragg_offset_within_a_tenth_of_an_electronvolt(beamline: Beamline) -> None:
    beamline.RE(beamline.alignment.energy_calibration("Ni"))
    # The axis reads its position plus the user offset; the true angle is the position plus the hidden offset.
    found = beamline.dcm.bragg.user_offset.get(use_monitor=False)
    error_ev = (found - beamline.truth["bragg_offset_deg"]) * _ev_per_deg(8.333)
    print(f"offset {found:.6f} deg, hidden {beamline.truth['bragg_offset_deg']:.6f} deg: {error_ev:+.3f} eV")
    assert abs(error_ev) <= 0.1
    assert abs(found * _ev_per_deg(8.333)) > 0.5, "there was something to find"
    assert beamline.foil.select.get(use_monitor=False) == "None"


@pytest.mark.timeout(300)
def test_the_condenser_comes_to_the_brightest_field(beamline: Beamline) -> None:
    beamline.RE(beamline.alignment.condenser())
    about_y, about_x = beamline.truth["condenser_tilt_urad"]
    pitch = beamline.condenser.pitch.user_readback.get(use_monitor=False)
    yaw = beamline.condenser.yaw.user_readback.get(use_monitor=False)
    print(f"pitch {pitch:.1f}, hidden {-about_x:.1f}; yaw {yaw:.1f}, hidden {-about_y:.1f} urad")
    # The acceptance of the capillary is some 350 urad wide.
    assert pitch == pytest.approx(-about_x, abs=10)
    assert yaw == pytest.approx(-about_y, abs=10)


@pytest.mark.timeout(300)
def test_focus_is_found_within_half_a_depth_of_focus(beamline: Beamline) -> None:
    beamline.RE(beamline.alignment.zone_plate_focus())
    plate, truth = beamline.zone_plate_a, beamline.truth
    lens = truth["zone_plate_a"]
    read_mm = plate.z.user_readback.get(use_monitor=False)
    bragg = beamline.dcm.bragg
    true_deg = bragg.user_readback.get() - bragg.user_offset.get() + truth["bragg_offset_deg"]
    wavelength_nm = 2 * SILICON_111_NM * math.sin(math.radians(true_deg))
    focal_mm = lens["diameter_um"] * lens["outermost_zone_nm"] / wavelength_nm * 1e-3
    depth_mm = truth["sample_depth_um"] * 1e-3
    distance_mm = 700 + beamline.hr_detector.z.user_readback.get() + truth["detector_zero_mm"] - depth_mm
    expected_mm = (distance_mm - math.sqrt(distance_mm**2 - 4 * focal_mm * distance_mm)) / 2
    error_um = 1e3 * (read_mm - (expected_mm + depth_mm - lens["z_zero_mm"]))
    half_um = optics.depth_of_focus_um(25.0, 8.0) / 2
    print(f"focus {error_um:+.2f} um off, half a depth of focus is {half_um:.2f} um")
    assert abs(error_um) <= half_um
    assert abs(error_um) < 1.0, "phase contrast does not shift it"
    assert len(plate.focus.points) == 1


@pytest.mark.timeout(300)
def test_the_star_comes_to_the_middle(beamline: Beamline) -> None:
    sample, txm = beamline.sample, beamline.txm
    before_um = sample.x.user_setpoint.get(), sample.y.user_setpoint.get()
    sample.x.set(1.5).wait(timeout=30)
    sample.y.set(-1.0).wait(timeout=30)
    beamline.RE(txm.centre_star(0.5))
    x, y = (axis.user_readback.get(use_monitor=False) for axis in (sample.x, sample.y))
    # the image's middle is where the lens looks, which wanders with its z
    lens, z_mm = beamline.truth["zone_plate_a"], beamline.zone_plate_a.z.user_readback.get()
    wave = math.sin(2 * math.pi * z_mm / lens["runout_period_mm"])
    looks_um = [
        (1 + 1 / 62) * (slope * (z_mm - 20) + amplitude * wave)
        for slope, amplitude in zip(lens["runout_slope_um_mm"], lens["runout_amplitude_um"], strict=True)
    ]
    away_um = x + beamline.truth["axis_offset_um"] - looks_um[0], y - looks_um[1]
    print(f"star {away_um[0]:+.3f}, {away_um[1]:+.3f} um beside the middle")
    assert max(abs(each) for each in away_um) < 0.5, "a twentieth of the region that the demonstration reads"
    for axis, position in zip((sample.x, sample.y), before_um, strict=True):
        axis.set(position).wait(timeout=30)


@pytest.mark.timeout(300)
def test_the_rocking_curve_finds_the_top_of_warm_crystals(beamline: Beamline) -> None:
    opened_s = beamline.front_end_shutter.status.timestamp
    while _time_constants(beamline, opened_s) < 6:
        beamline.ion_chamber_0.trigger().wait(timeout=30)
    pitch, cold, width = _rocking_curve(beamline)
    top = cold + beamline.truth["heat_pitch_urad"]
    print(f"pitch {pitch:.2f} urad, top {top:.2f}, width {width:.1f}")
    assert abs(pitch - top) <= 0.05 * width


@pytest.mark.timeout(120)
def test_energy_moves_everything_and_keeps_focus(beamline: Beamline) -> None:
    z_before = beamline.zone_plate_a.z.user_readback.get()
    beamline.RE(beamline.set_energy(8.1))
    z_after = beamline.zone_plate_a.z.user_readback.get()
    # f is proportional to E: 20.17 mm / 8 keV * 0.1 keV, a little more for the finite magnification
    assert z_after - z_before == pytest.approx(0.26, abs=0.02)
    assert beamline.dcm.energy.position == pytest.approx(8.1, abs=1e-4)
    beamline.RE(beamline.set_energy(8.0))
    assert beamline.zone_plate_a.z.user_readback.get() == pytest.approx(z_before, abs=1e-3)
    with pytest.raises(MotionLimitError):
        beamline.RE(beamline.set_energy(14.5))
