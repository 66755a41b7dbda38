"""A specimen that turns while it is exposed, and a stage that does not come to stand where it should."""

from __future__ import annotations

import numpy as np
import pytest

from exitwave.simulators.bl18b.camera import BORDER_PX, XrayCamera
from exitwave.simulators.bl18b.rest import Rest
from exitwave.simulators.bl18b.truth import Truth
from exitwave.simulators.bl18b.world import World

ROI = (slice(896, 1152), slice(896, 1152))
PIXEL_UM = 0.65


class Turning(Rest):
    """A stage that turns evenly through 90 deg at time 0."""

    def __init__(self, rate_deg_s=0.0):
        super().__init__()
        self.rate_deg_s = rate_deg_s

    def axis(self, name, t):
        return 90.0 + self.rate_deg_s * t if name == "SAM:Theta" else super().axis(name, t)

    def settled_s(self, name, t):
        return t if self.rate_deg_s else 0.0


def world(rate_deg_s, truth=None, specimen="ncm-cycled"):
    return World(Turning(rate_deg_s), truth or Truth.nominal(), specimen=specimen)


def moments(w, exposure_s=0.1, binning=1):
    return w._microscope.mechanics.moments("HR1", PIXEL_UM * binning, 2048 // binning, 0.0, exposure_s)


def test_an_exposure_is_one_moment_until_the_edge_moves_by_a_third_of_a_pixel():
    assert moments(world(0.0)) == [0.05]
    assert moments(world(0.2)) == [0.05]
    # 4.4 um reach at 10.5 nm a pixel: 0.1 s of 1 deg/s are 0.73 pixel
    assert len(moments(world(1.0))) == 3
    assert len(moments(world(1.0), binning=4)) == 1
    assert len(moments(world(100.0))) == 8
    assert moments(world(100.0, specimen="none")) == [0.05]
    assert np.mean(moments(world(3.0))) == pytest.approx(0.05)


def test_a_blurred_frame_is_the_mean_over_the_exposure():
    w = world(3.0)
    camera = w.camera("HR1")
    assert isinstance(camera, XrayCamera)
    blurred, _ = camera._exposed(ROI, PIXEL_UM, (1, 1), 0.0, 0.1)

    def at(t):
        return w._microscope.photons_per_pixel("HR1", PIXEL_UM, camera.sensor_shape, ROI, BORDER_PX, t)[0]

    fine = np.mean([at(0.1 * (n + 0.5) / 40) for n in range(40)], axis=0)
    middle = at(0.05)
    assert np.std(blurred - fine) < 0.15 * np.std(middle - fine)


def test_jitter_is_drawn_once_a_rest_and_once_a_frame_of_a_motion():
    truth = Truth(seed=5, stage_jitter_um=(0.03, 0.01))
    standing, turning = world(0.0, truth)._microscope.mechanics, world(2.0, truth)._microscope.mechanics
    assert standing.sample(3.0) == standing.sample(700.0)
    assert turning.sample(3.0, 3.5).x_um == turning.sample(3.2, 3.5).x_um
    places = np.array([(s.x_um, s.y_um) for s in (turning.sample(0.05 * n) for n in range(2000))])
    assert places.std(axis=0) == pytest.approx([0.03, 0.01], rel=0.06)
    assert abs(np.corrcoef(places[1:, 0], places[:-1, 0])[0, 1]) < 0.08
    assert world(2.0)._microscope.mechanics.sample(3.0).x_um == 0.0


def test_an_instrument_has_jitter_of_tens_of_nanometres_and_a_perfect_one_none():
    drawn = Truth.draw(1)
    assert 0.015 <= drawn.stage_jitter_um[0] <= 0.035
    assert 0.001 <= drawn.theta_ripple[0] <= 0.004
    assert Truth.nominal().stage_jitter_um == (0.0, 0.0)
