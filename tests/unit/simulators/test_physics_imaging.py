"""Zone plate, transfer functions and the two ways to an image."""

import math

import numpy as np
import pytest

from exitwave.simulators.physics import imaging
from exitwave.simulators.physics.bodies import sphere
from exitwave.simulators.physics.condenser import Illumination
from exitwave.simulators.physics.imaging import Pupil, Source
from exitwave.simulators.physics.materials import GOLD, IRIDIUM, NMC622, Material
from exitwave.simulators.physics.specimen import BodySpecimen, Grid, exit_wave
from exitwave.simulators.physics.star import SiemensStar
from exitwave.simulators.physics.zoneplate import Geometry, ZonePlate

CUTOFF = 20.0
WAVELENGTH = 0.155e-3
PITCH = 0.0104
SHAPE = (256, 256)


def hollow_cone(rings=6, spokes=72):
    light = Illumination(CUTOFF * WAVELENGTH, (460.0, 220.0), (40.0, 117.0), (0.0, 0.0), (0.0, 0.0), 0.0, 10.0, 8.0)
    return light.source_points(rings, spokes)


def pupil(defocus_um=0.0, stop=0.0):
    return Pupil(CUTOFF, stop, WAVELENGTH, defocus_um, 0.0)


def both(layers, defocus_um, energy_kev=8.0):
    """Images by transfer functions and by the coherent sum."""
    absorption, phase = exit_wave(layers, energy_kev, SHAPE)
    transfer = imaging.transfer_functions(pupil(defocus_um), hollow_cone())
    filters = [
        imaging.filter_on_grid(t, transfer.span_per_um, SHAPE, PITCH) for t in (transfer.absorption, transfer.phase)
    ]
    fast = imaging.transfer_image(absorption, phase, *filters)
    wave = (np.exp(-absorption) * np.exp(-1j * phase)).astype(np.complex64)
    return fast, imaging.coherent_sum_image(wave, PITCH, pupil(defocus_um), hollow_cone())


def residual(fast, exact):
    return float((fast - exact).std() / exact.std())


def test_focal_length_of_the_textbook_plate():
    plate = ZonePlate(150.0, 30.0, 0.7, IRIDIUM)
    assert plate.focal_length_mm(8.0) == pytest.approx(29.04, abs=0.01)
    assert ZonePlate(125.0, 25.0, 0.7, IRIDIUM).zones == pytest.approx(1250.0)


def test_efficiency_of_a_thick_phase_plate_is_known():
    # no absorption and pi phase: 4 / pi^2
    plate = ZonePlate(125.0, 25.0, 1.0, Material("H2O", 1.0))
    delta, _ = plate.material.delta_beta(8.0)
    thick = ZonePlate(125.0, 25.0, WAVELENGTH * 0.99992 / (2.0 * delta), Material("H2O", 1.0))
    assert thick.efficiency(8.0) == pytest.approx(4.0 / math.pi**2, rel=0.05)
    assert 0.1 < ZonePlate(125.0, 25.0, 0.7, IRIDIUM).efficiency(8.0) < 0.25


def test_geometry_in_focus_and_out_of_it():
    focal = 20.0
    sharp = Geometry(focal * (1.0 + 1.0 / 60.0), focal * 61.0)
    assert sharp.magnification == pytest.approx(60.0)
    assert sharp.defocus_um(focal) == pytest.approx(0.0, abs=1e-9)
    further = Geometry(sharp.object_mm + 0.01, sharp.image_mm - 0.01)
    assert further.defocus_um(focal) == pytest.approx(-10.0, rel=2e-3)


def test_transfer_is_one_at_zero_and_ends_at_twice_the_cutoff():
    transfer = imaging.transfer_functions(pupil(), hollow_cone())
    middle = transfer.absorption.shape[0] // 2
    assert transfer.absorption[middle, middle] == pytest.approx(1.0)
    assert abs(transfer.absorption[middle, -1]) < 0.01
    assert transfer.phase_is_zero
    assert transfer.throughput == pytest.approx(1.0)


def test_incoherent_limit_is_the_autocorrelation_of_the_disc():
    # a source that fills far more than the pupil: the textbook MTF 2/pi (acos s - s sqrt(1 - s^2))
    grid = np.linspace(-3.2 * CUTOFF, 3.2 * CUTOFF, 161)
    x, y = (a.ravel() for a in np.meshgrid(grid, grid))
    source = Source(x, y, np.full(x.size, 1.0 / x.size))
    transfer = imaging.transfer_functions(pupil(), source)
    n = transfer.absorption.shape[0]
    f = np.linspace(-transfer.span_per_um, transfer.span_per_um, n)
    s = np.clip(np.abs(f) / (2.0 * CUTOFF), 0.0, 1.0)
    exact = 2.0 / math.pi * (np.arccos(s) - s * np.sqrt(1.0 - s * s))
    np.testing.assert_allclose(transfer.absorption[n // 2].real, exact, atol=0.02)


def test_single_axial_point_gives_the_coherent_phase_transfer():
    # one point on the axis: absorption cos(chi), phase 2 sin(chi), chi = pi lambda z f^2, up to the cutoff
    source = Source(np.zeros(1), np.zeros(1), np.ones(1))
    defocus = 6.0
    transfer = imaging.transfer_functions(pupil(defocus), source)
    n = transfer.absorption.shape[0]
    f = np.linspace(-transfer.span_per_um, transfer.span_per_um, n)
    inside = np.abs(f) < 0.95 * CUTOFF
    chi = math.pi * WAVELENGTH * defocus * f**2
    np.testing.assert_allclose(transfer.absorption[n // 2].real[inside], np.cos(chi)[inside], atol=1e-5)
    np.testing.assert_allclose(np.abs(transfer.phase[n // 2].real[inside]), np.abs(2 * np.sin(chi))[inside], atol=1e-5)


@pytest.mark.parametrize("defocus_um", [0.0, 8.0, -8.0, 25.0])
def test_transfer_equals_coherent_sum_for_a_weak_object(defocus_um):
    # 15 nm of gold: 0.03 rad and 0.3 % absorption; what remains is the table's smoothing of single source points
    layers = SiemensStar(thickness_um=0.015, membrane_um=0.0).layers(Grid.centred(SHAPE, PITCH), 0.0)
    assert residual(*both(layers, defocus_um)) < 0.05


@pytest.mark.parametrize(
    ("specimen", "limit"),
    [
        (SiemensStar(thickness_um=0.1), 0.12),
        (BodySpecimen("nmc", ((sphere((0, 0, 0), 0.8), NMC622),)), 0.12),
        (BodySpecimen("gold", ((sphere((0, 0, 0), 0.15), GOLD),)), 0.2),
    ],
)
def test_transfer_stays_close_for_moderate_objects(specimen, limit):
    layers = specimen.layers(Grid.centred(SHAPE, PITCH), 0.0)
    for defocus_um in (0.0, 8.0):
        assert residual(*both(layers, defocus_um)) < limit


def test_strong_phase_is_outside_of_the_transfer_model():
    # 600 nm of gold shift the phase by 1.1 rad: light scattered past the lens is lost, to second order, which only the
    # coherent sum knows; the spokes are darker there
    layers = SiemensStar().layers(Grid.centred(SHAPE, PITCH), 0.0)
    fast, exact = both(layers, 0.0)
    assert residual(fast, exact) > 0.2
    assert exact.min() < fast.min() - 0.05


def test_flat_field_is_flat_in_both():
    flat = np.zeros(SHAPE, np.float32)
    transfer = imaging.transfer_functions(pupil(12.0), hollow_cone())
    filters = [
        imaging.filter_on_grid(t, transfer.span_per_um, SHAPE, PITCH) for t in (transfer.absorption, transfer.phase)
    ]
    np.testing.assert_allclose(imaging.transfer_image(flat, flat, *filters), 1.0, atol=1e-4)
    wave = np.ones(SHAPE, np.complex64)
    np.testing.assert_allclose(imaging.coherent_sum_image(wave, PITCH, pupil(12.0), hollow_cone(2, 12)), 1.0, atol=1e-4)


def test_a_lens_never_makes_light():
    # a pure phase object: all light that arrives went in, some is scattered past the aperture
    grid = Grid.centred(SHAPE, PITCH)
    phase = 1.1 * SiemensStar().coverage(grid)
    wave = np.exp(-1j * phase).astype(np.complex64)
    image = imaging.coherent_sum_image(wave, PITCH, pupil(), hollow_cone(2, 24))
    assert 0.7 < float(image.mean()) <= 1.0


def test_grating_beyond_the_limit_vanishes_and_one_inside_is_seen():
    n = 256
    x = np.arange(n) * PITCH
    for frequency_index, visible in ((60, True), (115, False)):  # 22.5 /um and 43.2 /um; the limit is 39.4 /um
        wave = 0.02 * np.cos(2.0 * math.pi * frequency_index * x / (n * PITCH))
        absorption = np.broadcast_to(wave.astype(np.float32), (n, n)).copy()
        image = imaging.coherent_sum_image(np.exp(-absorption).astype(np.complex64), PITCH, pupil(), hollow_cone(2, 24))
        assert (float(image.std()) > 2e-3) == visible


def test_few_source_points_are_enough():
    layers = SiemensStar().layers(Grid.centred(SHAPE, PITCH), 0.0)
    absorption, phase = exit_wave(layers, 8.0, SHAPE)
    wave = (np.exp(-absorption) * np.exp(-1j * phase)).astype(np.complex64)
    many = imaging.coherent_sum_image(wave, PITCH, pupil(), hollow_cone(6, 72))
    few = imaging.coherent_sum_image(wave, PITCH, pupil(), hollow_cone(3, 20))
    assert residual(few, many) < 0.1


def test_shaker_fills_the_cone():
    still = Illumination(3.1e-3, (460.0, 220.0), (40.0, 117.0), (0, 0), (0, 0), 0.0, 0.0, 8.0)
    shaken = Illumination(3.1e-3, (460.0, 220.0), (40.0, 117.0), (0, 0), (0, 0), 0.0, 10.0, 8.0)

    def top_to_side(light):
        points = light.source_points(1, 4)  # right, top, left, bottom
        return points.weight[1] / points.weight[0]

    assert top_to_side(still) < 0.7
    assert top_to_side(shaken) > 0.8
    assert shaken.spot_rms_um()[0] > still.spot_rms_um()[0]
