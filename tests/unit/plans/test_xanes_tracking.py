"""Focus and pitch over energy: points that agree, that do not, that are another optic's, and what lies between them."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitwave.devices import FocusCalibration, FocusCalibrationError, FocusPoint
from exitwave.devices.monochromator import PitchCalibration
from exitwave.plans.xanes.calibration import image_shifts_um
from exitwave.simulators.bl18b.rest import GAIN, Rest, focus_mm
from exitwave.simulators.bl18b.truth import TrueZonePlate, Truth
from exitwave.simulators.bl18b.world import World


def line(*offsets_um: float) -> FocusCalibration:
    calibration = FocusCalibration("zpa", tolerance_um=4.0)
    for k, offset in enumerate(offsets_um):
        calibration.add(FocusPoint(8.2 + 0.1 * k, 0.05 + 0.02 * k + 1e-3 * offset, 2e-4, zone_plate="zpa"))
    return calibration


def test_points_that_disagree_are_named_with_their_residuals() -> None:
    line(0.5, -0.5, 0.5, -0.5).check()
    wrong = line(0.0, 0.0, 30.0, 0.0, 0.0)
    with pytest.raises(FocusCalibrationError, match=r"disagree: .*8.4 keV \+24.00 um.*limit of 4 um") as caught:
        wrong.correction_mm(8.25)
    assert "\n" not in str(caught.value)
    wrong.remove(8.4)
    assert wrong.correction_mm(8.4) == pytest.approx(0.05 + 0.02 * 2)


def test_an_uncertain_point_may_be_further_off() -> None:
    calibration = line(0.0, 0.0, 0.0, 0.0)
    calibration.add(FocusPoint(8.6, 0.05 + 0.08 + 0.015, 0.01))
    calibration.check()
    assert calibration.correction_mm(8.6) == pytest.approx(0.05 + 0.08 + 0.015)


def test_a_search_goes_beyond_the_range_and_images_do_not() -> None:
    calibration = line(0.0, 0.0)
    assert calibration.correction_mm(8.5, beyond=True) == pytest.approx(0.05 + 0.06)
    with pytest.raises(FocusCalibrationError, match="outside"):
        calibration.correction_mm(8.5)


def test_points_carry_date_and_optics_through_a_file() -> None:
    calibration = line(0.0, 1.0)
    told = json.loads(json.dumps(calibration.describe()))
    assert told[0]["zone_plate"] == "zpa"
    assert told[0]["found"].startswith("20")
    other = FocusCalibration("zpa")
    other.restore(told)
    assert other.points == calibration.points
    with pytest.raises(FocusCalibrationError, match="comes from zone plate zpa, not from zpb"):
        FocusCalibration("zpb").restore(told)


@given(energy=st.floats(8.2, 8.6), x=st.floats(-50, 50), y=st.floats(-50, 50))
def test_runout_is_followed_between_the_points(energy: float, x: float, y: float) -> None:
    calibration = FocusCalibration("zpa")
    calibration.add(FocusPoint(8.2, 0.0, x_um=0.0, y_um=1.0))
    assert calibration.sideways_um(8.2) is None
    calibration.add(FocusPoint(8.4, 0.0))
    calibration.add(FocusPoint(8.6, 0.0, x_um=x, y_um=1.0 + y))
    share = (energy - 8.2) / 0.4
    assert calibration.sideways_um(energy) == pytest.approx((share * x, 1.0 + share * y), abs=1e-9)


def test_pitch_follows_the_angle_and_what_feedback_found() -> None:
    calibration = PitchCalibration()
    assert calibration.at(13.0) is None
    calibration.set_points([(14.0, 6.0), (13.0, 2.0)])
    calibration.offset_urad = 0.5
    assert [calibration.at(angle) for angle in (12.0, 13.25, 15.0)] == pytest.approx([2.5, 3.5, 6.5])


def test_runout_is_seen_across_the_edge_of_a_particle() -> None:
    """Half of the nickel's absorption comes between the first picture and the second; single frames of 2 s."""
    plate = TrueZonePlate(125.0, 25.0, 0.7, runout_slope_um_mm=(0.15, -0.1), runout_amplitude_um=(0.1, -0.05))
    truth = dataclasses.replace(Truth.draw(4), zone_plate_a=plate, sample_depth_um=0.0, detector_zero_mm=0.0)
    low, size = 768, 512
    roi = (slice(low, low + size), slice(low, low + size))
    pictures, pixels, places_mm = [], [], []
    for energy_kev in (8.2, 8.4, 8.6):
        z_mm = focus_mm(20.164 * energy_kev / 8.0)
        counts = {}
        for specimen in ("ncm-cycled", "none"):
            rest = Rest(energy_kev, ZPA_Z=z_mm)
            rest.switches["DET:Objective"] = "4x"
            camera = World(rest, truth, specimen=specimen).camera("HR1")
            counts[specimen] = camera.expose(0.0, 2.0, roi=roi, binning=(1, 1), gain=GAIN).astype(np.float32)
        pictures.append(-np.log(counts["ncm-cycled"] / counts["none"]))
        magnification = (1300.0 - z_mm) / z_mm
        pixels.append(1e3 * 6.5 / 4.0 / magnification)
        places_mm.append(z_mm)
    found = np.array(image_shifts_um(pictures, pixels))
    runout = np.array([plate.runout_um(z_mm) for z_mm in places_mm])
    expected = -(runout - runout[0]) * (1.0 + 1.0 / 63.0)
    assert np.abs(expected).max() > 0.1
    # a pixel is 26 nm
    np.testing.assert_allclose(found, expected, atol=0.008)
